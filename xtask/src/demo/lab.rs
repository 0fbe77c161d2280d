//! The demo's little world: two namespaces joined by one cable, and an `sg-ctl` that works in one of them.
//!
//! Nothing is ever made in the caller's own network namespace: the cable is born inside the two.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use anyhow::{Context, Result, anyhow, bail};
use tempfile::TempDir;

/// The protected end of the cable.
pub const INTERFACE: &str = "sg0";
pub const HOST_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
pub const HOST_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10));
/// The administrator, whom the narrow rule will admit.
pub const ADMIN: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
/// Anybody else on the same link.
pub const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 2));
pub const OTHER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x2));

/// No command of the demo takes a tenth of this.
const PATIENCE: Duration = Duration::from_secs(20);

/// One namespace, deleted with this value.
pub struct Namespace {
    name: String,
}

impl Namespace {
    fn create(name: String) -> Result<Self> {
        ip(&["netns", "add", &name])?;
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    fn ip(&self, arguments: &[&str]) -> Result<()> {
        ip(&[&["-n", self.name.as_str()], arguments].concat())
    }

    fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// Does `work` on a thread of its own that lives in this namespace. A socket made there stays there,
    /// and can be used from any thread.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                enter(&self.path())?;
                work()
            });
            worker.join().unwrap_or_else(|_| Err(io::Error::other("a thread of the demo panicked")))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Its links, addresses and routes go with it. There is nobody left to tell about a failure but the user.
        if let Err(error) = ip(&["netns", "delete", &self.name]) {
            eprintln!("warning: namespace {} is still there: {error:#}", self.name);
        }
    }
}

/// Moves the calling thread into the network namespace at `path`.
fn enter(path: &Path) -> io::Result<()> {
    let namespace = File::open(path)?;
    // SAFETY: the descriptor is open for the whole call, and setns touches no memory of ours; it changes
    // this thread only.
    match unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("cannot start ip")?;
    if output.status.success() {
        return Ok(());
    }
    bail!("`ip {}`: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
}

/// What a finished `sg-ctl` said, and when it ran.
pub struct Ran {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub started: Instant,
    pub returned: Instant,
}

/// The two namespaces, and the protected host's own store and pins.
pub struct Lab {
    // Dropped in this order, after `Drop` has detached.
    pub client: Namespace,
    pub host: Namespace,
    bpffs: PathBuf,
    state: TempDir,
    sg_ctl: PathBuf,
    attached: AtomicBool,
}

impl Lab {
    pub fn build(sg_ctl: PathBuf) -> Result<Self> {
        // The tests make several in one process.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let run = match COUNT.fetch_add(1, Ordering::Relaxed) {
            0 => format!("sg-demo-{}", std::process::id()),
            more => format!("sg-demo-{}-{more}", std::process::id()),
        };
        let state =
            tempfile::Builder::new().prefix("sg-demo-").tempdir().context("cannot make a directory")?;
        let host = Namespace::create(format!("{run}-host"))?;
        let client = Namespace::create(format!("{run}-client"))?;
        host.ip(&["link", "add", INTERFACE, "type", "veth", "peer", "name", "cable", "netns", &client.name])?;
        for (namespace, link, addresses) in
            [(&host, INTERFACE, vec![HOST_V4, HOST_V6]), (&client, "cable", vec![ADMIN, OTHER, OTHER_V6])]
        {
            for address in addresses {
                if address.is_ipv4() {
                    namespace.ip(&["address", "add", &format!("{address}/24"), "dev", link])?;
                } else {
                    // nodad: usable at once, nobody else is on this link.
                    namespace.ip(&["address", "add", &format!("{address}/64"), "dev", link, "nodad"])?;
                }
            }
            namespace.ip(&["link", "set", link, "up"])?;
        }
        let bpffs = Path::new("/sys/fs/bpf").join(&run);
        Ok(Self { client, host, bpffs, state, sg_ctl, attached: AtomicBool::new(false) })
    }

    /// The flags that make a namespace of this machine a "host" of its own.
    pub fn flags(&self) -> Vec<OsString> {
        vec![
            "--netns".into(),
            self.host.name.clone().into(),
            "--state-dir".into(),
            self.state.path().into(),
            "--bpffs".into(),
            self.bpffs.clone().into(),
        ]
    }

    /// Runs `sg-ctl` on the protected host. It gets a process group of its own: Ctrl-C is for the demo,
    /// which lets a change that is under way finish and then undoes it in good order.
    pub fn sg_ctl(&self, arguments: &[&str]) -> Result<Ran> {
        let shown = || format!("`sg-ctl {}`", arguments.join(" "));
        if arguments.first() == Some(&"attach") {
            self.attached.store(true, Ordering::Relaxed);
        }
        let mut command = Command::new(&self.sg_ctl);
        command.args(self.flags()).args(arguments).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn().with_context(|| format!("cannot start {}", self.sg_ctl.display()))?;
        // The end of both streams is the end of the process, and can be waited for with a time limit.
        let stdout = read_all(child.stdout.take());
        let stderr = read_all(child.stderr.take());
        let texts = (stdout.recv_timeout(PATIENCE), stderr.recv_timeout(PATIENCE));
        let (Ok(stdout), Ok(stderr)) = texts else {
            child.kill().with_context(|| format!("{} hangs and cannot be ended", shown()))?;
            child.wait()?;
            bail!("{} did not end within {} s", shown(), PATIENCE.as_secs());
        };
        let status = child.wait()?;
        Ok(Ran { status, stdout, stderr, started, returned: Instant::now() })
    }

    /// Like [`Self::sg_ctl`] with JSON as the answer.
    pub fn json(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        let ran = self.sg_ctl(&[&["-o", "json"], arguments].concat())?;
        serde_json::from_str(&ran.stdout)
            .map_err(|error| anyhow!("`sg-ctl -o json {}` printed no JSON: {error}", arguments.join(" ")))
    }

    /// What of ours is still pinned in the kernel.
    pub fn pins(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut directories = vec![self.bpffs.clone()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => directories.push(entry.path()),
                    _ => found.push(entry.path()),
                }
            }
        }
        found
    }

    /// Takes everything down and says what could not be.
    pub fn clean_up(self) -> Result<()> {
        let detached = self.detach();
        let namespaces = [self.host.path(), self.client.path()];
        drop(self);
        detached?;
        match namespaces.iter().find(|path| path.exists()) {
            Some(path) => bail!("{} is still there", path.display()),
            None => Ok(()),
        }
    }

    fn detach(&self) -> Result<()> {
        let detached = if self.attached.swap(false, Ordering::Relaxed) {
            self.sg_ctl(&["detach", INTERFACE]).map(drop)
        } else {
            Ok(())
        };
        // Pins that sg-ctl left or could not remove would keep programs and maps in the kernel for ever.
        match fs::remove_dir_all(&self.bpffs) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.bpffs.display()))
            }
            _ => detached,
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = self.detach() {
            eprintln!("warning: {error:#}");
        }
    }
}

