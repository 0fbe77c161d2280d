//! `sg-ctl top`: a live screen of what passes, what is dropped, and who talks.
//!
//! [`sample`] and [`flows`] look at the host, [`screen`] holds what is shown and how, [`input`] is what keys do to it, [`view`]
//! draws it, [`terminal`] borrows the terminal and gives it back.

mod drops;
mod flows;
mod input;
mod sample;
mod screen;
mod terminal;
mod view;

use crate::{
    context::Context,
    error::{Refusal, Result},
    monitor::{End, Heard, Monitor, Request},
};
use anyhow::Context as _;
use crossterm::event::{Event, EventStream};
use futures_util::StreamExt as _;
use input::Next;
use sample::Sampler;
use screen::Screen;
use sg_common::event::what;
use std::{io, time::Duration};
use terminal::Borrowed;
pub use terminal::check;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

/// How often it looks at counters and flow tables.
const EVERY: Duration = Duration::from_secs(1);
/// Of a host with very many flows it looks at most this part of the time.
const REST: u32 = 5;
/// How often it takes in the drops that the kernel tells of, and draws them.
const HEAR: Duration = Duration::from_millis(100);

/// Shows all attached interfaces, or one, until the user has seen enough, a signal comes, or what is shown is gone. Takes the
/// host's lock once, at the start, to be told of drops.
///
/// # Errors
/// `InvalidNetworkInterfaceID.NotFound`; `IncorrectState` where the
/// interface is not enforced or nothing is attached; where store, kernel or terminal fail.
pub fn run(ctx: &Context, interface: Option<&str>) -> Result<End> {
    let request =
        Request { interface: interface.map(str::to_owned), wants: what::DROPPED, ..Request::default() };
    let mut screen = Screen::new(interface);
    let monitor = match Monitor::begin(ctx, &request) {
        Ok(monitor) => Some(monitor),
        // The rest can be seen without.
        Err(error) => {
            screen.drops.refused(full(error)?);
            None
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    runtime.block_on(follow(ctx, interface, screen, monitor))
}

async fn follow(
    ctx: &Context,
    interface: Option<&str>,
    mut screen: Screen,
    mut monitor: Option<Monitor<'_>>,
) -> Result<End> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut hang_up = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let mut sampler = Sampler::default();
    let mut next_look = Instant::now();
    let mut renewed = Instant::now();
    let mut hears = interval(HEAR);
    hears.set_missed_tick_behavior(MissedTickBehavior::Delay);

    let mut terminal = Borrowed::take()?;
    let mut keys = EventStream::new();
    loop {
        let changed = tokio::select! {
            _ = terminate.recv() => return Ok(End::Enough),
            _ = interrupt.recv() => return Ok(End::Enough),
            _ = hang_up.recv() => return Ok(End::Enough),
            event = keys.next() => match event {
                Some(Ok(Event::Key(key))) if key.is_press() => match screen.key(&key) {
                    Next::Quit => return Ok(End::Enough),
                    Next::Draw => true,
                },
                Some(Ok(Event::Resize(..))) => true,
                Some(Ok(_)) => false,
                Some(Err(error)) => return Err(failed(&error)),
                None => return Ok(End::Enough),
            },
            () = sleep_until(next_look) => {
                let began = Instant::now();
                match sampler.look(ctx, interface) {
                    Ok(sample) => screen.look(sample),
                    Err(error) => return gone(error, interface),
                }
                next_look = began + EVERY.max(began.elapsed() * REST);
                true
            }
            _ = hears.tick() => match &mut monitor {
                Some(monitor) => {
                    let mut hear = |heard: Heard<'_>| Ok(screen.hear(&heard));
                    let mut end = None;
                    if monitor.look(&mut hear)? && renewed.elapsed() >= EVERY {
                        renewed = Instant::now();
                        end = monitor.keep(&mut hear)?;
                    }
                    if let Some(end) = end {
                        return Ok(end);
                    }
                    screen.drops.take_news()
                }
                None => false,
            }
        };
        if changed {
            let mut page = 1;
            terminal.draw(|frame| page = view::draw(frame, &screen)).map_err(|error| failed(&error))?;
            screen.page = page;
        }
    }
}

/// What to say where nobody more can be told of drops; other errors are errors.
fn full(error: anyhow::Error) -> Result<String> {
    match error.downcast_ref::<Refusal>() {
        Some(refusal) if refusal.code == "ResourceLimitExceeded" => Ok(refusal.message.clone()),
        _ => Err(error),
    }
}

/// The interface was there when this began.
fn gone(error: anyhow::Error, interface: Option<&str>) -> Result<End> {
    match (error.downcast_ref::<Refusal>(), interface) {
        (Some(refusal), Some(name)) if refusal.code == "InvalidNetworkInterfaceID.NotFound" => {
            Ok(End::Detached(name.to_owned()))
        }
        _ => Err(error),
    }
}

fn failed(error: &io::Error) -> anyhow::Error {
    Refusal::new("OutputError", format!("the terminal fails: {error}")).into()
}
