//! Commands that are killed at a chosen moment: right before the n-th system call that changes something outside of
//! their process. The command is the one that is shipped, and knows nothing of it: it is traced by ptrace(2).
//!
//! A process that is killed while it stands at the entry of a call never makes it, so that n = 1, 2, 3, … goes through
//! every state that a kill can leave in the store's files, in the maps and among the pins.

use crate::ctl::{PATIENCE, Ran};
use std::{
    io::{self, Read},
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    ptr,
    sync::mpsc,
    thread,
};

/// How a traced command ended.
pub struct Traced {
    /// Calls that change something, in order, as far as it came; the last is the one that was not made any more.
    pub calls: Vec<String>,
    /// What it said, where nothing cut it off.
    pub finished: Option<Ran>,
}

/// Commands of bpf(2) that change what others see. Making maps and loading programs does not: they go with their
/// descriptors. Numbers as in `include/uapi/linux/bpf.h`.
const BPF_CHANGES: [(u64, &str); 11] = [
    (2, "MAP_UPDATE_ELEM"),
    (3, "MAP_DELETE_ELEM"),
    (6, "OBJ_PIN"),
    (8, "PROG_ATTACH"),
    (9, "PROG_DETACH"),
    (21, "MAP_LOOKUP_AND_DELETE_ELEM"),
    (26, "MAP_UPDATE_BATCH"),
    (27, "MAP_DELETE_BATCH"),
    (28, "LINK_CREATE"),
    (29, "LINK_UPDATE"),
    (34, "LINK_DETACH"),
];

/// Calls that change files, or are the moment from which a change is durable.
const FILE_CHANGES: &[(libc::c_long, &str)] = &[
    (libc::SYS_write, "write"),
    (libc::SYS_writev, "writev"),
    (libc::SYS_pwrite64, "pwrite"),
    (libc::SYS_ftruncate, "ftruncate"),
    (libc::SYS_fsync, "fsync"),
    (libc::SYS_fdatasync, "fdatasync"),
    (libc::SYS_fchmod, "fchmod"),
    (libc::SYS_fchown, "fchown"),
    (libc::SYS_mkdirat, "mkdirat"),
    (libc::SYS_unlinkat, "unlinkat"),
    (libc::SYS_renameat2, "renameat2"),
    (libc::SYS_mount, "mount"),
    (libc::SYS_umount2, "umount"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mkdir, "mkdir"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rmdir, "rmdir"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_unlink, "unlink"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rename, "rename"),
];

/// Runs a command until right before its `at`-th call that changes something, counted from 1, and kills it there.
#[expect(clippy::zombie_processes, reason = "a tracer waits by waitpid(2), and does so below")]
pub fn cut_off(command: &mut Command, at: usize) -> Traced {
    let shown = format!("{command:?}");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: one system call, which is safe to make between fork and exec.
    unsafe { command.pre_exec(|| ptrace(libc::PTRACE_TRACEME, 0, 0).map(drop)) };
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {shown}: {error}"));
    let leader = child.id().cast_signed();
    let hangs = watch(leader);
    let (status, calls, killed) = follow(leader, at).unwrap_or_else(|error| {
        kill(leader);
        panic!("cannot trace {shown}: {error}");
    });
    assert!(hangs.send(()).is_ok(), "{shown} hangs after {calls:?}");
    if killed {
        return Traced { calls, finished: None };
    }
    let mut said = [String::new(), String::new()];
    child.stdout.take().map(|mut out| out.read_to_string(&mut said[0]));
    child.stderr.take().map(|mut err| err.read_to_string(&mut said[1]));
    let code = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
    let [stdout, stderr] = said;
    Traced { calls, finished: Some(Ran { code, stdout, stderr }) }
}

/// Kills the process if nobody says in time that it has ended. The sender fails where that has happened.
fn watch(pid: libc::pid_t) -> mpsc::SyncSender<()> {
    let (sender, receiver) = mpsc::sync_channel(0);
    thread::spawn(move || {
        if receiver.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            kill(pid);
        }
    });
    sender
}

fn kill(pid: libc::pid_t) {
    // SAFETY: no pointers. The process is a child of this one that nobody has waited for.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// Takes the process and its threads from stop to stop until it has ended. Returns its status, its calls, and whether
/// it was killed at the last one.
fn follow(leader: libc::pid_t, at: usize) -> io::Result<(i32, Vec<String>, bool)> {
    let (mut calls, mut killed) = (Vec::new(), false);
    let mut is_set_up = false;
    loop {
        let (thread, status) = wait()?;
        if !libc::WIFSTOPPED(status) {
            if thread == leader {
                return Ok((status, calls, killed));
            }
            continue;
        }
        let mut signal = libc::WSTOPSIG(status);
        if !is_set_up {
            // The stop after exec.
            let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
            ptrace(libc::PTRACE_SETOPTIONS, leader, options as usize)?;
            is_set_up = true;
        }
        if signal == libc::SIGTRAP | 0x80 {
            if let Some(call) = call_that_changes(thread)? {
                calls.push(call);
                if calls.len() == at {
                    kill(leader);
                    killed = true;
                }
            }
            signal = 0;
        } else if signal == libc::SIGTRAP || signal == libc::SIGSTOP {
            // Events of the trace itself, and the stop that a new thread begins with.
            signal = 0;
        }
        match ptrace(libc::PTRACE_SYSCALL, thread, signal as usize) {
            // Killed: it is waited for.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            other => drop(other?),
        }
    }
}

/// Waits for a child or traced thread of this thread, and for nobody else's.
fn wait() -> io::Result<(libc::pid_t, i32)> {
    let mut status = 0;
    loop {
        // SAFETY: `status` outlives the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
        if pid >= 0 {
            return Ok((pid, status));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// The call at whose entry the thread stands, where it is one that changes something.
fn call_that_changes(thread: libc::pid_t) -> io::Result<Option<String>> {
    // SAFETY: all zero bytes are such a structure.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most as many bytes as it is told that there are.
    let written = unsafe {
        libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, thread, size_of_val(&info), ptr::from_mut(&mut info))
    };
    if written < 0 {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::ESRCH) { Ok(None) } else { Err(error) };
    }
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return Ok(None);
    }
    // SAFETY: the kernel says that it is an entry.
    let entry = unsafe { info.u.entry };
    let number = entry.nr.cast_signed();
    if number == libc::SYS_bpf {
        let change = BPF_CHANGES.iter().find(|(command, _)| *command == entry.args[0]);
        return Ok(change.map(|(_, name)| format!("bpf {name}")));
    }
    if number == libc::SYS_openat && entry.args[2] & libc::O_CREAT as u64 != 0 {
        return Ok(Some("openat O_CREAT".to_owned()));
    }
    let change = FILE_CHANGES.iter().find(|(change, _)| *change == number);
    Ok(change.map(|(_, name)| (*name).to_owned()))
}

/// A request without a pointer.
fn ptrace(request: libc::c_uint, thread: libc::pid_t, data: usize) -> io::Result<libc::c_long> {
    // SAFETY: the requests made here take a number in place of the last pointer, and no memory is touched.
    match unsafe { libc::ptrace(request, thread, ptr::null_mut::<libc::c_void>(), data) } {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}
