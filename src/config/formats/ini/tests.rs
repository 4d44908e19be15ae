//! What INI files say, and what is said of mistakes in them.

use serde_json::json;

use super::*;
use crate::config::tree;

fn said(text: &str) -> serde_json::Value {
    match parse(text) {
        Ok((dict, _)) => tree::to_json(&Value::from(dict)),
        Err(error) => panic!("{error:?}\n{text}"),
    }
}

fn value(text: &str) -> serde_json::Value {
    said(&format!("k = {text}\n"))["k"].clone()
}

fn place(text: &str, key: &str) -> (usize, usize) {
    let (_, index) = parse(text).unwrap();
    index.nearest(key).map(|mark| (mark.line, mark.column)).unwrap_or_default()
}

fn refusal(text: &str) -> (usize, usize, String) {
    let error = parse(text).unwrap_err();
    let mark = error.at.unwrap_or(Mark { line: 0, column: 0 });
    (mark.line, mark.column, error.reason)
}

#[test]
fn sections_and_keys_are_dotted_paths() {
    let text = "\
; a comment
x.y = 1
[a]
k = 1
  [a . b.\"c.d\"]   # indented, with spaces and a name in quotes
  \"e.f\".g=2
[empty]
";
    let expected = json!({"x": {"y": 1}, "a": {"k": 1, "b": {"c.d": {"e.f": {"g": 2}}}}, "empty": {}});
    assert_eq!(said(text), expected);
    assert_eq!(said(&text.replace('\n', "\r\n")), expected);
}

#[test]
fn words_become_numbers_only_where_they_are_written_so() {
    for (text, expected) in [
        ("5", json!(5)),
        ("-5", json!(-5)),
        ("0.5", json!(0.5)),
        ("true", json!(true)),
        ("false", json!(false)),
        ("null", json!(null)),
        ("", json!(null)),
        ("\"\"", json!("")),
        ("\"5\"", json!("5")),
        ("'null'", json!("null")),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
    for text in
        ["05", "0x0a0b", "1e3", "+5", "5.0", "yes", "True", "~", "inf", "NaN", "1_000", "10:30", "10.0.0.1"]
    {
        assert_eq!(value(text), json!(text));
    }
}

#[test]
fn commas_make_lists_and_quotes_make_text() {
    for (text, expected) in [
        ("a, b,c", json!(["a", "b", "c"])),
        ("a,", json!(["a"])),
        ("\"a, b\", 'it''s', c d", json!(["a, b", "it's", "c d"])),
        ("\"a, b\"", json!("a, b")),
        ("O'Neil, \"say \\\"hi\\\"\"", json!(["O'Neil", "say \"hi\""])),
        (
            "10.1.0.0/16 10.0.0.1, 10.2.0.0/16 10.0.0.1",
            json!(["10.1.0.0/16 10.0.0.1", "10.2.0.0/16 10.0.0.1"]),
        ),
        ("1, null", json!([1, null])),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
}

#[test]
fn comments_stand_behind_a_space_and_outside_of_quotes() {
    for (text, expected) in [
        ("a # b", json!("a")),
        ("a\t; b", json!("a")),
        ("a#b;c", json!("a#b;c")),
        ("\"a # b\" ; c", json!("a # b")),
        ("a, b # , c", json!(["a", "b"])),
        ("a, # b", json!(["a"])),
        ("[a, \"# b\"] # c", json!(["a", "# b"])),
        ("# nothing", json!(null)),
        ("http://x/#y", json!("http://x/#y")),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
}

#[test]
fn brackets_hold_whatever_yaml_can_say() {
    let text = "\
[classes.phones]
match.any = [
\t{vendor-class: [\"a]\", 'b}', O'Neil]},   ; a comment with a bracket ]
# another one }
\t{not: {hostname: \"*-pc\"}}
]
next = {}
";
    let phones = json!({
        "match": {"any": [{"vendor-class": ["a]", "b}", "O'Neil"]}, {"not": {"hostname": "*-pc"}}]},
        "next": {}
    });
    assert_eq!(said(text), json!({"classes": {"phones": phones}}));
    assert_eq!(place(text, "classes.phones.match.any[1].not.hostname"), (5, 19));
    assert_eq!(place(text, "classes.phones.match.any[0].vendor-class[1]"), (3, 24));
    assert_eq!(place(text, "classes.phones.next"), (7, 8));
}

#[test]
fn every_key_is_found() {
    let text = "[tcp]\nport = 1\naddress = ä, b # c\n[a.b]\nk =\nm = {x: 1}\n";
    assert_eq!(place(text, "tcp"), (1, 1));
    assert_eq!(place(text, "tcp.port"), (2, 8));
    assert_eq!(place(text, "tcp.address"), (3, 11));
    assert_eq!(place(text, "tcp.address[1]"), (3, 14));
    assert_eq!(place(text, "a"), (4, 1));
    assert_eq!(place(text, "a.b.k"), (5, 1));
    assert_eq!(place(text, "a.b.m.x"), (6, 9));
    assert_eq!(place(text, "tcp.missing"), (1, 1));
}

#[test]
fn nothing_is_said_twice() {
    for (text, line, key) in [
        ("[a]\nx = 1\nx = 2\n", 3, "a.x"),
        ("[a]\nx = 1\n[b]\n[a]\n", 4, "a"),
        ("[a.b]\nx = 1\n[a]\nb = 2\n", 4, "a.b"),
        ("[a]\nb = {}\n[a.b]\n", 3, "a.b"),
        ("[a]\nb = {c: 1}\n[a.b.c]\n", 3, "a.b"),
        ("a.b = 1\na.b.c = 2\n", 2, "a.b"),
    ] {
        let (at, column, reason) = refusal(text);
        assert_eq!((at, column), (line, 1), "{text}");
        assert!(reason.starts_with(&format!("{key} has been given in line ")), "{reason}\n{text}");
    }
    assert_eq!(said("[a.b]\nx = 1\n[a]\ny = 2\n[a.c]\n"), json!({"a": {"b": {"x": 1}, "y": 2, "c": {}}}));
    assert!(refusal("[a]\nb = {c: 1, c: 2}\n").2.contains("stands twice"));
}

#[test]
fn mistakes_have_their_place() {
    for (text, expected) in [
        ("[tcp]\nport 5\n", (2, 1, "there is no = in this line")),
        ("[tcp\nport = 5\n", (1, 1, "there is no ] in this line")),
        ("[tcp] port = 5\n", (1, 7, "text follows the section's name")),
        ("[]\n", (1, 1, "there is no name before the ]")),
        ("[a..b]\n", (1, 1, "there is no name before the .")),
        ("x = 1\n = 5\n", (2, 2, "there is no name before the =")),
        ("x = a,, b\n", (1, 7, "there is nothing before the comma")),
        ("x = a, \"b\n", (1, 8, "the quote is not closed")),
        ("x = \"a\" b\n", (1, 9, "text follows the closing quote")),
        ("\"x = 5\n", (1, 1, "a quote is not closed")),
        ("\"x\" y = 5\n", (1, 1, "text follows the closing quote of a name")),
        ("x = [a,\nb\n[tcp]\n", (1, 5, "the [ that begins here is not closed")),
        ("x = {a: 1} b\n", (1, 12, "text follows the closing bracket")),
        ("# nothing\n", (0, 0, "the file is empty")),
    ] {
        let (line, column, reason) = refusal(text);
        assert_eq!((line, column, reason.as_str()), expected, "{text}");
    }
    let (line, column, _) = refusal("x = \"\\q\"\n");
    assert_eq!((line, column > 4), (1, true), "a wrong escape is in the line");
    assert_eq!(refusal("x = [a,\n {b]\n}\n").0, 2, "a wrong bracket is in its line");
}

#[test]
fn daemon_section_is_found_in_a_broken_file() {
    let text = "broken\n[tcp\n[daemon]\nuser = me # x\n[daemons]\noops\n";
    let (dict, index) = parse_daemon_section(text).unwrap();
    assert_eq!(tree::to_json(&Value::from(dict)), json!({"daemon": {"user": "me"}}));
    assert_eq!(index.nearest("daemon.user").map(|mark| mark.line), Some(4));
    assert!(parse_daemon_section("x\n").unwrap().0.is_empty());
    assert!(parse_daemon_section("[daemon]\noops\n").is_err());
}

mod any_text {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn never_panics_and_points_into_the_text(text in "([\\[\\]{}=.,:;#'\"\\\\ \t\r\nabä5]|k = |\\[a\\.b\\]\n|\n){0,40}") {
            if let Err(SyntaxError { at: Some(mark), .. }) = parse(&text) {
                prop_assert!(mark.line <= text.lines().count() + 1, "{mark:?}");
            }
            let _ = parse_daemon_section(&text);
        }
    }
}
