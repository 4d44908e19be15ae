//! Rows for people and programs: a table on a terminal, CSV elsewhere, JSON when asked for. Used by every subcommand
//! that shows many rows.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use clap::Args;
use serde_json::{Map, Value};

use super::super::{style, table};

/// Characters of a cell that a table shows. JSON and CSV have all of it.
const MOST_SHOWN: usize = 32;

/// How rows are shown.
#[derive(Debug, Args)]
pub(super) struct LookArgs {
    /// As JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// As CSV, also on a terminal
    #[arg(long)]
    csv: bool,
}

/// Rows on their way out.
pub(super) trait Sheet {
    /// One cell for each head.
    fn row(&mut self, cells: &[&str]) -> io::Result<()>;
    /// After the last row.
    fn end(&mut self) -> io::Result<()>;
}

/// A sheet on standard output with these heads; `noun` is what a table counts.
pub(super) fn open(
    look: &LookArgs,
    heads: &'static [&'static str],
    noun: &'static str,
) -> io::Result<Box<dyn Sheet>> {
    let out = Box::new(io::BufWriter::new(io::stdout()));
    if look.json {
        json(out, heads)
    } else if look.csv || !io::stdout().is_terminal() {
        Ok(Box::new(Disarmed(Csv::new(out, heads)?)))
    } else {
        Ok(Box::new(Shown { out, heads, table: table::new(heads), rows: 0, noun }))
    }
}

/// An array of objects, whose values are text.
pub(super) fn json(mut out: Box<dyn Write>, heads: &'static [&'static str]) -> io::Result<Box<dyn Sheet>> {
    write!(out, "[")?;
    Ok(Box::new(Json { out, heads, first: true }))
}

/// RFC 4180, with a header line; the cells as they are.
pub(super) fn csv(out: Box<dyn Write>, heads: &[&str]) -> io::Result<Box<dyn Sheet>> {
    Ok(Box::new(Csv::new(out, heads)?))
}

struct Json {
    out: Box<dyn Write>,
    heads: &'static [&'static str],
    first: bool,
}

impl Sheet for Json {
    fn row(&mut self, cells: &[&str]) -> io::Result<()> {
        let fields = self.heads.iter().zip(cells);
        let object: Map<String, Value> =
            fields.map(|(head, cell)| ((*head).to_owned(), (*cell).into())).collect();
        let comma = if std::mem::take(&mut self.first) { "" } else { "," };
        write!(self.out, "{comma}\n  {}", Value::Object(object))
    }

    fn end(&mut self) -> io::Result<()> {
        writeln!(self.out, "\n]")?;
        self.out.flush()
    }
}

struct Csv(csv::Writer<Box<dyn Write>>);

impl Csv {
    fn new(out: Box<dyn Write>, heads: &[&str]) -> io::Result<Self> {
        let mut sheet = Self(csv::Writer::from_writer(out));
        sheet.row(heads)?;
        Ok(sheet)
    }
}

impl Sheet for Csv {
    fn row(&mut self, cells: &[&str]) -> io::Result<()> {
        // The kind of an error of the pipe must not get lost.
        self.0.write_record(cells).map_err(|error| match error.into_kind() {
            csv::ErrorKind::Io(error) => error,
            other => io::Error::other(format!("{other:?}")),
        })
    }

    fn end(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// CSV that may end up in a spreadsheet.
struct Disarmed(Csv);

impl Sheet for Disarmed {
    fn row(&mut self, cells: &[&str]) -> io::Result<()> {
        let safe: Vec<String> = cells.iter().map(|cell| disarmed(cell)).collect();
        self.0.row(&safe.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn end(&mut self) -> io::Result<()> {
        self.0.end()
    }
}

/// Names come from the network: a cell that a spreadsheet would take for a formula gets an apostrophe.
fn disarmed(value: &str) -> String {
    let formula = value.starts_with(['=', '+', '-', '@']);
    if formula { format!("'{value}") } else { value.to_owned() }
}

struct Shown {
    out: Box<dyn Write>,
    heads: &'static [&'static str],
    table: comfy_table::Table,
    rows: usize,
    noun: &'static str,
}

impl Sheet for Shown {
    fn row(&mut self, cells: &[&str]) -> io::Result<()> {
        self.rows += 1;
        let cells = self.heads.iter().zip(cells);
        self.table.add_row(cells.map(|(head, cell)| match *head {
            "state" | "ended" => style::state(cell),
            _ => style::plain(&cut(cell)),
        }));
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        let plural = if self.rows == 1 { "" } else { "s" };
        let table = style::paint(&self.table.to_string(), style::on_stdout());
        writeln!(self.out, "{table}\n{} {}{plural}", self.rows, self.noun)?;
        self.out.flush()
    }
}

/// What a client sends can be hundreds of characters long; a table shows enough to know it by.
fn cut(cell: &str) -> Cow<'_, str> {
    match cell.char_indices().nth(MOST_SHOWN) {
        None => Cow::Borrowed(cell),
        Some((end, _)) => Cow::Owned(format!("{}…", &cell[..end])),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn cells_are_quoted_and_disarmed() {
        let paper = Paper::default();
        let mut sheet = Disarmed(Csv::new(Box::new(paper.clone()), &["a", "b", "c"]).unwrap());
        sheet.row(&["plain", "a,\"b", "=1+1"]).unwrap();
        sheet.end().unwrap();
        assert_eq!(*paper.0.lock().unwrap(), b"a,b,c\nplain,\"a,\"\"b\",'=1+1\n");
    }

    #[test]
    fn json_without_rows_is_an_empty_array() {
        let paper = Paper::default();
        json(Box::new(paper.clone()), &["a"]).unwrap().end().unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&paper.0.lock().unwrap()).unwrap(), serde_json::json!([]));
    }
}
