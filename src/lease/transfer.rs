//! One lease as columns of text, and back without a loss: what export writes and import reads, as CSV or JSON. It knows
//! no file format and no lease file.
//!
//! Identifiers are hex with colons; host names and vendor classes are text in which every byte that is not printable, the
//! backslash itself and a first character that a spreadsheet takes for a formula are written `\xNN`. An empty cell
//! says that there is none; `:` in hex and a lone backslash in text, that it is there and empty.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::config::model::IdentifyBy;

use super::reader::{Recorded, colons};
use super::rows::clean;
use super::types::{Client, ClientKey, HardwareAddress, Lease, LeaseState, ShortBytes, Timestamp};
use super::when::{self, NEVER, Times};

/// The columns, in the order of the export. Only `ip`, `expires` and one of `mac` and `client_id` must be there.
pub const COLUMNS: [&str; 16] = [
    "ip",
    "mac",
    "client_id",
    "hostname",
    "subnet",
    "pool",
    "state",
    "starts",
    "expires",
    "hw_type",
    "client",
    "relay",
    "circuit_id",
    "remote_id",
    "vendor_class",
    "declines",
];

/// The text of each column; empty: none.
pub type Cells = [String; COLUMNS.len()];

/// Longest field of a client in bytes; the cache keeps no longer ones.
const LONGEST_FIELD: usize = 65_000;

/// `9999-12-31T23:59:59Z`: later times cannot be written with four digits for the year.
const LAST_SECOND: i64 = 253_402_300_799;

/// A field that is there and empty.
const EMPTY_HEX: &str = ":";
const EMPTY_TEXT: &str = "\\";

/// What is wrong with the text of a lease.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// A column that must be there is empty.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// There is a lease, but nobody who holds it.
    #[error("neither mac nor client_id says who holds it")]
    Nobody,
    /// A cell cannot be read.
    #[error("{column} \"{value}\" is not {wanted}")]
    Bad {
        /// The column.
        column: &'static str,
        /// Its text, clean and cut.
        value: String,
        /// What would be.
        wanted: &'static str,
    },
    /// The times contradict each other or the state.
    #[error("{0}")]
    Times(&'static str),
}

/// A lease as text.
pub fn write(recorded: &Recorded, times: Times) -> Cells {
    let Recorded { lease, declines } = recorded;
    let client = &lease.client;
    let hex = |bytes: &Option<ShortBytes>| or_empty(bytes.as_deref(), EMPTY_HEX, colons);
    let text = |bytes: &Option<ShortBytes>| or_empty(bytes.as_deref(), EMPTY_TEXT, shown);
    let nobody = client.key.as_bytes().is_empty();
    [
        lease.address.to_string(),
        client.hardware.to_string(),
        hex(&client.client_id),
        text(&client.hostname),
        lease.subnet.to_string(),
        lease.pool.to_string(),
        lease.state_at(times.now).name().to_owned(),
        times.utc(lease.starts),
        times.utc(lease.expires),
        if nobody { String::new() } else { client.hardware.kind().to_string() },
        colons(client.key.as_bytes()),
        client.relay.map(|relay| relay.to_string()).unwrap_or_default(),
        hex(&client.circuit_id),
        hex(&client.remote_id),
        text(&client.vendor_class),
        declines.to_string(),
    ]
}

/// Whether the text does not say since when the lease is held; then [`read`] takes the present.
pub fn is_undated(cells: &Cells) -> bool {
    let [_, _, _, _, _, _, _, starts, ..] = cells;
    starts.trim().is_empty()
}

