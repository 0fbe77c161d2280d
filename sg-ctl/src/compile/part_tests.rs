//! Tests of [`super`], apart for the length of the file: a change in part, laid over what was compiled before, is what the
//! next state compiles to.

use super::*;
use crate::{
    compile::compile,
    model::State,
    ops::{
        entry, group,
        interface::{self, tests::attached_in},
        prefix_list,
        register::{Register, register},
        rule::{self, Content},
        testing::state,
    },
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// What the change makes of the image that was compiled before.
fn laid_over(mut image: Image, change: &Change) -> Image {
    image.policies.extend(change.after.policies.clone());
    for (address, identity) in &change.members {
        match identity.is_empty() {
            true => image.members.remove(address),
            false => image.members.insert(*address, identity.clone()),
        };
    }
    image.lists.extend(change.after.lists.clone());
    image
}

fn check(before: &State, after: &State) -> Option<Change> {
    let change = Change::part(before, after)?;
    let (old, mut new) = (compile(before), compile(after));
    assert_eq!(change.after.released, new.released);
    assert_eq!(*change.whole(), new);
    let whole = Change::between(old.clone(), new.clone());
    assert_eq!(change.interrupted_ports(), whole.interrupted_ports());
    assert_eq!(change.opens_ports(), whole.opens_ports());
    // Entries of a list that no rule names are none of the whole's.
    assert!(!change.is_nothing() || whole.is_nothing());
    let mut laid = laid_over(old, &change);
    // Lists that nobody names any more are no part of an image.
    laid.lists.retain(|id, _| new.lists.contains_key(id));
    assert_eq!(laid.policies, new.policies);
    assert_eq!(laid.members, new.members);
    new.lists.retain(|id, _| laid.lists.contains_key(id));
    assert_eq!(laid.lists, new.lists);
    Some(change)
}

#[test]
fn a_change_in_part_is_what_the_whole_says() {
    let mut random = StdRng::seed_from_u64(5);
    let mut parts = 0;
    for _ in 0..30 {
        let (mut now, vpc) = state();
        for name in ["a", "b", "c"] {
            group::create(&mut now, &group::Create::new(name, "x")).unwrap();
        }
        for n in 0..3 {
            let id = attached_in(&mut now, vpc, &format!("eth{n}"));
            let eni = now.interfaces.get_mut(&id).unwrap();
            eni.attachment.as_mut().unwrap().slot = n;
            // The first two have one address in common.
            eni.addresses.push(IpAddr::from([10, 8, 0, n.max(1) as u8]));
        }
        let lists: Vec<String> = (0..3)
            .map(|n| {
                let create = prefix_list::Create {
                    name: format!("list{n}"),
                    family: crate::model::AddressFamily::Ipv4,
                    max_entries: "9".to_owned(),
                    entries: vec!["10.0.0.0/8".to_owned(), "192.0.2.1/32".to_owned()],
                    tags: Vec::new(),
                };
                prefix_list::create(&mut now, &create).unwrap().to_string()
            })
            .collect();
        for step in 0..30 {
            let mut next = now.clone();
            let group = ["a", "b", "c"][random.random_range(0..3)];
            let other = ["a", "b", "c"][random.random_range(0..3)];
            let port = random.random_range(1..9).to_string();
            let list = &lists[random.random_range(0..3)];
            let done = match random.random_range(0..7) {
                0 => rule::add(&mut next, group, &Content::tcp(&port).with_group(other)).map(drop),
                1 => rule::add(&mut next, group, &Content::tcp(&port).with_cidr("10.0.0.0/9")).map(drop),
                2 => rule::add(&mut next, group, &Content::tcp(&port).with_list(list)).map(drop),
                3 => {
                    let addresses = vec![format!("10.9.{}.{}", step, random.random_range(1..9))];
                    let (name, groups) = (format!("m{step}"), vec![group.to_owned()]);
                    register(&mut next, &Register { name, addresses, groups, vpc: None }).map(drop)
                }
                4 => {
                    let name = format!("eth{}", random.random_range(0..3));
                    let groups = [group.to_owned(), "default".to_owned()];
                    interface::set_groups(&mut next, None, &name, &groups).map(drop)
                }
                5 => {
                    let cidr = format!("10.{}.0.0/16", random.random_range(0..4));
                    match random.random() {
                        true => entry::add(&mut next, list, &[cidr], None).map(drop),
                        false => entry::remove(&mut next, list, &[cidr], None).map(drop),
                    }
                }
                _ => {
                    let id =
                        next.rules.keys().nth(random.random_range(0..next.rules.len())).copied().unwrap();
                    next.rules.remove(&id);
                    Ok(())
                }
            };
            if done.is_ok() {
                parts += u32::from(check(&now, &next).is_some());
                now = next;
            }
        }
    }
    assert!(parts > 300, "{parts} changes could be told in part");
}

#[test]
fn what_only_the_whole_tells_is_not_told_in_part() {
    let (before, vpc) = state();
    let mut after = before.clone();
    attached_in(&mut after, vpc, "eth0");
    assert!(Change::part(&before, &after).is_none(), "an interface came");
    assert!(Change::part(&after, &before).is_none(), "an interface went");
    assert!(check(&after, &after).unwrap().is_nothing());
}
