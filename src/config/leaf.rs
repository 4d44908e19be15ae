//! The values at the end of the keys: what each type accepts, and in which words it refuses.
//!
//! Every scalar accepts its text form too, since some sources (flags, environment, INI) have nothing but text.
//! Knows types, no keys; used by the sections.

use std::path::PathBuf;
use std::time::Duration;

use daemon_utils::log::Rate;
use figment::value::Value;
use log::LevelFilter;

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
fn one_of<T: Copy>(value: &Value, words: &[(&str, T)]) -> Result<T, Fault> {
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
        }
    )*};
}

whole_numbers!(u16, u32, i32);

impl Leaf for f64 {
    fn read(value: &Value) -> Result<Self, Fault> {
        let number: Self = parsed(value, "a number")?;
        if number.is_finite() { Ok(number) } else { Err(Fault::is_not(value, "a number")) }
    }
}

impl Leaf for String {
    fn read(value: &Value) -> Result<Self, Fault> {
        let text = text(value).ok_or_else(|| Fault::is_not(value, "text"))?;
        if text.is_empty() { Err(Fault::new("the text is empty")) } else { Ok(text) }
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
}

/// A TCP or UDP port.
pub(super) struct Port(pub(super) u16);

impl Leaf for Port {
    fn read(value: &Value) -> Result<Self, Fault> {
        parsed(value, "a port; it must be 0 to 65535").map(Self)
    }
}

impl Leaf for LevelFilter {
    fn read(value: &Value) -> Result<Self, Fault> {
        let words = [
            ("TRACE", Self::Trace),
            ("DEBUG", Self::Debug),
            ("INFO", Self::Info),
            ("WARN", Self::Warn),
            ("WARNING", Self::Warn),
            ("ERROR", Self::Error),
            // Above ERROR the log has nothing; other loggers do.
            ("CRITICAL", Self::Error),
            ("OFF", Self::Off),
        ];
        one_of(value, &words)
    }
}

impl Leaf for WhenFull {
    fn read(value: &Value) -> Result<Self, Fault> {
        one_of(value, &[("wait", Self::Wait), ("reject", Self::Reject)])
    }
}

impl Leaf for IdentifyBy {
    fn read(value: &Value) -> Result<Self, Fault> {
        one_of(value, &[("client-id", Self::ClientId), ("mac", Self::Mac), ("circuit-id", Self::CircuitId)])
    }
}

impl Leaf for Durability {
    fn read(value: &Value) -> Result<Self, Fault> {
        one_of(value, &[("power-loss", Self::PowerLoss), ("process", Self::Process)])
    }
}

impl Leaf for ConflictMethod {
    fn read(value: &Value) -> Result<Self, Fault> {
        one_of(value, &[("auto", Self::Auto), ("arp", Self::Arp), ("icmp", Self::Icmp), ("off", Self::Off)])
    }
}

impl Leaf for Bootp {
    fn read(value: &Value) -> Result<Self, Fault> {
        one_of(value, &[("dynamic", Self::Dynamic), ("reserved", Self::Reserved), ("off", Self::Off)])
    }
}

impl Leaf for UnknownClients {
    fn read(value: &Value) -> Result<Self, Fault> {
        one_of(value, &[("allow", Self::Allow), ("ignore", Self::Ignore)])
    }
}

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
}

/// How often an event is logged: `100/s`, `5/m`, `1/h`, or `off` for no limit.
pub(super) struct RateLimit(pub(super) Option<Rate>);

impl Leaf for RateLimit {
    fn read(value: &Value) -> Result<Self, Fault> {
        let given = text(value).unwrap_or_default().to_lowercase();
        // YAML has `off` for false.
        if ["off", "false", "no"].contains(&given.as_str()) {
            return Ok(Self(None));
        }
        let rate = given.split_once('/').and_then(|(records, per)| {
            let per = match per.trim() {
                "s" => Duration::from_secs(1),
                "m" => Duration::from_secs(60),
                "h" => Duration::from_secs(3600),
                _ => return None,
            };
            Rate::new(records.trim().parse().ok().filter(|records| *records <= 1_000_000)?, per)
        });
        let what = "a rate such as 100/s, 5/m or 1/h, at most a million, or off for no limit";
        rate.map(|rate| Self(Some(rate))).ok_or_else(|| Fault::is_not(value, what))
    }
}

/// A syslog facility by the names of syslog(3), without `LOG_`.
pub(super) struct Facility(pub(super) String);

impl Leaf for Facility {
    fn read(value: &Value) -> Result<Self, Fault> {
        const NAMES: [&str; 20] = [
            "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
            "ftp", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
        ];
        one_of(value, &NAMES.map(|name| (name, name))).map(|name| Self(name.to_owned()))
    }
}

/// Where syslog listens: a socket's absolute path, or `udp://HOST:PORT`.
pub(super) struct SyslogAddress(pub(super) String);

impl Leaf for SyslogAddress {
    fn read(value: &Value) -> Result<Self, Fault> {
        let address = String::read(value)?;
        let fits = match address.strip_prefix("udp://") {
            Some(target) => target.rsplit_once(':').is_some_and(|(host, port)| {
                !host.is_empty()
                    && !host.contains(['/', '@'])
                    && port.parse::<u16>().is_ok_and(|port| port > 0)
            }),
            None => address.starts_with('/'),
        };
        if fits { Ok(Self(address)) } else { Err(Fault::is_not(value, "/dev/log or udp://HOST:PORT")) }
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
        assert!(refusal::<Facility>("local8").contains("local7"));
        assert!(refusal::<PathBuf>("~/x").contains('~'));
    }

    #[test]
    fn rates_of_events_are_read_or_refused() {
        let read =
            |text: &str| RateLimit::read(&text.into()).map(|limit| limit.0.map(|rate| rate.to_string()));
        assert_eq!(read("100/s"), Ok(Some("100/s".to_owned())));
        assert_eq!(read(" 5 / M"), Ok(Some("5/m".to_owned())));
        assert_eq!(
            [read("off"), RateLimit::read(&false.into()).map(|limit| limit.0.map(|_| String::new()))],
            [Ok(None), Ok(None)]
        );
        for wrong in ["0/s", "10", "10/d", "-1/s", "x/s", "2000000/s", ""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn syslog_address_is_a_socket_or_a_udp_target() {
        assert!(SyslogAddress::read(&"/dev/log".into()).is_ok());
        assert!(SyslogAddress::read(&"udp://[::1]:514".into()).is_ok());
        assert!(SyslogAddress::read(&"udp://host".into()).is_err());
        assert!(SyslogAddress::read(&"tcp://host:514".into()).is_err());
    }
}
