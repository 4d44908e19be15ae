//! Which keys are touched by an error: a default that stands in for a wrong value must not cause a second one. Knows no
//! key and no reason; used by the [`Reader`](super::section::Reader).

use std::collections::HashSet;

/// Where errors are, so that asking costs as much as a key has parts, however many there are.
#[derive(Default)]
pub(super) struct Wrong {
    /// The keys of errors.
    at: HashSet<String>,
    /// These and all sections around them.
    around: HashSet<String>,
}

impl Wrong {
    /// There is an error at `key`.
    pub(super) fn note(&mut self, key: &str) {
        for outer in itself_and_around(key) {
            if !self.around.insert(outer.to_owned()) {
                // What lies further out was noted with it.
                break;
            }
        }
        self.at.insert(key.to_owned());
    }

    /// Whether one is at `key`, within it or around it.
    pub(super) fn touches(&self, key: &str) -> bool {
        self.around.contains(key) || itself_and_around(key).any(|outer| self.at.contains(outer))
    }
}

/// `a.b[0]`, `a.b`, `a`.
fn itself_and_around(key: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(key), |inner| inner.get(..inner.rfind(['.', '['])?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_touches_what_is_within_and_around_it_and_nothing_beside_it() {
        let mut wrong = Wrong::default();
        wrong.note("a.b[1]");
        for (key, touched) in [("a", true), ("a.b", true), ("a.b[1]", true), ("a.b[1].c", true)] {
            assert_eq!(wrong.touches(key), touched, "{key}");
        }
        for key in ["a.b[0]", "a.c", "b", "a.b[1]x"] {
            assert!(!wrong.touches(key), "{key}");
        }
    }
}
