//! Writes packets: header, options in a given order, padding, all within the size that the other side takes.
//!
//! dhcproto writes the header and splits long options. It keeps options sorted by code and drops empty ones, so
//! the order and option 80 are seen to here. Called by the reply builder, and by `probe` for requests.

use std::net::Ipv4Addr;

use dhcproto::v4::{
    Decodable, Decoder, Encodable, Encoder, Flags, HType, Message, Opcode, OptionCode, encode_long_opt_bytes,
};

use super::code;
use super::hardware::HardwareAddress;

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
    /// In falling order of worth: where space runs out, the last ones go.
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
/// Code and length before each piece of up to 255 bytes.
const PIECE_BYTES: usize = 255;

/// How many bytes of UDP payload a client takes that sent this option 57.
///
/// RFC 2132 §9.10 calls it the length of a DHCP message and has 576 as its least legal value. That is the
/// figure of RFC 2131 §2, so it counts the whole IP datagram like it does. Smaller values are taken for 576.
pub fn payload_limit(max_message_bytes: Option<u16>) -> usize {
    let datagram = max_message_bytes.map_or(LEAST_DATAGRAM_BYTES, usize::from);
    datagram.clamp(LEAST_DATAGRAM_BYTES, MOST_DATAGRAM_BYTES) - LOWER_HEADER_BYTES
}

/// Writes a packet into `out`, which is emptied first. `limit_bytes` bounds the UDP payload; required options go
/// beyond it if they must. Returns how many wanted options found no space.
///
/// An option too large for what is left does not take those behind it along: they may still fit.
pub fn encode(
    header: &Header<'_>,
    options: &Options<'_>,
    limit_bytes: usize,
    out: &mut Vec<u8>,
) -> Result<usize, EncodeError> {
    out.clear();
    let mut encoder = Encoder::new(out);
    fixed(header)?.encode(&mut encoder).map_err(|_| EncodeError)?;
    for (code, data) in options.required {
        put(*code, data, &mut encoder)?;
    }
    // The seam for overload (RFC 2132 §9.3): what is left out here is what would move to `file` and `sname`.
    let mut omitted = 0;
    let reserved = 1 + options.relay.map_or(0, room);
    for (code, data) in options.wanted {
        if encoder.len_filled() + room(data) + reserved <= limit_bytes {
            put(*code, data, &mut encoder)?;
        } else {
            omitted += 1;
        }
    }
    if let Some(relay) = options.relay {
        put(code::RELAY_INFORMATION, relay, &mut encoder)?;
    }
    encoder.write_u8(OptionCode::End.into()).map_err(|_| EncodeError)?;
    if out.len() < LEAST_BYTES {
        out.resize(LEAST_BYTES, 0);
    }
    Ok(omitted)
}

/// Bytes that an option takes, its pieces counted (RFC 3396).
fn room(data: &[u8]) -> usize {
    data.len() + 2 * data.len().div_ceil(PIECE_BYTES).max(1)
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
