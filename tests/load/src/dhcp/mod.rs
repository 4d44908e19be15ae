//! `echo-load dhcp`: plays a relay with many clients behind it, so that one socket hears every reply.
//!
//! | module | owns |
//! |---|---|
//! | `message` | the format: offsets, and reading without allocation |
//! | `template` | what the clients send |
//! | `check` | whether a reply is right |
//! | `held` | which addresses are held |
//! | `engine` | the exchanges in flight |
//! | `tally` | what is counted and reported |

mod check;
mod engine;
mod held;
pub(crate) mod message;
mod tally;
mod template;

use crate::batch::udp_socket;
use anyhow::{Context, ensure};
use engine::{Engine, Flow, LOOK, Packets, Plan};
use nix::sys::prctl::set_timerslack;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;
use template::{Manners, Template};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The server, with its port unless that is 67
    #[arg(long, value_name = "IP[:PORT]", value_parser = address)]
    server: SocketAddrV4,
    /// The relay that is played: an address of this machine, in the server's subnet
    #[arg(long, value_name = "IP[:PORT]", value_parser = address)]
    relay: SocketAddrV4,
    /// What the clients do
    #[arg(long, value_enum, default_value = "exchange")]
    mode: Mode,
    /// Exchanges in flight
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    window: u16,
    /// How many clients there are: the first comes again after the last (without it, every exchange is a new client's)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), required_if_eq("mode", "renew"))]
    clients: Option<u32>,
    /// The number of the first client; its hardware address ends with it
    #[arg(long, value_name = "K", default_value_t = 0)]
    first_client: u32,
    /// For how long (5 seconds unless --count says otherwise)
    #[arg(long, value_parser = crate::seconds)]
    seconds: Option<Duration>,
    /// How many exchanges
    #[arg(long)]
    count: Option<u64>,
    /// Begins so many exchanges a second, whatever becomes of them; the window is the limit
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    rate: Option<f64>,
    /// Leaves out the client identifier (option 61)
    #[arg(long)]
    no_client_id: bool,
    /// Sends a host name (option 12)
    #[arg(long)]
    hostname: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    /// New clients: DISCOVER, OFFER, REQUEST, ACK
    Exchange,
    /// Clients get leases, which is not timed, and then renew them in turn: REQUEST, ACK
    Renew,
    /// New clients: DISCOVER, OFFER
    Discover,
}

/// Runs the load and prints the report. Faults of the server are in the report and are no error here.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    // The default slack of 50 µs would show in the pace.
    let _ = set_timerslack(1);
    let socket = udp_socket(args.relay, LOOK)?;
    socket.connect(&args.server.into()).with_context(|| format!("no way to {}", args.server))?;
    let giaddr = u32::from(*args.relay.ip());
    let manners = Manners { client_id: !args.no_client_id, hostname: args.hostname };
    let packets = Packets {
        discover: Template::discover(giaddr, manners),
        select: Template::select(giaddr, manners),
        renew: Template::renew(giaddr, manners),
    };
    // A client has one exchange at a time.
    let window =
        u16::try_from(args.clients.unwrap_or(u32::MAX)).map_or(args.window, |all| all.min(args.window));
    let mut engine = Engine::new(socket, packets, giaddr, window, args.first_client, args.clients)?;
    let until = args.seconds.or(if args.count.is_none() { Some(Duration::from_secs(5)) } else { None });
    let plan = |flow| Plan { flow, count: args.count, until, rate: args.rate, strict: false };
    let (mode, tally) = match args.mode {
        Mode::Exchange => ("exchange", engine.run(plan(Flow::Exchange))?),
        Mode::Discover => ("discover", engine.run(plan(Flow::Discover))?),
        Mode::Renew => {
            lease_all(&mut engine, args.clients.unwrap_or_default())?;
            ("renew", engine.run(plan(Flow::Renew))?)
        }
    };
    crate::print(&tally.report(mode, window))
}

/// Gives each client a lease before the renewals are timed.
fn lease_all(engine: &mut Engine, clients: u32) -> anyhow::Result<()> {
    let plan =
        Plan { flow: Flow::Exchange, count: Some(u64::from(clients)), until: None, rate: None, strict: true };
    let tally = engine.run(plan)?;
    let (leased, why) = (engine.leased(), tally.first_error().unwrap_or("no reason known"));
    ensure!(u32::try_from(leased) == Ok(clients), "only {leased} of {clients} clients got a lease: {why}");
    Ok(())
}

/// `IP` or `IP:PORT`; port 67 (RFC 2131 §4.1) where none is given.
pub(crate) fn address(text: &str) -> Result<SocketAddrV4, String> {
    const SERVER_PORT: u16 = 67;
    text.parse()
        .or_else(|_| text.parse::<Ipv4Addr>().map(|ip| SocketAddrV4::new(ip, SERVER_PORT)))
        .map_err(|_| "not an IPv4 address, nor one with a port".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.001..=1e9).contains(&rate) => Ok(rate),
        Ok(_) | Err(_) => Err("not a number of exchanges a second from 0.001 to 1e9".to_owned()),
    }
}
