//! `sg-ctl monitor` and `sg-ctl trace`

use super::{Global, run::context, tell};
use crate::{
    error::{Refusal, Result},
    kernel::events::Missed,
    monitor::{self, End, Heard, Line, Request, Traced},
    ops,
    render::{self, Output},
};
use sg_common::event::{Event, what};
use std::{
    io::{self, BufWriter, Write},
    time::{SystemTime, UNIX_EPOCH},
};

/// `monitor`
#[derive(Debug, clap::Args)]
pub struct Monitor {
    /// This interface only
    #[arg(value_name = "IFACE")]
    interface: Option<String>,
    /// Packets that are dropped
    #[arg(long, conflicts_with = "allowed")]
    dropped: bool,
    /// Packets that pass, each of them
    #[arg(long)]
    allowed: bool,
    /// End after so many packets
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    count: Option<String>,
    #[command(flatten)]
    filter: Filter,
}

/// Which packets, of those that `monitor` is about.
#[derive(Debug, clap::Args)]
pub struct Filter {
    /// Packets of this protocol only: tcp, udp, icmp, icmpv6, or a number
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    protocol: Option<String>,
    /// Packets whose remote address is within
    #[arg(long, value_name = "CIDR|ADDR")]
    remote: Option<String>,
    /// Packets with this port, local or remote
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    port: Option<String>,
}

/// `trace`
#[derive(Debug, clap::Args)]
pub struct Trace {
    /// Device name or id of an attached interface
    #[arg(value_name = "IFACE")]
    interface: String,
    /// Packets whose remote address is this, or within
    #[arg(long, value_name = "ADDR")]
    remote: String,
    /// Packets of this protocol only: tcp, udp, icmp, icmpv6, or a number
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    protocol: Option<String>,
    /// Packets with this port, local or remote
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    port: Option<String>,
    /// End after so many packets
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value = "10")]
    count: String,
}

impl Trace {
    fn request(&self) -> Result<Request> {
        Ok(Request {
            interface: Some(self.interface.clone()),
            wants: what::DROPPED | what::ALLOWED,
            protocol: self.protocol.as_deref().map(ops::traffic::protocol_number).transpose()?.flatten(),
            remote: Some(ops::peer::network_or_address(&self.remote)?),
            port: self.port.as_deref().map(|typed| number("--port", typed)).transpose()?,
            count: Some(count(&self.count)?),
        })
    }
}

impl Monitor {
    fn request(&self) -> Result<Request> {
        let wants = match (self.dropped, self.allowed) {
            (true, _) => what::DROPPED,
            (_, true) => what::ALLOWED,
            (false, false) => what::DROPPED | what::NEW | what::CLOSED,
        };
        let Filter { protocol, remote, port } = &self.filter;
        Ok(Request {
            interface: self.interface.clone(),
            wants,
            protocol: protocol.as_deref().map(ops::traffic::protocol_number).transpose()?.flatten(),
            remote: remote.as_deref().map(ops::peer::network_or_address).transpose()?,
            port: port.as_deref().map(|typed| number("--port", typed)).transpose()?,
            count: self.count.as_deref().map(count).transpose()?,
        })
    }
}

/// Reads `--count`.
fn count(typed: &str) -> Result<u64> {
    let count: u64 = number("--count", typed)?;
    if count == 0 {
        return Err(Refusal::invalid("--count 0: nothing to wait for; give a number from 1 on").into());
    }
    Ok(count)
}

fn number<T: std::str::FromStr>(flag: &str, typed: &str) -> Result<T> {
    let is_plain = !typed.is_empty() && typed.bytes().all(|byte| byte.is_ascii_digit());
    typed.parse().ok().filter(|_| is_plain).ok_or_else(|| {
        let most = 8 * size_of::<T>();
        Refusal::invalid(format!("{flag} {typed}: not a number of at most {most} bits")).into()
    })
}

/// Runs `monitor`.
pub fn run(global: &Global, typed: &Monitor) -> Result<()> {
    follow(global, &typed.request()?, |out, _, line| render::event(out, global.output, &line))
}

