//! Makes another process do a system call, as somebody would who has taken it over: by ptrace(2), as root. The process goes
//! on afterwards as if nothing had been, unless the call has killed it.

use std::io;

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::eventually;

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It returned this.
    Returned(i64),
    /// It failed with this.
    Failed(Errno),
    /// It ended the process by this signal.
    Killed(Signal),
}

/// An argument of a call.
#[derive(Debug, Clone, Copy)]
pub enum Argument<'a> {
    Number(i64),
    /// A pointer to this text, which is put on the stack.
    Text(&'a str),
}

/// Whether this architecture can do it; says that the test was skipped where it cannot.
pub fn is_possible(test: &str) -> bool {
    let possible = cfg!(target_arch = "x86_64");
    if !possible {
        eprintln!("skipped: {test}: system calls are put into processes on x86-64 only");
    }
    possible
}

/// Has the process do the call. It must be waiting in a system call, or will soon.
#[cfg(target_arch = "x86_64")]
#[track_caller]
pub fn call(pid: i32, number: i64, arguments: &[Argument<'_>]) -> Outcome {
    let pid = Pid::from_raw(pid);
    eventually(&format!("wait of {pid} in a system call"), || {
        ptrace::attach(pid).unwrap();
        // What came before the stop that was asked for is let through, or that one would be left over.
        loop {
            match wait(pid) {
                Stop::By(Signal::SIGSTOP) => break,
                Stop::By(signal) => ptrace::cont(pid, signal).unwrap(),
                Stop::Ended(signal) => panic!("{pid} was ended by {signal}"),
            }
        }
        let regs = ptrace::getregs(pid).unwrap();
        // Behind the instruction `syscall`.
        let before = ptrace::read(pid, (regs.rip - 2) as *mut _).unwrap();
        let outcome = (before & 0xffff == 0x050f).then(|| step(pid, regs, number, arguments));
        if !matches!(outcome, Some(Outcome::Killed(_))) {
            ptrace::detach(pid, None).unwrap();
        }
        outcome
    })
}

#[cfg(not(target_arch = "x86_64"))]
pub fn call(_: i32, _: i64, _: &[Argument<'_>]) -> Outcome {
    Outcome::Failed(Errno::ENOTSUP)
}

#[cfg(target_arch = "x86_64")]
fn step(pid: Pid, before: nix::libc::user_regs_struct, number: i64, arguments: &[Argument<'_>]) -> Outcome {
    let mut regs = before;
    // Far below what the process uses of its stack.
    let mut room = before.rsp - 16 * 1024;
    let mut place = |argument: Argument<'_>| match argument {
        Argument::Number(number) => number.cast_unsigned(),
        Argument::Text(text) => {
            let mut bytes = text.as_bytes().to_vec();
            bytes.resize((bytes.len() / 8 + 1) * 8, 0);
            room -= bytes.len() as u64;
            for (at, word) in (room..).step_by(8).zip(bytes.chunks(8)) {
                ptrace::write(pid, at as *mut _, i64::from_ne_bytes(word.try_into().unwrap())).unwrap();
            }
            room
        }
    };
    let mut next = arguments.iter().map(|argument| place(*argument)).chain(std::iter::repeat(0));
    for register in [&mut regs.rdi, &mut regs.rsi, &mut regs.rdx, &mut regs.r10, &mut regs.r8, &mut regs.r9] {
        *register = next.next().unwrap();
    }
    regs.rip -= 2;
    regs.rax = number.cast_unsigned();
    // The kernel must not take it for the call that was interrupted.
    regs.orig_rax = u64::MAX;
    ptrace::setregs(pid, regs).unwrap();
    ptrace::step(pid, None).unwrap();
    if let Stop::Ended(signal) = wait(pid) {
        return Outcome::Killed(signal);
    }
    let result = ptrace::getregs(pid).unwrap().rax.cast_signed();
    ptrace::setregs(pid, before).unwrap();
    match result {
        -4095..0 => Outcome::Failed(Errno::from_raw(i32::try_from(-result).unwrap())),
        result => Outcome::Returned(result),
    }
}

/// Why a traced process does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// It has this signal before it.
    By(Signal),
    /// This one has ended it.
    Ended(Signal),
}

fn wait(pid: Pid) -> Stop {
    loop {
        match waitpid(pid, Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::Stopped(_, signal)) => return Stop::By(signal),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Stop::Ended(signal),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => panic!("wait for {pid}: {}", io::Error::from(error)),
        }
    }
}
