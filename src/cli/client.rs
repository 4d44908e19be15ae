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

/// Longest wait for an answer: a reload waits for its new workers.
const WITHIN: Duration = Duration::from_secs(100);

/// How often to ask again where the connection ends without an answer: the api process that had accepted it was just
/// being replaced. Every request of the commands may be asked twice.
const TRIES: u32 = 10;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);

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
    ask(socket, Method::GET, path)
}

/// `POST path` without a body.
pub(super) fn post<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<Reached<T>, String> {
    ask(socket, Method::POST, path)
}

fn ask<T: DeserializeOwned>(socket: &Path, method: Method, path: &str) -> Result<Reached<T>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("could not ask the daemon at {socket:?}: {error}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(&error))?;
    let answer = runtime.block_on(async {
        tokio::time::timeout(WITHIN, persist(socket, &method, path))
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

/// [`exchange`], again where the other side left without a word.
async fn persist(socket: &Path, method: &Method, path: &str) -> io::Result<(bool, Bytes)> {
    let mut tries = 1;
    loop {
        match exchange(socket, method.clone(), path).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset && tries < TRIES => {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

/// One request over one connection: whether it was granted, and the body.
async fn exchange(socket: &Path, method: Method, path: &str) -> io::Result<(bool, Bytes)> {
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
    // Nothing was answered, whatever of the request got through.
    let unanswered = |error| io::Error::new(io::ErrorKind::ConnectionReset, error);
    let response = sender.send_request(request).await.map_err(unanswered)?;
    let good = response.status().is_success();
    let body = response.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    Ok((good, body))
}
