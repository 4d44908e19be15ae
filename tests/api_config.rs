//! `/v1/config` as a client sees it: read, changed, checked before it is applied; and the description of the API.

mod common;

use serde_json::{Value, json};

use common::raw::{control, control_raw, request, send};
use common::{Daemon, ECHO};

const PATCH: &str = "application/merge-patch+json";

#[test]
fn the_configuration_is_read_with_its_tag_and_its_origins() {
    let daemon = Daemon::start(ECHO);
    let config = control(&daemon, "GET", "/v1/config");
    assert_eq!((config.status, &config.json()["tcp"]["address"]), (200, &json!(["127.0.0.1"])));
    assert_eq!(config.fields["cache-control"], "no-store");
    let tag = config.fields["etag"].clone();
    assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
    for (sent, status) in [(tag.as_str(), 304), ("*", 304), ("\"other\"", 200), ("other", 400)] {
        let again = control_raw(
            &daemon,
            request("GET", "/v1/config", &format!("If-None-Match: {sent}\r\n")).as_bytes(),
        );
        assert_eq!(again.status, status, "{sent}");
    }
    let origins = control(&daemon, "GET", "/v1/config/origins").json();
    assert_eq!(origins["tcp.port"]["source"], "file");
    assert_eq!(origins["tcp.port"]["line"], 4, "{origins}");
    assert_eq!(control(&daemon, "GET", "/v1/config/overlay").json(), json!({}));
    let schema = control(&daemon, "GET", "/v1/config/schema");
    let printed: Value = serde_json::from_str(&daemon.run_ok(&["config", "schema"])).unwrap();
    assert_eq!((schema.status, schema.json()), (200, printed));
}

