//! A client of the control API over the Unix socket, for the commands.

use std::io;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Longest wait for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// A reload waits for its new workers.
const VERDICT_WITHIN: Duration = Duration::from_secs(100);
/// An api process that hands over to the next generation closes the connections whose request it has not read yet.
/// The next one accepts at once, so few tries are enough. Every request may be made twice without harm.
const TRIES: u32 = 10;
const AGAIN: Duration = Duration::from_millis(20);

/// What came of asking.
#[derive(Debug)]
pub(super) enum Reached<T> {
    /// An answer.
    Answer(T),
    /// A refusal.
    Problem(Problem),
    /// Nobody listens at the socket.
    Nobody,
}

/// An RFC 9457 problem document.
#[derive(Debug, Deserialize)]
pub(super) struct Problem {
    pub(super) title: String,
    #[serde(default)]
    pub(super) detail: String,
}

/// `GET path`.
pub(super) fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<Reached<T>, String> {
    ask(socket, Method::GET, path, ANSWER_WITHIN)
}

/// `POST path` without a body.
pub(super) fn post<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<Reached<T>, String> {
    ask(socket, Method::POST, path, VERDICT_WITHIN)
}

fn ask<T: DeserializeOwned>(
    socket: &Path,
    method: Method,
    path: &str,
    within: Duration,
) -> Result<Reached<T>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("could not ask the daemon at {socket:?}: {error}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(&error))?;
    let answer = runtime.block_on(async {
        tokio::time::timeout(within, persist(socket, &method, path))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer"))?
    });
    let (good, body) = match answer {
        Ok(answer) => answer,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(Reached::Nobody);
        }
        Err(error) => return Err(failed(&error)),
    };
    if good {
        serde_json::from_slice(&body).map(Reached::Answer).map_err(|error| failed(&error))
    } else {
        serde_json::from_slice(&body).map(Reached::Problem).map_err(|error| failed(&error))
    }
}

/// Asks until somebody answers; an error of the connection that came before any answer is tried again.
async fn persist(socket: &Path, method: &Method, path: &str) -> io::Result<(bool, Bytes)> {
    let mut tries = 1;
    loop {
        match exchange(socket, method, path).await {
            Err(error) if error.kind() == io::ErrorKind::Other && tries < TRIES => {
                tries += 1;
                tokio::time::sleep(AGAIN).await;
            }
            result => return result,
        }
    }
}

/// One request over one connection: whether it was granted, and the body. Errors of kind `Other`: the connection
/// ended before the answer did.
async fn exchange(socket: &Path, method: &Method, path: &str) -> io::Result<(bool, Bytes)> {
    let stream = tokio::net::UnixStream::connect(socket).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(hyper::header::HOST, "localhost")
        .header(hyper::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let good = response.status().is_success();
    let body = response.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    Ok((good, body))
}
