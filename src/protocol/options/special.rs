//! Values whose layout one RFC has for one option or two. Called by the codec.

use serde_json::Value;

use super::codec::{Bytes, Shown, ValueError, address, domains, ip, items, list, split};

/// 1 and addresses, or 0 and names; never both (RFC 3361 §3).
pub(super) fn sip_servers(value: &Value) -> Bytes {
    let all_addresses = items(&split(value)).iter().all(|item| item.as_str().and_then(address).is_some());
    let (encoding, rest) =
        if all_addresses { (1, list(value, "an address", ip)?) } else { (0, domains(value, false)?) };
    Ok(std::iter::once(encoding).chain(rest).collect())
}

/// The URI behind its length in two bytes (RFC 8572 §8.3).
pub(super) fn uri(value: &Value, out: &mut Vec<u8>) -> Option<()> {
    let uri = value.as_str().filter(|uri| !uri.is_empty() && uri.is_ascii())?;
    out.extend(u16::try_from(uri.len()).ok()?.to_be_bytes());
    out.extend(uri.as_bytes());
    Some(())
}

/// Whether the agents are the only ones to be used, then their addresses (RFC 2610 §3).
pub(super) fn slp_agents(value: &Value) -> Bytes {
    let expected = "\"true\" or \"false\" and addresses, such as \"true 10.0.0.1\"";
    let wrong = || ValueError::new(format!("{} is not {expected}", Shown(value)));
    let words = items(value).iter().map(|item| match item {
        Value::Bool(flag) => Some(flag.to_string()),
        Value::String(text) => Some(text.clone()),
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    });
    let words = words.collect::<Option<Vec<_>>>().ok_or_else(wrong)?.join(" ");
    let mut words = words.split([' ', ',']).filter(|word| !word.is_empty());
    let mut out = vec![words.next().and_then(|word| word.parse::<bool>().ok()).ok_or_else(wrong)?.into()];
    for word in words {
        out.extend(address(word).ok_or_else(wrong)?.octets());
    }
    if out.len() == 1 { Err(wrong()) } else { Ok(out) }
}

/// Whether the scope goes before what the client has of its own, then the list of scopes, which may be empty (RFC 2610
/// §4).
pub(super) fn slp_scope(value: &Value, out: &mut Vec<u8>) -> Option<()> {
    let value =
        value.as_bool().map_or_else(|| value.as_str().map(str::to_owned), |flag| Some(flag.to_string()))?;
    let (mandatory, scopes) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
    if scopes.contains('\0') {
        return None;
    }
    out.push(mandatory.parse::<bool>().ok()?.into());
    out.extend(scopes.trim().as_bytes());
    Some(())
}

/// The addresses of one server behind their length (RFC 7291 §4).
pub(super) fn server_list(value: &Value, out: &mut Vec<u8>) -> Option<()> {
    let mut addresses = Vec::new();
    for word in value.as_str()?.split([' ', ',']).filter(|word| !word.is_empty()) {
        addresses.extend(address(word)?.octets());
    }
    out.push(u8::try_from(addresses.len()).ok().filter(|length| *length > 0)?);
    out.extend(addresses);
    Some(())
}
