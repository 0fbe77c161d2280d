//! Properties of [`super`]: whatever is done, it answers as a plain map does.

use super::*;
use crate::error::Result;
use proptest::{
    collection::{btree_map, btree_set, vec},
    prelude::*,
};
use std::sync::Mutex;

/// An object that answers to these terms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Thing(BTreeSet<u8>);

/// Terms of a thing.
const TERMS: u8 = 5;
/// Keys of things.
const KEYS: u8 = 60;

impl Object for Thing {
    type Term = u8;

    fn terms(&self) -> Vec<u8> {
        self.0.iter().copied().collect()
    }
}

type Map = BTreeMap<u8, Thing>;

/// A store that counts what it is asked.
#[derive(Clone, Default)]
struct Stored {
    map: Map,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Stored {
    fn note(&self, question: String) {
        self.asked.lock().unwrap().push(question);
    }
}

impl Source<u8, Thing> for Stored {
    fn get(&self, key: &u8) -> Result<Option<Thing>> {
        self.note(format!("get {key}"));
        Ok(self.map.get(key).cloned())
    }

    fn all(&self) -> Result<Map> {
        self.note("all".to_owned());
        Ok(self.map.clone())
    }

    fn count(&self) -> Result<usize> {
        self.note("count".to_owned());
        Ok(self.map.len())
    }

    fn having(&self, term: &u8) -> Result<Vec<(u8, Thing)>> {
        self.note(format!("having {term}"));
        let answers = |(_, thing): &(&u8, &Thing)| thing.0.contains(term);
        Ok(self.map.iter().filter(answers).map(|(key, thing)| (*key, thing.clone())).rev().collect())
    }

    fn keys_having(&self, term: &u8) -> Result<Vec<u8>> {
        Ok(self.map.iter().filter(|(_, thing)| thing.0.contains(term)).map(|(key, _)| *key).rev().collect())
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u8, Thing),
    Remove(u8),
    /// Adds a term and takes another.
    Change(u8, u8, u8),
    Look(u8),
    Find(u8),
    Retain(u8),
    ChangeAll(u8),
    Clear,
    /// Goes on with a copy.
    Copy,
}

fn thing() -> impl Strategy<Value = Thing> {
    btree_set(0..TERMS, 0..3).prop_map(Thing)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..KEYS, thing()).prop_map(|(key, thing)| Step::Insert(key, thing)),
        6 => (0..KEYS).prop_map(Step::Remove),
        8 => (0..KEYS, 0..TERMS, 0..TERMS).prop_map(|(key, add, take)| Step::Change(key, add, take)),
        4 => (0..KEYS).prop_map(Step::Look),
        6 => (0..TERMS).prop_map(Step::Find),
        1 => (0..TERMS).prop_map(Step::Retain),
        1 => (0..TERMS).prop_map(Step::ChangeAll),
        1 => Just(Step::Clear),
        2 => Just(Step::Copy),
    ]
}

fn change(thing: &mut Thing, add: u8, take: u8) {
    thing.0.remove(&take);
    thing.0.insert(add);
}

fn take(step: &Step, objects: &mut Objects<u8, Thing>, map: &mut Map) {
    match step {
        Step::Insert(key, thing) => {
            objects.insert(*key, thing.clone());
            map.insert(*key, thing.clone());
        }
        Step::Remove(key) => assert_eq!(objects.remove(key), map.remove(key)),
        Step::Change(key, add, take) => {
            let (one, other) = (objects.get_mut(key), map.get_mut(key));
            assert_eq!(one, other);
            one.into_iter().chain(other).for_each(|thing| change(thing, *add, *take));
        }
        Step::Look(key) => {
            assert_eq!(objects.get(key), map.get(key));
            assert_eq!(objects.contains_key(key), map.contains_key(key));
        }
        Step::Find(term) => finds(objects, map, *term),
        Step::Retain(term) => {
            objects.retain(|_, thing| thing.0.contains(term));
            map.retain(|_, thing| thing.0.contains(term));
        }
        Step::ChangeAll(term) => {
            objects.values_mut().chain(map.values_mut()).for_each(|thing| change(thing, *term, 0));
        }
        Step::Clear => {
            objects.clear();
            map.clear();
        }
        Step::Copy => *objects = objects.clone(),
    }
}

