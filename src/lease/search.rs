//! Finds leases by what is known of them, a page at a time in the order of addresses. A lease file has no other order (an
//! index would cost every grant a page of its own), so all else is looked for by walking through; each page is bounded by
//! what it looks at as well as by what it finds. Reads only.

use std::net::Ipv4Addr;
use std::ops::ControlFlow;

use super::reader::{Reader, Recorded, behind, recorded, state_at};
use super::rows::clean;
use super::store::{RowRef, StoreError};
use super::types::LeaseState;
use super::when::Times;

/// Leases looked at for one page. A page that ends by this has a next one, however few it found.
pub const LOOKED_AT: usize = 50_000;

/// Which leases; each condition that is there must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// Of these addresses, the first and the last.
    pub addresses: (Ipv4Addr, Ipv4Addr),
    /// In this state now.
    pub state: Option<LeaseState>,
    /// Of the subnet of this name.
    pub subnet: Option<String>,
    /// Of the pool of this name.
    pub pool: Option<String>,
    /// With this hardware address.
    pub mac: Option<Vec<u8>>,
    /// With this client-id.
    pub client_id: Option<Vec<u8>>,
    /// With such a host name, as it is shown: `*` stands for any text, the case of ASCII letters does not matter.
    pub hostname: Option<String>,
    /// Only addresses above this one: the next page.
    pub after: Option<Ipv4Addr>,
    /// At most so many.
    pub limit: usize,
}

impl Default for Search {
    /// The first hundred.
    fn default() -> Self {
        Self {
            addresses: (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST),
            state: None,
            subnet: None,
            pool: None,
            mac: None,
            client_id: None,
            hostname: None,
            after: None,
            limit: 100,
        }
    }
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The leases, by address.
    pub leases: Vec<Recorded>,
    /// What to go on after; none: this was the last page.
    pub next: Option<Ipv4Addr>,
    /// The clock that they are of.
    pub times: Times,
}

impl Search {
    /// Reads a page.
    pub fn run(&self, reader: &Reader) -> Result<Found, StoreError> {
        self.look(reader, LOOKED_AT)
    }

    pub(super) fn look(&self, reader: &Reader, most: usize) -> Result<Found, StoreError> {
        let times = reader.times;
        let mut found = Found { leases: Vec::new(), next: None, times };
        let (mut looked_at, mut last) = (0, None);
        let mut visit = |row: &RowRef<'_>| {
            if found.leases.len() >= self.limit || looked_at >= most {
                found.next = last;
                return ControlFlow::Break(());
            }
            looked_at += 1;
            last = Some(row.address);
            if self.fits(row, times) {
                found.leases.push(recorded(row));
            }
            ControlFlow::Continue(())
        };
        let first = behind(self.after).max(u64::from(u32::from(self.addresses.0)));
        reader.walk(first, self.addresses.1, &mut visit)?;
        Ok(found)
    }

    fn fits(&self, row: &RowRef<'_>, times: Times) -> bool {
        let client = &row.client;
        self.state.is_none_or(|state| state == state_at(row.state, row.expires, times.now))
            && self.subnet.as_ref().is_none_or(|subnet| subnet == row.subnet)
            && self.pool.as_ref().is_none_or(|pool| pool == row.pool)
            && self.mac.as_ref().is_none_or(|mac| mac == client.hardware.bytes())
            && self.client_id.as_ref().is_none_or(|id| client.client_id == Some(id))
            && self.hostname.as_ref().is_none_or(|pattern| {
                client.hostname.is_some_and(|name| is_like(clean(name).as_bytes(), pattern.as_bytes()))
            })
    }
}

/// Whether all of `text` is like `pattern`, in time of at most their product.
fn is_like(text: &[u8], pattern: &[u8]) -> bool {
    let (mut at, mut of) = (0, 0);
    // Behind the last star, and how much text it stands for so far.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(at) {
        match pattern.get(of) {
            Some(b'*') => {
                star = Some((of + 1, at));
                of += 1;
            }
            Some(wanted) if wanted.eq_ignore_ascii_case(byte) => (at, of) = (at + 1, of + 1),
            _ => match star {
                Some((behind, from)) => {
                    star = Some((behind, from + 1));
                    (at, of) = (from + 1, behind);
                }
                None => return false,
            },
        }
    }
    pattern.get(of..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::is_like;

    #[test]
    fn stars_stand_for_any_text() {
        for (text, pattern) in [
            ("printer-1", "printer-1"),
            ("Printer-1", "pRINTER-*"),
            ("printer-1", "*"),
            ("", "*"),
            ("", ""),
            ("a-b-c", "a*c"),
            ("abcbc", "*bc"),
            ("aXbXc", "a*x*c"),
            ("0xff", "0x*"),
            ("a?b", "a?b"),
        ] {
            assert!(is_like(text.as_bytes(), pattern.as_bytes()), "{text} {pattern}");
        }
        for (text, pattern) in
            [("printer-10", "printer-1"), ("a", ""), ("", "a"), ("abcb", "*bc"), ("axb", "a?b")]
        {
            assert!(!is_like(text.as_bytes(), pattern.as_bytes()), "{text} {pattern}");
        }
    }
}
