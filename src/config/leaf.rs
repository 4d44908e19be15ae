//! The values at the end of the keys: what each type accepts, and in which words it refuses.
//!
//! Every scalar accepts its text form too, since some sources (flags, environment, INI) have nothing but text.
//! Knows types, no keys; used by the sections.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use figment::value::Value;
use log::LevelFilter;
use serde_json::{Value as Json, json};

use super::model::{Bootp, ConflictMethod, Durability, IdentifyBy, UnknownClients, WhenFull};
use super::section::nearest;
use super::tree::describe;

/// Why a value is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) reason: String,
    pub(super) hint: Option<String>,
}

impl Fault {
    /// A refusal without a hint.
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), hint: None }
    }

    /// The same refusal with a hint.
    pub(super) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// `VALUE is not WHAT`.
    pub(super) fn is_not(value: &Value, what: &str) -> Self {
        let fault = Self::new(format!("{} is not {what}", describe(value)));
        match value {
            Value::Empty(..) => fault.with_hint("remove the key to get its default"),
            _ => fault,
        }
    }
}

/// A value that can be read from the merged tree.
pub(super) trait Leaf: Sized {
    /// Errors: the value is of another type or impossible.
    fn read(value: &Value) -> Result<Self, Fault>;

    /// The JSON Schema (draft 2020-12) of what `read` accepts, as far as one can say it; never less. One object with a
    /// `type` wherever possible, for then an editor's message names the fault.
    fn schema() -> Json;

    /// The same within a range.
    fn schema_within(_: &RangeInclusive<Self>) -> Json {
        Self::schema()
    }

    /// The value as people write it; `read` makes the same value of it.
    fn show(&self) -> Json;
}

/// A schema for text that fits this pattern once the white space around it is gone.
pub(super) fn text_of(pattern: &str) -> Json {
    json!({"type": "string", "pattern": trimmed(pattern)})
}

pub(super) fn trimmed(pattern: &str) -> String {
    format!("^\\s*(?:{pattern})\\s*$")
}

/// `word` in any case, as a pattern: the expressions of JSON Schema (ECMA-262) have no flag for it.
pub(super) fn any_case(word: &str) -> String {
    let letter = |c: char| match c {
        'a'..='z' | 'A'..='Z' => format!("[{}{}]", c.to_ascii_uppercase(), c.to_ascii_lowercase()),
        other => other.to_string(),
    };
    word.chars().map(letter).collect()
}

/// One of these words in any case. Editors offer what `enum` lists.
pub(super) fn one_word_of(words: &[&str]) -> Json {
    let pattern = words.iter().map(|word| any_case(word)).collect::<Vec<_>>().join("|");
    json!({"anyOf": [{"enum": words}, text_of(&pattern)]})
}

/// One value of this schema or a list of them; with `commas`, text that is divided at them too.
pub(super) fn list_of(item: Json, commas: bool) -> Json {
    let mut list = with_type(item.clone(), "array");
    if let Json::Object(list) = &mut list {
        if let Some(Json::String(pattern)) = list.get_mut("pattern").filter(|_| commas) {
            *pattern = format!("{pattern}|,");
        }
        list.insert("items".to_owned(), item);
    }
    list
}

/// What this schema accepts, and `null`.
pub(super) fn or_null(schema: Json) -> Json {
    with_type(schema, "null")
}

fn with_type(mut schema: Json, further: &str) -> Json {
    match schema.get_mut("type") {
        Some(Json::Array(types)) => types.push(further.into()),
        Some(single) => *single = json!([single.take(), further]),
        None => schema = json!({"anyOf": [schema, {"type": further}]}),
    }
    schema
}

/// The text of a scalar as the user wrote it.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(text.trim().to_owned()),
        Value::Char(_, letter) => Some(letter.to_string()),
        Value::Bool(..) | Value::Num(..) => Some(describe(value)),
        Value::Empty(..) | Value::Dict(..) | Value::Array(..) => None,
    }
}

/// Reads text by `FromStr`; the refusal is `VALUE is not WHAT`.
pub(super) fn parsed<T: std::str::FromStr>(value: &Value, what: &str) -> Result<T, Fault> {
    text(value).and_then(|text| text.parse().ok()).ok_or_else(|| Fault::is_not(value, what))
}

