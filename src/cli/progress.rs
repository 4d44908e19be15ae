//! How far long work is: a line on standard error that is written anew ten times a second, where that is a terminal;
//! nothing at all elsewhere. Used by the import and the export of leases.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Between two looks of the line.
const EVERY: Duration = Duration::from_millis(100);
/// To the start of the line, and away with what stands there (ECMA-48: EL).
const CLEAR: &str = "\r\u{1b}[K";

/// One piece of work.
#[derive(Debug)]
pub(super) struct Progress {
    what: &'static str,
    rows: u64,
    began: Instant,
    shown: Option<Instant>,
    on: bool,
    /// A terminal that cannot go back in a line gets the last line only.
    dumb: bool,
}

impl Progress {
    /// Begins: `what` is done with rows, in the past: `exported`.
    pub(super) fn new(what: &'static str) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        Self { what, rows: 0, began: Instant::now(), shown: None, on: io::stderr().is_terminal(), dumb }
    }

    /// So many rows more are done.
    pub(super) fn add(&mut self, rows: usize) {
        self.rows += rows as u64;
        let now = Instant::now();
        let since = self.shown.unwrap_or(self.began);
        if self.on && !self.dumb && now.duration_since(since) >= EVERY {
            self.shown = Some(now);
            let _ = write!(io::stderr(), "{CLEAR}{}", self.line(now.duration_since(self.began)));
        }
    }

    /// All is done: the last line.
    pub(super) fn finish(mut self) {
        self.clear();
        if self.on {
            let _ = writeln!(io::stderr(), "{}", self.line(self.began.elapsed()));
        }
    }

    fn line(&self, took: Duration) -> String {
        let secs = took.as_secs_f64().max(1e-6);
        #[allow(clippy::cast_precision_loss)] // for people
        let rate = self.rows as f64 / secs;
        format!("{} {} rows in {secs:.1} s, {rate:.0} rows/s", self.what, self.rows)
    }

    fn clear(&mut self) {
        if self.shown.take().is_some() {
            let _ = write!(io::stderr(), "{CLEAR}");
        }
    }
}

/// Work that failed leaves no half of a line before its reason.
impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_has_rows_time_and_rate() {
        let mut progress = Progress::new("exported");
        progress.rows = 3000;
        assert_eq!(progress.line(Duration::from_millis(1500)), "exported 3000 rows in 1.5 s, 2000 rows/s");
    }
}
