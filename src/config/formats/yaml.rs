//! YAML: parsing by `serde_yaml`, and where each key stands by `saphyr`, which keeps positions.
//!
//! Two parsers read the same text since neither does both; the second one only serves messages, so where they
//! disagree a message lacks its line and nothing worse. Called by the sources.

use figment::value::{Dict, Value};
use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

use super::{Index, Mark, Parsed, SyntaxError, only_lines};
use crate::config::tree;

/// Parses the text of a configuration file. Errors: anything but one map of keys.
pub(crate) fn parse(text: &str) -> Parsed {
    match value(text)? {
        Value::Dict(_, dict) => Ok((dict, index(text))),
        Value::Empty(..) => Err(SyntaxError::empty_file()),
        other => {
            let reason = format!("the file holds {}, not keys with values", tree::describe(&other));
            let hint = Some("a configuration begins with a key such as `tcp:`");
            Err(SyntaxError { at: None, reason, hint })
        }
    }
}

/// Parses what is indented below `daemon:`, whatever stands around it.
pub(crate) fn parse_daemon_section(text: &str) -> Parsed {
    let mut inside = false;
    let section = only_lines(text, |line| {
        let indented = line.is_empty() || line.starts_with([' ', '\t', '#']);
        inside = line.starts_with("daemon:") || (inside && indented);
        inside
    });
    if section.trim().is_empty() { Ok((Dict::new(), Index::default())) } else { parse(&section) }
}

/// Parses any YAML value, such as the one of `--set KEY=VALUE`.
pub(crate) fn value(text: &str) -> Result<Value, SyntaxError> {
    let mut parsed: serde_yaml::Value =
        serde_yaml::from_str(text).map_err(|error| syntax_error(text, &error))?;
    let unplaced = |reason: String| SyntaxError { at: None, reason, hint: None };
    parsed.apply_merge().map_err(|error| unplaced(error.to_string()))?;
    tree::from_yaml(parsed).map_err(unplaced)
}

fn syntax_error(text: &str, error: &serde_yaml::Error) -> SyntaxError {
    let full = error.to_string();
    // serde_yaml ends its message with the position, which is shown in front here.
    let mut reason = full.split(" at line ").next().unwrap_or(&full).to_owned();
    let mut at = error.location().map(|place| Mark { line: place.line(), column: place.column() });
    let doubled = reason.split_once("duplicate entry with key ");
    let twice = doubled.is_some();
    if let Some((section, key)) = doubled {
        reason = format!("{section}the key {key} stands twice in this section");
        // It points at the beginning of the section; the second parser points at the repeated key.
        at = MarkedYaml::load_from_str(text).err().map(|error| mark(*error.marker())).or(at);
    }
    let line = at.and_then(|mark| text.lines().nth(mark.line.saturating_sub(1))).unwrap_or_default();
    let indented_by_tab = line.chars().take_while(|c| c.is_whitespace()).any(|c| c == '\t');
    let hint = if indented_by_tab {
        Some("indent with spaces: YAML does not allow tabs there")
    } else if reason.contains("mapping values are not allowed") {
        Some("check the indentation; text that holds `: ` needs quotes")
    } else if twice {
        Some("keep one of the two")
    } else if reason.contains("more than one document") {
        Some("remove the line `---` and what follows it")
    } else {
        None
    };
    SyntaxError { at, reason, hint }
}

fn mark(marker: saphyr::Marker) -> Mark {
    Mark { line: marker.line(), column: marker.col() + 1 }
}

/// Where the keys stand in a text that [`parse`] accepted.
pub(crate) fn index(text: &str) -> Index {
    let mut index = Index::default();
    if let Some(root) = MarkedYaml::load_from_str(text).ok().and_then(|all| all.into_iter().next()) {
        add(&mut index, &root, "");
    }
    index
}

