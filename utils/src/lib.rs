//! `daemon-utils`: what a Unix daemon needs of the operating system, and all `unsafe` code of the project.
//!
//! It knows nothing of DHCP, of echo or of the configuration. Each module wraps one family of system calls
//! in functions that cannot be misused from safe code.
//!
//! | module | owns |
//! |---|---|
//! | [`daemon`] | the double fork, the standard descriptors, the message from the daemon to its caller |
//! | [`title`] | the name that `ps` shows |
//! | [`pidfile`] | the locked PID file |
//! | [`signal`] | signals as readable events, resetting what was inherited |
//! | [`process`] | fork, reap, descriptors that a child keeps, PDEATHSIG, subreaper |
//! | [`channel`] | message pairs between a parent and its child |
//! | [`handover`] | what a program hands to the one that it executes in its place |
//! | [`clock`] | the clock that leases age by |
//! | [`socket`] | listening, datagram and packet sockets, batches, interface changes |
//! | [`shm`] | the shared mapping of atomics |
//! | [`state_file`] | small files that main keeps in a folder which others may write to |
//! | [`sandbox`] | users, capabilities, `no_new_privs`, Landlock, seccomp, resource limits |
//! | [`log`] | log frames, their transport, the outputs and their rotation |

pub mod channel;
pub mod clock;
pub mod daemon;
pub mod handover;
pub mod log;
pub mod pidfile;
pub mod process;
pub mod sandbox;
pub mod shm;
pub mod signal;
pub mod socket;
pub mod state_file;
pub mod title;
mod wait;
