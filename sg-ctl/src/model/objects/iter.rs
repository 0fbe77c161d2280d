//! Objects in order: what the store had, with what is otherwise.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, btree_map},
    iter::Peekable,
};

/// All objects of one kind, in the order of their keys.
pub struct Iter<'a, K, V> {
    base: Peekable<btree_map::Iter<'a, K, V>>,
    overlay: Peekable<btree_map::Iter<'a, K, Option<V>>>,
}

impl<'a, K: Ord, V> Iter<'a, K, V> {
    pub(super) fn new(base: &'a BTreeMap<K, V>, overlay: &'a BTreeMap<K, Option<V>>) -> Self {
        Self { base: base.iter().peekable(), overlay: overlay.iter().peekable() }
    }
}

impl<K, V> Clone for Iter<'_, K, V> {
    fn clone(&self) -> Self {
        Self { base: self.base.clone(), overlay: self.overlay.clone() }
    }
}

impl<'a, K: Ord, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let order = match (self.base.peek(), self.overlay.peek()) {
                (_, None) => return self.base.next(),
                (None, Some(_)) => Ordering::Greater,
                (Some((base, _)), Some((overlay, _))) => base.cmp(overlay),
            };
            match order {
                Ordering::Less => return self.base.next(),
                // What is changed hides what was there.
                Ordering::Equal => drop(self.base.next()),
                Ordering::Greater => {}
            }
            if let Some((key, Some(object))) = self.overlay.next() {
                return Some((key, object));
            }
        }
    }
}
