//! `man [DIR]`: the manual pages, made from the flags and their help, one for each command. They are of section 8,
//! where daemons and the tools of administrators stand (man-pages(7)).

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;

use super::{Cli, Outcome};
use crate::supervisor::say;

const SECTION: &str = "8";
/// Of the last change to the commands; a fixed one, so that the same source makes the same pages.
const DATE: &str = "2026-11-22";

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Folder that gets a page for each command; without it the page of the program itself goes to standard output
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

pub(super) fn run(args: &ManArgs) -> Outcome {
    let mut program = Cli::command().disable_help_subcommand(true);
    // From here on every command knows its whole name.
    program.build();
    let failed = |error: io::Error| format!("could not write: {error}");
    let Some(folder) = &args.folder else {
        let page = page(&program).map_err(failed)?;
        return match io::stdout().write_all(&page) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(failed(error)),
            Ok(()) | Err(_) => Ok(ExitCode::SUCCESS),
        };
    };
    fs::create_dir_all(folder)
        .map_err(|error| format!("could not create folder \"{}\": {error}", folder.display()))?;
    let count = write(&program, folder)?;
    say(&format!("wrote {count} pages to {}", folder.display()));
    Ok(ExitCode::SUCCESS)
}

/// Writes the pages of a command and of all below it; how many.
fn write(command: &Command, folder: &Path) -> Result<usize, String> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let path = folder.join(format!("{name}.{SECTION}"));
    page(command)
        .and_then(|page| fs::write(&path, page))
        .map_err(|error| format!("could not write \"{}\": {error}", path.display()))?;
    let mut count = 1;
    for below in command.get_subcommands() {
        count += write(below, folder)?;
    }
    Ok(count)
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let man = Man::new(command.clone())
        .title(name.to_uppercase())
        .section(SECTION)
        .date(DATE)
        .source(format!("echo-daemon {}", env!("CARGO_PKG_VERSION")))
        .manual("echo-daemon");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(text) = command.get_after_help() {
        notes(&text.to_string(), &mut page)?;
    }
    // clap_mangen puts an empty line between two ends of lines, which mandoc(1) finds wrong.
    let text = String::from_utf8_lossy(&page).replace("\n.br\n\n.br\n", "\n.sp\n");
    Ok(text.into_bytes())
}

/// What stands below the flags in the help, its lines as they are: they hold examples.
fn notes(text: &str, page: &mut Vec<u8>) -> io::Result<()> {
    writeln!(page, ".SH NOTES\n.nf")?;
    for line in text.trim_end().lines() {
        let escaped = line.replace('\\', "\\e").replace('-', "\\-");
        // A point or an apostrophe at the start of a line would be a request (groff(7)).
        let guard = if escaped.starts_with(['.', '\'']) { "\\&" } else { "" };
        if escaped.is_empty() {
            writeln!(page, ".sp")?;
        } else {
            writeln!(page, "{guard}{escaped}")?;
        }
    }
    writeln!(page, ".fi")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_keep_their_lines_and_hold_no_request() {
        let mut page = Vec::new();
        notes("one\n\n.two \\ -x\n", &mut page).unwrap();
        assert_eq!(String::from_utf8(page).unwrap(), ".SH NOTES\n.nf\none\n.sp\n\\&.two \\e \\-x\n.fi\n");
    }
}
