//! The JSON Schema of an `options` map, made from the table: each option by its names, with what its value may be.
//!
//! Accepts whatever the codec accepts; refuses wrong types, forms and ranges as far as a schema can tell. Called for
//! `config schema`.

use serde_json::{Map, Value, json};

use super::table::{Kind, table};

/// Any IPv4 address.
const IP: &str = "(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})\\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})";
/// Hex digits as the codec takes them.
const HEX: &str = "\\s*(?:0x)?[0-9A-Fa-f: -]+\\s*";
/// Names that stand for a number, as in `{1: …}`.
const NUMBER: &str = "^\\+?[0-9]+$";

/// The definitions for a schema of the configuration: `options`, and one for each kind of value.
pub fn definitions() -> Map<String, Value> {
    let mut definitions = Map::new();
    let mut properties = Map::new();
    for row in table().iter().filter(|row| !matches!(row.kind, Kind::Owned(_))) {
        let name = format!("option.{:?}", row.kind);
        let reference = format!("#/$defs/{name}");
        definitions.entry(name).or_insert_with(|| setting(row.kind, &reference));
        for option in std::iter::once(row.name).chain(row.alias) {
            let description = format!("Option {}: {}", row.code, row.kind.described().0.replace('`', ""));
            properties.insert(option.to_owned(), json!({"$ref": reference, "description": description}));
        }
    }
    for name in FORMATS {
        definitions.insert(format!("format.{name}"), format(name));
    }
    // By their codes: of the type of the table, or in a format of their own.
    let codes = "^option-\\+?0*(?:[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-4])$";
    let options = json!({
        "type": ["object", "null"],
        "properties": properties,
        "patternProperties": {codes: {}},
        "additionalProperties": false,
    });
    definitions.insert("options".to_owned(), options);
    definitions
}

/// What an option of this kind may be set to. Its value, a map that names its format, with `always` beside them, or
/// `null`. `itself` refers to this very schema.
fn setting(kind: Kind, itself: &str) -> Value {
    let mut schema = value(kind);
    let formats =
        FORMATS.map(|format| (format.to_owned(), json!({"$ref": format!("#/$defs/format.{format}")})));
    let mut properties = Map::from_iter(formats);
    properties.insert("value".to_owned(), json!({"$ref": itself}));
    let mut object = json!({"properties": properties, "additionalProperties": false, "minProperties": 1});
    if let (Value::Object(object), true) = (&mut object, is_nested(kind)) {
        object.insert("patternProperties".to_owned(), json!({NUMBER: {"type": "object"}}));
    }
    if let (Value::Object(schema), Value::Object(object)) = (&mut schema, object) {
        schema.extend(object);
        if let Some(Value::Array(types)) = schema.get_mut("type") {
            types.extend(["object".into(), "null".into()]);
        }
    }
    schema
}

/// What a map may have that names the format of its value, and the mark beside it.
const FORMATS: [&str; 7] = ["always", "hex", "text", "ip", "u8", "u16", "u32"];

fn format(name: &str) -> Value {
    match name {
        "hex" => one_or_more(&text(HEX), 0),
        "text" => one_or_more(&json!({"type": ["string", "number"], "minLength": 1}), 0),
        "ip" => comma_list(IP),
        "u8" => one_or_more(&number(0, 0xff), 1),
        "u16" => one_or_more(&number(0, 0xffff), 1),
        "u32" => one_or_more(&number(0, 0xffff_ffff), 1),
        _ => json!({"type": ["boolean", "string"], "pattern": "^\\s*(?:true|false)\\s*$"}),
    }
}

/// Whether a map of numbers may stand for the value.
fn is_nested(kind: Kind) -> bool {
    super::nested::form(kind).is_some()
}

