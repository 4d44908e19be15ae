//! docs/events.md, docs/options.md and docs/metrics.md are what the tables of events, of DHCP options and of metrics make of them, and so
//! are the tables of the sandbox in docs/security.md.
//!
//! `ECHO_DAEMON_BLESS=1 cargo test --test docs` writes these anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use daemon_utils::sandbox::Call;
use echo_daemon::events::Event;
use echo_daemon::protocol::options::{OptionValue, table};
use echo_daemon::stats::{Counter, Gauge, Histogram, families};
use echo_daemon::supervisor::confinement::TABLE;
use echo_daemon::supervisor::confinement::calls::{DEADLY, GROUPS, Group};

use super::root;

/// All sources of the package without white space, but for the table of events itself.
fn sources() -> String {
    let mut all = String::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("src/events.rs") {
                all.extend(fs::read_to_string(&path).unwrap().split_whitespace());
            }
        }
    }
    all
}

/// docs/events.md as the table makes it; what nobody says yet is marked.
fn events_page() -> String {
    let sources = sources();
    let is_said = |event: &Event| {
        let name = format!("{event:?}");
        let ways =
            ["event!(", "announce!(self.shared,", "Event::", "E::"].map(|before| format!("{before}{name}"));
        ways.iter().any(|way| {
            let ends = |found: &str| found.starts_with([',', ';', '.', ')']);
            sources.split(way.as_str()).skip(1).any(ends)
        })
    };
    let mut page = String::from(
        "# Log events\n\nEvery line that the daemon logs on purpose carries one of these IDs. They are stable: search for them, \
         alert on them.\nLines without an ID are for whoever debugs the program.\n\nThis page is made from the table in \
         `src/events.rs`; `ECHO_DAEMON_BLESS=1 cargo test --test docs` writes it anew.\n\n\
         A limit holds for all processes together; a minute's worth passes at once. What is suppressed is counted: the next \
         record of the\nevent tells the number as `suppressed=N`, or after a quiet second `LOG_EVENTS_SUPPRESSED` does. Where \
         records have a `reason`, each\nreason has the limit for itself. `logging.rate_limits` changes it.\n\n\
         | ID | level | limit | meaning |\n|---|---|---|---|\n",
    );
    for event in Event::ALL {
        let meaning = event.explanation().split_whitespace().collect::<Vec<_>>().join(" ");
        let not_yet = if is_said(event) { "" } else { " **Not said yet.**" };
        let limit = event.limit().map_or_else(|| "none".to_owned(), |limit| limit.to_string());
        writeln!(page, "| `{}` | {} | {limit} | {meaning}{not_yet} |", event.id(), event.level()).unwrap();
    }
    page
}

