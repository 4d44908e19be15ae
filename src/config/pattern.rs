//! Patterns for fields of packets: `*` stands for any number of bytes, `?` for one. Written as text, or as hex digits
//! behind `0x`. Read once; matching allocates nothing.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// A pattern as the administrator wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    written: String,
    tokens: Vec<Token>,
    hex: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Byte(u8),
    One,
    Run,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It would fit nothing but an empty field.
    #[error("the pattern is empty")]
    Empty,
    /// Behind `0x` stand pairs of hex digits, `*` and `?` only; colons may stand between them.
    #[error("\"{0}\" is not a pattern of hex digits in pairs, such as 0x0102*")]
    Hex(String),
}

impl Pattern {
    /// Whether it is held against the bytes themselves rather than against their text.
    pub fn is_hex(&self) -> bool {
        self.hex
    }

    /// Whether it fits all of `bytes`.
    pub fn fits(&self, bytes: &[u8]) -> bool {
        self.run(bytes, |a, b| a == b)
    }

    /// Whether it fits all of `bytes`, upper and lower case of ASCII letters being the same.
    pub fn fits_any_case(&self, bytes: &[u8]) -> bool {
        self.run(bytes, |a, b| a.eq_ignore_ascii_case(&b))
    }

    /// Whether it fits any field at all of at most `most` bytes (63 or less), which may hold `allowed` at each
    /// position and may end at the positions that `ends` names.
    pub(super) fn could_fit(
        &self,
        most: u32,
        allowed: impl Fn(u32, u8) -> bool,
        ends: impl Fn(u32) -> bool,
    ) -> bool {
        // Bit n: the tokens so far fit n bytes.
        let all = u64::MAX >> (63 - most.min(63));
        let reached = self.tokens.iter().fold(1_u64, |reached, token| match token {
            // All positions from the lowest one reached.
            Token::Run => (reached & reached.wrapping_neg()).wrapping_neg() & all,
            Token::One => reached << 1 & all,
            Token::Byte(byte) => {
                let fitting = (0..=most.min(63)).filter(|at| allowed(*at, *byte));
                (reached & fitting.fold(0, |bits, at| bits | 1 << at)) << 1 & all
            }
        });
        (0..=most.min(63)).any(|at| reached >> at & 1 == 1 && ends(at))
    }

    /// Each star remembers where it began, so that a mismatch behind it takes one byte more into the last star and
    /// tries again: at most length times length steps, whatever the pattern.
    fn run(&self, bytes: &[u8], same: impl Fn(u8, u8) -> bool) -> bool {
        let (mut at, mut token) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while let Some(byte) = bytes.get(at) {
            match self.tokens.get(token) {
                Some(Token::Run) => {
                    star = Some((token, at));
                    token += 1;
                    continue;
                }
                Some(Token::One) => {}
                Some(Token::Byte(wanted)) if same(*wanted, *byte) => {}
                Some(Token::Byte(_)) | None => {
                    let Some((star_token, star_at)) = star else { return false };
                    star = Some((star_token, star_at + 1));
                    (token, at) = (star_token + 1, star_at + 1);
                    continue;
                }
            }
            (token, at) = (token + 1, at + 1);
        }
        self.tokens.iter().skip(token).all(|token| *token == Token::Run)
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        if written.is_empty() {
            return Err(PatternError::Empty);
        }
        let digits = written.strip_prefix("0x");
        let tokens = match digits {
            Some(digits) => hex(digits).ok_or_else(|| PatternError::Hex(written.to_owned()))?,
            None => written.bytes().map(token).collect(),
        };
        Ok(Self { written: written.to_owned(), tokens, hex: digits.is_some() })
    }
}

fn token(byte: u8) -> Token {
    match byte {
        b'*' => Token::Run,
        b'?' => Token::One,
        byte => Token::Byte(byte),
    }
}

fn hex(digits: &str) -> Option<Vec<Token>> {
    let digit = |c: char| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut tokens = Vec::new();
    let mut rest = digits.chars().filter(|c| *c != ':');
    while let Some(first) = rest.next() {
        tokens.push(match first {
            '*' => Token::Run,
            '?' => Token::One,
            first => Token::Byte(digit(first)? << 4 | digit(rest.next()?)?),
        });
    }
    (!tokens.is_empty()).then_some(tokens)
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl Serialize for Pattern {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    #[test]
    fn stars_and_question_marks_stand_for_bytes() {
        for (text, fits, fails) in [
            ("PXEClient:Arch:00007*", "PXEClient:Arch:00007:UNDI:003000", "PXEClient:Arch:00000"),
            ("*a*b", "xxaxxabab", "xxaxxaba"),
            ("?b?", "abc", "bc"),
            ("*", "", "none: a star fits everything"),
            ("abc", "abc", "abcd"),
        ] {
            assert!(pattern(text).fits(fits.as_bytes()), "{text}");
            assert!(text == "*" || !pattern(text).fits(fails.as_bytes()), "{text}");
        }
    }

    #[test]
    fn case_counts_only_where_it_is_asked_for() {
        assert!(!pattern("aa:*").fits(b"AA:BB"));
        assert!(pattern("aa:*").fits_any_case(b"AA:BB"));
    }

    #[test]
    fn hex_patterns_are_bytes() {
        let one = pattern("0x01:02?*");
        assert!(one.is_hex() && one.fits(&[1, 2, 0x2a]) && one.fits(&[1, 2, 9, 9]));
        assert!(!one.fits(&[1, 2]));
        for wrong in ["0x", "0x1", "0xzz"] {
            assert!(matches!(wrong.parse::<Pattern>(), Err(PatternError::Hex(_))), "{wrong}");
        }
        assert_eq!("".parse::<Pattern>(), Err(PatternError::Empty));
    }

    #[test]
    fn patterns_that_fit_nothing_of_a_kind_are_known() {
        let even =
            |text: &str| pattern(text).could_fit(8, |_, byte| byte == b'a', |at| at % 2 == 0 && at > 0);
        for fits in ["*", "aa", "a*", "?a", "*a*?", "aaaaaaaa", "aaaaaaaa*"] {
            assert!(even(fits), "{fits}");
        }
        for fails in ["a", "b*", "*b", "aaa", "aaaaaaaaa*", "?????????"] {
            assert!(!even(fails), "{fails}");
        }
        assert!(pattern("*").could_fit(63, |_, _| false, |at| at == 63));
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        let many = "*a".repeat(60) + "b";
        assert!(!pattern(&many).fits(&[b'a'; 2000]));
    }
}
