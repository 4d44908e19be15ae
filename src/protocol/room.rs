//! Which option goes into which field of a packet, where not all of them fit the options field. Decides by worth and
//! size alone; the encoder writes.
//!
//! ```text
//! | options: required … 52 … wanted … 82, end | file: wanted …, end (128 bytes) | sname: wanted …, end (64 bytes) |
//! ```

/// Option 52 takes code, length and value.
const OVERLOAD_BYTES: usize = 3;
/// The most data that one piece of an option carries (RFC 3396 §4).
pub(super) const PIECE_BYTES: usize = 255;

/// A field that carries options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// The options field.
    Options,
    /// `file`.
    File,
    /// `sname`.
    Sname,
}

/// How many bytes of options each field takes, end options not counted; 0: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) options: usize,
    pub(super) file: usize,
    pub(super) sname: usize,
}

/// Where each option goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    /// All into the options field.
    All,
    /// By the place of the option; none: nowhere.
    Each(Vec<Option<Field>>),
}

impl Plan {
    /// For options in falling order of worth. Those that find no room in the options field go to `file`, then to
    /// `sname` (RFC 2132 §9.3). An option too large for what is left does not take those behind it along: they may
    /// still fit.
    ///
    /// No option is divided between two fields: receivers would have to put it together over both, and an option
    /// of more than 255 bytes, which has to be divided, fits neither of the small ones.
    pub(super) fn new(wanted: &[(u8, &[u8])], room: Room) -> Self {
        let all: usize = wanted.iter().map(|(_, data)| size(data)).sum();
        if all <= room.options {
            return Self::All;
        }
        let plain = fill(wanted, Room { file: 0, sname: 0, ..room });
        let Some(options) = room.options.checked_sub(OVERLOAD_BYTES) else { return Self::Each(plain) };
        let overloaded = fill(wanted, Room { options, ..room });
        // Option 52 takes room itself: it must not cost an option that is worth more than those it saves.
        let placed = |plan: &[Option<Field>]| plan.iter().map(Option::is_some).collect::<Vec<_>>();
        Self::Each(if placed(&overloaded) > placed(&plain) { overloaded } else { plain })
    }

    /// Where the option at this place goes.
    pub(super) fn field(&self, place: usize) -> Option<Field> {
        match self {
            Self::All => Some(Field::Options),
            Self::Each(fields) => fields.get(place).copied().flatten(),
        }
    }

    /// How many options go nowhere.
    pub(super) fn omitted(&self) -> usize {
        match self {
            Self::All => 0,
            Self::Each(fields) => fields.iter().filter(|field| field.is_none()).count(),
        }
    }

    /// The value of option 52 (RFC 2132 §9.3: 1 `file`, 2 `sname`, 3 both); none: no field is overloaded.
    pub(super) fn overload(&self) -> Option<u8> {
        let Self::Each(fields) = self else { return None };
        let holds = |field| u8::from(fields.contains(&Some(field)));
        Some(holds(Field::File) | holds(Field::Sname) << 1).filter(|value| *value != 0)
    }
}

/// Bytes that an option takes: code and length before each of its pieces (RFC 3396).
pub(super) fn size(data: &[u8]) -> usize {
    if data.len() <= PIECE_BYTES {
        return data.len() + 2;
    }
    data.len() + 2 * data.len().div_ceil(PIECE_BYTES)
}

fn fill(wanted: &[(u8, &[u8])], mut room: Room) -> Vec<Option<Field>> {
    let place = |(_, data): &(u8, &[u8])| {
        let fields = [
            (Field::Options, &mut room.options),
            (Field::File, &mut room.file),
            (Field::Sname, &mut room.sname),
        ];
        fields.into_iter().find_map(|(field, left)| {
            *left = left.checked_sub(size(data))?;
            Some(field)
        })
    };
    wanted.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::Field::{File, Options, Sname};
    use super::*;

    fn plan(sizes: &[usize], options: usize, file: usize, sname: usize) -> Plan {
        let bytes = [0; 600];
        let wanted: Vec<(u8, &[u8])> = sizes.iter().map(|size| (1, &bytes[..size - 2])).collect();
        Plan::new(&wanted, Room { options, file, sname })
    }

    #[test]
    fn the_options_field_is_filled_first_then_file_then_sname() {
        assert_eq!(plan(&[50, 50], 100, 127, 63), Plan::All);
        let spread = plan(&[50, 50, 100, 60, 20], 103, 127, 63);
        assert_eq!(
            spread,
            Plan::Each(vec![Some(Options), Some(Options), Some(File), Some(Sname), Some(File)])
        );
        assert_eq!((spread.overload(), spread.omitted()), (Some(3), 0));
        assert_eq!(plan(&[50, 60], 60, 0, 63).overload(), Some(2));
        assert_eq!(plan(&[50, 60], 60, 127, 0).overload(), Some(1));
    }

    #[test]
    fn what_fits_nowhere_is_omitted_and_the_lesser_ones_behind_it_are_not() {
        let some = plan(&[200, 10], 53, 127, 63);
        assert_eq!((some.field(0), some.field(1), some.omitted()), (None, Some(Options), 1));
        assert_eq!(some.overload(), None, "no field is overloaded in vain");
    }

    #[test]
    fn the_overload_option_never_costs_a_worthier_one() {
        let tight = plan(&[200, 10], 200, 127, 63);
        assert_eq!((tight.field(0), tight.field(1), tight.overload()), (Some(Options), None, None));
        let loose = plan(&[200, 10], 203, 127, 63);
        assert_eq!((loose.field(0), loose.field(1), loose.overload()), (Some(Options), Some(File), Some(1)));
    }

    #[test]
    fn fields_in_use_take_nothing() {
        assert_eq!(plan(&[50, 60], 60, 0, 0), Plan::Each(vec![Some(Options), None]));
        assert_eq!(plan(&[50], 2, 0, 0), Plan::Each(vec![None]));
    }
}
