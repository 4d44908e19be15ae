//! Option values: what the configuration says → bytes, and what it must not say.

use serde_json::{Value, json};

use crate::protocol::options::{OptionValue, Setting, table};

fn bytes(name: &str, value: Value) -> Vec<u8> {
    OptionValue::from_config(name, &value).unwrap_or_else(|error| panic!("{name}: {error}")).bytes
}

fn refusal(name: &str, value: Value) -> (String, String) {
    let error = OptionValue::from_config(name, &value).unwrap_err();
    (error.reason, error.hint.unwrap_or_default())
}

#[test]
fn each_type_has_its_bytes() {
    for (name, value, expected) in [
        ("subnet-mask", json!("255.255.255.0"), &[255, 255, 255, 0][..]),
        ("routers", json!("10.0.0.1"), &[10, 0, 0, 1]),
        ("domain-name-servers", json!(["10.0.0.2", "10.0.0.3"]), &[10, 0, 0, 2, 10, 0, 0, 3]),
        ("domain-name-servers", json!("10.0.0.2, 10.0.0.3"), &[10, 0, 0, 2, 10, 0, 0, 3]),
        ("path-mtu-plateau-table", json!("68,1500"), &[0, 68, 5, 220]),
        ("domain-search", json!("a.org, b.org"), b"\x01a\x03org\0\x01b\xc0\x02"),
        ("sip-servers", json!("10.0.0.1,10.0.0.2"), &[1, 10, 0, 0, 1, 10, 0, 0, 2]),
        ("ip-forwarding", json!("false"), &[0]),
        ("mobile-ip-home-agent", json!([]), &[]),
        ("static-routes", json!(["10.1.0.0 10.0.0.1"]), &[10, 1, 0, 0, 10, 0, 0, 1]),
        ("domain-name", json!("example.org"), b"example.org"),
        ("tftp-server-name", json!(7), b"7"),
        ("domain-search", json!(["a.org", "b.a.org"]), b"\x01a\x03org\0\x01b\xc0\0"),
        ("v4-lost", json!("lost.org"), b"\x04lost\x03org\0"),
        ("sip-servers", json!("10.0.0.1"), &[1, 10, 0, 0, 1]),
        ("sip-servers", json!(["s.org"]), b"\0\x01s\x03org\0"),
        ("v4-sztp-redirect", json!(["https://b"]), b"\0\x09https://b"),
        ("ip-forwarding", json!(true), &[1]),
        ("default-ip-ttl", json!(64), &[64]),
        ("interface-mtu", json!(1500), &[5, 220]),
        ("time-offset", json!(-3600), &[255, 255, 241, 240]),
        ("path-mtu-plateau-table", json!([68, 1500]), &[0, 68, 5, 220]),
        ("arp-cache-timeout", json!("1m"), &[0, 0, 0, 60]),
        ("v6-only-preferred", json!(1800), &[0, 0, 7, 8]),
        ("vendor-encapsulated-options", json!("01:04:0a000001"), &[1, 4, 10, 0, 0, 1]),
        ("v4-captive-portal", json!("https://x"), b"https://x"),
        ("option-3", json!(["10.0.0.1"]), &[10, 0, 0, 1]),
    ] {
        assert_eq!(bytes(name, value), expected, "{name}");
    }
}

#[test]
fn routes_carry_as_much_of_the_prefix_as_it_covers() {
    let routes = json!([
        "10.1.0.0/16 10.0.0.1",
        "0.0.0.0/0 10.0.0.2",
        "10.2.3.4/32 10.0.0.3",
        "10.128.0.0/9 10.0.0.4"
    ]);
    assert_eq!(
        bytes("classless-static-routes", routes),
        [16, 10, 1, 10, 0, 0, 1, 0, 10, 0, 0, 2, 32, 10, 2, 3, 4, 10, 0, 0, 3, 9, 10, 128, 10, 0, 0, 4]
    );
}

#[test]
fn any_code_can_be_given_with_its_format() {
    for (value, expected) in [
        (json!({"hex": "0a0b"}), &[10, 11][..]),
        (json!({"hex": "0x0A:0b"}), &[10, 11]),
        (json!({"text": "ab"}), b"ab"),
        (json!({"ip": ["10.0.0.1", "10.0.0.2"]}), &[10, 0, 0, 1, 10, 0, 0, 2]),
        (json!({"u8": [1, 2]}), &[1, 2]),
        (json!({"u16": 258}), &[1, 2]),
        (json!({"u32": [1]}), &[0, 0, 0, 1]),
    ] {
        assert_eq!(bytes("option-224", value.clone()), expected);
        assert_eq!(bytes("routers", value), expected);
    }
}

