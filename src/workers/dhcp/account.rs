//! What is counted and logged of each packet: once, where its outcome is known, after the commit.

use std::collections::HashMap;
use std::fmt::Display;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon_utils::clock::boot_time;

use super::prober::Found;
use crate::config::Config;
use crate::dhcp::check::ProbeMethod;
use crate::dhcp::rate::Rates;
use crate::dhcp::security::Refusal;
use crate::dhcp::{Event, Outcome, Reply, ReplyKind, Request, Silence, What};
use crate::event;
use crate::lease::{HardwareAddress, StoreError, SubnetId};
use crate::protocol::MessageType;
use crate::stats::{Counter, Histogram, Shared, Slot};

/// The same complaint is logged once in this time; the counters count each.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);
/// A full pool stays full for a while, and its clients ask again and again: once in this time, whichever worker they reach.
/// So it is with declines.
const ALARM_EVERY: Duration = Duration::from_secs(60);

/// What is counted and logged. The DHCP worker's own; public for the count of instructions (`tests/instructions`).
#[derive(Debug)]
pub struct Account {
    slot: Slot,
    figures: Shared,
    config: Arc<Config>,
    /// When each complaint was last logged.
    complained: HashMap<Complaint, Instant>,
    /// What all workers complain of once.
    shared: Rates,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Complaint {
    Exhausted(Option<SubnetId>),
    Doubted(Option<SubnetId>),
    Overload,
    Store,
    Receive,
    Send,
}

impl Account {
    /// Of the worker in this slot; `rates` are those that all workers share.
    pub fn new(slot: Slot, figures: Shared, config: Arc<Config>, rates: Rates) -> Self {
        Self { slot, figures, config, shared: rates, complained: HashMap::new() }
    }

    /// A batch was received; the oldest of its packets `waited` so long for it.
    pub(super) fn batch(&self, packets: usize, waited: Option<Duration>) {
        self.slot.observe(Histogram::DhcpBatch, packets as u64);
        if let Some(waited) = waited {
            self.stage(Histogram::StageQueue, waited);
        }
    }

    /// A batch has been through a stage. Clock and histogram cost some 40 ns a stage: per batch, not per packet, so that
    /// it stays far below a hundredth of what the batch's system calls take.
    pub(super) fn stage(&self, stage: Histogram, took: Duration) {
        self.slot.observe_time(stage, took);
    }

    /// A packet was accepted.
    pub fn received(&self, request: &Request<'_>) {
        self.slot.count(match request.message().kind() {
            MessageType::Discover => Counter::DiscoverIn,
            MessageType::Request => Counter::RequestIn,
            MessageType::Decline => Counter::DeclineIn,
            MessageType::Release => Counter::ReleaseIn,
            MessageType::Inform => Counter::InformIn,
            MessageType::Bootp => Counter::BootpIn,
            MessageType::Offer | MessageType::Ack | MessageType::Nak | MessageType::Other(_) => {
                Counter::OtherIn
            }
        });
    }

    pub(super) fn truncated(&self) {
        self.slot.count(Counter::DropTruncated);
    }

    pub(super) fn silence(&mut self, silence: Silence, event: Option<Event>) {
        self.slot.count(silence.counter());
        if let Silence::Refused(refusal) = silence {
            self.slot.count(refusal.security_counter());
            return Self::refused(refusal, event.as_ref());
        }
        if let Some(event) = event {
            return self.tell(&event);
        }
        // The network can cause these at will: the log limits them, each reason for itself.
        event!(DhcpPacketDropped, reason = silence.reason(); "packet dropped");
    }

    fn refused(refusal: Refusal, event: Option<&Event>) {
        let mac = event.map(|event| event.hardware).unwrap_or_default();
        let xid = event.map_or(0, |event| event.xid);
        let address = event.and_then(|event| event.address).unwrap_or(Ipv4Addr::UNSPECIFIED);
        let kind = refusal.event();
        log::log!(
            kind.level(),
            event = kind.id(), mac:% = mac, xid:% = format_args!("{xid:#010x}"), address:% = address;
            "packet dropped: {}", refusal.text()
        );
    }

    /// Counts and logs an outcome that is committed; the reply, if it has one.
    pub fn settle(&mut self, outcome: Outcome) -> Option<Reply> {
        match outcome {
            Outcome::Reply(reply) => {
                if let Some(event) = &reply.event {
                    self.tell(event);
                }
                Some(reply)
            }
            Outcome::Done(event) => {
                self.tell(&event);
                None
            }
            // The worker keeps it; what becomes of it is counted when it comes back.
            Outcome::Park(_) => None,
            Outcome::Silence { reason, event } => {
                self.silence(reason, event);
                None
            }
        }
    }

