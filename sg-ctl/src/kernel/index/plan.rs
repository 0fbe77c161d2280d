//! What a change of a list does to its index.

use super::{
    Coverage, Index, Range, TooDense,
    arena::{Arena, Part},
    range,
    read::{Node, Reader, Under, Words},
};
use crate::compile::Net;
use anyhow::Result;
use sg_common::index::{
    self, KIND, LATEST, NODE, RECORD_BEFORE, RECORD_LINKS, RECORD_NOW, RECORD_SINCE, ROOT, USED, VERSIONS,
};

/// A change of a list's entries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change<'a> {
    /// Entries that come.
    pub added: &'a [Net],
    /// Entries that go.
    pub removed: &'a [Net],
    /// The live generation.
    pub live: u64,
    /// The generation for which the change is: above the live one.
    pub since: u64,
}

/// What [`Index::stage`] writes. It was read off the index as that is, and is no use after another change.
#[derive(Debug)]
pub struct Plan {
    base: u32,
    end: u32,
    words: Vec<u64>,
    /// Places of slots, and their records.
    slots: Vec<(u32, u32)>,
    after: u64,
}

impl Plan {
    /// No packet must hold a generation before this one when the plan is staged: its slots were changed before, and a slot
    /// has two versions.
    #[must_use]
    pub fn after(&self) -> u64 {
        self.after
    }

    /// Whether the change adds and takes away nothing that other entries do not cover.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn base(&self) -> u32 {
        self.base
    }

    pub(super) fn end(&self) -> u32 {
        self.end
    }

    pub(super) fn words(&self) -> &[u64] {
        &self.words
    }

    pub(super) fn latest(&self) -> Option<u32> {
        self.slots.last().map(|(_, record)| *record)
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = (u32, u64)> {
        self.slots.iter().map(|(slot, record)| (*slot, index::versions(*record)))
    }
}

/// Neighbouring slots of a node that a change touches.
struct Site {
    node: Node,
    /// Nodes up to here, its own among them.
    nodes: u32,
    from: u32,
    to: u32,
    /// Whether an entry went, so that the slots do not say what is there now.
    removed: bool,
}

impl Site {
    fn range(&self) -> Range {
        self.node.range(self.from, self.to)
    }
}

impl Index {
    /// Finds out what a change of the list's entries does to the index. `others` is asked for the entries that the list has
    /// after the change in a range of addresses (first, last; left-aligned); more than these, and such as reach
    /// beyond it, do no harm. It is asked only where entries go.
    ///
    /// None where the index has to be built anew: memory for changes is used up, or the change is outside of the
    /// addresses that the root divides.
    ///
    /// # Errors
    /// Those of `others`.
    pub fn plan(
        &self,
        change: &Change<'_>,
        mut others: impl FnMut(Range) -> Result<Vec<Net>>,
    ) -> Result<Option<Plan>> {
        let Some(sites) = self.sites(change) else { return Ok(None) };
        let added = Coverage::of(change.added);
        let base = self.word(USED) as u32;
        let mut plan = Plan { base, end: base, words: Vec::new(), slots: Vec::new(), after: 0 };
        let mut arena = Arena::new(self.family, base);
        let mut latest = self.word(LATEST) as u32;
        for site in &sites {
            let present = match site.removed {
                true => Some(Coverage::of(&others(site.range())?)),
                false => None,
            };
            for slot in site.from..=site.to {
                let said = self.slot(site, slot, change.since);
                let own = site.node.range(slot, slot);
                let becomes = match &present {
                    Some(present) => present.clip(own),
                    None => said.union(&added.clip(own)),
                };
                if becomes.between(own) == said.between(own) {
                    continue;
                }
                match self.replace(&mut arena, site, slot, &becomes, change, &mut latest) {
                    Ok(after) => plan.after = plan.after.max(after),
                    Err(TooDense) => return Ok(None),
                }
                plan.slots.push((site.node.slots + slot, latest));
            }
        }
        (plan.words, plan.end) = arena.finish();
        let room = self.memory.len() as u64;
        Ok((u64::from(plan.end) <= room).then_some(plan))
    }

    /// Writes down what a slot is to say, with its record, whose place becomes the latest. Returns the generation before
    /// which no packet may be.
    fn replace(
        &self,
        arena: &mut Arena,
        site: &Site,
        slot: u32,
        becomes: &Coverage,
        change: &Change<'_>,
        latest: &mut u32,
    ) -> Result<u64, TooDense> {
        let words = Words(&self.memory);
        let place = site.node.slots + slot;
        let word = words.word(place);
        let settled = match word & KIND {
            VERSIONS => words.word(index::place(word) + RECORD_SINCE),
            _ => 0,
        };
        let record = arena.record();
        let (inside, boundaries) = becomes.between(site.node.range(slot, slot));
        let now = arena.slot(Part { inside, boundaries }, site.node.taken, site.nodes)?;
        arena.put(record + RECORD_SINCE, change.since);
        arena.put(record + RECORD_NOW, now);
        arena.put(record + RECORD_BEFORE, words.settled(word, change.live));
        arena.put(record + RECORD_LINKS, u64::from(place) | u64::from(*latest) << 32);
        *latest = record;
        // What was staged for the same generation and is staged again is no older version that a packet could want.
        Ok(if settled <= change.live { settled } else { 0 })
    }

    /// What a slot says at a generation.
    fn slot(&self, site: &Site, slot: u32, generation: u64) -> Coverage {
        let words = Words(&self.memory);
        let mut said = Coverage::default();
        let word = words.word(site.node.slots + slot);
        Reader { words, family: self.family, generation }.read(word, site.node.under(slot), &mut said);
        said
    }

    /// The slots that a change touches, in order and apart; none where it is outside of the root.
    fn sites(&self, change: &Change<'_>) -> Option<Vec<Site>> {
        let touched = change.added.iter().map(|net| (net, false));
        let touched = touched.chain(change.removed.iter().map(|net| (net, true)));
        let located = touched.map(|(net, removed)| self.locate(range(net), removed, change.since));
        let mut sites = located.collect::<Option<Vec<_>>>()?;
        // A site that others lie in comes before them.
        sites.sort_by_key(|site| (site.range().0, u128::MAX - site.range().1));
        sites.dedup_by(|site, around| {
            if site.range().0 > around.range().1 {
                return false;
            }
            if site.node.slots == around.node.slots {
                around.to = around.to.max(site.to);
            }
            around.removed |= site.removed;
            true
        });
        Some(sites)
    }

    /// The slots that hold a range of addresses: those of the last node that divides no further than the range does.
    fn locate(&self, (first, last): Range, removed: bool, generation: u64) -> Option<Site> {
        let words = Words(&self.memory);
        let mut word = words.word(ROOT);
        let mut under = Under { address: 0, taken: 0 };
        let mut site = None;
        for nodes in 1.. {
            if word & KIND != NODE {
                break;
            }
            let node = Node::new(words, word, under);
            let (Some(from), Some(to)) = (node.slot_of(first), node.slot_of(last)) else { break };
            site = Some(Site { node, nodes, from, to, removed });
            if from != to {
                break;
            }
            word = words.settled(words.word(node.slots + from), generation);
            under = node.under(from);
        }
        site
    }
}
