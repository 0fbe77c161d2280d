//! What was read, kept where it lies.

use std::{
    hash::{DefaultHasher, Hash, Hasher as _},
    sync::OnceLock,
};

/// Values by key that are added behind a shared reference. A value never moves and never goes, so a reference to it is
/// good for as long as the memo is. A hash trie of cells that are each written once.
pub struct Memo<K, V> {
    root: Cell<K, V>,
}

type Cell<K, V> = OnceLock<Box<Node<K, V>>>;

struct Node<K, V> {
    key: K,
    value: V,
    /// By the next two bits of the hash.
    below: [Cell<K, V>; 4],
}

impl<K, V> Default for Memo<K, V> {
    fn default() -> Self {
        Self { root: Cell::new() }
    }
}

impl<K: Clone + Eq + Hash, V> Memo<K, V> {
    /// The value of that key: the one that is there, else what `value` returns.
    pub fn get_or_add(&self, key: &K, value: impl Fn() -> V) -> &V {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let mut hash = hasher.finish();
        let mut cell = &self.root;
        loop {
            let new = || Box::new(Node { key: key.clone(), value: value(), below: Default::default() });
            let node = cell.get_or_init(new);
            if node.key == *key {
                return &node.value;
            }
            cell = &node.below[usize::from(hash as u8 & 3)];
            hash >>= 2;
        }
    }
}
