//! The table of worker kinds: name, how many, which counter its restarts go to. The supervisor forks by it,
//! the API names processes by it.

use crate::config::Config;
use crate::stats::Counter;

/// A kind of worker process, in the order in which they are forked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Owns the log outputs.
    Logger,
    /// Accepts TCP echo clients and forks a process for each.
    Tcp,
    /// Echoes datagrams.
    Udp,
    /// One of `dhcp.workers` DHCP pipelines.
    Dhcp,
    /// Keeps the lease file in shape.
    Keeper,
    /// Serves the control API.
    Api,
}

impl Kind {
    /// All of them, in the order in which they are forked.
    pub const ALL: [Self; 6] = [Self::Logger, Self::Tcp, Self::Udp, Self::Dhcp, Self::Keeper, Self::Api];

    /// The name in `ps`, in the log and in the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Logger => "logger",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Dhcp => "dhcp",
            Self::Keeper => "keeper",
            Self::Api => "api",
        }
    }

    /// The name of one of them: only DHCP workers are numbered.
    pub fn process_name(self, index: u16) -> String {
        match self {
            Self::Dhcp => format!("dhcp {index}"),
            Self::Logger | Self::Tcp | Self::Udp | Self::Keeper | Self::Api => self.name().to_owned(),
        }
    }

    /// How much rather than main the kernel is to kill it where memory runs out ([`daemon_utils::process::raise_oom_score`]). A
    /// process of one client is the least loss; whoever writes leases or the log comes last.
    pub const fn oom_score(self) -> u16 {
        match self {
            Self::Tcp => 500,
            Self::Udp | Self::Api => 300,
            Self::Dhcp | Self::Keeper | Self::Logger => 100,
        }
    }

    /// Whether what is shared about leases is none of its business ([`super::regions::leave_leases`]).
    pub const fn knows_no_leases(self) -> bool {
        matches!(self, Self::Logger | Self::Tcp | Self::Udp)
    }

    /// How many of them a configuration asks for.
    pub fn count(self, config: &Config) -> u16 {
        match self {
            Self::Logger | Self::Api => 1,
            Self::Tcp => config.tcp.enabled.into(),
            Self::Udp => config.udp.enabled.into(),
            Self::Dhcp => {
                if config.dhcp.enabled {
                    config.dhcp.workers
                } else {
                    0
                }
            }
            Self::Keeper => config.dhcp.enabled.into(),
        }
    }

    /// The counter of its restarts.
    pub const fn restarts(self) -> Counter {
        match self {
            Self::Logger => Counter::RestartLogger,
            Self::Tcp => Counter::RestartTcp,
            Self::Udp => Counter::RestartUdp,
            Self::Dhcp => Counter::RestartDhcp,
            Self::Keeper => Counter::RestartKeeper,
            Self::Api => Counter::RestartApi,
        }
    }

    /// Its number in the shared memory.
    pub const fn number(self) -> u64 {
        self as u64
    }

    /// The kind with a number from the shared memory.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}
