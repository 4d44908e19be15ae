//! Classes: how they are read, and what is printed about wrong ones.

use super::*;
use crate::config::model::{Class, Condition, Field};

/// The classes of a file with these lines below `classes:`.
#[track_caller]
fn classes_of(lines: &str) -> Vec<Class> {
    load(&with(lines)).unwrap_or_else(|report| panic!("{report}")).config.dhcp.classes
}

fn with(lines: &str) -> String {
    format!(
        "dhcp:\n  interfaces: [lo]\n  lease_time: 2h\n  classes:\n{lines}\n  subnets: {{a: {{network: 10.0.0.0/24}}}}\n"
    )
}

/// A condition as JSON, which is short to write.
fn condition_of(text: &str) -> String {
    let classes = classes_of(&format!("    x: {{match: {text}}}"));
    serde_json::to_string(&classes[0].condition).unwrap()
}

#[test]
fn class_has_the_keys_of_the_design() {
    let classes = classes_of(
        "    uefi:
      order: 10
      match: {vendor-class: 'PXEClient:Arch:00007*'}
      lease_time: 10m
      next_server: 10.0.0.4
      server_name: boot
      boot_file: ipxe.efi
      options: {tftp-server-name: 10.0.0.4}
    bad: {match: {mac: '66:66:*'}, drop: true}",
    );
    assert_eq!([classes[0].name.as_str(), classes[1].name.as_str()], ["bad", "uefi"]);
    let [bad, uefi] = &classes[..] else { panic!() };
    assert_eq!((bad.order, bad.drop, bad.lease_time, bad.boot.next_server), (0, true, None, None));
    assert_eq!((uefi.order, uefi.drop), (10, false));
    let pattern = "PXEClient:Arch:00007*".parse().unwrap();
    assert_eq!(uefi.condition, Condition::Field(Field::VendorClass, vec![pattern]));
    let times = uefi.lease_time.unwrap();
    assert_eq!((times.default.as_secs(), times.min.as_secs(), times.max.as_secs()), (600, 300, 86_400));
    assert_eq!(uefi.boot.next_server, Some([10, 0, 0, 4].into()));
    assert_eq!(
        (uefi.boot.server_name.as_deref(), uefi.boot.boot_file.as_deref()),
        (Some("boot"), Some("ipxe.efi"))
    );
    assert_eq!(uefi.options["tftp-server-name"], "10.0.0.4");
}

#[test]
fn classes_apply_by_order_and_then_by_name() {
    let classes = classes_of(
        "    c: {match: {all: []}, order: 1}
    b: {match: {all: []}, order: 1}
    z: {match: {all: []}, order: -5}
    a: {match: {all: []}, order: 2}",
    );
    let names: Vec<&str> = classes.iter().map(|class| class.name.as_str()).collect();
    assert_eq!(names, ["z", "b", "c", "a"]);
}

