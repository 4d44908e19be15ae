//! The api process: lends the routes of [`crate::api`] its sockets and an async runtime of one thread. It never
//! forks, and main believes nothing it says but "please reload".

mod door;
mod listen;
mod places;
mod refusals;
mod subject;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use daemon_utils::channel::Channel;
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::watch;

use super::{Context, Heard, Order, Word, hear};
use crate::api::access::Guesses;
use crate::api::desk::Desk;
use crate::api::reload::Reloads;
use crate::api::token::Token;
use crate::api::{Endpoint, Owner, Peer, State, events, pool_places, router};
use crate::config::Loaded;
use crate::dhcp::InterfaceInfo;
use crate::event;
use crate::stats::{Counter, StatsCollector, TICK};

/// What the api process inherits besides its context.
#[derive(Debug)]
pub struct Inputs {
    /// Listening Unix socket.
    pub control: OwnedFd,
    /// Whom it belongs to.
    pub owner: Owner,
    /// Listening TCP socket.
    pub listen: Option<OwnedFd>,
    /// The bearer token that writing over TCP needs.
    pub token: Option<Token>,
    /// The configuration as it was said.
    pub loaded: Arc<Loaded>,
    /// The file that the configuration was read from.
    pub config_file: Option<String>,
    /// What the daemon serves where.
    pub endpoints: Vec<Endpoint>,
    /// The DHCP interfaces among that.
    pub served: Vec<InterfaceInfo>,
}

/// Threads for work that waits for a disk.
const BLOCKING: usize = 8;
/// How long open requests may take once the process has been told to leave.
const FAREWELL: Duration = Duration::from_secs(2);
/// A reload that was asked for through this process is waited for even when a newer generation took over.
const LAST_VERDICT: Duration = Duration::from_secs(90);

/// Serves until main says otherwise. Errors: what keeps it from serving at all.
pub fn run(context: &Context, inputs: Inputs) -> Result<(), String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING).build();
    let runtime = runtime.map_err(|error| format!("could not start the async runtime: {error}"))?;
    let served = runtime.block_on(serve(context, inputs));
    // What still waits for a disk must not hold up the end.
    runtime.shutdown_timeout(FAREWELL);
    served.map_err(|error| format!("could not serve the control API: {error}"))
}

async fn serve(context: &Context, inputs: Inputs) -> io::Result<()> {
    let news = News::of(&context.channel)?;
    // The handlers outlive no borrow: they get a copy of the channel to ask main through.
    let to_main = context.channel.as_fd().try_clone_to_owned()?;
    let to_main = Channel::from(to_main);
    let (leave, leaving) = watch::channel(false);
    let state = Arc::new(State {
        config: Arc::clone(&context.config),
        shared: context.shared,
        collector: Arc::new(StatsCollector::new(
            context.shared,
            subject::of(&context.config, pool_places(&context.config)),
        )),
        endpoints: inputs.endpoints,
        served: inputs.served,
        token: inputs.token,
        loaded: inputs.loaded,
        config_file: inputs.config_file,
        owner: inputs.owner,
        names: own_names(),
        guesses: Guesses::default(),
        slot: context.slot,
        reloads: Reloads::new(move |word| to_main.send(&word.encode())),
        desk: Desk::default(),
        study: Desk::of(1),
        feed: events::Feed::default(),
        leaving: leaving.clone(),
    });
    context.say(&Word::Ready);
    let mut servers = Some((inputs.control, inputs.listen));
    let mut running = tokio::task::JoinSet::new();
    loop {
        match hear(&context.channel)? {
            Heard::Order(Order::Begin) => {
                if let Some((control, listen)) = servers.take() {
                    // The first snapshot comes before the first request, the next ones by themselves.
                    state.collector.tick();
                    start(&mut running, &state, &leaving, control, listen)?;
                    running.spawn(collect(Arc::clone(&state), leaving.clone()));
                    running.spawn(report(Arc::clone(&state), leaving.clone()));
                    running.spawn(events::follow(Arc::clone(&state), leaving.clone()));
                }
            }
            Heard::Order(Order::Verdict(true, words)) => state.reloads.answer(Ok(words)),
            Heard::Order(Order::Verdict(false, reason)) => state.reloads.answer(Err(reason)),
            Heard::Order(Order::Quiesce) => {
                let _ = leave.send(true);
                context.say(&Word::Quiet);
                return farewell(context, &news, &state, running).await;
            }
            Heard::Order(Order::Stop) => {
                let _ = leave.send(true);
                return farewell(context, &news, &state, running).await;
            }
            Heard::Order(Order::Reopen) => (),
            Heard::MainGone => return Ok(()),
            Heard::Nothing => tokio::select! {
                waited = news.wait() => waited?,
                Some(ended) = running.join_next() => {
                    context.slot.count(Counter::ErrorApi);
                    event!(ApiFailed; "a listener has ended");
                    return Err(io::Error::other(format!("a listener has ended: {ended:?}")));
                }
            },
        }
    }
}

