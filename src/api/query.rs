//! The query part of a request's address, read strictly by the table of the parameters that a resource takes. The same
//! table goes into the description of the API ([`Operation::query`](super::openapi::Operation::query)).
//!
//! Unknown names, names said twice and values outside their bounds are refused, so that a misspelt filter never
//! passes for one that matches everything. Names and values are percent-decoded as in HTML forms, where `+` is a space.

use std::fmt::Display;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::problem::Problem;

/// Longest value of a parameter, in bytes after decoding.
const VALUE_MAX_BYTES: usize = 1024;
/// Most parameters in a request.
const PARAMETERS_MAX: usize = 64;

/// A parameter that a resource takes.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it means, for people: one sentence.
    pub description: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// Whether it may be said more than once.
    pub repeats: bool,
    /// Whether a request without it is refused.
    pub required: bool,
}

/// What the value of a parameter may be.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Any text; an empty one too.
    Text,
    /// An IPv4 address in dotted form.
    Ipv4,
    /// `true` or `false`.
    Flag,
    /// A time as in RFC 3339. The reader of the resource reads it, and may understand more.
    Time,
    /// A whole number within these bounds.
    Number {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Text that fits this regular expression (ECMA-262). The reader of the resource checks it; here it is only shown.
    Pattern(&'static str),
}

impl Parameter {
    /// An optional parameter that is said once at most.
    pub const fn new(name: &'static str, kind: Kind, description: &'static str) -> Self {
        Self { name, description, kind, repeats: false, required: false }
    }

    /// The same, which may be said many times.
    #[must_use]
    pub const fn repeated(self) -> Self {
        Self { repeats: true, ..self }
    }

    /// The same, which every request must have.
    #[must_use]
    pub const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// Its JSON Schema, for the description of the API.
    pub fn schema(&self) -> Value {
        let one = match self.kind {
            Kind::Text => json!({"type": "string", "maxLength": VALUE_MAX_BYTES}),
            Kind::Ipv4 => json!({"type": "string", "format": "ipv4"}),
            Kind::Flag => json!({"type": "boolean"}),
            Kind::Time => json!({"type": "string", "format": "date-time"}),
            Kind::Number { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
            Kind::Choice(words) => json!({"type": "string", "enum": words}),
            Kind::Pattern(pattern) => json!({"type": "string", "pattern": pattern}),
        };
        if self.repeats { json!({"type": "array", "items": one, "maxItems": PARAMETERS_MAX}) } else { one }
    }

    /// Why `value` cannot be its value.
    fn complaint(&self, value: &str) -> Option<String> {
        match self.kind {
            Kind::Text | Kind::Time | Kind::Pattern(_) => None,
            Kind::Ipv4 => {
                value.parse::<std::net::Ipv4Addr>().err().map(|_| "is not an IPv4 address".to_owned())
            }
            Kind::Flag => {
                (!matches!(value, "true" | "false")).then(|| "is neither true nor false".to_owned())
            }
            Kind::Number { min, max } => {
                // `+5` would be read too, but says 5 in no other place.
                let number = value.bytes().all(|digit| digit.is_ascii_digit()).then(|| value.parse().ok());
                let fits = number.flatten().is_some_and(|number: u64| (min..=max).contains(&number));
                (!fits).then(|| format!("is not a whole number from {min} to {max}"))
            }
            Kind::Choice(words) => {
                (!words.contains(&value)).then(|| format!("is none of {}", words.join(", ")))
            }
        }
    }
}

/// The parameters that a request has, in the order in which it says them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    said: Vec<(&'static str, String)>,
}

impl Query {
    /// Reads the query of a request ([`http::Uri::query`](axum::http::Uri::query)). Errors: a 400 that names the
    /// parameter and, where it is unknown, the nearest known one.
    pub fn read(query: Option<&str>, known: &[Parameter]) -> Result<Self, Problem> {
        let mut said: Vec<(&'static str, String)> = Vec::new();
        for piece in query.unwrap_or_default().split('&').filter(|piece| !piece.is_empty()) {
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            let Some(parameter) = known.iter().find(|parameter| parameter.name == name) else {
                return Err(unknown(&name, known));
            };
            if said.len() == PARAMETERS_MAX {
                return Err(Problem::bad_request(format!("there are more than {PARAMETERS_MAX} parameters")));
            }
            if !parameter.repeats && said.iter().any(|(name, _)| *name == parameter.name) {
                return Err(Problem::bad_request(format!("the parameter {name} stands twice")));
            }
            if value.len() > VALUE_MAX_BYTES {
                let reason = format!("the parameter {name} is longer than {VALUE_MAX_BYTES} bytes");
                return Err(Problem::bad_request(reason));
            }
            if let Some(complaint) = parameter.complaint(&value) {
                return Err(wrong(parameter.name, &value, &complaint));
            }
            said.push((parameter.name, value));
        }
        match known
            .iter()
            .find(|parameter| parameter.required && !said.iter().any(|(n, _)| *n == parameter.name))
        {
            Some(missing) => Err(Problem::bad_request(format!("the parameter {} is missing", missing.name))),
            None => Ok(Self { said }),
        }
    }

    /// The value of a parameter.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.said.iter().find(|(said, _)| *said == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter that may repeat.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.said.iter().filter(move |(said, _)| *said == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter as a type of one's own. Errors: a 400 with what the type says.
    pub fn parse<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, Problem> {
        let parsed = self.text(name).map(|value| {
            value.parse().map_err(|error| wrong(name, value, &format!("cannot be used: {error}")))
        });
        parsed.transpose()
    }

    /// Whether a flag is `true`.
    pub fn is(&self, name: &str) -> bool {
        self.text(name) == Some("true")
    }
}

/// A 400 for a value that a resource itself finds wrong; `complaint` goes on after the value: `is not …`.
pub fn wrong(name: &str, value: &str, complaint: &str) -> Problem {
    let shown: String = value.chars().take(80).collect();
    Problem::bad_request(format!("the parameter {name}: \"{}\" {complaint}", shown.escape_debug()))
        .with("parameter", name)
}

fn unknown(name: &str, known: &[Parameter]) -> Problem {
    let shown: String = name.chars().take(80).collect();
    let shown = shown.escape_debug();
    let near =
        known.iter().map(|parameter| (strsim::damerau_levenshtein(parameter.name, name), parameter.name));
    let hint = match near.min().filter(|(distance, near)| *distance <= near.len().div_ceil(2)) {
        Some((_, near)) => format!("; did you mean {near}?"),
        None if known.is_empty() => "; nothing can be asked here".to_owned(),
        None => {
            let names: Vec<&str> = known.iter().map(|parameter| parameter.name).collect();
            format!("; there are {}", names.join(", "))
        }
    };
    Problem::bad_request(format!("the parameter \"{shown}\" is unknown{hint}"))
}

fn decode(text: &str) -> Result<String, Problem> {
    let mut escapes = text.split('%');
    escapes.next();
    let whole = |escape: &str| {
        let mut bytes = escape.bytes();
        (0..2).all(|_| bytes.next().is_some_and(|byte| byte.is_ascii_hexdigit()))
    };
    if !escapes.all(whole) {
        return Err(Problem::bad_request("a percent sign in the query is not followed by two hex digits"));
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded.map(Into::into).map_err(|_| Problem::bad_request("the query is not UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Parameter] = &[
        Parameter::new("subnet", Kind::Text, "The subnet."),
        Parameter::new("limit", Kind::Number { min: 1, max: 1000 }, "How many."),
        Parameter::new("option", Kind::Text, "An option.").repeated(),
        Parameter::new("state", Kind::Choice(&["active", "expired"]), "The state."),
        Parameter::new("ip", Kind::Ipv4, "The address."),
    ];

    fn refusal(query: &str) -> String {
        Query::read(Some(query), KNOWN).unwrap_err().detail().to_owned()
    }

    #[test]
    fn values_are_percent_decoded() {
        let query = Query::read(Some("subnet=a%20b+c%2b%C3%A9&limit=7&option=1&option=2"), KNOWN).unwrap();
        assert_eq!(query.text("subnet"), Some("a b c+é"));
        assert_eq!(query.parse::<usize>("limit").unwrap(), Some(7));
        assert_eq!(query.all("option").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(query.text("state"), None);
        assert_eq!(Query::read(None, KNOWN), Query::read(Some(""), KNOWN));
    }

    #[test]
    fn unknown_parameters_are_refused_with_the_nearest_known_one() {
        assert!(refusal("subnt=a").contains("did you mean subnet?"));
        assert!(refusal("colour=a").contains("there are subnet, limit"));
        assert!(Query::read(Some("a=b"), &[]).is_err());
    }

    #[test]
    fn what_says_nothing_or_two_things_is_refused() {
        for query in [
            "subnet=a&subnet=b",
            "limit=0",
            "limit=1001",
            "limit=+5",
            "limit=%2B5",
            "limit=",
            "limit",
            "state=Active",
            "ip=10.0.0.256",
            "subnet=%zz",
            "subnet=%4",
            "subnet=%",
            "subnet=%ff",
        ] {
            assert!(Query::read(Some(query), KNOWN).is_err(), "{query}");
        }
        assert!(Query::read(Some(&format!("subnet={}", "x".repeat(1025))), KNOWN).is_err());
        assert!(Query::read(Some(&"option=1&".repeat(65)), KNOWN).is_err());
    }

    #[test]
    fn a_required_parameter_must_be_there() {
        const MAC: &[Parameter] = &[Parameter::new("mac", Kind::Text, "The client.").required()];
        assert!(Query::read(None, MAC).unwrap_err().detail().contains("mac is missing"));
    }

    #[test]
    fn schemas_tell_the_bounds() {
        assert_eq!(KNOWN[1].schema(), json!({"type": "integer", "minimum": 1, "maximum": 1000}));
        assert_eq!(KNOWN[2].schema()["items"]["type"], "string");
    }
}
