//! The kernel's jiffies, which it shows to nobody but programs: a program tells.

use super::{map::BpfMap, sys};
use anyhow::{Context, Result, ensure};
use sg_common::policy::{CLOCK_JIFFIES, CLOCK_MONOTONIC, CLOCK_TEST};
use std::{os::fd::AsFd, path::Path, time::Duration};

/// What the clock program read.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Jiffies.
    pub jiffies: u64,
    /// The monotonic clock at that moment, nanoseconds.
    monotonic: u64,
}

/// Runs the clock program once.
pub fn read(program: &impl AsFd, cells: &BpfMap<u32, u64>) -> Result<Reading> {
    sys::test_run(program.as_fd(), &[0; 64]).context("cannot run the clock program")?;
    let cell = |index: u32| anyhow::Ok(cells.get(&index)?.unwrap_or(0));
    Ok(Reading { jiffies: cell(CLOCK_JIFFIES)?, monotonic: cell(CLOCK_MONOTONIC)? })
}

/// Jiffies now, as the host's programs have them.
pub fn now(host: &Path, cells: &BpfMap<u32, u64>) -> Result<u64> {
    let program = sys::open_pinned(&host.join("clock")).context("cannot open the clock program")?;
    Ok(both(&program, cells)?.0)
}

/// The programs' now in jiffies, and the monotonic clock in nanoseconds. Where a test moves the clock, its cell is the time
/// here as well.
pub fn both(program: &impl AsFd, cells: &BpfMap<u32, u64>) -> Result<(u64, u64)> {
    let reading = read(program, cells)?;
    let moved = cells.get(&CLOCK_TEST)?.filter(|&moved| moved != 0);
    Ok((moved.unwrap_or(reading.jiffies), reading.monotonic))
}

/// Values that `CONFIG_HZ` can have (`kernel/Kconfig.hz`).
const RATES: [u32; 4] = [100, 250, 300, 1000];

/// Finds `CONFIG_HZ` by counting jiffies for a moment: they are counted off the monotonic clock.
pub fn find_hz(program: &impl AsFd, cells: &BpfMap<u32, u64>) -> Result<u32> {
    let first = read(program, cells)?;
    for pause in [60, 400, 2000] {
        std::thread::sleep(Duration::from_millis(pause));
        let last = read(program, cells)?;
        if let Some(rate) = rate(last.jiffies.wrapping_sub(first.jiffies), last.monotonic - first.monotonic) {
            return Ok(rate);
        }
    }
    ensure!(false, "cannot find out how fast this kernel's clock ticks");
    Ok(0)
}

/// The one rate that explains `jiffies` counted in `nanoseconds`, to one more or less; `None` where several do.
fn rate(jiffies: u64, nanoseconds: u64) -> Option<u32> {
    let seconds = nanoseconds as f64 / 1e9;
    let mut fitting =
        RATES.into_iter().filter(|&rate| (f64::from(rate) * seconds - jiffies as f64).abs() <= 1.5);
    let only = fitting.next()?;
    fitting.next().is_none().then_some(only)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_told_once_the_count_leaves_no_doubt() {
        assert_eq!(rate(15, 60_000_000), Some(250));
        assert_eq!(rate(1, 5_000_000), None, "250 and 300 look alike for 5 ms");
        assert_eq!(rate(400, 400_000_000), Some(1000));
        assert_eq!(rate(40, 400_000_000), Some(100));
        assert_eq!(rate(70, 400_000_000), None, "no rate that Linux has");
    }
}
