//! What drives the gateway with third-party load clients: `loadtest/oha.sh` and `loadtest/k6/`. Briefly, with few
//! streams: that their figures are there and right, and that they fail where the gateway does.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::support::{Launch, Server, fleet, tool};

/// A gateway that ends its streams after a second, which is earlier than they ask for.
fn drops_its_streams() -> Server {
    Server::start("schedule = []\nstream = { max_age = \"1s\", max_age_jitter = 0.0 }")
}

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

fn loadtest() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("loadtest")
}

/// Runs it to its end; coreutils' `timeout` sees to that.
#[track_caller]
fn run(program: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> (Output, String, String) {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "100"]).arg(program).args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("K6_") || name.starts_with("SLUICEGATE_") {
            command.env_remove(&*name);
        }
    }
    let output = command.envs(variables.iter().copied()).output().expect("timeout is there");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

// ===== oha =====

/// `None` where a tool is absent.
fn oha(what: &str, variables: &[(&str, &str)]) -> Option<(Output, String, String)> {
    for needed in ["oha", "curl", "python3"] {
        tool(needed)?;
    }
    let small = [
        ("CONNECTS", "200"),
        ("CONNECTIONS", "20"),
        ("STREAMS", "50"),
        ("EVENTS", "20"),
        ("RATE", "10"),
        ("POSTS", "200"),
        ("POST_RATE", "100"),
    ];
    Some(run(&loadtest().join("oha.sh"), &[what], &[&small, variables].concat()))
}

/// It says what is wrong in one line, and fails.
#[track_caller]
fn oha_fails(what: &str, variables: &[(&str, &str)], why: &str) {
    let Some((output, out, err)) = oha(what, variables) else { return };
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    assert!(err.starts_with("oha.sh: ") && err.contains(why) && err.lines().count() == 1, "{err}");
    assert!(!out.contains("/s  "), "no figure: {out}");
}

/// The first number in the line that begins so, of the part that begins so.
#[track_caller]
fn figure(out: &str, part: &str, label: &str) -> f64 {
    let mut lines = out.lines().skip_while(|line| !line.starts_with(part)).skip(1);
    let line = lines.find_map(|line| line.trim_start().strip_prefix(label));
    let numbers =
        line.into_iter().flat_map(str::split_whitespace).filter_map(|word| word.replace(',', "").parse().ok());
    numbers.into_iter().next().unwrap_or_else(|| panic!("no {label:?} of {part:?}: {out}"))
}

#[test]
fn oha_prints_its_figures() {
    let _machine = fleet::machine();
    let server = Server::start("");
    let (url, control) = (format!("http://{}", server.public()), format!("http://{}/", server.control()));
    let Some((output, out, err)) = oha("all", &[("URL", &url), ("CONTROL", &control)]) else { return };
    assert!(output.status.success() && err.is_empty(), "{out}{err}");
    // The default hello, every 2 seconds, is not what streams wait for.
    assert!(figure(&out, "connect: 200 streams", "connects/s") > 50.0, "{out}");
    assert!(figure(&out, "connect: ", "time to the end") < 1000.0, "{out}");
    assert!(figure(&out, "streams: 50 streams, 20 events", "time to first byte") < 1000.0, "{out}");
    // 20 events at 10 a second.
    let duration = figure(&out, "streams: ", "duration");
    assert!((1.8..10.0).contains(&duration), "{out}");
    assert!(figure(&out, "streams: ", "bytes/s") > 1000.0, "{out}");
    assert!(
        (20.0..=110.0).contains(&figure(&out, "publish: 200 posts of 100 bytes, 100 a second", "posts/s")),
        "{out}"
    );
    assert!(figure(&out, "publish: 200 posts of 100 bytes, 20 connections", "posts/s") > 100.0, "{out}");
    let metrics = server.metrics();
    assert_eq!(metrics.get("sluicegate_streams_opened_total"), 200.0 + 50.0 + 1.0, "nothing is left out or done twice");
    assert_eq!(metrics.get("sluicegate_events_published_total{source=\"http\"}"), 2.0 + 20.0 + 400.0);
}

