//! REQUEST: who is granted what (RFC 2131 §4.3.2, table 4). Each NAK and each silence is argued where it is decided.
//!
//! What our own leases prove wrong is always answered by a NAK: two clients on one address is worse than anything. What
//! merely looks wrong, an address that we know nothing of, is answered by a NAK only where `authoritative` says that
//! nobody else serves these links.

use std::net::Ipv4Addr;

use super::engine::{LeaseManager, Scope};
use super::offers::Holder;
use super::standing::Standing;
use super::store::LeaseStore;
use super::types::{Client, LeaseEvent, LeaseState, Timestamp};

/// A REQUEST in its four states, with the address asked for (option 50, or ciaddr when renewing or rebinding).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Answers our offer (server identifier is ours).
    Selecting(Ipv4Addr),
    /// The client restarted and remembers an address.
    InitReboot(Ipv4Addr),
    /// Unicast to us at T1.
    Renewing(Ipv4Addr),
    /// Broadcast at T2.
    Rebinding(Ipv4Addr),
}

/// Answer to a REQUEST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Granted, once the batch is committed.
    Ack {
        /// The address.
        address: Ipv4Addr,
        /// For how many seconds from now; `u32::MAX`: for ever.
        lease_secs: u32,
        /// Whether it is new to the client.
        event: AckEvent,
        /// Since when the client holds it.
        starts: Timestamp,
    },
    /// Refused.
    Nak(NakReason),
    /// Not ours to answer.
    Silence(SilenceReason),
}

/// What an ACK means to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AckEvent {
    /// It did not hold the address until now.
    Granted,
    /// It holds on to it.
    Renewed,
}

/// Why a REQUEST is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NakReason {
    /// The address does not belong to the client's link.
    WrongNetwork,
    /// It is leased or offered to another client.
    HeldByAnother,
    /// It was found in use and rests.
    Resting,
    /// It lies in no pool open to the client, or is never given out.
    NotPermitted,
    /// The client has a lease of another address.
    AnotherLease,
    /// Another address is reserved for the client, and it is free.
    Reserved,
}

impl NakReason {
    /// Text for the log and for option 56.
    pub fn message(self) -> &'static str {
        match self {
            Self::WrongNetwork => "address belongs to another network",
            Self::HeldByAnother => "address is held by another client",
            Self::Resting => "address was found in use",
            Self::NotPermitted => "address is not available to this client",
            Self::AnotherLease => "client has another lease",
            Self::Reserved => "another address is reserved for this client",
        }
    }
}

/// Why a REQUEST is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SilenceReason {
    /// We have no record of the client (RFC 2131 §4.3.2, INIT-REBOOT).
    UnknownClient,
    /// It looks wrong, but another server may know better.
    NotAuthoritative,
}

impl SilenceReason {
    /// Text for the log.
    pub fn text(self) -> &'static str {
        match self {
            Self::UnknownClient => "unknown client",
            Self::NotAuthoritative => "not authoritative",
        }
    }
}

impl<S: LeaseStore> LeaseManager<S> {
    /// Decides on a REQUEST; `lease_secs` tells how long this client may have an address.
    pub fn request(
        &mut self,
        client: &Client,
        scope: &Scope<'_>,
        ask: Ask,
        lease_secs: &dyn Fn(Ipv4Addr) -> u32,
    ) -> Answer {
        let decided = match ask {
            Ask::Selecting(address) => self.selecting(client, scope, address),
            Ask::InitReboot(address) => self.init_reboot(client, scope, address),
            Ask::Renewing(address) => self.extending(client, scope, address, true),
            Ask::Rebinding(address) => self.extending(client, scope, address, false),
        };
        match decided {
            Ok(address) => {
                let extends = matches!(ask, Ask::Renewing(_) | Ask::Rebinding(_));
                self.grant(client, scope, address, lease_secs(address), extends)
            }
            Err(answer) => answer,
        }
    }

    /// The client names us as its server, so it must have an answer, whether we are authoritative or not.
    fn selecting(&self, client: &Client, scope: &Scope<'_>, address: Ipv4Addr) -> Decision {
        if self.permitted(address, scope) {
            // An offer that was lost with the shared memory is no reason to refuse: what is free may be granted.
            return self.available(client, scope, address, false);
        }
        let on_link = self.on_link(scope, address);
        Err(Answer::Nak(if on_link { NakReason::NotPermitted } else { NakReason::WrongNetwork }))
    }

    fn init_reboot(&mut self, client: &Client, scope: &Scope<'_>, address: Ipv4Addr) -> Decision {
        // "If the DHCP server detects that the client is on the wrong net … the server SHOULD send a DHCPNAK."
        if !self.on_link(scope, address) {
            return Err(self.nak_if_authoritative(NakReason::WrongNetwork));
        }
        let Some(last) = self.link(scope).and_then(|link| self.binding(&client.key, link)) else {
            // "If the DHCP server has no record of this client, then it MUST remain silent", for another server on the
            // link may know it. But an address that we leased to somebody else is no other server's: an
            // authoritative server saves the client the wait.
            return Err(match self.standing(address, &client.key) {
                Standing::Anothers if self.settings.authoritative => Answer::Nak(NakReason::HeldByAnother),
                Standing::Open | Standing::Own | Standing::Anothers | Standing::Resting => {
                    Answer::Silence(SilenceReason::UnknownClient)
                }
            });
        };
        // "… whether the client's notion of its IP address is correct": we know better, so NAK.
        if last != address {
            return Err(Answer::Nak(NakReason::AnotherLease));
        }
        if !self.permitted(address, scope) {
            return Err(self.evict(client, address));
        }
        self.available(client, scope, address, false)
    }

