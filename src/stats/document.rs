//! A snapshot as the JSON document of `GET /v1/stats`. Where each figure stands is said in the metric tables, as a path:
//!
//! ```text
//! dhcp.messages.{direction}.{type}   objects; {…} is the value of a label
//! pools[subnet,pool].leases.{state}  a list of objects with these labels as members
//! ```
//!
//! Histograms become objects with their quantiles. Only time, version, uptime and the rates are added to that.

use std::time::{Duration, UNIX_EPOCH};

use chrono::{DateTime, Local, SecondsFormat};
use serde_json::{Map, Number, Value, json};

use super::family::{Family, Kind, families};
use super::histogram::{Histogram, Words, number};
use super::rates::{RATES, Rate, WINDOWS};
use super::snapshot::{Figure, Sample, Snapshot};

/// The quantiles that are shown of a histogram.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];

/// The document.
pub fn document(snapshot: &Snapshot) -> Value {
    let mut root = Map::new();
    let time = DateTime::<Local>::from(UNIX_EPOCH + snapshot.time);
    root.insert("time".into(), time.to_rfc3339_opts(SecondsFormat::Millis, false).into());
    root.insert("version".into(), env!("CARGO_PKG_VERSION").into());
    let uptime = snapshot.boot_time.saturating_sub(snapshot.started);
    root.insert("uptime_secs".into(), uptime.as_secs().into());
    // Lists are there even where they are empty.
    for list in ["pools", "processes", "files"] {
        root.insert(list.into(), Value::Array(Vec::new()));
    }
    for sample in snapshot.samples() {
        put(&mut root, &sample);
    }
    let rates = RATES
        .iter()
        .zip(&snapshot.rates)
        .map(|((name, of), rate)| ((*name).to_owned(), shown_rate(of.sum(&snapshot.counters), rate)));
    root.insert("rates".into(), Value::Object(rates.collect()));
    Value::Object(root)
}

fn put(root: &mut Map<String, Value>, sample: &Sample<'_>) {
    let label = |wanted: &str| {
        sample.labels.iter().find(|(name, _)| *name == wanted).map_or("", |(_, value)| value.as_ref())
    };
    let value = shown(sample.figure);
    let mut segments = sample.family.place.split('.').peekable();
    let mut at = root;
    while let Some(segment) = segments.next() {
        if let Some((list, labels)) = segment.strip_suffix(']').and_then(|segment| segment.split_once('[')) {
            let keys: Vec<(&str, &str)> = labels.split(',').map(|name| (name, label(name))).collect();
            let Some(element) = element(at, list, &keys) else { return };
            at = element;
            continue;
        }
        let key =
            segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}')).map_or(segment, label);
        if segments.peek().is_none() {
            at.insert(key.to_owned(), value);
            return;
        }
        let Some(next) = object(at, key) else { return };
        at = next;
    }
}

/// The object at a key, made where there is none. `None`: something else is there; the tables' own tests exclude it.
fn object<'a>(at: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    at.entry(key).or_insert_with(|| Value::Object(Map::new())).as_object_mut()
}

/// The object of a list that has these members, made where there is none.
fn element<'a>(
    at: &'a mut Map<String, Value>,
    list: &str,
    keys: &[(&str, &str)],
) -> Option<&'a mut Map<String, Value>> {
    let list = at.entry(list).or_insert_with(|| Value::Array(Vec::new())).as_array_mut()?;
    let is_it =
        |one: &Value| keys.iter().all(|(key, value)| one.get(key).and_then(Value::as_str) == Some(value));
    let place = list.iter().position(is_it).unwrap_or_else(|| {
        let members = keys.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value)));
        list.push(Value::Object(members.collect()));
        list.len() - 1
    });
    list.get_mut(place)?.as_object_mut()
}

fn shown(figure: Figure<'_>) -> Value {
    match figure {
        Figure::Whole(value) => value.into(),
        Figure::Real(value) => real(value),
        Figure::Buckets(histogram, words, recent) => {
            let mut object = summary(histogram, words);
            let mut below = 0;
            let counts = histogram.bounds().iter().zip(words).map(|(bound, count)| {
                below += count;
                json!({"le": real(number(*bound) / histogram.scale()), "count": below})
            });
            object.insert("buckets".into(), counts.collect());
            let recent = recent.map_or(Value::Null, |words| Value::Object(summary(histogram, words)));
            object.insert("last_minute".into(), recent);
            Value::Object(object)
        }
    }
}

