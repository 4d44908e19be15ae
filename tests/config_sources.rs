//! Every source of the configuration on the real binary: which one wins, what is said where, and what of it lasts.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use common::{BASE, BINARY, folder, is_root, text};

fn run(folder: &Path, args: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(BINARY).args(args).envs(environment.iter().copied()).current_dir(folder).output().unwrap()
}

/// What a `check` that must fail says.
#[track_caller]
fn refused(folder: &Path, file: &str, args: &[&str], environment: &[(&str, &str)]) -> String {
    let output = run(folder, &[&["check", "-c", file], args].concat(), environment);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    text(&output).trim_end().to_owned()
}

const BROKEN: [(&str, &str, &str); 3] = [
    (
        "c.yaml",
        "daemon: {state_dir: state}\ntcp:\n  port: 70000\ndhcp: {enabled: false}\n",
        "c.yaml:3: tcp.port: 70000 is not a port; it must be 0 to 65535\n    3 |   port: 70000",
    ),
    (
        "c.json",
        "{\"daemon\": {\"state_dir\": \"state\"},\n \"tcp\": {\n  \"port\": 70000},\n \"dhcp\": {\"enabled\": false}}\n",
        "c.json:3: tcp.port: 70000 is not a port; it must be 0 to 65535\n    3 |   \"port\": 70000},",
    ),
    (
        "c.ini",
        "[daemon]\nstate_dir = state\n[tcp]\nport = 70000\n[dhcp]\nenabled = false\n",
        "c.ini:4: tcp.port: 70000 is not a port; it must be 0 to 65535\n    4 | port = 70000",
    ),
];

#[test]
fn each_source_wins_over_those_before_it_and_is_named() {
    for (file, contents, of_file) in BROKEN {
        let folder = folder();
        let folder = folder.path();
        fs::write(folder.join(file), contents).unwrap();
        assert_eq!(refused(folder, file, &[], &[]), of_file);
        let environment = [("ECHO_DAEMON__TCP__PORT", "70001")];
        let of_variable = "$ECHO_DAEMON__TCP__PORT: tcp.port: 70001 is not a port; it must be 0 to 65535";
        assert_eq!(refused(folder, file, &[], &environment), of_variable);
        let set = ["--set", "tcp.port=70002"];
        let of_flag = "--set tcp.port=70002: tcp.port: 70002 is not a port; it must be 0 to 65535";
        assert_eq!(refused(folder, file, &set, &environment), of_flag);
        fs::create_dir(folder.join("state")).unwrap();
        let overlay = folder.join("state/overlay.json");
        fs::write(&overlay, "{\"tcp\": {\"port\": 70003}}").unwrap();
        let of_api = "runtime API: tcp.port: 70003 is not a port; it must be 0 to 65535";
        assert_eq!(refused(folder, file, &set, &environment), of_api);
        fs::write(&overlay, "{\"tcp\": {\"port\": 7003}}").unwrap();
        let good = run(folder, &["check", "-c", file], &environment);
        assert!(good.status.success(), "{}", text(&good));
        // A mistake that another source hides is none.
        let warned = run(folder, &["check", "-c", file], &[]);
        let place = of_file.split(": ").next().unwrap();
        let expected = format!("which hides 70000 in {place}");
        assert!(warned.status.success() && text(&warned).contains(&expected), "{}", text(&warned));
    }
}