#[test]
fn what_does_not_fit_is_refused_with_the_value_in_the_reason() {
    for (name, value, part) in [
        ("routers", json!("10.0.0.256"), "\"10.0.0.256\" is not an address"),
        ("routers", json!([]), "empty"),
        ("subnet-mask", json!(["255.0.0.0", "255.0.0.0"]), "is a list"),
        ("default-ip-ttl", json!(256), "256 is not a number from 0 to 255"),
        ("default-ip-ttl", json!(-1), "not a number"),
        ("ip-forwarding", json!("maybe"), "not true or false"),
        ("domain-name", json!(""), "not a text"),
        ("domain-name", json!("a\0b"), "not a text"),
        ("domain-search", json!(["a..b"]), "not a domain name"),
        ("classless-static-routes", json!(["10.1.0.1/16 10.0.0.1"]), "not a route"),
        ("classless-static-routes", json!(["10.1.0.0/16"]), "not a route"),
        ("arp-cache-timeout", json!("1w"), "not a duration"),
        ("arp-cache-timeout", json!("200000d"), "not a duration"),
        ("vendor-encapsulated-options", json!("abc"), "not hex digits"),
        ("option-224", json!("abc"), "no known type"),
        ("option-224", json!({"hex": "0a", "text": "x"}), "exactly one key"),
        ("option-224", json!({"float": 1}), "not a format"),
        ("option-0", json!({"hex": "0a"}), "padding"),
        ("option-255", json!({"hex": "0a"}), "padding"),
        ("option-256", json!({"hex": "0a"}), "not an option"),
        ("dhcp-lease-time", json!(60), "belongs to the server"),
        ("option-53", json!({"u8": 1}), "belongs to the server"),
        ("option-82", json!({"hex": "01"}), "belongs to the server"),
    ] {
        let (reason, _) = refusal(name, value);
        assert!(reason.contains(part), "{name}: {reason}");
    }
}

#[test]
fn a_misspelt_name_gets_the_nearest_as_a_hint() {
    assert_eq!(refusal("router", json!("10.0.0.1")).1, "did you mean \"routers\"?");
    assert!(refusal("zzz", json!(1)).1.contains("option-224"));
}

#[test]
fn every_option_that_may_be_configured_takes_raw_bytes() {
    for row in table::table() {
        let given = OptionValue::from_config(row.name, &json!({"hex": "00"}));
        assert_eq!(given.is_err(), matches!(row.kind, table::Kind::Owned(_)), "{}", row.name);
    }
}

#[test]
fn always_stands_beside_any_form_of_value() {
    for (value, expected, always) in [
        (json!("10.0.0.1"), &[10, 0, 0, 1][..], false),
        (json!({"value": "10.0.0.1", "always": true}), &[10, 0, 0, 1], true),
        (json!({"value": ["10.0.0.1"], "always": "true"}), &[10, 0, 0, 1], true),
        (json!({"value": {"hex": "01"}, "always": true}), &[1], true),
        (json!({"value": "10.0.0.1", "always": false}), &[10, 0, 0, 1], false),
        (json!({"value": "10.0.0.1"}), &[10, 0, 0, 1], false),
        (json!({"hex": "0a", "always": true}), &[10], true),
        (json!({"text": "a", "always": true}), b"a", true),
        (json!({"ip": "10.0.0.1", "always": true}), &[10, 0, 0, 1], true),
        (json!({"u16": 1, "always": true}), &[0, 1], true),
    ] {
        let option = OptionValue::from_config("routers", &value).unwrap();
        assert_eq!((option.bytes.as_slice(), option.always), (expected, always), "{value}");
    }
    for (value, part) in [
        (json!({"value": "10.0.0.1", "always": 1}), "`always` is 1, not true or false"),
        (json!({"always": true}), "the value is missing"),
        (json!({"value": "10.0.0.1", "hex": "01"}), "beside another format"),
        (json!({"hex": "01", "text": "x", "always": true}), "exactly one key"),
        (json!({"value": "x", "always": true}), "not an address"),
    ] {
        let (reason, _) = refusal("routers", value);
        assert!(reason.contains(part), "{reason}");
    }
}

#[test]
fn null_unsets_an_option_but_none_that_belongs_to_the_server() {
    let unset = |name| Setting::from_config(name, &Value::Null);
    assert_eq!(unset("routers"), Ok(Setting::Unset(3)));
    assert_eq!(unset("option-224"), Ok(Setting::Unset(224)));
    assert!(unset("dhcp-lease-time").unwrap_err().reason.contains("belongs to the server"));
    assert!(unset("nonsense").is_err());
    assert!(OptionValue::from_config("routers", &Value::Null).is_err());
}

