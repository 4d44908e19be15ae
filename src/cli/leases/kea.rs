//! The lease file of Kea's memfile backend (`kea-leases4.csv`) as rows of an import. Kea appends a line for each change,
//! so the last line of an address counts; a lifetime of 0 deletes what stood before. Leases that have ended (reclaimed
//! or released) are left out: their end is not in the file.

use std::collections::BTreeMap;

use crate::lease::draft::Draft;
use crate::lease::transfer::{COLUMNS, Cells};

/// Infinity (RFC 2131 §3.3), as Kea writes it.
const FOREVER: u64 = 0xffff_ffff;

/// The columns that are read; Kea has others, which vary with its version.
const NEEDED: [&str; 7] = ["address", "hwaddr", "client_id", "valid_lifetime", "expire", "hostname", "state"];

const EXPIRED_RECLAIMED: &str = "2";
const RELEASED: &str = "3";

/// Whether this is the header of such a file.
pub(super) fn is_header(heads: &[String]) -> bool {
    NEEDED.iter().all(|column| heads.iter().any(|head| head == column))
}

/// The lines that count, in the order of the file.
pub(super) fn read(mut reader: csv::Reader<&[u8]>, heads: &[String]) -> Vec<Draft> {
    let mut newest: BTreeMap<String, Option<Draft>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                wrong.push((line, Err(vec![error.to_string().into()])));
                continue;
            }
        };
        let line = record.position().map_or(0, csv::Position::line);
        let cell = |name: &str| {
            let place = heads.iter().position(|head| head == name);
            place.and_then(|place| record.get(place)).unwrap_or_default().trim()
        };
        let over = cell("valid_lifetime") == "0" || matches!(cell("state"), EXPIRED_RECLAIMED | RELEASED);
        let row = if over { None } else { Some((line, cells(&cell).map_err(|reason| vec![reason.into()]))) };
        newest.insert(cell("address").to_owned(), row);
    }
    wrong.extend(newest.into_values().flatten());
    wrong.sort_by_key(|(line, _)| *line);
    wrong
}

fn cells<'a>(cell: &dyn Fn(&str) -> &'a str) -> Result<Cells, String> {
    let number = |name: &str| {
        cell(name).parse::<u64>().map_err(|_| format!("{name} {:?} is not a number", cell(name)))
    };
    let (lifetime, expire) = (number("valid_lifetime")?, number("expire")?);
    let state = match cell("state") {
        "0" => "active",
        "1" => "declined",
        other => return Err(format!("state {other:?} is none of Kea's")),
    };
    // Of a lease without an end `expire` is the time of the last renewal.
    let ends = if lifetime == FOREVER { "never".to_owned() } else { utc(expire)? };
    let starts = utc(expire.saturating_sub(if lifetime == FOREVER { 0 } else { lifetime }))?;
    let hostname = cell("hostname").trim_end_matches('.').replace("&#x2c", ",").replace('\\', "\\x5c");
    let mut cells = Cells::default();
    for (name, text) in [
        ("ip", cell("address").to_owned()),
        ("mac", cell("hwaddr").to_owned()),
        ("client_id", cell("client_id").to_owned()),
        ("hostname", hostname),
        ("state", state.to_owned()),
        ("starts", starts),
        ("expires", ends),
    ] {
        let place = COLUMNS.iter().position(|column| *column == name);
        if let Some(cell) = place.and_then(|place| cells.get_mut(place)) {
            *cell = text;
        }
    }
    Ok(cells)
}

fn utc(secs: u64) -> Result<String, String> {
    let time = i64::try_from(secs).ok().and_then(|secs| chrono::DateTime::from_timestamp(secs, 0));
    let time = time.ok_or_else(|| format!("expire {secs} is not a time"))?;
    Ok(time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id
10.0.0.5,00:11:22:33:44:55,01:00:11:22:33:44:55,3600,1893459600,1,0,0,old,0,,0
10.0.0.6,00:11:22:33:44:66,,3600,1893459600,1,0,0,,0,,0
10.0.0.5,00:11:22:33:44:55,01:00:11:22:33:44:55,4294967295,1893463200,1,0,0,a&#x2cb.,0,,0
10.0.0.6,00:11:22:33:44:66,,0,1893459600,1,0,0,,0,,0
10.0.0.8,00:11:22:33:44:88,,3600,1893459600,1,0,0,,2,,0
10.0.0.7,00:11:22:33:44:77,,soon,1893459600,1,0,0,,0,,0
";

    #[test]
    fn last_line_of_an_address_counts() {
        let mut reader = csv::Reader::from_reader(FILE.as_bytes());
        let heads: Vec<String> = reader.headers().unwrap().iter().map(Into::into).collect();
        assert!(is_header(&heads));
        let rows = read(reader, &heads);
        let cells = rows[0].1.as_ref().unwrap();
        assert_eq!((rows.len(), rows[0].0), (2, 4));
        let shown: Vec<&str> = cells.iter().map(String::as_str).filter(|cell| !cell.is_empty()).collect();
        assert_eq!(
            shown,
            [
                "10.0.0.5",
                "00:11:22:33:44:55",
                "01:00:11:22:33:44:55",
                "a,b",
                "active",
                "2030-01-01T02:00:00Z",
                "never"
            ]
        );
        assert_eq!(rows[1], (7, Err(vec!["valid_lifetime \"soon\" is not a number".to_owned().into()])));
    }
}
