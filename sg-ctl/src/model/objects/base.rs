//! What a store has of one kind of object, as of one moment.

use super::{Key, Object, memo::Memo};
use crate::error::{Result, give_up};
use std::{collections::BTreeMap, ops::RangeInclusive, sync::OnceLock};

/// A store as it was at one moment, for one kind of object. Whatever becomes of the store, the answers stay the same.
pub trait Source<K: Key, V: Object>: Send + Sync {
    /// The object of that key.
    fn get(&self, key: &K) -> Result<Option<V>>;

    /// Every object.
    fn all(&self) -> Result<BTreeMap<K, V>>;

    /// How many objects there are.
    fn count(&self) -> Result<usize>;

    /// The objects that answer to a term, in any order.
    fn having(&self, term: &V::Term) -> Result<Vec<(K, V)>>;

    /// Their keys alone, in any order.
    fn keys_having(&self, term: &V::Term) -> Result<Vec<K>>;

    /// What follows the name in terms `name=…`, each with the key of the object that answers to it, in any order.
    fn terms_named(&self, name: &str) -> Result<Vec<(K, String)>> {
        let all = self.all()?;
        let named = all.iter().flat_map(|(key, object)| object.named(name).map(|rest| (*key, rest)));
        Ok(named.collect())
    }

    /// How many objects answer to a term.
    fn count_having(&self, term: &V::Term) -> Result<usize> {
        Ok(self.keys_having(term)?.len())
    }

    /// The objects between two keys, both included, in any order.
    fn range(&self, range: RangeInclusive<K>) -> Result<Vec<(K, V)>> {
        let among = self.all()?;
        Ok(among.range(range).map(|(key, object)| (*key, object.clone())).collect())
    }
}

/// A source with what was read from it so far.
pub struct Base<K: Key, V: Object> {
    /// None of a base without objects.
    source: Option<Box<dyn Source<K, V>>>,
    /// Objects that were read one by one, and keys of which there is none.
    read: Memo<K, Option<V>>,
    /// Keys of the objects that answer to a term that was asked for.
    found: Memo<V::Term, Vec<K>>,
    /// Once everything was asked for.
    all: OnceLock<BTreeMap<K, V>>,
}

impl<K: Key, V: Object> Default for Base<K, V> {
    fn default() -> Self {
        Self { source: None, read: Memo::default(), found: Memo::default(), all: OnceLock::new() }
    }
}

impl<K: Key, V: Object> Base<K, V> {
    pub fn new(source: Box<dyn Source<K, V>>) -> Self {
        Self { source: Some(source), ..Self::default() }
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        let source = self.source.as_ref()?;
        if let Some(all) = self.all.get() {
            return all.get(key);
        }
        self.read.get_or_add(key, || read(source.get(key))).as_ref()
    }

    /// Everything, from now on without further questions to the source.
    pub fn all(&self) -> &BTreeMap<K, V> {
        let all = || self.source.as_ref().map_or_else(BTreeMap::new, |source| read(source.all()));
        self.all.get_or_init(all)
    }

    pub fn len(&self) -> usize {
        match (self.all.get(), &self.source) {
            (Some(all), _) => all.len(),
            (None, Some(source)) => read(source.count()),
            (None, None) => 0,
        }
    }

    pub fn having(&self, term: &V::Term) -> Vec<(K, &V)> {
        let Some(source) = &self.source else { return Vec::new() };
        let found = self.found.get_or_add(term, || {
            self.keep(read(source.having(term))).into_iter().map(|(key, _)| key).collect()
        });
        found.iter().filter_map(|key| Some((*key, self.get(key)?))).collect()
    }

    pub fn keys_having(&self, term: &V::Term) -> Vec<K> {
        self.source.as_ref().map_or_else(Vec::new, |source| read(source.keys_having(term)))
    }

    pub fn terms_named(&self, name: &str) -> Vec<(K, String)> {
        self.source.as_ref().map_or_else(Vec::new, |source| read(source.terms_named(name)))
    }

    pub fn count_having(&self, term: &V::Term) -> usize {
        self.source.as_ref().map_or(0, |source| read(source.count_having(term)))
    }

    pub fn range(&self, range: RangeInclusive<K>) -> Vec<(K, &V)> {
        match (self.all.get(), &self.source) {
            (Some(all), _) => all.range(range).map(|(key, object)| (*key, object)).collect(),
            (None, Some(source)) => self.keep(read(source.range(range))),
            (None, None) => Vec::new(),
        }
    }

    /// References to what was read, which stay good.
    fn keep(&self, rows: Vec<(K, V)>) -> Vec<(K, &V)> {
        let kept = |(key, object): (K, V)| {
            let kept = self.read.get_or_add(&key, || Some(object.clone()));
            Some((key, kept.as_ref()?))
        };
        rows.into_iter().filter_map(kept).collect()
    }
}

/// What a source answered. A source that cannot be read ends the command: nothing may be decided on a part of the state.
fn read<T>(answer: Result<T>) -> T {
    answer.unwrap_or_else(|error| give_up(error))
}
