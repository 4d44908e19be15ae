//! One lease for people and programs, with all that is known of it: what `leases show` prints and what the control API hands
//! out. Nothing in it can harm whoever shows it: names from the network are clean text.

use schemars::JsonSchema;
use serde::Serialize;

use super::reader::{Recorded, colons, printable};
use super::types::{LeaseState, ShortBytes, Timestamp};
use super::when::Times;

/// A lease; the empty text stands for what is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LeaseView {
    /// The address, dotted.
    pub ip: String,
    /// Hardware address with colons.
    pub mac: String,
    /// Client-id, hex with colons.
    pub client_id: String,
    /// Host name; what is not printable is written `\xNN`.
    pub hostname: String,
    /// Name of the subnet.
    pub subnet: String,
    /// Name of the pool; empty outside of all pools.
    pub pool: String,
    /// `active`, `expired`, `released`, `declined`, `conflict`.
    pub state: String,
    /// Since when.
    pub starts: String,
    /// Until when, or when it ended; `never`.
    pub expires: String,
    /// How long it lasts still; none for what has ended or never ends.
    pub time_left_secs: Option<u64>,
    /// The relay that it came through.
    pub relay: String,
    /// Circuit-id: text where all of it is, else hex with colons.
    pub circuit_id: String,
    /// Remote-id, likewise.
    pub remote_id: String,
    /// Vendor class, written like the host name.
    pub vendor_class: String,
    /// How often in a row the address was declined.
    pub declines: u8,
}

impl LeaseView {
    /// Of a lease; `time` is [`Times::local`] or [`Times::utc`].
    pub fn new(recorded: &Recorded, times: Times, time: fn(Times, Timestamp) -> String) -> Self {
        let lease = &recorded.lease;
        let client = &lease.client;
        let text = |bytes: &Option<ShortBytes>| bytes.as_deref().map(printable).unwrap_or_default();
        Self {
            ip: lease.address.to_string(),
            mac: client.hardware.to_string(),
            client_id: client.client_id.as_deref().map(colons).unwrap_or_default(),
            hostname: text(&client.hostname),
            subnet: lease.subnet.to_string(),
            pool: lease.pool.to_string(),
            state: lease.state_at(times.now).name().to_owned(),
            starts: time(times, lease.starts),
            expires: time(times, lease.expires),
            time_left_secs: left_secs(recorded, times),
            relay: client.relay.map(|relay| relay.to_string()).unwrap_or_default(),
            circuit_id: text_or_hex(client.circuit_id.as_deref()),
            remote_id: text_or_hex(client.remote_id.as_deref()),
            vendor_class: text(&client.vendor_class),
            declines: recorded.declines,
        }
    }
}

fn left_secs(recorded: &Recorded, times: Times) -> Option<u64> {
    let lease = &recorded.lease;
    match lease.state_at(times.now) {
        LeaseState::Active | LeaseState::Declined | LeaseState::Conflict => {
            times.wall(lease.expires)?;
            Some(lease.expires.0.saturating_sub(times.now.0))
        }
        LeaseState::Expired | LeaseState::Released => None,
    }
}

/// Relays put text or numbers into their sub-options, as they like.
fn text_or_hex(bytes: Option<&[u8]>) -> String {
    let Some(bytes) = bytes else { return String::new() };
    let text = !bytes.is_empty() && bytes.iter().all(|byte| matches!(byte, b' '..=b'~'));
    if text { String::from_utf8_lossy(bytes).into_owned() } else { colons(bytes) }
}

#[cfg(test)]
mod tests {
    use super::text_or_hex;

    #[test]
    fn circuit_is_shown_as_text_where_it_is_text() {
        assert_eq!(text_or_hex(Some(b"eth0/1 vlan 7")), "eth0/1 vlan 7");
        assert_eq!(text_or_hex(Some(b"\0\x04ab")), "00:04:61:62");
        assert_eq!(text_or_hex(None), "");
    }
}
