//! Puts tables into a document, between the markers `<!-- bench: begin NAME -->` and `<!-- bench: end NAME -->`. What
//! stands around them is its author's.

use anyhow::{Context, bail};
use std::fs;
use std::path::Path;

/// Fills every pair of markers whose table there is.
pub(crate) fn fill_file(path: &Path, tables: &[crate::table::Table]) -> anyhow::Result<()> {
    let shown = path.display();
    let mut text = fs::read_to_string(path).with_context(|| format!("could not read \"{shown}\""))?;
    for (name, _, table) in tables {
        text = fill(&text, name, table).with_context(|| format!("\"{shown}\""))?;
    }
    fs::write(path, text).with_context(|| format!("could not write \"{shown}\""))
}

/// The document with this table between its markers; the same where it has none of that name.
fn fill(text: &str, name: &str, table: &str) -> anyhow::Result<String> {
    let begin = format!("<!-- bench: begin {name} -->");
    let end = format!("<!-- bench: end {name} -->");
    let Some((before, rest)) = text.split_once(&begin) else { return Ok(text.to_owned()) };
    let Some((_, after)) = rest.split_once(&end) else { bail!("\"{begin}\" has no \"{end}\" behind it") };
    Ok(format!("{before}{begin}\n{table}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "words\n<!-- bench: begin cost -->\nold\n<!-- bench: end cost -->\nmore words\n";

    #[test]
    fn table_replaces_the_old_one_and_nothing_else() {
        let once = fill(TEXT, "cost", "| new |\n").unwrap();
        assert_eq!(
            once,
            "words\n<!-- bench: begin cost -->\n| new |\n<!-- bench: end cost -->\nmore words\n"
        );
        assert_eq!(fill(&once, "cost", "| new |\n").unwrap(), once);
        assert_eq!(fill(TEXT, "growth", "x").unwrap(), TEXT);
    }

    #[test]
    fn missing_end_is_an_error_and_loses_nothing() {
        let error = fill("<!-- bench: begin cost -->\nwords", "cost", "x").unwrap_err().to_string();
        assert!(error.contains("bench: end cost"));
    }
}
