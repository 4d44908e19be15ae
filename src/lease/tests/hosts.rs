//! Reservations: who gets them, who must leave them, and what happens while somebody else has them.

use super::memory::MemoryStore;
use super::*;
use crate::config::model::{HistoryLimits, Host};

/// One pool 10.0.0.100-.109; `inside` and `outside` of it reserved for client 1 (two hardware addresses: 1 and 2) and
/// client 3.
struct Site {
    store: MemoryStore,
    engine: LeaseManager<MemoryStore>,
}

fn mac(n: u32) -> Vec<u8> {
    client(n).hardware.bytes().to_vec()
}

pub(super) fn host(name: &str, macs: &[u32], ip: Option<&str>) -> Host {
    Host {
        name: name.into(),
        macs: macs.iter().map(|n| mac(*n)).collect(),
        client_id: None,
        circuit_id: None,
        remote_id: None,
        ip: ip.map(super::ip),
        hostname: None,
        lease_time: None,
        boot: Boot::default(),
        options: BTreeMap::new(),
    }
}

fn topology(hosts: Vec<Host>) -> Arc<Topology> {
    let mut lan = subnet("lan", "10.0.0.0/24", None, &[("main", "10.0.0.100-10.0.0.109")]);
    lan.hosts = hosts;
    Topology::lay_out(&common(), &[lan], &[])
}

fn site() -> Site {
    let store = MemoryStore::default();
    let hosts = vec![
        host("laptop", &[1, 2], Some("10.0.0.105")),
        host("printer", &[3], Some("10.0.0.10")),
        host("guest", &[4], None),
    ];
    Site { engine: store.manager(&topology(hosts), Offers::private()), store }
}