/// Count, sum, mean and quantiles of a histogram; null where nothing was taken in.
fn summary(histogram: Histogram, words: &Words) -> Map<String, Value> {
    let count = Histogram::count(words);
    let sum = number(words.last().copied().unwrap_or_default()) / histogram.scale();
    let mut object = Map::new();
    object.insert("count".into(), count.into());
    object.insert("sum".into(), real(sum));
    object.insert("mean".into(), if count > 0 { real(sum / number(count)) } else { Value::Null });
    for (name, q) in QUANTILES {
        object.insert(name.into(), histogram.quantile(words, q).map_or(Value::Null, real));
    }
    object
}

/// How much in all, and in a second over each time.
fn shown_rate(total: u64, rate: &Rate) -> Value {
    let windows = WINDOWS.iter().zip(rate);
    let members = windows.map(|(window, rate)| (window_name(*window), rate.map_or(Value::Null, real)));
    Value::Object(std::iter::once(("total".to_owned(), total.into())).chain(members).collect())
}

fn window_name(window: Duration) -> String {
    format!("{}s", window.as_secs())
}

fn real(value: f64) -> Value {
    // To the nanosecond: more digits are noise.
    Number::from_f64((value * 1e9).round() / 1e9).map_or(Value::Null, Value::Number)
}

/// The JSON Schema (2020-12) of the document, of the same tables.
pub fn schema() -> Value {
    let real_or_null = json!({"type": ["number", "null"]});
    let whole = json!({"type": "integer", "minimum": 0});
    let mut root = json!({
        "type": "object",
        "required": ["time", "version", "uptime_secs", "generation", "dhcp", "pools", "tcp", "udp", "processes", "files", "logs", "errors", "rates"],
        "properties": {
            "time": {"type": "string", "format": "date-time", "description": "When the figures were taken"},
            "version": {"type": "string"},
            "uptime_secs": whole,
        },
    });
    for family in families() {
        describe(&mut root, &family);
    }
    let mut windows: Map<String, Value> =
        WINDOWS.iter().map(|window| (window_name(*window), real_or_null.clone())).collect();
    windows.insert("total".into(), whole.clone());
    let rates: Map<String, Value> = RATES
        .iter()
        .map(|(name, _)| ((*name).to_owned(), json!({"type": "object", "properties": windows})))
        .collect();
    if let Some(properties) = root.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert(
            "rates".into(),
            json!({"type": "object", "description": "How many in a second; null until so much time was seen", "properties": rates}),
        );
    }
    root
}

