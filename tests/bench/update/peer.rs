//! nftables: a table with one set and one rule.

use super::timed::{Took, finish};
use sg_tests::net::Namespace;
use std::{fs, net::Ipv4Addr, path::Path, process::Command, time::Duration};

/// Filling one takes at most this long.
const PATIENCE: Duration = Duration::from_secs(180);

/// A set in a namespace of its own.
pub struct Set(Namespace);

impl Set {
    /// A set with these flags that holds these elements; or why there is none.
    pub fn new(elements: &str, flags: &str) -> Result<Self, String> {
        let namespace = Namespace::new("nft");
        let text = format!(
            "table inet bench {{\nset known {{ type ipv4_addr; {flags} elements = {{ {elements} }} }}\n\
             chain input {{ type filter hook input priority 0; policy drop; ip saddr @known accept; }}\n}}\n"
        );
        run_file(&namespace, &text, PATIENCE).map_err(|error| format!("not set up: {error}"))?;
        Ok(Self(namespace))
    }

    /// One element more.
    pub fn add(&self, address: Ipv4Addr, limit: Duration) -> Took {
        let element = format!("add element inet bench known {{ {address} }}");
        self.0.inside(|| finish(Command::new("nft").args(element.split_whitespace()), limit))
    }

    /// These elements and no others, in one transaction.
    pub fn replace(&self, elements: &str, limit: Duration) -> Took {
        let text = format!("flush set inet bench known\nadd element inet bench known {{ {elements} }}\n");
        run_file(&self.0, &text, limit)
    }
}

/// `nft -f` of a text.
pub fn run_file(namespace: &Namespace, text: &str, limit: Duration) -> Took {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    run_path(namespace, file.path(), limit)
}

/// `nft -f`
pub fn run_path(namespace: &Namespace, path: &Path, limit: Duration) -> Took {
    namespace.inside(|| finish(Command::new("nft").arg("-f").arg(path), limit))
}