impl Site {
    fn scope<T>(&self, n: u32, work: impl FnOnce(&Scope<'_>) -> T) -> T {
        let known = client(n);
        let topology = Arc::clone(self.engine.topology());
        let host = topology.host_of(topology.link_of(SubnetId(0)), &ClientRef::from(&known));
        work(&Scope { host, ..LAN })
    }

    fn discover(&mut self, now: Timestamp, n: u32) -> Option<Ipv4Addr> {
        let scope = self.scope(n, |scope| scope.host);
        self.engine.at(now, |m| offered(m.discover(&client(n), &Scope { host: scope, ..LAN }, None)))
    }

    fn ask(&mut self, now: Timestamp, n: u32, ask: Ask) -> Answer {
        let host = self.scope(n, |scope| scope.host);
        self.engine.at(now, |m| m.request(&client(n), &Scope { host, ..LAN }, ask, &hour))
    }

    fn lease(&mut self, now: Timestamp, n: u32) -> Ipv4Addr {
        let address = self.discover(now, n).unwrap();
        acked(self.ask(now, n, Ask::Selecting(address))).unwrap()
    }

    /// The same leases under a new configuration.
    fn reload(&mut self, hosts: Vec<Host>) {
        self.engine = self.store.manager(&topology(hosts), Offers::private());
    }
}

#[test]
fn reservation_goes_to_its_client_in_or_out_of_a_pool() {
    let mut site = site();
    assert_eq!(site.lease(START, 1), ip("10.0.0.105"));
    assert_eq!(site.lease(START, 3), ip("10.0.0.10"));
    let lease = site.engine.lease_at(ip("10.0.0.10")).unwrap();
    assert_eq!((&*lease.subnet, &*lease.pool), ("lan", ""));
    assert_eq!(acked(site.ask(START.plus(60), 3, Ask::Renewing(ip("10.0.0.10")))), Some(ip("10.0.0.10")));
}

#[test]
fn reserved_address_is_never_given_to_another() {
    let mut site = site();
    let given: Vec<_> = (10..19).map(|n| site.lease(START, n)).collect();
    assert!(!given.contains(&ip("10.0.0.105")));
    assert_eq!(site.discover(START, 19), None, "nine of ten are open");
    let nak = Answer::Nak(NakReason::NotPermitted);
    assert_eq!(site.ask(START, 20, Ask::Selecting(ip("10.0.0.105"))), nak);
    assert_eq!(site.ask(START, 20, Ask::Renewing(ip("10.0.0.105"))), nak);
    assert_eq!(site.ask(START, 20, Ask::Rebinding(ip("10.0.0.10"))), nak);
}

#[test]
fn host_without_an_address_gets_one_of_a_pool() {
    let mut site = site();
    assert!((100..110).contains(&site.lease(START, 4).octets()[3]));
}

#[test]
fn of_several_hardware_addresses_the_last_to_come_has_the_reservation() {
    let mut site = site();
    let reserved = ip("10.0.0.105");
    assert_eq!(site.lease(START, 1), reserved);
    assert_eq!(site.lease(START.plus(10), 2), reserved);
    let lease = site.engine.lease_at(reserved).unwrap();
    assert_eq!(lease.client.hardware, client(2).hardware);
    let renewal = site.ask(START.plus(20), 1, Ask::Renewing(reserved));
    assert_eq!(renewal, Answer::Nak(NakReason::HeldByAnother));
}

/// As a machine that boots from the network and starts its system a moment later, with another client identifier.
#[test]
fn what_one_interface_of_a_host_was_offered_or_granted_just_now_is_offered_to_the_next() {
    let mut site = site();
    let reserved = ip("10.0.0.105");
    assert_eq!(site.discover(START, 1), Some(reserved));
    assert_eq!(site.discover(START, 2), Some(reserved));
    assert_eq!(acked(site.ask(START, 2, Ask::Selecting(reserved))), Some(reserved));
    assert_eq!(site.lease(START, 1), reserved);
    assert_eq!(site.ask(START, 2, Ask::Renewing(reserved)), Answer::Nak(NakReason::HeldByAnother));
}

#[test]
fn new_owner_gets_another_address_until_the_old_holder_is_refused_at_its_renewal() {
    let mut site = site();
    site.reload(Vec::new());
    let held = site.lease(START, 50);
    site.reload(vec![host("new", &[60], Some(&held.to_string()))]);
    let meanwhile = site.lease(START.plus(1), 60);
    assert_ne!(meanwhile, held);
    assert_eq!(acked(site.ask(START.plus(2), 60, Ask::Renewing(meanwhile))), Some(meanwhile));
    assert_eq!(site.ask(START.plus(3), 50, Ask::Renewing(held)), Answer::Nak(NakReason::NotPermitted));
    // Now it is free for its owner, who is sent there at its next renewal.
    let renewal = site.ask(START.plus(4), 60, Ask::Renewing(meanwhile));
    assert_eq!(renewal, Answer::Nak(NakReason::Reserved));
    assert_eq!(site.lease(START.plus(5), 60), held);
    assert_eq!(site.engine.lease_at(meanwhile).unwrap().state, LeaseState::Released);
    assert_eq!(site.engine.lease_at(held).unwrap().client.hardware, client(60).hardware);
}

#[test]
fn declined_reservation_rests_and_its_client_gets_another_meanwhile() {
    let mut site = site();
    let reserved = site.lease(START, 3);
    let declined = site.engine.at(START.plus(1), |m| m.decline(&client(3), reserved));
    assert_eq!(declined, Declined::Done(Duration::from_secs(600)));
    let other = site.lease(START.plus(2), 3);
    assert_ne!(other, reserved);
    let later = START.plus(700);
    assert_eq!(site.ask(later, 3, Ask::Renewing(other)), Answer::Nak(NakReason::Reserved));
    assert_eq!(site.lease(later, 3), reserved);
}

#[test]
fn reservation_that_ends_leaves_the_address_to_the_pool() {
    let mut site = site();
    let reserved = site.lease(START, 1);
    site.reload(Vec::new());
    assert_eq!(acked(site.ask(START.plus(1), 1, Ask::Renewing(reserved))), Some(reserved));
    let gauge = site.engine.gauges()[0];
    assert_eq!((gauge.states[0], gauge.free), (1, 9));
}

#[test]
fn hosts_are_found_by_client_id_and_circuit_too() {
    let by_id = Host { client_id: Some(vec![9, 9]), macs: Vec::new(), ..host("id", &[], None) };
    let by_port = Host { circuit_id: Some(b"port 7".to_vec()), ..host("port", &[], None) };
    let by_both = Host { remote_id: Some(b"switch".to_vec()), name: "both".into(), ..by_port.clone() };
    let topology = topology(vec![by_id, by_port, by_both]);
    let find = |client: Client| topology.host_of(topology.link_of(SubnetId(0)), &ClientRef::from(&client));
    let circuit = |remote: Option<&[u8]>| Client {
        circuit_id: Some(b"port 7"[..].into()),
        remote_id: remote.map(Into::into),
        ..client(1)
    };
    assert_eq!(find(Client { client_id: Some([9, 9].into()), ..client(1) }), Some(HostId(0)));
    assert_eq!(find(circuit(None)), Some(HostId(1)));
    assert_eq!(find(circuit(Some(b"switch"))), Some(HostId(2)), "what fits more closely");
    assert_eq!(find(circuit(Some(b"other"))), Some(HostId(1)));
    assert_eq!(find(client(1)), None);
}

#[test]
fn leases_of_reserved_addresses_are_counted_by_subnet() {
    let hosts = || vec![host("in", &[1], Some("10.0.0.105")), host("out", &[3], Some("10.0.0.10"))];
    let file = sqlite::File::new();
    let topology = topology(hosts());
    let mut engine = file.manager(&topology, Offers::private());
    for n in [1, 3, 50] {
        let host = topology.host_of(topology.link_of(SubnetId(0)), &ClientRef::from(&client(n)));
        let scope = Scope { host, ..LAN };
        let address = engine.at(START, |m| offered(m.discover(&client(n), &scope, None))).unwrap();
        engine.at(START, |m| m.request(&client(n), &scope, Ask::Selecting(address), &hour));
    }
    let limits = HistoryLimits { keep: Duration::from_secs(90), max_size: 1 << 20 };
    let keeper = Keeper::open(&file.path(), topology, limits).unwrap();
    let reserved = keeper.reserved_gauges();
    assert_eq!(reserved, [ReservedGauge { subnet: SubnetId(0), states: [2, 0, 0, 0, 0], size: 2 }]);
    assert_eq!((keeper.gauges()[0].states[0], keeper.gauges()[0].free), (1, 8));
}
