//! Walks a run of options byte by byte and says where it is broken, which dhcproto's decoder does not.
//!
//! ```text
//! +------+--------+------------------+
//! | code | length | length bytes …   |   code 0 (pad) and 255 (end) stand alone: RFC 2132 §2
//! +------+--------+------------------+
//! ```
//! Called by the parser for the options field and the overloaded fields, and for sub-options of option 82.

/// Padding (RFC 2132 §3.1).
pub(super) const PAD: u8 = 0;
/// End of the options (RFC 2132 §3.2).
pub(super) const END: u8 = 255;

/// The run ends inside an option with this code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Truncated(pub(super) u8);

/// The options of one field, in their order, up to the end option or the end of the field.
#[derive(Debug, Clone)]
pub(super) struct Walk<'a> {
    rest: &'a [u8],
    /// Whether pad and end have their special meaning; not among sub-options (RFC 3046 §2.0).
    markers: bool,
}

impl<'a> Walk<'a> {
    /// Over an options field.
    pub(super) fn options(field: &'a [u8]) -> Self {
        Self { rest: field, markers: true }
    }

    /// Over the sub-options of an option.
    pub(super) fn sub_options(option: &'a [u8]) -> Self {
        Self { rest: option, markers: false }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Result<(u8, &'a [u8]), Truncated>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&code, rest) = self.rest.split_first()?;
            if self.markers && code == PAD {
                self.rest = rest;
                continue;
            }
            if self.markers && code == END {
                self.rest = &[];
                return None;
            }
            let option = rest.split_first().and_then(|(&length, rest)| rest.split_at_checked(length.into()));
            let Some((data, rest)) = option else {
                self.rest = &[];
                return Some(Err(Truncated(code)));
            };
            self.rest = rest;
            return Some(Ok((code, data)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(field: &[u8]) -> Vec<Result<(u8, &[u8]), Truncated>> {
        Walk::options(field).collect()
    }

    #[test]
    fn padding_is_skipped_and_the_end_ends() {
        assert_eq!(walk(&[0, 53, 1, 1, 0, 255, 12, 1, 1]), [Ok((53, &[1][..]))]);
        assert_eq!(walk(&[]), []);
        assert_eq!(walk(&[12, 0]), [Ok((12, &[][..]))]);
    }

    #[test]
    fn an_option_beyond_the_field_is_named() {
        assert_eq!(walk(&[53, 1, 1, 12]), [Ok((53, &[1][..])), Err(Truncated(12))]);
        assert_eq!(walk(&[12, 3, 1, 2]), [Err(Truncated(12))]);
    }

    #[test]
    fn sub_options_know_no_padding() {
        let found: Vec<_> = Walk::sub_options(&[0, 1, 9, 255, 0]).collect();
        assert_eq!(found, [Ok((0, &[9][..])), Ok((255, &[][..]))]);
    }
}
