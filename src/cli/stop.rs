//! `stop`: finds the daemon by its PID file, tells it to end, and waits for its last process.

use std::process::ExitCode;
use std::time::Duration;

use daemon_utils::process::{self, Process};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::json;

use super::{Invocation, Outcome, StopArgs, StopCommand, say_json};
use crate::config::Config;
use crate::supervisor::{Running, find_running, say};

/// How long killed processes may take to vanish.
const AFTER_KILL: Duration = Duration::from_secs(5);

pub(super) fn run(invocation: &Invocation, args: &StopCommand) -> Outcome {
    let config = invocation.manager()?.load_leniently().map_err(|report| report.to_string())?;
    let stopped = stop(&config, &args.stop)?;
    if args.output.json {
        say_json(&json!({ "stopped": stopped }))?;
    } else {
        say(if stopped { "stopped" } else { "not running" });
    }
    Ok(ExitCode::SUCCESS)
}

/// Stops the daemon of this configuration; whether there was one.
pub(super) fn stop(config: &Config, args: &StopArgs) -> Result<bool, String> {
    let Some(Running { pid, lock }) = find_running(config)? else { return Ok(false) };
    let Some(pid) = pid else {
        let lock = lock.display();
        return Err(format!(
            "a daemon holds {lock}, but the file does not say its PID\nhint: `fuser {lock}` names it"
        ));
    };
    let gone = |error| format!("could not watch process {pid}: {error}");
    let main = match Process::open(pid) {
        Ok(main) => main,
        // It ended between the two looks.
        Err(error) if error.raw_os_error() == Some(nix::errno::Errno::ESRCH as i32) => return Ok(true),
        Err(error) => return Err(gone(error)),
    };
    // The PID may have been given to another process between the two looks; the lock tells.
    if find_running(config)?.and_then(|running| running.pid) != Some(pid) {
        return main.wait_gone(Duration::ZERO).map_err(gone);
    }
    main.signal(Signal::SIGTERM).map_err(|error| format!("could not stop process {pid}: {error}"))?;
    if main.wait_gone(args.timeout).map_err(gone)? {
        return Ok(true);
    }
    if !args.force {
        return Err(format!(
            "process {pid} is still there after {:?}\nhint: stop --force kills it",
            args.timeout
        ));
    }
    kill_tree(pid, &main).map_err(|error| format!("could not kill process {pid}: {error}"))?;
    Ok(true)
}

/// Kills main and waits until everything below it is gone, too: each process is watched before main dies, so
/// none is missed or mistaken.
fn kill_tree(pid: Pid, main: &Process) -> std::io::Result<()> {
    let tree: Vec<Process> =
        process::descendants(pid).into_iter().filter_map(|below| Process::open(below).ok()).collect();
    main.signal(Signal::SIGKILL)?;
    for process in tree.iter().chain([main]) {
        let _ = process.signal(Signal::SIGKILL);
        if !process.wait_gone(AFTER_KILL)? {
            return Err(std::io::Error::other("a process does not end, not even by SIGKILL"));
        }
    }
    Ok(())
}
