//! Writes packets: header, options in a given order, padding, all within the size that the other side takes. What the
//! options field cannot hold goes to `file` and `sname` where these are free (RFC 2132 §9.3).
//!
//! dhcproto would sort the options by code, drop empty ones, and take some 8,000 instructions for a reply, more than all the
//! rest of a packet's way (docs/decisions/users-crates.md): so the bytes are laid down here. The tests read them with it.
//! Called by the reply builder, and by `probe` for requests.
//!
//! ```text
//!  0    1     2    3    4   8    10    12     16     20     24     28     44    108  236    240
//! | op |htype|hlen|hops|xid|secs|flags|ciaddr|yiaddr|siaddr|giaddr|chaddr|sname|file|cookie|options … 255|
//! ```

use std::net::Ipv4Addr;

use dhcproto::v4::MAGIC;

use super::code;
use super::hardware::HardwareAddress;
use super::room::{Field, PIECE_BYTES, Plan, Room, size};
use super::walk;

/// `op` (RFC 2131 table 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// 1, from a client.
    Request,
    /// 2, from a server.
    Reply,
}

/// The fixed fields. `hops` is always 0: table 3 has a server set it so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Direction.
    pub op: Op,
    /// Transaction identifier.
    pub xid: u32,
    /// Seconds since the client began; 0 in replies.
    pub secs: u16,
    /// The flags field whole.
    pub flags: u16,
    /// The client's address.
    pub ciaddr: Ipv4Addr,
    /// The address given.
    pub yiaddr: Ipv4Addr,
    /// The next server of the boot process.
    pub siaddr: Ipv4Addr,
    /// The relay.
    pub giaddr: Ipv4Addr,
    /// `htype`, `hlen`, `chaddr`.
    pub hardware: HardwareAddress,
    /// `sname`, cut at 63 bytes so that a NUL ends it.
    pub server_name: &'a [u8],
    /// `file`, cut at 127 bytes likewise.
    pub boot_file: &'a [u8],
}

/// The options of a packet in the order in which they are written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// Without these the message is not what it claims to be: never left out.
    pub required: &'a [(u8, &'a [u8])],
    /// In falling order of worth: where space runs out, the last ones move to `file` and `sname`, then go.
    pub wanted: &'a [(u8, &'a [u8])],
    /// Option 82, echoed whole and last (RFC 3046 §2.2): never left out.
    pub relay: Option<&'a [u8]>,
}

/// Why a packet must not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a packet of {0} bytes fits no datagram")]
pub struct EncodeError(pub usize);

/// What fits a UDP datagram: 65,535 bytes less the headers (RFC 768, RFC 791).
const DATAGRAM_BYTES: usize = 65_535 - LOWER_HEADER_BYTES;

/// The least that a BOOTP receiver may insist on (RFC 951 §3: a packet is 300 bytes; RFC 1542 §2.1).
pub const LEAST_BYTES: usize = 300;
/// IPv4 header without options and UDP header.
const LOWER_HEADER_BYTES: usize = 20 + 8;
/// What every client takes: RFC 2131 §2 derives "a message of up to 576 octets, the minimum IP datagram size"
/// from an options field of 312. 236 + 312 + 28 = 576, so the 576 count the IP and UDP headers.
const LEAST_DATAGRAM_BYTES: usize = 576;
/// What a reply may at most be on Ethernet: raw frames cannot be fragmented, and boot ROMs reassemble nothing.
const MOST_DATAGRAM_BYTES: usize = 1500;
/// Likewise, without the IP and UDP headers.
pub const MOST_PAYLOAD_BYTES: usize = MOST_DATAGRAM_BYTES - LOWER_HEADER_BYTES;
/// Header and cookie (RFC 2131 figure 1).
const FIXED_BYTES: usize = 240;
/// `sname` and `file` in the header (RFC 2131 figure 1).
const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;
/// The end option is one byte, in each field that holds options (RFC 2131 §4.1).
const END_BYTES: usize = 1;