/// A lease from text. Who holds it is told by `identify_by` where the column `client` does not say.
pub fn read(
    cells: &Cells,
    times: Times,
    identify_by: &dyn Fn(Ipv4Addr) -> IdentifyBy,
) -> Result<Recorded, TransferError> {
    let [
        ip,
        mac,
        client_id,
        hostname,
        subnet,
        pool,
        state,
        starts,
        expires,
        hw_type,
        key,
        relay,
        circuit_id,
        remote_id,
        vendor_class,
        declines,
    ] = cells;
    let address = parsed("ip", ip, "an IPv4 address")?.ok_or(TransferError::Missing("ip"))?;
    let kind = parsed("hw_type", hw_type, "a number from 0 to 255")?;
    let mac = hex("mac", mac)?;
    // Where only the client-id is known there is no hardware address; 1 is Ethernet (RFC 1700).
    let kind = kind.unwrap_or(u8::from(mac.is_some()));
    let hardware = HardwareAddress::new(kind, mac.as_deref().unwrap_or_default());
    let hardware = hardware.ok_or_else(|| bad("mac", &cells[1], "at most 16 bytes"))?;
    let mut client = Client {
        key: ClientKey::from_bytes(&hex("client", key)?.unwrap_or_default()),
        hardware,
        client_id: hex("client_id", client_id)?,
        hostname: unescaped("hostname", hostname)?,
        relay: parsed("relay", relay, "an IPv4 address")?,
        circuit_id: hex("circuit_id", circuit_id)?,
        remote_id: hex("remote_id", remote_id)?,
        vendor_class: unescaped("vendor_class", vendor_class)?,
    };
    if client.key.as_bytes().is_empty() {
        client.key = client.identity(identify_by(address)).unwrap_or_else(|| ClientKey::from_bytes(&[]));
    }
    let expires = time("expires", expires, times)?.ok_or(TransferError::Missing("expires"))?;
    let starts = time("starts", starts, times)?.unwrap_or_else(|| times.now.min(expires));
    let said = match state.trim() {
        "" => None,
        name => Some(
            LeaseState::from_name(name)
                .ok_or_else(|| bad("state", name, "one of active, expired, released, declined, conflict"))?,
        ),
    };
    let lease = Lease {
        address,
        client,
        subnet: subnet.trim().into(),
        pool: pool.trim().into(),
        state: said.unwrap_or(LeaseState::Active),
        starts,
        expires,
    };
    let lease = Lease { state: lease.state_at(times.now), ..lease };
    check(&lease, times)?;
    let declines = parsed("declines", declines, "a number from 0 to 255")?.unwrap_or(0);
    Ok(Recorded { lease, declines })
}

/// A lease without a client is one that nobody remembers, or the rest after a conflict that the server itself found.
fn check(lease: &Lease, times: Times) -> Result<(), TransferError> {
    let error = |reason| Err(TransferError::Times(reason));
    if lease.client.key.as_bytes().is_empty() && lease.state == LeaseState::Active {
        // Where clients are told apart by hardware address, a client-id alone identifies nobody.
        let known = lease.client.client_id.is_some();
        return Err(if known { TransferError::Missing("mac") } else { TransferError::Nobody });
    }
    if lease.starts > times.now {
        return error("starts lies in the future");
    }
    if lease.expires < lease.starts {
        return error("expires lies before starts");
    }
    match lease.state {
        LeaseState::Expired | LeaseState::Released if lease.expires > times.now => {
            error("the lease has ended, yet expires lies in the future")
        }
        LeaseState::Declined | LeaseState::Conflict if lease.expires == Timestamp::NEVER => {
            error("a rest must have an end")
        }
        LeaseState::Active
        | LeaseState::Expired
        | LeaseState::Released
        | LeaseState::Declined
        | LeaseState::Conflict => Ok(()),
    }
}

fn or_empty(bytes: Option<&[u8]>, empty: &str, write: fn(&[u8]) -> String) -> String {
    match bytes {
        None => String::new(),
        Some([]) => empty.to_owned(),
        Some(bytes) => write(bytes),
    }
}

fn bad(column: &'static str, value: &str, wanted: &'static str) -> TransferError {
    const SHOWN: usize = 60;
    let cut = value.char_indices().nth(SHOWN).map(|(end, _)| end);
    let value = cut.and_then(|end| value.get(..end)).map_or_else(
        || clean(value.as_bytes()).into_owned(),
        |start| format!("{}…", clean(start.as_bytes())),
    );
    TransferError::Bad { column, value, wanted }
}

fn parsed<T: std::str::FromStr>(
    column: &'static str,
    text: &str,
    wanted: &'static str,
) -> Result<Option<T>, TransferError> {
    match text.trim() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| bad(column, text, wanted)),
    }
}

fn time(column: &'static str, text: &str, times: Times) -> Result<Option<Timestamp>, TransferError> {
    match text.trim() {
        "" => Ok(None),
        NEVER => Ok(Some(Timestamp::NEVER)),
        text => {
            let wall = when::parse(text).filter(|wall| (0..=LAST_SECOND).contains(wall));
            let wall =
                wall.ok_or_else(|| bad(column, text, "a time such as 2026-11-01T12:00:00Z, or never"))?;
            Ok(Some(times.at(wall)))
        }
    }
}

