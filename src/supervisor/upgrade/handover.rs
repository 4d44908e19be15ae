//! What main hands to the program that takes its place: everything that it knows, as JSON, with descriptors by their
//! numbers. Made here and read in `take_over`; later versions may add fields, with defaults.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::Extras;
use crate::api::token::Token;
use crate::config::{Running, Sources};
use crate::stats::layout::Layout;
use crate::supervisor::Supervisor;
use crate::supervisor::children::State;
use crate::supervisor::reload::Wish;
use crate::supervisor::sockets::{DhcpListener, Listener};
use crate::supervisor::watcher::Stamp;
use crate::workers::regions;

/// Raised where an older version could not follow this one, or the other way round: when a field changes its meaning, or
/// a word or an order of the workers' channels does, or a frame of the log.
pub(super) const FORMAT: u32 = 2;

/// Main's knowledge.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Handover {
    pub(super) format: u32,
    /// Version of the program that hands over.
    pub(super) version: String,
    /// Where the next upgrade looks for its program.
    pub(super) program: PathBuf,
    /// The program that hands over, open: it is the way back.
    pub(super) executable: RawFd,
    pub(super) foreground: bool,
    pub(super) sources: Sources,
    /// The configuration in force.
    pub(super) running: Running,
    pub(super) token: Option<Token>,
    pub(super) file_read: Option<Stamp>,
    pub(super) generation: u64,
    pub(super) last_generation: u64,
    pub(super) memory: RawFd,
    pub(super) layout: Layout,
    /// Reading and writing end.
    pub(super) log: (RawFd, RawFd),
    pub(super) lifeline: (RawFd, RawFd),
    pub(super) pid_file: (PathBuf, RawFd),
    pub(super) state_lock: (PathBuf, RawFd),
    pub(super) tcp: Vec<Listening>,
    pub(super) udp: Vec<Listening>,
    pub(super) dhcp: Vec<Dhcp>,
    pub(super) packet: Option<RawFd>,
    pub(super) arp: Vec<(u32, RawFd)>,
    pub(super) icmp: Option<RawFd>,
    pub(super) control: Option<(PathBuf, RawFd)>,
    pub(super) api: Option<Listening>,
    pub(super) children: Vec<Worker>,
    /// Workers that died and wait to be forked again.
    pub(super) dead: Vec<(u64, u16)>,
    pub(super) strangers: Vec<i32>,
    pub(super) has_orphans: bool,
    pub(super) wishes: Vec<Wanted>,
    /// The api workers that asked for the upgrade.
    pub(super) asked_by: Vec<i32>,
}

/// A listening socket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Listening {
    pub(super) asked: SocketAddr,
    pub(super) bound: SocketAddr,
    pub(super) fd: RawFd,
}

/// A DHCP socket and its interface.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Dhcp {
    pub(super) name: String,
    pub(super) index: u32,
    pub(super) mac: Option<[u8; 6]>,
    pub(super) addresses: Vec<(Ipv4Addr, u8)>,
    pub(super) up: bool,
    pub(super) loopback: bool,
    pub(super) asked: u16,
    pub(super) bound: u16,
    pub(super) fd: RawFd,
}

/// A worker that lives.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Worker {
    pub(super) pid: i32,
    /// Number of its kind, which no version changes.
    pub(super) kind: u64,
    pub(super) index: u16,
    pub(super) generation: u64,
    pub(super) slot: usize,
    pub(super) channel: RawFd,
    pub(super) state: State,
    pub(super) age: Duration,
    pub(super) complaint: Option<String>,
    pub(super) deaf: bool,
    /// Until it is killed.
    pub(super) kill_in: Option<Duration>,
}

/// A wish that waits.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Wanted {
    Reload(Vec<i32>),
    Upgrade(Vec<i32>),
    Patch(i32, String, String),
}

/// A handover and the descriptors that must stay open for it.
#[derive(Debug)]
pub(super) struct Packed<'a> {
    pub(super) handover: Handover,
    pub(super) kept: Vec<BorrowedFd<'a>>,
}

impl Packed<'_> {
    /// As text.
    pub(super) fn text(&self) -> io::Result<Vec<u8>> {
        serde_json::to_vec(&self.handover).map_err(io::Error::other)
    }
}

impl Handover {
    /// Every descriptor in it.
    pub(super) fn descriptors(&self) -> Vec<RawFd> {
        let mut all = vec![self.executable, self.memory, self.pid_file.1, self.state_lock.1];
        all.extend([self.log.0, self.log.1, self.lifeline.0, self.lifeline.1]);
        all.extend(self.tcp.iter().chain(&self.udp).chain(&self.api).map(|one| one.fd));
        all.extend(self.dhcp.iter().map(|one| one.fd));
        all.extend(self.arp.iter().map(|(_, fd)| *fd));
        all.extend(self.packet.iter().chain(&self.icmp));
        all.extend(self.control.iter().map(|(_, fd)| *fd));
        all.extend(self.children.iter().map(|child| child.channel));
        all
    }
}

