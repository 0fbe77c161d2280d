//! Where a command works: its store, its bpffs directory, its network namespace.

use crate::store::Store;
use std::path::PathBuf;

/// One "host": a store, a directory below a bpffs, and a network namespace. Several can live on one machine.
pub struct Context {
    /// The desired state.
    pub store: Box<dyn Store>,
    /// Where programs, links and maps are pinned.
    pub bpffs: PathBuf,
    /// `--netns` as given; the process has entered it already.
    pub netns: Option<String>,
}
