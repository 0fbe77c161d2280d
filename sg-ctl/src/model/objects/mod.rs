//! Objects of one kind by key, as a map of which the store's part is read when it is asked for.
//!
//! Most methods are those of [`BTreeMap`]. Asking for one object reads one row; asking for all reads all of the kind. What
//! is changed lies over what was read: so a copy is cheap, and what a command changed is known without comparing the rest.
//! A row that cannot be read ends the command there and then, by [`crate::error::give_up`].

mod base;
mod iter;
mod memo;
mod overlay;

pub use base::Source;
pub use iter::Iter;

use base::Base;
use overlay::Overlay;
use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    fmt,
    hash::Hash,
    ops::{Index, RangeInclusive},
    sync::Arc,
};

/// What objects are kept by.
pub trait Key: Copy + Ord + Hash + fmt::Debug + Send + Sync + 'static {}

impl<K: Copy + Ord + Hash + fmt::Debug + Send + Sync + 'static> Key for K {}

/// What is kept.
pub trait Object: Clone + PartialEq + fmt::Debug + Send + Sync + 'static {
    /// What objects of this kind are found by, besides their keys. Its text is what the store's index holds, and never
    /// changes its meaning.
    type Term: Ord + Hash + Clone + fmt::Display + Send + Sync;

    /// The terms that this object answers to, each once.
    fn terms(&self) -> Vec<Self::Term>;

    /// What follows the name in those of its terms that are `name=…`.
    fn named(&self, name: &str) -> impl Iterator<Item = String> {
        let terms = self.terms().into_iter().map(|term| term.to_string());
        terms.filter_map(move |term| Some(term.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
    }
}

/// The term of a kind that is found by its keys alone.
pub type NoTerm = Infallible;

/// Objects of one kind.
pub struct Objects<K: Key, V: Object> {
    /// What the store had, shared by all states that came of the same reading.
    base: Arc<Base<K, V>>,
    /// What this state has otherwise.
    overlay: Overlay<K, V>,
}

/// One object before and after a change: absent where it came or went.
pub type Change<'a, K, V> = (K, Option<&'a V>, Option<&'a V>);

impl<K: Key, V: Object> Objects<K, V> {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Those of a store, which is read when it is asked for.
    pub fn of(source: impl Source<K, V> + 'static) -> Self {
        Self { base: Arc::new(Base::new(Box::new(source))), overlay: Overlay::default() }
    }

    /// The object of that key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.overlay.objects().get(key).map_or_else(|| self.base.get(key), Option::as_ref)
    }

    /// Whether there is one.
    #[must_use]
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// The object of that key, to change it.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        if !self.overlay.objects().contains_key(key) {
            self.overlay.put(*key, Some(self.base.get(key)?.clone()));
        }
        self.overlay.place(*key)?.as_mut()
    }

    /// Puts an object there, whatever was there before: unlike that of a map, this reads nothing.
    pub fn insert(&mut self, key: K, object: V) {
        self.overlay.put(key, Some(object));
    }

    /// Takes an object away and returns it.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let removed = match self.overlay.place(*key) {
            Some(place) => place.take(),
            None => self.base.get(key).cloned(),
        };
        if removed.is_some() {
            self.overlay.put(*key, None);
        }
        removed
    }

    /// Takes all away for which `keep` is false. Reads everything.
    pub fn retain(&mut self, keep: impl Fn(&K, &V) -> bool) {
        let gone: Vec<K> =
            self.iter().filter(|(key, object)| !keep(key, object)).map(|(key, _)| *key).collect();
        gone.into_iter().for_each(|key| self.overlay.put(key, None));
    }

    /// Takes all away.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        let changed = self.overlay.objects();
        let came = changed.values().filter(|object| object.is_some()).count();
        // Nothing to subtract where nothing was there, as of a state that came of no store.
        let former = match self.base.len() {
            0 => 0,
            all => all - changed.keys().filter(|key| self.base.get(key).is_some()).count(),
        };
        came + former
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All, in the order of their keys. Reads everything.
    #[must_use]
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter::new(self.base.all(), self.overlay.objects())
    }

    /// Their keys, in order. Reads everything.
    pub fn keys(&self) -> impl Iterator<Item = &K> + Clone {
        self.iter().map(|(key, _)| key)
    }

    /// All, in the order of their keys. Reads everything.
    pub fn values(&self) -> impl Iterator<Item = &V> + Clone {
        self.iter().map(|(_, object)| object)
    }

    /// All, to change any of them. Reads everything, and copies it.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        let changed = self.overlay.all_mut();
        for (key, object) in self.base.all() {
            changed.entry(*key).or_insert_with(|| Some(object.clone()));
        }
        changed.values_mut().filter_map(Option::as_mut)
    }

    /// Reads everything at once, where so much will be asked for that one question is cheaper than many.
    pub fn read_all(&self) {
        self.base.all();
    }

    /// Those that answer to a term, in the order of their keys.
    pub fn having(&self, term: &V::Term) -> impl Iterator<Item = &V> + Clone + use<'_, K, V> {
        let changed = self.overlay.objects();
        let mut found: Vec<(K, &V)> = self.base.having(term);
        found.retain(|(key, _)| !changed.contains_key(key));
        let own = self.overlay.keys_having(term);
        found.extend(own.into_iter().filter_map(|key| Some((key, changed.get(&key)?.as_ref()?))));
        found.sort_unstable_by_key(|(key, _)| *key);
        found.into_iter().map(|(_, object)| object)
    }

    /// The keys of those that answer to a term, in order.
    pub fn keys_having(&self, term: &V::Term) -> Vec<K> {
        let mut found = self.base.keys_having(term);
        found.retain(|key| !self.overlay.objects().contains_key(key));
        found.extend(self.overlay.keys_having(term));
        found.sort_unstable();
        found
    }

    /// What follows the name in terms `name=…`, with the keys of the objects that answer to them, in order. A part of many
    /// objects that is kept in a term is had without reading the objects.
    #[must_use]
    pub fn terms_named(&self, name: &str) -> Vec<(K, String)> {
        let changed = self.overlay.objects();
        let mut found = self.base.terms_named(name);
        found.retain(|(key, _)| !changed.contains_key(key));
        for (key, object) in changed {
            found.extend(object.iter().flat_map(|object| object.named(name)).map(|rest| (*key, rest)));
        }
        found.sort_unstable();
        found
    }

    /// How many answer to a term.
    #[must_use]
    pub fn count_having(&self, term: &V::Term) -> usize {
        let former = match self.base.count_having(term) {
            0 => 0,
            all => {
                let changed = self.overlay.objects().keys().filter_map(|key| self.base.get(key));
                all - changed.filter(|object| object.terms().contains(term)).count()
            }
        };
        former + self.overlay.keys_having(term).len()
    }

    /// Those between two keys, both included, in order.
    pub fn range(&self, range: RangeInclusive<K>) -> Vec<(K, &V)> {
        let changed = self.overlay.objects();
        let mut found = self.base.range(range.clone());
        found.retain(|(key, _)| !changed.contains_key(key));
        found.extend(changed.range(range).filter_map(|(key, object)| Some((*key, object.as_ref()?))));
        found.sort_unstable_by_key(|(key, _)| *key);
        found
    }

    /// What is otherwise than in `before`, in the order of the keys. Costs what was changed, where both came of the same
    /// reading of the store.
    #[must_use]
    pub fn changes_from<'a>(&'a self, before: &'a Self) -> Vec<Change<'a, K, V>> {
        let keys: BTreeSet<&K> = if Arc::ptr_eq(&self.base, &before.base) {
            let (ours, theirs) = (self.overlay.objects(), before.overlay.objects());
            self.expect_lookups(ours.len() + theirs.len());
            ours.keys().chain(theirs.keys()).collect()
        } else {
            self.keys().chain(before.keys()).collect()
        };
        let pairs = keys.into_iter().map(|key| (*key, before.get(key), self.get(key)));
        pairs.filter(|(_, before, after)| before != after).collect()
    }

    /// Reads everything where about as much will be looked up one by one.
    fn expect_lookups(&self, lookups: usize) {
        /// Below it, to count what there is costs more than it can save.
        const FEW: usize = 256;
        if lookups > FEW && lookups * 4 > self.base.len() {
            self.read_all();
        }
    }
}

