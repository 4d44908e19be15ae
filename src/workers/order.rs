//! What main and a worker say to each other over the worker's channel: one message, one word.
//!
//! ```text
//! byte 0: which word · bytes 1…: its text or number, if it has one
//! ```
//!
//! After an upgrade in place main may be another version than a worker: who changes what a word or an order means
//! raises `FORMAT` in `supervisor::upgrade`, and versions apart refuse to follow one another.
//!
//! Main believes a worker's words only as far as they are words: whatever else arrives is ignored.

use std::io;

use daemon_utils::channel::{Channel, MAX_MESSAGE, Received};

/// What main tells a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Start reading: the worker is in force.
    Begin,
    /// A newer generation takes over: stop reading, finish what was read, say [`Word::Quiet`], leave when done.
    Quiesce,
    /// The daemon stops: finish the batch in hand and end.
    Stop,
    /// Open the log files anew (logger).
    Reopen,
    /// The answer to [`Word::Reload`], [`Word::Upgrade`] or [`Word::Patch`] (api), each question answered once and in order: whether it was
    /// applied, and the words to show.
    Verdict(bool, String),
}

/// What a worker tells main.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// It has opened what it needs and could serve.
    Ready,
    /// It has stopped reading.
    Quiet,
    /// It cannot serve, and why; it ends.
    Failed(String),
    /// Reload the configuration (api).
    Reload,
    /// Execute the program on disk in main's place (api). Nothing comes with it: main knows where its program is.
    Upgrade,
    /// Lay a patch over the configuration and reload (api).
    Patch(Patch),
}

/// A change of the configuration that came over the control API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// The tag that the configuration in force must have for the patch to be applied ([`Document::tag`]); empty: any.
    ///
    /// [`Document::tag`]: crate::config::Document::tag
    pub tag: String,
    /// A merge patch (RFC 7396) as JSON text of at most [`MAX_TEXT`] bytes with the tag, which nobody has checked.
    pub json: String,
}

/// How the refusal of a patch begins that was made for another configuration than the one in force.
pub const STALE: &str = "stale: ";

/// How the refusal of a patch begins that could not be put on disk.
pub const UNSAVED: &str = "unsaved: ";

impl Order {
    /// As bytes for the channel.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Begin => b"B".to_vec(),
            Self::Quiesce => b"Q".to_vec(),
            Self::Stop => b"S".to_vec(),
            Self::Reopen => b"R".to_vec(),
            Self::Verdict(applied, text) => {
                word_with_text(if *applied { b'+' } else { b'-' }, text, MAX_ORDER_TEXT)
            }
        }
    }

    /// From bytes; none where they are no order.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (first, text) = bytes.split_first()?;
        Some(match first {
            b'B' => Self::Begin,
            b'Q' => Self::Quiesce,
            b'S' => Self::Stop,
            b'R' => Self::Reopen,
            b'+' => Self::Verdict(true, String::from_utf8_lossy(text).into_owned()),
            b'-' => Self::Verdict(false, String::from_utf8_lossy(text).into_owned()),
            _ => return None,
        })
    }
}

impl Word {
    /// As bytes for the channel.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Ready => b"r".to_vec(),
            Self::Quiet => b"q".to_vec(),
            Self::Failed(reason) => word_with_text(b'f', reason, MAX_ORDER_TEXT),
            Self::Reload => b"l".to_vec(),
            Self::Upgrade => b"u".to_vec(),
            // A patch that was cut off would be another one: who sends it keeps to the bound.
            Self::Patch(Patch { tag, json }) => word_with_text(b'p', &format!("{tag}\0{json}"), MAX_TEXT),
        }
    }

    /// From bytes; none where they are no word.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (first, text) = bytes.split_first()?;
        Some(match first {
            b'r' => Self::Ready,
            b'q' => Self::Quiet,
            b'f' => Self::Failed(String::from_utf8_lossy(text).into_owned()),
            b'l' => Self::Reload,
            b'u' => Self::Upgrade,
            b'p' => {
                let (tag, json) = str::from_utf8(text).ok()?.split_once('\0')?;
                Self::Patch(Patch { tag: tag.to_owned(), json: json.to_owned() })
            }
            _ => return None,
        })
    }
}

/// What became of looking for an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// This one.
    Order(Order),
    /// None for now.
    Nothing,
    /// Main is gone: end at once.
    MainGone,
}

/// Takes the next order from the channel without waiting.
pub fn hear(channel: &Channel) -> io::Result<Heard> {
    let mut buffer = [0; MAX_ORDER_TEXT + 1];
    loop {
        match channel.receive(&mut buffer)? {
            Received::Nothing => return Ok(Heard::Nothing),
            Received::Closed => return Ok(Heard::MainGone),
            Received::Message(length) => {
                if let Some(order) = buffer.get(..length).and_then(Order::decode) {
                    return Ok(Heard::Order(order));
                }
            }
        }
    }
}

/// Longest text of a word or an order, in bytes.
pub const MAX_TEXT: usize = MAX_MESSAGE - 1;
/// Longest text of an order: a reason for people. Workers look for orders in every turn, so the buffer is small.
const MAX_ORDER_TEXT: usize = 16 * 1024 - 1;

fn word_with_text(first: u8, text: &str, most: usize) -> Vec<u8> {
    let mut bytes = vec![first];
    bytes.extend_from_slice(&text.as_bytes()[..text.floor_char_boundary(most)]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_comes_back_as_it_was_sent() {
        for order in [
            Order::Begin,
            Order::Quiesce,
            Order::Stop,
            Order::Reopen,
            Order::Verdict(true, String::new()),
            Order::Verdict(false, "no such key".into()),
        ] {
            assert_eq!(Order::decode(&order.encode()), Some(order));
        }
        let patch = Word::Patch(Patch { tag: "a1".into(), json: "{\"tcp\": {}}".into() });
        for word in [Word::Ready, Word::Quiet, Word::Failed("why".into()), Word::Reload, Word::Upgrade, patch]
        {
            assert_eq!(Word::decode(&word.encode()), Some(word));
        }
    }

    #[test]
    fn what_is_no_word_is_nothing() {
        assert_eq!((Order::decode(b""), Word::decode(b"\xff\xff")), (None, None));
    }
}
