//! Which rules are used: when each was last seen to admit a new flow. The agent keeps that in a file of its own beside the
//! store, over restarts and reboots.

use crate::{
    error::{Refusal, Result},
    model::{RuleId, State},
};
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

const MINUTE: u64 = 60;
/// How old a record is that an agent keeps, at most.
pub const RECENT: u64 = 2 * MINUTE;

/// Times are seconds since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// When the agent looked last.
    pub seen: u64,
    rules: BTreeMap<RuleId, Use>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Use {
    /// When the agent saw the rule first.
    known: u64,
    /// Its last hit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used: Option<u64>,
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("rule-usage.json")
}

impl Usage {
    /// As it was written last; `None` where no agent has written any.
    ///
    /// # Errors
    /// `StoreError` where the file is there and cannot be read.
    pub fn load(state_dir: &Path) -> Result<Option<Self>> {
        let path = path(state_dir);
        let read = || match fs::read(&path) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(anyhow::Error::from(error)),
        };
        read().map_err(|error: anyhow::Error| {
            let path = path.display();
            let message = format!(
                "cannot read {path} ({error}); where it is damaged, remove it: use is counted anew then"
            );
            Refusal::new("StoreError", message).into()
        })
    }

    /// Puts it in the place of the file, which is one or the other whatever happens meanwhile.
    ///
    /// # Errors
    /// Where it cannot be written: the old one stays.
    pub fn save(&self, state_dir: &Path) -> Result<()> {
        let path = path(state_dir);
        let write = || -> Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(state_dir)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            Ok(())
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    /// Takes notice of the rules that there are `now`, and of their last hits. Rules that are gone are forgotten. Returns
    /// whether it is worth writing down: something changed, or nothing did for a minute.
    pub fn note(&mut self, state: &State, hits: &BTreeMap<RuleId, u64>, now: u64) -> bool {
        let rules = state.rules.values().map(|rule| {
            let before = self.rules.get(&rule.id);
            let known = before.map_or(now, |before| before.known);
            let used = before.and_then(|before| before.used).max(hits.get(&rule.id).copied());
            (rule.id, Use { known, used })
        });
        let rules = rules.collect();
        let is_news = rules != self.rules || now.abs_diff(self.seen) >= MINUTE;
        if is_news {
            (self.rules, self.seen) = (rules, now);
        }
        is_news
    }

    /// Whether a rule is known for so long and was not used in that time, up to `now`.
    #[must_use]
    pub fn is_unused(&self, rule: RuleId, length: Duration, now: u64) -> bool {
        let from = now.saturating_sub(length.as_secs());
        self.rules.get(&rule).is_some_and(|of| of.known <= from && of.used.is_none_or(|used| used < from))
    }
}

/// Refuses to say what is unused where nobody has looked.
#[must_use]
pub fn nobody_looked() -> Refusal {
    let message = "which rules are used is known from the agent's record, and there is none yet: start `sg-ctl agent` \
                   (systemd: sg-agent), and leave it running for as long as --unused-for says";
    Refusal::new("IncorrectState", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{group, state};

    const DAY: u64 = 86_400;

    /// With two rules: what a group is born with.
    fn state_with_rules() -> State {
        let (mut state, _) = state();
        let group = group(&mut state, "web");
        let others: Vec<RuleId> =
            state.rules.values().filter(|rule| rule.group != group).map(|rule| rule.id).collect();
        others.iter().for_each(|id| drop(state.rules.remove(id)));
        state
    }

    fn unused(usage: &Usage, state: &State, days: u64, now: u64) -> Vec<RuleId> {
        let rules = state.rules.values().map(|rule| rule.id);
        rules.filter(|id| usage.is_unused(*id, Duration::from_secs(days * DAY), now)).collect()
    }

    #[test]
    fn unused_is_what_is_known_for_so_long_and_had_no_hit() {
        let state = state_with_rules();
        let [first, second] = [0, 1].map(|n| state.rules.values().nth(n).unwrap().id);
        let mut usage = Usage::default();
        assert!(usage.note(&state, &BTreeMap::new(), 100 * DAY));
        assert_eq!(unused(&usage, &state, 30, 129 * DAY), [], "nobody has looked for 30 days yet");
        assert_eq!(unused(&usage, &state, 30, 130 * DAY), [first, second]);
        let hits = [(first, 110 * DAY)].into();
        assert!(usage.note(&state, &hits, 120 * DAY));
        assert!(!usage.note(&state, &hits, 120 * DAY + 59));
        assert!(usage.note(&state, &hits, 120 * DAY + 60));
        assert_eq!(unused(&usage, &state, 30, 130 * DAY), [second]);
        assert_eq!(unused(&usage, &state, 30, 141 * DAY), [first, second]);
        // After a reboot the kernel knows of no hits.
        usage.note(&state, &BTreeMap::new(), 121 * DAY);
        assert_eq!(unused(&usage, &state, 30, 130 * DAY), [second]);
        usage.note(&State::default(), &BTreeMap::new(), 122 * DAY);
        assert_eq!(unused(&usage, &state, 1, 140 * DAY), [], "forgotten with the rules");
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_a_damaged_one_is_said() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Usage::load(dir.path()).unwrap(), None);
        let mut usage = Usage::default();
        usage.note(&state_with_rules(), &BTreeMap::new(), 7);
        usage.save(dir.path()).unwrap();
        usage.save(dir.path()).unwrap();
        assert_eq!(Usage::load(dir.path()).unwrap(), Some(usage));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left over");
        fs::write(path(dir.path()), "{").unwrap();
        assert!(
            Usage::load(dir.path()).unwrap_err().to_string().ends_with("remove it: use is counted anew then")
        );
    }
}
