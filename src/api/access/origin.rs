//! Keeps web pages out. A page that an administrator visits can make the browser send requests to loopback; it may read
//! the answers once its own name resolves to 127.0.0.1 (DNS rebinding). Such a request carries the page's name in
//! `Host`, and often its origin, which is how it is known.

use std::net::{IpAddr, Ipv6Addr};

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Version, header};

use super::super::problem::Problem;

/// What the request calls this server. Errors: 400 where it must say so and does not, or says it twice (RFC 9112 §3.2).
pub(super) fn host(request: &Request) -> Result<Option<Authority>, Problem> {
    let mut said = request.headers().get_all(header::HOST).iter();
    let host = said.next();
    if said.next().is_some() {
        return Err(Problem::bad_request("there is more than one Host field"));
    }
    if host.is_none() && request.version() >= Version::HTTP_11 {
        return Err(Problem::bad_request("there is no Host field"));
    }
    let host = host.filter(|host| !host.is_empty());
    let host = host.map(|host| Authority::try_from(host.as_bytes()));
    let host =
        host.transpose().map_err(|_| Problem::bad_request("the Host field holds no name of a host"))?;
    // The address itself counts for more where it has a name (RFC 9112 §3.2.2).
    Ok(request.uri().authority().cloned().or(host))
}

/// Refuses names that somebody else could have given to this address: all but addresses, `localhost` and `names`.
pub(super) fn check_host(host: Option<&Authority>, names: &[String]) -> Result<(), Problem> {
    let Some(host) = host.map(Authority::host) else { return Ok(()) };
    let name = host.strip_suffix('.').unwrap_or(host);
    let known = is_address(host)
        || name.eq_ignore_ascii_case("localhost")
        || names.iter().any(|own| own.eq_ignore_ascii_case(name));
    if known {
        return Ok(());
    }
    let shown: String = host.chars().take(80).collect();
    let detail = format!(
        "this server is not {shown}; without the token call it by its address, localhost or the machine's name"
    );
    Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail))
}

/// Refuses what a browser says that a page of another origin asks (RFC 6454, Fetch Metadata).
pub(super) fn check_page(headers: &HeaderMap, host: Option<&Authority>) -> Result<(), Problem> {
    let foreign = |origin: &header::HeaderValue| {
        let own = host.map(|host| format!("http://{host}"));
        origin.to_str().ok().map(str::to_ascii_lowercase) != own.map(|own| own.to_ascii_lowercase())
    };
    let cross_site = |site: &header::HeaderValue| site != "none" && site != "same-origin";
    if headers.get_all(header::ORIGIN).iter().any(foreign)
        || headers.get_all("sec-fetch-site").iter().any(cross_site)
    {
        return Err(Problem::new(StatusCode::FORBIDDEN, "web pages of other servers may not ask here"));
    }
    Ok(())
}

fn is_address(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_localhost_and_the_own_name_are_no_strangers() {
        let names = ["dhcp1.example.org".to_owned()];
        for host in [
            "127.0.0.1:9167",
            "[::1]:9167",
            "localhost",
            "LOCALHOST:1",
            "localhost.",
            "DHCP1.example.org:9167",
        ] {
            let host: Authority = host.parse().unwrap();
            assert_eq!(check_host(Some(&host), &names), Ok(()), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example:9167", "localhost.evil.example", "2130706433"] {
            let host: Authority = host.parse().unwrap();
            assert_eq!(check_host(Some(&host), &names).unwrap_err().status(), 421, "{host}");
        }
    }

    #[test]
    fn a_page_of_another_origin_is_refused() {
        let host: Authority = "127.0.0.1:9167".parse().unwrap();
        let check = |name: &'static str, value: &str| {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
            check_page(&headers, Some(&host)).is_ok()
        };
        assert!(check("origin", "http://127.0.0.1:9167") && check("sec-fetch-site", "none"));
        for origin in ["http://evil.example", "null", "https://127.0.0.1:9167", "http://127.0.0.1:80", ""] {
            assert!(!check("origin", origin), "{origin}");
        }
        assert!(!check("sec-fetch-site", "cross-site") && !check("sec-fetch-site", "same-site"));
    }
}