#[test]
fn a_patch_is_applied_kept_and_taken_back() {
    let daemon = Daemon::start(ECHO);
    let tag = control(&daemon, "GET", "/v1/config").fields["etag"].clone();
    let patched = send(
        &daemon,
        "PATCH",
        "/v1/config",
        PATCH,
        &format!("If-Match: {tag}\r\n"),
        r#"{"tcp": {"max_clients": 77}}"#,
    );
    assert_eq!((patched.status, &patched.json()["applied"]), (200, &Value::Bool(true)), "{patched:?}");
    let config = control(&daemon, "GET", "/v1/config");
    assert_eq!(config.json()["tcp"]["max_clients"], 77);
    assert_ne!(config.fields["etag"], tag);
    assert_eq!(control(&daemon, "GET", "/v1/config/overlay").json(), json!({"tcp": {"max_clients": 77}}));
    assert_eq!(control(&daemon, "GET", "/v1/config/origins").json()["tcp.max_clients"]["source"], "api");
    let stale = format!("If-Match: {tag}\r\n");
    send(&daemon, "PATCH", "/v1/config", PATCH, &stale, r#"{"tcp": {"max_clients": 78}}"#).is_problem(412);
    let weak = format!("If-Match: W/{}\r\n", config.fields["etag"]);
    send(&daemon, "PATCH", "/v1/config", PATCH, &weak, "{}").is_problem(412);
    let back =
        send(&daemon, "PATCH", "/v1/config", PATCH, "If-Match: *\r\n", r#"{"tcp": {"max_clients": null}}"#);
    assert_eq!(back.status, 200, "{back:?}");
    assert_eq!(control(&daemon, "GET", "/v1/config").fields["etag"], tag);
}

#[test]
fn a_patch_that_does_not_check_out_changes_nothing() {
    let daemon = Daemon::start(ECHO);
    let tag = control(&daemon, "GET", "/v1/config").fields["etag"].clone();
    let refused =
        send(&daemon, "PATCH", "/v1/config", PATCH, "", r#"{"tcp": {"max_clients": -1, "prot": 1}}"#);
    let problem = refused.is_problem(422);
    assert_eq!(problem["type"], "/problems/configuration-refused");
    let errors = problem["errors"].as_array().unwrap();
    assert!(errors.iter().any(|error| error["detail"].as_str().unwrap().contains("tcp.prot")), "{problem}");
    for forbidden in [r#"{"daemon": {"user": "root"}}"#, r#"{"api": {"token_file": "/etc/shadow"}}"#] {
        send(&daemon, "PATCH", "/v1/config", PATCH, "", forbidden).is_problem(422);
    }
    for body in ["", "[]", "null", "{", r#"{"tcp": {"port": 1, "port": 2}}"#] {
        send(&daemon, "PATCH", "/v1/config", PATCH, "", body).is_problem(400);
    }
    let wrong = send(&daemon, "PATCH", "/v1/config", "text/yaml", "", "{}");
    wrong.is_problem(415);
    assert!(wrong.fields["accept-patch"].contains(PATCH), "{wrong:?}");
    assert_eq!(control(&daemon, "GET", "/v1/config").fields["etag"], tag);
    assert_eq!(daemon.status()["generation"], 1);
}

#[test]
fn a_configuration_is_checked_without_being_applied() {
    let daemon = Daemon::start(ECHO);
    let check = |media_type: &str, body: &str| {
        let answer = send(&daemon, "POST", "/v1/config/check", media_type, "", body);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    for (media_type, good, bad) in [
        (
            "application/yaml",
            "tcp:\n  port: 9000\ndhcp: {enabled: false}\n",
            "tcp:\n  prot: 9000\ndhcp: {enabled: false}\n",
        ),
        (
            "application/json",
            "{\"tcp\":\n {\"port\": 9000}, \"dhcp\": {\"enabled\": false}}",
            "{\"tcp\":\n {\"prot\": 9000}, \"dhcp\": {\"enabled\": false}}",
        ),
        (
            "text/plain; charset=utf-8",
            "[tcp]\nport = 9000\n[dhcp]\nenabled = false\n",
            "[tcp]\nprot = 9000\n[dhcp]\nenabled = false\n",
        ),
    ] {
        let verdict = check(media_type, good);
        assert_eq!(verdict["valid"], true, "{verdict}");
        let verdict = check(media_type, bad);
        assert_eq!(verdict["valid"], false);
        let problem = &verdict["problems"][0];
        assert_eq!((&problem["key"], &problem["line"]), (&json!("tcp.prot"), &json!(2)), "{verdict}");
        assert_eq!(problem["severity"], "error");
        assert!(problem["hint"].as_str().unwrap().contains("port"), "{verdict}");
    }
    let broken = check("application/yaml", "a: [\n");
    assert_eq!(broken["valid"], false);
    send(&daemon, "POST", "/v1/config/check", "application/json", "", "{").is_problem(400);
    send(&daemon, "POST", "/v1/config/check", "application/toml", "", "").is_problem(415);
    assert_eq!(daemon.status()["generation"], 1);
}

#[test]
fn the_description_tells_every_path_and_nothing_else() {
    let daemon = Daemon::start(ECHO);
    let described = control(&daemon, "GET", "/v1/openapi.json").json();
    assert_eq!(described["openapi"], "3.1.0");
    let paths = described["paths"].as_object().unwrap();
    for path in ["/v1/status", "/v1/config", "/v1/config/check", "/v1/reload", "/v1/openapi.json", "/metrics"]
    {
        assert!(paths.contains_key(path), "{path}");
    }
    for (path, operations) in paths {
        let allow = control(&daemon, "OPTIONS", path).fields["allow"].clone();
        let said: Vec<&str> =
            allow.split(", ").filter(|method| !matches!(*method, "HEAD" | "OPTIONS")).collect();
        let mut methods: Vec<String> =
            operations.as_object().unwrap().keys().map(|method| method.to_ascii_uppercase()).collect();
        methods.sort_unstable();
        assert_eq!(said, methods, "{path}");
        for (method, operation) in operations.as_object().unwrap() {
            assert!(operation["responses"].as_object().unwrap().contains_key("400"), "{method} {path}");
        }
    }
    // Each reference leads somewhere.
    let text = described.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(described.pointer(reference).is_some(), "{reference}");
    }
}