/// Notes the number of a descriptor, and that it is kept.
struct Kept<'a>(Vec<BorrowedFd<'a>>);

impl<'a> Kept<'a> {
    fn keep(&mut self, fd: &'a impl AsFd) -> RawFd {
        let fd = fd.as_fd();
        self.0.push(fd);
        fd.as_raw_fd()
    }

    fn listening(&mut self, listener: &'a Listener) -> Listening {
        Listening { asked: listener.asked, bound: listener.bound, fd: self.keep(&listener.fd) }
    }

    fn dhcp(&mut self, listener: &'a DhcpListener) -> Dhcp {
        let interface = listener.interface.clone();
        Dhcp {
            name: interface.name,
            index: interface.index,
            mac: interface.mac,
            addresses: interface.addresses,
            up: interface.up,
            loopback: interface.loopback,
            asked: listener.asked,
            bound: listener.bound,
            fd: self.keep(&listener.fd),
        }
    }
}

impl Supervisor {
    /// Everything that main knows. Errors: a descriptor that every running
    /// daemon has is missing.
    pub(super) fn pack<'a>(
        &'a self,
        extras: &'a Extras,
        program: PathBuf,
        asked_by: &[Pid],
    ) -> io::Result<Packed<'a>> {
        let missing = |what: &str| io::Error::other(format!("there is no {what}"));
        let mut kept = Kept(Vec::new());
        let pid_file = self.pid_file.as_ref().ok_or_else(|| missing("PID file"))?;
        let state_lock = self.state_lock.as_ref().ok_or_else(|| missing("lock of the state folder"))?;
        let sockets = &self.sockets;
        let now = Instant::now();
        let pids = |pids: &[Pid]| pids.iter().map(|pid| pid.as_raw()).collect::<Vec<_>>();
        let handover = Handover {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            program,
            executable: kept.keep(&extras.executable),
            foreground: self.foreground,
            sources: self.manager.sources().clone(),
            running: Running::new(&self.manager, &self.in_force.loaded, self.generation),
            token: self.in_force.token.clone(),
            file_read: self.file_read,
            generation: self.generation,
            last_generation: self.last_generation,
            memory: kept.keep(&self.memory),
            layout: regions::layout(),
            log: (kept.keep(&self.log), kept.keep(&extras.writer)),
            lifeline: (kept.keep(&self.lifeline.0), kept.keep(&self.lifeline.1)),
            pid_file: (pid_file.path().to_owned(), kept.keep(pid_file)),
            state_lock: (state_lock.path().to_owned(), kept.keep(state_lock)),
            tcp: sockets.tcp.iter().map(|one| kept.listening(one)).collect(),
            udp: sockets.udp.iter().map(|one| kept.listening(one)).collect(),
            dhcp: sockets.dhcp.iter().map(|one| kept.dhcp(one)).collect(),
            packet: sockets.packet.as_ref().map(|fd| kept.keep(fd)),
            arp: sockets.arp.iter().map(|(index, fd)| (*index, kept.keep(fd))).collect(),
            icmp: sockets.icmp.as_ref().map(|fd| kept.keep(fd)),
            control: sockets.control.as_ref().map(|(path, fd)| (path.clone(), kept.keep(fd))),
            api: sockets.api.as_ref().map(|one| kept.listening(one)),
            children: self
                .children
                .iter()
                .map(|child| Worker {
                    pid: child.pid.as_raw(),
                    kind: child.kind.number(),
                    index: child.index,
                    generation: child.generation,
                    slot: child.slot_index,
                    channel: kept.keep(&child.channel),
                    state: child.state,
                    age: child.since.elapsed(),
                    complaint: child.complaint.clone(),
                    deaf: child.deaf,
                    kill_in: child.kill_at.map(|at| at.saturating_duration_since(now)),
                })
                .collect(),
            dead: self.restarts.iter().map(|dead| (dead.kind.number(), dead.index)).collect(),
            strangers: pids(&self.strangers),
            has_orphans: self.has_orphans,
            wishes: self
                .wishes
                .iter()
                .map(|wish| match wish {
                    Wish::Reload(askers) => Wanted::Reload(pids(askers)),
                    Wish::Upgrade(askers) => Wanted::Upgrade(pids(askers)),
                    Wish::Patch(asker, patch) => {
                        Wanted::Patch(asker.as_raw(), patch.tag.clone(), patch.json.clone())
                    }
                })
                .collect(),
            asked_by: pids(asked_by),
        };
        Ok(Packed { handover, kept: kept.0 })
    }
}
