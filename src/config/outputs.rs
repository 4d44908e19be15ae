//! Leaf types of the section `logging`: what syslog calls things, and how often an event is logged.

use std::time::Duration;

use daemon_utils::log::Rate;
use figment::value::Value;
use serde_json::{Value as Json, json};

use super::leaf::{Fault, Leaf, one_of, one_word_of, text, text_of, trimmed};

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

    fn schema() -> Json {
        let pattern = trimmed("[1-9][0-9]{0,6} */ *[smhSMH]|[oO][fF][fF]|[nN][oO]|[fF][aA][lL][sS][eE]");
        json!({"type": ["string", "boolean"], "pattern": pattern, "not": {"const": true}})
    }

    fn show(&self) -> Json {
        self.0.as_ref().map_or_else(|| "off".to_owned(), ToString::to_string).into()
    }
}

/// A syslog facility by the names of syslog(3), without `LOG_`.
pub(super) struct Facility(pub(super) String);

const FACILITIES: [&str; 20] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

impl Leaf for Facility {
    fn read(value: &Value) -> Result<Self, Fault> {
        one_of(value, &FACILITIES.map(|name| (name, name))).map(|name| Self(name.to_owned()))
    }

    fn schema() -> Json {
        one_word_of(&FACILITIES)
    }

    fn show(&self) -> Json {
        self.0.show()
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

    fn schema() -> Json {
        text_of("/.*|udp://[^/@]+:[0-9]+")
    }

    fn show(&self) -> Json {
        self.0.show()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_facility_is_refused_with_the_known_ones() {
        assert!(Facility::read(&"local8".into()).err().unwrap().reason.contains("local7"));
    }

    #[test]
    fn syslog_address_is_a_socket_or_a_udp_target() {
        assert!(SyslogAddress::read(&"/dev/log".into()).is_ok());
        assert!(SyslogAddress::read(&"udp://[::1]:514".into()).is_ok());
        assert!(SyslogAddress::read(&"udp://host".into()).is_err());
        assert!(SyslogAddress::read(&"tcp://host:514".into()).is_err());
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
}
