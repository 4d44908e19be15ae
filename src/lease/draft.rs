//! Leases that somebody has written down, on their way to the import of `admin`: from text to rows, with every mistake
//! told by its place and its column. What `leases import` and `POST /v1/leases` judge by alike. Touches no lease file.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use serde_json::{Map, Value};

use crate::config::Config;
use crate::config::model::IdentifyBy;

use super::admin::ImportRow;
use super::pools::Topology;
use super::transfer::{self, COLUMNS, Cells, TransferError};
use super::when::Times;

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The column, where it is about one.
    pub column: Option<String>,
    /// In words; they name the column, too.
    pub reason: String,
}

/// A row as text: its place (a line, or the number of an entry), and its cells or what is wrong with it.
pub type Draft = (u64, Result<Cells, Vec<Flaw>>);

impl From<String> for Flaw {
    fn from(reason: String) -> Self {
        Self { column: None, reason }
    }
}

/// Which column a name means. Errors: none, with the nearest one.
pub fn column(name: &str) -> Result<usize, String> {
    COLUMNS.iter().position(|column| *column == name).ok_or_else(|| {
        let near = COLUMNS
            .iter()
            .max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
        let near = near.filter(|column| strsim::jaro_winkler(column, name) > 0.8);
        let hint = near.map_or_else(|| COLUMNS.join(", "), |column| (*column).to_owned());
        format!("unknown column {name:?}; hint: {hint}")
    })
}

/// A row from a JSON object whose names are columns.
pub fn object(fields: Map<String, Value>) -> Result<Cells, Vec<Flaw>> {
    let mut cells = Cells::default();
    let mut flaws = Vec::new();
    for (name, value) in fields {
        let text = match value {
            Value::Null => Ok(String::new()),
            Value::String(text) => Ok(text),
            Value::Number(number) => Ok(number.to_string()),
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                Err(format!("{name} is neither text nor a number"))
            }
        };
        match column(&name).and_then(|place| Ok((place, text?))) {
            Ok((place, text)) => {
                if let Some(cell) = cells.get_mut(place) {
                    *cell = text;
                }
            }
            Err(reason) => flaws.push(Flaw { column: Some(name), reason }),
        }
    }
    if flaws.is_empty() { Ok(cells) } else { Err(flaws) }
}

/// Makes rows for an import of drafts, or says of each what is wrong with it.
pub fn understand(
    config: &Config,
    drafts: impl IntoIterator<Item = Draft>,
    times: Times,
) -> Result<Vec<ImportRow>, Vec<(u64, Flaw)>> {
    let topology = Topology::new(config);
    let by_subnet: HashMap<u16, IdentifyBy> =
        (0..).zip(&config.dhcp.subnets).map(|(place, subnet)| (place, subnet.common.identify_by)).collect();
    let identify_by = |address: Ipv4Addr| {
        let subnet = topology.subnet_of(address).and_then(|subnet| by_subnet.get(&subnet.0));
        subnet.copied().unwrap_or(config.dhcp.common.identify_by)
    };
    let mut good = Vec::new();
    let mut mistakes = Vec::new();
    for (place, draft) in drafts {
        match draft.and_then(|cells| row(place, cells, times, &identify_by)) {
            Ok(row) => good.push(row),
            Err(flaws) => mistakes.extend(flaws.into_iter().map(|flaw| (place, flaw))),
        }
    }
    if mistakes.is_empty() { Ok(good) } else { Err(mistakes) }
}

fn row(
    place: u64,
    mut cells: Cells,
    times: Times,
    identify_by: &dyn Fn(Ipv4Addr) -> IdentifyBy,
) -> Result<ImportRow, Vec<Flaw>> {
    let undated = transfer::is_undated(&cells);
    let mut flaws: Vec<Flaw> = Vec::new();
    loop {
        let error = match transfer::read(&cells, times, identify_by) {
            Ok(recorded) if flaws.is_empty() => return Ok(ImportRow { place, recorded, undated }),
            Ok(_) => return Err(flaws),
            Err(error) => error,
        };
        let reason = error.to_string();
        let TransferError::Bad { column, .. } = error else {
            // What is missing may only be what was wrong.
            if flaws.is_empty() {
                flaws.push(Flaw { column: column_of(&error).map(str::to_owned), reason });
            }
            return Err(flaws);
        };
        flaws.push(Flaw { column: Some(column.to_owned()), reason });
        // Without it, the next mistake of the row shows.
        let cell = COLUMNS.iter().position(|name| *name == column).and_then(|place| cells.get_mut(place));
        match cell.filter(|cell| !cell.is_empty()) {
            Some(cell) => cell.clear(),
            None => return Err(flaws),
        }
    }
}

fn column_of(error: &TransferError) -> Option<&'static str> {
    match error {
        TransferError::Missing(column) | TransferError::Bad { column, .. } => Some(column),
        TransferError::Nobody | TransferError::Times(_) => None,
    }
}