fn describe(root: &mut Value, family: &Family) {
    let mut at = root;
    for segment in family.place.split('.') {
        let (name, list) = match segment.strip_suffix(']').and_then(|segment| segment.split_once('[')) {
            Some((name, labels)) => (name, Some(labels)),
            None => (segment, None),
        };
        let Some(schema) = at.as_object_mut() else { return };
        schema.entry("type").or_insert_with(|| "object".into());
        let next = if name.starts_with('{') {
            schema.entry("additionalProperties").or_insert_with(|| json!({}))
        } else {
            let Some(properties) = object(schema, "properties") else { return };
            properties.entry(name).or_insert_with(|| json!({}))
        };
        at = match list {
            None => next,
            Some(labels) => {
                let Some(list) = next.as_object_mut() else { return };
                list.insert("type".into(), "array".into());
                list.entry("items").or_insert_with(|| {
                    let required: Vec<&str> = labels.split(',').collect();
                    let members =
                        required.iter().map(|label| ((*label).to_owned(), json!({"type": "string"})));
                    let members: Map<String, Value> = members.collect();
                    json!({"type": "object", "required": required, "properties": members})
                })
            }
        };
    }
    let Some(schema) = at.as_object_mut() else { return };
    schema.insert("description".into(), family.help.into());
    let number = if family.name.contains("_seconds") { "number" } else { "integer" };
    if family.kind == Kind::Histogram {
        schema.insert("type".into(), "object".into());
        let mut members: Map<String, Value> = QUANTILES
            .iter()
            .map(|(name, _)| ((*name).to_owned(), json!({"type": ["number", "null"]})))
            .collect();
        members.insert("count".into(), json!({"type": "integer", "minimum": 0}));
        members.insert("sum".into(), json!({"type": "number"}));
        members.insert("mean".into(), json!({"type": ["number", "null"]}));
        let mut all = members.clone();
        all.insert("last_minute".into(), json!({"type": ["object", "null"], "properties": members}));
        let bucket =
            json!({"type": "object", "properties": {"le": {"type": "number"}, "count": {"type": "integer"}}});
        all.insert("buckets".into(), json!({"type": "array", "items": bucket}));
        schema.insert("properties".into(), Value::Object(all));
    } else {
        schema.insert("type".into(), number.into());
        schema.insert("minimum".into(), 0.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Counter, PoolFigures, PoolSnapshot, Shared};

    fn snapshot() -> Snapshot {
        let shared = Shared::create(0).unwrap();
        shared.slot(1).add(Counter::AckOut, 7);
        shared.slot(1).observe(Histogram::DhcpBatch, 2);
        let mut snapshot = Snapshot::take(shared);
        for pool in ["main", "spare"] {
            let figures = PoolFigures { addresses: 100, free: 90, leases: [10, 0, 0, 0, 0] };
            snapshot.pools.push(PoolSnapshot {
                subnet: "lan".into(),
                pool: pool.into(),
                figures,
                exhaustion: (pool == "spare").then_some(Duration::from_secs(90)),
            });
        }
        snapshot.rates = vec![[Some(1.5), None, None]; RATES.len()];
        snapshot
    }

    #[test]
    fn figures_stand_where_the_tables_say() {
        let document = document(&snapshot());
        assert_eq!(document["dhcp"]["messages"]["out"]["ack"], 7);
        assert_eq!(document["pools"].as_array().unwrap().len(), 2);
        assert_eq!(document["pools"][0]["leases"]["active"], 10);
        assert_eq!(
            (&document["pools"][1]["pool"], &document["pools"][1]["exhaustion_secs"]),
            (&"spare".into(), &90.0.into())
        );
        assert!(document["pools"][0].get("exhaustion_secs").is_none());
        assert_eq!(document["dhcp"]["batch_size"]["count"], 1);
        assert_eq!(document["dhcp"]["latency"]["commit"]["p99"], Value::Null);
        assert_eq!(document["rates"]["acks"], json!({"total": 7, "1s": 1.5, "10s": null, "60s": null}));
    }

    /// Two figures at one place would hide one of them.
    #[test]
    fn every_figure_has_a_place_of_its_own() {
        fn leaves(value: &Value) -> usize {
            match value {
                Value::Object(members) if members.contains_key("buckets") => 1,
                Value::Object(members) => members.values().map(leaves).sum(),
                Value::Array(elements) => elements.iter().map(leaves).sum(),
                Value::Number(_) => 1,
                Value::Null | Value::Bool(_) | Value::String(_) => 0,
            }
        }
        let snapshot = snapshot();
        let document = document(&snapshot);
        let added = 1 + leaves(&document["rates"]);
        assert_eq!(leaves(&document), snapshot.samples().len() + added);
    }

    #[test]
    fn schema_names_every_place() {
        fn fits(value: &Value, schema: &Value, path: &str) {
            match value {
                Value::Object(members) => {
                    for (key, member) in members {
                        let known = schema["properties"].get(key).unwrap_or(&schema["additionalProperties"]);
                        assert!(!known.is_null(), "{path}.{key} is not in the schema");
                        fits(member, known, &format!("{path}.{key}"));
                    }
                }
                Value::Array(elements) => {
                    assert_eq!(schema["type"], "array", "{path}");
                    for element in elements {
                        fits(element, &schema["items"], path);
                    }
                }
                Value::Number(_) => assert!(schema["type"].to_string().contains('e'), "{path}"),
                Value::Null | Value::Bool(_) | Value::String(_) => {}
            }
        }
        fits(&document(&snapshot()), &schema(), "");
    }
}
