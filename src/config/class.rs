//! Reads `dhcp.classes`: who belongs to each class, and what its members get.

use serde_json::{Value as Json, json};

use super::common::{GivenTimes, boot};
use super::field::{FIELDS, plain, plain_schema};
use super::leaf::list_of;
use super::model::{Class, Condition, Field};
use super::section::Section;

/// Reads every class, in the order in which they are applied. A class whose condition is wrong is there all the same,
/// so that whoever names it causes no second error.
pub(super) fn read_all(dhcp: &Section<'_>, above: GivenTimes) -> Vec<Class> {
    let mut classes: Vec<Class> =
        dhcp.named("classes").into_iter().map(|(name, section)| read(name, &section, above)).collect();
    // They are in the order of their names already, and a stable sort keeps that.
    classes.sort_by_key(|class| class.order);
    classes
}

fn read(name: String, section: &Section<'_>, above: GivenTimes) -> Class {
    let lease_time = GivenTimes::own(section, above);
    let class = Class {
        name,
        order: section.get("order", 0),
        condition: condition_of(section),
        drop: section.get("drop", false),
        lease_time,
        boot: boot(section),
        options: section.raw("options"),
    };
    section.finish();
    class
}

/// Where the schema of a condition stands, which refers to itself.
pub(super) const CONDITION: &str = "#/$defs/condition";

/// One condition or a list of them.
fn conditions_schema() -> Json {
    json!({"anyOf": [{"type": "array", "items": {"$ref": CONDITION}}, {"$ref": CONDITION}]})
}

/// Patterns by the number of an option, 1 to 254.
fn options_schema() -> Json {
    let code = "^\\+?0*(?:[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-4])$";
    let patterns = at_least_one(list_of(plain_schema(), false));
    json!({"type": ["object", "null"], "patternProperties": {code: patterns}, "additionalProperties": false})
}

/// A list without any pattern would fit nothing.
fn at_least_one(mut list: Json) -> Json {
    if let Json::Object(list) = &mut list {
        list.insert("minItems".to_owned(), 1.into());
    }
    list
}

/// What `match` says. Nobody means a class of everybody by leaving it out.
fn condition_of(class: &Section<'_>) -> Condition {
    let all = || Condition::All(Vec::new());
    let condition = condition(&class.whole("match"));
    class.describe_required("match", || json!({"$ref": CONDITION}));
    if let Some(condition) = condition {
        return condition;
    }
    let key = class.key("match");
    if class.reader().is_sound(&key) {
        let hint = "write `match: {all: []}` if everybody is meant".to_owned();
        let reason = if class.has("match") { "there is no condition" } else { "this must be given" };
        class.error("match", format!("{reason}: the class would hold for everybody"), Some(hint));
    }
    all()
}

/// Every key of a condition must hold; none where there is no key.
fn condition(section: &Section<'_>) -> Option<Condition> {
    let mut all: Vec<Condition> = Vec::new();
    for (name, field, read, schema) in FIELDS {
        let patterns = section.list_by(name, schema, read);
        all.extend(fits(section, name, field, patterns));
    }
    all.extend(options(&section.child("option")));
    section.describe("option", options_schema);
    all.extend(nested(section, "all").map(Condition::All));
    if let Some(any) = nested(section, "any") {
        if any.is_empty() && section.reader().is_sound(&section.key("any")) {
            let hint = "list at least one condition".to_owned();
            section.error("any", "one of no conditions never holds", Some(hint));
        }
        all.push(Condition::Any(any));
    }
    let not = section.child("not");
    section.describe("not", || json!({"$ref": CONDITION}));
    if section.has("not") {
        all.extend(inner(&not).map(|inner| Condition::Not(Box::new(inner))));
    }
    section.finish();
    if all.len() > 1 { Some(Condition::All(all)) } else { all.pop() }
}

/// A field and its patterns, where the key is given.
fn fits(
    section: &Section<'_>,
    key: &str,
    field: Field,
    patterns: Vec<super::pattern::Pattern>,
) -> Option<Condition> {
    if !section.has(key) {
        return None;
    }
    if patterns.is_empty() && section.reader().is_sound(&section.key(key)) {
        section.error(
            key,
            "there is no pattern, so nothing fits",
            Some("write \"*\" for any value".to_owned()),
        );
    }
    Some(Condition::Field(field, patterns))
}

/// `option: {CODE: PATTERN}`.
fn options(section: &Section<'_>) -> Vec<Condition> {
    let mut all = Vec::new();
    for code in section.keys() {
        let patterns = section.list_by(code, plain_schema, plain);
        // 0 and 255 have no value (RFC 2132 §3.1, §3.2).
        if let Ok(number @ 1..=254) = code.parse::<u8>() {
            all.extend(fits(section, code, Field::Option(number), patterns));
        } else {
            let reason = format!("\"{}\" is not the number of an option", code.escape_debug());
            let hint = "options are named by their numbers here, 1 to 254".to_owned();
            section.error(code, reason, Some(hint));
        }
    }
    all
}

/// The conditions of `all` or `any`, where the key is given.
fn nested(section: &Section<'_>, key: &str) -> Option<Vec<Condition>> {
    let conditions = section.sections(key, conditions_schema).iter().filter_map(inner).collect();
    section.has(key).then_some(conditions)
}

/// A condition within another one, which must not be empty.
fn inner(section: &Section<'_>) -> Option<Condition> {
    let condition = condition(section);
    if condition.is_none() && section.reader().is_sound(section.here()) {
        let hint = "remove it, or name what must fit".to_owned();
        section.reader().error(section.here(), "there is no condition", Some(hint));
    }
    condition
}
