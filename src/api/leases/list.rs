//! `GET /v1/leases`: leases by what is known of them, a page at a time in the order of addresses.
//!
//! The cursor is the last address that was looked at. A page ends when it has `limit` leases or has looked at
//! [`LOOKED_AT`](crate::lease::search::LOOKED_AT), so a filter that finds little gives short pages, even empty ones: the end
//! is where `next` is null.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{self, RawQuery};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use schemars::JsonSchema;
use serde::Serialize;

use super::super::State;
use super::super::desk::{READ_WITHIN, is_missing, store_problem};
use super::super::openapi::{Operation, Routes};
use super::super::problem::Problem;
use super::super::query::{Kind, Parameter, Query, wrong};
use crate::lease::search::Found;
use crate::lease::{LeaseState, LeaseView, Reader, Search, Times};

/// One page of leases.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct LeasePage {
    /// The leases, by address.
    leases: Vec<LeaseView>,
    /// The value of `after` for the next page; null: this is the last one.
    next: Option<String>,
}

/// Pairs of hex digits, together or with something between them.
const MAC: &str = "^[0-9A-Fa-f]{2}([:.-]?[0-9A-Fa-f]{2}){0,15}$";
const CLIENT_ID: &str = "^[0-9A-Fa-f]{2}([:.-]?[0-9A-Fa-f]{2}){0,254}$";
const ADDRESSES: &str = "^(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(\\.(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])){3}(/(3[0-2]|[12]?[0-9]))?$";

const PARAMETERS: &[Parameter] = &[
    Parameter::new("subnet", Kind::Text, "Of the subnet of this name."),
    Parameter::new("pool", Kind::Text, "Of the pools of this name."),
    Parameter::new(
        "state",
        Kind::Choice(&["active", "expired", "released", "declined", "conflict"]),
        "In this state now.",
    ),
    Parameter::new(
        "mac",
        Kind::Pattern(MAC),
        "Of this hardware address: 00:11:22:33:44:55, with dashes, dots or nothing between.",
    ),
    Parameter::new("client_id", Kind::Pattern(CLIENT_ID), "Of this client-id, in hex likewise."),
    Parameter::new(
        "hostname",
        Kind::Text,
        "With this host name as it is shown; `*` stands for any text, the case does not matter.",
    ),
    Parameter::new("ip", Kind::Pattern(ADDRESSES), "Of this address, or of this network: 10.0.0.0/24."),
    Parameter::new("limit", Kind::Number { min: 1, max: 1000 }, "Leases in an answer at most; else 100."),
    Parameter::new("after", Kind::Ipv4, "Only addresses above this one: the `next` of the page before."),
];

pub(super) fn routes(routes: Routes) -> Routes {
    let list = Operation::get("/v1/leases", "leases", "Leases by what is known of them")
        .describes(
            "In the order of addresses, a page at a time. An answer looks at 50,000 leases at most: with a filter a page may \
             be short or even empty, and the end is where `next` is null.",
        )
        .query(PARAMETERS)
        .answers::<LeasePage>(200, "A page.")
        .with_field(200, "Link", "The next page (`rel=\"next\"`, RFC 8288), if there is one.")
        .fails(503, super::UNREADABLE)
        .fails(504, "The lease file could not be read in time.");
    routes.add(list, show)
}

async fn show(
    extract::State(state): extract::State<Arc<State>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = Query::read(query.as_deref(), PARAMETERS)?;
    let search = search(&query)?;
    let config = Arc::clone(&state.config);
    let look = move || Reader::open(&config.dhcp.store.path).and_then(|reader| search.run(&reader));
    let found = match state.desk.run(READ_WITHIN, look).await? {
        Ok(found) => found,
        // There was never a lease.
        Err(error) if is_missing(&state.config, &error) => {
            return Ok(Json(LeasePage { leases: Vec::new(), next: None }).into_response());
        }
        Err(error) => return Err(store_problem(&error)),
    };
    let Found { leases, next, times } = found;
    let leases = leases.iter().map(|lease| LeaseView::new(lease, times, Times::utc)).collect();
    let link = next.map(|next| [(header::LINK, link(&query, next))]);
    Ok((link, Json(LeasePage { leases, next: next.map(|next| next.to_string()) })).into_response())
}

