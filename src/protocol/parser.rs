//! `DhcpParser`: bytes → [`DhcpMessage`]. Owns the checks of a packet's frame; decides nothing about its meaning.
//!
//! dhcproto reads the header. Its decoder is lenient, so the frame is checked before it: it ignores the magic cookie,
//! slices `chaddr` by an unchecked `hlen`, ends silently at a broken option, joins the pieces of a long option only
//! where they are neighbours, and cuts `sname` and `file` at their first NUL, which loses options there. So the options
//! are walked through here, once: that checks them and finds them. Where a packet has pieces apart or overloaded
//! fields (RFC 3396, RFC 2132 §9.3), they are collected once more.

use dhcproto::v4::{MAGIC, Opcode, borrowed};

use crate::stats::Counter;

use super::message::{DhcpMessage, MessageType, Options, code};
use super::walk::{Truncated, Walk};

/// Header and cookie; a shorter packet carries no option and is no DHCP (RFC 2131 §2).
const HEADER_BYTES: usize = 240;
const COOKIE_AT: usize = 236;
/// `chaddr` is a field of 16 bytes (RFC 2131 §2).
const HARDWARE_BYTES: u8 = 16;
const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;

/// Reads packets. Stateless: a name for the two entries.
#[derive(Debug, Clone, Copy)]
pub struct DhcpParser;

/// Why a packet is no message. Each reason has a counter of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// Fewer than 240 bytes.
    #[error("packet is shorter than a DHCP header")]
    TooShort,
    /// `op` is not the one expected: 1 for a request.
    #[error("op is not a request")]
    NotARequest,
    /// `hlen` is above 16.
    #[error("hardware address is longer than 16 bytes")]
    HardwareLength,
    /// No magic cookie (BOOTP without vendor extensions as RFC 1497 has them is not served).
    #[error("magic cookie is missing")]
    Cookie,
    /// An option ends beyond the options field.
    #[error("option {0} is truncated")]
    OptionTruncated(u8),
    /// An option in `file` or `sname` ends beyond that field.
    #[error("option {0} in an overloaded field is truncated")]
    OverloadTruncated(u8),
    /// An option that decides about the answer has a length that its definition forbids.
    #[error("option {0} has a wrong length")]
    OptionLength(u8),
}

impl Malformed {
    /// Its counter, whose label names it: `too-short`, `option-truncated`, ….
    pub fn counter(self) -> Counter {
        match self {
            Self::TooShort => Counter::DropTooShort,
            Self::NotARequest => Counter::DropNotARequest,
            Self::HardwareLength => Counter::DropHardwareLength,
            Self::Cookie => Counter::DropCookie,
            Self::OptionTruncated(_) => Counter::DropOptionTruncated,
            Self::OverloadTruncated(_) => Counter::DropOverloadTruncated,
            Self::OptionLength(_) => Counter::DropOptionLength,
        }
    }
}

impl DhcpParser {
    /// Reads what a client or a relay sent (`op` 1). Never panics, whatever the bytes.
    pub fn parse(bytes: &[u8]) -> Result<DhcpMessage<'_>, Malformed> {
        read(bytes, Opcode::BootRequest)
    }

    /// Reads what a server sent (`op` 2): for `probe` and for tests.
    pub fn parse_reply(bytes: &[u8]) -> Result<DhcpMessage<'_>, Malformed> {
        read(bytes, Opcode::BootReply)
    }
}

fn read(bytes: &[u8], expected: Opcode) -> Result<DhcpMessage<'_>, Malformed> {
    let field = bytes.get(HEADER_BYTES..).ok_or(Malformed::TooShort)?;
    let header = borrowed::Message::new(bytes).map_err(|_| Malformed::TooShort)?;
    if header.opcode() != expected {
        return Err(Malformed::NotARequest);
    }
    if header.hlen() > HARDWARE_BYTES {
        return Err(Malformed::HardwareLength);
    }
    if bytes.get(COOKIE_AT..HEADER_BYTES) != Some(&MAGIC[..]) {
        return Err(Malformed::Cookie);
    }
    let options = match plain(field)? {
        Some(options) => options,
        None => join(bytes, field)?,
    };
    let kind = kind(&options)?;
    let message = DhcpMessage::new(header, options, kind);
    lengths(&message)?;
    Ok(message)
}

