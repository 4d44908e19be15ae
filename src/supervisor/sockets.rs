//! Every socket of the daemon. Main opens them, keeps them for as long as the configuration names them, and
//! lets its workers inherit them; nothing is ever read from one here.
//!
//! A new configuration gets a new [`Sockets`] that shares those sockets that did not change, so what is queued
//! in them stays, and a set that could not be opened whole leaves the old one untouched.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use daemon_utils::socket::{self, Interface};
use nix::sys::socket::{SockaddrStorage, getsockname};

use crate::config::Config;
use crate::config::model::ConflictMethod;
use crate::events::Event;

/// Connections that may wait in the kernel for a free place (`net.core.somaxconn` limits it further).
const BACKLOG: i32 = 1024;

/// A listening socket and the address it was asked for.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) asked: SocketAddr,
    pub(super) bound: SocketAddr,
    pub(super) fd: OwnedFd,
}

/// A DHCP interface that is there, with its socket.
#[derive(Debug)]
pub(super) struct DhcpListener {
    pub(super) interface: Interface,
    pub(super) asked: u16,
    pub(super) bound: u16,
    pub(super) fd: OwnedFd,
}

/// All sockets of one configuration.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    pub(super) tcp: Vec<Listener>,
    pub(super) udp: Vec<Listener>,
    pub(super) dhcp: Vec<DhcpListener>,
    /// Send-only `AF_PACKET` socket; none where main lacks the privilege.
    pub(super) packet: Option<OwnedFd>,
    /// For ARP probes, each bound to the interface with this index.
    pub(super) arp: Vec<(u32, OwnedFd)>,
    /// For ICMP echo.
    pub(super) icmp: Option<OwnedFd>,
    pub(super) control: Option<(PathBuf, OwnedFd)>,
    pub(super) api: Option<Listener>,
}

/// For ARP, by the index of the interface, and for ICMP.
type Probers = (Vec<(u32, OwnedFd)>, Option<OwnedFd>);

/// Something that is missing but may come later, and the event it is logged as.
pub(super) type Warning = (Event, String);

/// Why a socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketsError {
    #[error("could not open {service} on {address}: {source}{}", hint(source, address.port()))]
    Listen { service: &'static str, address: SocketAddr, source: io::Error },
    #[error("could not open DHCP on interface {interface} port {port}: {source}{}", hint(source, *port))]
    Dhcp { interface: String, port: u16, source: io::Error },
    #[error("could not open control socket {path:?}: {source}")]
    Control { path: PathBuf, source: io::Error },
    #[error("could not list the network interfaces: {0}")]
    Interfaces(io::Error),
    #[error("could not share a socket with the new generation: {0}")]
    Share(io::Error),
}

impl SocketsError {
    /// Whether somebody else has the port.
    pub(super) fn is_in_use(&self) -> bool {
        match self {
            Self::Listen { source, .. } | Self::Dhcp { source, .. } | Self::Control { source, .. } => {
                source.kind() == io::ErrorKind::AddrInUse
            }
            Self::Interfaces(_) | Self::Share(_) => false,
        }
    }
}

fn hint(error: &io::Error, port: u16) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("\nhint: another program serves port {port}; `ss -lnptu 'sport = :{port}'` names it")
        }
        io::ErrorKind::PermissionDenied if port < 1024 => {
            "\nhint: ports below 1024 need root; start as root or choose a higher port".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "\nhint: no interface has this address".to_owned(),
        _ => String::new(),
    }
}

impl Sockets {
    /// Opens what `config` names, taking over what `self` already has. Warnings tell of what is missing but
    /// may come later.
    pub(super) fn prepare(&self, config: &Config) -> Result<(Self, Vec<Warning>), SocketsError> {
        let mut warnings = Vec::new();
        let mut next = Self::default();
        if config.tcp.enabled {
            let asked = (&config.tcp.address[..], config.tcp.port);
            next.tcp = listeners("TCP echo", &self.tcp, asked, &mut warnings, |address| {
                socket::tcp_listener(address, BACKLOG)
            })?;
        }
        if config.udp.enabled {
            let asked = (&config.udp.address[..], config.udp.udp_port);
            next.udp = listeners("UDP echo", &self.udp, asked, &mut warnings, socket::udp_echo)?;
        }
        if let Some(address) = config.api.listen {
            let open = |address| socket::tcp_listener(address, BACKLOG);
            next.api = Some(listener("the control API", self.api.as_slice(), address, &open)?);
        }
        if config.dhcp.enabled {
            next.dhcp = self.dhcp_listeners(config, &mut warnings)?;
            next.packet = self.packet_sender(&next.dhcp, &mut warnings)?;
            (next.arp, next.icmp) = self.probers(config, &next.dhcp, &mut warnings)?;
        }
        next.control = Some(self.control_listener(&config.daemon.control_socket)?);
        Ok((next, warnings))
    }

