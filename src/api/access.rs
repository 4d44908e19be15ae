//! Who may do what. Over the Unix socket the file's permissions have decided already; over TCP reading is open
//! to loopback, and everything else needs the bearer token (RFC 6750).

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use subtle::ConstantTimeEq;

use super::{State, problem};

/// The way a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// `daemon.control_socket`.
    Control,
    /// `api.listen`.
    Tcp,
}

/// Lets a request through or answers it.
pub async fn check(state: Arc<State>, door: Door, request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| *peer);
    let open = match door {
        Door::Control => true,
        Door::Tcp => reads && peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback()),
    };
    if open || has_token(state.token.as_deref(), request.headers()) {
        return next.run(request).await;
    }
    let mut response = problem::response(
        401,
        "Unauthorized",
        "this needs the bearer token of api.token_file, or the control socket",
    );
    let challenge = header::HeaderValue::from_static("Bearer realm=\"echo-daemon\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

fn has_token(token: Option<&str>, headers: &HeaderMap) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.split_once(' '));
    match (token, given) {
        (Some(token), Some((scheme, given))) => {
            scheme.eq_ignore_ascii_case("bearer")
                && bool::from(given.trim().as_bytes().ct_eq(token.as_bytes()))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(authorization: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        headers
    }

    #[test]
    fn only_the_right_token_opens() {
        assert!(has_token(Some("secret"), &headers("Bearer secret")));
        assert!(has_token(Some("secret"), &headers("bearer  secret")));
        assert!(!has_token(Some("secret"), &headers("Bearer secre")));
        assert!(!has_token(Some("secret"), &headers("Basic secret")));
        assert!(!has_token(Some("secret"), &HeaderMap::new()));
        assert!(!has_token(None, &headers("Bearer ")));
    }
}
