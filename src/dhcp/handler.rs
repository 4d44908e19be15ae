//! The decision on each message: one function per message type (RFC 2131 §4.3). Asks the lease engine, and turns
//! its answer into an [`Outcome`].

use std::net::Ipv4Addr;

use crate::config::model::Bootp;
use crate::lease::{AckEvent, Answer, Ask, Declined, Offered, Released, Scope, SubnetId};
use crate::protocol::{MessageType, code};

use super::check::Park;
use super::client::Asker;
use super::leases::Leases;
use super::outcome::{Event, Outcome, Reply, ReplyKind, Silence, What};
use super::reply::Grant;
use super::security::Refusal;
use super::{Pipeline, Request, terms};

/// One message in hand, with who sent it and what is open to it.
pub(super) struct Talk<'t> {
    pub(super) request: &'t Request<'t>,
    pub(super) asker: &'t Asker<'t>,
    scope: Scope<'t>,
}

impl Pipeline {
    /// Step 3: what becomes of a request.
    pub(super) fn decide<L: Leases>(&self, request: &Request<'_>, leases: &mut L) -> Outcome {
        let Some(link) = self.scopes.link(request.link) else {
            return Silence::UnknownSubnet.into();
        };
        if self.is_relayed_by_a_client(request, leases) {
            return Refusal::RelayAddress.outcome(&request.message, request.from);
        }
        let asker = match self.recognise(request, leases) {
            Ok(asker) => asker,
            Err(outcome) => return outcome,
        };
        if let Err(outcome) = self.admit(request, &asker) {
            return outcome;
        }
        let talk = Talk { request, asker: &asker, scope: asker.scope(link) };
        match request.message.kind() {
            MessageType::Discover => self.discover(&talk, leases),
            MessageType::Request => self.request(&talk, leases),
            MessageType::Decline => self.decline(&talk, leases),
            MessageType::Release => self.release(&talk, leases),
            MessageType::Inform => self.inform(&talk, leases),
            MessageType::Bootp => self.bootp(&talk, leases),
            MessageType::Offer | MessageType::Ack | MessageType::Nak | MessageType::Other(_) => {
                Silence::NotForServers.into()
            }
        }
    }

    /// Whether giaddr is an address that a client has leased now: whoever names another's address there would have us send
    /// to it. A relay may have a lease of ours, too, where the administrator names it as a relay.
    fn is_relayed_by_a_client<L: Leases>(&self, request: &Request<'_>, leases: &L) -> bool {
        let of_a_client = |relay| self.topology.dynamic_pool_of(relay).is_some() && leases.is_leased(relay);
        request.message.relay().is_some_and(|relay| of_a_client(relay) && !self.names_relay(relay))
            && self.interface(request).is_some_and(|interface| !interface.loopback)
    }

    /// RFC 2131 §4.3.1. A DISCOVER may name the address it would like (option 50).
    fn discover<L: Leases>(&self, talk: &Talk<'_>, leases: &mut L) -> Outcome {
        let message = &talk.request.message;
        if leases.circuit_is_full(&talk.asker.client, &talk.scope) {
            return Refusal::CircuitFull.outcome(message, talk.request.from);
        }
        match leases.discover(&talk.asker.client, &talk.scope, message.requested_address()) {
            // RFC 4039 §3.1: granted at once.
            Offered::Address(address) if talk.request.rapid => {
                self.grant(talk, Ask::Selecting(address), leases)
            }
            Offered::Address(address) => {
                let lease_secs = self.lease_secs(talk, address);
                let grant = Grant { kind: ReplyKind::Offer, address, lease_secs };
                reply(self.granting(talk, grant, self.event(talk.request, What::Offered, Some(address))))
            }
            Offered::Probe(address) => park(talk, address),
            Offered::Exhausted => self.turned_away(talk),
            Offered::Pressed => self.left_out(talk),
        }
    }

    /// A client that asks whether it may choose an address of its own (RFC 2563 §2.3) is told so, where the
    /// configuration says; all others are met with silence.
    fn turned_away(&self, talk: &Talk<'_>) -> Outcome {
        // Where no pool is open to the client, none is exhausted: no reason for an alarm.
        let (reason, event) = match talk.scope.pools {
            [] => (Silence::NoPool, None),
            _ => (Silence::Exhausted, self.event(talk.request, What::Exhausted, None)),
        };
        let message = &talk.request.message;
        let asked = message.kind() == MessageType::Discover && message.auto_configure().is_some();
        let first = talk.scope.subnets.first().filter(|_| asked);
        match first.and_then(|first| self.place_in(talk.asker, *first, None)) {
            Some(place) if place.options.get(code::AUTO_CONFIGURE).is_some() => {
                reply(self.turning_away(talk, &place, event))
            }
            _ => Outcome::Silence { reason, event },
        }
    }

