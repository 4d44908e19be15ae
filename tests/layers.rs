//! The layer rule: who may use whom in this crate (`src/lib.rs` draws the map), where `unsafe` may stand, and that each
//! file says what it is.
//!
//! The sources are read as text, not compiled: comments and literals are left out, then every path from the root of
//! the crate is followed to the top-level module that it names, be it written `crate::`, `$crate::` or `super::`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Bottom to top. A module may use those of earlier rows and those of its own row.
const LAYERS: &[&[&str]] = &[
    &["events"],
    &["stats"],
    &["config"],
    &["protocol"],
    &["lease"],
    &["dhcp"],
    &["workers", "api"],
    &["supervisor"],
    &["cli"],
    &["main", "lib"],
];

/// Names at the root of the crate that are not modules: macros, and the module they are of.
const MACROS: &[(&str, &str)] = &[("event", "events")];

/// A place where a rule is broken.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    file: PathBuf,
    line: usize,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.what)
    }
}

#[test]
fn each_module_uses_only_modules_below_it() {
    let sources = sources("src");
    assert!(!sources.is_empty(), "no source was found");
    report(sources.iter().flat_map(|(file, text)| upward_uses(file, text)).collect());
}

#[test]
fn utils_know_nothing_of_the_daemon() {
    let found = sources("utils").into_iter().flat_map(|(file, text)| {
        tokens(&text)
            .into_iter()
            .filter(|token| token.text == "echo_daemon")
            .map(|token| violation(&file, token.line, "utils may not use the package on top of it"))
            .collect::<Vec<_>>()
    });
    report(found.collect());
}

#[test]
fn unsafe_stands_in_utils_only() {
    let found = ["src", "tests"].iter().flat_map(|folder| sources(folder)).flat_map(|(file, text)| {
        tokens(&text)
            .into_iter()
            .filter(|token| token.text == "unsafe")
            .map(|token| violation(&file, token.line, "unsafe belongs into utils/"))
            .collect::<Vec<_>>()
    });
    report(found.collect());
}

#[test]
fn each_file_says_what_it_is() {
    let found = ["src", "utils", "tests"]
        .iter()
        .flat_map(|folder| sources(folder))
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(file, _)| {
            violation(&file, 1, "a file opens with //!: what it owns, what it must not do, who calls it")
        });
    report(found.collect());
}

#[test]
fn checker_finds_every_spelling_of_an_upward_use() {
    let file = Path::new("src/lease/engine.rs");
    for text in [
        "use crate::dhcp::Pipeline;",
        "use crate::{config, dhcp::{handler, scope}};",
        "use crate::{\n    config::{Config, model},\n    dhcp,\n};",
        "fn f() { crate::dhcp::run(); }",
        "use super::super::dhcp;",
        "mod tests { use super::super::super::dhcp::Outcome; }",
        "macro_rules! m { () => { $crate::dhcp::run() } }",
        "use crate::unheard_of::Thing;",
        "use crate::*;",
    ] {
        assert_eq!(upward_uses(file, text).len(), 1, "{text}");
    }
}

#[test]
fn checker_accepts_downward_uses_and_words_that_are_no_code() {
    let file = Path::new("src/lease/engine.rs");
    for text in [
        "use crate::protocol::HardwareAddress;",
        "use crate::{event, lease, stats::{Counter, Shared}};",
        "event!(LeaseGranted; \"see crate::dhcp\"); crate::event!(Stats; \"x\");",
        "// use crate::dhcp;\n/* crate::dhcp /* crate::cli */ crate::cli */",
        "const TEXT: &str = r#\"use crate::\"dhcp\";\"#; const QUOTE: char = '\"';",
        "fn f<'a>(x: &'a str) -> char { '\\'' }",
        "pub(crate) mod inner { use super::super::store; }",
        "use super::super::config::Config;",
    ] {
        assert_eq!(upward_uses(file, text), [], "{text}");
    }
}

#[test]
fn checker_lets_workers_and_api_use_each_other() {
    assert_eq!(upward_uses(Path::new("src/api/status.rs"), "use crate::workers::Kind;"), []);
    assert_eq!(upward_uses(Path::new("src/workers/api.rs"), "use crate::api::State;"), []);
    assert_eq!(upward_uses(Path::new("src/api/status.rs"), "use crate::supervisor::Child;").len(), 1);
}

