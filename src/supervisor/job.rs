//! What each kind of worker inherits besides its context, and its entry: the one place that ties a kind to its
//! loop.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use super::Supervisor;
use super::birth::Inheritance;
use crate::api::{Endpoint, Owner};
use crate::dhcp::InterfaceInfo;
use crate::workers::{self, Context, Kind};

/// A worker's own descriptors (copies, so that main's can be closed in the child) and what else it needs.
#[derive(Debug)]
pub(super) enum Job {
    Logger { reader: OwnedFd, console: bool },
    Tcp { listeners: Vec<OwnedFd>, lifeline: OwnedFd },
    Udp { sockets: Vec<OwnedFd> },
    Dhcp(workers::dhcp::Inputs),
    Keeper,
    Api(workers::api::Inputs),
}

impl Job {
    /// Copies what a worker of this kind inherits.
    pub(super) fn inherit(main: &Supervisor, kind: Kind, inheritance: Inheritance<'_>) -> io::Result<Self> {
        let sockets = inheritance.sockets;
        Ok(match kind {
            Kind::Logger => {
                let console = inheritance.in_force.config.logging.console || main.foreground;
                Self::Logger { reader: main.log.try_clone()?, console }
            }
            Kind::Tcp => Self::Tcp {
                listeners: copies(sockets.tcp.iter().map(|listener| &listener.fd))?,
                lifeline: main.lifeline.0.try_clone()?,
            },
            Kind::Udp => Self::Udp { sockets: copies(sockets.udp.iter().map(|listener| &listener.fd))? },
            Kind::Dhcp => {
                let fds = copies(sockets.dhcp.iter().map(|listener| &listener.fd))?;
                let interfaces = sockets.dhcp.iter().map(|listener| listener.interface.clone());
                let arp = copies(sockets.arp.iter().map(|(_, fd)| fd))?;
                Self::Dhcp(workers::dhcp::Inputs {
                    sockets: interfaces.zip(fds).collect(),
                    packet: sockets.packet.as_ref().map(OwnedFd::try_clone).transpose()?,
                    arp: sockets.arp.iter().map(|(index, _)| *index).zip(arp).collect(),
                    icmp: sockets.icmp.as_ref().map(OwnedFd::try_clone).transpose()?,
                })
            }
            Kind::Keeper => Self::Keeper,
            Kind::Api => {
                let control =
                    sockets.control.as_ref().ok_or_else(|| io::Error::other("no control socket"))?;
                let endpoint =
                    |(service, address): (&str, String)| Endpoint { service: service.to_owned(), address };
                let served = |name: &String| {
                    let listener = sockets.dhcp.iter().find(|listener| listener.interface.name == *name)?;
                    Some(InterfaceInfo::from(&listener.interface))
                };
                Self::Api(workers::api::Inputs {
                    control: control.1.try_clone()?,
                    owner: owner(&control.0),
                    listen: sockets.api.as_ref().map(|listener| listener.fd.try_clone()).transpose()?,
                    token: inheritance.in_force.token.clone(),
                    loaded: Arc::clone(&inheritance.in_force.loaded),
                    config_file: main
                        .manager
                        .sources()
                        .absolute_file()
                        .map(|file| file.display().to_string()),
                    endpoints: sockets.endpoints().into_iter().map(endpoint).collect(),
                    // In the order of the configuration, where the first one is the usual one.
                    served: inheritance.in_force.config.dhcp.interfaces.iter().filter_map(served).collect(),
                })
            }
        })
    }

    /// The descriptors that stay open in the child.
    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Logger { reader, .. } => vec![reader.as_fd()],
            Self::Tcp { listeners, lifeline } => {
                listeners.iter().chain([lifeline]).map(AsFd::as_fd).collect()
            }
            Self::Udp { sockets } => sockets.iter().map(AsFd::as_fd).collect(),
            Self::Dhcp(inputs) => {
                let sockets = inputs.sockets.iter().map(|(_, fd)| fd);
                let arp = inputs.arp.iter().map(|(_, fd)| fd);
                sockets.chain(&inputs.packet).chain(arp).chain(&inputs.icmp).map(AsFd::as_fd).collect()
            }
            Self::Keeper => Vec::new(),
            Self::Api(inputs) => {
                [&inputs.control].into_iter().chain(&inputs.listen).map(AsFd::as_fd).collect()
            }
        }
    }

    /// The worker's loop; returns when it has been told to end, or with the reason why it cannot serve.
    pub(super) fn run(self, context: &Context) -> Result<(), String> {
        match self {
            Self::Logger { reader, console } => workers::logger::run(context, reader, console),
            Self::Tcp { listeners, lifeline } => workers::tcp::run(context, listeners, lifeline),
            Self::Udp { sockets } => workers::udp::run(context, sockets),
            Self::Dhcp(inputs) => workers::dhcp::run(context, inputs),
            Self::Keeper => workers::keeper::run(context),
            Self::Api(inputs) => workers::api::run(context, inputs),
        }
    }
}

fn copies<'a>(fds: impl Iterator<Item = &'a OwnedFd>) -> io::Result<Vec<OwnedFd>> {
    fds.map(OwnedFd::try_clone).collect()
}

/// Whom the control socket belongs to; an administrator may have given it to another group since it was opened.
fn owner(control: &Path) -> Owner {
    let gid = std::fs::symlink_metadata(control).map(|data| data.gid());
    Owner {
        uid: nix::unistd::geteuid().as_raw(),
        gid: gid.unwrap_or_else(|_| nix::unistd::getegid().as_raw()),
    }
}
