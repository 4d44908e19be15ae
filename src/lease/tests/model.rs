//! Random messages, clock steps, failing commits, restarts, reboots and reconfigurations, against a model that knows only
//! what was promised: a map from address to holder and end. Two engines share the store and the offers, as two workers do.

use proptest::prelude::*;

use super::memory::MemoryStore;
use super::*;

#[derive(Debug, Clone)]
enum Move {
    Discover(u32, Option<u32>),
    Ask(u32, u8, u32),
    Release(u32, u32),
    Decline(u32, u32),
    Withdraw(u32),
    Commit {
        fails: bool,
    },
    Wait(u32),
    /// A worker dies, in the middle of its batch, and another one takes its place; the offers stay or are lost.
    Restart {
        offers: bool,
    },
    Switch,
    /// The machine boots anew with a wall clock that lags behind: lease time goes on where the file ends.
    Reboot,
    /// A reload: other pools, the same offers.
    Reconfigure(usize),
}

fn moves() -> impl Strategy<Value = Move> {
    let who = 0..6_u32;
    let which = 0..6_u32;
    prop_oneof![
        4 => (who.clone(), prop::option::of(which.clone())).prop_map(|(n, wish)| Move::Discover(n, wish)),
        8 => (who.clone(), 0..4_u8, which.clone()).prop_map(|(n, state, a)| Move::Ask(n, state, a)),
        2 => (who.clone(), which.clone()).prop_map(|(n, a)| Move::Release(n, a)),
        1 => (who.clone(), which).prop_map(|(n, a)| Move::Decline(n, a)),
        1 => who.prop_map(Move::Withdraw),
        4 => prop::bool::weighted(0.1).prop_map(|fails| Move::Commit { fails }),
        3 => prop_oneof![Just(1_u32), Just(61), Just(1800), Just(3600), Just(90_000)].prop_map(Move::Wait),
        1 => any::<bool>().prop_map(|offers| Move::Restart { offers }),
        2 => Just(Move::Switch),
        1 => Just(Move::Reboot),
        1 => (0..SHAPES.len()).prop_map(Move::Reconfigure),
    ]
}

/// The pool, and an address inside it that is excluded.
const SHAPES: [(&str, Option<&str>); 4] = [
    ("10.0.0.100-10.0.0.104", None),
    ("10.0.0.100-10.0.0.101", None),
    ("10.0.0.102-10.0.0.105", None),
    ("10.0.0.100-10.0.0.104", Some("10.0.0.102")),
];

fn shaped((range, excluded): (&str, Option<&str>)) -> Arc<Topology> {
    let mut lan = subnet("lan", "10.0.0.0/16", None, &[("main", range)]);
    lan.exclude.extend(excluded.map(|address| address.parse::<crate::config::AddressRange>().unwrap()));
    Topology::lay_out(&common(), &[lan], &[])
}

/// What clients were promised.
#[derive(Debug, Clone, Default)]
struct Promises {
    leases: BTreeMap<Ipv4Addr, (u32, Timestamp)>,
    rests: BTreeMap<Ipv4Addr, Timestamp>,
}

impl Promises {
    fn holder(&self, address: Ipv4Addr, now: Timestamp) -> Option<u32> {
        self.leases.get(&address).filter(|(_, ends)| *ends >= now).map(|(n, _)| *n)
    }

    fn rests(&self, address: Ipv4Addr, now: Timestamp) -> bool {
        self.rests.get(&address).is_some_and(|ends| *ends > now)
    }
}

struct World {
    store: MemoryStore,
    topology: Arc<Topology>,
    offers: Offers,
    engines: [LeaseManager<MemoryStore>; 2],
    active: usize,
    now: Timestamp,
    /// What is promised: committed, and with what the batch would add.
    kept: Promises,
    pending: Promises,
}

impl World {
    fn new() -> Self {
        let (store, topology, offers) = (MemoryStore::default(), shaped(SHAPES[0]), Offers::private());
        let engines = [store.manager(&topology, offers), store.manager(&topology, offers)];
        let (kept, pending) = (Promises::default(), Promises::default());
        let mut world = Self { store, topology, offers, engines, active: 0, now: START, kept, pending };
        world.begin();
        world
    }

    fn engine(&mut self) -> &mut LeaseManager<MemoryStore> {
        &mut self.engines[self.active]
    }

    fn begin(&mut self) {
        let now = self.now;
        self.engine().begin(Access::Write, now).unwrap();
        self.pending = self.kept.clone();
    }

    fn commit(&mut self, fails: bool) {
        self.store.fail(fails);
        if self.engine().commit().is_ok() {
            self.kept = self.pending.clone();
        }
        self.store.fail(false);
        self.check();
        self.begin();
    }

