//! Questions to the index of long prefix lists, answered in the kernel (`sg-ebpf/bench/index.rs`).
#![expect(clippy::unwrap_used, reason = "test support: a failure should stop the test where it happens")]

use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, MapData},
    programs::{SchedClassifier, TestRun, TestRunOptions},
};
use sg_common::index::Query;
use sg_ctl::{
    compile::{Family, Net},
    kernel::{BpfMap, Plain, index::Index, object},
};
use std::{
    env,
    os::fd::{AsFd, AsRawFd},
    path::{Path, PathBuf},
    time::Duration,
};

/// The benchmarks' own BPF programs lie beside the shipped ones.
///
/// # Panics
/// Outside of `cargo xtask test`, which says where that is.
#[must_use]
pub fn programs() -> PathBuf {
    let shipped = env::var_os("SG_EBPF_OBJECT").expect("SG_EBPF_OBJECT, as `cargo xtask test` sets it");
    PathBuf::from(shipped).with_file_name("sg-index")
}

/// What answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The index.
    Index,
    /// The kernel's trie.
    Trie,
    /// Nobody: what a question costs besides.
    Nothing,
}

impl By {
    fn program(self, family: Family) -> &'static str {
        match (self, family) {
            (Self::Index, Family::V4) => "index4",
            (Self::Index, Family::V6) => "index6",
            (Self::Trie, Family::V4) => "trie4",
            (Self::Trie, Family::V6) => "trie6",
            (Self::Nothing, _) => "neither",
        }
    }
}

/// The programs, and what they look up.
pub struct Oracle {
    object: Ebpf,
    family: Family,
    queries: u32,
}

impl Oracle {
    /// With room for so many questions, a power of two, and for so many prefixes in the trie.
    ///
    /// # Panics
    /// Where the kernel refuses.
    #[must_use]
    pub fn new(programs: &Path, family: Family, queries: u32, prefixes: u32) -> Self {
        let (bytes, mask) = (std::fs::read(programs).unwrap(), queries - 1);
        let trie = if family == Family::V4 { "TRIE4" } else { "TRIE6" };
        let mut loader = EbpfLoader::new();
        loader.override_global("MASK", &mask, true);
        loader.map_max_entries("QUERIES", queries).map_max_entries(trie, prefixes.max(1));
        let mut object = loader.load(&bytes).unwrap();
        for by in [By::Index, By::Trie, By::Nothing] {
            object::load(&mut object, by.program(family)).unwrap();
        }
        Self { object, family, queries }
    }

    fn map<K: Plain, V: Plain>(&self, name: &str) -> BpfMap<K, V> {
        let data: &MapData = match self.object.map(name).unwrap() {
            Map::Array(data) | Map::LpmTrie(data) | Map::ArrayOfMaps(data) => data,
            other => panic!("{name}: {other:?}"),
        };
        BpfMap::new(data.fd().as_fd().try_clone_to_owned().unwrap()).unwrap()
    }

    /// The list whose index is asked from now on.
    pub fn set_index(&self, index: &Index) {
        self.map::<u32, i32>("INDEXES").set(&0, &index.fd().as_raw_fd()).unwrap();
    }

    /// Puts prefixes into the trie.
    pub fn fill_trie(&self, prefixes: &[Net]) {
        if self.family == Family::V4 {
            let entry = |net: &Net| ([u32::from(net.length), words(net.address)[0]], 1);
            self.map::<[u32; 2], u32>("TRIE4")
                .set_all(&prefixes.iter().map(entry).collect::<Vec<_>>())
                .unwrap();
        } else {
            let entry = |net: &Net| {
                let [a, b, c, d] = words(net.address);
                ([u32::from(net.length), a, b, c, d], 1)
            };
            self.map::<[u32; 5], u32>("TRIE6")
                .set_all(&prefixes.iter().map(entry).collect::<Vec<_>>())
                .unwrap();
        }
    }

    /// What will be asked: these addresses, one after the other and again from the start.
    pub fn set_queries(&self, addresses: &[u128], generation: u64) {
        assert_eq!(addresses.len(), self.queries as usize);
        let query = |address: &u128| Query { address: words(*address), generation, answer: 2 };
        let queries: Vec<_> = (0..).zip(addresses.iter().map(query)).collect();
        self.map::<u32, Query>("QUERIES").set_all(&queries).unwrap();
    }

    /// Asks that often, and says how long one question took.
    pub fn ask(&self, by: By, times: u32) -> Duration {
        let program: &SchedClassifier =
            self.object.program(by.program(self.family)).unwrap().try_into().unwrap();
        let options = TestRunOptions { data_in: Some(&[0; 64]), repeat: times, ..TestRunOptions::default() };
        let ran = program.test_run(options).unwrap();
        assert_eq!(ran.return_value, 0, "{by:?} found no question");
        ran.duration
    }

    /// The answers to the questions.
    #[must_use]
    pub fn answers(&self) -> Vec<u64> {
        let queries: Vec<Query> = self.map::<u32, Query>("QUERIES").head(self.queries).unwrap();
        queries.iter().map(|query| query.answer).collect()
    }

    /// The answers to these questions, which may be fewer than there is room for.
    #[must_use]
    pub fn holds(&self, by: By, addresses: &[u128], generation: u64) -> Vec<bool> {
        let mut asked = addresses.to_vec();
        asked.resize(self.queries as usize, 0);
        self.set_queries(&asked, generation);
        self.map::<u32, u64>("TURN").set(&0, &0).unwrap();
        let _ = self.ask(by, self.queries);
        self.answers().iter().take(addresses.len()).map(|answer| *answer == 1).collect()
    }
}

/// A left-aligned address as it stands in packets.
#[must_use]
pub fn words(address: u128) -> [u32; 4] {
    let bytes = address.to_be_bytes();
    [0, 4, 8, 12].map(|at| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]))
}