    /// Whether the DHCP interfaces have changed since this set was opened.
    pub(super) fn interfaces_changed(&self, config: &Config) -> bool {
        let Ok(now) = socket::interfaces() else { return false };
        let wanted = now.into_iter().filter(|interface| config.dhcp.interfaces.contains(&interface.name));
        config.dhcp.enabled && !wanted.eq(self.dhcp.iter().map(|listener| listener.interface.clone()))
    }

    /// Removes the control socket's file. The socket stays open for as long as somebody holds it.
    pub(super) fn unlink_control(&self) {
        if let Some((path, _)) = &self.control {
            // Whoever replaced it meanwhile holds no lock; a leftover is harmless.
            let _ = std::fs::remove_file(path);
        }
    }

    /// Names of the interfaces with an address that this set serves and `old` did not.
    pub(super) fn interfaces_beyond<'a>(&'a self, old: &'a Self) -> impl Iterator<Item = &'a str> {
        let served = |set: &'a Self| {
            set.dhcp
                .iter()
                .map(|l| &l.interface)
                .filter(|i| !i.addresses.is_empty())
                .map(|i| (&i.name, i.index))
        };
        served(self).filter(move |new| !served(old).any(|old| old == *new)).map(|(name, _)| name.as_str())
    }

    /// What is served where, for people and the API.
    pub(super) fn endpoints(&self) -> Vec<(&'static str, String)> {
        let tcp = self.tcp.iter().map(|listener| ("tcp", listener.bound.to_string()));
        let udp = self.udp.iter().map(|listener| ("udp", listener.bound.to_string()));
        let dhcp = self.dhcp.iter().map(|l| ("dhcp", format!("{} port {}", l.interface.name, l.bound)));
        let api = self.api.iter().map(|listener| ("api", listener.bound.to_string()));
        let control = self.control.iter().map(|(path, _)| ("control", path.display().to_string()));
        tcp.chain(udp).chain(dhcp).chain(api).chain(control).collect()
    }

    fn dhcp_listeners(
        &self,
        config: &Config,
        warnings: &mut Vec<Warning>,
    ) -> Result<Vec<DhcpListener>, SocketsError> {
        let present = socket::interfaces().map_err(SocketsError::Interfaces)?;
        for name in &config.dhcp.interfaces {
            if !present.iter().any(|interface| interface.name == *name) {
                let words = format!("interface {name} is missing; it is served as soon as it is there");
                warnings.push((Event::InterfaceDown, words));
            }
        }
        let wanted = present.into_iter().filter(|interface| config.dhcp.interfaces.contains(&interface.name));
        let mut all = Vec::new();
        for interface in wanted {
            if interface.addresses.is_empty() {
                let name = &interface.name;
                let words = format!("interface {name} has no IPv4 address; it is served as soon as it has");
                warnings.push((Event::InterfaceDown, words));
            }
            let port = config.dhcp.port;
            // An interface that was removed and added has a new index: its old socket is dead.
            let old = self.dhcp.iter().find(|old| {
                (old.interface.index, &old.interface.name, old.asked)
                    == (interface.index, &interface.name, port)
            });
            let fd = match old {
                Some(old) => old.fd.try_clone().map_err(SocketsError::Share)?,
                None => match socket::dhcp_server(&interface.name, port) {
                    Ok(fd) => fd,
                    // It went away between the look and the opening.
                    Err(error) if error.raw_os_error() == Some(nix::errno::Errno::ENODEV as i32) => continue,
                    Err(source) => {
                        return Err(SocketsError::Dhcp { interface: interface.name, port, source });
                    }
                },
            };
            let bound = bound_to(&fd).map_or(port, |address| address.port());
            all.push(DhcpListener { interface, asked: port, bound, fd });
        }
        Ok(all)
    }

    fn packet_sender(
        &self,
        listeners: &[DhcpListener],
        warnings: &mut Vec<Warning>,
    ) -> Result<Option<OwnedFd>, SocketsError> {
        if let Some(old) = &self.packet {
            return old.try_clone().map(Some).map_err(SocketsError::Share);
        }
        match socket::packet_sender() {
            Ok(fd) => Ok(Some(fd)),
            Err(error) => {
                if listeners.iter().any(|listener| !listener.interface.loopback) {
                    let words = format!(
                        "no raw socket ({error}): clients without an address are answered by broadcast"
                    );
                    warnings.push((Event::DaemonWarning, words));
                }
                Ok(None)
            }
        }
    }

    /// The sockets of the conflict check. Without the privilege for them addresses are given out unchecked, and one
    /// warning says so.
    fn probers(
        &self,
        config: &Config,
        listeners: &[DhcpListener],
        warnings: &mut Vec<Warning>,
    ) -> Result<Probers, SocketsError> {
        let (arp, icmp) = match config.dhcp.conflict_check.method {
            ConflictMethod::Auto => (true, true),
            ConflictMethod::Arp => (true, false),
            ConflictMethod::Icmp => (false, true),
            ConflictMethod::Off => (false, false),
        };
        let attached: Vec<&Interface> =
            listeners.iter().map(|listener| &listener.interface).filter(|i| !i.loopback).collect();
        let mut opened: Probers = (Vec::new(), None);
        let mut refused: Option<io::Error> = None;
        for interface in attached.iter().filter(|interface| arp && interface.mac.is_some()) {
            let old = self.arp.iter().find(|(index, _)| *index == interface.index);
            match old.map_or_else(|| socket::arp_socket(interface.index), |(_, old)| old.try_clone()) {
                Ok(fd) => opened.0.push((interface.index, fd)),
                Err(error) if old.is_some() => return Err(SocketsError::Share(error)),
                Err(error) => refused = Some(error),
            }
        }
        if icmp && !attached.is_empty() {
            match self.icmp.as_ref().map_or_else(socket::icmp_socket, OwnedFd::try_clone) {
                Ok(fd) => opened.1 = Some(fd),
                Err(error) if self.icmp.is_some() => return Err(SocketsError::Share(error)),
                Err(error) => refused = Some(error),
            }
        }
        if let Some(error) = refused {
            let words = format!("no conflict check ({error}): addresses are given out without a probe");
            warnings.push((Event::DaemonWarning, words));
        }
        Ok(opened)
    }

    fn control_listener(&self, path: &Path) -> Result<(PathBuf, OwnedFd), SocketsError> {
        if let Some((old, fd)) = &self.control
            && old == path
        {
            return Ok((old.clone(), fd.try_clone().map_err(SocketsError::Share)?));
        }
        let refuse = |source| SocketsError::Control { path: path.to_owned(), source };
        remove_stale_socket(path).map_err(refuse)?;
        let fd = socket::unix_listener(path, 0o660).map_err(refuse)?;
        Ok((path.to_owned(), fd))
    }
}