    /// A client that nobody knows, while more comes than can be answered; it asks again.
    fn left_out(&self, talk: &Talk<'_>) -> Outcome {
        Outcome::Silence { reason: Silence::Overload, event: self.event(talk.request, What::LeftOut, None) }
    }

    /// RFC 2131 §4.3.2.
    fn request<L: Leases>(&self, talk: &Talk<'_>, leases: &mut L) -> Outcome {
        let Talk { request, asker, scope } = talk;
        if let Some(server) = request.message.server_id()
            && !self.is_ours(server, request)
        {
            // §4.3.2: a REQUEST to another server declines our offer.
            leases.withdraw_offer(&asker.client, scope);
            return Silence::OtherServer.into();
        }
        match ask(request) {
            // Nobody has looked yet whether somebody uses what we have not offered.
            Ok(Ask::Selecting(address)) if leases.must_probe(&asker.client, scope, address) => {
                park(talk, address)
            }
            Ok(ask) => self.grant(talk, ask, leases),
            Err(silence) => silence.into(),
        }
    }

    /// What the engine says to a client that asks for an address.
    fn grant<L: Leases>(&self, talk: &Talk<'_>, ask: Ask, leases: &mut L) -> Outcome {
        let request = talk.request;
        // Also where nothing was offered: a client may ask for an address that it remembers.
        if leases.circuit_is_full(&talk.asker.client, &talk.scope) {
            return Refusal::CircuitFull.outcome(&request.message, request.from);
        }
        let lease_secs = |address: Ipv4Addr| self.lease_secs(talk, address);
        match leases.request(&talk.asker.client, &talk.scope, ask, &lease_secs) {
            Answer::Ack { address, lease_secs, event, .. } => {
                let renewed = event == AckEvent::Renewed;
                let what = if renewed { What::Renewed { lease_secs } } else { What::Granted { lease_secs } };
                let bootp = request.message.kind() == MessageType::Bootp;
                let kind = if bootp { ReplyKind::Bootp } else { ReplyKind::Ack };
                let grant = Grant { kind, address, lease_secs };
                reply(self.granting(talk, grant, self.event(request, what, Some(address))))
            }
            // BOOTP knows no refusal.
            Answer::Nak(_) if request.message.kind() == MessageType::Bootp => Silence::Bootp.into(),
            Answer::Nak(reason) => {
                let event = self.event(request, What::Nak(reason), Some(address(ask)));
                reply(self.refusing(request, reason.message(), event))
            }
            Answer::Silence(reason) => Silence::Lease(reason).into(),
        }
    }

    /// RFC 2131 §4.3.3. Table 5: server identifier and requested address MUST be there.
    fn decline<L: Leases>(&self, talk: &Talk<'_>, leases: &mut L) -> Outcome {
        let Some(address) = talk.request.message.requested_address() else {
            return Silence::Incomplete.into();
        };
        if self.is_for_another(talk.request) {
            return Silence::OtherServer.into();
        }
        if !self.speaks_for(talk.request, address, leases) {
            return Refusal::ForeignSource.outcome(&talk.request.message, talk.request.from);
        }
        match leases.decline(&talk.asker.client, address) {
            Declined::Done(_) => self.done(talk.request, What::Declined, address),
            Declined::Doubted => Outcome::Silence {
                reason: Silence::Doubted,
                event: self.event(talk.request, What::Doubted, Some(address)),
            },
            Declined::NotHolder => Silence::NotHolder.into(),
        }
    }

    /// RFC 2131 §4.3.4. Table 5: ciaddr MUST be there.
    fn release<L: Leases>(&self, talk: &Talk<'_>, leases: &mut L) -> Outcome {
        let address = talk.request.message.ciaddr();
        if address.is_unspecified() {
            return Silence::Incomplete.into();
        }
        if self.is_for_another(talk.request) {
            return Silence::OtherServer.into();
        }
        if !self.speaks_for(talk.request, address, leases) {
            return Refusal::ForeignSource.outcome(&talk.request.message, talk.request.from);
        }
        match leases.release(&talk.asker.client, address) {
            Released::Done => self.done(talk.request, What::Released, address),
            Released::NotHolder => Silence::NotHolder.into(),
            Released::Overtaken => Silence::Overtaken.into(),
        }
    }

