//! `counters --watch`: the same every second, until somebody has seen enough.

use crate::{
    context::Context,
    error::{Refusal, Result},
    observe::{self, Counters},
    render::{self, Look, Output},
    time::{now, rfc3339},
};
use anyhow::Context as _;
use std::{
    io::{self, Write as _},
    time::{Duration, Instant},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

const EVERY: Duration = Duration::from_secs(1);

/// To the upper left corner, and nothing below it: what a terminal shows is replaced.
const CLEAR: &[u8] = b"\x1b[H\x1b[J";

/// Prints the counters of all attached interfaces, or of one, every second. Ends on SIGINT and SIGTERM, and when nobody
/// reads any more. Waits for no command that is at work.
///
/// # Errors
/// As for [`observe::counters`]; also later, when the interface has gone.
pub fn counters(ctx: &Context, interface: Option<&str>, output: Output) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the event loop")?.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let mut seconds = interval(EVERY);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before: Option<(Counters, Instant)> = None;
        loop {
            tokio::select! {
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                _ = seconds.tick() => {}
            }
            let moment = Instant::now();
            let counters = observe::counters_at_a_glance(ctx, interface)?;
            let before_this = before.as_ref().map(|(counters, then)| (counters, moment - *then));
            let look = Look { time: rfc3339(now()), counters: &counters, before: before_this };
            let mut shown = Vec::new();
            match output {
                Output::Table if render::stdout().width.is_some() => shown.extend(CLEAR),
                Output::Table if before.is_some() => shown.push(b'\n'),
                _ => {}
            }
            render::watched(&mut shown, output, &look)?;
            if !write(&shown)? {
                return Ok(());
            }
            before = Some((counters, moment));
        }
    })
}

/// False where nobody reads any more.
fn write(shown: &[u8]) -> Result<bool> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(shown).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => {
            let message = format!("the counters cannot be written: {error}; give another place for them");
            Err(Refusal::new("OutputError", message).into())
        }
    }
}
