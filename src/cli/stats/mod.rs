//! `stats`: the figures of `GET /v1/stats` as one screen; `--watch` draws it anew every interval until Ctrl-C.

mod screen;

use std::io::{IsTerminal, Write, stdout};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use daemon_utils::signal::{Signal, Signals};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;

use super::client::{self, Reached};
use super::{Invocation, Outcome, duration, say_json, status, style};

/// How the figures are shown.
#[derive(Debug, Args)]
pub(super) struct StatsArgs {
    /// As JSON; with --watch one document a line
    #[arg(long)]
    json: bool,
    /// Again and again, until Ctrl-C; where the output is no terminal, one table after the other
    #[arg(long)]
    watch: bool,
    /// How often (with --watch); the figures change once a second
    #[arg(long, default_value = "1s", value_parser = duration, value_name = "DURATION", requires = "watch")]
    interval: Duration,
}

/// Draws on another screen of the terminal, without the cursor (`console_codes(4)`); at the end it is as it was before.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// To the first place; after the screen, clear what is left of the one before.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// While an api process hands over to the next one, nobody answers for a moment.
const MISSES: u32 = 5;
/// Shorter intervals show nothing new.
const SHORTEST: Duration = Duration::from_millis(100);

pub(super) fn run(invocation: &Invocation, args: &StatsArgs) -> Outcome {
    let config = invocation.manager()?.load_leniently().map_err(|report| report.to_string())?;
    let socket = &config.daemon.control_socket;
    let Some(first) = ask(socket)? else { return status::without_api(&config, args.json) };
    if !args.watch {
        if args.json {
            say_json(&first)?;
        } else {
            style::say(&screen::show(&first, None));
        }
        return Ok(ExitCode::SUCCESS);
    }
    // Blocked, so that Ctrl-C ends the loop and the terminal is put back.
    let signals = Signals::block(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP])
        .map_err(|error| format!("could not wait for signals: {error}"))?;
    let terminal = stdout().is_terminal() && !args.json;
    let guard = terminal.then(Screen::enter).transpose().map_err(|error| error.to_string())?;
    let (mut last, mut latest) = (None, Some(first));
    let mut misses = 0;
    loop {
        match latest {
            Some(now) => {
                misses = 0;
                let text = if args.json {
                    now.to_string()
                } else {
                    style::paint(&screen::show(&now, last.as_ref()), style::on_stdout())
                };
                if let Err(error) = put(&text, terminal, args.json) {
                    // Whoever read has gone: that is how `| head` ends.
                    let gone = error.kind() == std::io::ErrorKind::BrokenPipe;
                    return if gone { Ok(ExitCode::SUCCESS) } else { Err(error.to_string()) };
                }
                last = Some(now);
            }
            None => misses += 1,
        }
        if misses > MISSES {
            drop(guard);
            return status::without_api(&config, args.json);
        }
        if is_over(&signals, args.interval.max(SHORTEST))? {
            return Ok(ExitCode::SUCCESS);
        }
        latest = ask(socket)?;
    }
}

/// The figures; `None`: nobody answers.
fn ask(socket: &Path) -> Result<Option<Value>, String> {
    match client::get::<Value>(socket, "/v1/stats")? {
        Reached::Answer(figures) => Ok(Some(figures)),
        Reached::Problem(problem) => Err(format!("{}: {}", problem.title, problem.detail)),
        Reached::Nobody => Ok(None),
    }
}

/// Waits for the interval; whether a signal has ended it.
fn is_over(signals: &Signals, interval: Duration) -> Result<bool, String> {
    let end = Instant::now() + interval;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) if Instant::now() >= end => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(format!("could not wait: {errno}")),
        }
    }
}

fn put(text: &str, terminal: bool, json: bool) -> std::io::Result<()> {
    let mut out = stdout().lock();
    if terminal {
        // Line over line, so that nothing flickers; what does not fit is cut off below, the most important stands above.
        let rows = screen::rows().unwrap_or(usize::MAX);
        let lines: Vec<&str> = text.lines().take(rows.saturating_sub(1)).collect();
        write!(out, "{HOME}{}{CLEAR_LINE}\r\n{CLEAR_BELOW}", lines.join(&format!("{CLEAR_LINE}\r\n")))?;
    } else if json {
        writeln!(out, "{text}")?;
    } else {
        writeln!(out, "{text}\n")?;
    }
    out.flush()
}

/// The other screen of the terminal, while this lives.
struct Screen;

impl Screen {
    fn enter() -> std::io::Result<Self> {
        let mut out = stdout().lock();
        write!(out, "{ENTER}")?;
        out.flush()?;
        Ok(Self)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut out = stdout().lock();
        // The terminal may have gone.
        let _ = write!(out, "{LEAVE}").and_then(|()| out.flush());
    }
}