    /// Whether a RELEASE or DECLINE of an address can come from its client as far as its sender tells. It has no answer, so
    /// nothing else would show a forged one, and the address would go to somebody else while its client still uses it.
    ///
    /// A RELEASE comes from the address itself (RFC 2131 §4.4.6), a DECLINE and the RELEASE of a client that has taken its
    /// address down from 0.0.0.0; a relay sends from an address of its own, which need not be giaddr. A sender on the
    /// client's own link may be another address of the same machine, unless we leased it to somebody else. On the
    /// loopback interface all have one address.
    fn speaks_for<L: Leases>(&self, request: &Request<'_>, address: Ipv4Addr, leases: &L) -> bool {
        let source = *request.from.ip();
        let message = &request.message;
        if source == address
            || source.is_unspecified()
            || message.relay() == Some(source)
            || self.interface(request).is_some_and(|interface| interface.loopback)
        {
            return true;
        }
        let near = message.relay().is_some()
            || self.topology.link_at(source).is_some_and(|link| self.topology.link_at(address) == Some(link));
        // What we give to clients is no relay's, nor any other server's.
        let a_clients = || self.topology.dynamic_pool_of(source).is_some();
        near && (!a_clients() || leases.whereabouts(source, message.hardware()).is_some())
    }

    /// RFC 951, RFC 1534 §2: one packet each way, and no word of the time. A client that knows its address is told the
    /// rest.
    fn bootp<L: Leases>(&self, talk: &Talk<'_>, leases: &mut L) -> Outcome {
        let request = talk.request;
        if !request.message.ciaddr().is_unspecified() {
            return self.inform(talk, leases);
        }
        let only = match self.config.dhcp.bootp {
            Bootp::Dynamic => None,
            Bootp::Reserved => match talk.asker.host.and_then(|host| self.topology.host(host)?.address) {
                Some(reserved) => Some(reserved),
                None => return Silence::Bootp.into(),
            },
            Bootp::Off => return Silence::Bootp.into(),
        };
        match leases.discover(&talk.asker.client, &talk.scope, None) {
            Offered::Address(address) if only.is_none_or(|only| only == address) => {
                self.grant(talk, Ask::Selecting(address), leases)
            }
            Offered::Probe(address) if only.is_none_or(|only| only == address) => park(talk, address),
            Offered::Address(_) | Offered::Probe(_) => {
                leases.withdraw_offer(&talk.asker.client, &talk.scope);
                Silence::Bootp.into()
            }
            Offered::Exhausted => self.turned_away(talk),
            Offered::Pressed => self.left_out(talk),
        }
    }

    /// RFC 2131 §4.3.5: parameters for an address that was not leased from us; no lease is made.
    ///
    /// The answer goes to an address that the sender names, so it must be one of the link's, and not a stranger's. A
    /// client that leaves ciaddr empty against table 5 is answered at its source address.
    fn inform<L: Leases>(&self, talk: &Talk<'_>, leases: &mut L) -> Outcome {
        let Talk { request, asker, scope } = talk;
        let (ciaddr, source) = (request.message.ciaddr(), *request.from.ip());
        let relayed = request.message.relay().is_some();
        let client = if ciaddr.is_unspecified() { source } else { ciaddr };
        if ciaddr.is_unspecified() && (client.is_unspecified() || relayed) {
            return Silence::Incomplete.into();
        }
        // On the loopback interface the answer goes to the sender, whatever its address.
        let on_loopback = self.interface(request).is_some_and(|interface| interface.loopback);
        let subnet = self.topology.subnet_of(client).filter(|subnet| scope.subnets.contains(subnet));
        let place = match subnet {
            Some(subnet) => self.place_in(asker, subnet, Some(client)),
            None if on_loopback => scope.subnets.first().and_then(|first| self.place_in(asker, *first, None)),
            None => None,
        };
        let Some(place) = place else {
            return Silence::UnknownSubnet.into();
        };
        let known = leases.holds(&asker.client, client);
        let Some(to) = self.informed_at(request, client, known) else {
            return Silence::Stranger.into();
        };
        let event = self.event(request, What::Informed, Some(client));
        reply(self.informing(talk, &place, to, event))
    }

