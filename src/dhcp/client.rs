//! The client as its message shows it: identity and what the lease remembers of it.

use crate::config::model::IdentifyBy;
use crate::lease::{Client, ClientKey};
use crate::protocol::DhcpMessage;

/// The client of a message; none where nothing identifies it.
pub(super) fn of(message: &DhcpMessage<'_>, identify_by: IdentifyBy) -> Option<Client> {
    let relay = message.relay_information();
    let circuit = relay.and_then(|relay| relay.circuit_id());
    let owned = |bytes: Option<&[u8]>| bytes.map(Box::from);
    Some(Client {
        key: key(message, circuit, identify_by)?,
        hardware: *message.hardware(),
        client_id: owned(message.client_id()),
        hostname: owned(message.hostname()),
        relay: message.relay(),
        circuit_id: owned(circuit),
        remote_id: owned(relay.and_then(|relay| relay.remote_id())),
        vendor_class: owned(message.vendor_class()),
    })
}

/// Option 61 if sent, else the hardware address (RFC 2131 §4.2), unless the configuration says otherwise.
fn key(message: &DhcpMessage<'_>, circuit: Option<&[u8]>, identify_by: IdentifyBy) -> Option<ClientKey> {
    let hardware = message.hardware();
    let by_hardware = || (!hardware.bytes().is_empty()).then(|| ClientKey::by_hardware(hardware));
    let by_id = || message.client_id().map(ClientKey::by_client_id).or_else(by_hardware);
    match identify_by {
        IdentifyBy::ClientId => by_id(),
        IdentifyBy::Mac => by_hardware(),
        IdentifyBy::CircuitId => circuit.map(ClientKey::by_circuit).or_else(by_id),
    }
}
