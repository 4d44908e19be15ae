//! Tables for people, in one look.

use comfy_table::{Table, presets};

/// A table without lines, with these heads.
pub(super) fn new(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(heads.iter().copied());
    table
}

/// A table of facts: names and values, without heads.
pub(super) fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
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

#[cfg(test)]
mod tests {
    #[test]
    fn durations_show_their_two_largest_units() {
        let shown = [7, 306, 11_040, 93_600].map(super::duration);
        assert_eq!(shown, ["7s", "5m 6s", "3h 4m", "1d 2h"]);
    }
}