fn finds(objects: &Objects<u8, Thing>, map: &Map, term: u8) {
    let expected: Vec<_> = map.iter().filter(|(_, thing)| thing.0.contains(&term)).collect();
    assert!(objects.having(&term).eq(expected.iter().map(|(_, thing)| *thing)));
    assert!(objects.keys_having(&term).iter().eq(expected.iter().map(|(key, _)| *key)));
    assert_eq!(objects.count_having(&term), expected.len());
}

/// Everything that can be asked.
fn agrees(objects: &Objects<u8, Thing>, map: &Map) {
    (0..TERMS).for_each(|term| finds(objects, map, term));
    for (first, last) in [(0, KEYS), (10, 40), (20, 20)] {
        let range = objects.range(first..=last);
        assert!(range.into_iter().eq(map.range(first..=last).map(|(key, thing)| (*key, thing))));
    }
    assert_eq!(objects.len(), map.len());
    assert!(objects.iter().eq(map.iter()));
    assert_eq!(*objects, Objects::from(map.clone()));
    assert_eq!(format!("{objects:?}"), format!("{map:?}"));
}

fn differences<'a>(before: &'a Map, after: &'a Map) -> Vec<Change<'a, u8, Thing>> {
    let keys: BTreeSet<u8> = before.keys().chain(after.keys()).copied().collect();
    let pairs = keys.into_iter().map(|key| (key, before.get(&key), after.get(&key)));
    pairs.filter(|(_, before, after)| before != after).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn objects_are_a_map(
        stored in btree_map(0..KEYS, thing(), 0..40),
        first in vec(step(), 0..40),
        second in vec(step(), 0..40),
    ) {
        let mut map = stored.clone();
        let mut objects = Objects::of(Stored { map: stored, ..Stored::default() });
        let (was, beginning) = (objects.clone(), map.clone());
        first.iter().for_each(|step| take(step, &mut objects, &mut map));
        let (before, map_before) = (objects.clone(), map.clone());
        second.iter().for_each(|step| take(step, &mut objects, &mut map));
        // What changed is known before anything is read as a whole, and a copy does not follow.
        assert_eq!(objects.changes_from(&before), differences(&map_before, &map));
        assert_eq!(before.changes_from(&objects), differences(&map, &map_before));
        assert_eq!(objects.changes_from(&was), differences(&beginning, &map));
        assert_eq!(objects == before, map == map_before);
        agrees(&objects, &map);
        agrees(&before, &map_before);
        agrees(&was, &beginning);
    }
}

#[test]
fn only_what_is_asked_for_is_read() {
    let map: Map = (0..KEYS).map(|key| (key, Thing(BTreeSet::from([key % TERMS])))).collect();
    let stored = Stored { map, ..Stored::default() };
    let asked = stored.asked.clone();
    let before = Objects::of(stored);
    let mut objects = before.clone();
    assert_eq!(objects[7], Thing(BTreeSet::from([2])));
    objects.get_mut(&7).unwrap().0.insert(3);
    objects.insert(8, Thing::default());
    objects.remove(&9);
    assert!(!objects.contains_key(&200) && !objects.contains_key(&200));
    assert_eq!(objects.having(&2).count(), 12);
    assert_eq!(objects.having(&2).chain(objects.having(&2)).count(), 24);
    assert_eq!(objects.changes_from(&before).len(), 3);
    assert_ne!(objects, before);
    assert_eq!(*asked.lock().unwrap(), ["get 7", "get 9", "get 200", "having 2", "get 8"]);
    // References are good for as long as the objects are, whatever is read meanwhile.
    let first = &before[0];
    assert_eq!(before.values().count(), usize::from(KEYS));
    assert_eq!(first, &before[0]);
}