fn report(found: Vec<Violation>) {
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

fn violation(file: &Path, line: usize, what: &str) -> Violation {
    Violation { file: file.to_owned(), line, what: what.to_owned() }
}

/// All Rust files under a folder of the repository, by their path in it.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root).unwrap().to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

/// Where a file of `src` names a top-level module above its own, or one that has no layer.
fn upward_uses(file: &Path, text: &str) -> Vec<Violation> {
    // src/lease/engine.rs is the module lease::engine; src/lease/mod.rs is lease.
    let mut module: Vec<String> =
        file.with_extension("").iter().skip(1).map(|part| part.to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|name| name == "mod") {
        module.pop();
    }
    let own = module[0].clone();
    let Some(own_layer) = layer(&own) else {
        return vec![violation(file, 1, &format!("module {own} has no layer: add it to LAYERS"))];
    };
    roots(&tokens(text), module.len())
        .into_iter()
        .filter_map(|(name, line)| match layer(&name) {
            None => Some(violation(file, line, &format!("{name} has no layer"))),
            Some(other) if other > own_layer => {
                Some(violation(file, line, &format!("{own} may not use {name}, which is above it")))
            }
            Some(_) => None,
        })
        .collect()
}

fn layer(name: &str) -> Option<usize> {
    let module = MACROS.iter().find(|(shown, _)| *shown == name).map_or(name, |(_, module)| module);
    LAYERS.iter().position(|row| row.contains(&module))
}

/// The first segment of every path from the root of the crate, and its line. `depth` is the file's own: how many
/// `super` lead from it to the root.
fn roots(tokens: &[Token], depth: usize) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    // For each open brace whether it is an inline module's, which is one level deeper.
    let mut braces: Vec<bool> = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let text = token.text.as_str();
        match text {
            "{" => {
                let inline = at >= 2 && tokens[at - 2].text == "mod";
                braces.push(inline);
            }
            "}" => {
                braces.pop();
            }
            "crate" if is(tokens, at + 1, "::") => first_segments(tokens, at + 2, &mut found),
            "super" if is(tokens, at + 1, "::") => {
                let mut supers = 1;
                while is(tokens, at + 2, "super") && is(tokens, at + 3, "::") {
                    supers += 1;
                    at += 2;
                }
                let inner = braces.iter().filter(|inline| **inline).count();
                if supers >= depth + inner {
                    first_segments(tokens, at + 2, &mut found);
                }
                // Past `super ::`, so that the last `super` of a chain does not count as a chain of its own.
                at += 1;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

fn is(tokens: &[Token], at: usize, text: &str) -> bool {
    tokens.get(at).is_some_and(|token| token.text == text)
}

/// What stands after `crate::`: one name, or a group in braces with a name at the start of each item.
fn first_segments(tokens: &[Token], at: usize, found: &mut Vec<(String, usize)>) {
    if !is(tokens, at, "{") {
        found.extend(tokens.get(at).map(|token| (token.text.clone(), token.line)));
        return;
    }
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ if depth == 1 && matches!(tokens[index - 1].text.as_str(), "{" | ",") => {
                found.push((token.text.clone(), token.line));
            }
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

/// An identifier, `::`, or one other character of code.
#[derive(Debug)]
struct Token {
    text: String,
    line: usize,
}

/// The tokens of Rust code, without comments and without string and character literals.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let end = at + length(&chars[at..]);
        let piece: String = chars[at..end].iter().collect();
        if is_code(&piece) {
            found.push(Token { text: piece.clone(), line });
        }
        line += piece.matches('\n').count();
        at = end;
    }
    found
}

/// Whether a piece is neither white space nor a comment nor a literal with text in it.
fn is_code(piece: &str) -> bool {
    let literal = piece.len() > 1 && piece.ends_with(['"', '\'', '#']);
    !(piece.trim().is_empty() || piece.starts_with("//") || piece.starts_with("/*") || literal)
}

/// How many characters the first piece of `rest` has; at least 1.
fn length(rest: &[char]) -> usize {
    let next = |at: usize| rest.get(at).copied().unwrap_or('\0');
    match (rest[0], next(1)) {
        ('/', '/') => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
        ('/', '*') => block_comment(rest),
        ('"', _) | ('\'', '\\') => quoted(rest, 0),
        // A character; otherwise the quote begins a lifetime.
        ('\'', _) if next(2) == '\'' => 3,
        (':', ':') => 2,
        (first, _) if first.is_alphanumeric() || first == '_' => {
            let word = rest.iter().take_while(|c| c.is_alphanumeric() || **c == '_').count();
            let prefix: String = rest[..word].iter().collect();
            match (prefix.as_str(), next(word)) {
                ("b" | "c", '"') | ("b", '\'') => quoted(rest, word),
                ("r" | "br" | "cr", '"' | '#') => raw(rest, word).unwrap_or(word),
                _ => word,
            }
        }
        _ => 1,
    }
}

/// Block comments nest.
fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match (rest[at], rest.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(rest.len())
}

/// The end of a literal whose opening quote stands at `open`.
fn quoted(rest: &[char], open: usize) -> usize {
    let mut at = open + 1;
    while at < rest.len() && rest[at] != rest[open] {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// The end of a raw string whose hashes begin at `at`; none where it is a raw identifier.
fn raw(rest: &[char], at: usize) -> Option<usize> {
    let hashes = rest[at..].iter().take_while(|c| **c == '#').count();
    if rest.get(at + hashes) != Some(&'"') {
        return None;
    }
    let mut end = at + hashes + 1;
    while end < rest.len() {
        let closes =
            rest[end] == '"' && rest[end + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
        end += 1;
        if closes {
            return Some(end + hashes);
        }
    }
    Some(rest.len())
}
