//! Whether the ports are free that the services want, tried as a start tries them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use daemon_utils::socket::{self, Interface};

use super::holders::{self, Protocol};
use super::{Daemon, Findings};
use crate::config::Config;

/// A port counts as taken when it was so many times, so far apart.
const LOOKS: u32 = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// One service: its key, and the port that it wants.
struct Service<'a> {
    key: &'static str,
    protocol: Protocol,
    port: u16,
    daemon: &'a Daemon,
}

pub(super) fn check(config: &Config, interfaces: &[Interface], daemon: &Daemon, findings: &mut Findings) {
    let listen = |address: SocketAddr| socket::tcp_listener(address, 1);
    if config.tcp.enabled {
        let service = Service { key: "tcp.port", protocol: Protocol::Tcp, port: config.tcp.port, daemon };
        service.is_refused(&config.tcp.address, "", listen, findings);
    }
    if config.udp.enabled {
        let port = config.udp.udp_port;
        let service = Service { key: "udp.udp_port", protocol: Protocol::Udp, port, daemon };
        service.is_refused(&config.udp.address, "", socket::udp_echo, findings);
    }
    if let Some(address) = config.api.listen {
        let port = address.port();
        let service = Service { key: "api.listen", protocol: Protocol::Tcp, port, daemon };
        service.is_refused(&[address.ip()], "", listen, findings);
    }
    if config.dhcp.enabled {
        let service = Service { key: "dhcp.port", protocol: Protocol::Udp, port: config.dhcp.port, daemon };
        let there = |name: &&String| interfaces.iter().any(|interface| interface.name == **name);
        for name in config.dhcp.interfaces.iter().filter(there) {
            let open = |address: SocketAddr| socket::dhcp_server(name, address.port());
            if service.is_refused(&[Ipv4Addr::UNSPECIFIED.into()], &format!(" on {name}"), open, findings) {
                break;
            }
        }
    }
}

/// Another look at a port may have it at this very moment: that of a check beside this one.
fn patiently(open: impl Fn() -> io::Result<OwnedFd>) -> io::Result<OwnedFd> {
    for _ in 0..LOOKS {
        match open() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => std::thread::sleep(BETWEEN_LOOKS),
            opened => return opened,
        }
    }
    open()
}

impl Service<'_> {
    /// Tries the addresses until one is refused, and says why; `at` is what stands for an address that is none.
    fn is_refused(
        &self,
        addresses: &[IpAddr],
        at: &str,
        open: impl Fn(SocketAddr) -> io::Result<OwnedFd>,
        findings: &mut Findings,
    ) -> bool {
        if self.port == 0 {
            return false;
        }
        for address in addresses {
            let Err(error) = patiently(|| open(SocketAddr::new(*address, self.port))) else { continue };
            let place = if address.is_unspecified() { at.to_owned() } else { format!(" of {address}") };
            match error.kind() {
                io::ErrorKind::AddrInUse if self.is_taken(*address, &place, findings) => return true,
                io::ErrorKind::PermissionDenied if self.port < 1024 && *self.daemon == Daemon::Stopped => {
                    let reason =
                        format!("this user may not open {} port {}", self.protocol.name(), self.port);
                    let hint = "ports below 1024 need root: start as root, or choose a higher one";
                    findings.warning(self.key, reason, hint);
                    return true;
                }
                // A machine without IPv6 serves the others.
                io::ErrorKind::AddrNotAvailable if !(address.is_ipv6() && addresses.len() > 1) => {
                    let reason = format!("no interface of this machine has the address {address}");
                    findings.error(self.key, reason, "name an address of this machine, or 0.0.0.0 for all");
                    return true;
                }
                // What is the running daemon's own, and what only a start can tell.
                _ => {}
            }
        }
        false
    }

    /// Notes who has the address, unless it is the daemon of this very configuration.
    fn is_taken(&self, address: IpAddr, place: &str, findings: &mut Findings) -> bool {
        let &Self { key, protocol, port, daemon } = self;
        let holders = holders::holders(protocol, address, port);
        let ours = match daemon {
            Daemon::Stopped => false,
            // Where nobody can be told it is most likely the running daemon itself.
            Daemon::Running(own) => holders.is_empty() || holders.iter().any(|pid| own.contains(pid)),
        };
        if ours {
            return false;
        }
        let by = holders.first().map_or_else(|| "another program".to_owned(), |pid| holders::name(*pid));
        let hint = if holders.is_empty() {
            format!("choose another port; as root, `ss -lnptu 'sport = :{port}'` names who has it")
        } else {
            "stop it, or choose another port".to_owned()
        };
        findings.error(key, format!("{} port {port}{place} is in use by {by}", protocol.name()), hint);
        true
    }
}
