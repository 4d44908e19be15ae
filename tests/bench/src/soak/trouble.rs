//! What happens to the daemon while it serves: reloads, a process killed at random, upgrades in place.

use crate::tree;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often each comes.
const RELOAD: Duration = Duration::from_secs(5);
const KILL: Duration = Duration::from_secs(20);
const UPGRADE: Duration = Duration::from_mins(2);
/// The last part of the run is left alone, so that everything can come to rest.
pub(crate) const REST: Duration = Duration::from_secs(10);

/// One trouble: when, since the beginning, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) at: Duration,
    pub(crate) what: What,
}

/// What was done to the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Reload,
    Upgrade,
    /// Who was killed, as `ps` shows it, without the address of a client.
    Kill(String),
    /// A command that failed, and what it said.
    Failed(String),
}

/// The daemon, as its administrator knows it.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) program: PathBuf,
    pub(crate) config: PathBuf,
    pub(crate) main: i32,
}

/// What has happened so far.
#[derive(Debug, Default)]
pub(crate) struct Troubles(Mutex<Vec<Event>>);

impl Troubles {
    /// All of them, in their order.
    pub(crate) fn all(&self) -> Vec<Event> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes trouble until the rest before `length` is over.
    pub(crate) fn make(&self, subject: &Subject, began: Instant, length: Duration, end: &AtomicBool) {
        let mut due = [RELOAD, KILL, UPGRADE];
        // What changes with each of them; a reload by command and one by signal in turn.
        let mut round = 0;
        while !end.load(Ordering::Relaxed) && began.elapsed() + REST < length {
            let now = began.elapsed();
            if now >= due[2] {
                due[2] = now + UPGRADE;
                self.tell(began, subject.command("upgrade").map(|()| What::Upgrade));
            } else if now >= due[1] {
                due[1] = now + KILL;
                self.tell(began, subject.kill_somebody(round));
                round += 1;
            } else if now >= due[0] {
                due[0] = now + RELOAD;
                let hang_up =
                    || kill(Pid::from_raw(subject.main), Signal::SIGHUP).map_err(|error| error.to_string());
                let reloaded = if round % 2 == 0 { subject.command("reload") } else { hang_up() };
                self.tell(began, reloaded.map(|()| What::Reload));
                round += 1;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn tell(&self, began: Instant, what: Result<What, String>) {
        let event = Event { at: began.elapsed(), what: what.unwrap_or_else(What::Failed) };
        if let What::Failed(words) = &event.what {
            eprintln!("{:>5.0} s  {words}", event.at.as_secs_f64());
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}

impl Subject {
    fn command(&self, word: &str) -> Result<(), String> {
        let mut command = Command::new(&self.program);
        let output = command.arg("-c").arg(&self.config).arg(word).stdin(Stdio::null()).output();
        match output {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(format!("{word}: {}", String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => Err(format!("{word}: {error}")),
        }
    }

    /// Any process below main, with the workers as likely as the many processes of clients together.
    fn kill_somebody(&self, dice: usize) -> Result<What, String> {
        let below = tree::members(self.main).into_iter().filter(|member| member.pid != self.main);
        let (clients, workers): (Vec<_>, Vec<_>) = below.partition(tree::Member::is_tcp_client);
        let places = workers.len() + 1;
        let chosen = match workers.get(dice % places) {
            Some(worker) => worker,
            None => clients.get(dice % clients.len().max(1)).ok_or("no client has a process")?,
        };
        kill(Pid::from_raw(chosen.pid), Signal::SIGKILL).map_err(|error| format!("kill: {error}"))?;
        Ok(What::Kill(chosen.role().to_owned()))
    }
}