    /// RENEWING (`to_us`: unicast to the server that granted the lease) and REBINDING (broadcast, to anybody).
    ///
    /// RFC 2131 says nothing of a binding that the server does not know. Where the address is free and open to the
    /// client, it is granted: that is what an administrator expects after the lease file was lost, since a NAK would
    /// cut off every client of the site at once; and the transaction still guards against a second holder. A rebinding
    /// client may be another server's, so without `authoritative` that one is left alone.
    fn extending(&mut self, client: &Client, scope: &Scope<'_>, address: Ipv4Addr, to_us: bool) -> Decision {
        let standing = match self.standing(address, &client.key) {
            // We found it in use, and here is who uses it: a host whose lease was lost with the lease file.
            Standing::Resting if self.is_user(address, client, true) => Standing::Open,
            standing => standing,
        };
        match standing {
            Standing::Anothers => return Err(Answer::Nak(NakReason::HeldByAnother)),
            Standing::Resting => return Err(Answer::Nak(NakReason::Resting)),
            Standing::Open | Standing::Own => {}
        }
        if !self.permitted(address, scope) {
            return Err(match standing {
                // Its lease, but the configuration has changed: it must move.
                Standing::Own => self.evict(client, address),
                _ if self.on_link(scope, address) => self.nak_if_authoritative(NakReason::NotPermitted),
                _ => self.nak_if_authoritative(NakReason::WrongNetwork),
            });
        }
        let known = || self.held(address).is_some_and(|held| held.client.key == client.key.as_bytes());
        if standing == Standing::Open && !to_us && !self.settings.authoritative && !known() {
            return Err(Answer::Silence(SilenceReason::NotAuthoritative));
        }
        self.available(client, scope, address, true)
    }

    /// Refuses a client its own address, which it may not have any more. It stops using it at once (RFC 2131 §4.4.5),
    /// so the lease is over and the address is there for whom it is reserved now.
    fn evict(&mut self, client: &Client, address: Ipv4Addr) -> Answer {
        if self.standing(address, &client.key) == Standing::Own {
            self.end_lease(address);
        }
        Answer::Nak(NakReason::NotPermitted)
    }

    /// Whether nobody else has a claim on the address, and the client none on a better one. `lives`: the client says
    /// that it uses the address already.
    fn available(&self, client: &Client, scope: &Scope<'_>, address: Ipv4Addr, lives: bool) -> Decision {
        let refused = |reason| Err(Answer::Nak(reason));
        let free = |address| match self.standing_for(address, client, scope) {
            Standing::Own => Ok(()),
            Standing::Anothers => Err(NakReason::HeldByAnother),
            // What is offered of a reservation is offered to the same host, by another of its identifiers.
            Standing::Open if self.reservation(scope) == Some(address) => Ok(()),
            Standing::Resting if !self.is_user(address, client, lives) => Err(NakReason::Resting),
            Standing::Resting | Standing::Open => match self.offers.holder(address, &client.key, self.now) {
                Holder::Nobody | Holder::This => Ok(()),
                Holder::Another => Err(NakReason::HeldByAnother),
            },
        };
        if let Some(reserved) = self.reservation(scope).filter(|reserved| *reserved != address)
            && free(reserved).is_ok()
        {
            return refused(NakReason::Reserved);
        }
        free(address).map_or_else(refused, |()| Ok(address))
    }

    fn on_link(&self, scope: &Scope<'_>, address: Ipv4Addr) -> bool {
        self.topology.subnet_of(address).is_some_and(|subnet| scope.subnets.contains(&subnet))
    }

    fn nak_if_authoritative(&self, reason: NakReason) -> Answer {
        if self.settings.authoritative {
            Answer::Nak(reason)
        } else {
            Answer::Silence(SilenceReason::NotAuthoritative)
        }
    }

    /// Writes the lease into the batch; a lease of another address on the link ends with it: one binding for each
    /// client and link. So does a lease of the address by another interface of the same host.
    fn grant(
        &mut self,
        client: &Client,
        scope: &Scope<'_>,
        address: Ipv4Addr,
        secs: u32,
        extends: bool,
    ) -> Answer {
        let other = self
            .link(scope)
            .and_then(|link| self.binding(&client.key, link))
            .filter(|other| *other != address && self.standing(*other, &client.key) == Standing::Own);
        if self.standing(address, &client.key) == Standing::Anothers {
            self.end_lease(address);
        }
        let renewal = self.standing(address, &client.key) == Standing::Own;
        let held = self.held(address);
        let starts = held.filter(|_| renewal).map_or(self.now, |held| held.starts);
        let expires = self.now.plus(secs);
        let mut holder = client.clone();
        if let Some(held) = held.filter(|_| renewal) {
            // Some clients name themselves only once.
            holder.hostname = holder.hostname.or_else(|| held.client.hostname.map(Into::into));
        }
        // Who renews has lived with the address: it is no longer suspect.
        let declines = if renewal { 0 } else { held.map_or(0, |held| held.declines) };
        // A REQUEST that is sent again within the second of the grant is the same grant; one that says that the client
        // uses the address already is a renewal, however early.
        let again = renewal && (extends || starts != self.now);
        let event = if again { AckEvent::Renewed } else { AckEvent::Granted };
        if let Some(other) = other {
            self.end_lease(other);
        }
        // Also where nothing has changed, within a second: by its row other workers see that the client was answered.
        let written = if renewal { LeaseEvent::Renewed } else { LeaseEvent::Granted };
        let lease = self.new_lease(address, holder, LeaseState::Active, starts, expires);
        self.push(written, lease, declines);
        Answer::Ack { address, lease_secs: secs, event, starts }
    }
}

type Decision = Result<Ipv4Addr, Answer>;