#[test]
fn every_key_of_a_match_is_required_and_each_takes_one_pattern_or_several() {
    assert_eq!(condition_of("{hostname: 'a*'}"), r#"{"field":["hostname",["a*"]]}"#);
    assert_eq!(
        condition_of("{user-class: iPXE, architecture: [7, 9], mac: '00-11-*', client-id: '01:00:11:*'}"),
        r#"{"all":[{"field":["mac",["00:11:*"]]},{"field":["user-class",["iPXE"]]},{"field":["client-id",["0x01:00:11:*"]]},{"field":["architecture",["7","9"]]}]}"#
    );
    assert_eq!(
        condition_of("{circuit-id: 'eth 0/1,2', remote-id: '0x0102*', relay: 10.0.*, interface: 'eth*'}"),
        r#"{"all":[{"field":["circuit-id",["eth 0/1,2"]]},{"field":["remote-id",["0x0102*"]]},{"field":["relay",["10.0.*"]]},{"field":["interface",["eth*"]]}]}"#
    );
    assert_eq!(
        condition_of("{option: {60: 'x*', '82': ['0x01*', '0x02*']}}"),
        r#"{"all":[{"field":[{"option":60},["x*"]]},{"field":[{"option":82},["0x01*","0x02*"]]}]}"#
    );
}

#[test]
fn conditions_nest() {
    assert_eq!(condition_of("{all: []}"), r#"{"all":[]}"#);
    assert_eq!(
        condition_of("{vendor-class: 'PXE*', not: {user-class: iPXE}}"),
        r#"{"all":[{"field":["vendor-class",["PXE*"]]},{"not":{"field":["user-class",["iPXE"]]}}]}"#
    );
    assert_eq!(
        condition_of("{any: [{mac: '00:*'}, {all: [{hostname: a}, {not: {any: [{hostname: b}]}}]}]}"),
        r#"{"any":[{"field":["mac",["00:*"]]},{"all":[{"field":["hostname",["a"]]},{"not":{"any":[{"field":["hostname",["b"]]}]}}]}]}"#
    );
    assert_eq!(condition_of("{any: {hostname: a}}"), condition_of("{any: [{hostname: a}]}"));
}

#[test]
fn class_without_a_condition_would_hold_for_everybody() {
    let text = with("    a: {boot_file: x}\n    b: {match: {}}\n    c: {match: null}\n    d:");
    let expected = "
c.yaml:5: dhcp.classes.a.match: this must be given: the class would hold for everybody
    5 |     a: {boot_file: x}
  hint: write `match: {all: []}` if everybody is meant
c.yaml:6: dhcp.classes.b.match: there is no condition: the class would hold for everybody
    6 |     b: {match: {}}
  hint: write `match: {all: []}` if everybody is meant
c.yaml:7: dhcp.classes.c.match: there is no condition: the class would hold for everybody
    7 |     c: {match: null}
  hint: write `match: {all: []}` if everybody is meant
c.yaml:8: dhcp.classes.d.match: this must be given: the class would hold for everybody
    8 |     d:
  hint: write `match: {all: []}` if everybody is meant
";
    refused(&text, expected);
}

#[test]
fn wrong_conditions_are_refused() {
    let cases = [
        ("{vendor_class: x}", "match.vendor_class: unknown key", "did you mean vendor-class?"),
        (
            "{mac: 'zz:*'}",
            "match.mac: \"zz:*\" fits no hardware address",
            "an address is written 00:11:22:33:44:55, in hex digits; a pattern may be 00:11:22:*",
        ),
        (
            "{hostname: []}",
            "match.hostname: there is no pattern, so nothing fits",
            "write \"*\" for any value",
        ),
        ("{hostname: ''}", "match.hostname: the pattern is empty", ""),
        (
            "{circuit-id: 0x0102}",
            "match.circuit-id: 258 is not text",
            "write it in quotes: unquoted, 0x102 and 258 are numbers to YAML",
        ),
        (
            "{circuit-id: '0x010'}",
            "match.circuit-id: \"0x010\" is not a pattern of hex digits in pairs, such as 0x0102*",
            "",
        ),
        ("{relay: 10.0.0.0/24}", "match.relay: \"10.0.0.0/24\" fits no address of a relay", "write 10.0.0.*"),
        (
            "{architecture: [7, efi]}",
            "match.architecture[1]: \"efi\" fits no architecture",
            "it is a number of RFC 4578: 0 is a PC with BIOS, 7 and 9 are 64-bit UEFI",
        ),
        (
            "{option: {vendor-class-identifier: x}}",
            "match.option.vendor-class-identifier: \"vendor-class-identifier\" is not the number of an option",
            "options are named by their numbers here, 1 to 254",
        ),
        (
            "{option: {255: x}}",
            "match.option.255: \"255\" is not the number of an option",
            "options are named by their numbers here, 1 to 254",
        ),
        (
            "{option: {60: null}}",
            "match.option.60: there is no pattern, so nothing fits",
            "write \"*\" for any value",
        ),
        ("{any: []}", "match.any: one of no conditions never holds", "list at least one condition"),
        (
            "{all: [{hostname: a}, {}]}",
            "match.all[1]: there is no condition",
            "remove it, or name what must fit",
        ),
        ("{all: [{hostnam: a}]}", "match.all[0].hostnam: unknown key", "did you mean hostname?"),
        (
            "{any: [a]}",
            "match.any[0]: \"a\" is not a section",
            "write its keys on lines of their own, indented",
        ),
        ("{not: {}}", "match.not: there is no condition", "remove it, or name what must fit"),
        ("[]", "match: a list is not a section", "write its keys on lines of their own, indented"),
    ];
    for (condition, reason, hint) in cases {
        let hint = if hint.is_empty() { String::new() } else { format!("\n  hint: {hint}") };
        let expected =
            format!("c.yaml:5: dhcp.classes.x.{reason}\n    5 |     x: {{match: {condition}}}{hint}");
        refused(&with(&format!("    x: {{match: {condition}}}")), &expected);
    }
}

#[test]
fn wrong_values_of_a_class_are_refused() {
    let text = with(
        "    a b: {match: {mac: '*'}}
    c: {match: {mac: '*'}, order: first, drop: maybe, lease_time: {min: 3h}, next_server: x, boot_fil: y}",
    );
    let printed = refusal_of(&text);
    for expected in [
        "c.yaml:5: dhcp.classes.a b: \"a b\" cannot be a name",
        "c.yaml:6: dhcp.classes.c.order: \"first\" is not a whole number",
        "c.yaml:6: dhcp.classes.c.drop: \"maybe\" is not true or false",
        "c.yaml:6: dhcp.classes.c.lease_time: min (3h) is longer than default (2h)",
        "c.yaml:6: dhcp.classes.c.next_server: \"x\" is not an IPv4 address",
        "c.yaml:6: dhcp.classes.c.boot_fil: unknown key",
    ] {
        assert!(printed.contains(expected), "missing: {expected}\n{printed}");
    }
    assert_eq!(printed.matches("c.yaml:").count(), 6, "one cause, one problem:\n{printed}");
}

#[test]
fn pools_name_classes_that_exist() {
    let text = |classes: &str| {
        format!(
            "dhcp:
  interfaces: [lo]
  classes:
    uefi: {{match: {{mac: '*'}}}}
    'b c': {{match: {{mac: '*'}}}}
  subnets:
    lan: {{network: 10.0.0.0/24, pools: {{p: {{range: 10.0.0.5, classes: {classes}}}}}}}
"
        )
    };
    let wrong_name = "c.yaml:5: dhcp.classes.b c: \"b c\" cannot be a name
    5 |     'b c': {match: {mac: '*'}}
  hint: names are made of letters, digits, - and _, at most 63 of them";
    let line = |classes: &str| {
        format!(
            "    7 |     lan: {{network: 10.0.0.0/24, pools: {{p: {{range: 10.0.0.5, classes: {classes}}}}}}}"
        )
    };
    let key = "c.yaml:7: dhcp.subnets.lan.pools.p.classes";
    refused(&text("[uefi, b c]"), wrong_name);
    refused(
        &text("ufi"),
        &format!(
            "{wrong_name}\n{key}[0]: there is no class \"ufi\"\n{}\n  hint: did you mean uefi?",
            line("ufi")
        ),
    );
    let expected = format!(
        "{wrong_name}\n{key}[1]: there is no class \"guests\"\n{}\n  hint: describe it under dhcp.classes",
        line("[uefi, guests]")
    );
    refused(&text("[uefi, guests]"), &expected);
    let loaded = load(&text("uefi").replace("    'b c': {match: {mac: '*'}}\n", "")).unwrap();
    assert_eq!(loaded.config.dhcp.subnets[0].pools[0].classes, ["uefi"]);
    assert_eq!(loaded.warnings, [], "that every pool has its classes is no mistake");
}

#[test]
fn single_values_of_a_class_can_be_set() {
    let text = with("    x: {match: {hostname: a}, lease_time: 1h}");
    let set = [
        "dhcp.classes.x.lease_time.max=90m",
        "dhcp.classes.x.match.option.60='b*'",
        "dhcp.classes.x.order=-1",
    ];
    let class = load_with(&text, &set).unwrap().config.dhcp.classes.remove(0);
    assert_eq!((class.order, class.lease_time.unwrap().max.as_secs()), (-1, 5_400));
    assert!(matches!(class.condition, Condition::All(both) if both.len() == 2));
}
