//! The sanity rules of the security stage, and that nothing at all panics.

use super::world::{Script, Sent, interfaces, pipeline, run, silence};
use crate::dhcp::Silence;
use crate::dhcp::security::Refusal;

#[test]
fn addresses_that_no_host_can_have_are_refused() {
    let pipeline = pipeline(|_| {});
    for address in ["255.255.255.255", "224.0.0.1", "240.0.0.1", "127.0.0.1", "0.0.0.1"] {
        assert_eq!(
            silence(&pipeline, &Sent::new(1).giaddr(address)),
            Silence::Refused(Refusal::RelayAddress),
            "{address}"
        );
        assert_eq!(
            silence(&pipeline, &Sent::new(3).ciaddr(address)),
            Silence::Refused(Refusal::ClientAddress)
        );
        assert_eq!(
            silence(&pipeline, &Sent::new(1).unicast(address, "10.0.0.1")),
            Silence::Refused(Refusal::Source)
        );
    }
}

#[test]
fn loopback_addresses_are_fine_on_loopback() {
    let pipeline = pipeline(|config| config.dhcp.subnets[1].interface = Some("lo".into()));
    let mut script = Script::default();
    let sent = Sent::new(1).on_loopback().ciaddr("127.0.0.5");
    run(&pipeline, &sent, &mut script);
    assert_eq!(script.asked.len(), 1);
    let mut nowhere = Sent::new(1).on_loopback();
    nowhere.from.set_port(0);
    assert_eq!(silence(&pipeline, &nowhere), Silence::Refused(Refusal::Source));
}

#[test]
fn the_corpus_runs_through_the_whole_pipeline() {
    let pipeline = pipeline(|config| {
        config.dhcp.subnets.truncate(1);
        config.dhcp.subnets[0].network = "10.0.0.0/8".parse().unwrap();
        config.dhcp.subnets[0].interface = Some("eth0".into());
    });
    for (_, bytes) in crate::protocol::tests::corpus::files() {
        for interface in interfaces() {
            let sent = Sent { bytes: bytes.clone(), interface: interface.index, ..Sent::new(1) };
            run(&pipeline, &sent, &mut Script::default());
        }
    }
}
