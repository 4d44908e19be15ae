//! How the commands look: completions and manual pages made from the flags, colours and folded tables on a terminal
//! alone, JSON from every command that tells facts.

mod common;

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use common::dhcp::Client;
use common::{ALL, BINARY, Daemon, has, text};
use nix::pty::{Winsize, openpty};
use serde_json::Value;

/// Runs a command with standard output and standard error on a terminal of this width; what it shows.
fn on_terminal(mut command: Command, columns: u16) -> String {
    let size = Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(&size, None).unwrap();
    let other = |end: &OwnedFd| Stdio::from(end.try_clone().unwrap());
    command.stdin(Stdio::null()).stdout(other(&pty.slave)).stderr(other(&pty.slave));
    let mut child = command.spawn().unwrap();
    drop((command, pty.slave));
    let mut shown = Vec::new();
    // The end of a terminal that nobody holds any more reads as EIO (pty(7)).
    let _ = File::from(pty.master).read_to_end(&mut shown);
    child.wait().unwrap();
    String::from_utf8(shown).unwrap()
}

/// Nothing but the terminal says whether there are colours; `CI` means "yes" to some.
fn plain_environment(command: &mut Command) {
    for name in ["CI", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS"] {
        command.env_remove(name);
    }
    command.env("TERM", "xterm");
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let daemon = Daemon::prepare("tcp: {prot: 1}\n");
    let command = |set: &[(&str, &str)]| {
        let mut command = daemon.command(&["check"]);
        plain_environment(&mut command);
        command.envs(set.iter().copied());
        command
    };
    let shown = on_terminal(command(&[]), 100);
    assert!(shown.contains("\u{1b}[36mhint:\u{1b}[0m did you mean port?"), "{shown:?}");
    for off in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let shown = on_terminal(command(&[off]), 100);
        assert!(
            shown.contains("hint: did you mean port?") && !shown.contains('\u{1b}'),
            "{off:?}: {shown:?}"
        );
    }
    let piped = text(&command(&[]).output().unwrap());
    assert!(piped.contains("hint: did you mean port?") && !piped.contains('\u{1b}'), "{piped:?}");
    let forced = text(&command(&[("CLICOLOR_FORCE", "1")]).output().unwrap());
    assert!(forced.contains('\u{1b}'), "{forced:?}");
}

#[test]
fn tables_fit_the_terminal_and_no_address_is_folded() {
    let daemon = Daemon::start(ALL);
    let address = Client::new(7, daemon.dhcp_port()).lease().to_string();
    daemon.wait_log(&["DHCP_LEASE_GRANTED"]);
    let command = |args: &[&str]| {
        let mut command = daemon.command(args);
        plain_environment(&mut command);
        command
    };
    let shown = on_terminal(command(&["leases", "list"]), 60);
    assert!(shown.contains(&address) && shown.contains("02:00:00:00:00:07"), "{shown}");
    assert!(shown.contains("\u{1b}[32mactive\u{1b}[0m") && shown.contains("1 lease"), "{shown:?}");
    let status = on_terminal(command(&["status"]), 100);
    assert!(status.contains("\u{1b}[32mrunning\u{1b}[0m, PID"), "{status:?}");
    for args in [&["leases", "list", "--json"][..], &["status", "--json"]] {
        assert!(!on_terminal(command(args), 100).contains('\u{1b}'), "{args:?}");
    }
    // On a terminal an export says how much it was; its file holds the rows alone.
    let file = daemon.folder.path().join("leases.csv");
    let said = on_terminal(command(&["leases", "export", file.to_str().unwrap()]), 100);
    assert!(said.contains("exported 1 rows in "), "{said:?}");
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 2);
    assert_eq!(text(&command(&["leases", "export", file.to_str().unwrap()]).output().unwrap()), "");
}

