//! docs/unsafe.md lists every `unsafe` block of the project with its condition, as the comment above the block says it.
//!
//! `ECHO_DAEMON_BLESS=1 cargo test --test docs` writes it anew; whoever does so has read what has changed.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use super::made::check_or_bless;
use super::root;

const HEAD: &str = "\
# Unsafe code

All of it is in `utils`; the daemon itself and the programs under `tests/` have none, and the compiler sees to that
(`forbid(unsafe_code)`; `tests/layers.rs`). Each block was read for this list: is what its comment demands so at this place, whoever calls? What
has unsafe code in it and comes from elsewhere (SQLite above all) is no part of this. The page is made from the comments;
`ECHO_DAEMON_BLESS=1 cargo test --test docs` writes it anew.

";

/// The function or the type that a line belongs to: the nearest one above it that begins further left.
fn owner(lines: &[&str], at: usize) -> String {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let name = |line: &str, before: &str| {
        let rest = line.split_once(before)?.1;
        let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len());
        Some(rest[..end].to_owned())
    };
    let of_type = lines[at..].iter().find(|line| !line.trim_start().starts_with("//"));
    if let Some(found) = of_type.filter(|line| line.starts_with("unsafe impl")) {
        return found.trim_start_matches("unsafe ").trim_end_matches(" {}").to_owned();
    }
    let above = lines[..at].iter().rev().filter(|line| indent(line) < indent(lines[at]));
    above
        .filter(|line| !line.trim_start().starts_with("//"))
        .find_map(|line| name(line, "fn "))
        .unwrap_or_default()
}

/// The blocks of a file: what they are in, and their conditions.
fn blocks(text: &str) -> Vec<(String, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let begins = |line: &&str| line.trim_start().strip_prefix("// SAFETY: ").map(str::to_owned);
    let comment = |at: usize| {
        let further = lines[at + 1..].iter().map_while(|line| line.trim_start().strip_prefix("// "));
        begins(&lines[at]).map(|first| further.fold(first, |all, line| all + " " + line))
    };
    (0..lines.len()).filter_map(|at| comment(at).map(|condition| (owner(&lines, at), condition))).collect()
}

fn page() -> String {
    let mut files = Vec::new();
    let mut folders = vec![root().join("utils/src")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    let mut page = HEAD.to_owned() + "| file | in | what must hold, and why it does |\n|---|---|---|\n";
    for (path, text) in
        files.into_iter().map(|path: PathBuf| (path.clone(), fs::read_to_string(path).unwrap()))
    {
        let file = path.strip_prefix(root()).unwrap().display().to_string();
        for (owner, condition) in blocks(&text) {
            writeln!(page, "| `{file}` | `{owner}` | {} |", condition.replace('|', "\\|")).unwrap();
        }
    }
    page
}

#[test]
fn page_of_unsafe_code_is_what_the_comments_say() {
    check_or_bless("docs/unsafe.md", &page());
}

#[test]
fn each_block_is_found_with_its_function_and_its_whole_condition() {
    let text = "impl A {\n    fn b(&self) {\n        // SAFETY: it is\n        // so.\n        unsafe { c() }\n    }\n}\n\n\
                // SAFETY: always.\nunsafe impl Send for A {}\n";
    let found = blocks(text);
    assert_eq!(
        found,
        [("b", "it is so."), ("impl Send for A", "always.")].map(|(a, b)| (a.into(), b.into()))
    );
}