#[test]
fn mistakes_of_syntax_have_line_and_column() {
    let folder = folder();
    for (file, contents, line, column) in [
        ("c.yaml", "tcp:\n  port: 1\n  port: 2\n", 3, 3),
        ("c.json", "{\n  \"tcp\": {\"port\": 1, \"port\": 2}\n}\n", 2, 22),
        ("c.json", "{\n  \"tcp\": {\"port\": ,}\n}\n", 2, 19),
        ("c.ini", "[tcp]\nport = 1\n  port = 2\n", 3, 3),
        ("c.ini", "[tcp]\nport = \"1\n", 2, 8),
    ] {
        fs::write(folder.path().join(file), contents).unwrap();
        let output = run(folder.path(), &["check", "--json", "-c", file], &[]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let problem = &report["problems"][0];
        assert_eq!((&problem["line"], &problem["column"]), (&line.into(), &column.into()), "{report:#}");
        assert_eq!(problem["text"], contents.lines().nth(line - 1).unwrap(), "{report:#}");
    }
}

#[test]
fn unknown_ending_is_refused_with_the_known_ones() {
    let folder = folder();
    fs::write(folder.path().join("c.toml"), "").unwrap();
    let said = refused(folder.path(), "c.toml", &[], &[]);
    assert_eq!(
        said,
        "c.toml: files ending in .toml cannot be read\n  hint: name a file ending in .yaml, .yml, .json, .ini or .conf"
    );
}

#[test]
fn daemon_keeps_the_environment_of_its_start_over_a_reload() {
    let folder = folder();
    let file = folder.path().join("config.ini");
    let ini = |clients: u32| {
        format!(
            "[daemon]\npid_file = run/d.pid\ncontrol_socket = run/d.sock\nstate_dir = state\nuser = nobody\n\
             [logging]\nlog_file = log/d.log\n[api]\nlisten =\n[tcp]\naddress = 127.0.0.1\nport = 0\n\
             max_clients = {clients}\n[udp]\nenabled = false\naddress = 127.0.0.1\nport = 1\n[dhcp]\nenabled = false\n"
        )
    };
    for name in ["run", "state", "log"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o777)).unwrap();
    }
    fs::write(&file, ini(3)).unwrap();
    let file = file.to_str().unwrap();
    let environment = [("ECHO_DAEMON__UDP__ENABLED", "true"), ("ECHO_DAEMON__UDP__PORT", "0")];
    let started = run(folder.path(), &["start", "-c", file], &environment);
    let stop = || run(folder.path(), &["stop", "--force", "-c", file], &[]);
    if !started.status.success() {
        stop();
        panic!("{}", text(&started));
    }
    fs::write(file, ini(4)).unwrap();
    let reloaded = run(folder.path(), &["reload", "-c", file], &[]);
    // A broken file of any format keeps nobody from finding the daemon.
    fs::write(file, ini(4).replace("[tcp]", "[tcp")).unwrap();
    let status = run(folder.path(), &["status", "--json", "-c", file], &[]);
    let refused = run(folder.path(), &["reload", "-c", file], &[]);
    let stopped = stop();
    assert!(reloaded.status.success(), "{}", text(&reloaded));
    assert!(text(&status).contains("\"service\": \"udp\""), "{}", text(&status));
    assert!(text(&refused).contains("there is no ] in this line"), "{}", text(&refused));
    assert!(stopped.status.success(), "{}", text(&stopped));
}

#[test]
fn overlay_counts_at_the_start_and_only_where_it_can_be_believed() {
    let test = "overlay_counts_at_the_start_and_only_where_it_can_be_believed";
    let folder = folder();
    let folder = folder.path();
    let yaml = format!("{BASE}tcp: {{port: 0}}\ndhcp: {{enabled: false}}\n");
    fs::write(folder.join("c.yaml"), yaml).unwrap();
    fs::create_dir(folder.join("state")).unwrap();
    let overlay = folder.join("state/overlay.json");
    fs::write(&overlay, "{\"api\": {\"token_file\": \"/etc/shadow\"}}").unwrap();
    let said = refused(folder, "c.yaml", &[], &[]);
    assert!(said.contains("overlay.json: api: this cannot be set at run time"), "{said}");
    fs::write(&overlay, "{}").unwrap();
    fs::set_permissions(&overlay, fs::Permissions::from_mode(0o666)).unwrap();
    let left_out = |why: &str| {
        let output = run(folder, &["check", "-c", "c.yaml"], &[]);
        let said = text(&output);
        assert!(output.status.success() && said.contains("are left out") && said.contains(why), "{said}");
    };
    left_out("others than its owner may write it");
    fs::set_permissions(&overlay, fs::Permissions::from_mode(0o644)).unwrap();
    if !is_root(test) {
        return;
    }
    // The state folder belongs to the workers, who must not speak for main.
    std::os::unix::fs::chown(&overlay, Some(65_534), None).unwrap();
    left_out("it belongs to the user 65534, not to root");
}

#[test]
fn command_that_may_not_read_the_state_folder_goes_on_with_a_warning() {
    if !is_root("command_that_may_not_read_the_state_folder_goes_on_with_a_warning") {
        return;
    }
    let folder = folder();
    let folder = folder.path();
    fs::write(folder.join("c.yaml"), format!("{BASE}dhcp: {{enabled: false}}\n")).unwrap();
    fs::create_dir(folder.join("state")).unwrap();
    fs::write(folder.join("state/overlay.json"), "{\"tcp\": {\"port\": 1}}").unwrap();
    fs::set_permissions(folder.join("state"), fs::Permissions::from_mode(0o700)).unwrap();
    let binary = folder.join("echo-daemon");
    fs::copy(BINARY, &binary).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&binary);
    let output = command.args(["check", "-c", "c.yaml"]).current_dir(folder).output().unwrap();
    let said = text(&output);
    assert!(
        said.contains(
            "state/overlay.json: warning: the values that the runtime API has set (overlay.json) are left out"
        ),
        "{said}"
    );
    assert!(output.status.success(), "{said}");
}

#[test]
fn shipped_files_in_every_format_pass() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let folder = folder();
    for file in ["config.yaml", "config.json", "config.ini"] {
        let state = format!("daemon.state_dir={}", folder.path().display());
        let output = run(&config, &["check", "-c", file, "--set", &state], &[]);
        assert!(output.status.success() && text(&output).contains("no mistakes found"), "{}", text(&output));
    }
}
