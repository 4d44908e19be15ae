//! What main and a worker say to each other over the worker's channel: one message, one word.
//!
//! ```text
//! byte 0: which word · bytes 1…: its text or number, if it has one
//! ```
//!
//! Main believes a worker's words only as far as they are words: whatever else arrives is ignored.

use std::io;

use daemon_utils::channel::{Channel, Received};

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
    /// The answer to [`Word::Reload`] (api): whether it was applied, and the words to show.
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
}

impl Order {
    /// As bytes for the channel.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Begin => b"B".to_vec(),
            Self::Quiesce => b"Q".to_vec(),
            Self::Stop => b"S".to_vec(),
            Self::Reopen => b"R".to_vec(),
            Self::Verdict(applied, text) => word_with_text(if *applied { b'+' } else { b'-' }, text),
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
            Self::Failed(reason) => word_with_text(b'f', reason),
            Self::Reload => b"l".to_vec(),
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
    let mut buffer = [0; MAX_TEXT + 1];
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

/// Longest text of a word, in bytes.
pub const MAX_TEXT: usize = 16 * 1024 - 1;

fn word_with_text(first: u8, text: &str) -> Vec<u8> {
    let mut bytes = vec![first];
    bytes.extend_from_slice(&text.as_bytes()[..text.floor_char_boundary(MAX_TEXT)]);
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
        for word in [Word::Ready, Word::Quiet, Word::Failed("why".into()), Word::Reload] {
            assert_eq!(Word::decode(&word.encode()), Some(word));
        }
    }

    #[test]
    fn what_is_no_word_is_nothing() {
        assert_eq!((Order::decode(b""), Word::decode(b"\xff\xff")), (None, None));
    }
}
