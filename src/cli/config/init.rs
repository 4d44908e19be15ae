//! `config init`: a ready configuration for an interface of this machine. Owns what is asked of the machine, what is
//! refused, and the file that is written; what stands in it is `proposal`'s.

use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use daemon_utils::socket::{self, Interface};

use super::Outcome;
use super::proposal::{self, Facts};
use crate::supervisor::say;

/// The kernel's table of IPv4 routes (`/proc/net/route`, proc(5)).
const ROUTES: &str = "/proc/net/route";
/// The name servers and the domain of this machine (resolv.conf(5)).
const RESOLVER: &str = "/etc/resolv.conf";
/// The flag of a route that leads to a gateway (`RTF_GATEWAY` of linux/route.h).
const GATEWAY: u32 = 2;

#[derive(Debug, Args)]
pub(in crate::cli) struct InitArgs {
    /// The interface whose network is to be served
    #[arg(long, value_name = "IF")]
    interface: String,
    /// Write to this file instead of the terminal
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file if it is there
    #[arg(long, requires = "output")]
    force: bool,
}

pub(super) fn run(args: &InitArgs) -> Outcome {
    let facts = facts(&args.interface)?;
    let text = proposal::yaml(&facts)?;
    let Some(file) = &args.output else {
        say(text.trim_end());
        return Ok(ExitCode::SUCCESS);
    };
    write(file, &text, args.force)?;
    let name = file.display();
    say(&format!(
        "wrote {name}\nnext: read it, then echo-daemon check -c {name} and echo-daemon start -c {name}"
    ));
    Ok(ExitCode::SUCCESS)
}

fn write(file: &Path, text: &str, force: bool) -> Result<(), String> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("{file:?} is there already\nhint: --force replaces it; another name keeps it")
        }
        io::ErrorKind::NotFound => format!("could not write {file:?}: there is no such folder"),
        _ => format!("could not write {file:?}: {error}"),
    };
    let mut options = fs::OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    options.open(file).and_then(|mut out| out.write_all(text.as_bytes())).map_err(failed)
}

/// What the machine says of the interface. Errors: it cannot be served, and what to do.
fn facts(name: &str) -> Result<Facts, String> {
    let interfaces =
        socket::interfaces().map_err(|error| format!("could not list the network interfaces: {error}"))?;
    let Some(interface) = interfaces.iter().find(|interface| interface.name == name) else {
        return Err(format!("there is no interface {name:?}\nhint: {}", others(&interfaces)));
    };
    if interface.loopback {
        let others = others(&interfaces);
        return Err(format!("{name} is the loopback interface: no client can ask there\nhint: {others}"));
    }
    let Some((address, prefix)) = interface.addresses.first().copied() else {
        return Err(format!(
            "{name} has no IPv4 address\nhint: give it one that stays: ip addr add 192.168.50.1/24 dev {name}"
        ));
    };
    // Where the kernel or a file does not tell, there is none.
    let routes = fs::read_to_string(ROUTES).unwrap_or_default();
    let resolver = fs::read_to_string(RESOLVER).unwrap_or_default();
    Ok(Facts {
        interface: name.to_owned(),
        address,
        prefix,
        up: interface.up,
        own: interfaces.iter().flat_map(|one| one.addresses.iter().map(|(own, _)| *own)).collect(),
        further: interface.addresses.iter().skip(1).copied().collect(),
        gateway: default_gateway(&routes, name),
        name_servers: name_servers(&resolver),
        domain: domain(&resolver),
    })
}

/// The interfaces that could be served.
fn others(interfaces: &[Interface]) -> String {
    let shown = |interface: &Interface| match interface.addresses.first() {
        Some((address, prefix)) => format!("{} ({address}/{prefix})", interface.name),
        None => format!("{} (no IPv4 address)", interface.name),
    };
    let list: Vec<String> = interfaces.iter().filter(|one| !one.loopback).map(shown).collect();
    if list.is_empty() {
        return "this machine has none but loopback".to_owned();
    }
    format!("this machine has {}", list.join(", "))
}

/// The gateway of the default route over an interface. The table has hex numbers, addresses in the byte order of the
/// network as this machine reads them.
fn default_gateway(routes: &str, interface: &str) -> Option<Ipv4Addr> {
    routes.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (name, target, gateway, flags) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let number = |digits| u32::from_str_radix(digits, 16).ok();
        let wanted = name == interface && number(target)? == 0 && number(flags)? & GATEWAY != 0;
        wanted.then(|| number(gateway).map(|number| Ipv4Addr::from(number.to_ne_bytes()))).flatten()
    })
}

/// The name servers that others can reach too: a stub on loopback serves this machine alone.
fn name_servers(resolver: &str) -> Vec<Ipv4Addr> {
    let words =
        resolver.lines().filter_map(|line| line.trim().strip_prefix("nameserver")?.split_whitespace().next());
    let addresses = words.filter_map(|word| word.parse::<Ipv4Addr>().ok());
    let mut found = Vec::new();
    for address in addresses.filter(|address| !address.is_loopback() && !address.is_unspecified()) {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

/// The first name of the last `search` or `domain` line.
fn domain(resolver: &str) -> Option<String> {
    let name = |line: &str| {
        let mut words = line.split_whitespace();
        let first = words.next().filter(|word| ["search", "domain"].contains(word));
        first.and_then(|_| words.next()).map(|name| name.trim_end_matches('.').to_owned())
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let last = resolver.lines().filter_map(name).next_back()?;
    (!last.is_empty() && last.chars().all(plain)).then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_gateway_is_that_of_the_interface() {
        let address = |a: u8| format!("{:08X}", u32::from_ne_bytes([10, 0, a, 1]));
        let routes = format!(
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n\
             eth1\t00000000\t{}\t0003\t0\t0\t0\t00000000\n\
             eth0\t{}\t00000000\t0001\t0\t0\t0\t00FFFFFF\n\
             eth0\t00000000\t{}\t0003\t0\t0\t0\t00000000\n",
            address(1),
            address(9),
            address(0)
        );
        assert_eq!(default_gateway(&routes, "eth0"), Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(default_gateway(&routes, "eth1"), Some(Ipv4Addr::new(10, 0, 1, 1)));
        assert_eq!(default_gateway(&routes, "eth2"), None);
        assert_eq!(default_gateway("nonsense", "eth0"), None);
    }

    #[test]
    fn name_servers_that_only_this_machine_reaches_are_left_out() {
        let text = "nameserver 127.0.0.53\nnameserver 10.0.0.3\n# nameserver 10.0.0.9\nnameserver ::1\nnameserver 10.0.0.3\n";
        assert_eq!(name_servers(text), [Ipv4Addr::new(10, 0, 0, 3)]);
    }

    #[test]
    fn domain_is_the_first_that_is_searched() {
        assert_eq!(domain("search lab.example. example.org\n").as_deref(), Some("lab.example"));
        assert_eq!(domain("search a\ndomain b.example\n").as_deref(), Some("b.example"));
        for none in ["", "search .\n", "search\n", "search a;b\n", "searching a\n"] {
            assert_eq!(domain(none), None, "{none}");
        }
    }
}