#[test]
fn sub_options_are_written_by_their_code() {
    for (name, value, expected) in [
        (
            "vendor-encapsulated-options",
            json!({"10": {"text": "ab"}, "1": {"ip": "10.0.0.4"}, "6": {"hex": "02"}}),
            &[1, 4, 10, 0, 0, 4, 6, 1, 2, 10, 2, b'a', b'b'][..],
        ),
        ("option-43", json!({"6": {"u8": [1, 2]}, "always": true}), &[6, 2, 1, 2]),
        ("option-224", json!({"1": {"u16": 1}}), &[1, 2, 0, 1]),
        ("vendor-encapsulated-options", json!({"text": "raw"}), b"raw"),
        (
            "vivso-suboptions",
            json!({"4491": {"2": {"text": "x"}, "1": {"hex": "07"}}, "9": {"hex": "0102"}}),
            &[0, 0, 0, 9, 2, 1, 2, 0, 0, 0x11, 0x8b, 6, 1, 1, 7, 2, 1, b'x'],
        ),
        ("vivco-suboptions", json!({"4491": {"text": "ab"}}), &[0, 0, 0x11, 0x8b, 2, b'a', b'b']),
        ("vivco-suboptions", json!("0000118b026162"), &[0, 0, 0x11, 0x8b, 2, b'a', b'b']),
    ] {
        assert_eq!(bytes(name, value), expected, "{name}");
    }
}

#[test]
fn faults_of_sub_options_are_named_with_their_code() {
    let long = "x".repeat(254);
    for (name, value, part) in [
        ("vendor-encapsulated-options", json!({"0": {"hex": "01"}}), "\"0\" is not a sub-option's code"),
        ("vendor-encapsulated-options", json!({"1": {"hex": "01"}, "hex": "01"}), "\"hex\" is not"),
        (
            "vendor-encapsulated-options",
            json!({"1": {"hex": "01"}, "01": {"hex": "01"}}),
            "1 stands there twice",
        ),
        ("vendor-encapsulated-options", json!({"1": "10.0.0.1"}), "sub-option 1: the format is missing"),
        ("vendor-encapsulated-options", json!({"1": {"ip": "x"}}), "sub-option 1: \"x\" is not an address"),
        ("vendor-encapsulated-options", json!({"1": {"text": [long, long]}}), "sub-option 1 has 508 bytes"),
        ("vendor-encapsulated-options", json!({}), "exactly one key"),
        ("vivso-suboptions", json!({"4491": {"2": {"text": long}}}), "enterprise 4491 has 256 bytes"),
        (
            "vivso-suboptions",
            json!({"4491": {"2": {"u8": 256}}}),
            "enterprise 4491: sub-option 2: 256 is not",
        ),
        ("vivso-suboptions", json!({"4294967296": {"hex": "01"}}), "not an enterprise number"),
        ("vivco-suboptions", json!({"4491": "x"}), "enterprise 4491: the format is missing"),
        ("routers", json!({"1": {"ip": "10.0.0.1"}}), "\"1\" is not a format"),
    ] {
        let (reason, _) = refusal(name, value);
        assert!(reason.contains(part), "{name}: {reason}");
    }
}

#[test]
fn options_of_a_layout_of_their_own_are_written_so() {
    for (name, value, expected) in [
        ("slp-directory-agent", json!("true 10.0.0.1, 10.0.0.2"), &[1, 10, 0, 0, 1, 10, 0, 0, 2][..]),
        ("slp-directory-agent", json!([false, "10.0.0.1"]), &[0, 10, 0, 0, 1]),
        ("slp-service-scope", json!("true A,B"), b"\x01A,B"),
        ("slp-service-scope", json!(false), &[0]),
        (
            "v4-pcp-server",
            json!(["10.0.0.1 10.0.0.2", "10.0.0.3"]),
            &[8, 10, 0, 0, 1, 10, 0, 0, 2, 4, 10, 0, 0, 3],
        ),
        ("ms-classless-static-routes", json!("10.0.0.0/8 10.0.0.1"), &[8, 10, 10, 0, 0, 1]),
        ("wpad-url", json!("http://wpad/w.dat"), b"http://wpad/w.dat"),
    ] {
        assert_eq!(bytes(name, value), expected, "{name}");
    }
    for (name, value, part) in [
        ("slp-directory-agent", json!("10.0.0.1"), "is not \"true\" or"),
        ("slp-directory-agent", json!("true"), "is not \"true\" or"),
        ("slp-directory-agent", json!(["true", 7]), "is not \"true\" or"),
        ("slp-service-scope", json!("A,B"), "is not a scope"),
        ("v4-pcp-server", json!(""), "is not addresses"),
        ("v4-pcp-server", json!("10.0.0.1 x"), "is not addresses"),
    ] {
        let (reason, _) = refusal(name, value);
        assert!(reason.contains(part), "{name}: {reason}");
    }
}
