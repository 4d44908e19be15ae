//! What each kind of worker inherits besides its context, and its entry: the one place that ties a kind to its
//! loop.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use daemon_utils::socket::Interface;

use super::Supervisor;
use super::birth::Inheritance;
use crate::workers::{self, Context, Kind, api, dhcp};

/// A worker's own descriptors (copies, so that main's can be closed in the child) and what else it needs.
#[derive(Debug)]
pub(super) enum Job {
    Logger { reader: OwnedFd, console: bool },
    Tcp { listeners: Vec<OwnedFd>, lifeline: OwnedFd },
    Udp { sockets: Vec<OwnedFd> },
    Dhcp { index: u16, sockets: Vec<(Interface, OwnedFd)>, packet: Option<OwnedFd> },
    Keeper,
    Api { control: OwnedFd, listen: Option<OwnedFd>, token: Option<String>, endpoints: Vec<api::Endpoint> },
}

impl Job {
    /// Copies what a worker of this kind inherits.
    pub(super) fn inherit(
        main: &Supervisor,
        kind: Kind,
        index: u16,
        inheritance: Inheritance<'_>,
    ) -> io::Result<Self> {
        let sockets = inheritance.sockets;
        Ok(match kind {
            Kind::Logger => {
                let console = inheritance.config.logging.console || main.foreground;
                Self::Logger { reader: main.log.reader.try_clone()?, console }
            }
            Kind::Tcp => Self::Tcp {
                listeners: copies(sockets.tcp.iter().map(|listener| &listener.fd))?,
                lifeline: main.lifeline.0.try_clone()?,
            },
            Kind::Udp => Self::Udp { sockets: copies(sockets.udp.iter().map(|listener| &listener.fd))? },
            Kind::Dhcp => {
                let fds = copies(sockets.dhcp.iter().map(|listener| &listener.fd))?;
                let interfaces = sockets.dhcp.iter().map(|listener| listener.interface.clone());
                let packet = sockets.packet.as_ref().map(OwnedFd::try_clone).transpose()?;
                Self::Dhcp { index, sockets: interfaces.zip(fds).collect(), packet }
            }
            Kind::Keeper => Self::Keeper,
            Kind::Api => {
                let control = sockets.control.as_ref().ok_or_else(|| io::Error::other("no control socket"))?;
                let endpoints = sockets.endpoints().into_iter();
                Self::Api {
                    control: control.1.try_clone()?,
                    listen: sockets.api.as_ref().map(|listener| listener.fd.try_clone()).transpose()?,
                    token: inheritance.token.clone(),
                    endpoints: endpoints
                        .map(|(service, address)| api::Endpoint { service: service.to_owned(), address })
                        .collect(),
                }
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
            Self::Dhcp { sockets, packet, .. } => {
                sockets.iter().map(|(_, fd)| fd).chain(packet).map(AsFd::as_fd).collect()
            }
            Self::Keeper => Vec::new(),
            Self::Api { control, listen, .. } => [control].into_iter().chain(listen).map(AsFd::as_fd).collect(),
        }
    }

    /// The worker's loop; returns when it has been told to end, or with the reason why it cannot serve.
    pub(super) fn run(self, context: &Context) -> Result<(), String> {
        match self {
            Self::Logger { reader, console } => workers::logger::run(context, reader, console),
            Self::Tcp { listeners, lifeline } => workers::tcp::run(context, listeners, lifeline),
            Self::Udp { sockets } => workers::udp::run(context, sockets),
            Self::Dhcp { index, sockets, packet } => dhcp::run(context, index, sockets, packet),
            Self::Keeper => workers::keeper::run(context),
            Self::Api { control, listen, token, endpoints } => {
                api::run(context, api::Inputs { control, listen, token, endpoints })
            }
        }
    }
}

fn copies<'a>(fds: impl Iterator<Item = &'a OwnedFd>) -> io::Result<Vec<OwnedFd>> {
    fds.map(OwnedFd::try_clone).collect()
}