    /// Counts what was sent from `sending` on; `failed` are the places of the replies that could not be.
    pub fn sent(&mut self, replies: &[Reply], failed: &[usize], received: Instant, sending: Instant) {
        if replies.is_empty() {
            return;
        }
        let now = Instant::now();
        let took = now.saturating_duration_since(received);
        self.stage(Histogram::StageSend, now.saturating_duration_since(sending));
        let mut sent = [0; 4];
        for (place, reply) in replies.iter().enumerate() {
            // Hardly ever one of them.
            if failed.is_empty() || !failed.contains(&place) {
                sent[match reply.kind {
                    ReplyKind::Offer => 0,
                    ReplyKind::Ack => 1,
                    ReplyKind::Nak => 2,
                    ReplyKind::Bootp => 3,
                }] += 1;
            }
        }
        // Once a batch, not once a reply: each costs a locked instruction.
        let counters = [Counter::OfferOut, Counter::AckOut, Counter::NakOut, Counter::BootpOut];
        for (counter, count) in counters.into_iter().zip(sent).filter(|(_, count)| *count > 0) {
            self.slot.add(counter, count);
        }
        self.slot.observe_times(Histogram::DhcpResponse, took, sent.iter().sum());
        if !failed.is_empty() {
            let count = failed.len();
            self.slot.add(Counter::DropSendFailed, count as u64);
            self.slot.add(Counter::ErrorSend, count as u64);
            if self.may_complain(Complaint::Send) {
                event!(DhcpSendFailed, count = count; "replies could not be sent");
            }
        }
    }

    pub(super) fn parked(&self) {
        self.slot.count(Counter::Parked);
    }

    pub(super) fn probed(&self, method: ProbeMethod, ahead: bool) {
        self.slot.count(match (method, ahead) {
            (ProbeMethod::Arp(_), false) => Counter::ProbeArp,
            (ProbeMethod::Arp(_), true) => Counter::ProbeAheadArp,
            (ProbeMethod::Icmp, false) => Counter::ProbeIcmp,
            (ProbeMethod::Icmp, true) => Counter::ProbeAheadIcmp,
        });
    }

    /// Nobody answered for this many addresses.
    pub(super) fn silent(&self, count: usize) {
        self.slot.add(Counter::ProbeSilent, count as u64);
    }

    /// So many answers came, of which `harmless` were no conflict.
    pub(super) fn answered(&self, count: usize, harmless: usize) {
        self.slot.add(Counter::ProbeAnswered, count as u64);
        self.slot.add(Counter::ProbeHarmless, harmless as u64);
    }

    /// A host answers for so many addresses that it is not believed any more.
    pub(super) fn answers_for_all(&self, by: HardwareAddress) {
        self.slot.count(Counter::SecurityProxyArp);
        event!(DhcpProxyArp, mac = by; "{by} answers for many addresses; its answers to probes are not believed for ten minutes");
    }

    /// An address rests because somebody answered for it.
    pub(super) fn conflict(&self, found: Found, subnet: Option<SubnetId>, rest: Duration) {
        self.slot.count(Counter::LeaseConflict);
        let subnet = subnet.and_then(|id| self.config.dhcp.subnets.get(usize::from(id.0)));
        let subnet = subnet.map_or("", |subnet| subnet.name.as_str());
        let (address, secs) = (found.address, rest.as_secs());
        // ICMP does not tell who answers.
        let mac = found.by.unwrap_or_default();
        event!(DhcpAddressConflict, mac = mac, subnet = subnet, address = address, secs = secs;
            "{address} is used by a host that has no lease of it");
    }

    pub(super) fn committed(&self, took: Duration) {
        self.slot.observe_time(Histogram::DhcpCommit, took);
        self.figures.committed(boot_time());
    }

    pub(super) fn not_stored(&self) {
        self.slot.count(Counter::DropLeaseStore);
    }

    pub(super) fn store_failed(&mut self, error: &StoreError) {
        self.slot.count(Counter::ErrorStore);
        if self.may_complain(Complaint::Store) {
            event!(LeaseStoreFailed; "no lease is acknowledged until this is mended: {error}");
        }
    }