/// What the value itself may be; its `type` is a list.
fn value(kind: Kind) -> Value {
    match kind {
        Kind::Ip => one(&text(IP)),
        Kind::IpList => comma_list(IP),
        Kind::IpListOrNone => one_or_more(&text(IP), 0),
        Kind::IpPairs => comma_list(&format!("{IP}\\s+{IP}")),
        Kind::Routes => comma_list(&format!("(?:default|{IP}/(?:3[0-2]|[12]?[0-9]))\\s+{IP}")),
        Kind::Text => one(&json!({"type": ["string", "number"], "minLength": 1})),
        Kind::Domains | Kind::PlainDomains | Kind::SipServers => comma_list("\\S+"),
        Kind::PlainDomain => one(&text("\\S+")),
        Kind::UriList => one_or_more(&text("[\\x00-\\x7f]+"), 1),
        Kind::Bool => one(&json!({"type": ["boolean", "string"], "pattern": "^\\s*(?:true|false)\\s*$"})),
        Kind::U8 => one(&number(0, 0xff)),
        Kind::U16 => one(&number(0, 0xffff)),
        Kind::U32 => one(&number(0, 0xffff_ffff)),
        Kind::I32 => one(&number(i32::MIN.into(), i32::MAX.into())),
        Kind::U16List => {
            let mut list = one_or_more(&number(0, 0xffff), 1);
            if let Value::Object(list) = &mut list {
                // Text with commas is a list too.
                list.insert("pattern".to_owned(), "^\\s*\\+?[0-9]+\\s*$|,".into());
            }
            list
        }
        Kind::Seconds => one(&json!({
            "type": ["integer", "string"],
            "minimum": 0,
            "maximum": 0xffff_ffff_u32,
            "pattern": "^\\s*\\+?[0-9]+[smhd]?\\s*$",
        })),
        Kind::SlpAgents => {
            json!({"type": ["string", "array"], "items": {"type": ["boolean", "string"]}, "minItems": 1})
        }
        Kind::SlpScope => one(&json!({"type": ["boolean", "string"], "pattern": "^\\s*(?:true|false)"})),
        Kind::ServerLists => one_or_more(&text(&format!("[ ,]*{IP}(?:[ ,]+{IP})*[ ,]*")), 1),
        Kind::Opaque | Kind::SubOptions | Kind::VendorOptions | Kind::VendorClasses => one(&text(HEX)),
        // Never configured, so it has no definition.
        Kind::Owned(_) => json!({"type": ["null"]}),
    }
}

fn text(pattern: &str) -> Value {
    json!({"type": ["string"], "pattern": format!("^\\s*(?:{pattern})\\s*$")})
}

/// A number, also as text.
fn number(least: i64, most: i64) -> Value {
    let (minimum, maximum) = (least, most);
    json!({"type": ["integer", "string"], "minimum": minimum, "maximum": maximum, "pattern": "^\\s*[+-]?[0-9]+\\s*$"})
}

/// One value; a list of one counts as one.
fn one(item: &Value) -> Value {
    let mut schema = one_or_more(item, 1);
    if let Value::Object(schema) = &mut schema {
        schema.insert("maxItems".to_owned(), 1.into());
    }
    schema
}

/// One value or a list of at least so many.
fn one_or_more(item: &Value, least: u32) -> Value {
    let mut schema = item.clone();
    if let Value::Object(schema) = &mut schema {
        if let Some(Value::Array(types)) = schema.get_mut("type") {
            types.push("array".into());
        }
        schema.insert("items".to_owned(), item.clone());
        schema.insert("minItems".to_owned(), least.into());
    }
    schema
}

/// Likewise, and a text with commas is a list.
fn comma_list(pattern: &str) -> Value {
    let mut schema = one_or_more(&text(pattern), 1);
    if let Value::Object(schema) = &mut schema {
        schema.insert("pattern".to_owned(), format!("^\\s*(?:{pattern})\\s*$|,").into());
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_that_can_be_configured_is_there_by_each_of_its_names() {
        let definitions = definitions();
        let properties = definitions["options"]["properties"].as_object().unwrap();
        for row in table() {
            let configured = !matches!(row.kind, Kind::Owned(_));
            for name in std::iter::once(row.name).chain(row.alias) {
                assert_eq!(properties.contains_key(name), configured, "{name}");
            }
        }
    }

    #[test]
    fn every_definition_that_is_referred_to_is_there() {
        let definitions = definitions();
        for property in definitions["options"]["properties"].as_object().unwrap().values() {
            let name = property["$ref"].as_str().unwrap().strip_prefix("#/$defs/").unwrap();
            assert!(definitions.contains_key(name), "{name}");
        }
    }
}
