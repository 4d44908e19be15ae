//! What a message would get and why: the pipeline's own steps, run dry, with what each of them found out. For the
//! command `explain` and the API; decides nothing itself.

use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::Serialize;

use crate::protocol::options::{name, show};
use crate::protocol::{DhcpParser, code};

use super::client::Asker;
use super::leases::Leases;
use super::options::Origin;
use super::outcome::{Destination, Outcome, Reply};
use super::place::Place;
use super::{Packet, Pipeline, Request};

/// What becomes of one message. What is not known at the step where it ended is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Explanation {
    /// The interface that it came in by.
    pub interface: Option<String>,
    /// The subnets of its link, the first choice first.
    pub link: Vec<String>,
    /// The classes that it belongs to, in the order in which they are applied.
    pub classes: Vec<String>,
    /// The host that the client is, as `SUBNET.NAME`.
    pub host: Option<String>,
    /// The address that is reserved for it.
    pub reserved: Option<Ipv4Addr>,
    /// The pools that are open to it, as `SUBNET.NAME`.
    pub pools: Vec<String>,
    /// `offer`, `ack`, `nak`, `bootp`, `done`, `parked` or `silence`.
    pub outcome: String,
    /// Why it is met with silence.
    pub reason: Option<String>,
    /// The address that it would get.
    pub address: Option<Ipv4Addr>,
    /// The subnet of the address.
    pub subnet: Option<String>,
    /// The pool of the address; none for a reservation outside of all pools.
    pub pool: Option<String>,
    /// Where the reply would go.
    pub reply_to: Option<String>,
    /// `siaddr`.
    pub next_server: Option<Ipv4Addr>,
    /// `sname`.
    pub server_name: Option<String>,
    /// `file`.
    pub boot_file: Option<String>,
    /// The options of the reply in their order, then those in force that are not sent.
    pub options: Vec<ExplainedOption>,
}

/// One option.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ExplainedOption {
    /// Its number.
    pub code: u8,
    /// Its name.
    pub name: String,
    /// Its value, as the configuration writes it.
    pub value: String,
    /// Where it comes from: `protocol`, `derived`, `global`, `subnet NAME`, `pool NAME`, `class NAME`, `host NAME`.
    pub origin: String,
    /// Whether the reply carries it.
    pub sent: bool,
    /// Why it does not.
    pub unsent: Option<&'static str>,
}

/// Addresses that may be believed free for one message; the first is enough, for it is held then.
const PROBES: usize = 4;

impl Pipeline {
    /// Runs a message through the pipeline and tells what was found out on the way. The caller begins a batch for
    /// reading before and gives it up afterwards: nothing is kept. Where an address would be probed first, `assume_free` makes
    /// the leases believe that nobody uses it.
    pub fn explain<L: Leases>(
        &self,
        packet: &Packet<'_>,
        leases: &mut L,
        assume_free: &dyn Fn(Ipv4Addr),
    ) -> Explanation {
        let mut told = Explanation::default();
        let request = match self.accept(packet) {
            Ok(request) => request,
            Err(outcome) => {
                told.end(&outcome);
                return told;
            }
        };
        told.interface = self.interface(&request).map(|interface| interface.name.clone());
        told.link = self.subnet_names(&request);
        let outcome = match self.recognise(&request, leases) {
            Ok(asker) => {
                self.tell_asker(&asker, &mut told);
                let mut outcome = self.decide(&request, leases);
                for _ in 0..PROBES {
                    let Outcome::Park(park) = outcome else { break };
                    assume_free(park.address);
                    outcome = self.decide(&request, leases);
                }
                if let Outcome::Reply(reply) = &outcome {
                    self.tell_reply(&request, &asker, reply, &mut told);
                }
                outcome
            }
            Err(outcome) => outcome,
        };
        told.end(&outcome);
        told
    }

    fn subnet_names(&self, request: &Request<'_>) -> Vec<String> {
        let subnets = self.scopes.link(request.link).map_or(&[][..], |link| link.subnets());
        let named = subnets.iter().filter_map(|id| self.config.dhcp.subnets.get(usize::from(id.0)));
        named.map(|subnet| subnet.name.clone()).collect()
    }

