//! What the log says beyond the folded leases: for each address the newest row of the log. Read once for a list of any
//! length: a list in pages takes it along from look to look and reads on from where it was. Used by the reader alone.

use rusqlite::{Connection, params};

use super::reader::meta;

/// The newest rows of the log that are not folded, of a range of addresses. 16 bytes for each address; the keeper folds before
/// there are many, so only an import leaves more than some thousands.
#[derive(Debug, Default)]
pub(super) struct Unfolded {
    /// The addresses that it is about, the first and the last; none: nothing was read.
    range: Option<(u32, u32)>,
    /// Of the log, all up to here is in it.
    read_to: i64,
    /// In the order of addresses.
    newest: Vec<Newest>,
}

/// The newest row of one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Newest {
    pub(super) address: u32,
    /// The row says that there is no lease any more.
    pub(super) deleted: bool,
    pub(super) seq: i64,
}

impl Unfolded {
    /// Brings it to what the transaction of `connection` sees, for addresses from `first` to `last`. Cheap where it knows
    /// those addresses already: only what was written since is read.
    pub(super) fn follow(
        &mut self,
        connection: &Connection,
        (first, last): (u32, u32),
    ) -> rusqlite::Result<()> {
        let folded_to = meta(connection, "folded_to")?;
        match self.range {
            // Whoever pages on never comes back to what lies before.
            Some((from, to)) if from <= first && last <= to => {
                self.newest.retain(|row| row.seq > folded_to && row.address >= first);
                self.range = Some((first, to));
            }
            Some(_) | None => *self = Self { range: Some((first, last)), ..Self::default() },
        }
        let (first, last) = self.range.unwrap_or((first, last));
        let from = self.read_to.max(folded_to);
        let known = self.newest.len();
        let mut log = connection.prepare(
            "SELECT address, event = 'deleted', seq FROM lease_log \
             WHERE seq > ?1 AND address BETWEEN ?2 AND ?3 ORDER BY seq",
        )?;
        let mut rows = log.query(params![from, first, last])?;
        while let Some(row) = rows.next()? {
            self.newest.push(Newest { address: row.get(0)?, deleted: row.get(1)?, seq: row.get(2)? });
        }
        if self.newest.len() > known {
            // Stable: of each address the newest row comes last, and stays.
            self.newest.sort_by_key(|row| row.address);
            self.newest.dedup_by(|later, earlier| {
                let same = later.address == earlier.address;
                if same {
                    *earlier = *later;
                }
                same
            });
        }
        let newest: Option<i64> =
            connection.query_row("SELECT max(seq) FROM lease_log", [], |row| row.get(0))?;
        self.read_to = newest.unwrap_or(0).max(folded_to);
        Ok(())
    }

    /// The rows of addresses from `first` to `last`, in their order.
    pub(super) fn between(&self, first: u32, last: u32) -> &[Newest] {
        let from = self.newest.partition_point(|row| row.address < first);
        let to = self.newest.partition_point(|row| row.address <= last);
        self.newest.get(from..to).unwrap_or_default()
    }
}
