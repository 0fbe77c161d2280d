//! News of links and addresses from one network namespace, by rtnetlink's multicast groups.

use crate::{error::Result, netns};
use anyhow::Context as _;
use futures_util::StreamExt as _;
use rtnetlink::MulticastGroup;
use std::{sync::mpsc as std_mpsc, thread};
use tokio::sync::{mpsc, oneshot};

/// The namespace, for messages.
pub fn place(netns: Option<&str>) -> String {
    netns.map_or_else(
        || "the network namespace of the start".to_owned(),
        |name| format!("the network namespace '{name}'"),
    )
}

/// A thread that reports from a namespace, and keeps it alive, until this value goes.
pub struct Watcher {
    _stop: oneshot::Sender<()>,
}

/// Reports from the namespace. Returns once the kernel takes note of everything that happens.
///
/// # Errors
/// Where the namespace cannot be entered or the kernel refuses the subscription.
pub fn start(netns: Option<String>, news: mpsc::Sender<()>) -> Result<Watcher> {
    let (ready, is_ready) = std_mpsc::channel();
    let (stop, stopped) = oneshot::channel();
    thread::Builder::new()
        .name("sg-netlink".to_owned())
        .spawn(move || {
            let followed = netns::within(netns.as_deref(), || follow(&news, &ready, stopped));
            if let Err(error) = followed {
                // Nobody listens for a failure to start any more once it has started.
                if let Err(std_mpsc::SendError(Err(error))) = ready.send(Err(error)) {
                    log::error!("lost sight of {}: {error:#}", place(netns.as_deref()));
                }
            }
        })
        .context("cannot start a thread")?;
    is_ready.recv().context("the watcher ended before it began")??;
    Ok(Watcher { _stop: stop })
}

fn follow(
    news: &mpsc::Sender<()>,
    ready: &std_mpsc::Sender<Result<()>>,
    mut stopped: oneshot::Receiver<()>,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("cannot start the netlink conversation")?;
    runtime.block_on(async {
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let (connection, _handle, mut messages) =
            rtnetlink::new_multicast_connection(&groups).context("cannot subscribe to news of addresses")?;
        tokio::spawn(connection);
        // The agent waits for it.
        let _ = ready.send(Ok(()));
        loop {
            tokio::select! {
                // Nothing is ever sent: the agent has let go of the watcher.
                _ = &mut stopped => return Ok(()),
                message = messages.next() => {
                    message.context("the netlink socket was closed")?;
                    // Full means that the agent knows of news already and has yet to look: it will see this as well.
                    let _ = news.try_send(());
                }
            }
        }
    })
}
