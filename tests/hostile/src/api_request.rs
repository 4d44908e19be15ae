//! A request to the control API: the real routes over a lease file of their own, with main played by the target
//! [`main_order`].
//!
//! The input is a text: `C`, `L` or `T` (over the control socket, by TCP from this machine, by TCP from elsewhere), the
//! method, the target, header lines, an empty line, the body. Whoever comes by TCP does not know the token.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use echo_daemon::api::access::Guesses;
use echo_daemon::api::desk::Desk;
use echo_daemon::api::events::{self, Feed};
use echo_daemon::api::reload::Reloads;
use echo_daemon::api::token::Token;
use echo_daemon::api::{Owner, Peer, State, pool_places, router};
use echo_daemon::config::model::{Config, Durability};
use echo_daemon::dhcp::InterfaceInfo;
use echo_daemon::lease::prepare;
use echo_daemon::stats::{Shared, StatsCollector, Subject};
use echo_daemon::workers::{Word, regions};
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, watch};

use super::main_order;
use super::world::{LOADED, WORLD};

/// Longer than anything that is asked here takes, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The api process, played: one for each process, since its memory is never given back.
struct Api {
    runtime: Runtime,
    state: Arc<State>,
    routes: TowerToHyperService<Router>,
    /// What main was told.
    told: Arc<Mutex<Vec<Vec<u8>>>>,
    asked: Arc<Notify>,
    /// Keeps the process from leaving.
    _leave: watch::Sender<bool>,
    /// The lease file as it was at first.
    empty: Vec<u8>,
}

/// One request at a time.
static API: LazyLock<Mutex<Api>> = LazyLock::new(|| Mutex::new(Api::new()));

/// See the top of this file.
pub fn run(data: &[u8]) {
    let Some(asked) = Asked::read(data) else { return };
    API.lock().unwrap_or_else(PoisonError::into_inner).answer(asked);
}

/// What an input says.
struct Asked {
    request: Request<Body>,
    trusted: bool,
    reads: bool,
    stream: bool,
}

impl Asked {
    fn read(data: &[u8]) -> Option<Self> {
        let (head, body) = match data.windows(2).position(|two| two == b"\n\n") {
            Some(end) => (data.get(..end)?, data.get(end + 2..)?),
            None => (data, &[][..]),
        };
        let mut lines = head.split(|byte| *byte == b'\n');
        let mut words = lines.next()?.splitn(3, |byte| *byte == b' ');
        let peer = match words.next()? {
            b"C" => Peer::Control { uid: 0, pid: Some(1), groups: vec![0] },
            b"L" => Peer::Tcp(SocketAddr::from(([127, 0, 0, 1], 40_000))),
            b"T" => Peer::Tcp(SocketAddr::from(([192, 0, 2, 7], 40_000))),
            _ => return None,
        };
        let trusted = matches!(peer, Peer::Control { .. });
        let method = Method::from_bytes(words.next()?).ok()?;
        let target = Uri::try_from(words.next()?).ok()?;
        let reads = matches!(method, Method::GET | Method::HEAD | Method::OPTIONS);
        let stream = target.path() == "/v1/events";
        let mut request = Request::new(Body::from(body.to_vec()));
        (*request.method_mut(), *request.uri_mut()) = (method, target);
        request.headers_mut().insert(header::HOST, HeaderValue::from_static("localhost"));
        for line in lines {
            let (name, value) = line.split_at_checked(line.iter().position(|byte| *byte == b':')?)?;
            let value = value.get(1..)?.trim_ascii();
            let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) else {
                return None;
            };
            request.headers_mut().insert(name, value);
        }
        request.extensions_mut().insert(peer);
        Some(Self { request, trusted, reads, stream })
    }
}

/// Where the lease file lies, in `$TMPDIR`.
fn folder() -> PathBuf {
    std::env::temp_dir().join(format!("echo-daemon-fuzz-{}", std::process::id()))
}

/// Takes the lease file away.
pub fn tidy() {
    let _ = std::fs::remove_dir_all(folder());
}

