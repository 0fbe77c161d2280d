//! What people and packages get: terminals, completions, manual pages.

use sg_tests::{
    ctl::{Ctl, binary},
    net::Namespace,
    pty::on_terminal,
};
use std::{fs, path::Path, process::Command};

const LONG: &str = "Lets-everybody-in who knows the way to the well and has a bucket that holds water";

/// A store with a group whose description is wider than most terminals.
fn ctl() -> (Ctl, Namespace) {
    let netns = Namespace::new("host");
    let ctl = Ctl::new(&netns);
    let ran = sg_tests::ctl::finish(ctl.prepare(&mut Command::new(binary())).args([
        "group",
        "create",
        "web",
        "--description",
        LONG,
    ]));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    (ctl, netns)
}

fn shown(ctl: &Ctl, line: &str, columns: u16, no_color: &str) -> String {
    let mut command = Command::new(binary());
    ctl.prepare(&mut command).args(line.split_whitespace()).env("NO_COLOR", no_color);
    on_terminal(&mut command, columns)
}

#[test]
fn tables_fit_a_terminal_and_are_whole_in_a_pipe() {
    let (ctl, _netns) = ctl();
    let piped = ctl.text("group list");
    assert!(piped.contains(LONG) && !piped.contains('\x1b'), "{piped}");
    let narrow = shown(&ctl, "group list", 90, "1");
    assert!(narrow.lines().all(|line| line.chars().count() <= 90), "{narrow}");
    assert!(narrow.lines().count() > piped.lines().count(), "{narrow}");
    let words = |text: &str| {
        let mut words: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
        words.sort();
        words
    };
    assert_eq!(words(&narrow), words(&piped), "nothing is cut off");
    assert_eq!(shown(&ctl, "group list", 250, "1"), piped, "and nothing is changed where there is room");
}

#[test]
fn colours_are_on_terminals_only_and_not_where_nobody_wants_them() {
    let (ctl, _netns) = ctl();
    let heads = shown(&ctl, "group list", 250, "");
    assert!(heads.starts_with("\x1b[1mID "), "{heads:?}");
    let refused = shown(&ctl, "group show nosuch", 250, "");
    assert!(refused.starts_with("\x1b[") && refused.contains("31m"), "{refused:?}");
    assert!(refused.contains("error:\x1b[0m InvalidGroup.NotFound: "), "{refused:?}");
    for line in ["group list", "group show nosuch"] {
        assert!(!shown(&ctl, line, 250, "1").contains('\x1b'), "{line} with NO_COLOR");
    }
    for line in ["-o json group list", "-o json group show nosuch"] {
        let json = shown(&ctl, line, 40, "");
        assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{line}: {json:?}");
    }
}

#[test]
fn completions_know_every_shell_and_command() {
    let (ctl, _netns) = ctl();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = ctl.text(&format!("completions {shell}"));
        assert!(script.contains("set-groups") && script.contains("prefix-list"), "{shell}");
    }
}

/// Below `sg-ctl`, each command that `--help` of the one above lists.
fn commands(ctl: &Ctl, of: &str, found: &mut Vec<String>) {
    let help = ctl.text(&format!("{of} --help"));
    let listed = help.split_once("Commands:\n").map_or("", |(_, rest)| rest);
    for line in listed.lines().take_while(|line| line.starts_with("  ")) {
        // Deeper lines go on with a text.
        let Some(name) = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')) else { continue };
        let name = name.split(' ').next().unwrap_or_default();
        let command = format!("{of} {name}").trim().to_owned();
        commands(ctl, &command, found);
        found.push(command);
    }
}

#[test]
fn each_command_has_a_manual_page() {
    let (ctl, _netns) = ctl();
    let dir = ctl.state_dir().join("man/man1");
    ctl.text(&format!("man {}", dir.display()));
    let mut expected = Vec::new();
    commands(&ctl, "", &mut expected);
    assert!(expected.len() > 20, "{expected:?}");
    for command in expected {
        let page = dir.join(format!("sg-ctl-{}.1", command.replace(' ', "-")));
        let text = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        assert!(text.contains(".SH SYNOPSIS"), "{command}");
    }
    assert!(dir.join("sg-ctl.1").exists());
    let file = ctl.state_dir().join("a-file");
    fs::write(&file, "").expect("a file");
    let refused = ctl.refused(&format!("man {}", Path::new(&file).display()));
    assert_eq!(refused.code, "OutputError");
    assert!(refused.message.contains("a-file"), "{}", refused.message);
}
