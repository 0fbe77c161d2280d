//! A command on a terminal.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    os::fd::{FromRawFd, OwnedFd},
    process::{Command, Stdio},
    ptr,
};

/// Runs a command whose stdout and stderr are a terminal of so many columns, and returns all that it shows, with line
/// ends as in a file. The environment says that it is a terminal with colours.
pub fn on_terminal(command: &mut Command, columns: u16) -> String {
    let (screen, terminal) = open(columns);
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

fn open(columns: u16) -> (OwnedFd, OwnedFd) {
    let size = libc::winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let (mut screen, mut terminal) = (-1, -1);
    // SAFETY: two places for descriptors and a size, all of which outlive the call; no name and no settings are asked for.
    let result = unsafe {
        libc::openpty(&raw mut screen, &raw mut terminal, ptr::null_mut(), ptr::null(), &raw const size)
    };
    assert_eq!(result, 0, "no terminal: {}", std::io::Error::last_os_error());
    // SAFETY: the call has just made both, and nobody else has them.
    unsafe { (OwnedFd::from_raw_fd(screen), OwnedFd::from_raw_fd(terminal)) }
}