/// Bytes in hex: with colons or dashes between them, or without anything.
fn hex(column: &'static str, text: &str) -> Result<Option<ShortBytes>, TransferError> {
    let text = text.trim();
    match text {
        "" => return Ok(None),
        EMPTY_HEX => return Ok(Some(ShortBytes::default())),
        _ => {}
    }
    let byte = |digits: &str| {
        let plain = matches!(digits.len(), 1 | 2) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        plain.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
    };
    let bytes: Option<Vec<u8>> = if text.contains([':', '-']) {
        text.split([':', '-']).map(byte).collect()
    } else {
        let whole = text.len().is_multiple_of(2);
        (0..text.len()).step_by(2).map(|at| text.get(at..at + 2).filter(|_| whole).and_then(byte)).collect()
    };
    let bytes = bytes.ok_or_else(|| bad(column, text, "hex such as 00:11:22"))?;
    short(column, text, bytes).map(Some)
}

/// Text in which `\xNN` stands for a byte.
fn unescaped(column: &'static str, text: &str) -> Result<Option<ShortBytes>, TransferError> {
    match text {
        "" => return Ok(None),
        EMPTY_TEXT => return Ok(Some(ShortBytes::default())),
        _ => {}
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        let digits = after.strip_prefix('x').and_then(|after| after.split_at_checked(2));
        let byte = digits.and_then(|(digits, after)| {
            let plain = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            plain.then(|| u8::from_str_radix(digits, 16).ok()).flatten().map(|byte| (byte, after))
        });
        let (byte, after) =
            byte.ok_or_else(|| bad(column, text, "text with \\xNN for a byte (\\x5c for a backslash)"))?;
        bytes.push(byte);
        rest = after;
    }
    bytes.extend_from_slice(rest.as_bytes());
    short(column, text, bytes).map(Some)
}

fn short(column: &'static str, text: &str, bytes: Vec<u8>) -> Result<ShortBytes, TransferError> {
    if bytes.len() > LONGEST_FIELD {
        Err(bad(column, text, "at most 65,000 bytes"))
    } else {
        Ok(bytes.into())
    }
}

