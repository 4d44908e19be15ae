//! Colours, on terminals alone. A text is marked first and painted when it is printed: a mark is a character without
//! width, so tables measure right, and where there are no colours the marks just go.
//!
//! Whether there are colours is anstream's to say: the stream is a terminal, `TERM` is not `dumb` and `NO_COLOR` is not
//! set, or `CLICOLOR_FORCE` is.

use std::io::{self, Write};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use daemon_utils::log::harmless;

/// What a piece of text says by its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// It works.
    Good,
    /// Look at it.
    Warning,
    /// It does not work.
    Bad,
    /// What to do.
    Advice,
    /// Of the past, or of no matter.
    Faint,
    /// A headline.
    Head,
}

const TONES: [(Tone, char); 6] = [
    (Tone::Good, '\u{2061}'),
    (Tone::Warning, '\u{2062}'),
    (Tone::Bad, '\u{2063}'),
    (Tone::Advice, '\u{2064}'),
    (Tone::Faint, '\u{206a}'),
    (Tone::Head, '\u{206b}'),
];
/// Ends what any of them began.
const END: char = '\u{206c}';

impl Tone {
    fn style(self) -> Style {
        match self {
            Self::Good => AnsiColor::Green.on_default(),
            Self::Warning => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Advice => AnsiColor::Cyan.on_default(),
            Self::Faint => Style::new().dimmed(),
            Self::Head => Style::new().bold(),
        }
    }
}

/// A text with its tone.
pub(super) fn mark(tone: Tone, text: &str) -> String {
    let begin = TONES.iter().find(|(known, _)| *known == tone).map_or(END, |(_, mark)| *mark);
    format!("{begin}{}{END}", plain(text))
}

/// A state of a lease, with the tone that all commands give it.
pub(super) fn state(name: &str) -> String {
    match name {
        "active" => mark(Tone::Good, name),
        "declined" | "conflict" => mark(Tone::Warning, name),
        _ => mark(Tone::Faint, name),
    }
}

/// A text without marks.
pub(super) fn plain(text: &str) -> String {
    let is_mark = |c: char| c == END || TONES.iter().any(|(_, mark)| *mark == c);
    text.chars().filter(|c| !is_mark(*c)).collect()
}

/// A text as it is printed. Only the marks become sequences for the terminal; any in the text itself are written out.
pub(super) fn paint(text: &str, colours: bool) -> String {
    if !colours {
        return harmless(&plain(text)).into_owned();
    }
    let mut painted = String::with_capacity(text.len() + 64);
    for c in text.chars() {
        if let Some((tone, _)) = TONES.iter().find(|(_, mark)| *mark == c) {
            painted += &tone.style().render().to_string();
        } else if c == END {
            painted += &anstyle::Reset.render().to_string();
        } else {
            painted += &harmless(c.encode_utf8(&mut [0; 4]));
        }
    }
    painted
}

/// Whether standard output has colours.
pub(super) fn on_stdout() -> bool {
    AutoStream::choice(&io::stdout()) != ColorChoice::Never
}

/// Prints a marked text on standard output. Nobody may be there to read it, which is no failure.
pub(super) fn say(text: &str) {
    crate::supervisor::say(&paint(text, on_stdout()));
}

/// Prints problems and errors on standard error, their key words in colour.
pub(super) fn complain(text: &str) {
    let colours = AutoStream::choice(&io::stderr()) != ColorChoice::Never;
    let _ = writeln!(io::stderr(), "{}", paint(&marked(text), colours));
}

/// Marks what makes a report quick to read: who speaks, `warning:`, `hint:`.
fn marked(text: &str) -> String {
    let mut lines = Vec::new();
    for line in plain(text).lines() {
        let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
        let words = [("hint:", Tone::Advice), ("warning:", Tone::Warning), ("echo-daemon:", Tone::Bad)];
        let head = words.iter().find_map(|(word, tone)| Some((word, tone, rest.strip_prefix(word)?)));
        lines.push(match head {
            Some((word, tone, rest)) => format!("{indent}{}{rest}", mark(*tone, word)),
            // PLACE: warning: KEY: REASON
            None => match line.split_once(": warning: ") {
                Some((place, rest)) => {
                    format!("{}: {} {rest}", mark(Tone::Head, place), mark(Tone::Warning, "warning:"))
                }
                None => line.to_owned(),
            },
        });
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_become_colours_or_nothing() {
        let text = format!("a {} b", mark(Tone::Good, "fine"));
        assert_eq!(paint(&text, false), "a fine b");
        assert_eq!(paint(&text, true), "a \u{1b}[32mfine\u{1b}[0m b");
    }

    #[test]
    fn key_words_of_a_report_are_marked_and_no_word_is_changed() {
        let report = "echo-daemon: a.yaml:3: warning: tcp.port: odd\n    3 |  port: 1\n  hint: another\nf:1: warning: k: r";
        let painted = paint(&marked(report), true);
        assert_eq!(plain(&marked(report)), report);
        for part in
            ["\u{1b}[36mhint:\u{1b}[0m another", "\u{1b}[33mwarning:\u{1b}[0m k: r", "    3 |  port: 1\n"]
        {
            assert!(painted.contains(part), "{painted:?}");
        }
    }

    #[test]
    fn marks_in_foreign_text_paint_nothing() {
        let foreign = format!("evil{}", TONES[2].1);
        assert_eq!(paint(&marked(&foreign), true), "evil");
    }
}