#[test]
fn every_command_that_tells_facts_tells_them_as_json_and_nothing_else() {
    let daemon = Daemon::prepare(ALL);
    let json = |args: &[&str]| -> Value {
        let output = daemon.run(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output));
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{args:?}: {error}: {}", text(&output)))
    };
    let started = json(&["start", "--json"]);
    assert_eq!(
        (started["started"].as_bool(), started["pid"].as_i64()),
        (Some(true), Some(daemon.pid().into()))
    );
    let address = Client::new(7, daemon.dhcp_port()).lease().to_string();
    assert_eq!(json(&["reload", "--json"])["applied"], true);
    let probe = json(&["probe", "--json"]);
    assert!(probe["ok"] == true && probe["steps"][0]["ms"].is_f64(), "{probe}");
    assert_eq!(json(&["probe", "--count", "3", "--json"])["ok"], true);
    assert_eq!(json(&["check", "--json"])["problems"], serde_json::json!([]));
    assert_eq!(json(&["status", "--json"])["pid"], started["pid"]);
    assert_eq!(json(&["leases", "show", &address, "--json"])["ip"], *address);
    assert!(
        json(&["leases", "list", "--json"]).is_array() && json(&["leases", "history", "--json"]).is_array()
    );
    assert!(json(&["explain", "--mac", "02:00:00:00:00:07", "--json"])["outcome"].is_string());
    let file = daemon.folder.path().join("leases.json");
    daemon.run_ok(&["leases", "export", file.to_str().unwrap()]);
    assert_eq!(json(&["leases", "import", file.to_str().unwrap(), "--json"])["imported"], 0);
    let released = json(&["leases", "release", &address, "--json"]);
    assert_eq!(
        (released["ip"].as_str(), released["released"].as_bool()),
        (Some(address.as_str()), Some(true))
    );
    assert_eq!(json(&["restart", "--json"])["started"], true);
    assert_eq!(json(&["stop", "--json"]), serde_json::json!({"stopped": true}));
    assert_eq!(json(&["stop", "--json"]), serde_json::json!({"stopped": false}));
    // A failure stays text on standard error; the exit code tells.
    let failed = daemon.run(&["reload", "--json"]);
    assert!(failed.status.code() == Some(1) && failed.stdout.is_empty(), "{}", text(&failed));
}

#[test]
fn filters_that_can_match_nothing_are_mistakes() {
    let daemon = Daemon::start(ALL);
    for (args, said) in [
        (&["leases", "list", "--mac", "zz"][..], "write 00:11:22:33:44:55"),
        (&["leases", "history", "--mac", "zz"], "write 00:11:22:33:44:55"),
        (&["leases", "list", "--subnet", "dmeo"], "subnets are demo"),
    ] {
        let output = daemon.run(args);
        assert!(!output.status.success() && text(&output).contains(said), "{args:?}: {}", text(&output));
    }
}

#[test]
fn bash_completes_commands_and_flags() {
    if !has("bash", "bash_completes_commands_and_flags") {
        return;
    }
    let script = r#"
        eval "$("$1" completions bash)"
        complete() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
            _echo__daemon "$1" "${!#}" "${COMP_WORDS[COMP_CWORD - 1]}"; echo "${COMPREPLY[*]}"; }
        complete echo-daemon sta
        complete echo-daemon leases his
        complete echo-daemon stop --ti"#;
    let output = Command::new("bash").args(["-c", script, "bash", BINARY]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let said = text(&output);
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].split(' ').any(|word| word == "start") && lines[0].contains("status"), "{said}");
    assert_eq!(&lines[1..], ["history", "--timeout"], "{said}");
}

#[test]
fn every_shell_has_a_completion() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = Command::new(BINARY).args(["completions", shell]).output().unwrap();
        assert!(output.status.success() && text(&output).contains("release"), "{shell}: {}", text(&output));
    }
}

#[test]
fn every_command_has_a_manual_page_without_mistakes() {
    let folder = common::folder();
    let output = Command::new(BINARY).arg("man").arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let pages: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    for name in ["echo-daemon.8", "echo-daemon-start.8", "echo-daemon-leases-import.8"] {
        assert!(pages.iter().any(|page| page.ends_with(name)), "{name} in {pages:?}");
    }
    let history = fs::read_to_string(folder.path().join("echo-daemon-leases-history.8")).unwrap();
    assert!(history.contains(".nf") && history.contains("leases history 10.0.0.5"), "{history}");
    if !has("mandoc", "every_command_has_a_manual_page_without_mistakes") {
        return;
    }
    let lint = Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).args(&pages).output().unwrap();
    assert!(lint.status.success(), "{}", text(&lint));
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let daemon = Daemon::start(ALL);
    for args in
        [&["status"][..], &["status", "--json"], &["config", "show"], &["config", "schema"], &["stats"]]
    {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = daemon.command(args).stdout(full).output().unwrap();
        assert!(
            !output.status.success() && text(&output).contains("could not write"),
            "{args:?}: {}",
            text(&output)
        );
    }
}