/// Holds a page against what a table makes of it, or writes it anew.
pub(super) fn check_or_bless(name: &str, page: &str) {
    let path = root().join(name);
    if std::env::var_os("ECHO_DAEMON_BLESS").is_some() {
        fs::write(&path, page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "{name} is old: ECHO_DAEMON_BLESS=1 cargo test --test docs writes it anew");
}

#[test]
fn page_of_events_is_what_the_table_says() {
    check_or_bless("docs/events.md", &events_page());
}

/// What stands between two marks of docs/security.md, as the table of `src/supervisor/confinement` makes it.
fn sandbox_tables() -> String {
    let list = |items: Vec<String>| if items.is_empty() { "none".to_owned() } else { items.join("; ") };
    let mut page =
        String::from("| process | user | files | system calls | limits |\n|---|---|---|---|---|\n");
    for row in TABLE {
        let user = if row.stays_root { "uid 0" } else { "`daemon.user`" };
        let files = list(row.files.iter().map(|place| place.words().to_owned()).collect());
        let group = |group: &&Group| match group.condition {
            "" => group.name.to_owned(),
            condition => format!("{} {condition}", group.name),
        };
        let calls = list(row.calls.iter().map(group).collect());
        let bounds = list(row.bounds.iter().map(|bound| bound.words()).collect());
        writeln!(page, "| {} | {user} | {files} | {calls} | {bounds} |", row.name).unwrap();
    }
    page.push_str("\n| group | system calls |\n|---|---|\n");
    for group in GROUPS.into_iter().chain([&DEADLY]) {
        let old: BTreeSet<&str> = group.old_calls.iter().map(Call::name).collect();
        let call = |call: &Call| {
            let only: Vec<&str> = call.only.iter().map(|when| when.words).collect();
            let only = if only.is_empty() { String::new() } else { format!(" ({})", only.join(", ")) };
            let mark = if old.contains(call.name()) { "\\*" } else { "" };
            format!("{}{mark}{only}", call.name())
        };
        let calls: Vec<String> = group.all().map(call).collect();
        writeln!(page, "| {} | {} |", group.name, calls.join(", ")).unwrap();
    }
    page
}

#[test]
fn page_of_security_shows_the_sandbox_as_the_table_says() {
    const MARKS: (&str, &str) = ("<!-- sandbox -->\n", "<!-- end of sandbox -->\n");
    // The lists of other architectures are shorter.
    if !cfg!(target_arch = "x86_64") {
        eprintln!("skipped: docs/security.md shows the lists of x86-64");
        return;
    }
    let page = fs::read_to_string(root().join("docs/security.md")).unwrap();
    let (before, rest) = page.split_once(MARKS.0).expect("no first mark");
    let (_, after) = rest.split_once(MARKS.1).expect("no second mark");
    let page = [before, MARKS.0, &sandbox_tables(), MARKS.1, after].concat();
    check_or_bless("docs/security.md", &page);
}

const OPTIONS_HEAD: &str = "\
# DHCP options

What may stand in every `options` of the configuration: `dhcp.options`, those of a subnet, a pool, a class, a host. The
later of these wins, option by option. Names are those that Kea uses; where others call an option otherwise, that
name is accepted too. This page is made from the table in `src/protocol/options/table.rs`; `ECHO_DAEMON_BLESS=1 cargo test
--test docs` writes it anew.

| instead of its value | an option may have | |
|---|---|---|
| raw bytes | `{hex: \"0a0b\"}` | also `text`, `ip`, `u8`, `u16`, `u32`, one value or a list |
| a mark | `{value: [10.0.0.1], always: true}`, `{hex: \"0a0b\", always: true}` | the option is sent even if the client did not ask for it |
| nothing | `null` | the option is not sent here, whatever a level above says |

Any option can be named by its code too: `option-3: [10.0.0.1]`, `option-224: {hex: \"0a0b\"}`. One that is not in the
table needs a format. Sub-options name theirs: `{1: {ip: 10.0.0.4}, 6: {hex: \"02\"}}`.

";

/// docs/options.md as the table makes it. Each example must be what the option takes.
fn options_page() -> String {
    let mut page = OPTIONS_HEAD.to_owned();
    page.push_str("| code | name | also | value | example |\n|---|---|---|---|---|\n");
    let mut owned = String::from(
        "\nThese belong to the server and are never configured:\n\n| code | name | why |\n|---|---|---|\n",
    );
    for row in table::table() {
        let also = row.alias.map(|alias| format!("`{alias}`")).unwrap_or_default();
        match row.kind.described() {
            (words, Some(example)) => {
                let value: serde_json::Value = serde_yaml::from_str(example).unwrap();
                let encoded = OptionValue::from_config(row.name, &value);
                assert!(encoded.is_ok(), "{}: {example}: {encoded:?}", row.name);
                writeln!(page, "| {} | `{}` | {also} | {words} | `{example}` |", row.code, row.name).unwrap();
            }
            (why, None) => writeln!(owned, "| {} | `{}` | {why} |", row.code, row.name).unwrap(),
        }
    }
    page + &owned
}

#[test]
fn page_of_options_is_what_the_table_says() {
    check_or_bless("docs/options.md", &options_page());
}

const METRICS_HEAD: &str = "\
# Metrics

`GET /metrics` shows them as Prometheus text, `GET /v1/stats` as JSON, `./echo-daemon stats` as tables, the `STATS` line of the
log has the main ones. All are of one snapshot that the api process takes every second, so whoever asks within the same second sees
the same; `echo_daemon_snapshot_timestamp_seconds` tells when it was taken. This page is made from the tables in `src/stats/`;
`ECHO_DAEMON_BLESS=1 cargo test --test docs` writes it anew.

The last column is the place in `/v1/stats`: `{label}` stands for the value of a label, `list[label]` for a list of objects that
have the label as a member. A histogram is an object there: `count`, `sum`, `mean`, `p50`, `p90`, `p99`, `p999` since the
start, `buckets`, and under `last_minute` the same of the last 60 seconds (null until so much was seen). Quantiles are
interpolated within their bucket, so they are as exact as the buckets are narrow. Added to that are `time`, `version`, `uptime_secs` and
`rates`: of each the total, and how many in a second over the last `1s`, `10s` and `60s`, null until so much was seen.

A counter never goes back while main lives, whatever crashes: a process adds to words of its own in shared memory, which stay
when it dies. What a worker had counted when it was killed is exact up to the one batch in its hands. The figures of the last minute, the
trends of the pools and the accounts of CPU time are in shared memory too, so a reload or the death of the api process interrupts none of them.

What is not known is absent: a pool that does not shrink has no `echo_daemon_dhcp_pool_exhaustion_seconds`. That time is how long
the available addresses last at the speed of the last minutes (an average with a time constant of five); it is there from one
minute after the pool is first seen, and 0 for a pool that is full. Reserved addresses stand under the pool `(reserved)`. Open descriptors are known of
the api process alone: the others may not be looked into. Files that the api process may not see are absent (a log folder that only root may enter).
CPU time is read once a second, so the last moments of a process that dies are not in it.

";

/// docs/metrics.md as the tables make it.
fn metrics_page() -> String {
    let cells = Counter::ALL.iter().map(|cell| (cell.family(), cell.labels()));
    let cells = cells.chain(Gauge::ALL.iter().map(|cell| (cell.family(), cell.labels())));
    let cells = cells.chain(Histogram::ALL.iter().map(|histogram| (histogram.family(), histogram.labels())));
    let mut values: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for (family, labels) in cells {
        for (name, value) in labels {
            values.entry((family, name)).or_default().insert(value);
        }
    }
    let mut page = METRICS_HEAD.to_owned();
    page.push_str("| metric | type | labels | meaning | in `/v1/stats` |\n|---|---|---|---|---|\n");
    for family in families() {
        let label = |name: &str| match values.get(&(family.name, name)) {
            Some(values) => {
                let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
                format!("`{name}`: {}", values.join(", "))
            }
            None => format!("`{name}`"),
        };
        let labels: Vec<String> = family.labels.names().into_iter().map(label).collect();
        let (kind, place) = (family.kind.name(), family.place);
        writeln!(
            page,
            "| `{}` | {kind} | {} | {} | `{place}` |",
            family.name,
            labels.join("; "),
            family.help
        )
        .unwrap();
    }
    page
}

#[test]
fn page_of_metrics_is_what_the_tables_say() {
    check_or_bless("docs/metrics.md", &metrics_page());
}