    /// How long the client may have an address. A BOOTP client never says that it is done, nor that it goes on: it has
    /// the longest time there is, and afterwards the address goes to another only if nobody answers there.
    fn lease_secs(&self, talk: &Talk<'_>, address: Ipv4Addr) -> u32 {
        let message = &talk.request.message;
        let bootp = message.kind() == MessageType::Bootp;
        let asked = if bootp { Some(terms::INFINITE_SECS) } else { message.lease_time_secs() };
        // The engine names addresses of this generation only, so a place is always found.
        let place = self.place(talk.asker, address);
        place.map_or(0, |place| terms::lease_secs(place.lease_time(), asked))
    }

    /// A RELEASE or DECLINE to another server; one without an identifier counts as meant for us.
    fn is_for_another(&self, request: &Request<'_>) -> bool {
        request.message.server_id().is_some_and(|server| !self.is_ours(server, request))
    }

    fn done(&self, request: &Request<'_>, what: What, address: Ipv4Addr) -> Outcome {
        match self.event(request, what, Some(address)) {
            Some(event) => Outcome::Done(event),
            None => Silence::UnknownSubnet.into(),
        }
    }

    fn event(&self, request: &Request<'_>, what: What, address: Option<Ipv4Addr>) -> Option<Event> {
        let first = || self.scopes.link(request.link).and_then(|link| link.subnets().first().copied());
        let subnet: SubnetId = address.and_then(|address| self.topology.subnet_of(address)).or_else(first)?;
        let message = &request.message;
        Some(Event { what, address, hardware: *message.hardware(), xid: message.xid(), subnet: Some(subnet) })
    }
}

/// Until it is known whether somebody uses the address. The engine asks for it only where there is a way to find out.
fn park(talk: &Talk<'_>, address: Ipv4Addr) -> Outcome {
    let client = talk.asker.client.hardware;
    match talk.asker.check {
        Some(method) => Outcome::Park(Park { address, method, client }),
        None => Silence::Unchecked.into(),
    }
}

fn reply(built: Result<Reply, Silence>) -> Outcome {
    built.map_or_else(Outcome::from, Outcome::Reply)
}

/// The state that a REQUEST is made in (RFC 2131 table 4):
///
/// | | INIT-REBOOT | SELECTING | RENEWING | REBINDING |
/// |---|---|---|---|---|
/// | sent by | broadcast | broadcast | unicast | broadcast |
/// | server identifier | MUST NOT | MUST | MUST NOT | MUST NOT |
/// | requested address | MUST | MUST | MUST NOT | MUST NOT |
/// | ciaddr | zero | zero | address | address |
///
/// Clients that fill in more than they should are understood by what they have: with ciaddr they use the
/// address already, so they renew.
fn ask(request: &Request<'_>) -> Result<Ask, Silence> {
    let message = &request.message;
    let ciaddr = Some(message.ciaddr()).filter(|ciaddr| !ciaddr.is_unspecified());
    match (message.server_id(), message.requested_address(), ciaddr) {
        (Some(_), Some(requested), None) => Ok(Ask::Selecting(requested)),
        (Some(_), None, None) => Err(Silence::Incomplete),
        (None, Some(requested), None) => Ok(Ask::InitReboot(requested)),
        // Who names us as its server answers an offer (§4.3.2), whatever it has now.
        (Some(_), Some(requested), Some(ciaddr)) if requested != ciaddr => Ok(Ask::Selecting(requested)),
        (_, _, Some(ciaddr)) => {
            Ok(if is_broadcast(request) { Ask::Rebinding(ciaddr) } else { Ask::Renewing(ciaddr) })
        }
        (None, None, None) => Err(Silence::BareRequest),
    }
}

/// Whether the client broadcast its message: directly, or to a relay, which only hears broadcasts.
fn is_broadcast(request: &Request<'_>) -> bool {
    request.to == Some(Ipv4Addr::BROADCAST) || request.message.relay().is_some()
}

/// The address that a REQUEST is about.
fn address(ask: Ask) -> Ipv4Addr {
    match ask {
        Ask::Selecting(address)
        | Ask::InitReboot(address)
        | Ask::Renewing(address)
        | Ask::Rebinding(address) => address,
    }
}