fn add(index: &mut Index, node: &MarkedYaml<'_>, path: &str) {
    match &node.data {
        YamlData::Mapping(entries) => {
            for (key, value) in entries {
                let Some(name) = key_text(key) else { continue };
                if name == "<<" {
                    add_merged(index, value, path);
                    continue;
                }
                let path = if path.is_empty() { name } else { format!("{path}.{name}") };
                // A section is found at its key, a value at the value itself, which may stand lower.
                let scalar = matches!(value.data, YamlData::Value(_)) && value.span.start.line() > 0;
                let place = if scalar && !is_null(value) { value } else { key };
                index.set(path.clone(), mark(place.span.start));
                add(index, value, &path);
            }
        }
        YamlData::Sequence(items) => {
            for (position, item) in items.iter().enumerate() {
                let path = format!("{path}[{position}]");
                index.set(path.clone(), mark(item.span.start));
                add(index, item, &path);
            }
        }
        YamlData::Tagged(_, inner) => add(index, inner, path),
        _ => {}
    }
}

/// `<<: *anchor` or a list of them: what the section says itself goes before.
fn add_merged(index: &mut Index, node: &MarkedYaml<'_>, path: &str) {
    let mut merged = Index::default();
    if let YamlData::Sequence(items) = &node.data {
        for item in items {
            add_merged(index, item, path);
        }
    } else {
        add(&mut merged, node, path);
    }
    index.complete(merged);
}

fn is_null(node: &MarkedYaml<'_>) -> bool {
    matches!(node.data, YamlData::Value(Scalar::Null))
}

fn key_text(node: &MarkedYaml<'_>) -> Option<String> {
    match &node.data {
        YamlData::Value(Scalar::String(text)) => Some(text.to_string()),
        YamlData::Value(Scalar::Integer(number)) => Some(number.to_string()),
        YamlData::Value(Scalar::Boolean(value)) => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(index: &Index, key: &str) -> Option<usize> {
        index.nearest(key).map(|mark| mark.line)
    }

    #[test]
    fn finds_nested_flow_and_list_keys() {
        let text = "# top\ntcp:\n  port: 1\n  address:\n    - a\n    - b\nudp: {port: 2,\n  enabled: true}\nx:\n  y:\n    7\n";
        let index = index(text);
        assert_eq!(line(&index, "tcp"), Some(2));
        assert_eq!(line(&index, "tcp.port"), Some(3));
        assert_eq!(line(&index, "tcp.address"), Some(4));
        assert_eq!(line(&index, "tcp.address[1]"), Some(6));
        assert_eq!(line(&index, "udp.port"), Some(7));
        assert_eq!(line(&index, "udp.enabled"), Some(8));
        assert_eq!(line(&index, "x.y"), Some(11), "a value on its own line is shown itself");
        assert_eq!(line(&index, "tcp.missing.deep"), Some(2), "the section around a missing key");
        assert_eq!(line(&index, "other"), None);
    }

    #[test]
    fn anchored_content_is_found_where_it_is_written() {
        let text = "a: &x\n  port: 1\nb: *x\nc:\n  port: 5\n  <<: *x\n  name: z\n";
        let index = index(text);
        assert_eq!(line(&index, "b.port"), Some(2));
        assert_eq!(line(&index, "c.port"), Some(5));
        let parsed = Value::from(parse(text).unwrap().0);
        assert_eq!(tree::describe(parsed.find_ref("c.port").unwrap()), "5");
    }

    #[test]
    fn repeated_key_is_refused_at_its_second_place() {
        let error = parse("tcp:\n  port: 1\n  enabled: true\n  port: 2\n").unwrap_err();
        assert_eq!(error.at.map(|mark| mark.line), Some(4), "{error:?}");
        assert_eq!(error.reason, "tcp: the key \"port\" stands twice in this section");
    }

    #[test]
    fn tab_is_named() {
        let error = parse("tcp:\n\tport: 1\n").unwrap_err();
        assert_eq!(error.at.map(|mark| mark.line), Some(2), "{error:?}");
        assert!(error.hint.unwrap().contains("tabs"), "{error:?}");
    }

    #[test]
    fn only_a_map_is_a_configuration() {
        assert_eq!(parse("# nothing\n").unwrap_err().reason, "the file is empty");
        assert_eq!(parse("- a\n").unwrap_err().reason, "the file holds a list, not keys with values");
        assert_eq!(
            parse("a: 1\n---\nb: 2\n").unwrap_err().hint,
            Some("remove the line `---` and what follows it")
        );
        assert!(parse("a: !mine 5\n").unwrap_err().reason.contains("tag"));
    }
}
