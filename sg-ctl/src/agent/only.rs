//! One agent a host: two would do everything twice.

use crate::error::{Refusal, Result};
use anyhow::Context as _;
use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    process,
};

/// Held for as long as the agent runs. The kernel lets go of it with the process, however that ends; the file stays, and
/// means nothing by itself.
pub struct Only(#[expect(dead_code, reason = "its lock is what is wanted")] File);

impl Only {
    /// Becomes the agent of a state directory.
    ///
    /// # Errors
    /// `IncorrectState` where another is, with its process; where the directory cannot be written.
    pub fn take(state_dir: &Path) -> Result<Self> {
        let path = state_dir.join("agent.lock");
        let cannot = || format!("cannot write {}", path.display());
        DirBuilder::new().recursive(true).mode(0o700).create(state_dir).with_context(cannot)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).with_context(cannot)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(taken(&mut file, state_dir).into()),
            Err(TryLockError::Error(error)) => return Err(error).with_context(cannot),
        }
        file.set_len(0).with_context(cannot)?;
        writeln!(file, "{}", process::id()).with_context(cannot)?;
        Ok(Self(file))
    }
}

fn taken(file: &mut File, state_dir: &Path) -> Refusal {
    let mut holder = String::new();
    // Whoever has taken it this instant has not written yet.
    let _ = file.read_to_string(&mut holder);
    let holder = match holder.trim() {
        "" => String::new(),
        process => format!(" (process {process})"),
    };
    let message = format!(
        "an agent{holder} runs already for the state in {}, and one is enough; stop it first, with `systemctl stop \
         sg-agent` where systemd started it, or give another --state-dir for another host",
        state_dir.display()
    );
    Refusal::new("IncorrectState", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("not/there/yet");
        let first = Only::take(&state).unwrap();
        let refused = Only::take(&state).err().unwrap().to_string();
        let wanted = format!("IncorrectState: an agent (process {}) runs already", process::id());
        assert!(refused.starts_with(&wanted), "{refused}");
        drop(first);
        Only::take(&state).unwrap();
    }
}