/// Reads one of `words`, in any case.
pub(super) fn one_of<T: Copy>(value: &Value, words: &[(&str, T)]) -> Result<T, Fault> {
    let given = text(value).unwrap_or_default();
    if let Some((_, meant)) = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(&given)) {
        return Ok(*meant);
    }
    let list = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
    let fault = Fault::new(format!("{} is not one of {list}", describe(value)));
    Err(match nearest(&given, words.iter().map(|(word, _)| *word)) {
        Some(word) => fault.with_hint(format!("did you mean {word}?")),
        None => fault,
    })
}

impl Leaf for bool {
    fn read(value: &Value) -> Result<Self, Fault> {
        let given = text(value).unwrap_or_default().to_lowercase();
        match given.as_str() {
            "true" | "yes" | "on" => Ok(true),
            "false" | "no" | "off" => Ok(false),
            _ => Err(Fault::is_not(value, "true or false")),
        }
    }

    fn schema() -> Json {
        let words = ["true", "yes", "on", "false", "no", "off"].map(any_case).join("|");
        json!({"type": ["boolean", "string"], "pattern": trimmed(&words)})
    }

    fn show(&self) -> Json {
        (*self).into()
    }
}

/// Whole numbers from `least` to `most`, also as text.
fn whole_number(least: impl Into<Json>, most: impl Into<Json>) -> Json {
    json!({
        "type": ["integer", "string"],
        "minimum": least.into(),
        "maximum": most.into(),
        "pattern": trimmed("[+-]?[0-9]+"),
    })
}

macro_rules! whole_numbers {
    ($($type:ty),*) => {$(
        impl Leaf for $type {
            fn read(value: &Value) -> Result<Self, Fault> {
                let number: i128 = parsed(value, "a whole number")?;
                Self::try_from(number).map_err(|_| {
                    Fault::new(format!("{number} is out of range; it must be {} to {}", Self::MIN, Self::MAX))
                })
            }

            fn schema() -> Json {
                whole_number(Self::MIN, Self::MAX)
            }

            fn schema_within(range: &RangeInclusive<Self>) -> Json {
                whole_number(*range.start(), *range.end())
            }

            fn show(&self) -> Json {
                (*self).into()
            }
        }
    )*};
}

whole_numbers!(u16, u32, i32);

impl Leaf for f64 {
    fn read(value: &Value) -> Result<Self, Fault> {
        let number: Self = parsed(value, "a number")?;
        if number.is_finite() { Ok(number) } else { Err(Fault::is_not(value, "a number")) }
    }

    fn schema() -> Json {
        json!({"type": ["number", "string"], "pattern": trimmed("[+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?")})
    }

    fn show(&self) -> Json {
        (*self).into()
    }
}

impl Leaf for String {
    fn read(value: &Value) -> Result<Self, Fault> {
        let text = text(value).ok_or_else(|| Fault::is_not(value, "text"))?;
        if text.is_empty() { Err(Fault::new("the text is empty")) } else { Ok(text) }
    }

    fn schema() -> Json {
        json!({"type": ["string", "number", "boolean"], "pattern": "\\S"})
    }

    fn show(&self) -> Json {
        self.as_str().into()
    }
}

impl Leaf for PathBuf {
    fn read(value: &Value) -> Result<Self, Fault> {
        let text = text(value).ok_or_else(|| Fault::is_not(value, "a path"))?;
        if text.is_empty() || text.contains('\0') {
            return Err(Fault::is_not(value, "a path"));
        }
        if text.starts_with('~') {
            return Err(Fault::new(format!(
                "{} begins with ~, which only a shell understands",
                describe(value)
            ))
            .with_hint("write the whole path"));
        }
        Ok(Self::from(text))
    }

    fn schema() -> Json {
        json!({"type": ["string", "number", "boolean"], "pattern": "^\\s*[^~\\s]"})
    }

    fn show(&self) -> Json {
        self.to_string_lossy().into()
    }
}

/// A TCP or UDP port.
pub(super) struct Port(pub(super) u16);

impl Leaf for Port {
    fn read(value: &Value) -> Result<Self, Fault> {
        parsed(value, "a port; it must be 0 to 65535").map(Self)
    }

    fn schema() -> Json {
        u16::schema()
    }

    fn show(&self) -> Json {
        self.0.into()
    }
}

/// Types whose values are words, in any case; a value is shown as the first word that means it.
macro_rules! words {
    ($type:ty, $($word:literal => $meant:expr),+ $(,)?) => {
        impl Leaf for $type {
            fn read(value: &Value) -> Result<Self, Fault> {
                one_of(value, &[$(($word, $meant)),+])
            }

            fn schema() -> Json {
                one_word_of(&[$($word),+])
            }

            fn show(&self) -> Json {
                let words = [$(($word, $meant)),+];
                words.iter().find(|(_, meant)| meant == self).map(|(word, _)| *word).into()
            }
        }
    };
}

