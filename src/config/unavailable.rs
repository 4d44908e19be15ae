//! Keys that the design names and this version does not serve yet.
//!
//! They are refused, since a setting that is read and ignored deceives; `false`, which changes nothing, is accepted.
//! Whoever builds one deletes its row here and reads the key in its section.

use figment::value::Value;

use super::leaf::Leaf;

/// The dotted keys; `*` stands for any name.
const KEYS: &[&str] = &["daemon.watch_config"];

/// What to do instead.
pub(super) const HINT: &str = "leave it out or set it to false";

/// The row of a key, if it has one.
pub(super) fn find(key: &str) -> Option<&'static str> {
    let fits = |row: &str| {
        let mut given = key.split('.');
        row.split('.').all(|word| given.next().is_some_and(|part| word == "*" || word == part))
            && given.next().is_none()
    };
    KEYS.iter().copied().find(|row| fits(row))
}

/// The last words of the rows that lie in the section `path`.
pub(super) fn names_in(path: &str) -> Vec<&'static str> {
    let name = |row: &&'static str| {
        let name = row.rsplit('.').next()?;
        find(&format!("{path}.{name}")).filter(|found| found == row).map(|_| name)
    };
    KEYS.iter().filter_map(name).collect()
}

/// Whether `value` says what is the case anyway.
pub(super) fn is_off(value: &Value) -> bool {
    bool::read(value) == Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_offered_in_their_section_only() {
        assert!(find("daemon.watch_config").is_some() && find("daemon").is_none());
        assert_eq!(names_in("daemon"), ["watch_config"]);
        assert!(names_in("tcp").is_empty());
    }
}
