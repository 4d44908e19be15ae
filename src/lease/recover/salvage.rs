//! Every row that the pages of a damaged table still give: read from both ends, and what lies between by halves.

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

/// So often a range that cannot be read is halved. A sound page between two damaged ones is found unless it covers less
/// than the 65,536th part of the range between them.
const HALVINGS: u32 = 16;

/// What a table still gave.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// Rows that were copied.
    pub(super) rows: u64,
    /// Ranges of keys that could not be read to the end.
    pub(super) unreadable: u64,
}

/// Copies the rows of `table` whose `key` lies in `range` from one file to another: those columns that both have. Errors:
/// of the target alone; what the source does not give is counted.
pub(super) fn salvage(
    source: &Connection,
    target: &Connection,
    table: &str,
    key: &str,
    range: (i64, i64),
) -> rusqlite::Result<Found> {
    let theirs = columns(source, table).unwrap_or_default();
    let common: Vec<String> =
        columns(target, table)?.into_iter().filter(|one| theirs.contains(one)).collect();
    if !common.iter().any(|column| column == key) {
        return Ok(Found { rows: 0, unreadable: 1 });
    }
    let names = common.join(", ");
    let places = vec!["?"; common.len()].join(", ");
    let read = |order| {
        format!("SELECT {key}, {names} FROM {table} WHERE {key} BETWEEN ?1 AND ?2 ORDER BY {key} {order}")
    };
    let mut copy = Copy {
        source,
        target,
        forward: read("ASC"),
        backward: read("DESC"),
        // A row that was read from both ends, or is broken, must not end the work.
        insert: format!("INSERT OR IGNORE INTO {table} ({names}) VALUES ({places})"),
        found: Found::default(),
    };
    copy.range(range.0, range.1, HALVINGS)?;
    Ok(copy.found)
}

struct Copy<'c> {
    source: &'c Connection,
    target: &'c Connection,
    forward: String,
    backward: String,
    insert: String,
    found: Found,
}

impl Copy<'_> {
    fn range(&mut self, low: i64, high: i64, halvings: u32) -> rusqlite::Result<()> {
        let Err(reached) = self.scan(true, low, high)? else { return Ok(()) };
        // Rows of the history share a key: the one that was reached may have more.
        let low = reached.unwrap_or(low);
        let Err(reached) = self.scan(false, low, high)? else { return Ok(()) };
        let high = reached.unwrap_or(high);
        if halvings == 0 || low >= high {
            self.found.unreadable += 1;
            return Ok(());
        }
        let middle = low + (high - low) / 2;
        self.range(low, middle, halvings - 1)?;
        self.range(middle + 1, high, halvings - 1)
    }

    /// Copies rows until the end, or until the source gives no more: the last key that it gave.
    fn scan(&mut self, forward: bool, low: i64, high: i64) -> rusqlite::Result<Result<(), Option<i64>>> {
        let sql = if forward { &self.forward } else { &self.backward };
        let mut insert = self.target.prepare_cached(&self.insert)?;
        let mut last = None;
        let Ok(mut statement) = self.source.prepare_cached(sql) else { return Ok(Err(last)) };
        let width = statement.column_count();
        let Ok(mut rows) = statement.query([low, high]) else { return Ok(Err(last)) };
        loop {
            match rows.next() {
                Ok(None) => return Ok(Ok(())),
                Err(_) => return Ok(Err(last)),
                Ok(Some(row)) => {
                    let values: rusqlite::Result<Vec<Value>> = (1..width).map(|at| row.get(at)).collect();
                    let (Ok(key), Ok(values)) = (row.get(0), values) else { continue };
                    last = Some(key);
                    self.found.rows += insert.execute(params_from_iter(values))? as u64;
                }
            }
        }
    }
}

fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("PRAGMA table_info({table})"))?;
    statement.query_map([], |row| row.get(1))?.collect()
}