/// How many bytes of UDP payload a client takes that sent this option 57.
///
/// RFC 2132 §9.10 calls it the length of a DHCP message and has 576 as its least legal value. That is the
/// figure of RFC 2131 §2, so it counts the whole IP datagram like it does. Smaller values are taken for 576.
pub fn payload_limit(max_message_bytes: Option<u16>) -> usize {
    let datagram = max_message_bytes.map_or(LEAST_DATAGRAM_BYTES, usize::from);
    datagram.clamp(LEAST_DATAGRAM_BYTES, MOST_DATAGRAM_BYTES) - LOWER_HEADER_BYTES
}

/// Writes a packet into `out`, which is emptied first. `limit_bytes` bounds the UDP payload without relay
/// information; required options go beyond it if they must. Returns how many wanted options found no space.
///
/// `sname` and `file` are overloaded only where the header leaves them empty: the way to the boot file is worth more
/// than lesser options. A message without option 53 is BOOTP, whose clients know no overload.
pub fn encode(
    header: &Header<'_>,
    options: &Options<'_>,
    limit_bytes: usize,
    out: &mut Vec<u8>,
) -> Result<usize, EncodeError> {
    let plan = Plan::new(options.wanted, room(header, options, limit_bytes));
    begin(header, options.required, out);
    if let Some(value) = plan.overload() {
        put(code::OVERLOAD, &[value], out);
    }
    for (place, (code, data)) in options.wanted.iter().enumerate() {
        if plan.field(place) == Some(Field::Options) {
            put(*code, data, out);
        }
    }
    end(options.relay, out)?;
    if plan.overload().is_none() {
        return Ok(plan.omitted());
    }
    for (field, range) in [(Field::File, FILE), (Field::Sname, SNAME)] {
        overload(placed(options.wanted, &plan, field), out.get_mut(range).unwrap_or_default());
    }
    Ok(plan.omitted())
}

/// The same with wanted options that were laid down by [`put`] before. False where the options field cannot hold them:
/// then nothing was written, and `encode` finds other places for them.
pub fn encode_ready(
    header: &Header<'_>,
    options: &Options<'_>,
    ready: &[u8],
    limit_bytes: usize,
    out: &mut Vec<u8>,
) -> Result<bool, EncodeError> {
    if ready.len() > room(header, options, limit_bytes).options {
        return Ok(false);
    }
    begin(header, options.required, out);
    out.extend_from_slice(ready);
    end(options.relay, out)?;
    Ok(true)
}

fn begin(header: &Header<'_>, required: &[(u8, &[u8])], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&fixed(header));
    for (code, data) in required {
        put(*code, data, out);
    }
}

fn end(relay: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if let Some(relay) = relay {
        put(code::RELAY_INFORMATION, relay, out);
    }
    out.push(walk::END);
    if out.len() > DATAGRAM_BYTES {
        return Err(EncodeError(out.len()));
    }
    if out.len() < LEAST_BYTES {
        out.resize(LEAST_BYTES, 0);
    }
    Ok(())
}

/// What is left for the wanted options, field by field.
fn room(header: &Header<'_>, options: &Options<'_>, limit_bytes: usize) -> Room {
    let required: usize = options.required.iter().map(|(_, data)| size(data)).sum();
    let taken = FIXED_BYTES + required + END_BYTES;
    // The relay takes its option off before the client sees the message, so only the frame bounds both together.
    let relay = options.relay.map_or(0, size);
    let total = limit_bytes.saturating_add(relay).min(limit_bytes.max(MOST_PAYLOAD_BYTES));
    let dhcp = options.required.iter().any(|(code, _)| *code == code::MESSAGE_TYPE);
    let free = |field: std::ops::Range<usize>, used: &[u8]| {
        if dhcp && used.is_empty() { field.len() - END_BYTES } else { 0 }
    };
    Room {
        options: total.saturating_sub(relay + taken),
        file: free(FILE, header.boot_file),
        sname: free(SNAME, header.server_name),
    }
}