    pub(super) fn store_recovered(&mut self) {
        if self.complained.remove(&Complaint::Store).is_some() {
            event!(LeaseStoreRecovered; "leases are acknowledged again");
        }
    }

    pub(super) fn receive_failed(&mut self, interface: &str, error: &std::io::Error) {
        self.slot.count(Counter::ErrorReceive);
        if self.may_complain(Complaint::Receive) {
            log::warn!("could not receive on {interface}: {error}");
        }
    }

    pub(super) fn panicked(&self, from: impl Display) {
        self.slot.count(Counter::DropPanic);
        self.slot.count(Counter::ErrorPanic);
        event!(DhcpPacketPanicked, from = from; "a packet could not be handled; it was dropped");
    }

    fn tell(&mut self, event: &Event) {
        let (mac, xid) = (event.hardware, format_args!("{:#010x}", event.xid));
        let subnet = event.subnet.and_then(|subnet| self.config.dhcp.subnets.get(usize::from(subnet.0)));
        let subnet = subnet.map_or("", |subnet| subnet.name.as_str());
        let address = event.address.unwrap_or(Ipv4Addr::UNSPECIFIED);
        match event.what {
            What::Offered => {
                self.slot.count(Counter::LeaseOffered);
                event!(DhcpLeaseOffered, mac = mac, xid = xid, subnet = subnet; "offered {address}");
            }
            What::Informed => {
                event!(DhcpInformAnswered, mac = mac, xid = xid, subnet = subnet; "told {address} its options");
            }
            What::Granted { lease_secs } => {
                self.slot.count(Counter::LeaseGranted);
                event!(DhcpLeaseGranted, mac = mac, xid = xid, subnet = subnet, secs = lease_secs; "leased {address}");
            }
            What::Renewed { lease_secs } => {
                self.slot.count(Counter::LeaseRenewed);
                event!(DhcpLeaseRenewed, mac = mac, xid = xid, subnet = subnet, secs = lease_secs; "renewed {address}");
            }
            What::Released => {
                self.slot.count(Counter::LeaseReleased);
                event!(DhcpLeaseReleased, mac = mac, xid = xid, subnet = subnet; "released {address}");
            }
            What::Declined => {
                self.slot.count(Counter::LeaseDeclined);
                event!(DhcpLeaseDeclined, mac = mac, xid = xid, subnet = subnet; "declined {address}");
            }
            What::LeftOut => {
                let subnet = subnet.to_owned();
                if self.may_alarm(Complaint::Overload, b"overload") {
                    event!(DhcpOverloaded, mac = mac, xid = xid, subnet = subnet;
                        "more packets come than can be answered; clients that are not known are left out");
                }
            }
            What::Doubted => {
                self.slot.count(Counter::SecurityDoubted);
                let subnet = subnet.to_owned();
                let what = format!("declines in {subnet}");
                if self.may_alarm(Complaint::Doubted(event.subnet), what.as_bytes()) {
                    event!(DhcpDeclinesDoubted, mac = mac, xid = xid, subnet = subnet;
                        "so many addresses were declined that {address} does not rest as well");
                }
            }
            What::Nak(reason) => {
                event!(DhcpNakSent, mac = mac, xid = xid, subnet = subnet; "refused {address}: {}", reason.message());
            }
            // Counted and logged by its reason.
            What::Refused(refusal) => Self::refused(refusal, Some(event)),
            What::Exhausted => {
                let subnet = subnet.to_owned();
                if self.may_alarm(Complaint::Exhausted(event.subnet), subnet.as_bytes()) {
                    event!(DhcpPoolExhausted, mac = mac, xid = xid, subnet = subnet; "no address is left");
                }
            }
        }
    }

    /// Whether neither this worker nor, under the name `what`, another one has said so lately. Its own memory comes first:
    /// a flood of invented clients can push a word out of the shared one.
    fn may_alarm(&mut self, complaint: Complaint, what: &[u8]) -> bool {
        self.is_due(complaint, ALARM_EVERY) && self.shared.may_say(what, ALARM_EVERY, boot_time())
    }

    fn may_complain(&mut self, complaint: Complaint) -> bool {
        self.is_due(complaint, COMPLAIN_EVERY)
    }

    fn is_due(&mut self, complaint: Complaint, every: Duration) -> bool {
        let due = self.complained.get(&complaint).is_none_or(|last| last.elapsed() >= every);
        if due {
            self.complained.insert(complaint, Instant::now());
        }
        due
    }
}
