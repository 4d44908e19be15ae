//! Who may do what, decided once for every request.
//!
//! Over the Unix socket: root, the daemon's own user and members of the socket's group. Over TCP reading is open to
//! loopback, and everything else needs the bearer token (RFC 6750). A web page may do nothing, wherever it comes from
//! (`origin`). docs/security.md says why.

mod guesses;
mod origin;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::State;
use super::problem::Problem;
use super::token::Token;
use crate::event;
use crate::stats::Counter;

pub use guesses::Guesses;

/// Who asks, and the way the request came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// Over `daemon.control_socket`.
    Control {
        /// The user that connected (`SO_PEERCRED`, unix(7)).
        uid: u32,
        /// The process that connected; none: it is not in our PID namespace.
        pid: Option<i32>,
        /// All groups of that process.
        groups: Vec<u32>,
    },
    /// Over `api.listen`, from this address.
    Tcp(SocketAddr),
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Control { uid, pid: Some(pid), .. } => write!(f, "uid {uid} pid {pid}"),
            Self::Control { uid, pid: None, .. } => write!(f, "uid {uid}"),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}

/// Whom the control socket belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Main's user.
    pub uid: u32,
    /// The socket's group.
    pub gid: u32,
}

/// Lets a request through or answers it; logs each that would change something.
pub async fn check(state: Arc<State>, request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let peer = request.extensions().get::<Peer>().cloned();
    let refused = match &peer {
        Some(peer) => decide(&state, peer, reads, &request, Instant::now()),
        // The worker says of every connection whose it is.
        None => Err(Problem::new(StatusCode::FORBIDDEN, "it is not known who asks")),
    };
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = match refused {
        Ok(()) => run(request, next).await,
        Err(problem) => problem.into_response(),
    };
    // What was refused at the door is counted and logged there, at a limited rate.
    if let Some(peer) = peer.filter(|_| !reads)
        && !matches!(response.status().as_u16(), 401 | 403 | 429)
    {
        let path: String = path.chars().take(200).collect();
        let status = response.status().as_u16();
        event!(ApiRequest, peer = peer, method = method, path = path, status = status; "{method} {path} by {peer}: {status}");
    }
    let fields = response.headers_mut();
    fields.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    fields.entry(header::CACHE_CONTROL).or_insert(header::HeaderValue::from_static("no-store"));
    response
}

/// Runs the handler. Its panic is an answer like any other; the connection goes on.
async fn run(request: Request, next: Next) -> Response {
    // Dropped with the connection, it takes the handler with it.
    let mut one = tokio::task::JoinSet::new();
    one.spawn(next.run(request));
    match one.join_next().await {
        Some(Ok(response)) => response,
        Some(Err(error)) => {
            event!(ApiFailed; "a request could not be answered: {error}");
            Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the daemon has made a mistake; its log tells more",
            )
            .into_response()
        }
        None => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "there was no answer").into_response(),
    }
}

fn decide(state: &State, peer: &Peer, reads: bool, request: &Request, now: Instant) -> Result<(), Problem> {
    let host = origin::host(request)?;
    match peer {
        Peer::Control { uid, groups, .. } => {
            let owner = state.owner;
            if *uid == 0 || *uid == owner.uid || groups.contains(&owner.gid) {
                return Ok(());
            }
            state.slot.count(Counter::SecurityApiForbidden);
            if state.guesses.may_log(now) {
                event!(ApiDenied, peer = peer; "{peer} is neither the daemon's user nor in the control socket's group");
            }
            let detail =
                format!("the control socket is for root, user {} and group {}", owner.uid, owner.gid);
            Err(Problem::new(StatusCode::FORBIDDEN, detail))
        }
        Peer::Tcp(address) => {
            origin::check_page(request.headers(), host.as_ref())?;
            let loopback = address.ip().to_canonical().is_loopback();
            match authority(state, request.headers(), *address, reads && loopback, now)? {
                // A web page knows no token, so who has it may call the server by any name.
                Authority::Token => Ok(()),
                Authority::Loopback => origin::check_host(host.as_ref(), &state.names),
            }
        }
    }
}

/// What a request over TCP is allowed by.
enum Authority {
    Token,
    Loopback,
}

fn authority(
    state: &State,
    headers: &HeaderMap,
    peer: SocketAddr,
    open: bool,
    now: Instant,
) -> Result<Authority, Problem> {
    let Some(given) = headers.get(header::AUTHORIZATION) else {
        return if open { Ok(Authority::Loopback) } else { Err(unauthorized()) };
    };
    // Whoever guesses too often is not told whether a guess was right.
    if let Some(wait) = state.guesses.blocked(peer.ip(), now) {
        if open {
            return Ok(Authority::Loopback);
        }
        let detail = format!("too many wrong tokens came from {}", peer.ip());
        let wait = wait.as_secs().max(1).to_string();
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).field(header::RETRY_AFTER, &wait));
    }
    if has_token(state.token.as_ref(), given.as_bytes()) {
        return Ok(Authority::Token);
    }
    if open {
        return Ok(Authority::Loopback);
    }
    state.slot.count(Counter::SecurityApiToken);
    state.guesses.note(peer.ip(), now);
    if state.guesses.may_log(now) {
        event!(ApiDenied, peer = peer; "{peer} gave a wrong token");
    }
    Err(unauthorized())
}

fn unauthorized() -> Problem {
    let detail = "this needs the bearer token of api.token_file, or the control socket";
    Problem::new(StatusCode::UNAUTHORIZED, detail)
        .field(header::WWW_AUTHENTICATE, "Bearer realm=\"echo-daemon\"")
}

/// Whether an `Authorization` field holds the token.
fn has_token(token: Option<&Token>, given: &[u8]) -> bool {
    let given = str::from_utf8(given).ok().and_then(|value| value.split_once(' '));
    match (token, given) {
        (Some(token), Some((scheme, given))) => {
            scheme.eq_ignore_ascii_case("bearer") && token.is(given.trim().as_bytes())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_token_opens() {
        let token = Token::of(b"secret");
        assert!(has_token(Some(&token), b"Bearer secret"));
        assert!(has_token(Some(&token), b"bearer  secret"));
        assert!(!has_token(Some(&token), b"Bearer secre"));
        assert!(!has_token(Some(&token), b"Basic secret"));
        assert!(!has_token(Some(&token), b""));
        assert!(!has_token(Some(&token), b"Bearer \xff"));
        assert!(!has_token(None, b"Bearer "));
    }
}