fn search(query: &Query) -> Result<Search, Problem> {
    let text = |name| query.text(name).map(str::to_owned);
    let hex = |name, most| {
        let bytes =
            |text: &str| hex(text, most).ok_or_else(|| wrong(name, text, "is not hex such as 00:11:22"));
        query.text(name).map(bytes).transpose()
    };
    let network =
        |text: &str| network(text).ok_or_else(|| wrong("ip", text, "is neither an address nor a network"));
    let default = Search::default();
    Ok(Search {
        addresses: query.text("ip").map(network).transpose()?.unwrap_or(default.addresses),
        state: query.text("state").and_then(LeaseState::from_name),
        subnet: text("subnet"),
        pool: text("pool"),
        mac: hex("mac", 16)?,
        client_id: hex("client_id", 255)?,
        hostname: text("hostname"),
        after: query.parse("after")?,
        limit: query.parse("limit")?.unwrap_or(default.limit),
    })
}

/// The same question for the next page.
fn link(query: &Query, next: Ipv4Addr) -> String {
    let mut target = String::from("/v1/leases?");
    for parameter in PARAMETERS.iter().filter(|parameter| parameter.name != "after") {
        if let Some(value) = query.text(parameter.name) {
            // Writing to a string cannot fail.
            let _ = write!(target, "{}={}&", parameter.name, utf8_percent_encode(value, NON_ALPHANUMERIC));
        }
    }
    format!("<{target}after={next}>; rel=\"next\"")
}

/// [`MAC`] and the like, as bytes.
fn hex(text: &str, most: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    loop {
        let [high, low, behind @ ..] = rest else { return None };
        let digit = |digit: u8| char::from(digit).to_digit(16);
        bytes.push(u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?);
        rest = match behind {
            [] => return Some(bytes).filter(|bytes| bytes.len() <= most),
            [b':' | b'.' | b'-', behind @ ..] | behind => behind,
        };
    }
}

/// The first and the last address of a network; host bits do not matter.
fn network(text: &str) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let (address, length) =
        text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let address = u32::from(address.parse::<Ipv4Addr>().ok()?);
    let digits = length.unwrap_or("32");
    let plain =
        digits.bytes().all(|digit| digit.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    let length = digits.parse::<u32>().ok().filter(|length| plain && *length <= 32)?;
    let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
    Some((Ipv4Addr::from(address & mask), Ipv4Addr::from(address | !mask)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_are_read_in_every_usual_spelling() {
        for text in ["00:11:22:aa:BB:cc", "00-11-22-AA-BB-CC", "0011.22aa.bbcc", "001122aabbcc"] {
            assert_eq!(hex(text, 16), Some(vec![0, 0x11, 0x22, 0xaa, 0xbb, 0xcc]), "{text}");
        }
        for text in ["", "0", "00:1", "00::11", "00:11:", ":00", "0g", "é1", "+1", "00 11"] {
            assert_eq!(hex(text, 16), None, "{text}");
        }
        assert_eq!(hex("0011", 1), None);
    }

    #[test]
    fn networks_are_read_with_and_without_a_length() {
        let pair = |text| network(text).map(|(first, last)| (first.to_string(), last.to_string()));
        let is = |first: &str, last: &str| Some((first.to_owned(), last.to_owned()));
        assert_eq!(pair("10.0.0.7"), is("10.0.0.7", "10.0.0.7"));
        assert_eq!(pair("10.0.0.7/24"), is("10.0.0.0", "10.0.0.255"));
        assert_eq!(pair("0.0.0.0/0"), is("0.0.0.0", "255.255.255.255"));
        for text in
            ["", "10.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/08", "10.0.0.0/8/8", "::1"]
        {
            assert_eq!(network(text), None, "{text}");
        }
    }

    #[test]
    fn next_page_asks_the_same() {
        let query = Query::read(Some("hostname=a%26b*&limit=7&after=10.0.0.1"), PARAMETERS).unwrap();
        let link = link(&query, Ipv4Addr::LOCALHOST);
        assert_eq!(link, "</v1/leases?hostname=a%26b%2A&limit=7&after=127.0.0.1>; rel=\"next\"");
    }
}
