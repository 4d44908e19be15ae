//! DHCP options as the administrator names and writes them: the table of all options, the codec from
//! configuration values to bytes, and the check and the schema of every option map in a configuration.

pub mod check;
pub mod codec;
pub(super) mod names;
mod nested;
pub mod schema;
mod show;
mod special;
pub mod table;

use serde_json::Value;

pub use check::check;
pub use codec::ValueError;
pub use show::{name, show};
pub use table::{Kind, OptionSpec};

/// An option value ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionValue {
    /// The option's number, 1 to 254.
    pub code: u8,
    /// Its bytes; more than 255 are split on the wire (RFC 3396).
    pub bytes: Vec<u8>,
    /// Whether clients get it that did not ask for it.
    pub always: bool,
}

/// What one entry of an `options` map says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// The option has this value here.
    Value(OptionValue),
    /// `null`: the option of this code is not sent here, whatever a level above says.
    Unset(u8),
}

impl Setting {
    /// From one entry of an `options` map: a name of the table, or `option-CODE`.
    ///
    /// Errors: see [`OptionValue::from_config`]; an option that belongs to the server can be unset by nobody.
    pub fn from_config(name: &str, value: &Value) -> Result<Self, ValueError> {
        if !value.is_null() {
            return OptionValue::from_config(name, value).map(Self::Value);
        }
        match resolve(name)? {
            (_, Some(Kind::Owned(reason))) => Err(codec::owned(reason)),
            (code, _) => Ok(Self::Unset(code)),
        }
    }
}

impl OptionValue {
    /// From one entry of an `options` map: a name of the table, or `option-CODE`. A map may hold `always` beside
    /// the value: `{value: X, always: true}`, `{hex: "0a0b", always: true}`.
    ///
    /// Errors: a name that stands for no option, an option that belongs to the server, a value that does not fit;
    /// `null` is no value (see [`Setting`]).
    pub fn from_config(name: &str, value: &Value) -> Result<Self, ValueError> {
        let (code, kind) = resolve(name)?;
        let (value, always) = codec::without_always(value)?;
        let value = value.as_ref();
        let bytes = match kind {
            Some(kind) => codec::encode(kind, value)?,
            None if value.is_object() => codec::encode(Kind::Opaque, value)?,
            None => {
                return Err(ValueError::new(format!("option {code} has no known type")).hint(format!(
                    "name the format: option-{code}: {{hex: \"0a0b\"}}, or text, ip, u8, u16, u32"
                )));
            }
        };
        Ok(Self { code, bytes, always })
    }
}

/// The code that a name of the table stands for.
pub fn code_of(name: &str) -> Option<u8> {
    table::by_name(name).map(|row| row.code)
}

/// The code that a name stands for, and its kind if the table has it.
fn resolve(name: &str) -> Result<(u8, Option<Kind>), ValueError> {
    if let Some(row) = table::by_name(name) {
        return Ok((row.code, Some(row.kind)));
    }
    let Some(number) = name.strip_prefix("option-") else {
        return Err(unknown(name));
    };
    match number.parse::<u8>() {
        Ok(0 | 255) => Err(ValueError::new(format!("option {number} is padding or the end, not an option"))),
        Ok(code) => Ok((code, table::by_code(code).map(|row| row.kind))),
        Err(_) => Err(unknown(name).hint("option-CODE with a code from 1 to 254")),
    }
}

fn unknown(name: &str) -> ValueError {
    let error = ValueError::new(format!("\"{name}\" is not an option"));
    let names = table::table().iter().flat_map(|row| std::iter::once(row.name).chain(row.alias));
    let nearest =
        names.map(|known| (strsim::jaro_winkler(name, known), known)).max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        // Below that they have little more than a letter in common.
        Some((likeness, known)) if likeness > 0.8 => error.hint(format!("did you mean \"{known}\"?")),
        _ => error.hint("any option can be given by its code: option-224: {hex: \"0a0b\"}"),
    }
}