/// The options where no code comes twice and nothing is overloaded, so that they are what stands there.
fn plain(field: &[u8]) -> Result<Option<Options<'_>>, Malformed> {
    let mut options = Options::new();
    for option in Walk::options(field) {
        let (code, data) = option.map_err(|Truncated(code)| Malformed::OptionTruncated(code))?;
        if !options.add(code, data) || code == code::OVERLOAD {
            return Ok(None);
        }
    }
    Ok(Some(options))
}

/// Collects the options over all fields, in the order options → file → sname, and joins the pieces that share
/// a code (RFC 3396 §5 and §7).
fn join<'a>(bytes: &'a [u8], field: &'a [u8]) -> Result<Options<'a>, Malformed> {
    let mut joined = Joined::default();
    for option in Walk::options(field) {
        let (code, data) = option.map_err(|Truncated(code)| Malformed::OptionTruncated(code))?;
        joined.append(code, data);
    }
    let (file, sname) = overloaded(joined.get(code::OVERLOAD))?;
    for range in [file.then_some(FILE), sname.then_some(SNAME)].into_iter().flatten() {
        for option in Walk::options(bytes.get(range).unwrap_or_default()) {
            let (code, data) = option.map_err(|Truncated(code)| Malformed::OverloadTruncated(code))?;
            joined.append(code, data);
        }
    }
    Ok(Options::of(joined.options.into_iter()))
}

/// Options by the order of their first piece. A packet may hold 32,000 pieces, so none is searched for.
struct Joined {
    options: Vec<(u8, Vec<u8>)>,
    /// By code: the place among the options; none: 255, since there are 254 codes at most.
    places: [u8; 256],
}

impl Default for Joined {
    fn default() -> Self {
        Self { options: Vec::with_capacity(16), places: [u8::MAX; 256] }
    }
}

impl Joined {
    fn append(&mut self, code: u8, data: &[u8]) {
        let Some(place) = self.places.get_mut(usize::from(code)) else { return };
        if let Some((_, all)) = self.options.get_mut(usize::from(*place)) {
            all.extend_from_slice(data);
        } else {
            *place = u8::try_from(self.options.len()).unwrap_or(u8::MAX);
            self.options.push((code, data.to_vec()));
        }
    }

    fn get(&self, code: u8) -> Option<&[u8]> {
        let place = self.places.get(usize::from(code))?;
        self.options.get(usize::from(*place)).map(|(_, data)| data.as_slice())
    }
}

/// Whether `file` and `sname` hold options (RFC 2132 §9.3: 1, 2 or 3; another value means nothing).
fn overloaded(option: Option<&[u8]>) -> Result<(bool, bool), Malformed> {
    match option {
        None => Ok((false, false)),
        Some([value]) => Ok((matches!(value, 1 | 3), matches!(value, 2 | 3))),
        Some(_) => Err(Malformed::OptionLength(code::OVERLOAD)),
    }
}

/// RFC 1534 §2: a message without option 53 is BOOTP.
fn kind(options: &Options<'_>) -> Result<MessageType, Malformed> {
    match options.get(code::MESSAGE_TYPE) {
        None => Ok(MessageType::Bootp),
        Some([kind]) => Ok(MessageType::from(*kind)),
        Some(_) => Err(Malformed::OptionLength(code::MESSAGE_TYPE)),
    }
}

/// The options that decide which state the client is in must be what they claim to be: a broken server
/// identifier read as "none" would turn SELECTING into INIT-REBOOT and earn the client a NAK.
fn lengths(message: &DhcpMessage<'_>) -> Result<(), Malformed> {
    for (code, bytes) in [
        (code::REQUESTED_ADDRESS, 4),
        (code::LEASE_TIME, 4),
        (code::SERVER_ID, 4),
        (code::MAX_MESSAGE_SIZE, 2),
    ] {
        if message.option(code).is_some_and(|data| data.len() != bytes) {
            return Err(Malformed::OptionLength(code));
        }
    }
    // A longer identifier has no place in a lease (RFC 3396 would allow it, nobody sends it).
    match message.option(code::CLIENT_ID) {
        Some(id) if id.len() > 255 => Err(Malformed::OptionLength(code::CLIENT_ID)),
        _ => Ok(()),
    }
}
