//! Bodies of requests: read within bounds and in time, of the media types that a resource takes, and JSON that says
//! everything once. What a body means is the business of the resource.

use std::fmt;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Bytes};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::problem::Problem;

/// Longest body, in bytes, of what need not be long.
pub const SMALL: usize = 64 * 1024;
/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// Deepest nesting of a JSON body.
const DEPTH_MAX: usize = 64;

/// Reads a body. Errors: longer than `most` bytes (413), too slow (408), broken off (400), encoded (415).
pub async fn read(request: Request, most: usize) -> Result<Bytes, Problem> {
    if request.headers().get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        let problem =
            Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "no content coding is understood here");
        return Err(problem.field(header::ACCEPT_ENCODING, "identity"));
    }
    let body = request.into_body();
    if body.size_hint().lower() > most as u64 {
        return Err(too_large(most));
    }
    let collected = tokio::time::timeout(BODY_WITHIN, Limited::new(body, most).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(most)),
        Ok(Err(error)) => Err(Problem::bad_request(format!("the body could not be read: {error}"))),
        Err(_) => {
            let detail = format!("the body did not arrive within {} s", BODY_WITHIN.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail).field(header::CONNECTION, "close"))
        }
    }
}

/// The refusal of a body of more than `most` bytes.
pub fn too_large(most: usize) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {most} bytes"))
        .field(header::CONNECTION, "close")
}

/// The media type of a body, one of `taken`. Errors: 415, and in the header field `tell` what is taken.
pub fn media_type<'a>(headers: &HeaderMap, taken: &[&'a str], tell: HeaderName) -> Result<&'a str, Problem> {
    let refuse = |reason: String| {
        let detail = format!("{reason}; what is taken: {}", taken.join(", "));
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail).field(tell.clone(), &taken.join(", "))
    };
    let mut said = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (said.next(), said.next()) else {
        return Err(refuse("the request must have one Content-Type field".to_owned()));
    };
    let value = value.to_str().map_err(|_| refuse("the Content-Type field is not readable".to_owned()))?;
    let (essence, parameters) = value.split_once(';').unwrap_or((value, ""));
    let essence = essence.trim();
    let found = taken.iter().find(|taken| taken.eq_ignore_ascii_case(essence));
    let found =
        found.ok_or_else(|| refuse(format!("a body of the media type \"{essence}\" is not taken")))?;
    for parameter in parameters.split(';').map(str::trim).filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim_matches('"');
        if name.eq_ignore_ascii_case("charset") && !value.eq_ignore_ascii_case("utf-8") {
            return Err(refuse(format!("the charset must be utf-8, not \"{value}\"")));
        }
    }
    Ok(found)
}

/// A body that must be text. Errors: 400.
pub fn text(body: &[u8]) -> Result<&str, Problem> {
    str::from_utf8(body).map_err(|error| {
        Problem::bad_request(format!("the body is not UTF-8 text from byte {} on", error.valid_up_to()))
    })
}

/// A body that must be one JSON object in which no key stands twice. Errors: 400, with line and column.
pub fn json_object(body: &[u8]) -> Result<Map<String, Value>, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = Strict { depth: 0 }.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    match value {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Problem::bad_request("the body is JSON, but not an object")),
        Err(error) => Err(Problem::bad_request(format!("the body cannot be read as JSON: {error}"))),
    }
}

/// Reads JSON and refuses what its reader lets pass: keys that stand twice, of which it takes the last (RFC 8259 §4 leaves that
/// open), and nesting that a reader with a smaller stack could not follow.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth + 1;
        if depth > DEPTH_MAX {
            return Err(E::custom(format_args!("it is nested more than {DEPTH_MAX} deep")));
        }
        Ok(Self { depth })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key {key:?} stands twice")));
            }
            object.insert(key, entries.next_value_seed(inner)?);
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        json_object(text.as_bytes()).unwrap_err().detail().to_owned()
    }

    #[test]
    fn an_object_is_read_as_it_stands() {
        let text = r#"{"a":[1,-2,1.5,true,null,"x\u0000"],"b":{"a":{}}}"#;
        assert_eq!(Value::Object(json_object(text.as_bytes()).unwrap()).to_string(), text);
    }

    #[test]
    fn what_says_two_things_or_is_no_object_is_refused() {
        assert!(refusal(r#"{"tcp": {"port": 1, "port": 2}}"#).contains("\"port\" stands twice"));
        for text in ["", "[]", "null", "7", "{", "{} {}", "{\"a\": 1e999}", "{\"a\": \"\u{1}\"}", "{'a': 1}"]
        {
            assert!(json_object(text.as_bytes()).is_err(), "{text}");
        }
        assert!(json_object(b"{\"a\": \"\xff\"}").is_err());
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
        assert!(refusal(&deep).contains("nested"));
        assert!(json_object(format!("{{\"a\": {}{}}}", "[".repeat(40), "]".repeat(40)).as_bytes()).is_ok());
    }

    #[test]
    fn media_types_are_compared_without_case_and_parameters() {
        let of = |value: &str| {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, value.parse().unwrap())]);
            media_type(&headers, &["application/json", "text/plain"], header::ACCEPT)
        };
        assert_eq!(of("Application/JSON; charset=\"UTF-8\""), Ok("application/json"));
        assert_eq!(of("text/plain"), Ok("text/plain"));
        for wrong in ["application/jsonx", "application/json; charset=latin1", "", "*/*"] {
            assert_eq!(of(wrong).unwrap_err().status(), 415, "{wrong}");
        }
        assert!(media_type(&HeaderMap::new(), &["text/plain"], header::ACCEPT).is_err());
    }
}
