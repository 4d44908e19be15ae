//! Tables for people, in one look. On a terminal they fit its width: columns of free text are folded, those of addresses,
//! times and figures never.

use std::io::{self, IsTerminal};

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};

use super::style::{self, Tone};

/// Heads of the columns whose text may be folded.
const FOLDED: [&str; 13] = [
    "hostname",
    "client_id",
    "value",
    "origin",
    "name",
    "sent",
    "at",
    "description",
    "reason",
    "key",
    "now",
    "then",
    "what changes",
];

/// A table without lines, with these heads.
pub(super) fn new(heads: &[&str]) -> Table {
    let mut table = plain();
    table.set_header(heads.iter().map(|head| style::mark(Tone::Head, head)));
    for (column, head) in table.column_iter_mut().zip(heads) {
        if !FOLDED.contains(head) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table
}

/// A table of facts: names and values, without heads.
pub(super) fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if io::stdout().is_terminal()
        && let Some((terminal_size::Width(width), _)) = terminal_size::terminal_size()
    {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    table
}

/// `1d 2h`, `3h 4m`, `5m 6s`, `7s`.
pub(super) fn duration(secs: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match secs {
        DAY.. => format!("{}d {}h", secs / DAY, secs % DAY / HOUR),
        HOUR.. => format!("{}h {}m", secs / HOUR, secs % HOUR / MINUTE),
        MINUTE.. => format!("{}m {}s", secs / MINUTE, secs % MINUTE),
        _ => format!("{secs}s"),
    }
}

/// `512 B`, `1.5 KiB`, `3.0 GiB`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut tenths = bytes.saturating_mul(10);
    let mut shown = format!("{bytes} B");
    for unit in UNITS {
        if tenths < 10 * 1024 {
            break;
        }
        tenths /= 1024;
        shown = format!("{}.{} {unit}", tenths / 10, tenths % 10);
    }
    shown
}

#[cfg(test)]
mod tests {
    #[test]
    fn durations_show_their_two_largest_units() {
        let shown = [7, 306, 11_040, 93_600].map(super::duration);
        assert_eq!(shown, ["7s", "5m 6s", "3h 4m", "1d 2h"]);
    }

    #[test]
    fn bytes_show_their_largest_unit() {
        let shown = [0, 1023, 1536, 5 << 20, 3 << 30].map(super::bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.5 KiB", "5.0 MiB", "3.0 GiB"]);
    }
}
