//! What a state has otherwise than its store.

use super::{Key, Object};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};

/// Objects by key, `None` those that are gone, and found by their terms.
#[derive(Clone)]
pub struct Overlay<K: Key, V: Object> {
    objects: BTreeMap<K, Option<V>>,
    /// Keys by term, as of when that was first asked for.
    index: OnceLock<Arc<BTreeMap<V::Term, Vec<K>>>>,
    /// Keys that may have changed since.
    touched: BTreeSet<K>,
}

impl<K: Key, V: Object> Default for Overlay<K, V> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), index: OnceLock::new(), touched: BTreeSet::new() }
    }
}

impl<K: Key, V: Object> Overlay<K, V> {
    /// To look only.
    pub fn objects(&self) -> &BTreeMap<K, Option<V>> {
        &self.objects
    }

    /// The place of one object, to change it.
    pub fn place(&mut self, key: K) -> Option<&mut Option<V>> {
        self.touch(key);
        self.objects.get_mut(&key)
    }

    pub fn put(&mut self, key: K, object: Option<V>) {
        self.touch(key);
        self.objects.insert(key, object);
    }

    /// All objects, to change any of them.
    pub fn all_mut(&mut self) -> &mut BTreeMap<K, Option<V>> {
        self.index.take();
        self.touched.clear();
        &mut self.objects
    }

    /// The keys of those that answer to a term, in any order.
    pub fn keys_having(&self, term: &V::Term) -> Vec<K> {
        /// Below it, to look at each costs less than an index.
        const FEW: usize = 16;
        let answers = |key: &&K| {
            self.objects
                .get(key)
                .is_some_and(|object| object.as_ref().is_some_and(|object| object.terms().contains(term)))
        };
        if self.index.get().is_none() && self.objects.len() <= FEW {
            return self.objects.keys().filter(answers).copied().collect();
        }
        let index = self.index.get_or_init(|| Arc::new(self.indexed()));
        let settled = index.get(term).into_iter().flatten().filter(|key| !self.touched.contains(key));
        settled.chain(self.touched.iter().filter(answers)).copied().collect()
    }

    fn indexed(&self) -> BTreeMap<V::Term, Vec<K>> {
        let mut index = BTreeMap::<_, Vec<K>>::new();
        for (key, object) in &self.objects {
            for term in object.iter().flat_map(Object::terms) {
                index.entry(term).or_default().push(*key);
            }
        }
        index
    }

    fn touch(&mut self, key: K) {
        if self.index.get().is_none() {
            return;
        }
        self.touched.insert(key);
        // Looking through them would cost more than a new index.
        if self.touched.len() > 64 + self.objects.len() / 8 {
            self.index.take();
            self.touched.clear();
        }
    }
}
