//! Errors of the API as RFC 9457 problem documents.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// A problem document: `status` as in HTTP, a short `title` for the kind, `detail` for this case.
pub fn response(status: u16, title: &str, detail: &str) -> Response {
    let body = json!({"type": "about:blank", "title": title, "status": status, "detail": detail});
    let mut response = Body::from(body.to_string()).into_response();
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}