/// Runs `trace`.
pub fn run_trace(global: &Global, typed: &Trace) -> Result<()> {
    follow(global, &typed.request()?, |out, event, line| {
        let stages = monitor::stages(event, &line);
        render::traced(out, global.output, &Traced { line, stages })
    })
}

/// Listens, and writes each packet as it is heard of.
fn follow(
    global: &Global,
    request: &Request,
    show: impl Fn(&mut dyn Write, &Event, Line) -> io::Result<()>,
) -> Result<()> {
    let ctx = context(global)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let end = monitor::run(&ctx, request, |heard| {
        let written = match heard {
            Heard::Packet(event, time, place) => match Line::new(event, time, place) {
                Some(line) => show(&mut out, event, line),
                None => Ok(()),
            },
            Heard::Missed(missed) => say_missed(&mut out, global.output, missed),
            Heard::Pause => out.flush(),
        };
        or_enough(written)
    })?;
    or_enough(out.flush())?;
    tell_end(&end);
    Ok(())
}

/// Says why it ended, where nobody asked for that.
pub fn tell_end(end: &End) {
    match end {
        End::Enough => {}
        End::Detached(name) => tell("note", &format!("{name} is not enforced any more")),
        End::NothingAttached => tell("note", "no interface is attached any more"),
    }
}

fn say_missed(out: &mut impl Write, output: Output, missed: Missed) -> io::Result<()> {
    if output == Output::Table {
        out.flush()?;
        tell("warning", &words(missed));
        return Ok(());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    render::missed(out, missed, now)?;
    out.flush()
}

fn words(missed: Missed) -> String {
    let unheard = (!missed.unheard.is_zero()).then(|| {
        format!(
            "heard nothing of {:.1} seconds: this command was stopped, or waited for whoever reads it, and did not say that \
             it listens",
            missed.unheard.as_secs_f64()
        )
    });
    let counted = (missed.events() > 0).then(|| counted(missed));
    Vec::from_iter(unheard.into_iter().chain(counted)).join("; ")
}

fn counted(missed: Missed) -> String {
    let mut words = format!("lost {} events", missed.events());
    if missed.suppressed > 0 {
        words += &format!(": {} came faster than the kernel tells one command", missed.suppressed);
    }
    if missed.lost > 0 {
        let mark = if missed.suppressed > 0 { "," } else { ":" };
        words += &format!("{mark} {} found no room because they were not read in time", missed.lost);
    }
    words
}

/// Whoever reads this (`| head`) may have seen enough.
fn or_enough(written: io::Result<()>) -> Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => {
            Err(Refusal::new("OutputError", format!("what was heard cannot be written: {error}")).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::refused;
    use std::time::Duration;

    #[test]
    fn what_was_missed_is_said_with_its_reason() {
        assert_eq!(
            words(Missed { suppressed: 7, ..Missed::default() }),
            "lost 7 events: 7 came faster than the kernel tells one command"
        );
        assert_eq!(
            words(Missed { suppressed: 7, lost: 2, ..Missed::default() }),
            "lost 9 events: 7 came faster than the kernel tells one command, 2 found no room because they were not read \
             in time"
        );
        assert_eq!(
            words(Missed { lost: 2, unheard: Duration::from_millis(2_340), ..Missed::default() }),
            "heard nothing of 2.3 seconds: this command was stopped, or waited for whoever reads it, and did not say that \
             it listens; lost 2 events: 2 found no room because they were not read in time"
        );
    }

    #[test]
    fn numbers_that_are_none_are_refused_by_name() {
        assert_eq!(count("3").unwrap(), 3);
        for typed in ["", "-1", "+1", "x", "99999999999999999999"] {
            let refusal = refused(count(typed));
            assert!(refusal.starts_with(&format!("InvalidParameterValue: --count {typed}: ")), "{refusal}");
        }
        assert!(refused(count("0")).contains("from 1 on"));
        assert_eq!(
            refused(number::<u16>("--port", "65536")),
            "InvalidParameterValue: --port 65536: not a number of at most 16 bits"
        );
    }
}
