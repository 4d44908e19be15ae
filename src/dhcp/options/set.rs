//! The options of one level or of several laid over each other. Used by the options manager alone.

use std::sync::Arc;

use crate::config::model::Options;
use crate::protocol::Codes;
use crate::protocol::options::Setting;

/// Options by code, and the codes that are unset here whatever stands above.
#[derive(Debug, Clone, Default)]
pub struct OptionSet {
    /// Ordered by code.
    entries: Vec<Entry>,
    codes: Codes,
    always: Codes,
}

/// What a level says of one option.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    code: u8,
    /// None: it is not sent, whatever stands above.
    pub(super) value: Option<Resolved>,
}

/// One option with where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Its number.
    pub code: u8,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
    /// Whether it is sent to clients that did not ask for it too.
    pub always: bool,
    /// The level that it was set at.
    pub origin: Origin,
}

/// The level that an option was set at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Follows from the subnet's prefix.
    Derived,
    /// `dhcp.options`.
    Global,
    /// The subnet of this name.
    Subnet(Arc<str>),
    /// The pool of this name.
    Pool(Arc<str>),
    /// The class of this name.
    Class(Arc<str>),
    /// The host of this name.
    Host(Arc<str>),
}

impl OptionSet {
    /// Lays the options of a nearer level over these.
    pub(super) fn lay_over(&mut self, options: &Options, origin: &Origin) {
        for (name, value) in options {
            match Setting::from_config(name, value) {
                Ok(Setting::Value(option)) => {
                    let (code, always) = (option.code, option.always);
                    let resolved =
                        Resolved { code, bytes: option.bytes.into(), always, origin: origin.clone() };
                    self.set(code, Some(resolved));
                }
                Ok(Setting::Unset(code)) => self.set(code, None),
                Err(_) => {}
            }
        }
    }

    /// Sets an option that is sent when asked for.
    pub(super) fn put(&mut self, code: u8, bytes: &[u8], origin: Origin) {
        self.set(code, Some(Resolved { code, bytes: bytes.into(), always: false, origin }));
    }

    fn set(&mut self, code: u8, value: Option<Resolved>) {
        self.codes.insert(code);
        if value.as_ref().is_some_and(|resolved| resolved.always) {
            self.always.insert(code);
        } else {
            self.always.remove(code);
        }
        match self.entries.binary_search_by_key(&code, |entry| entry.code) {
            Ok(at) => {
                if let Some(entry) = self.entries.get_mut(at) {
                    entry.value = value;
                }
            }
            Err(at) => self.entries.insert(at, Entry { code, value }),
        }
    }

    /// What this level says of an option; none: nothing.
    pub(super) fn find(&self, code: u8) -> Option<&Entry> {
        if !self.codes.contains(code) {
            return None;
        }
        self.entries.binary_search_by_key(&code, |entry| entry.code).ok().and_then(|at| self.entries.get(at))
    }

    /// The codes that this level says anything of.
    pub(super) fn codes(&self) -> Codes {
        self.codes
    }

    /// The codes that are marked `always` here.
    pub(super) fn always(&self) -> Codes {
        self.always
    }
}
