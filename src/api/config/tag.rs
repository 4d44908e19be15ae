//! Entity tags in `If-Match` and `If-None-Match` (RFC 9110 §8.8.3, §13.1).

use axum::http::{HeaderMap, HeaderName};

use super::super::problem::Problem;

/// What such a field looks like, for the description of the API.
pub(super) const PATTERN: &str = r#"^(\*|((W/)?"[!#-~]*"(, (W/)?"[!#-~]*")*)?)$"#;

/// What such a field names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tags {
    /// `*`: any.
    Any,
    /// These, each with its quotes and, if it is weak, its `W/`.
    These(Vec<String>),
}

impl Tags {
    /// The tags that compare strongly (§8.8.3.2): a weak one never does.
    pub(super) fn strong(&self) -> impl Iterator<Item = &str> {
        let tags = match self {
            Self::Any => &[],
            Self::These(tags) => tags.as_slice(),
        };
        tags.iter().map(String::as_str).filter(|tag| tag.starts_with('"'))
    }

    /// Whether `own`, which is strong, is among them by weak comparison.
    pub(super) fn name_weakly(&self, own: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags.iter().any(|tag| tag.strip_prefix("W/").unwrap_or(tag) == own),
        }
    }
}

/// A tag as it stands in a field.
pub(super) fn quoted(tag: &str) -> String {
    format!("\"{tag}\"")
}

/// What the field `name` lists; none: the request has no such field. Errors: 400 where it is no list of entity tags.
pub(super) fn lists(headers: &HeaderMap, name: HeaderName) -> Result<Option<Tags>, Problem> {
    let wrong =
        || Problem::bad_request(format!("the field {name} is no list of entity tags such as \"0123\""));
    let mut said = headers.get_all(&name).iter().peekable();
    if said.peek().is_none() {
        return Ok(None);
    }
    let mut tags = Vec::new();
    let mut any = false;
    for value in said {
        let mut rest = value.to_str().map_err(|_| wrong())?.trim();
        any |= rest == "*";
        if rest == "*" {
            continue;
        }
        loop {
            // Empty elements of a list count for nothing (§5.6.1.2).
            rest = rest.trim_start_matches([',', ' ', '\t']);
            if rest.is_empty() {
                break;
            }
            let (tag, after) = next(rest).ok_or_else(wrong)?;
            tags.push(tag.to_owned());
            rest = after;
        }
    }
    match (any, tags.is_empty()) {
        (true, true) => Ok(Some(Tags::Any)),
        // None at all is a list, too, which nothing fits (§5.6.1.2).
        (false, _) => Ok(Some(Tags::These(tags))),
        (true, false) => Err(wrong()),
    }
}

/// The first tag of a list, and the list after it.
fn next(list: &str) -> Option<(&str, &str)> {
    let opaque = list.strip_prefix("W/").unwrap_or(list).strip_prefix('"')?;
    let (inner, _) = opaque.split_once('"')?;
    if inner.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return None;
    }
    let (tag, after) = list.split_at(list.len() - opaque.len() + inner.len() + 1);
    let after = after.trim_start();
    (after.is_empty() || after.starts_with(',')).then_some((tag, after))
}

#[cfg(test)]
mod tests {
    use axum::http::header::IF_MATCH;

    use super::*;

    fn of(values: &[&str]) -> Result<Option<Tags>, Problem> {
        let headers: HeaderMap = values.iter().map(|value| (IF_MATCH, value.parse().unwrap())).collect();
        lists(&headers, IF_MATCH)
    }

    #[test]
    fn lists_are_read_whole() {
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["*"]), Ok(Some(Tags::Any)));
        assert_eq!(of(&[""]), Ok(Some(Tags::These(Vec::new()))));
        let tags = of(&["\"a,b\" ,, W/\"c\",", "\"\""]).unwrap().unwrap();
        assert_eq!(tags, Tags::These(vec!["\"a,b\"".into(), "W/\"c\"".into(), "\"\"".into()]));
        assert_eq!(tags.strong().collect::<Vec<_>>(), ["\"a,b\"", "\"\""]);
        assert!(tags.name_weakly("\"c\"") && !tags.name_weakly("\"d\""));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for wrong in ["a", "\"a", "\"a\" \"b\"", "*, \"a\"", "W/a", "\"a b\"", "w/\"a\""] {
            assert!(of(&[wrong]).is_err(), "{wrong}");
        }
    }
}
