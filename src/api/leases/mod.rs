//! `/v1/leases`: every committed lease, folded or not. Reading opens the file anew for each answer; writing takes the turn,
//! the transaction and the rules of the commands `leases release` and `leases import`.

mod history;
mod list;
mod one;
mod write;

use std::net::Ipv4Addr;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::StatusCode;

use super::openapi::{Operation, Routes};
use super::problem::Problem;
use super::query::Kind;

/// Adds the routes of this folder.
pub fn routes(routes: Routes) -> Routes {
    write::routes(history::routes(one::routes(list::routes(routes))))
}

/// The address in the path of a request.
type Ip = Result<Path<String>, PathRejection>;

fn address(path: Ip) -> Result<Ipv4Addr, Problem> {
    let text = path.map(|Path(text)| text).unwrap_or_default();
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(80).collect();
        Problem::bad_request(format!("\"{}\" is not an IPv4 address", shown.escape_debug()))
    })
}

fn of_an_address(operation: Operation) -> Operation {
    operation.segment("ip", Kind::Ipv4, "The address.").fails(404, "Nothing is known of this address.")
}

fn never_leased(address: Ipv4Addr) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("{address} was never leased"))
}

/// Why a request that reads may fail.
const UNREADABLE: &str = "The lease file cannot be read now.";
