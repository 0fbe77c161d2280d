//! The interfaces, groups and prefix lists that scripts speak of by number, on a bench.
#![expect(clippy::unwrap_used, reason = "test support: a failure should stop the test where it happens")]

use crate::{
    bench::Bench,
    script::{GROUPS, INTERFACES, LISTS, PeerSpec, RuleSpec, Script, address},
};
use ipnet::IpNet;
use sg_ctl::{
    model::{AddressFamily, EniId, GroupId, Options, Peer, PrefixListId, Quota, Rule, RuleId, Side, State},
    ops,
};

/// Who is who.
pub struct Cast {
    /// By number; the last is a guest's.
    pub enis: Vec<EniId>,
    /// By number.
    pub groups: Vec<GroupId>,
    lists: [PrefixListId; LISTS as usize],
}

impl Cast {
    /// Makes them all, without rules, and loads the interfaces' programs.
    #[must_use]
    pub fn new(bench: &mut Bench) -> Self {
        let groups: Vec<GroupId> = (0..GROUPS)
            .map(|n| {
                let group = ops::group::Create::new(&format!("group{n}"), "test");
                ops::group::create(&mut bench.state, &group).unwrap()
            })
            .collect();
        bench.state.rules.clear();
        // Scripts change lists by the thousand, and the model reads every entry that is kept for each packet.
        bench.state.quotas.0.insert(Quota::VersionsPerPrefixList, 1);
        let lists = [AddressFamily::Ipv4, AddressFamily::Ipv6].map(|family| {
            let create = ops::prefix_list::Create {
                name: family.name().to_owned(),
                family,
                max_entries: "10".to_owned(),
                entries: Vec::new(),
                tags: Vec::new(),
            };
            ops::prefix_list::create(&mut bench.state, &create).unwrap()
        });
        let enis = (0..INTERFACES)
            .map(|n| {
                let side = if n == 2 { Side::Guest } else { Side::Host };
                bench.interface(side, &[], &[address(n, false), address(n, true)], Options::default())
            })
            .collect();
        Self { enis, groups, lists }
    }

    /// A new rule.
    #[must_use]
    pub fn rule(&self, spec: &RuleSpec) -> Rule {
        let peer = match spec.peer {
            PeerSpec::V4(net) => Peer::Ipv4(net),
            PeerSpec::V6(net) => Peer::Ipv6(net),
            PeerSpec::Group(n) => Peer::Group(self.groups[usize::from(n)]),
            PeerSpec::List(n) => Peer::PrefixList(self.lists[usize::from(n)]),
        };
        let group = self.groups[usize::from(spec.group)];
        Rule::new(RuleId::random(), group, spec.direction, spec.traffic, peer)
    }

    /// Gives an interface these groups, as bits.
    pub fn set_groups(&self, state: &mut State, interface: u8, bits: u8) {
        let groups =
            (0..GROUPS).filter(|n| bits >> n & 1 != 0).map(|n| self.groups[usize::from(n)]).collect();
        state.interfaces.get_mut(&self.enis[usize::from(interface)]).unwrap().groups = groups;
    }

    /// Gives a list these entries.
    pub fn set_entries(&self, state: &mut State, list: u8, entries: &[IpNet]) {
        let text = entries.iter().map(|entry| format!("{entry}\n")).collect::<String>();
        let file = ops::entry::File { name: "script", text: &text, replace: true };
        let list = self.lists[usize::from(list)].to_string();
        ops::entry::import(state, &list, file, None, |_| {}).unwrap();
    }

    /// The state that a script begins with, but for its rules.
    pub fn begin(&self, state: &mut State, script: &Script) {
        state.rules.clear();
        for interface in 0..INTERFACES {
            let number = usize::from(interface);
            self.set_groups(state, interface, script.members[number]);
            let eni = state.interfaces.get_mut(&self.enis[number]).unwrap();
            eni.attachment.as_mut().unwrap().options = script.options[number];
        }
        for (list, entries) in (0..LISTS).zip(&script.lists) {
            self.set_entries(state, list, entries);
        }
    }
}
