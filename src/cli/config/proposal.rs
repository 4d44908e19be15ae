//! The configuration that `config init` proposes: from what a machine has to a commented file. Pure: asks nobody.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::config::{AddressRange, Network, yaml_scalar};

/// Largest pool that is proposed: what the upper half of a /16 has. Who needs more knows it.
const POOL_MOST: u32 = 1 << 15;

/// What the machine says.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// The interface to be served.
    pub(super) interface: String,
    /// Its first address.
    pub(super) address: Ipv4Addr,
    /// The length of that address's prefix.
    pub(super) prefix: u8,
    /// Whether it is up.
    pub(super) up: bool,
    /// Every address of this machine.
    pub(super) own: Vec<Ipv4Addr>,
    /// The interface's other addresses.
    pub(super) further: Vec<(Ipv4Addr, u8)>,
    /// Where this machine's own default route over the interface leads.
    pub(super) gateway: Option<Ipv4Addr>,
    /// Name servers that clients can reach.
    pub(super) name_servers: Vec<Ipv4Addr>,
    /// The domain of this machine.
    pub(super) domain: Option<String>,
}

/// The file. Errors: the network has no address left for a client.
pub(super) fn yaml(facts: &Facts) -> Result<String, String> {
    let network = Network::containing(facts.address, facts.prefix);
    let gateway = facts.gateway.filter(|gateway| network.contains(*gateway));
    let taken: Vec<Ipv4Addr> = facts.own.iter().chain(&facts.name_servers).copied().chain(gateway).collect();
    let pool = pool(network, &taken).ok_or_else(|| {
        format!(
            "the network {network} of {} has no address left for a client\nhint: give the interface an address in a larger network, such as {}/24",
            facts.interface, facts.address
        )
    })?;
    let mut text = head(facts);
    let interface = yaml_scalar(&facts.interface);
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "\
dhcp:
  interfaces: [{interface}]
  port: 67                        # real clients ask on this port, which takes root
  authoritative: true             # this is the only DHCP server of the network; `false` beside another one
  lease_time: 12h                 # how long a client has an address before it must have renewed it
  options:                        # told to every client
{}{}\
\x20 subnets:
    lan:                          # a name of your choice
      network: {network}
      interface: {interface}
      options:
{}\
\x20     # exclude: []               # addresses in the pool that are never given out
      pools:
        main:                     # {} addresses
          range: {pool}
      # hosts:                    # clients that always get the same address
      #   printer: {{mac: \"00:11:22:33:44:55\", ip: {}, hostname: printer}}
",
        domain(facts.domain.as_deref()),
        name_servers(&facts.name_servers),
        routers(facts, gateway),
        pool.size(),
        reserved_example(network, pool, &taken),
    );
    for (address, prefix) in &facts.further {
        let _ = writeln!(
            text,
            "    # {interface} has the address {address}/{prefix} too: its network may be a subnet of its own here."
        );
    }
    Ok(text)
}

fn head(facts: &Facts) -> String {
    let interface = &facts.interface;
    let down = if facts.up {
        String::new()
    } else {
        format!("# The interface is down at the moment: ip link set {interface} up\n#\n")
    };
    format!(
        "\
# echo-daemon: DHCP for the network of {interface}, where this machine has the address {}/{}.
#
# Made by `echo-daemon config init`. Check it, then start the daemon as root, since DHCP has a privileged port; its
# workers run as another user. This machine's own address must stay: set it by hand, not by DHCP.
#
#     echo-daemon check -c FILE
#     sudo echo-daemon start -c FILE
#     echo-daemon leases list -c FILE
#
{down}# Whatever is left out here has a default; `echo-daemon config show -c FILE` prints all of it.

# The echo services are for trials. To have them, set `true`; they answer on this machine's loopback interface alone
# unless `address` says otherwise.
tcp:
  enabled: false
udp:
  enabled: false

",
        facts.address, facts.prefix
    )
}

fn domain(domain: Option<&str>) -> String {
    match domain {
        Some(domain) => format!("    domain-name: {}\n", yaml_scalar(domain)),
        None => "    # domain-name: example.org\n".to_owned(),
    }
}

fn name_servers(servers: &[Ipv4Addr]) -> String {
    if servers.is_empty() {
        return "    # This machine has no name server that clients could reach; without one they resolve no names.\n    \
                # domain-name-servers: [ADDRESS]\n"
            .to_owned();
    }
    format!("    domain-name-servers: {}\n", list(servers))
}

fn list(addresses: &[Ipv4Addr]) -> String {
    format!("[{}]", addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

fn routers(facts: &Facts, gateway: Option<Ipv4Addr>) -> String {
    match gateway {
        Some(gateway) => format!("        routers: [{gateway}]       # this machine's own gateway\n"),
        None => format!(
            "        routers: [{}]       # this machine: it must forward packets (sysctl net.ipv4.ip_forward=1)\n",
            facts.address
        ),
    }
}

/// The longest run of free addresses in the upper half of a network, else in all of it; none if there is none.
fn pool(network: Network, taken: &[Ipv4Addr]) -> Option<AddressRange> {
    let (first, last) = (u32::from(network.first()), u32::from(network.last()));
    // Neither the network's own nor the broadcast address.
    let (low, high) = if network.prefix() >= 31 { (first, last) } else { (first + 1, last - 1) };
    let middle = first + (last - first) / 2 + 1;
    let run = longest_run(low.max(middle), high, taken).or_else(|| longest_run(low, high, taken));
    let (from, to) = run?;
    AddressRange::new(from.max(to.saturating_sub(POOL_MOST - 1)).into(), to.into())
}

/// The longest run between two addresses that holds none of those taken; of equal ones the first.
fn longest_run(low: u32, high: u32, taken: &[Ipv4Addr]) -> Option<(u32, u32)> {
    let mut walls: Vec<u64> = taken
        .iter()
        .map(|address| u64::from(u32::from(*address)))
        .filter(|at| (low.into()..=high.into()).contains(at))
        .collect();
    walls.push(u64::from(high) + 1);
    walls.sort_unstable();
    let mut from = u64::from(low);
    let mut best: Option<(u64, u64)> = None;
    for wall in walls {
        if wall > from && best.is_none_or(|(start, end)| wall - from > end - start) {
            best = Some((from, wall));
        }
        from = wall + 1;
    }
    let (start, end) = best?;
    Some((u32::try_from(start).ok()?, u32::try_from(end - 1).ok()?))
}

/// An address for the example of a host: free, outside the pool where there is one.
fn reserved_example(network: Network, pool: AddressRange, taken: &[Ipv4Addr]) -> Ipv4Addr {
    let first = u32::from(network.first());
    let free = |address: &Ipv4Addr| {
        network.is_host(*address) && !pool.contains(*address) && !taken.contains(address)
    };
    (10..=20)
        .chain(1..10)
        .filter_map(|n| first.checked_add(n).map(Ipv4Addr::from))
        .find(free)
        .unwrap_or(pool.first())
}