#[test]
fn oha_starts_a_gateway_and_ends_it() {
    let gateway = env!("CARGO_BIN_EXE_sluicegate");
    let Some((output, out, err)) = oha("connect", &[("GATEWAY", gateway)]) else { return };
    assert!(output.status.success() && err.is_empty(), "{out}{err}");
    let address = out.split_once("http://").and_then(|(_, rest)| rest.split(',').next()).expect("its address");
    assert!(TcpStream::connect_timeout(&address.parse().expect("an address"), Duration::from_secs(1)).is_err());
    oha_fails("connect", &[("GATEWAY", "/nowhere")], "there is no gateway at /nowhere");
    oha_fails("connect", &[("GATEWAY", "/bin/false")], "/bin/false does not start");
}

#[test]
fn oha_fails_where_the_gateway_does() {
    let server = Server::start("schedule = []");
    let (url, control) = (format!("http://{}", server.public()), format!("http://{}", server.control()));
    let (dead, wrong) = (format!("http://{}", nobody()), format!("{url}/nowhere"));
    oha_fails("all", &[("URL", &dead), ("CONTROL", &dead)], "takes no event: curl: (7)");
    oha_fails("connect", &[("URL", &dead), ("CONTROL", &control)], "of 200 requests failed 200 x Connection refused");
    oha_fails("streams", &[("URL", &dead), ("CONTROL", &control)], "of 50 requests failed 50 x Connection refused");
    oha_fails("connect", &[("URL", &wrong), ("CONTROL", &control)], "of 200 requests failed 200 x status 404");
    oha_fails("streams", &[("URL", &wrong), ("CONTROL", &control)], "of 50 requests failed 50 x status 404");
    oha_fails("publish", &[("URL", &url), ("CONTROL", &url)], "of 200 requests failed 200 x status");
    let drops = drops_its_streams();
    let (url, control) = (format!("http://{}", drops.public()), format!("http://{}", drops.control()));
    oha_fails("streams", &[("URL", &url), ("CONTROL", &control)], "some ended early");
    let full = Launch::config("schedule = []").variable("SLUICEGATE_LIMITS_STREAMS", "20").start();
    let (url, control) = (format!("http://{}", full.public()), format!("http://{}", full.control()));
    oha_fails("streams", &[("URL", &url), ("CONTROL", &control)], "20 of 50 streams opened in 10 seconds");
}

#[test]
fn oha_refuses_what_it_should() {
    if tool("oha").is_none() {
        return;
    }
    let here = "http://127.0.0.1:1";
    for url in ["http://192.0.2.1:8080", "http://127.0.0.1.example.com", "https://127.0.0.1:8080", "127.0.0.1:8080"] {
        oha_fails("connect", &[("URL", url), ("CONTROL", here)], "is no http:// address of this machine");
        oha_fails("connect", &[("URL", here), ("CONTROL", url)], "is no http:// address of this machine");
    }
    oha_fails("connect", &[("URL", here)], "give both URL and CONTROL");
    for count in ["0", "20001", "-1", "1e3", "some", "12345678901234567890"] {
        oha_fails("streams", &[("STREAMS", count)], "is no whole number from 1 to 20000");
    }
    oha_fails("everything", &[], "one of connect, streams, publish, all");
    // Too few descriptors.
    let script = loadtest().join("oha.sh");
    let command = ["-c", "ulimit -n 500 && exec \"$0\" streams", script.to_str().expect("UTF-8")];
    let (output, _, err) = run(Path::new("/bin/sh"), &command, &[]);
    assert_eq!((output.status.code(), err.lines().count()), (Some(1), 1), "{err}");
    assert!(err.contains("STREAMS=1000 needs 2024 open files, and `ulimit -n` is 500"), "{err}");
}

// ===== k6 =====

/// A script's run by `k6`, or by the program that is named.
fn k6_by(name: &str, script: &str, variables: &[(&str, &str)]) -> Option<(Output, String, String)> {
    let k6 = tool(name)?;
    let small = [
        ("RATE", "50"),
        ("RAMP", "1"),
        ("HOLD", "2"),
        ("STREAMS", "120"),
        ("EVENTS", "20"),
        ("PUBLISH_RATE", "10"),
        ("DURATION", "2"),
        ("START", "0"),
        // The machine may be busy.
        ("P99", "20000"),
        // It tells nobody, and fetches nothing.
        ("K6_NO_USAGE_REPORT", "true"),
        ("K6_AUTO_EXTENSION_RESOLUTION", "false"),
    ];
    let script = loadtest().join("k6").join(script);
    let script = script.to_str().expect("UTF-8");
    Some(run(&k6, &["run", "--quiet", "--no-color", script], &[&small, variables].concat()))
}

fn k6(script: &str, variables: &[(&str, &str)]) -> Option<(Output, String, String)> {
    k6_by("k6", script, variables)
}

