//! What a state has otherwise than its store.

use super::{Key, Object};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};

/// Keys by term.
type Terms<K, V> = BTreeMap<<V as Object>::Term, BTreeSet<K>>;

/// Objects by key, `None` those that are gone, and found by their terms.
#[derive(Clone)]
pub struct Overlay<K: Key, V: Object> {
    objects: BTreeMap<K, Option<V>>,
    /// Made when it is first asked for, and right from then on for every key but the one in `touched`.
    index: OnceLock<Arc<Terms<K, V>>>,
    /// The key whose object may have changed since the index was last brought up to it, with its terms there.
    touched: Option<(K, Vec<V::Term>)>,
}

impl<K: Key, V: Object> Default for Overlay<K, V> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), index: OnceLock::new(), touched: None }
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
        self.touched = None;
        &mut self.objects
    }

    /// The keys of those that answer to a term, in any order.
    pub fn keys_having(&self, term: &V::Term) -> Vec<K> {
        /// Below it, to look at each costs less than an index.
        const FEW: usize = 16;
        let answers = |key: &&K| self.terms(key).contains(term);
        if self.index.get().is_none() && self.objects.len() <= FEW {
            return self.objects.keys().filter(answers).copied().collect();
        }
        let index = self.index.get_or_init(|| Arc::new(self.indexed()));
        let touched = self.touched.as_ref().map(|(key, _)| key);
        let settled = index.get(term).into_iter().flatten().filter(|key| Some(*key) != touched);
        settled.chain(touched.into_iter().filter(answers)).copied().collect()
    }

    fn terms(&self, key: &K) -> Vec<V::Term> {
        self.objects.get(key).and_then(Option::as_ref).map_or_else(Vec::new, Object::terms)
    }

    fn indexed(&self) -> Terms<K, V> {
        let mut index = Terms::<K, V>::new();
        for (key, object) in &self.objects {
            for term in object.iter().flat_map(Object::terms) {
                index.entry(term).or_default().insert(*key);
            }
        }
        index
    }

    /// Notes that an object is about to change. What changed before has done so by now: whoever had it in hand gave it
    /// back.
    fn touch(&mut self, key: K) {
        if self.index.get().is_none() || self.touched.as_ref().is_some_and(|(last, _)| *last == key) {
            return;
        }
        if let Some((last, before)) = self.touched.replace((key, self.terms(&key))) {
            self.settle(last, &before);
        }
    }

    /// Brings the index up to one key, which it has under these terms.
    fn settle(&mut self, key: K, before: &[V::Term]) {
        let now = self.terms(&key);
        let Some(index) = self.index.get_mut().filter(|_| now != before) else { return };
        let index = Arc::make_mut(index);
        for term in before {
            if let Some(keys) = index.get_mut(term) {
                keys.remove(&key);
            }
        }
        for term in now {
            index.entry(term).or_default().insert(key);
        }
    }
}
