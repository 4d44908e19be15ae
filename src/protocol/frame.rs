//! IPv4 and UDP headers around a payload, for the raw socket that reaches clients without an address.
//!
//! ```text
//!  0               1               2               3
//! | 4 | 5 |   0   |       total length            |   RFC 791 §3.1
//! |       0       |       |DF|        0           |
//! |  TTL  |  17   |       header checksum         |
//! |              source address                   |
//! |            destination address                |
//! |  source port  |     destination port          |   RFC 768
//! |     length    |        checksum               |
//! ```
//! Called by the DHCP worker; the Ethernet header is the socket's business.

use std::net::SocketAddrV4;

const IP_BYTES: usize = 20;
const UDP_BYTES: usize = 8;
const TTL: u8 = 64;
const UDP: u8 = 17;
/// A datagram that is never fragmented needs no identification (RFC 6864 §4.1).
const DONT_FRAGMENT: u16 = 0x4000;

/// The payload does not fit an IPv4 datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("payload of {0} bytes does not fit an IPv4 datagram")]
pub struct TooLong(pub usize);

/// Writes the datagram into `out`, which is emptied first. `payload` has at most 65,507 bytes.
pub fn udp_datagram(
    from: SocketAddrV4,
    to: SocketAddrV4,
    payload: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), TooLong> {
    let too_long = |_| TooLong(payload.len());
    let total = u16::try_from(IP_BYTES + UDP_BYTES + payload.len()).map_err(too_long)?;
    let length = u16::try_from(UDP_BYTES + payload.len()).map_err(too_long)?;

    let mut ip = [0; IP_BYTES];
    fill(&mut ip, &[&[0x45, 0], &total.to_be_bytes(), &[0, 0], &DONT_FRAGMENT.to_be_bytes()]);
    fill(&mut ip[8..], &[&[TTL, UDP, 0, 0], &from.ip().octets(), &to.ip().octets()]);
    let header_sum = checksum(&[&ip]);
    fill(&mut ip[10..], &[&header_sum.to_be_bytes()]);

    let mut udp = [0; UDP_BYTES];
    fill(&mut udp, &[&from.port().to_be_bytes(), &to.port().to_be_bytes(), &length.to_be_bytes()]);
    // Over a pseudo header, the UDP header and the payload (RFC 768). A sum of 0 is sent as ones, since 0 says
    // that there is none.
    let pseudo = [0, UDP];
    let sum =
        checksum(&[&from.ip().octets(), &to.ip().octets(), &pseudo, &length.to_be_bytes(), &udp, payload]);
    let sum = if sum == 0 { 0xffff } else { sum };
    fill(&mut udp[6..], &[&sum.to_be_bytes()]);

    out.clear();
    out.extend_from_slice(&ip);
    out.extend_from_slice(&udp);
    out.extend_from_slice(payload);
    Ok(())
}

/// Writes the parts one after the other.
fn fill(field: &mut [u8], parts: &[&[u8]]) {
    for (place, byte) in field.iter_mut().zip(parts.iter().copied().flatten()) {
        *place = *byte;
    }
}

/// The Internet checksum (RFC 1071) over parts of even length; the last may be odd.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for part in parts {
        let (words, rest) = part.as_chunks::<2>();
        sum += words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum::<u64>();
        sum += rest.iter().map(|byte| u64::from(*byte) << 8).sum::<u64>();
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // Folded above: it fits 16 bits.
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn datagram(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let from = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 67);
        let to = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 100), 68);
        udp_datagram(from, to, payload, &mut out).unwrap();
        out
    }

    /// The rule of the receiver, which knows nothing of how the sum was made: all words add up to ones.
    fn ones_complement(bytes: &[u8]) -> u32 {
        let padded = if bytes.len() % 2 == 1 { [bytes, &[0]].concat() } else { bytes.to_vec() };
        let mut sum: u32 = padded.chunks(2).map(|w| u32::from(w[0]) * 256 + u32::from(w[1])).sum();
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum
    }

    #[test]
    fn checksums_verify_at_the_receiver() {
        for payload in [&b""[..], b"a", b"ab", b"abc", &[0xff; 1001]] {
            let bytes = datagram(payload);
            assert_eq!(ones_complement(&bytes[..20]), 0xffff);
            let length = u16::try_from(bytes.len() - 20).unwrap().to_be_bytes();
            let pseudo = [&bytes[12..20], &[0, 17], &length, &bytes[20..]].concat();
            assert_eq!(ones_complement(&pseudo), 0xffff, "{} bytes", payload.len());
        }
    }

    #[test]
    fn known_header_has_its_known_checksum() {
        let bytes = datagram(&[0; 300]);
        // 4500 0148 0000 4000 4011 · 0a00 0001 · 0a00 0064, summed by hand.
        assert_eq!(bytes[10..12], 0x2541_u16.to_be_bytes()[..]);
        assert_eq!(bytes[2..4], 328_u16.to_be_bytes()[..]);
        assert_eq!(bytes[20..26], [0, 67, 0, 68, 1, 52]);
    }

    #[test]
    fn udp_checksum_is_never_zero() {
        // A payload chosen so that the sum comes out as 0 is sent as ffff.
        let plain = datagram(&[0, 0]);
        let sum = u16::from_be_bytes([plain[26], plain[27]]);
        let bytes = datagram(&sum.to_be_bytes());
        assert_eq!(bytes[26..28], [0xff, 0xff]);
    }

    #[test]
    fn too_long_a_payload_is_refused() {
        let mut out = Vec::new();
        let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        assert_eq!(udp_datagram(any, any, &vec![0; 65508], &mut out), Err(TooLong(65508)));
        assert_eq!(udp_datagram(any, any, &vec![0; 65507], &mut out), Ok(()));
    }
}