impl Api {
    fn new() -> Self {
        let mut config: Config = (**WORLD).clone();
        std::fs::create_dir_all(folder()).unwrap();
        config.dhcp.store.path = folder().join("leases.db");
        config.dhcp.store.durability = Durability::Process;
        prepare(&config.dhcp.store.path, Durability::Process).unwrap();
        let empty = std::fs::read(&config.dhcp.store.path).unwrap();
        let shared = Shared::create(regions::WORDS).unwrap();
        let (leave, leaving) = watch::channel(false);
        let told: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let asked = Arc::new(Notify::new());
        let reloads = {
            let (told, asked) = (Arc::clone(&told), Arc::clone(&asked));
            Reloads::new(move |word: &Word| {
                told.lock().unwrap_or_else(PoisonError::into_inner).push(word.encode());
                asked.notify_one();
                Ok(())
            })
        };
        let lo = InterfaceInfo {
            name: "lo".into(),
            index: 1,
            addresses: vec![([127, 0, 0, 1].into(), 8)],
            loopback: true,
        };
        let subject = Subject {
            pools: pool_places(&config),
            files: Vec::new(),
            main: 1,
            names: Vec::new(),
            name_of: |_| None,
        };
        let collector = Arc::new(StatsCollector::new(shared, subject));
        collector.tick();
        let state = Arc::new(State {
            config: Arc::new(config),
            loaded: Arc::new(LOADED.clone()),
            config_file: Some("world.yaml".to_owned()),
            shared,
            collector,
            endpoints: Vec::new(),
            served: vec![lo],
            token: Some(Token::of(b"a token that no input can guess: 8f7c1e52d90b4a36")),
            owner: Owner { uid: 0, gid: 0 },
            names: vec!["box".to_owned()],
            guesses: Guesses::default(),
            reloads,
            slot: shared.slot(1),
            desk: Desk::default(),
            study: Desk::of(1),
            feed: Feed::default(),
            leaving,
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let routes = TowerToHyperService::new(router(Arc::clone(&state)));
        Self { runtime, state, routes, told, asked, _leave: leave, empty }
    }

    fn answer(&self, asked: Asked) {
        let Asked { request, trusted, reads, stream } = asked;
        let (response, body) = self.runtime.block_on(async {
            let answered = async {
                let response = self.routes.call(request).await.expect("a router always answers");
                let (head, body) = response.into_parts();
                // Events go on for ever: the first words of them.
                let body = if stream && head.status.is_success() {
                    first(body).await
                } else {
                    body.collect().await.expect("a body is there").to_bytes().to_vec()
                };
                (Response::from_parts(head, ()), body)
            };
            tokio::select! {
                answered = tokio::time::timeout(PATIENCE, answered) => answered.expect("an answer in time"),
                () = self.main() => unreachable!("main never ends"),
                // Anew each time: the lease file that it has open may be put back.
                _ = events::follow(Arc::clone(&self.state), self.state.leaving.clone()), if stream => {
                    unreachable!("the api process stays")
                }
            }
        });
        let told = std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner));
        for bytes in &told {
            let word = Word::decode(bytes).expect("main understands what it is told");
            if let Word::Patch(patch) = &word {
                main_order::judge(patch);
            }
        }
        assert!(trusted || told.is_empty(), "main is asked for nothing without the token");
        assert!(trusted || reads || !response.status().is_success(), "nothing is done without the token");
        check(&response, &body);
        if !reads && response.status().is_success() {
            self.forget();
        }
    }

    /// Main: takes a patch that checks out, refuses any other, and each question is answered once.
    async fn main(&self) {
        loop {
            self.asked.notified().await;
            let last = self.told.lock().unwrap_or_else(PoisonError::into_inner).last().cloned();
            let verdict = match last.as_deref().and_then(Word::decode) {
                Some(Word::Patch(patch)) => main_order::verdict(&patch),
                _ => Ok("generation 2 is in force".to_owned()),
            };
            self.state.reloads.answer(verdict);
        }
    }

    /// Puts the lease file back, so that no input depends on those before it.
    fn forget(&self) {
        let path = &self.state.config.dhcp.store.path;
        for end in ["-wal", "-shm"] {
            let mut beside = path.clone().into_os_string();
            beside.push(end);
            let _ = std::fs::remove_file(beside);
        }
        std::fs::write(path, &self.empty).unwrap();
    }
}

/// The first piece of a stream of events; nothing where only the head was asked for.
async fn first(mut body: Body) -> Vec<u8> {
    let Some(frame) = body.frame().await else { return Vec::new() };
    let bytes = frame.expect("a stream does not fail").into_data().expect("no trailers").to_vec();
    assert!(bytes.starts_with(b"retry: "), "{}", bytes.escape_ascii());
    bytes
}

/// An answer is what it says that it is.
fn check(response: &Response<()>, body: &[u8]) {
    let status = response.status();
    assert!(status != StatusCode::INTERNAL_SERVER_ERROR, "500: {}", String::from_utf8_lossy(body));
    let kind = response.headers().get(header::CONTENT_TYPE).map(|kind| kind.to_str().expect("a media type"));
    if status.is_client_error() || status.is_server_error() {
        // An answer to HEAD has no body.
        assert!(kind == Some("application/problem+json"), "{status} {kind:?}");
    }
    if kind.is_some_and(|kind| kind.ends_with("json")) && !body.is_empty() {
        let value: Value = serde_json::from_slice(body).expect("JSON");
        if kind == Some("application/problem+json") {
            assert_eq!(value["status"], Value::from(status.as_u16()), "RFC 9457");
            assert!(value["title"].is_string(), "{value}");
        }
    }
    assert!(response.headers().contains_key(header::X_CONTENT_TYPE_OPTIONS));
}