words!(LevelFilter,
    "TRACE" => Self::Trace,
    "DEBUG" => Self::Debug,
    "INFO" => Self::Info,
    "WARN" => Self::Warn,
    "WARNING" => Self::Warn,
    "ERROR" => Self::Error,
    // Above ERROR the log has nothing; other loggers do.
    "CRITICAL" => Self::Error,
    "OFF" => Self::Off,
);
words!(WhenFull, "wait" => Self::Wait, "reject" => Self::Reject);
words!(IdentifyBy, "client-id" => Self::ClientId, "mac" => Self::Mac, "circuit-id" => Self::CircuitId);
words!(Durability, "power-loss" => Self::PowerLoss, "process" => Self::Process);
words!(ConflictMethod,
    "auto" => Self::Auto, "arp" => Self::Arp, "icmp" => Self::Icmp, "off" => Self::Off,
);
words!(Bootp, "dynamic" => Self::Dynamic, "reserved" => Self::Reserved, "off" => Self::Off);
words!(UnknownClients, "allow" => Self::Allow, "ignore" => Self::Ignore);

/// Text for a field of `N` bytes in the DHCP header that ends with a zero byte (RFC 2131 §2).
pub(super) struct Field<const N: usize>(pub(super) String);

impl<const N: usize> Leaf for Field<N> {
    fn read(value: &Value) -> Result<Self, Fault> {
        let text = String::read(value)?;
        let most = N - 1;
        if text.contains('\0') {
            Err(Fault::new("the text holds a zero byte"))
        } else if text.len() > most {
            Err(Fault::new(format!("the text is {} bytes long; it must be at most {most}", text.len())))
        } else {
            Ok(Self(text))
        }
    }

    fn schema() -> Json {
        // A character has a byte at least.
        let pattern = format!("^\\s*\\S(?:[^\\u0000]{{0,{}}}\\S)?\\s*$", N.saturating_sub(3));
        json!({"type": ["string", "number", "boolean"], "pattern": pattern})
    }

    fn show(&self) -> Json {
        self.0.show()
    }
}

/// A name of a Unix user.
pub(super) struct UserName(pub(super) String);

impl Leaf for UserName {
    fn read(value: &Value) -> Result<Self, Fault> {
        let name = String::read(value)?;
        let odd = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        if name.len() > 255 || name.starts_with('-') || name.contains(odd) {
            return Err(Fault::is_not(value, "a user name"));
        }
        Ok(Self(name))
    }

    fn schema() -> Json {
        let pattern = trimmed("[^\\s/:-][^\\s/:]{0,254}");
        json!({"type": ["string", "number", "boolean"], "pattern": pattern})
    }

    fn show(&self) -> Json {
        self.0.show()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T: Leaf>(value: impl Into<Value>) -> String {
        T::read(&value.into()).err().unwrap().reason
    }

    #[test]
    fn scalars_accept_their_text_form() {
        assert_eq!(bool::read(&"yes".into()), Ok(true));
        assert_eq!(u32::read(&"17".into()), Ok(17));
        assert_eq!(String::read(&17.into()), Ok("17".to_owned()));
        assert_eq!(f64::read(&"0.5".into()), Ok(0.5));
        assert_eq!(Port::read(&"8888".into()).unwrap().0, 8888);
    }

    #[test]
    fn levels_are_read_in_any_case() {
        let read = |word: &str| LevelFilter::read(&word.into()).unwrap();
        assert_eq!(
            [read("info"), read("Warning"), read("CRITICAL"), read("off")],
            [LevelFilter::Info, LevelFilter::Warn, LevelFilter::Error, LevelFilter::Off]
        );
        assert_eq!(LevelFilter::read(&"DEBG".into()).unwrap_err().hint.unwrap(), "did you mean DEBUG?");
    }

    #[test]
    fn impossible_values_are_refused_in_plain_words() {
        assert_eq!(refusal::<Port>(70_000), "70000 is not a port; it must be 0 to 65535");
        assert_eq!(refusal::<u16>(-1), "-1 is out of range; it must be 0 to 65535");
        assert_eq!(refusal::<u32>("many"), "\"many\" is not a whole number");
        assert_eq!(refusal::<bool>(2), "2 is not true or false");
        assert_eq!(refusal::<Field<4>>("abcd"), "the text is 4 bytes long; it must be at most 3");
        assert!(refusal::<PathBuf>("~/x").contains('~'));
    }
}
