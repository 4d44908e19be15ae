//! Writes packets: header, options in a given order, padding, all within the size that the other side takes. What the
//! options field cannot hold goes to `file` and `sname` where these are free (RFC 2132 §9.3).
//!
//! dhcproto writes the header and splits long options. It keeps options sorted by code and drops empty ones, so
//! the order and option 80 are seen to here. Called by the reply builder, and by `probe` for requests.

use std::net::Ipv4Addr;

use dhcproto::v4::{
    Decodable, Decoder, Encodable, Encoder, Flags, HType, Message, Opcode, OptionCode, encode_long_opt_bytes,
};

use super::code;
use super::hardware::HardwareAddress;
use super::room::{Field, Plan, Room, size};
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

/// Why nothing was written. dhcproto's encoder fails only on fields that are too long, which are cut before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("could not encode the packet")]
pub struct EncodeError;

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
const MOST_PAYLOAD_BYTES: usize = MOST_DATAGRAM_BYTES - LOWER_HEADER_BYTES;
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
    out.clear();
    let plan = Plan::new(options.wanted, room(header, options, limit_bytes));
    let mut encoder = Encoder::new(out);
    fixed(header)?.encode(&mut encoder).map_err(|_| EncodeError)?;
    for (code, data) in options.required {
        put(*code, data, &mut encoder)?;
    }
    if let Some(value) = plan.overload() {
        put(code::OVERLOAD, &[value], &mut encoder)?;
    }
    for (code, data) in placed(options.wanted, &plan, Field::Options) {
        put(code, data, &mut encoder)?;
    }
    if let Some(relay) = options.relay {
        put(code::RELAY_INFORMATION, relay, &mut encoder)?;
    }
    encoder.write_u8(OptionCode::End.into()).map_err(|_| EncodeError)?;
    if out.len() < LEAST_BYTES {
        out.resize(LEAST_BYTES, 0);
    }
    for (field, range) in [(Field::File, FILE), (Field::Sname, SNAME)] {
        overload(placed(options.wanted, &plan, field), out.get_mut(range).unwrap_or_default());
    }
    Ok(plan.omitted())
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

fn put(code: u8, data: &[u8], encoder: &mut Encoder<'_>) -> Result<(), EncodeError> {
    if data.is_empty() {
        // dhcproto writes nothing at all for an option without bytes.
        return encoder.write([code, 0]).map_err(|_| EncodeError);
    }
    encode_long_opt_bytes(OptionCode::from(code), data, encoder).map_err(|_| EncodeError)
}

fn fixed(header: &Header<'_>) -> Result<Message, EncodeError> {
    // Decoded from zeros: the constructors draw a random xid, and a worker needs no random source here.
    let mut message = Message::decode(&mut Decoder::new(&BLANK)).map_err(|_| EncodeError)?;
    message
        .set_opcode(match header.op {
            Op::Request => Opcode::BootRequest,
            Op::Reply => Opcode::BootReply,
        })
        .set_htype(HType::from(header.hardware.kind()))
        .set_chaddr(header.hardware.bytes())
        .set_xid(header.xid)
        .set_secs(header.secs)
        .set_flags(Flags::new(header.flags))
        .set_ciaddr(header.ciaddr)
        .set_yiaddr(header.yiaddr)
        .set_siaddr(header.siaddr)
        .set_giaddr(header.giaddr);
    // The setters panic above 64 and 128 bytes; the last byte stays NUL.
    if let Some(name) = cut(header.server_name, 63) {
        message.set_sname(name);
    }
    if let Some(file) = cut(header.boot_file, 127) {
        message.set_fname(file);
    }
    Ok(message)
}

fn cut(bytes: &[u8], most: usize) -> Option<&[u8]> {
    bytes.get(..bytes.len().min(most)).filter(|bytes| !bytes.is_empty())
}

/// An empty packet with its cookie.
static BLANK: [u8; 240] = {
    let mut blank = [0; 240];
    blank[236] = 99;
    blank[237] = 130;
    blank[238] = 83;
    blank[239] = 99;
    blank
};

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
