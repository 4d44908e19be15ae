//! The typed configuration: what the program means by what the administrator said.
//!
//! Made by the loader only after every check has passed, so nobody downstream checks again. Maps of the file
//! (subnets, pools) have become lists ordered by name. Paths are absolute.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use daemon_utils::log::Rate;
use log::LevelFilter;
use serde::Serialize;

mod dhcp;
mod network;

pub use dhcp::*;
pub use network::*;

/// The whole configuration in force.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// Process-wide settings.
    pub daemon: Daemon,
    /// The log outputs.
    pub logging: Logging,
    /// TCP echo.
    pub tcp: Tcp,
    /// UDP echo.
    pub udp: Udp,
    /// Control API over TCP (the Unix socket is `daemon.control_socket`).
    pub api: Api,
    /// DHCPv4.
    pub dhcp: Dhcp,
}

/// `daemon`: process-wide settings.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Daemon {
    /// Whether `start` goes into the background.
    pub daemonize: bool,
    /// The locked PID file.
    pub pid_file: PathBuf,
    /// Unix socket of the control API.
    pub control_socket: PathBuf,
    /// Folder of the lease file and other state.
    pub state_dir: PathBuf,
    /// User that the workers run as where main is root.
    pub user: String,
    /// Whether a change of the configuration file on disk is taken for a reload.
    pub watch_config: bool,
    /// How long `stop` lets the children finish before SIGKILL.
    pub shutdown_timeout: Duration,
}

/// `logging`: outputs and levels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Logging {
    /// Text log, rotated by size.
    pub log_file: PathBuf,
    /// Level of the text log and of the console.
    pub log_level: LevelFilter,
    /// Size in bytes at which a log file is rotated.
    pub max_log_size: u64,
    /// How many rotated files are kept.
    pub backup_count: u32,
    /// Level per module, overriding `log_level`.
    pub modules: BTreeMap<String, LevelFilter>,
    /// Whether records go to stderr too (always in the foreground).
    pub console: bool,
    /// JSON lines.
    pub json: JsonLog,
    /// Syslog.
    pub syslog: SyslogLog,
    /// Limits of events that differ from the table's, by ID; none: no limit.
    pub rate_limits: BTreeMap<&'static str, Option<Rate>>,
    /// Interval of the `STATS` line; zero: never.
    pub stats_interval: Duration,
}

/// `logging.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JsonLog {
    /// On or off.
    pub enabled: bool,
    /// The file, rotated like the text log.
    pub file: PathBuf,
    /// Lowest level written.
    pub level: LevelFilter,
}

/// `logging.syslog`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SyslogLog {
    /// On or off.
    pub enabled: bool,
    /// A socket path such as `/dev/log`, or `udp://host:port`.
    pub address: String,
    /// Facility name as in syslog(3) without `LOG_`, in lower case: `daemon`, `local0`, ….
    pub facility: String,
    /// Lowest level sent.
    pub level: LevelFilter,
}

/// `tcp`: TCP echo (RFC 862).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tcp {
    /// On or off.
    pub enabled: bool,
    /// Addresses listened on.
    pub address: Vec<IpAddr>,
    /// Port; 0 lets the kernel choose.
    pub port: u16,
    /// Clients served at the same time, over all generations.
    pub max_clients: u32,
    /// What becomes of clients beyond that.
    pub when_full: WhenFull,
    /// Bytes of a client's buffer.
    pub buffer_size: usize,
    /// A client that moves no byte for so long is closed; zero: never.
    pub idle_timeout: Duration,
}

/// What becomes of a TCP client when all places are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// It waits in the kernel's backlog.
    Wait,
    /// It is accepted and closed at once.
    Reject,
}

/// `udp`: UDP echo (RFC 862).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Udp {
    /// On or off.
    pub enabled: bool,
    /// Addresses listened on.
    pub address: Vec<IpAddr>,
    /// Port; 0 lets the kernel choose.
    pub udp_port: u16,
    /// Bytes of a receive slot; longer datagrams are echoed whole all the same.
    pub buffer_size: usize,
}

/// `api`: the control API over TCP.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Api {
    /// Address and port; none: no listener.
    pub listen: Option<SocketAddr>,
    /// File whose first line is the bearer token that writing needs.
    pub token_file: Option<PathBuf>,
}
