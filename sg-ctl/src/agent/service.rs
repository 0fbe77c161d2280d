//! What the agent tells systemd, where that started it: that it is ready, that it is alive, that it stops (sd_notify(3)).
//! Elsewhere nobody is told.

use sd_notify::NotifyState;
use std::time::{Duration, Instant};

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::warn!("cannot tell systemd {state:?}: {error}");
    }
}

/// What is attached is in step with the store, and followed.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// It was asked to stop.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Says that the event loop goes round, three times in the time that the unit's `WatchdogSec` gives it.
pub struct Watchdog {
    /// `None` where nobody watches.
    every: Option<Duration>,
    last: Instant,
}

impl Watchdog {
    /// Asks whether somebody watches.
    pub fn new() -> Self {
        Self { every: sd_notify::watchdog_enabled().map(|within| within / 3), last: Instant::now() }
    }

    /// The loop has gone round.
    pub fn alive(&mut self) {
        if self.every.is_some_and(|every| self.last.elapsed() >= every) {
            tell(&[NotifyState::Watchdog]);
            self.last = Instant::now();
        }
    }
}