type Running = tokio::task::JoinSet<io::Result<()>>;

fn start(
    running: &mut Running,
    state: &Arc<State>,
    leaving: &watch::Receiver<bool>,
    control: OwnedFd,
    listen: Option<OwnedFd>,
) -> io::Result<()> {
    let routes = router(Arc::clone(state));
    let of = move |peer: Peer| routes.clone().layer(Extension(peer));
    running.spawn(door::serve(listen::Control::new(control)?, of.clone(), leaving.clone()));
    if let Some(listen) = listen {
        running.spawn(door::serve(listen::Tcp::new(listen)?, of, leaving.clone()));
    }
    Ok(())
}

/// Takes a snapshot every second, until the process leaves: the history belongs to the next one then.
async fn collect(state: Arc<State>, mut leaving: watch::Receiver<bool>) -> io::Result<()> {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + TICK, TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = leaving.wait_for(|leave| *leave) => return Ok(()),
            _ = ticks.tick() => drop(state.collector.tick()),
        }
    }
}

/// What this machine is called, by which its own users may call the API.
fn own_names() -> Vec<String> {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).into_iter().collect()
}

/// Logs the main figures every `logging.stats_interval`, until the process leaves.
async fn report(state: Arc<State>, mut leaving: watch::Receiver<bool>) -> io::Result<()> {
    let interval = state.config.logging.stats_interval;
    loop {
        let pause = async {
            if interval.is_zero() { std::future::pending().await } else { tokio::time::sleep(interval).await }
        };
        tokio::select! {
            _ = leaving.wait_for(|leave| *leave) => return Ok(()),
            () = pause => state.collector.latest().log(),
        }
    }
}

/// Lets open requests finish; a verdict that one of them waits for still comes in.
async fn farewell(context: &Context, news: &News, state: &State, mut running: Running) -> io::Result<()> {
    let verdicts = async {
        loop {
            match hear(&context.channel)? {
                Heard::Order(Order::Verdict(true, words)) => state.reloads.answer(Ok(words)),
                Heard::Order(Order::Verdict(false, reason)) => state.reloads.answer(Err(reason)),
                Heard::Order(Order::Stop) | Heard::MainGone => return Ok(()),
                Heard::Order(Order::Begin | Order::Quiesce | Order::Reopen) => (),
                Heard::Nothing => news.wait().await?,
            }
        }
    };
    let finished = async { while running.join_next().await.is_some() {} };
    tokio::select! {
        () = finished => Ok(()),
        heard = verdicts => heard,
        () = patience(state) => {
            log::debug!("connections on which nothing moved were given up");
            Ok(())
        }
    }
}

/// Ends when open requests have had their time. A client that sends half a request must not keep the process; one
/// that waits for main's verdict may.
async fn patience(state: &State) {
    let calm = async {
        let mut halves = 0;
        while halves < 2 {
            tokio::time::sleep(FAREWELL / 2).await;
            halves = if state.reloads.are_awaited() { 0 } else { halves + 1 };
        }
    };
    // Calm or not: the process leaves.
    let _ = tokio::time::timeout(LAST_VERDICT, calm).await;
}

/// Wakes when main has said something. The runtime takes the channel for a datagram socket, which is all the same
/// to it: it is only asked whether something can be read.
struct News(UnixDatagram);

impl News {
    fn of(channel: &Channel) -> io::Result<Self> {
        let copy = channel.as_fd().try_clone_to_owned()?;
        UnixDatagram::from_std(copy.into()).map(Self)
    }

    /// Waits until the channel has been readable since the last call. Readiness is forgotten before the caller
    /// reads, so a word that comes after that wakes again.
    async fn wait(&self) -> io::Result<()> {
        self.0.readable().await?;
        let forget: io::Result<()> =
            self.0.try_io(Interest::READABLE, || Err(io::ErrorKind::WouldBlock.into()));
        match forget {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
