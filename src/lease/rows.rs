//! Rows of the lease file to and from [`RowRef`]: the one place that knows how a lease's fields become columns.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use rusqlite::types::{FromSqlError, ValueRef};
use rusqlite::{CachedStatement, Row};

use super::store::{ClientRef, RowRef};
use super::types::{HardwareAddress, LeaseEvent, LeaseState, Timestamp};

/// A row of [`super::schema::LOG_AFTER`] or [`super::schema::ALL_LEASES`].
pub(super) fn decode<'a>(row: &'a Row<'_>) -> rusqlite::Result<RowRef<'a>> {
    let state = LeaseState::from_number(int(row, 12)?).ok_or_else(|| wrong(12))?;
    let event = match row.get_ref(2)? {
        ValueRef::Null => leading_to(state),
        value => LeaseEvent::from_name(value.as_str().map_err(|_| wrong(2))?).ok_or_else(|| wrong(2))?,
    };
    let mac = blob(row, 6)?;
    let hardware = match mac {
        Some(mac) => {
            HardwareAddress::new(u8::try_from(int(row, 5)?).unwrap_or(0), mac).ok_or_else(|| wrong(6))?
        }
        None => HardwareAddress::default(),
    };
    let client = ClientRef {
        key: blob(row, 4)?.unwrap_or_default(),
        hardware,
        client_id: blob(row, 7)?,
        hostname: match blob(row, 9)? {
            None => blob(row, 8)?,
            raw => raw,
        },
        relay: optional(row, 16)?.map(|number| address(number, 16)).transpose()?,
        circuit_id: blob(row, 17)?,
        remote_id: blob(row, 18)?,
        vendor_class: blob(row, 19)?,
    };
    Ok(RowRef {
        seq: number(row, 0)?,
        at: Timestamp(number(row, 1)?),
        event,
        address: address(int(row, 3)?, 3)?,
        subnet: text(row, 10)?,
        pool: text(row, 11)?,
        state,
        starts: Timestamp(number(row, 13)?),
        expires: Timestamp(number(row, 14)?),
        declines: u8::try_from(int(row, 15)?).unwrap_or(u8::MAX),
        client,
    })
}

/// Writes a row with [`super::schema::APPEND`].
pub(super) fn append(statement: &mut CachedStatement<'_>, row: &RowRef<'_>) -> rusqlite::Result<()> {
    bind(statement, row)?;
    statement.raw_execute().map(drop)
}

/// Binds a row to the parameters 1 to 20, in the order of [`super::schema::APPEND`]. A statement need not use all of them,
/// as long as it has the last or a later one.
pub(super) fn bind(statement: &mut CachedStatement<'_>, row: &RowRef<'_>) -> rusqlite::Result<()> {
    let client = &row.client;
    let nobody = client.key.is_empty();
    // Of who uses an address without a lease, the hardware address alone is known.
    let seen = !nobody || !client.hardware.bytes().is_empty();
    let hostname = client.hostname.map(clean);
    let raw = match (&hostname, client.hostname) {
        (Some(shown), Some(raw)) if shown.as_bytes() != raw => Some(raw),
        _ => None,
    };
    // One by one: a list of trait objects costs as much as the binding itself.
    statement.raw_bind_parameter(1, signed(row.seq))?;
    statement.raw_bind_parameter(2, signed(row.at.0))?;
    statement.raw_bind_parameter(3, row.event.name())?;
    statement.raw_bind_parameter(4, u32::from(row.address))?;
    statement.raw_bind_parameter(5, (!nobody).then_some(client.key))?;
    statement.raw_bind_parameter(6, seen.then_some(client.hardware.kind()))?;
    statement.raw_bind_parameter(7, seen.then_some(client.hardware.bytes()))?;
    statement.raw_bind_parameter(8, client.client_id)?;
    statement.raw_bind_parameter(9, hostname.as_deref())?;
    statement.raw_bind_parameter(10, raw)?;
    statement.raw_bind_parameter(11, row.subnet)?;
    statement.raw_bind_parameter(12, row.pool)?;
    statement.raw_bind_parameter(13, row.state.number())?;
    statement.raw_bind_parameter(14, signed(row.starts.0))?;
    statement.raw_bind_parameter(15, signed(row.expires.0))?;
    statement.raw_bind_parameter(16, row.declines)?;
    statement.raw_bind_parameter(17, client.relay.map(u32::from))?;
    statement.raw_bind_parameter(18, client.circuit_id)?;
    statement.raw_bind_parameter(19, client.remote_id)?;
    statement.raw_bind_parameter(20, client.vendor_class)
}

/// A number for SQLite; ours stay below 2⁶³ ([`Timestamp::NEVER`]).
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Text that may be shown anywhere: what is not printable, and the backslash itself, is written `\xNN`.
pub(super) fn clean(bytes: &[u8]) -> Cow<'_, str> {
    let harmless = |c: char| !c.is_control() && c != '\\' && !is_invisible(c);
    if let Ok(text) = std::str::from_utf8(bytes)
        && text.chars().all(harmless)
    {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(bytes.len() * 2);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if harmless(c) {
                shown.push(c);
            } else {
                escape(&mut shown, c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        escape(&mut shown, chunk.invalid());
    }
    Cow::Owned(shown)
}

/// Characters that change how a line around them looks: direction marks, line separators, zero-width ones.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn escape(shown: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(shown, "\\x{byte:02x}");
    }
}

fn leading_to(state: LeaseState) -> LeaseEvent {
    match state {
        LeaseState::Active => LeaseEvent::Granted,
        LeaseState::Expired => LeaseEvent::Expired,
        LeaseState::Released => LeaseEvent::Released,
        LeaseState::Declined => LeaseEvent::Declined,
        LeaseState::Conflict => LeaseEvent::Conflict,
    }
}

fn wrong(column: usize) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(
        column,
        rusqlite::types::Type::Null,
        Box::new(FromSqlError::InvalidType),
    )
}

fn optional(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<i64>> {
    row.get_ref(column)?.as_i64_or_null().map_err(|_| wrong(column))
}

fn int(row: &Row<'_>, column: usize) -> rusqlite::Result<i64> {
    row.get_ref(column)?.as_i64().map_err(|_| wrong(column))
}

fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    u64::try_from(int(row, column)?).map_err(|_| wrong(column))
}

fn address(number: i64, column: usize) -> rusqlite::Result<Ipv4Addr> {
    u32::try_from(number).map(Ipv4Addr::from).map_err(|_| wrong(column))
}

/// The bytes of a blob or a text.
fn blob<'a>(row: &'a Row<'_>, column: usize) -> rusqlite::Result<Option<&'a [u8]>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        value => value.as_bytes().map(Some).map_err(|_| wrong(column)),
    }
}

fn text<'a>(row: &'a Row<'_>, column: usize) -> rusqlite::Result<&'a str> {
    row.get_ref(column)?.as_str().map_err(|_| wrong(column))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_shown_escaped() {
        assert_eq!(clean(b"printer-1"), "printer-1");
        assert_eq!(clean("k\u{fc}che".as_bytes()), "k\u{fc}che");
        assert_eq!(clean(b"a\nb\x1b[2J\\\xff\0"), "a\\x0ab\\x1b[2J\\x5c\\xff\\x00");
        assert_eq!(clean("\u{202e}x".as_bytes()), "\\xe2\\x80\\xaex");
    }
}
