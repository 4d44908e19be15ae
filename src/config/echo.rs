//! Reads the sections `tcp`, `udp` and `api`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value as Json;

use super::leaf::{Leaf, Port};
use super::model::{Api, Tcp, Udp, WhenFull};
use super::section::Section;
use super::units::{Size, show_size};

/// Largest buffer, in bytes.
const BUFFER_MAX: Size = Size(16 << 20);

/// Reads `tcp`.
pub(super) fn tcp(section: Section<'_>) -> Tcp {
    let tcp = Tcp {
        enabled: section.get("enabled", true),
        address: addresses(&section),
        port: section.get("port", Port(8888)).0,
        max_clients: section.within("max_clients", 10, 1..=100_000, u32::to_string),
        when_full: section.get("when_full", WhenFull::Wait),
        buffer_size: buffer_size(&section),
        idle_timeout: section.get("idle_timeout", Duration::from_secs(300)),
    };
    section.finish();
    tcp
}

/// Reads `udp`. The alias `port` became `udp_port` before the merge.
pub(super) fn udp(section: Section<'_>) -> Udp {
    let udp = Udp {
        enabled: section.get("enabled", true),
        address: addresses(&section),
        udp_port: section.get("udp_port", Port(8889)).0,
        buffer_size: buffer_size(&section),
    };
    section.finish();
    udp
}

/// Reads `api`.
pub(super) fn api(section: Section<'_>) -> Api {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 9167));
    let api = Api {
        listen: section.nullable("listen").unwrap_or(Some(default)),
        token_file: section.nullable_path("token_file").flatten(),
    };
    section.fallback("listen", default.show());
    section.fallback("token_file", Json::Null);
    if let Some(listen) = api.listen.filter(|listen| !listen.ip().is_loopback())
        && api.token_file.is_none()
    {
        let reason =
            format!("{listen} is not a loopback address and there is no token, so nobody may use it");
        let hint = "set api.token_file, or listen on 127.0.0.1".to_owned();
        section.reader().warning(&section.key("listen"), reason, Some(hint));
    }
    section.finish();
    api
}

fn addresses(section: &Section<'_>) -> Vec<IpAddr> {
    let default = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let addresses = section.list("address", default);
    let mut seen = Vec::new();
    for address in &addresses {
        if seen.contains(address) {
            section.error("address", format!("{address} is listed twice"), None);
        }
        seen.push(*address);
    }
    addresses
}

fn buffer_size(section: &Section<'_>) -> usize {
    let size = section.within("buffer_size", Size(4096), Size(1)..=BUFFER_MAX, |size| show_size(*size));
    // The range above fits any usize.
    usize::try_from(size.0).unwrap_or(4096)
}
