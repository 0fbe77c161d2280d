//! `sg-ctl agent`: one process a host that keeps what is enforced in step with the kernel. Optional: every command does
//! the same once, and enforcement never depends on either.

mod only;
mod serve;
mod service;
mod sweep;
mod watch;

use crate::{
    context::Context,
    error::{Result, or_given_up},
    metrics::AgentSeen,
    model::State,
    netns,
    time::now,
    transact::{self, Changed},
    usage::Usage,
};
use anyhow::Context as _;
use only::Only;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};
use sweep::Sweep;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{self, mpsc},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use watch::Watcher;

/// How often the agent looks whether a command has changed the store.
const TICK: Duration = Duration::from_millis(500);
/// How long it waits for more news of the same event: an address comes as several messages.
const CALM: Duration = Duration::from_millis(100);
/// How often it adds up what rules admitted: the datapath's table of that forgets far ends when many new ones come.
const HITS: Duration = Duration::from_secs(10);

/// What the agent is asked for.
#[derive(Debug)]
pub struct Options<'a> {
    /// Whose only agent it is.
    pub state_dir: &'a Path,
    /// Address and port of the metrics endpoint, as typed.
    pub metrics: Option<&'a str>,
}

/// Runs until SIGTERM or SIGINT, as the only agent of the state directory.
///
/// # Errors
/// `IncorrectState` where another agent runs; `InvalidParameterValue`; and where it cannot start. What fails later is
/// logged and tried again.
pub fn run(ctx: Context, options: &Options<'_>) -> Result<()> {
    let address = options.metrics.map(serve::address).transpose()?;
    let _only = Only::take(options.state_dir)?;
    let ctx = Arc::new(ctx);
    let (told, tells) = sync::watch::channel(AgentSeen::default());
    let serving = address.map(|address| {
        let ctx = Arc::clone(&ctx);
        let thread = thread::Builder::new().name("sg-metrics".to_owned());
        thread.spawn(move || serve::run(ctx, address, tells)).context("cannot start a thread")
    });
    let serving = serving.transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the agent's event loop")?;
    let followed = runtime.block_on(follow(&ctx, options, told));
    // It ends with the agent's end of the channel, which is gone.
    let served = serving.map_or(Ok(Ok(())), thread::JoinHandle::join);
    followed.and(served.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}

async fn follow(ctx: &Context, options: &Options<'_>, told: sync::watch::Sender<AgentSeen>) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let (news, mut arrivals) = mpsc::channel(1);
    let mut agent = Agent {
        ctx,
        news,
        watched: BTreeMap::new(),
        revision: None,
        complaints: BTreeMap::new(),
        sweep: Sweep::new(),
        state_dir: options.state_dir,
        hits_due: Instant::now() + HITS,
    };
    agent.keep_in_step();
    log::info!("following {} network namespace(s)", agent.watched.len());
    service::ready();
    let mut watchdog = service::Watchdog::new();

    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            Some(()) = arrivals.recv() => {
                sleep_until(Instant::now() + CALM).await;
                // What came meanwhile is answered by the same look at the kernel.
                while arrivals.try_recv().is_ok() {}
                agent.keep_in_step();
            }
            _ = ticks.tick() => agent.look_around(),
            () = sleep_until(agent.sweep.due()) => agent.sweep(),
            () = sleep_until(agent.hits_due) => agent.add_up_hits(),
        }
        watchdog.alive();
        told.send_if_modified(|seen| {
            let now = agent.seen();
            let is_new = *seen != now;
            *seen = now;
            is_new
        });
    }
    agent.add_up_hits();
    service::stopping();
    log::info!("stopped; what is attached stays enforced");
    Ok(())
}

/// What the agent does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    Look,
    KeepInStep,
    Watch,
    Sweep,
    Hits,
}

struct Agent<'a> {
    ctx: &'a Context,
    news: mpsc::Sender<()>,
    /// Namespaces that a watcher reports from, with their inodes; `None` is the one that the agent was started in.
    watched: BTreeMap<Option<String>, (u64, Watcher)>,
    /// The store's revision when store and kernel were last made to agree.
    revision: Option<u64>,
    /// What is wrong, by what it keeps the agent from: said once, however often that is tried again.
    complaints: BTreeMap<Task, String>,
    sweep: Sweep,
    /// Has the record of which rules are used.
    state_dir: &'a Path,
    hits_due: Instant,
}