    fn tell_asker(&self, asker: &Asker<'_>, told: &mut Explanation) {
        let dhcp = &self.config.dhcp;
        let classes = asker.classes.iter().filter_map(|place| dhcp.classes.get(*place));
        told.classes = classes.map(|class| class.name.clone()).collect();
        if let Some(spec) = asker.host.and_then(|host| self.topology.host(host))
            && let Some(subnet) = dhcp.subnets.get(usize::from(spec.subnet.0))
            && let Some(host) = subnet.hosts.get(spec.place)
        {
            told.host = Some(format!("{}.{}", subnet.name, host.name));
            told.reserved = spec.address;
        }
        let pools = asker.pools.iter().filter_map(|id| self.pools.get(usize::from(id.0)));
        let named = pools.filter_map(|(subnet, pool)| {
            let subnet = dhcp.subnets.get(*subnet)?;
            Some(format!("{}.{}", subnet.name, subnet.pools.get(*pool)?.name))
        });
        told.pools = named.collect();
    }

    fn tell_reply(&self, request: &Request<'_>, asker: &Asker<'_>, reply: &Reply, told: &mut Explanation) {
        told.reply_to = Some(match reply.to {
            Destination::Unicast(to) => to.to_string(),
            Destination::Broadcast { port } => format!("255.255.255.255:{port}"),
            Destination::Hardware { mac, to } => {
                let mac: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{to} at {}", mac.join(":"))
            }
        });
        let Ok(message) = DhcpParser::parse_reply(&reply.bytes) else { return };
        let address =
            [message.yiaddr(), message.ciaddr()].into_iter().find(|address| !address.is_unspecified());
        told.address = address;
        let place = address.and_then(|address| self.place(asker, address));
        if let Some(place) = &place {
            told.subnet = Some(place.subnet.name.clone());
            told.pool = place.pool.map(|pool| pool.name.clone());
            told.next_server = place.next_server();
            told.server_name = place.server_name().map(str::to_owned);
            told.boot_file = place.boot_file().map(str::to_owned);
        }
        let sent = message.options().filter(|(number, _)| *number != code::OVERLOAD);
        told.options = sent.map(|(number, bytes)| option(number, bytes, place.as_ref(), None)).collect();
        let in_force = place.as_ref().map(|place| place.options.iter()).into_iter().flatten();
        let rest = in_force.filter(|resolved| message.option(resolved.code).is_none());
        let routed = message.option(code::CLASSLESS_ROUTES).is_some();
        let rest = rest.map(|resolved| {
            let asked =
                request.message.parameter_request_list().is_none_or(|list| list.contains(&resolved.code));
            let unsent = match resolved.code {
                code::ROUTERS | code::STATIC_ROUTES if asked && routed => "replaced by option 121",
                _ if asked => "no room",
                _ => "not asked for",
            };
            option(resolved.code, &resolved.bytes, place.as_ref(), Some(unsent))
        });
        told.options.extend(rest);
    }
}

fn option(
    number: u8,
    bytes: &[u8],
    place: Option<&Place<'_>>,
    unsent: Option<&'static str>,
) -> ExplainedOption {
    let resolved =
        place.and_then(|place| place.options.get(number)).filter(|resolved| *resolved.bytes == *bytes);
    ExplainedOption {
        code: number,
        name: name(number),
        value: show(number, bytes),
        origin: resolved.map_or_else(|| "protocol".to_owned(), |resolved| origin(&resolved.origin)),
        sent: unsent.is_none(),
        unsent,
    }
}

fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Derived => "derived".to_owned(),
        Origin::Global => "global".to_owned(),
        Origin::Subnet(name) => format!("subnet {name}"),
        Origin::Pool(name) => format!("pool {name}"),
        Origin::Class(name) => format!("class {name}"),
        Origin::Host(name) => format!("host {name}"),
    }
}

impl Explanation {
    fn end(&mut self, outcome: &Outcome) {
        self.outcome = match outcome {
            Outcome::Reply(reply) => reply.kind.name().to_owned(),
            Outcome::Done(_) => "done".to_owned(),
            // A dry run has nothing to probe with.
            Outcome::Park(_) => "parked".to_owned(),
            Outcome::Silence { reason, .. } => {
                self.reason = Some(reason.reason().to_owned());
                "silence".to_owned()
            }
        };
    }
}
