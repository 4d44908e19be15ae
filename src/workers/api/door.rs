//! One door of the control API: accepts connections and speaks HTTP/1.1 on each, within bounds, so that clients
//! that hang cost the others nothing. What is answered is [`crate::api`]'s business. Called by the api worker.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::LAST_VERDICT;
use super::places::{Places, Waiting, Watched};
use super::refusals::Refusals;
use crate::api::Peer;
use crate::api::events::{self, LongLived};

/// How long a client may take for the head of a request, and be silent between two.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection may last; a client that reads no answer must not hold its place for ever.
const LIFETIME: Duration = Duration::from_secs(5 * 60);
/// Longest head of a request, in bytes.
const HEAD_BYTES: usize = 16 * 1024;
/// Most fields in a head.
const FIELDS: usize = 64;

/// Serves until told to leave and the last connection has ended. `routes` are those for a peer.
pub(super) async fn serve<L: Listener<Addr = Peer>>(
    mut listener: L,
    routes: impl Fn(Peer) -> Router,
    leaving: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut connections = JoinSet::new();
    let mut places = Places::default();
    let mut leave = leaving.clone();
    loop {
        tokio::select! {
            // An error means that the sender is gone, which is a reason to leave, too.
            _ = leave.wait_for(|leave| *leave) => break,
            Some(ended) = connections.join_next() => {
                if let Ok(number) = ended {
                    places.leave(number);
                }
            }
            // Whether there is room is asked anew.
            () = places.changed() => (),
            (stream, peer) = listener.accept(), if places.have_room() => {
                // Where its address has too many at work it is closed at once.
                let Some((number, state)) = places.take(&peer) else { continue };
                let (routes, leaving) = (routes(peer), leaving.clone());
                connections.spawn(async move {
                    converse(stream, routes, leaving, state).await;
                    number
                });
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
async fn converse<S>(stream: S, routes: Router, mut leaving: watch::Receiver<bool>, state: Arc<Waiting>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (begin, mut begun) = watch::channel(false);
    let (lengthen, long) = watch::channel(false);
    let routes = TowerToHyperService::new(routes);
    let watched = Arc::clone(&state);
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        begin.send_replace(true);
        let (watched, lengthen) = (Arc::clone(&watched), lengthen.clone());
        let answer = routes.call(request.map(|body| Watched::request(body, Arc::clone(&watched))));
        async move {
            let answer = answer.await?;
            if answer.extensions().get::<LongLived>().is_some() {
                lengthen.send_replace(true);
            }
            Ok::<_, std::convert::Infallible>(answer.map(|body| Watched::answer(body, watched)))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES)
        .max_headers(FIELDS)
        .serve_connection(TokioIo::new(Refusals::new(stream)), service);
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        // Another client needs the place, and this one has asked nothing.
        () = state.ended() => return,
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