impl Agent<'_> {
    /// Makes kernel and store agree, as any command does before its own change, and follows the namespaces of what is
    /// attached now.
    fn keep_in_step(&mut self) {
        match or_given_up(|| self.change()) {
            Ok(changed) => {
                if changed.revision != changed.revision_before {
                    log::info!("addresses changed: revision {} is in force", changed.revision);
                }
                self.revision = Some(changed.revision);
                self.complaints.retain(|task, _| matches!(task, Task::Sweep | Task::Hits));
                self.watch(changed.value);
            }
            Err(error) => {
                self.complain(
                    Task::KeepInStep,
                    format!("cannot bring store and kernel in step, will try again: {error:#}"),
                );
                self.revision = None;
            }
        }
    }

    /// After a command of somebody else's there may be new namespaces to follow; after one that was killed, something to
    /// put in force. A namespace that was deleted lives on for as long as it is watched, and tells nothing of it.
    fn look_around(&mut self) {
        self.sweep.let_go_of_what_is_gone(&self.ctx.bpffs);
        let watched = self.watched.len();
        self.watched.retain(|name, (inode, _)| netns::inode(name.as_deref()) == Some(*inode));
        match self.ctx.store.revision() {
            Ok(revision) if Some(revision) == self.revision && self.watched.len() == watched => {}
            Ok(revision) if self.watched.len() == watched => self.look_at(revision),
            Ok(_) => self.keep_in_step(),
            Err(error) => self.complain(Task::Look, format!("cannot read the store: {error:#}")),
        }
    }

    /// A command has changed the store. As a rule it has put in force what it changed, and there is nothing to do that
    /// would take the host's lock from the next one.
    fn look_at(&mut self, revision: u64) {
        let is_followed = |netns: &Option<String>| {
            let inode = netns::inode(netns.as_deref());
            inode.is_some() && self.watched.get(netns).map(|(watched, _)| *watched) == inode
        };
        match or_given_up(|| transact::in_force(self.ctx)) {
            Ok(Some(state)) if namespaces(&state).iter().all(is_followed) => self.revision = Some(revision),
            _ => self.keep_in_step(),
        }
    }

    /// A change of nothing, and the namespaces of what is attached then.
    fn change(&self) -> Result<Changed<BTreeSet<Option<String>>>> {
        transact::change(self.ctx, |state| Ok(namespaces(state)))
    }

    fn watch(&mut self, namespaces: BTreeSet<Option<String>>) {
        for netns in namespaces {
            let Some(inode) = netns::inode(netns.as_deref()) else { continue };
            if self.watched.get(&netns).is_some_and(|(watched, _)| *watched == inode) {
                continue;
            }
            match watch::start(netns.clone(), self.news.clone()) {
                Ok(watcher) => {
                    self.watched.insert(netns, (inode, watcher));
                    // For what happened after the last look and before it listened. Full means that a look is to come.
                    let _ = self.news.try_send(());
                }
                Err(error) => {
                    self.complain(
                        Task::Watch,
                        format!("cannot follow {}: {error:#}", watch::place(netns.as_deref())),
                    );
                }
            }
        }
    }

    fn sweep(&mut self) {
        // A host that is not in step may be another store's.
        if self.revision.is_none() {
            self.sweep.put_off();
            return;
        }
        match self.sweep.step(&self.ctx.bpffs) {
            Ok(()) => drop(self.complaints.remove(&Task::Sweep)),
            Err(error) => {
                self.complain(
                    Task::Sweep,
                    format!("cannot sweep the flow tables, will try again: {error:#}"),
                );
            }
        }
    }

    fn add_up_hits(&mut self) {
        self.hits_due = Instant::now() + HITS;
        // A host that is not in step may be another store's.
        if self.revision.is_none() {
            return;
        }
        match or_given_up(|| self.note_use()) {
            Ok(()) => drop(self.complaints.remove(&Task::Hits)),
            Err(error) => {
                self.complain(
                    Task::Hits,
                    format!("cannot add up the hits of rules, will try again: {error:#}"),
                );
            }
        }
    }

    /// Adds up hits, and writes down which rules have them.
    fn note_use(&self) -> Result<()> {
        let (state, hits) = transact::add_up_hits(self.ctx)?;
        let mut last = BTreeMap::new();
        for ((_, rule), sum) in hits {
            let used: &mut u64 = last.entry(rule).or_default();
            *used = (*used).max(sum.last);
        }
        let mut usage = Usage::load(self.state_dir)?.unwrap_or_default();
        if usage.note(&state, &last, now()) {
            usage.save(self.state_dir)?;
        }
        Ok(())
    }

    fn complain(&mut self, task: Task, what: String) {
        if self.complaints.get(&task) != Some(&what) {
            log::error!("{what}");
            self.complaints.insert(task, what);
        }
    }

    /// For its metrics.
    fn seen(&self) -> AgentSeen {
        AgentSeen {
            namespaces: self.watched.len(),
            failing: !self.complaints.is_empty(),
            sweep: self.sweep.last,
        }
    }
}

/// Where something is attached.
fn namespaces(state: &State) -> BTreeSet<Option<String>> {
    state.attached().map(|(eni, _)| eni.netns.clone()).collect()
}
