//! The figures of `/v1/stats` as one screen of tables, the most important first. Pure; what is zero or not known is left out
//! where it would only take room.

use serde_json::{Map, Value};

use crate::cli::table;

/// What is shown of the rates: a name for people and the name in the document.
const RATES: [(&str, &str); 9] = [
    ("ACKs", "acks"),
    ("DHCP packets in", "requests_in"),
    ("DHCP replies out", "replies_out"),
    ("DHCP packets dropped", "dropped"),
    ("leases granted", "grants"),
    ("leases renewed", "renewals"),
    ("TCP connections", "tcp_connections"),
    ("UDP datagrams", "udp_datagrams"),
    ("errors", "errors"),
];

/// What is shown of the latencies, by pointer.
const LATENCIES: [(&str, &str); 7] = [
    ("response", "/dhcp/latency/response"),
    ("  in the socket", "/dhcp/latency/stages/queue"),
    ("  parse", "/dhcp/latency/stages/parse"),
    ("  begin", "/dhcp/latency/stages/begin"),
    ("  handle", "/dhcp/latency/stages/handle"),
    ("  commit", "/dhcp/latency/commit"),
    ("  send", "/dhcp/latency/stages/send"),
];

/// The screen; `last` is what was looked at before, for rates since then.
pub(super) fn show(now: &Value, last: Option<&Value>) -> String {
    let parts = [
        head(now),
        rates(now, last),
        leases(now),
        pools(now),
        counts(now, "/dhcp/dropped", "dropped, by reason"),
        counts(now, "/errors", "errors"),
        latencies(now),
        processes(now, last),
        files(now),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n\n")
}

/// Rows of the terminal (`tty_ioctl(4)`), where it tells.
pub(super) fn rows() -> Option<usize> {
    terminal_size::terminal_size().map(|(_, height)| usize::from(height.0))
}

fn head(now: &Value) -> String {
    format!(
        "echo-daemon {} up {}, generation {}, {} TCP clients, figures of {}",
        text(now, "/version"),
        table::duration(whole(now, "/uptime_secs")),
        whole(now, "/generation"),
        whole(now, "/tcp/clients"),
        text(now, "/time").get(..19).unwrap_or_default().replace('T', " "),
    )
}

fn rates(now: &Value, last: Option<&Value>) -> String {
    let heads = ["per second", if last.is_some() { "since last" } else { "last 1s" }, "10s", "60s", "total"];
    let mut rows = table::new(&heads);
    for (name, key) in RATES {
        let place = format!("/rates/{key}");
        if whole(now, &format!("{place}/total")) == 0 && key != "acks" {
            continue;
        }
        let first = last.map_or_else(
            || number(now, &format!("{place}/1s")),
            |last| since(now, last, &format!("{place}/total")),
        );
        rows.add_row([
            name.to_owned(),
            rate(first),
            rate(number(now, &format!("{place}/10s"))),
            rate(number(now, &format!("{place}/60s"))),
            whole(now, &format!("{place}/total")).to_string(),
        ]);
    }
    rows.to_string()
}

/// How much in a second a figure has grown since `last`.
fn since(now: &Value, last: &Value, place: &str) -> Option<f64> {
    let elapsed = number(now, "/timestamp")? - number(last, "/timestamp")?;
    let more = number(now, place)? - number(last, place)?;
    // Between two snapshots nothing has happened; and a restarted daemon begins anew.
    (elapsed > 0.0 && more >= 0.0).then(|| more / elapsed)
}

fn leases(now: &Value) -> String {
    let states = ["active", "expired", "released", "declined", "conflict"];
    let sum = |state: &str| {
        let pools = list(now, "/pools").iter();
        pools.map(|pool| whole(pool, &format!("/leases/{state}"))).sum::<u64>()
    };
    if list(now, "/pools").is_empty() {
        return String::new();
    }
    let mut parts: Vec<String> = states.iter().map(|state| format!("{} {state}", sum(state))).collect();
    parts.push(format!("{} offers held", whole(now, "/dhcp/offers")));
    parts.push(format!("{} packets wait for a probe", whole(now, "/dhcp/parked/now")));
    format!("leases: {}", parts.join(", "))
}

fn pools(now: &Value) -> String {
    let pools = list(now, "/pools");
    if pools.is_empty() {
        return String::new();
    }
    let mut rows = table::new(&["subnet", "pool", "addresses", "available", "used", "exhausted in"]);
    for pool in pools {
        let (all, available) = (whole(pool, "/addresses"), whole(pool, "/available"));
        let used = all.saturating_sub(available).saturating_mul(100).checked_div(all).unwrap_or_default();
        let left = number(pool, "/exhaustion_secs");
        rows.add_row([
            text(pool, "/subnet").to_owned(),
            text(pool, "/pool").to_owned(),
            all.to_string(),
            available.to_string(),
            format!("{used} %"),
            match (left, available) {
                (_, 0) if all > 0 => "now".to_owned(),
                (Some(secs), _) => table::duration(rounded(secs)),
                (None, _) => "-".to_owned(),
            },
        ]);
    }
    rows.to_string()
}

/// What is not zero among the members of an object, the most first, on as few lines as it takes.
fn counts(now: &Value, place: &str, name: &str) -> String {
    let none = Map::new();
    let members = now.pointer(place).and_then(Value::as_object).unwrap_or(&none);
    let mut counts: Vec<(u64, &str)> = members
        .iter()
        .filter_map(|(name, count)| Some((count.as_u64().filter(|n| *n > 0)?, name.as_str())))
        .collect();
    if counts.is_empty() {
        return String::new();
    }
    counts.sort_by_key(|(count, name)| (std::cmp::Reverse(*count), *name));
    let parts: Vec<String> = counts.iter().map(|(count, name)| format!("{name} {count}")).collect();
    format!("{name}: {}", parts.join(", "))
}

fn latencies(now: &Value) -> String {
    let mut rows = table::new(&["ms", "p50", "p90", "p99", "p50 last 60s", "p99 last 60s", "count"]);
    let mut any = false;
    for (name, place) in LATENCIES {
        let count = whole(now, &format!("{place}/count"));
        if count == 0 {
            continue;
        }
        any = true;
        let millis = |key: &str| {
            number(now, &format!("{place}/{key}"))
                .map_or_else(|| "-".to_owned(), |secs| format!("{:.3}", secs * 1e3))
        };
        let recent = ["last_minute/p50", "last_minute/p99"].map(millis);
        let [p50, p99] = recent;
        rows.add_row([
            name.to_owned(),
            millis("p50"),
            millis("p90"),
            millis("p99"),
            p50,
            p99,
            count.to_string(),
        ]);
    }
    if any { rows.to_string() } else { String::new() }
}

fn processes(now: &Value, last: Option<&Value>) -> String {
    let mut rows = table::new(&["process", "memory", "CPU", "CPU time", "restarts"]);
    for (index, process) in list(now, "/processes").iter().enumerate() {
        let name = text(process, "/process");
        let kind = name.split(' ').next().unwrap_or_default();
        let is_same = last.is_some_and(|last| {
            last.pointer(&format!("/processes/{index}/process")) == process.pointer("/process")
        });
        let share = last
            .filter(|_| is_same)
            .and_then(|last| since(now, last, &format!("/processes/{index}/cpu_secs")));
        rows.add_row([
            name.to_owned(),
            number(process, "/resident_memory_bytes")
                .map_or_else(|| "-".to_owned(), |_| table::bytes(whole(process, "/resident_memory_bytes"))),
            share.map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", share * 100.0)),
            format!("{:.2} s", number(process, "/cpu_secs").unwrap_or_default()),
            now.pointer(&format!("/restarts/{kind}"))
                .and_then(Value::as_u64)
                .map_or_else(String::new, |n| n.to_string()),
        ]);
    }
    rows.to_string()
}

fn files(now: &Value) -> String {
    let mut rows = table::new(&["file", "size", "free on its disk"]);
    for file in list(now, "/files") {
        let bytes = |place: &str| {
            file.pointer(place).and_then(Value::as_u64).map_or_else(|| "-".to_owned(), table::bytes)
        };
        rows.add_row([text(file, "/file").to_owned(), bytes("/size_bytes"), bytes("/filesystem_free_bytes")]);
    }
    rows.to_string()
}

fn list<'a>(value: &'a Value, place: &str) -> &'a [Value] {
    value.pointer(place).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, place: &str) -> &'a str {
    value.pointer(place).and_then(Value::as_str).unwrap_or_default()
}

fn whole(value: &Value, place: &str) -> u64 {
    value.pointer(place).and_then(Value::as_u64).unwrap_or_default()
}

fn number(value: &Value, place: &str) -> Option<f64> {
    value.pointer(place).and_then(Value::as_f64)
}

/// Seconds without their fraction.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what a u64 holds")]
fn rounded(secs: f64) -> u64 {
    secs.clamp(0.0, 1e15) as u64
}

/// Few happen less than once a second and their fraction matters; many do not need it.
fn rate(rate: Option<f64>) -> String {
    match rate {
        None => "-".to_owned(),
        Some(rate) if rate > 0.0 && rate < 10.0 => format!("{rate:.2}"),
        Some(rate) => format!("{rate:.0}"),
    }
}
