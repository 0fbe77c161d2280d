//! A command on a terminal.

use crate::ctl::PATIENCE;
use std::{
    fs::File,
    io::{ErrorKind, Read, Write},
    mem::MaybeUninit,
    num::NonZero,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    process::{Child, Command, ExitStatus, Stdio},
    ptr,
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};

/// Runs a command whose stdout and stderr are a terminal of so many columns, and returns all that it shows, with line
/// ends as in a file. The environment says that it is a terminal with colours.
pub fn on_terminal(command: &mut Command, columns: u16) -> String {
    let (screen, terminal) = open(24, columns);
    let again = terminal.try_clone().expect("a descriptor can be copied");
    command.env("TERM", "xterm-256color").env_remove("CLICOLOR").env_remove("CLICOLOR_FORCE");
    command.stdin(Stdio::null()).stdout(terminal).stderr(again);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    // This process's copies of the terminal: the screen ends when the last is closed.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (mut screen, mut shown) = (File::from(screen), Vec::new());
    let mut part = [0; 4096];
    loop {
        match screen.read(&mut part) {
            Ok(0) => break,
            Ok(length) => shown.extend_from_slice(&part[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // What a screen answers when nobody has its terminal any more.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => break,
            Err(error) => panic!("the screen cannot be read: {error}"),
        }
    }
    child.wait().expect("a command can be waited for");
    String::from_utf8_lossy(&shown).replace("\r\n", "\n")
}

/// A command that has a terminal for itself, and a person before it who types and looks.
pub struct Session {
    child: Child,
    keyboard: File,
    terminal: OwnedFd,
    emulator: Arc<Mutex<vt100::Parser>>,
    before: [libc::tcflag_t; 3],
}

impl Session {
    /// Starts a command on a terminal of so many lines and columns.
    #[must_use]
    pub fn start(command: &mut Command, rows: u16, columns: u16) -> Self {
        let (screen, terminal) = open(rows, columns);
        let copy = |of: &OwnedFd| of.try_clone().expect("a descriptor can be copied");
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        command.stdin(copy(&terminal)).stdout(copy(&terminal)).stderr(copy(&terminal));
        let before = settings(&terminal);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let emulator = Arc::new(Mutex::new(vt100::Parser::new(lines(rows), lines(columns), 0)));
        let keyboard = File::from(copy(&screen));
        let shared = Arc::clone(&emulator);
        thread::spawn(move || {
            let (mut screen, mut part) = (File::from(screen), [0; 4096]);
            // Until nobody has the terminal any more.
            while let Ok(length) = screen.read(&mut part) {
                shared.lock().expect("nobody panics with it").process(&part[..length]);
            }
        });
        Self { child, keyboard, terminal, emulator, before }
    }

    fn emulator(&self) -> MutexGuard<'_, vt100::Parser> {
        self.emulator.lock().expect("nobody panics with it")
    }

    /// What the screen shows, a line a line.
    #[must_use]
    pub fn shown(&self) -> String {
        self.emulator().screen().contents()
    }

    /// Waits until the screen shows what is meant, and returns all of it.
    #[track_caller]
    pub fn wait_for(&self, what: &str, is_there: impl Fn(&str) -> bool) -> String {
        let began = Instant::now();
        loop {
            let shown = self.shown();
            if is_there(&shown) {
                return shown;
            }
            assert!(began.elapsed() < PATIENCE, "{what} does not come:\n{shown}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The most memory that the command has had, in bytes.
    #[must_use]
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the status of a child");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its memory");
        let kib = line.trim().trim_end_matches("kB").trim();
        kib.parse::<u64>().expect("a number") << 10
    }

    /// Types on the keyboard.
    pub fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("keys can be typed");
    }

    /// Makes the terminal another size.
    pub fn resize(&self, rows: u16, columns: u16) {
        self.emulator().screen_mut().set_size(lines(rows), lines(columns));
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the request reads a size, which outlives the call.
        let result = unsafe { libc::ioctl(self.terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        assert_eq!(result, 0, "no other size: {}", std::io::Error::last_os_error());
        // The kernel tells those whose controlling terminal it is; this is not the command's.
        self.signal("WINCH");
    }

    /// Sends the command a signal by its name.
    pub fn signal(&self, name: &str) {
        let mut kill = Command::new("sh");
        kill.args(["-c", "kill -s \"$1\" \"$2\"", "sh", name, &self.child.id().to_string()]);
        assert!(kill.status().expect("sh runs").success());
    }

    /// Waits for the command's end, which must leave the terminal as it was: its settings, its cursor, its first screen.
    /// Returns what that shows.
    #[track_caller]
    pub fn ends(mut self) -> (ExitStatus, String) {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            assert!(began.elapsed() < PATIENCE, "it goes on:\n{}", self.shown());
            thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(settings(&self.terminal), self.before, "the terminal is set up as before");
        // What was written last is on its way.
        let began = Instant::now();
        while self.emulator().screen().alternate_screen() || self.emulator().screen().hide_cursor() {
            assert!(began.elapsed() < PATIENCE, "the screen is not given back");
            thread::sleep(Duration::from_millis(5));
        }
        thread::sleep(Duration::from_millis(50));
        let shown = self.shown();
        (status, shown)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Where it has ended already there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(count: u16) -> NonZero<u16> {
    NonZero::new(count).expect("a screen has lines and columns")
}

/// How a terminal treats what is typed, what is shown, and lines.
fn settings(terminal: &OwnedFd) -> [libc::tcflag_t; 3] {
    let mut settings = MaybeUninit::<libc::termios>::uninit();
    // SAFETY: the call writes one `termios` where there is room for one.
    let result = unsafe { libc::tcgetattr(terminal.as_raw_fd(), settings.as_mut_ptr()) };
    assert_eq!(result, 0, "no settings: {}", std::io::Error::last_os_error());
    // SAFETY: the call has succeeded.
    let settings = unsafe { settings.assume_init() };
    [settings.c_iflag, settings.c_oflag, settings.c_lflag]
}

fn open(rows: u16, columns: u16) -> (OwnedFd, OwnedFd) {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let (mut screen, mut terminal) = (-1, -1);
    // SAFETY: two places for descriptors and a size, all of which outlive the call; no name and no settings are asked for.
    let result = unsafe {
        libc::openpty(&raw mut screen, &raw mut terminal, ptr::null_mut(), ptr::null(), &raw const size)
    };
    assert_eq!(result, 0, "no terminal: {}", std::io::Error::last_os_error());
    // SAFETY: the call has just made both, and nobody else has them.
    unsafe { (OwnedFd::from_raw_fd(screen), OwnedFd::from_raw_fd(terminal)) }
}