/// Clean text; names come from the network, and a spreadsheet runs what looks like a formula.
fn shown(bytes: &[u8]) -> String {
    let text = clean(bytes);
    match text.strip_prefix(['=', '+', '-', '@']) {
        Some(rest) => {
            let mut safe = String::with_capacity(text.len() + 3);
            // Writing to a string cannot fail.
            let _ = write!(safe, "\\x{:02x}{rest}", text.as_bytes().first().copied().unwrap_or_default());
            safe
        }
        None => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIMES: Times = Times { now: Timestamp(2_000_000_000), skew_secs: 12 };

    fn cells(set: &[(&str, &str)]) -> Cells {
        let mut cells = Cells::default();
        for (column, text) in set {
            let place = COLUMNS.iter().position(|name| name == column).unwrap();
            (*text).clone_into(&mut cells[place]);
        }
        cells
    }

    fn lease(set: &[(&str, &str)]) -> Result<Lease, String> {
        let read = read(&cells(set), TIMES, &|_| IdentifyBy::ClientId);
        read.map(|recorded| recorded.lease).map_err(|error| error.to_string())
    }

    #[test]
    fn address_holder_and_end_are_enough() {
        let lease = lease(&[("ip", "10.0.0.5"), ("mac", "00-11-22-AA-BB-0c"), ("expires", "never")]).unwrap();
        assert_eq!(lease.client.hardware.to_string(), "00:11:22:aa:bb:0c");
        assert_eq!(lease.client.key, ClientKey::by_hardware(&lease.client.hardware));
        assert_eq!(
            (lease.state, lease.starts, lease.expires),
            (LeaseState::Active, TIMES.now, Timestamp::NEVER)
        );
    }

    #[test]
    fn lease_whose_end_is_past_has_expired() {
        let lease =
            lease(&[("ip", "10.0.0.5"), ("client_id", "01ff"), ("expires", "2020-01-01T00:00:00Z")]).unwrap();
        assert_eq!(lease.state, LeaseState::Expired);
        assert_eq!(lease.client.key, ClientKey::by_client_id(&[1, 255]));
    }

    #[test]
    fn holder_is_identified_as_the_server_would() {
        let by = |by: IdentifyBy, set: &[(&str, &str)]| {
            let all = [&[("ip", "10.0.0.5"), ("client_id", "01ff"), ("expires", "never")], set].concat();
            read(&cells(&all), TIMES, &|_| by).map(|recorded| recorded.lease.client.key)
        };
        assert_eq!(by(IdentifyBy::Mac, &[]), Err(TransferError::Missing("mac")));
        let hardware = HardwareAddress::new(1, &[0, 1]).unwrap();
        assert_eq!(by(IdentifyBy::Mac, &[("mac", "00:01")]), Ok(ClientKey::by_hardware(&hardware)));
        assert_eq!(by(IdentifyBy::CircuitId, &[]), Ok(ClientKey::by_client_id(&[1, 255])));
        let circuit = ClientKey::by_circuit(None, b"x", None);
        assert_eq!(by(IdentifyBy::CircuitId, &[("circuit_id", "78")]), Ok(circuit));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let whole = [("ip", "10.0.0.5"), ("mac", "00:11:22:33:44:55"), ("expires", "2040-01-01T00:00:00Z")];
        assert!(lease(&whole).is_ok());
        for (change, said) in [
            (("ip", ""), "ip is missing"),
            (("ip", "10.0.0.256"), "ip \"10.0.0.256\" is not an IPv4 address"),
            (("mac", ""), "neither mac nor client_id"),
            (("mac", "00:1g"), "mac \"00:1g\" is not hex"),
            (("mac", "001"), "is not hex"),
            (("mac", "é1"), "is not hex"),
            (("mac", "00112233445566778899aabbccddeeff00"), "at most 16 bytes"),
            (("expires", ""), "expires is missing"),
            (("expires", "soon"), "expires \"soon\" is not a time"),
            (("expires", "+12026-01-01T00:00:00Z"), "is not a time"),
            (("starts", "2035-01-01T00:00:00Z"), "starts lies in the future"),
            (("state", "released"), "expires lies in the future"),
            (("state", "gone"), "state \"gone\" is not one of"),
            (("hostname", "a\\b"), "text with \\xNN"),
            (("hostname", "a\\x+1"), "text with \\xNN"),
            (("declines", "-1"), "declines \"-1\" is not a number"),
            (("hw_type", "300"), "hw_type \"300\""),
            (("relay", "x\u{1b}[2J"), "relay \"x\\x1b[2J\""),
        ] {
            let mut set = whole.to_vec();
            set.push(change);
            let error = lease(&set).unwrap_err();
            assert!(error.contains(said), "{change:?}: {error}");
        }
        let ends_first =
            [("ip", "10.0.0.5"), ("mac", "00:11"), ("starts", "2020-01-02"), ("expires", "2020-01-01")];
        assert!(lease(&ends_first).unwrap_err().contains("before starts"));
    }

    #[test]
    fn what_a_spreadsheet_would_run_is_disarmed() {
        assert_eq!([shown(b"=1+1"), shown(b"-a"), shown(b"a=")], ["\\x3d1+1", "\\x2da", "a="]);
    }

    fn bytes() -> impl Strategy<Value = Option<ShortBytes>> {
        prop::option::of(prop::collection::vec(any::<u8>(), 0..80).prop_map(Into::into))
    }

    proptest! {
        #[test]
        fn any_lease_is_read_back_as_it_was_written(
            address in any::<u32>(), key in prop::collection::vec(any::<u8>(), 1..40), kind in any::<u8>(),
            mac in prop::collection::vec(any::<u8>(), 0..17), id in bytes(), host in bytes(), vendor in bytes(),
            circuit in bytes(), remote in bytes(), relay in prop::option::of(any::<u32>()), declines in any::<u8>(),
            lasts in prop::option::of(0_u64..100_000), number in 0_i64..5,
        ) {
            let state = LeaseState::from_number(number).unwrap();
            let ended = matches!(state, LeaseState::Expired | LeaseState::Released);
            let expires = match lasts {
                Some(secs) if ended => Timestamp(TIMES.now.0 - secs),
                Some(secs) => Timestamp(TIMES.now.0 + secs),
                None if state == LeaseState::Active => Timestamp::NEVER,
                None => TIMES.now,
            };
            let client = Client {
                key: ClientKey::from_bytes(&key), hardware: HardwareAddress::new(kind, &mac).unwrap(), client_id: id,
                hostname: host, relay: relay.map(Ipv4Addr::from), circuit_id: circuit, remote_id: remote,
                vendor_class: vendor,
            };
            let starts = Timestamp(1_900_000_000);
            let lease = Lease {
                address: address.into(), client, subnet: "lan".into(), pool: "main".into(), state, starts, expires,
            };
            let recorded = Recorded { lease, declines };
            let text = write(&recorded, TIMES);
            prop_assert_eq!(read(&text, TIMES, &|_| IdentifyBy::ClientId).unwrap(), recorded);
            prop_assert!(text.iter().all(|cell| !cell.contains(char::is_control)));
        }

        #[test]
        fn no_text_makes_it_panic(cells in prop::collection::vec(".{0,40}", 16)) {
            let cells: Cells = cells.try_into().unwrap();
            let _ = read(&cells, TIMES, &|_| IdentifyBy::Mac);
        }
    }
}
