//! One door of the control API: accepts connections and speaks HTTP/1.1 on each, within bounds, so that clients
//! that hang cost the others nothing. What is answered is [`crate::api`]'s business. Called by the api worker.

use std::io;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::LAST_VERDICT;
use crate::api::events::{self, LongLived};

/// Most connections at once; further ones wait in the backlog. Each door has its own: whoever fills the TCP port
/// keeps nobody from the control socket.
const CONNECTIONS: usize = 64;
/// How long a client may take for the head of a request, and be silent between two.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection may last; a client that reads no answer must not hold its place for ever.
const LIFETIME: Duration = Duration::from_secs(5 * 60);

/// Serves until told to leave and the last connection has ended. `routes` are those for a peer.
pub(super) async fn serve<L: Listener>(
    mut listener: L,
    routes: impl Fn(L::Addr) -> Router,
    leaving: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut connections = JoinSet::new();
    let mut leave = leaving.clone();
    loop {
        tokio::select! {
            // An error means that the sender is gone, which is a reason to leave, too.
            _ = leave.wait_for(|leave| *leave) => break,
            Some(_) = connections.join_next() => (),
            (stream, peer) = listener.accept(), if connections.len() < CONNECTIONS => {
                connections.spawn(converse(stream, routes(peer), leaving.clone()));
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// Ends when a connection has lasted long enough.
async fn life(long: &watch::Receiver<bool>) {
    tokio::time::sleep(LIFETIME).await;
    // A stream of events ends by itself.
    if *long.borrow() {
        tokio::time::sleep(events::LIFETIME).await;
    }
}

/// One connection. What breaks it is the client's affair.
async fn converse<S>(stream: S, routes: Router, mut leaving: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (begin, mut begun) = watch::channel(false);
    let (lengthen, long) = watch::channel(false);
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |request| {
        begin.send_replace(true);
        let (answer, lengthen) = (routes.call(request), lengthen.clone());
        async move {
            let answer = answer.await;
            let lasts = |answer: &Response| answer.extensions().get::<LongLived>().is_some();
            if answer.as_ref().is_ok_and(lasts) {
                lengthen.send_replace(true);
            }
            answer
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = leaving.wait_for(|leave| *leave) => (),
        () = life(&long) => (),
    }
    // The first request of a connection that has just been accepted is waited for (hyper would close such a one): it
    // may have been sent before the client could know that another process accepts now.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = begun.wait_for(|begun| *begun) => (),
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(LAST_VERDICT, connection).await;
}
