//! What was most likely meant by an address, a range or a network that cannot be read: the hint beside the refusal.
//! Decides nothing. Called by the leaves, and by the option table for its addresses.

use std::net::Ipv4Addr;

use super::network::{AddressRange, Network};
use super::subnet::host_range;

/// The hint for a text that is no IPv4 address; none where nothing is near.
pub fn address(given: &str) -> Option<String> {
    let given = given.trim();
    if let Some((address, prefix)) = given.split_once('/')
        && address.parse::<Ipv4Addr>().is_ok()
        && prefix.parse::<u8>().is_ok()
    {
        return Some(format!("one address is meant here: write {address}"));
    }
    let parts: Vec<&str> = given.split('.').collect();
    let numbers = parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    if !numbers || parts.len() < 2 {
        return None;
    }
    if parts.len() != 4 {
        return Some(format!("an address has four numbers, here are {}", parts.len()));
    }
    let values: Vec<Option<u8>> = parts.iter().map(|part| part.parse().ok()).collect();
    if let Some(place) = values.iter().position(Option::is_none) {
        return parts.get(place).map(|part| format!("{part} is more than 255"));
    }
    // Some programs take a number with a zero in front for octal.
    let plain: Vec<String> = values.into_iter().flatten().map(|value| value.to_string()).collect();
    Some(format!("write {}, without zeros in front", plain.join(".")))
}

/// The hint for a text that is no range of addresses.
pub(super) fn range(given: &str) -> Option<String> {
    let given = given.trim();
    if let Ok(network) = given.parse::<Network>() {
        return host_range(network).map(|hosts| format!("write {hosts}"));
    }
    // Other programs write `10.0.0.100 10.0.0.199`, or just the end of the last one.
    let words: Vec<&str> = given.split(['-', ' ', ',', '\u{2013}']).filter(|word| !word.is_empty()).collect();
    match words.as_slice() {
        [one] => address(one),
        [first, last] => {
            let Ok(low) = first.parse::<Ipv4Addr>() else { return address(first) };
            let short = || {
                let [a, b, c, _] = low.octets();
                last.parse::<u8>().ok().map(|d| Ipv4Addr::new(a, b, c, d))
            };
            let Some(high) = last.parse::<Ipv4Addr>().ok().or_else(short) else { return address(last) };
            let meant = AddressRange::new(low, high).or_else(|| AddressRange::new(high, low));
            meant.map(|range| format!("write {range}"))
        }
        _ => None,
    }
}

/// The hint for a text that is no network.
pub(super) fn network(given: &str) -> Option<String> {
    let given = given.trim();
    let Some((first, rest)) = given.split_once(['/', ' ']) else {
        if given.parse::<Ipv4Addr>().is_ok() {
            return Some(format!("add the length of the prefix, such as {given}/24"));
        }
        return address(given);
    };
    let Ok(first) = first.parse::<Ipv4Addr>() else { return address(first) };
    let rest = rest.trim();
    if let Ok(mask) = rest.parse::<Ipv4Addr>() {
        let ones = u32::from(mask).leading_ones();
        let is_mask = u32::from(mask).count_ones() == ones;
        let prefix = u8::try_from(ones).ok().filter(|_| is_mask)?;
        return Some(format!("write {}", Network::containing(first, prefix)));
    }
    match rest.parse::<u32>() {
        Ok(prefix) if prefix > 32 => Some(format!("the length of a prefix is 0 to 32, not {prefix}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistyped_addresses_are_told_what_is_wrong_with_them() {
        for (given, hint) in [
            ("10.0.0.256", "256 is more than 255"),
            ("10.0.0", "an address has four numbers, here are 3"),
            ("10.0.0.1.5", "an address has four numbers, here are 5"),
            ("010.0.0.01", "write 10.0.0.1, without zeros in front"),
            ("10.0.0.1/24", "one address is meant here: write 10.0.0.1"),
        ] {
            assert_eq!(address(given).as_deref(), Some(hint), "{given}");
        }
        for given in ["router", "", "10.0.0.x", "17"] {
            assert_eq!(address(given), None, "{given}");
        }
    }

    #[test]
    fn ranges_of_other_programs_and_reversed_ones_are_written_out() {
        for (given, hint) in [
            ("10.0.0.9-10.0.0.5", "write 10.0.0.5-10.0.0.9"),
            ("10.0.0.5 10.0.0.9", "write 10.0.0.5-10.0.0.9"),
            ("10.0.0.5-9", "write 10.0.0.5-10.0.0.9"),
            ("10.0.0.0/24", "write 10.0.0.1-10.0.0.254"),
            ("10.0.0.5-10.0.0.300", "300 is more than 255"),
            ("10.0.5", "an address has four numbers, here are 3"),
        ] {
            assert_eq!(range(given).as_deref(), Some(hint), "{given}");
        }
        assert_eq!(range("all"), None);
    }

    #[test]
    fn networks_with_masks_or_without_prefix_are_written_out() {
        for (given, hint) in [
            ("10.0.0.0/255.255.255.0", "write 10.0.0.0/24"),
            ("10.0.0.7 255.255.0.0", "write 10.0.0.0/16"),
            ("10.0.0.0", "add the length of the prefix, such as 10.0.0.0/24"),
            ("10.0.0.0/33", "the length of a prefix is 0 to 32, not 33"),
            ("10.0.0/24", "an address has four numbers, here are 3"),
        ] {
            assert_eq!(network(given).as_deref(), Some(hint), "{given}");
        }
        assert_eq!(network("10.0.0.0/255.0.255.0"), None);
        assert_eq!(network("lan"), None);
    }
}