impl<K: Key, V: Object> Default for Objects<K, V> {
    fn default() -> Self {
        Self { base: Arc::default(), overlay: Overlay::default() }
    }
}

impl<K: Key, V: Object> Clone for Objects<K, V> {
    fn clone(&self) -> Self {
        Self { base: self.base.clone(), overlay: self.overlay.clone() }
    }
}

impl<K: Key, V: Object> PartialEq for Objects<K, V> {
    fn eq(&self, other: &Self) -> bool {
        if Arc::ptr_eq(&self.base, &other.base) {
            self.changes_from(other).is_empty()
        } else {
            self.iter().eq(other.iter())
        }
    }
}

impl<K: Key, V: Object + Eq> Eq for Objects<K, V> {}

impl<K: Key, V: Object> fmt::Debug for Objects<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Key, V: Object, Q: Borrow<K>> Index<Q> for Objects<K, V> {
    type Output = V;

    /// # Panics
    /// As a map does, where there is none of that key.
    fn index(&self, key: Q) -> &V {
        self.get(key.borrow()).unwrap_or_else(|| panic!("there is no {:?}", key.borrow()))
    }
}

impl<K: Key, V: Object> Extend<(K, V)> for Objects<K, V> {
    fn extend<T: IntoIterator<Item = (K, V)>>(&mut self, objects: T) {
        objects.into_iter().for_each(|(key, object)| self.insert(key, object));
    }
}

impl<K: Key, V: Object> FromIterator<(K, V)> for Objects<K, V> {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(objects: T) -> Self {
        let mut all = Self::default();
        all.extend(objects);
        all
    }
}

impl<K: Key, V: Object> From<BTreeMap<K, V>> for Objects<K, V> {
    fn from(objects: BTreeMap<K, V>) -> Self {
        objects.into_iter().collect()
    }
}

impl<K: Key, V: Object, const N: usize> From<[(K, V); N]> for Objects<K, V> {
    fn from(objects: [(K, V); N]) -> Self {
        objects.into_iter().collect()
    }
}

impl<'a, K: Key, V: Object> IntoIterator for &'a Objects<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
#[path = "property_tests.rs"]
mod tests;
