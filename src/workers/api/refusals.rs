//! Gives a body to what hyper refuses by itself: a head that is no HTTP (400), that is too large (431) or whose target
//! is too long (414) never reaches a handler, and hyper answers it with a status alone. Here such an answer becomes a problem
//! document (RFC 9457) on its way out; everything else passes as it is.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::api::problem::MEDIA_TYPE;

/// A connection whose bare refusals get a body.
pub(super) struct Refusals<S> {
    stream: S,
    /// What goes out in the place of a refusal, and how much of it has gone.
    instead: Option<(Vec<u8>, usize)>,
}

impl<S> Refusals<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, instead: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Refusals<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Refusals<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.instead.is_none() {
            match bare_refusal(bytes).and_then(with_body) {
                Some(whole) => this.instead = Some((whole, 0)),
                None => return Pin::new(&mut this.stream).poll_write(context, bytes),
            }
        }
        // Until the whole of it is out, the caller comes back with the same bytes.
        while let Some((whole, gone)) = &mut this.instead {
            let rest = whole.get(*gone..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            *gone += match ready!(Pin::new(&mut this.stream).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => count,
            };
        }
        this.instead = None;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The status of an answer of hyper's own: an error, whole in these bytes, empty, and without the field that every
/// answer of ours has.
fn bare_refusal(bytes: &[u8]) -> Option<u16> {
    let head = str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ").or_else(|| head.strip_prefix("HTTP/1.0 "))?.get(..3)?;
    let status: u16 = status.parse().ok().filter(|status| (400..600).contains(status))?;
    let ours = |line: &str| {
        line.split_once(':').is_some_and(|(name, _)| name.eq_ignore_ascii_case("x-content-type-options"))
    };
    (!head.contains("\r\n\r\n") && !head.lines().any(ours)).then_some(status)
}

/// The same with a body. The head was not understood, so nothing more is read from this connection.
fn with_body(status: u16) -> Option<Vec<u8>> {
    let status = hyper::StatusCode::from_u16(status).ok()?;
    let title = status.canonical_reason()?;
    let detail = match status.as_u16() {
        431 => "the head of the request is too large, or has too many fields",
        414 => "the target of the request is too long",
        _ => "the head of the request is not HTTP/1.1",
    };
    let body = json!({"type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail});
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {}\r\ncache-control: no-store\r\n\
         x-content-type-options: nosniff\r\nconnection: close\r\n\r\n",
        body.len()
    );
    Some((head + &body).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_of_hyper_itself_are_bare_refusals() {
        assert_eq!(
            bare_refusal(b"HTTP/1.1 431 X\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"),
            Some(431)
        );
        for passes in [
            &b"HTTP/1.1 100 Continue\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 404 Not Found\r\nx-content-type-options: nosniff\r\n\r\n",
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}",
            b"HTTP/1.1 4",
            b"\xff",
            b"",
        ] {
            assert_eq!(bare_refusal(passes), None);
        }
    }
}
