//! `probe`: acts as a client of every service and says how long each step took. Without flags it probes what
//! the configuration enables; with `--interface` or `--server` DHCP alone, there.

mod dhcp;
mod echo;
mod summary;

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::process::ExitCode;
use std::time::Duration;

use dhcp::Target;
use serde_json::{Value, json};
use summary::Summary;

use super::client::{self, Reached};
use super::style::{self, Tone};
use super::{Invocation, Outcome, ProbeArgs, say_json};
use crate::api::status::Status;
use crate::config::Config;
use crate::supervisor::say;

/// What one step of a probe took, and what it brought.
struct Step {
    name: &'static str,
    took: Duration,
    result: String,
}

pub(super) fn run(invocation: &Invocation, args: &ProbeArgs) -> Outcome {
    let config = invocation.manager()?.load_leniently().map_err(|report| report.to_string())?;
    let good = Cell::new(true);
    let told: RefCell<Vec<Value>> = RefCell::default();
    let report = |service: &str, outcome: Result<Vec<Step>, String>| match outcome {
        Ok(steps) => {
            for step in steps {
                if args.output.json {
                    told.borrow_mut().push(json!({
                        "ok": true, "service": service, "step": step.name, "ms": millis(step.took), "result": step.result,
                    }));
                    continue;
                }
                say(&format!(
                    "ok      {service:<5} {:<10} {:>9.3} ms  {}",
                    step.name,
                    millis(step.took),
                    step.result
                ));
            }
        }
        Err(reason) => {
            good.set(false);
            if args.output.json {
                told.borrow_mut().push(json!({ "ok": false, "service": service, "reason": reason }));
            } else {
                let failed = style::mark(Tone::Bad, "failed");
                style::say(&format!("{failed}  {service:<5} {}", style::plain(&reason)));
            }
        }
    };
    let dhcp = |target: Target<'_>| {
        if args.count == 1 {
            return report("dhcp", dhcp::exchange(target, None, args.timeout));
        }
        let outcomes = (0..args.count).map(|number| dhcp::exchange(target, Some(number), args.timeout));
        let summary = Summary::of(outcomes);
        if args.output.json {
            told.borrow_mut().push(summary.json());
        } else {
            summary.lines().iter().for_each(|line| say(line));
        }
        good.set(good.get() && summary.complete());
    };
    if let Some(server) = args.server {
        dhcp(Target::Address(server));
    } else if let Some(interface) = &args.interface {
        dhcp(Target::Broadcast { interface, port: config.dhcp.port });
    } else {
        let targets = targets(&config);
        for address in targets.tcp {
            report("tcp", echo::tcp(address, args.timeout));
        }
        for address in targets.udp {
            report("udp", echo::udp(address, args.timeout));
        }
        for (interface, port) in targets.dhcp {
            match target_on(&interface, port) {
                Ok(target) => dhcp(target),
                Err(reason) => report("dhcp", Err(reason)),
            }
        }
    }
    if args.output.json {
        say_json(&json!({ "ok": good.get(), "steps": told.take() }))?;
    }
    Ok(if good.get() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Targets {
    tcp: Vec<SocketAddr>,
    udp: Vec<SocketAddr>,
    /// Interfaces and the server's port there.
    dhcp: Vec<(String, u16)>,
}

/// Where the services are: as the running daemon says (a port of 0 in the file means any), else as the
/// configuration says.
fn targets(config: &Config) -> Targets {
    let status = match client::get::<Status>(&config.daemon.control_socket, "/v1/status") {
        Ok(Reached::Answer(status)) => Some(status),
        Ok(Reached::Problem(_) | Reached::Nobody) | Err(_) => None,
    };
    let said = |service: &str| -> Option<Vec<SocketAddr>> {
        let endpoints = status.as_ref()?.endpoints.iter().filter(|endpoint| endpoint.service == service);
        Some(endpoints.filter_map(|endpoint| endpoint.address.parse().ok()).map(reachable).collect())
    };
    let configured = |addresses: &[IpAddr], port| {
        addresses.iter().map(|address| reachable(SocketAddr::new(*address, port))).collect()
    };
    let dhcp_port = |interface: &str| {
        let endpoints = &status.as_ref()?.endpoints;
        let said = endpoints.iter().filter(|endpoint| endpoint.service == "dhcp");
        let mut ports = said.filter_map(|endpoint| endpoint.address.split_once(" port "));
        ports.find(|(name, _)| *name == interface)?.1.parse().ok()
    };
    let dhcp = config.dhcp.interfaces.iter().map(|interface| {
        let port = dhcp_port(interface).unwrap_or(config.dhcp.port);
        (interface.clone(), port)
    });
    let when = |enabled: bool, targets: Vec<SocketAddr>| if enabled { targets } else { Vec::new() };
    Targets {
        tcp: when(
            config.tcp.enabled,
            said("tcp").unwrap_or_else(|| configured(&config.tcp.address, config.tcp.port)),
        ),
        udp: when(
            config.udp.enabled,
            said("udp").unwrap_or_else(|| configured(&config.udp.address, config.udp.udp_port)),
        ),
        dhcp: if config.dhcp.enabled { dhcp.collect() } else { Vec::new() },
    }
}

/// A wildcard address is reached over loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// Loopback knows no broadcast: there the server is asked at its address, and answers to the sender.
fn target_on(interface: &str, port: u16) -> Result<Target<'_>, String> {
    let found = daemon_utils::socket::interfaces().map_err(|error| format!("no interfaces: {error}"))?;
    let found = found.into_iter().find(|found| found.name == interface);
    let found = found.ok_or_else(|| format!("there is no interface {interface}"))?;
    Ok(match found.addresses.first() {
        Some((address, _)) if found.loopback => Target::Address(SocketAddrV4::new(*address, port)),
        _ => Target::Broadcast { interface, port },
    })
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
