//! docs/operations.md works line by line: every `console` block is typed, in order, into the shell of a machine made for
//! it, and says what the page shows.
//!
//! The machine is a network namespace with folders of its own; another one is the client at the other end of the cable.
//! `$` is a line typed on the server, `client$` one on the client. What a command prints is compared without its
//! numbers; `…` stands for anything within a line, and alone for any lines.

mod common;

use std::fs;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};

use common::{BINARY, Namespace, has, is_root};
use nix::pty::{Winsize, openpty};
use nix::sys::termios::{OutputFlags, SetArg, tcgetattr, tcsetattr};
use tempfile::TempDir;

/// A command of the page and what follows it.
#[derive(Debug)]
struct Step {
    line: usize,
    on_client: bool,
    command: String,
    output: Vec<String>,
}

/// All `console` blocks of a page.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for (number, line) in page.lines().enumerate() {
        if line.starts_with("```") {
            inside = line == "```console";
            continue;
        }
        if !inside {
            continue;
        }
        let typed = line.strip_prefix("$ ").map(|command| (false, command));
        let typed = typed.or_else(|| line.strip_prefix("client$ ").map(|command| (true, command)));
        match (typed, steps.last_mut()) {
            (Some((on_client, command)), _) => {
                steps.push(Step {
                    line: number + 1,
                    on_client,
                    command: command.to_owned(),
                    output: Vec::new(),
                });
            }
            // A line that the one before continues.
            (None, Some(step)) if step.command.ends_with('\\') && step.output.is_empty() => {
                step.command.push('\n');
                step.command.push_str(line);
            }
            (None, Some(step)) => step.output.push(line.to_owned()),
            (None, None) => panic!("docs/operations.md:{}: output without a command", number + 1),
        }
    }
    steps
}

/// A line without what differs from run to run.
fn plain(line: &str) -> String {
    let mut plain = String::new();
    for c in line.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        if !c.is_ascii_digit() {
            plain.push(c);
        } else if !plain.ends_with('#') {
            plain.push('#');
        }
    }
    plain
}

/// Whether a line is as shown.
fn fits(shown: &str, line: &str) -> bool {
    let (shown, line) = (plain(shown), plain(line));
    let mut parts = shown.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Whether the lines are as shown.
fn all_fit(shown: &[String], lines: &[String]) -> bool {
    match shown.split_first() {
        None => lines.iter().all(|line| line.trim().is_empty()),
        Some((first, rest)) if first.trim() == "…" => {
            (0..=lines.len()).any(|from| all_fit(rest, &lines[from..]))
        }
        Some((first, rest)) => {
            lines.split_first().is_some_and(|(line, lines)| fits(first, line) && all_fit(rest, lines))
        }
    }
}

/// A root shell on a machine of its own. What it prints goes to a terminal: people see other tables than pipes.
struct Machine {
    shell: Child,
    input: ChildStdin,
    output: BufReader<File>,
    _folder: TempDir,
}

/// Says in the output that a command has ended.
const END: &str = "--- end of the command ---";

impl Machine {
    /// Folders that a daemon or a client writes to are the machine's own; the program is installed.
    fn new(namespace: &Namespace) -> Self {
        let folder = common::folder();
        let here = folder.path().display();
        let set_up = format!(
            "exec 2>&1
            mkdir -p {here}/etc {here}/bin && cp -a /etc/. {here}/etc/ && mount --bind {here}/etc /etc &&
            for f in /var/log /var/lib /run /root; do mount -t tmpfs -o mode=755 tmpfs $f || exit; done
            mkdir -p /var/lib/dhcp /etc/echo-daemon && ln -s {BINARY} {here}/bin/echo-daemon
            grep -q ^echo-daemon: /etc/passwd || echo 'echo-daemon:x:791:791::/nonexistent:/bin/false' >> /etc/passwd
            grep -q ^echo-daemon: /etc/group || echo 'echo-daemon:x:791:' >> /etc/group
            export PATH={here}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
            unset ECHO_DAEMON_CONFIG CI CLICOLOR CLICOLOR_FORCE; export LC_ALL=C.UTF-8 TERM=dumb; cd /root"
        );
        let size = Winsize { ws_row: 50, ws_col: 160, ws_xpixel: 0, ws_ypixel: 0 };
        let terminal = openpty(&size, None).unwrap();
        let mut settings = tcgetattr(&terminal.slave).unwrap();
        // Lines end as the programs end them.
        settings.output_flags.remove(OutputFlags::OPOST);
        tcsetattr(&terminal.slave, SetArg::TCSANOW, &settings).unwrap();
        let mut shell = namespace
            .command("unshare")
            .args(["--mount", "--propagation", "private", "bash", "--noprofile", "--norc"])
            .stdin(Stdio::piped())
            .stdout(Stdio::from(terminal.slave))
            .spawn()
            .unwrap();
        let input = shell.stdin.take().unwrap();
        let output = BufReader::new(File::from(terminal.master));
        let mut machine = Self { shell, input, output, _folder: folder };
        let said = machine.run(&set_up);
        assert!(said.is_empty(), "{said:?}");
        machine
    }

    /// Types a command; the lines that it prints.
    fn run(&mut self, command: &str) -> Vec<String> {
        writeln!(self.input, "{command}\necho '{END}'").unwrap();
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let read = self.output.read_line(&mut line).unwrap();
            assert!(read > 0, "the shell has ended in {command:?}: {lines:?}");
            let line = line.trim_end_matches('\n');
            if let Some(unfinished) = line.strip_suffix(END) {
                lines.extend((!unfinished.is_empty()).then(|| unfinished.to_owned()));
                return lines;
            }
            lines.push(line.to_owned());
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

#[test]
fn every_line_of_the_operations_page_works_as_shown() {
    let test = "every_line_of_the_operations_page_works_as_shown";
    if !is_root(test) || !["dhclient", "curl", "sqlite3", "ip"].iter().all(|program| has(program, test)) {
        return;
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let steps = steps(&fs::read_to_string(page).unwrap());
    assert!(steps.len() > 20, "only {} commands were found", steps.len());
    let (server, client) = (Namespace::new(), Namespace::new());
    server.join("eth0", &client, "eth0");
    server.address("eth0", "10.0.0.1/24");
    let mut machines = [Machine::new(&server), Machine::new(&client)];
    let mut wrong = Vec::new();
    for step in &steps {
        let said = machines[usize::from(step.on_client)].run(&step.command);
        if !all_fit(&step.output, &said) {
            wrong.push(format!(
                "docs/operations.md:{}: {}\n--- shown\n{}\n--- said\n{}",
                step.line,
                step.command,
                step.output.join("\n"),
                said.join("\n")
            ));
        }
    }
    machines[0].run("echo-daemon stop --force");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn lines_are_compared_without_their_numbers() {
    let all = |shown: &[&str], said: &[&str]| {
        let own = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        all_fit(&own(shown), &own(said))
    };
    assert!(
        fits("lease of 10.0.0.5, 17 s", "lease  of 10.0.0.99,  3600 s") && !fits("lease of 1", "lease on 1")
    );
    assert!(
        fits("a…c", "abc") && fits("a…", "a") && fits("…c", "abc") && !fits("a…d", "abc") && !fits("a…", "b")
    );
    assert!(
        all(&["a", "…", "z"], &["a", "b", "c", "z"])
            && all(&["…"], &[])
            && all(&["a", "…", "z"], &["a", "z"])
    );
    assert!(!all(&["a", "z"], &["a", "b", "z"]) && !all(&["a"], &[]) && !all(&[], &["a"]));
}
