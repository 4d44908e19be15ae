//! Errors of the API as problem documents (RFC 9457).
//!
//! A problem whose title is the phrase of its status says no more than the status: its type is `about:blank` (§4.2.1).
//! Every other title is a kind of its own, named by a relative reference made from it, such as
//! `/problems/configuration-refused`; docs/api.md lists them. Nothing is served there.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// The media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// An error on its way to the client. Handlers return it as their `Err`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: u16,
    title: Option<&'static str>,
    detail: String,
    members: Map<String, Value>,
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem that is said by its status alone; `detail` tells this case: lower case, no full stop.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status: status.as_u16(),
            title: None,
            detail: detail.into(),
            members: Map::new(),
            fields: Vec::new(),
        }
    }

    /// 400: the request is wrong in itself.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// A kind of its own. The title must not change from case to case.
    #[must_use]
    pub fn of_kind(mut self, title: &'static str) -> Self {
        self.title = Some(title);
        self
    }

    /// A further member of the document (RFC 9457 §3.2).
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// A header field of the answer. A value that no header can hold is left out.
    #[must_use]
    pub fn field(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.fields.push((name, value));
        }
        self
    }

    /// Its status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// What this case is.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let phrase = status.canonical_reason().unwrap_or("Error");
        let title = self.title.unwrap_or(phrase);
        let mut document = self.members;
        let own = json!({"type": kind(title, phrase), "title": title, "status": status.as_u16(), "detail": self.detail});
        if let Value::Object(own) = own {
            document.extend(own);
        }
        let mut response = Body::from(Value::Object(document).to_string()).into_response();
        *response.status_mut() = status;
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in self.fields {
            fields.append(name, value);
        }
        response
    }
}

/// The type of a problem: made from its title where that says more than the status.
fn kind(title: &str, phrase: &str) -> String {
    if title.eq_ignore_ascii_case(phrase) {
        return "about:blank".to_owned();
    }
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    format!("/problems/{}", title.chars().map(letter).collect::<String>())
}

/// A problem document: `status` as in HTTP, a short `title` for the kind, `detail` for this case.
pub fn response(status: u16, title: &'static str, detail: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Problem::new(status, detail).of_kind(title).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_that_says_more_than_the_status_is_a_kind_of_its_own() {
        assert_eq!(kind("Not found", "Not Found"), "about:blank");
        assert_eq!(kind("Configuration refused", "Unprocessable Entity"), "/problems/configuration-refused");
    }
}
