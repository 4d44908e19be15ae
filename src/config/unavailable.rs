//! Keys that the design names and this version does not serve yet.
//!
//! They are refused, since a setting that is read and ignored deceives; the value that means "off" is accepted.
//! Whoever builds one deletes its row here and reads the key in its section.

use figment::value::Value;

use super::leaf::Leaf;

/// One key that is not served.
pub(super) struct Row {
    /// Its dotted key; `*` stands for any name.
    key: &'static str,
    /// The value that changes nothing, as a user would write it.
    off: Off,
}

/// The value that means "off".
enum Off {
    False,
    Null,
    Empty,
    Zero,
    Word(&'static str),
}

const ROWS: &[Row] = &[
    Row { key: "daemon.watch_config", off: Off::False },
    Row { key: "dhcp.rapid_commit", off: Off::False },
    Row { key: "dhcp.subnet_selection", off: Off::False },
    Row { key: "dhcp.fqdn.suffix", off: Off::Null },
    Row { key: "dhcp.classes", off: Off::Empty },
    Row { key: "dhcp.conflict_check.method", off: Off::Word("off") },
    Row { key: "dhcp.subnets.*.hosts", off: Off::Empty },
    Row { key: "dhcp.subnets.*.pools.*.classes", off: Off::Empty },
    Row { key: "dhcp.security.allow", off: Off::Empty },
    Row { key: "dhcp.security.deny", off: Off::Empty },
    Row { key: "dhcp.security.unknown_clients", off: Off::Word("allow") },
    Row { key: "dhcp.security.trusted_relays", off: Off::Empty },
    Row { key: "dhcp.security.client_rate", off: Off::Null },
    Row { key: "dhcp.security.max_leases_per_circuit", off: Off::Zero },
];

/// The row of a key, if it has one.
pub(super) fn find(key: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| {
        let mut given = key.split('.');
        let fits =
            row.key.split('.').all(|word| given.next().is_some_and(|part| word == "*" || word == part));
        fits && given.next().is_none()
    })
}

/// The last words of the rows that lie in the section `path`.
pub(super) fn names_in(path: &str) -> Vec<&'static str> {
    let name = |row: &'static Row| {
        let name = row.key.rsplit('.').next()?;
        find(&format!("{path}.{name}")).filter(|found| found.key == row.key).map(|_| name)
    };
    ROWS.iter().filter_map(name).collect()
}

impl Row {
    /// Whether `value` says what is the case anyway.
    pub(super) fn is_off(&self, value: &Value) -> bool {
        match (&self.off, value) {
            (Off::False, value) => bool::read(value) == Ok(false),
            (Off::Null | Off::Empty, Value::Empty(..)) => true,
            (Off::Empty, Value::Array(_, items)) => items.is_empty(),
            (Off::Empty, Value::Dict(_, dict)) => dict.is_empty(),
            (Off::Null | Off::Empty, _) => false,
            (Off::Zero, value) => u32::read(value) == Ok(0),
            (Off::Word(word), value) => value.as_str() == Some(word),
        }
    }

    /// What to do instead.
    pub(super) fn hint(&self) -> String {
        let off = match self.off {
            Off::False => "false",
            Off::Null => "null",
            Off::Empty => "an empty list or section",
            Off::Zero => "0",
            Off::Word(word) => word,
        };
        format!("leave it out or set it to {off}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_stands_for_one_name() {
        assert!(find("dhcp.subnets.lan.hosts").is_some());
        assert!(find("dhcp.subnets.hosts").is_none());
        assert!(find("dhcp.subnets.lan.hosts.printer").is_none());
    }

    #[test]
    fn names_are_offered_in_their_section_only() {
        assert_eq!(names_in("dhcp.subnets.lan"), ["hosts"]);
        assert!(names_in("tcp").is_empty());
    }
}