fn placed<'a>(
    wanted: &'a [(u8, &'a [u8])],
    plan: &'a Plan,
    field: Field,
) -> impl Iterator<Item = (u8, &'a [u8])> {
    let here = move |(place, _): &(usize, _)| plan.field(*place) == Some(field);
    wanted.iter().enumerate().filter(here).map(|(_, option)| *option)
}

/// RFC 2131 §4.1: options begin with the first byte of the field, an end option closes them, the rest is padding.
fn overload<'a>(options: impl Iterator<Item = (u8, &'a [u8])>, field: &mut [u8]) {
    let mut bytes = options.flat_map(|(code, data)| {
        // The plan lets nothing in here that is longer than the field.
        [code, u8::try_from(data.len()).unwrap_or(0)].into_iter().chain(data.iter().copied())
    });
    let Some(first) = bytes.next() else { return };
    for (to, from) in field.iter_mut().zip(std::iter::once(first).chain(bytes).chain([walk::END])) {
        *to = from;
    }
}

/// Appends an option. A long one goes in pieces (RFC 3396 §4), an empty one as its code and a zero.
pub fn put(code: u8, data: &[u8], out: &mut Vec<u8>) {
    let (mut piece, mut rest) = data.split_at(data.len().min(PIECE_BYTES));
    loop {
        // A piece has 255 bytes at most.
        out.extend_from_slice(&[code, u8::try_from(piece.len()).unwrap_or(u8::MAX)]);
        out.extend_from_slice(piece);
        if rest.is_empty() {
            return;
        }
        (piece, rest) = rest.split_at(rest.len().min(PIECE_BYTES));
    }
}

/// The header and the cookie.
fn fixed(header: &Header<'_>) -> [u8; FIXED_BYTES] {
    let mut bytes = [0; FIXED_BYTES];
    let chaddr = header.hardware.bytes();
    bytes[0] = match header.op {
        Op::Request => 1,
        Op::Reply => 2,
    };
    bytes[1] = header.hardware.kind();
    // At most 16, by construction.
    bytes[2] = u8::try_from(chaddr.len()).unwrap_or(0);
    bytes[4..8].copy_from_slice(&header.xid.to_be_bytes());
    bytes[8..10].copy_from_slice(&header.secs.to_be_bytes());
    bytes[10..12].copy_from_slice(&header.flags.to_be_bytes());
    bytes[12..16].copy_from_slice(&header.ciaddr.octets());
    bytes[16..20].copy_from_slice(&header.yiaddr.octets());
    bytes[20..24].copy_from_slice(&header.siaddr.octets());
    bytes[24..28].copy_from_slice(&header.giaddr.octets());
    lay(&mut bytes[28..44], chaddr, 16);
    // The last byte of a name stays NUL.
    lay(&mut bytes[SNAME], header.server_name, 63);
    lay(&mut bytes[FILE], header.boot_file, 127);
    bytes[236..].copy_from_slice(&MAGIC);
    bytes
}

/// Lays at most `most` bytes at the beginning of a field.
fn lay(field: &mut [u8], bytes: &[u8], most: usize) {
    let length = bytes.len().min(most).min(field.len());
    if let (Some(to), Some(from)) = (field.get_mut(..length), bytes.get(..length)) {
        to.copy_from_slice(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_counts_the_ip_and_udp_headers_and_stays_within_ethernet() {
        assert_eq!(payload_limit(None), 548);
        assert_eq!(payload_limit(Some(0)), 548);
        assert_eq!(payload_limit(Some(576)), 548);
        assert_eq!(payload_limit(Some(1000)), 972);
        assert_eq!(payload_limit(Some(65535)), 1472);
    }
}