    fn play(&mut self, a_move: &Move) {
        let now = self.now;
        match *a_move {
            Move::Discover(n, wish) => {
                let got = offered(self.engine().discover(&client(n), &LAN, wish.map(address)));
                if let Some(address) = got {
                    let holder = self.pending.holder(address, now);
                    assert!(
                        holder.is_none_or(|holder| holder == n),
                        "{address} is offered to {n}, held by {holder:?}"
                    );
                    assert!(!self.pending.rests(address, now));
                    assert!(self.is_open(address));
                }
            }
            Move::Ask(n, state, a) => {
                let state =
                    [Ask::Selecting, Ask::InitReboot, Ask::Renewing, Ask::Rebinding][usize::from(state)];
                let ask = state(address(a));
                let answer = self.engine().request(&client(n), &LAN, ask, &hour);
                self.answered(n, ask, answer);
            }
            Move::Release(n, a) => {
                let done = self.engine().release(&client(n), address(a)) == Released::Done;
                assert_eq!(done, self.pending.holder(address(a), now) == Some(n));
                if done {
                    self.pending.leases.remove(&address(a));
                }
            }
            Move::Decline(n, a) => {
                let declined = self.engine().decline(&client(n), address(a));
                if declined != Declined::NotHolder {
                    let holder = self.pending.holder(address(a), now);
                    assert!(holder.is_none_or(|holder| holder == n));
                    assert!(!self.pending.rests(address(a), now));
                    self.pending.leases.remove(&address(a));
                }
                if let Declined::Done(hold) = declined {
                    self.pending.rests.insert(address(a), Timestamp(now.0 + hold.as_secs()));
                }
            }
            Move::Withdraw(n) => self.engine().withdraw_offer(&client(n), &LAN),
            Move::Commit { fails } => self.commit(fails),
            Move::Wait(secs) => {
                self.commit(false);
                self.now = self.now.plus(secs);
                self.begin();
            }
            Move::Restart { offers } => {
                if !offers {
                    self.offers = Offers::private();
                    let other = 1 - self.active;
                    self.engines[other] = self.store.manager(&self.topology, self.offers);
                }
                self.engines[self.active] = self.store.manager(&self.topology, self.offers);
                self.begin();
                self.check();
            }
            Move::Switch => {
                self.commit(false);
                self.engine().abort();
                self.active = 1 - self.active;
                self.begin();
            }
            Move::Reboot => {
                self.commit(false);
                self.engine().abort();
                self.now = self.store.log().iter().map(|row| row.at).max().unwrap_or(self.now);
                self.offers = Offers::private();
                self.reopen();
            }
            Move::Reconfigure(shape) => {
                self.commit(false);
                self.engine().abort();
                self.topology = shaped(SHAPES[shape]);
                self.reopen();
            }
        }
    }

    /// Both workers start anew.
    fn reopen(&mut self) {
        let (topology, offers) = (&self.topology, self.offers);
        self.engines = [self.store.manager(topology, offers), self.store.manager(topology, offers)];
        self.begin();
        self.check();
    }

    /// Whether the configuration in force lets anybody have this address.
    fn is_open(&self, address: Ipv4Addr) -> bool {
        self.topology.pool_of(address).is_some() && !self.topology.never_given(address)
    }

    fn answered(&mut self, n: u32, ask: Ask, answer: Answer) {
        let now = self.now;
        let (Ask::Selecting(asked) | Ask::InitReboot(asked) | Ask::Renewing(asked) | Ask::Rebinding(asked)) =
            ask;
        let holder = self.pending.holder(asked, now);
        match answer {
            Answer::Ack { address, lease_secs, .. } => {
                assert_eq!(address, asked);
                assert!(
                    holder.is_none_or(|holder| holder == n),
                    "{address} is granted to {n}, held by {holder:?}"
                );
                assert!(!self.pending.rests(address, now));
                assert!(self.is_open(address));
                self.pending.leases.retain(|_, (holder, _)| *holder != n);
                self.pending.leases.insert(address, (n, now.plus(lease_secs)));
            }
            // The configuration took its address away: it must move, and when it has heard so its lease is over. (SELECTING
            // it has heard of another address meanwhile.)
            Answer::Nak(NakReason::NotPermitted) if holder == Some(n) && !self.is_open(asked) => {
                if !matches!(ask, Ask::Selecting(_)) {
                    self.pending.leases.remove(&asked);
                }
            }
            Answer::Nak(reason) => assert_ne!(holder, Some(n), "refused to its holder: {reason:?}"),
            Answer::Silence(_) => assert_ne!(holder, Some(n)),
        }
    }

    /// What was promised is in force, in the engine that did it.
    fn check(&mut self) {
        let (now, kept) = (self.now, self.kept.clone());
        let engine = self.engine();
        for (address, (n, ends)) in kept.leases.iter().filter(|(_, (_, ends))| *ends >= now) {
            let lease = engine.lease_at(*address).expect("a promised lease is known");
            assert_eq!(
                (&lease.client.key, lease.state, lease.expires),
                (&client(*n).key, LeaseState::Active, *ends)
            );
            assert_eq!(lease_of(engine, *n), Some(*address));
        }
        let active = (0..6).filter(|a| {
            engine.lease_at(address(*a)).is_some_and(|l| l.state == LeaseState::Active && l.expires >= now)
        });
        assert_eq!(active.count(), kept.leases.values().filter(|(_, ends)| *ends >= now).count());
        let gauge = engine.gauges()[0];
        let counted = gauge.free + gauge.states.iter().sum::<u64>();
        // An excluded address is not free, but a lease of it may still be there.
        let topology = engine.topology();
        let excluded = |a: &Ipv4Addr| topology.pool_of(*a).is_some() && topology.never_given(*a);
        let excluded = (0..6).map(address).filter(excluded).count() as u64;
        assert!((gauge.size - excluded..=gauge.size).contains(&counted), "{gauge:?}");
    }
}

/// Of six, of which no pool has all.
fn address(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(ip("10.0.0.100")) + n)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_promise_is_ever_broken(script in prop::collection::vec(moves(), 1..120)) {
        let mut world = World::new();
        for a_move in &script {
            world.play(a_move);
        }
        world.commit(false);
    }
}