/// Reads a stream to its end on a thread of its own.
fn read_all(stream: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What was read before an error is still worth showing.
            let _ = stream.read_to_end(&mut bytes);
        }
        // Nobody listens any more once the time limit has passed.
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::peers::{EchoServer, Stream, connect, echoes, udp_answers};
    use super::*;

    /// The stage without the play: nobody judges packets, so everything gets through, and nothing stays.
    #[test]
    fn peers_talk_over_the_cable_and_nothing_stays() -> Result<()> {
        let lab = Lab::build("/bin/true".into())?;
        let paths = [lab.host.path(), lab.client.path()];
        let servers = (EchoServer::tcp(&lab.host, 80)?, EchoServer::udp(&lab.host, 53)?);
        for (from, to) in [(ADMIN, HOST_V4), (OTHER, HOST_V4), (OTHER_V6, HOST_V6)] {
            let mut connection = connect(&lab.client, from, SocketAddr::new(to, 80))?.context("no answer")?;
            assert_eq!(connection.local_addr()?.ip(), from);
            assert!(echoes(&mut connection, "hello\n"));
            assert!(udp_answers(&lab.client, from, SocketAddr::new(to, 53))?);
        }
        let connection = connect(&lab.client, OTHER, SocketAddr::new(HOST_V4, 80))?.context("no answer")?;
        let stream = Stream::start(connection)?;
        thread::sleep(Duration::from_millis(200));
        assert!(stream.seen().answers > 20, "only {} answers", stream.seen().answers);
        drop((stream, servers));
        lab.clean_up()?;
        assert!(paths.iter().all(|path| !path.exists()));
        Ok(())
    }

    #[test]
    fn silence_is_noticed_in_time() -> Result<()> {
        let lab = Lab::build("/bin/true".into())?;
        // An address on the link that nobody has: no answer, whatever the reason, within the timeout.
        let nobody = SocketAddr::from(([203, 0, 113, 77], 80));
        let started = Instant::now();
        assert!(connect(&lab.client, ADMIN, nobody)?.is_none());
        assert!(!udp_answers(&lab.client, ADMIN, nobody)?);
        assert!(started.elapsed() < Duration::from_secs(2));
        lab.clean_up()
    }
}
