//! Prefixes and address ranges, canonical by construction. Used by every layer that speaks of addresses.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::Serialize;

/// An IPv4 prefix without host bits, such as `10.0.0.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network {
    first: u32,
    prefix: u8,
}

/// Why a text is not a [`Network`] or an [`AddressRange`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Not `ADDRESS/PREFIX`.
    #[error("\"{0}\" is not a network such as 10.0.0.0/24")]
    NotANetwork(String),
    /// Host bits are set.
    #[error("{given} has host bits set; the network is {canonical}")]
    HostBits {
        /// As written.
        given: String,
        /// As it should be.
        canonical: Network,
    },
    /// Not `FIRST-LAST`.
    #[error("\"{0}\" is not an address or a range such as 10.0.0.100-10.0.0.199")]
    NotARange(String),
    /// The last address comes before the first.
    #[error("the range {0} ends before it begins")]
    Backwards(String),
}

impl Network {
    /// The prefix of length `prefix` (0 to 32) that holds `address`.
    pub fn containing(address: Ipv4Addr, prefix: u8) -> Self {
        let prefix = prefix.min(32);
        Self { first: u32::from(address) & mask(prefix), prefix }
    }

    /// The lowest address.
    pub fn first(self) -> Ipv4Addr {
        self.first.into()
    }

    /// The highest address.
    pub fn last(self) -> Ipv4Addr {
        (self.first | !mask(self.prefix)).into()
    }

    /// The prefix length in bits, 0 to 32.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The subnet mask (option 1).
    pub fn mask(self) -> Ipv4Addr {
        mask(self.prefix).into()
    }

    /// The broadcast address; none in a /31 and a /32 (RFC 3021).
    pub fn broadcast(self) -> Option<Ipv4Addr> {
        (self.prefix < 31).then(|| self.last())
    }

    /// Whether `address` lies inside.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix) == self.first
    }

    /// Whether a host may have this address: inside, and neither the network's own nor the broadcast address.
    pub fn is_host(self, address: Ipv4Addr) -> bool {
        self.contains(address) && (self.prefix >= 31 || (address != self.first() && address != self.last()))
    }

    /// Whether the two have an address in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.first()) || other.contains(self.first())
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first(), self.prefix)
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NetworkError::NotANetwork(text.to_owned());
        let (address, prefix) = text.trim().split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        if prefix > 32 {
            return Err(wrong());
        }
        let network = Self::containing(address, prefix);
        if network.first() == address {
            Ok(network)
        } else {
            Err(NetworkError::HostBits { given: text.to_owned(), canonical: network })
        }
    }
}

impl Serialize for Network {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A non-empty run of addresses, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddressRange {
    first: u32,
    last: u32,
}

impl AddressRange {
    /// The range from `first` to `last`; none if it would be empty.
    pub fn new(first: Ipv4Addr, last: Ipv4Addr) -> Option<Self> {
        (first <= last).then(|| Self { first: first.into(), last: last.into() })
    }

    /// The lowest address.
    pub fn first(self) -> Ipv4Addr {
        self.first.into()
    }

    /// The highest address.
    pub fn last(self) -> Ipv4Addr {
        self.last.into()
    }

    /// The same range up to `last`, if that lies behind its end.
    #[must_use]
    pub fn through(self, last: Ipv4Addr) -> Self {
        Self { last: self.last.max(last.into()), ..self }
    }

    /// How many addresses it holds, 1 to 2³².
    pub fn size(self) -> u64 {
        u64::from(self.last - self.first) + 1
    }

    /// Whether `address` lies inside.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&u32::from(address))
    }

    /// Whether the two have an address in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first())
        } else {
            write!(f, "{}-{}", self.first(), self.last())
        }
    }
}

impl FromStr for AddressRange {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NetworkError::NotARange(text.to_owned());
        let parse = |part: &str| part.trim().parse::<Ipv4Addr>().map_err(|_| wrong());
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (parse(first)?, parse(last)?),
            None => (parse(text)?, parse(text)?),
        };
        Self::new(first, last).ok_or_else(|| NetworkError::Backwards(text.to_owned()))
    }
}

impl Serialize for AddressRange {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_refused_with_the_canonical_prefix() {
        let error = "10.0.0.7/24".parse::<Network>().unwrap_err();
        assert_eq!(error.to_string(), "10.0.0.7/24 has host bits set; the network is 10.0.0.0/24");
    }

    #[test]
    fn slash_zero_and_slash_32_hold_what_they_should() {
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains(Ipv4Addr::BROADCAST));
        let one: Network = "10.0.0.1/32".parse().unwrap();
        assert!(one.is_host(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(one.broadcast(), None);
    }

    #[test]
    fn ends_of_a_slash_31_are_hosts_and_of_a_slash_30_are_not() {
        let pair: Network = "10.0.0.0/31".parse().unwrap();
        assert!(pair.is_host(pair.first()) && pair.is_host(pair.last()));
        let four: Network = "10.0.0.0/30".parse().unwrap();
        assert!(!four.is_host(four.first()) && !four.is_host(four.last()));
    }

    #[test]
    fn range_reads_one_address_or_two() {
        assert_eq!("10.0.0.5".parse::<AddressRange>().unwrap().size(), 1);
        assert_eq!("10.0.0.5 - 10.0.0.9".parse::<AddressRange>().unwrap().size(), 5);
        assert!("10.0.0.9-10.0.0.5".parse::<AddressRange>().is_err());
    }
}
