//! echo-daemon, a pre-fork multiprocess daemon: TCP echo, UDP echo and DHCPv4 with leases in SQLite.
//!
//! The map of the crate; a layer may use those above it in this list only (`tests/layers.rs` checks it):
//!
//! | layer | owns |
//! |---|---|
//! | `daemon_utils` | the operating system: processes, sockets, shared memory, privileges, log transport |
//! | [`events`] | the table of log events |
//! | [`stats`] | the table of metrics, the counters in shared memory, the exposition |
//! | [`config`] | `ConfigManager`: sources, merge, checks, the typed configuration |
//! | [`protocol`] | `DhcpMessage`, `DhcpParser`, options: the format of packets only |
//! | [`lease`] | `LeaseManager`: engine, cache, pools, the lease file |
//! | [`dhcp`] | the pipeline from message to reply: security, scope, handler, options, reply |
//! | [`workers`], [`api`] | the processes: their loops and their I/O |
//! | [`supervisor`] | the main process: start order, children, generations, reload, stop |
//! | [`cli`] | the commands |

#![forbid(unsafe_code)]

pub mod api;
pub mod cli;
pub mod config;
pub mod dhcp;
pub mod events;
pub mod lease;
pub mod protocol;
pub mod stats;
pub mod supervisor;
pub mod workers;