/// Removes what a daemon that was killed left at `path`, if it is a socket that nobody listens at. After SIGKILL of
/// main its api process may live for a moment, so it is asked for a while.
fn remove_stale_socket(path: &Path) -> io::Result<()> {
    const ASK: u32 = 50;
    const PAUSE: Duration = Duration::from_millis(20);
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => (),
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a file that is no socket is in the way",
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    for _ in 0..ASK {
        match UnixStream::connect(path) {
            Ok(_) => std::thread::sleep(PAUSE),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return std::fs::remove_file(path);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AddrInUse,
        "another daemon listens at it\nhint: two daemons need a pid_file, a control_socket and a state_dir each",
    ))
}

fn listeners(
    service: &'static str,
    old: &[Listener],
    (addresses, port): (&[IpAddr], u16),
    warnings: &mut Vec<Warning>,
    open: impl Fn(SocketAddr) -> io::Result<OwnedFd>,
) -> Result<Vec<Listener>, SocketsError> {
    let mut all: Vec<Listener> = Vec::new();
    for address in addresses {
        match listener(service, old, SocketAddr::new(*address, port), &open) {
            Ok(listener) => all.push(listener),
            // A machine without IPv6 must still start with the shipped configuration.
            Err(SocketsError::Listen { source, .. })
                if address.is_ipv6() && addresses.len() > 1 && is_ipv6_missing(&source) =>
            {
                warnings
                    .push((Event::DaemonWarning, format!("{service} is not served on {address}: {source}")));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

fn is_ipv6_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(nix::errno::Errno::EAFNOSUPPORT as i32)
}

fn listener(
    service: &'static str,
    old: &[Listener],
    asked: SocketAddr,
    open: &impl Fn(SocketAddr) -> io::Result<OwnedFd>,
) -> Result<Listener, SocketsError> {
    if let Some(old) = old.iter().find(|old| old.asked == asked) {
        let fd = old.fd.try_clone().map_err(SocketsError::Share)?;
        return Ok(Listener { asked, bound: old.bound, fd });
    }
    let refuse = |source| SocketsError::Listen { service, address: asked, source };
    let fd = open(asked).map_err(refuse)?;
    let bound = bound_to(&fd).unwrap_or(asked);
    Ok(Listener { asked, bound, fd })
}

fn bound_to(fd: &impl AsFd) -> Option<SocketAddr> {
    use std::os::fd::AsRawFd;
    let name: SockaddrStorage = getsockname(fd.as_fd().as_raw_fd()).ok()?;
    let v4 = name.as_sockaddr_in().map(|v4| SocketAddr::new(v4.ip().into(), v4.port()));
    v4.or_else(|| name.as_sockaddr_in6().map(|v6| SocketAddr::new(v6.ip().into(), v6.port())))
}
