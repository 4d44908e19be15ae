//! A plan for people.

use std::fmt::Write as _;

use comfy_table::Table;
use serde_json::Value;

use super::super::super::style::{self, Tone};
use super::super::super::table;
use super::sides::Against;
use super::{Difference, Plan};
use crate::dhcp::plan::{Difference as Term, Example, LeasePlan, Room};

/// Longest value that is shown, in characters.
const VALUE_SHOWN: usize = 60;

/// Most rows of a table; `--json` has all.
const ROWS: usize = 40;

pub(super) fn text(plan: &Plan) -> String {
    let mut out = String::new();
    let file = plan.file.display();
    // Writing to a string cannot fail.
    let _ = match &plan.against {
        Against::Running { since } => {
            writeln!(out, "{file} against the configuration in force since {since}")
        }
        Against::Last { since } => {
            writeln!(out, "{file} against the configuration last in force, since {since}; no daemon runs")
        }
        Against::File { file: other, reason } => {
            writeln!(out, "{file} against {}, since what is in force is not known: {reason}", other.display())
        }
    };
    keys(plan, &mut out);
    difference("sockets", &plan.sockets, ("opens", "closes"), &mut out);
    difference("interfaces", &plan.interfaces, ("served", "no longer served"), &mut out);
    difference("workers", &plan.workers, ("starts", "ends"), &mut out);
    leases(&plan.leases, &mut out);
    out
}

fn keys(plan: &Plan, out: &mut String) {
    if plan.keys.is_empty() {
        out.push_str("\nno key changes: a reload would do nothing\n");
        return;
    }
    let mut rows = table::new(&["key", "now", "then", ""]);
    for change in plan.keys.iter().take(ROWS) {
        let side = |side: Option<&Value>, is_default| match side {
            Some(shown) if is_default => format!("{} (default)", value(shown)),
            Some(shown) => value(shown),
            None => "-".to_owned(),
        };
        let restart = if change.restart { "needs a restart" } else { "" };
        rows.add_row([
            change.key.as_str(),
            &side(change.old.as_ref(), change.old_is_default),
            &side(change.new.as_ref(), change.new_is_default),
            restart,
        ]);
    }
    section(&format!("keys that change: {}", plan.keys.len()), &rows, plan.keys.len(), out);
    if !plan.reload.accepted {
        let list = plan.reload.restart.join(", ");
        let _ = writeln!(out, "\na reload would be refused: {list} cannot change while the daemon runs");
        out.push_str(if plan.reload.restart.iter().any(|key| key == "daemon.pid_file") {
            "hint: stop the daemon with the file as it was, then start it with the new one\n"
        } else {
            "hint: put the file in place, then echo-daemon restart\n"
        });
    }
}

fn difference(title: &str, difference: &Difference, words: (&str, &str), out: &mut String) {
    if difference.is_empty() {
        return;
    }
    let mut rows = table::plain();
    for (word, names) in [(words.0, &difference.added), (words.1, &difference.removed)] {
        for name in names {
            rows.add_row([word, name]);
        }
    }
    section(title, &rows, 0, out);
}

fn leases(plan: &LeasePlan, out: &mut String) {
    let count = |counts: &mut dyn Iterator<Item = u64>| counts.sum::<u64>();
    let lost = count(&mut plan.lost.iter().map(|group| group.count));
    let changed = count(&mut plan.changed.iter().map(|group| group.count));
    let unserved = count(&mut plan.unserved.iter().map(|group| group.count));
    let _ = writeln!(
        out,
        "\nlive leases: {}; {} would lose their address, {changed} keep it on other terms, {} notice nothing",
        plan.total, lost, plan.unaffected
    );
    if lost > 0 {
        groups("lost when their clients renew, at the latest", &plan.lost, out);
    }
    if unserved > 0 {
        groups("not served by the configuration in force either", &plan.unserved, out);
    }
    if changed > 0 {
        let mut rows = table::new(&["subnet", "pool", "leases", "what changes", "for example"]);
        for group in plan.changed.iter().take(ROWS) {
            let changes: Vec<String> = group.changes.iter().map(term).collect();
            let (pool, example) = (pool(&group.pool), examples(&group.examples));
            rows.add_row([&group.subnet, pool, &group.count.to_string(), &changes.join("\n"), &example]);
        }
        section("on other terms, from the next renewal on", &rows, plan.changed.len(), out);
    }
    for blind in &plan.blind {
        let _ = writeln!(
            out,
            "\nclass {} looks at {}, which no lease remembers: its members were judged as if they did not send it",
            blind.class,
            blind.looks_at.join(", ")
        );
    }
    pools(plan, out);
}

fn groups(title: &str, groups: &[crate::dhcp::plan::LostGroup], out: &mut String) {
    let mut rows = table::new(&["subnet", "pool", "leases", "reason", "for example"]);
    for group in groups.iter().take(ROWS) {
        let detail = group.examples.first().map_or(group.reason, |example| example.detail.as_str());
        let example = examples(&group.examples);
        rows.add_row([&group.subnet, pool(&group.pool), &group.count.to_string(), detail, &example]);
    }
    section(title, &rows, groups.len(), out);
}

fn pools(plan: &LeasePlan, out: &mut String) {
    if plan.pools.is_empty() {
        return;
    }
    let mut rows = table::new(&["subnet", "pool", "addresses", "then", "free", "then"]);
    let differing = plan.pools.iter().filter(|pool| pool.old != pool.new);
    let shown: Vec<_> = differing.chain(plan.pools.iter().filter(|pool| pool.old == pool.new)).collect();
    for pool in shown.iter().take(ROWS) {
        let cell = |room: Option<Room>, of: fn(Room) -> u64| {
            room.map_or_else(|| "-".to_owned(), |room| of(room).to_string())
        };
        let (addresses, free) = (|room: Room| room.addresses, |room: Room| room.free);
        rows.add_row([
            &pool.subnet,
            &pool.pool,
            &cell(pool.old, addresses),
            &cell(pool.new, addresses),
            &cell(pool.old, free),
            &cell(pool.new, free),
        ]);
    }
    section("pools", &rows, plan.pools.len(), out);
}

fn section(title: &str, rows: &Table, of: usize, out: &mut String) {
    let _ = writeln!(out, "\n{}", style::mark(Tone::Head, title));
    for line in rows.to_string().lines() {
        let _ = writeln!(out, "  {}", line.trim_end());
    }
    if of > ROWS {
        let _ = writeln!(out, "  … and {} more; --json has them all", of - ROWS);
    }
}

fn pool(name: &str) -> &str {
    if name.is_empty() { "reserved" } else { name }
}

fn examples(examples: &[Example]) -> String {
    let one = |example: &Example| {
        let client = if example.hostname.is_empty() { &example.mac } else { &example.hostname };
        format!("{} {client}", example.ip)
    };
    examples.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn term(term: &Term) -> String {
    let side = |side: Option<&String>| side.map_or_else(|| "nothing".to_owned(), |side| cut(side));
    format!("{}: {} → {}", term.name, side(term.old.as_ref()), side(term.new.as_ref()))
}

fn value(value: &Value) -> String {
    match value {
        Value::String(text) => cut(text),
        other => cut(&other.to_string()),
    }
}

/// Cut to a length that fits a terminal, without control characters.
fn cut(text: &str) -> String {
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut shown: String = text.chars().take(VALUE_SHOWN).map(clean).collect();
    if text.chars().count() > VALUE_SHOWN {
        shown.push('…');
    }
    shown
}