/// It says what is wrong, and fails.
#[track_caller]
fn k6_fails(script: &str, base: &str, control: &str, why: &str) {
    let Some((output, out, err)) = k6(script, &[("BASE", base), ("CONTROL", control)]) else { return };
    assert!(!output.status.success(), "{out}{err}");
    assert_eq!(err.lines().filter(|line| line.contains("level=error")).count(), 1, "{err}");
    assert!(err.contains(why), "{err}");
}

#[test]
fn k6_meets_its_thresholds() {
    let _machine = fleet::machine();
    let server = Server::start("");
    let (base, control) = (format!("http://{}", server.public()), format!("http://{}", server.control()));
    for (script, figures) in [
        ("connect.js", ["'count>=122'", "'count==120' count=120"]),
        ("hold.js", ["'p(99)<20000'", "'count==120' count=120"]),
        ("publish.js", ["'count<=1'", "'count>=98'"]),
    ] {
        let Some((output, out, err)) = k6(script, &[("BASE", &base), ("CONTROL", &control)]) else { return };
        assert!(output.status.success() && !out.contains('✗'), "{script}: {out}{err}");
        for figure in figures.into_iter().chain(["'rate==1' rate=100.00%"]) {
            assert!(out.contains(&format!("✓ {figure}")), "{script}: {figure}: {out}");
        }
    }
}

#[test]
fn k6_fails_where_the_gateway_does() {
    let server = Server::start("schedule = []");
    let (base, control) = (format!("http://{}", server.public()), format!("http://{}", server.control()));
    let (dead, wrong) = (format!("http://{}", nobody()), format!("{base}/nowhere"));
    for script in ["connect.js", "hold.js", "publish.js"] {
        k6_fails(script, &dead, &control, "test aborted: a stream from http://127.0.0.1");
        k6_fails(script, &base, &dead, "test aborted: publishing on http://127.0.0.1");
        k6_fails(script, &wrong, &control, "failed: status 404");
        k6_fails(script, &base, &base, "failed: status 403");
        k6_fails(script, "http://192.0.2.1", &control, "is no http:// address of this machine");
    }
    let drops = drops_its_streams();
    let (base, control) = (format!("http://{}", drops.public()), format!("http://{}", drops.control()));
    k6_fails("connect.js", &base, &control, "thresholds on metrics 'checks, streams_whole' have been crossed");
    k6_fails("hold.js", &base, &control, "thresholds on metrics 'checks, streams_held' have been crossed");
}

#[test]
fn sse_js_finds_what_is_wrong() {
    let Some(node) = tool("node") else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/k6_sse.mjs");
    let (output, _, err) = run(&node, &["--no-warnings", script.to_str().expect("UTF-8")], &[]);
    assert!(output.status.success(), "{err}");
}

/// With a k6 that has xk6-sse built in, on PATH as `k6-sse`. No registry has one, so that it is left out where nobody
/// has built it, even where tools are required.
#[test]
fn k6_with_xk6_sse() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|folder| folder.join("k6-sse").is_file()) {
        return eprintln!("NOT TESTED: k6-sse is absent. loadtest/k6/README.md tells how to build one.");
    }
    let _machine = fleet::machine();
    let server = Server::start("");
    let (base, control) = (format!("http://{}", server.public()), format!("http://{}", server.control()));
    let run = |base: &str, control: &str, events: &str| {
        let variables = [("BASE", base), ("CONTROL", control), ("EVENTS", events)];
        k6_by("k6-sse", "sse.js", &variables).expect("it is there")
    };
    let (output, out, err) = run(&base, &control, "20");
    assert!(output.status.success() && !out.contains('✗'), "{out}{err}");
    assert!(out.contains("✓ 'count==120' count=120") && out.contains("✓ 'count==2400' count=2400"), "{out}");
    // Each came back once.
    assert_eq!(server.metrics().get("sluicegate_streams_opened_total"), 2.0 * 120.0 + 1.0);
    let (output, out, err) = run(&format!("http://{}", nobody()), &control, "20");
    assert!(!output.status.success() && err.contains("test aborted: a stream from"), "{out}{err}");
    let drops = drops_its_streams();
    let (base, control) = (format!("http://{}", drops.public()), format!("http://{}", drops.control()));
    let (output, out, err) = run(&base, &control, "60");
    assert!(!output.status.success() && err.contains("'checks, events_received, streams_whole'"), "{out}{err}");
}
