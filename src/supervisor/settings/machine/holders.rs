//! Who holds a port, by /proc: the sockets of the network namespace (proc(5)) and the open files of processes. What
//! belongs to another user is seen by root alone.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::unistd::Pid;

/// TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }

    fn tables(self) -> [&'static str; 2] {
        match self {
            Self::Tcp => ["/proc/self/net/tcp", "/proc/self/net/tcp6"],
            Self::Udp => ["/proc/self/net/udp", "/proc/self/net/udp6"],
        }
    }
}

/// The processes that hold a socket which keeps another one from this address, lowest number first; empty where that
/// cannot be told.
pub(super) fn holders(protocol: Protocol, address: IpAddr, port: u16) -> Vec<Pid> {
    let mut inodes = Vec::new();
    for table in protocol.tables() {
        let text = fs::read_to_string(table).unwrap_or_default();
        let sockets = text.lines().filter_map(|line| socket(line, protocol));
        let in_the_way = sockets.filter(|(local, at, _)| *at == port && meet(*local, address));
        inodes.extend(in_the_way.map(|(_, _, inode)| format!("socket:[{inode}]")));
    }
    let mut found = if inodes.is_empty() { Vec::new() } else { having(&inodes) };
    found.sort_unstable();
    found
}

/// `echo-daemon: main (PID 4711)`.
pub(super) fn name(pid: Pid) -> String {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let line = read("cmdline");
    let first = line.split('\0').next().unwrap_or_default();
    // A title such as "echo-daemon: main" is all of the line; a program's path is not.
    let name = if first.contains(": ") { first.to_owned() } else { read("comm") };
    let clean: String = name.trim().chars().filter(|c| !c.is_control()).take(60).collect();
    format!("{clean} (PID {pid})")
}

/// Address, port and inode of a line of a table; none for its head and for TCP sockets that do not listen.
fn socket(line: &str, protocol: Protocol) -> Option<(IpAddr, u16, u64)> {
    const LISTEN: &str = "0A";
    let mut words = line.split_ascii_whitespace();
    let local = words.nth(1)?;
    let state = words.nth(1)?;
    let inode = words.nth(5)?;
    if protocol == Protocol::Tcp && state != LISTEN {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    Some((parse(address)?, u16::from_str_radix(port, 16).ok()?, inode.parse().ok()?))
}

/// Words of 32 bits in the machine's own order, each in hex.
fn parse(hex: &str) -> Option<IpAddr> {
    let mut bytes = Vec::with_capacity(16);
    for start in (0..hex.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(hex.get(start..start + 8)?, 16).ok()?.to_ne_bytes());
    }
    if let Ok(four) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Some(Ipv4Addr::from(four).into());
    }
    <[u8; 16]>::try_from(bytes.as_slice()).ok().map(|sixteen| Ipv6Addr::from(sixteen).into())
}

/// Whether sockets on the two addresses of one port get in each other's way; `::` may take in IPv4.
fn meet(held: IpAddr, wanted: IpAddr) -> bool {
    held == wanted
        || held == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        || held.is_ipv4() == wanted.is_ipv4() && (held.is_unspecified() || wanted.is_unspecified())
}

fn having(inodes: &[String]) -> Vec<Pid> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let wanted = |target: &std::path::Path| {
        target.to_str().is_some_and(|target| inodes.iter().any(|inode| inode == target))
    };
    let holds = |pid: &i32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files.filter_map(|file| fs::read_link(file.path()).ok()).any(|target| wanted(&target))
    };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(holds).map(Pid::from_raw).collect()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn own_sockets_are_found_by_their_port() {
        let me = Pid::this();
        let open = UdpSocket::bind("127.0.0.1:0").unwrap();
        let udp = open.local_addr().unwrap().port();
        // A test that starts a process at this moment has it inherit the socket.
        assert!(holders(Protocol::Udp, Ipv4Addr::LOCALHOST.into(), udp).contains(&me));
        assert!(holders(Protocol::Udp, Ipv4Addr::UNSPECIFIED.into(), udp).contains(&me));
        assert_eq!(holders(Protocol::Udp, Ipv4Addr::new(127, 0, 0, 2).into(), udp), []);
        assert!(name(me).ends_with(&format!(" (PID {me})")));
    }

    #[test]
    fn lines_of_the_kernels_tables_are_read() {
        let local = format!("{:08X}:22B8", u32::from_ne_bytes([127, 0, 0, 1]));
        let line = format!(
            "   0: {local} 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1"
        );
        let expected = (IpAddr::from(Ipv4Addr::LOCALHOST), 8888, 4711);
        assert_eq!(socket(&line, Protocol::Tcp), Some(expected));
        assert_eq!(socket(&line.replace(" 0A ", " 01 "), Protocol::Tcp), None);
        assert_eq!(socket("  sl  local_address rem_address   st tx_queue", Protocol::Tcp), None);
        assert_eq!(parse(&"0".repeat(32)), Some(Ipv6Addr::UNSPECIFIED.into()));
        assert_eq!(parse("0"), None);
    }
}
