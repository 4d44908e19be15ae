//! strace(1) on running processes: to see their system calls, or to make some of them fail.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

/// Processes and their threads under strace; let go when dropped.
pub struct Strace(Child);

impl Strace {
    /// Attaches to all of these; returns once each call of theirs is seen.
    pub fn attach(pids: &[i32], arguments: &[&str]) -> Self {
        let mut strace = Command::new("strace");
        strace.arg("-f").args(arguments);
        for pid in pids {
            strace.arg("-p").arg(pid.to_string());
        }
        let mut child = strace.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let words = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let trace = Self(child);
        let attached = words.filter(|line| line.contains("attached")).take(pids.len()).count();
        assert_eq!(attached, pids.len(), "strace could not attach");
        trace
    }

    /// Ends the trace so that everything it saw is in its file.
    pub fn finish(mut self) {
        super::signal(i32::try_from(self.0.id()).unwrap(), Signal::SIGINT);
        self.0.wait().unwrap();
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
