//! What an operator sets, and what the gateway says of it.

use std::fs;
use std::process::Output;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Launch, SOON, Server, run, run_limited, within};

/// A configuration file, for as long as it is held.
struct File(tempfile::NamedTempFile);

impl File {
    fn holding(text: &str) -> File {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        File(file)
    }

    fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The configuration that would be used.
#[track_caller]
fn printed(arguments: &[&str], variables: &[(&str, &str)]) -> toml::Table {
    let output = run(&[&["config", "print"], arguments].concat(), variables);
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout).parse().unwrap()
}

/// The process says this on stderr, and ends with this code.
#[track_caller]
fn check_refused(arguments: &[&str], variables: &[(&str, &str)], code: i32, expected: &str) {
    let output = run(arguments, variables);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(expected), "said {said:?}\nwanted {expected:?}");
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn a_flag_wins_over_a_variable_over_the_file_over_the_default() {
    let file = File::holding("control = \"127.0.0.1:1\"\nlisten = [\"127.0.0.1:11\"]\nshards = 3\n");
    let config = ["--config", file.path()];
    let control = |arguments: &[&str], variables: &[(&str, &str)]| {
        printed(arguments, variables)["control"].as_str().unwrap().to_owned()
    };
    assert_eq!(control(&[], &[]), "127.0.0.1:8081");
    assert_eq!(control(&config, &[]), "127.0.0.1:1");
    let variables = [("SLUICEGATE_CONTROL", "127.0.0.1:2")];
    assert_eq!(control(&config, &variables), "127.0.0.1:2");
    assert_eq!(control(&[&config[..], &["--control", "127.0.0.1:3"]].concat(), &variables), "127.0.0.1:3");

    let flags = [&config[..], &["--listen", "127.0.0.1:4", "--listen", "[::1]:5"]].concat();
    let table = printed(&flags, &[("SLUICEGATE_LISTEN", "127.0.0.1:6"), ("SLUICEGATE_STREAM_HEARTBEAT", "7s")]);
    assert_eq!(table["listen"], toml::Value::try_from(["127.0.0.1:4", "[::1]:5"]).unwrap());
    assert_eq!(table["shards"].as_integer(), Some(3));
    assert_eq!(table["stream"]["heartbeat"].as_str(), Some("7s"));
    // The file itself can come from the environment.
    assert_eq!(control(&[], &[("SLUICEGATE_CONFIG", file.path())]), "127.0.0.1:1");
}

#[test]
fn faults_are_refused_with_their_place() {
    let unknown = File::holding("shards = 1\n\n[limits]\nstream = 1\n");
    let path = unknown.path().to_owned();
    let expected = format!("sluicegate: {path}:4: limits: unknown field `stream`");
    for task in ["check", "print"] {
        check_refused(&["--config", &path, "config", task], &[], 1, &expected);
    }
    check_refused(&["--config", &path], &[], 1, &expected);

    let bad = File::holding("[stream]\nheartbeat = \"soon\"\n");
    let place = format!("{}:2: stream.heartbeat: ", bad.path());
    check_refused(&["--config", bad.path()], &[], 1, &place);
    let syntax = File::holding("shards = \n");
    check_refused(&["--config", syntax.path()], &[], 1, &format!("{}:1: ", syntax.path()));
    check_refused(&["--config", "/nowhere/gate.toml"], &[], 1, "/nowhere/gate.toml");

    check_refused(&["config", "check"], &[("SLUICEGATE_SHARDS", "many")], 1, "SLUICEGATE_SHARDS (the setting shards)");
    check_refused(
        &["config", "check"],
        &[("SLUICEGATE_HISTORY_BYTES", "1KiB")],
        1,
        "limits.body_bytes and history.bytes",
    );
    let schedule = File::holding("[[schedule]]\nevery = \"1s\"\ndata = \"{now}\"\n[history]\nbytes = \"1KiB\"\n");
    let small = [("SLUICEGATE_LIMITS_BODY_BYTES", "1KiB")];
    let output = run(&["config", "check", "--config", schedule.path()], &small);
    assert!(output.status.success(), "{output:?}");
    let schedule =
        format!("[[schedule]]\nevery = \"1s\"\ndata = \"{}\"\n[history]\nbytes = \"1KiB\"\n", "{now}".repeat(40));
    let schedule = File::holding(&schedule);
    for arguments in [&["config", "check", "--config", schedule.path()][..], &["--config", schedule.path()]] {
        check_refused(arguments, &small, 1, "schedule and history disagree: schedule 1 can't be published");
    }
    check_refused(&["--listen", "nowhere"], &[], 2, "--listen");
    check_refused(&["--what"], &[], 2, "--what");
}

/// The bound is the kernel's: one millisecond more, and no listener could be opened.
#[test]
fn the_longest_write_deadline_starts() {
    const LONGEST: &str = "[stream]\nwrite_deadline = \"2147483647ms\"\n";
    let server = Server::start(LONGEST);
    let mut stream = server.subscribe("/events/a");
    server.publish("a", "x");
    stream.expect_data("x");
    let longer = File::holding(&LONGEST.replace("647ms", "648ms"));
    check_refused(&["config", "check", "--config", longer.path()], &[], 1, "stream.write_deadline: ");
}

#[test]
fn check_config_says_that_all_is_well() {
    let file = File::holding("[[schedule]]\nevery = \"1s\"\ndata = \"{now} {n}\"\n");
    let output = run(&["config", "check", "--config", file.path()], &[("SLUICEGATE_SERVICE_HOST", "10.0.0.1")]);
    assert!(output.status.success());
    assert_eq!(text(&output.stdout), format!("the configuration is valid; {} was read\n", file.path()));
    assert_eq!(text(&run(&["config", "check"], &[]).stdout), "the configuration is valid; no file was read\n");
    let odd = run(&["config", "check", "--disk-dir", "/nowhere"], &[]);
    assert!(odd.status.success());
    assert_eq!(text(&odd.stderr), "sluicegate: disk.dir has no effect, since engine is not \"disk\"\n");
    // What Kubernetes sets is no reason to stop.
    assert_eq!(
        text(&output.stderr),
        "sluicegate: the variable SLUICEGATE_SERVICE_HOST is no setting and has no effect\n"
    );
}

#[test]
fn what_is_printed_reads_back_to_the_same() {
    let file = File::holding(
        "default_topic = \"a b\"\n[stream]\nmax_age = \"1h 30m\"\n[pass]\nlatency = \"50ms\"\n\
         [[policy]]\ntopic = \"prices/**\"\nslow = \"conflate\"\n\
         [[schedule]]\nevery = \"250ms\"\ndata = \"a\\nb\"\nid = \"é\"\nkeep = true\nretry = \"1s\"\n",
    );
    for arguments in [&[][..], &["--config", file.path(), "--listen", "[::]:80"]] {
        let printed = |arguments: &[&str]| text(&run(&[&["config", "print"], arguments].concat(), &[]).stdout);
        let first = printed(arguments);
        assert!(first.contains("[stream]"), "{first}");
        let again = File::holding(&first);
        assert_eq!(printed(&["--config", again.path()]), first);
    }
}

#[test]
fn the_version_is_told() {
    let Output { status, stdout, stderr } = run(&["--version"], &[]);
    assert!(status.success() && stderr.is_empty());
    assert!(text(&stdout).starts_with(concat!("sluicegate ", env!("CARGO_PKG_VERSION"))), "{}", text(&stdout));
}

#[test]
fn logs_are_json_off_a_terminal() {
    let server = Launch::config("").argument("--listen").argument("127.0.0.1:0").start();
    assert_eq!(server.addresses().len(), 2);
    for line in server.lines() {
        let line: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(["timestamp", "level", "message", "target"].iter().all(|key| line[key].is_string()), "{line}");
    }
    assert!(server.log("memory that the bounds allow").is_some_and(|line| line["bytes"].as_u64() > Some(0)));

    let server = Launch::config("log.level = \"info,sluicegate=debug\"").variable("SLUICEGATE_X", "y").start();
    let warned = |line: &Value| line["level"] == "WARN" && line.to_string().contains("SLUICEGATE_X");
    assert!(server.lines().iter().any(|line| warned(&serde_json::from_str(line).unwrap())), "{:?}", server.lines());
}

#[test]
fn a_second_gateway_on_one_address_is_told_so() {
    let server = Server::start("");
    let control = server.control().to_string();
    check_refused(
        &["--listen", "127.0.0.1:0", "--control", &control],
        &[("SLUICEGATE_LOG_LEVEL", "off")],
        1,
        &format!("sluicegate: can't listen on {control}: "),
    );
    // The first is none the worse for it.
    let mut stream = server.subscribe("/events/a");
    server.publish("a", "x");
    stream.expect_data("x");
}

#[test]
fn the_limit_on_descriptors_is_raised_and_told() {
    let message = "open files are shared out";
    let server = Launch::config("shards = 1\nacceptors = 1\n").soft_open_files(64, 2_000).start();
    let line = server.log(message).unwrap();
    assert_eq!((line["limit"].as_u64(), line["streams"].as_u64()), (Some(2_000), Some(2_000 - 190 - 512)));
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    assert_eq!(soft, Some("2000"));
    let warning = "limits.streams is lowered: raise the limit on open files";
    assert!(server.log(warning).is_none());

    let server = Launch::config("shards = 1\nacceptors = 1\n[limits]\nstreams = 1299\n").open_files(2_000).start();
    let line = server.log(warning).expect("a warning");
    assert_eq!(line["level"], "WARN");
    assert_eq!((line["wanted"].as_u64(), line["streams"].as_u64()), (Some(1_299), Some(1_298)));
    let server = Launch::config("shards = 1\nacceptors = 1\n[limits]\nstreams = 1298\n").open_files(2_000).start();
    assert!(server.log(warning).is_none());
}

/// One shard, one acceptor, one address and a control listener need 190 for themselves; `config check`
/// knows what would be odd at a start, and what would refuse it.
#[test]
fn check_config_counts_descriptors() {
    let file = File::holding("shards = 1\nacceptors = 1\n");
    let arguments = ["--config", file.path(), "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"];
    let check = |open_files| run_limited(open_files, &[&arguments[..], &["config", "check"]].concat());
    for (open_files, odd) in [(192, true), (190 + 198, true), (190 + 200, false)] {
        let output = check(open_files);
        assert!(output.status.success(), "{output:?}");
        let few = "there are descriptors for few streams only";
        assert_eq!(text(&output.stderr).contains(few), odd, "{open_files}: {output:?}");
    }
    let expected = "the limit on open files is 191, and the gateway needs 192 of them to begin with";
    for output in [check(191), run_limited(191, &arguments)] {
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(text(&output.stderr).contains(expected), "{output:?}");
    }
    let server = Launch::config("shards = 1\nacceptors = 1\n").open_files(192).start();
    let mut stream = server.subscribe("/events/a");
    server.publish("a", "x");
    stream.expect_data("x");
    assert!(server.open_files() <= 192);
}

#[test]
fn more_streams_than_allowed_are_sent_away_kindly() {
    let server = Server::start("[limits]\nstreams = 2\n[drain]\nretry = \"1s\"\n");
    let first = server.subscribe("/events/a");
    let _second = server.subscribe("/events/a");
    let mut third = server.connect();
    third.send("GET /events/a HTTP/1.1\r\nhost: h\r\n\r\n");
    let response = third.response();
    assert_eq!(response.status(), 200);
    assert_eq!(response.head.field("content-type"), Some("text/event-stream"));
    let retry: u64 = response.body.strip_prefix("retry: ").unwrap().strip_suffix("\n").unwrap().parse().unwrap();
    assert!((500..=1_500).contains(&retry), "{retry}");
    third.expect_end();
    assert_eq!(server.metrics().get("sluicegate_streams_shed_total{reason=\"full\"}"), 1.0);
    drop(first);
    assert!(within(SOON, || server.metrics().sum("sluicegate_streams") == 1.0));
    server.subscribe("/events/a");
}

#[test]
fn a_streams_age_is_bounded_where_asked_for() {
    let server = Server::start("[stream]\nmax_age = \"400ms\"\nmax_age_jitter = 0.5\n");
    let mut stream = server.subscribe("/events/a").patience(Duration::from_secs(5));
    assert_eq!(stream.item(), None);
    stream.expect_end();
    let rotated = "sluicegate_streams_closed_total{reason=\"rotated\"}";
    assert!(within(SOON, || server.metrics().get(rotated) == 1.0));
}

/// Whoever reaches the control listener may publish, and it has no other guard than where it is.
#[test]
fn a_control_listener_that_others_reach_is_warned_of() {
    let warning = "whoever reaches the control listener may publish: it is not on loopback";
    let addresses = |control: &str| format!("listen = [\"127.0.0.1:0\"]\ncontrol = \"{control}\"\n");
    let server = Launch::config(&addresses("0.0.0.0:0")).own_addresses().start();
    assert_eq!(server.log(warning).expect("a warning")["level"], "WARN");
    for private in ["127.0.0.1:0", "127.0.0.7:0"] {
        let server = Launch::config(&addresses(private)).own_addresses().start();
        assert!(server.log(warning).is_none(), "{private}");
    }
}

/// What would send clients back at once, and what no listener or page can be.
#[test]
fn what_clients_could_not_live_with_is_refused() {
    for (name, value, key) in [
        ("SLUICEGATE_DRAIN_RETRY", "0s", "drain.retry"),
        ("SLUICEGATE_DRAIN_RETRY", "17days", "drain.retry"),
        ("SLUICEGATE_SCHEDULE", "[{every = \"1s\", data = \"\", retry = \"25days\"}]", "retry"),
        ("SLUICEGATE_CORS_ORIGINS", "[\"example.com\"]", "cors.origins"),
        ("SLUICEGATE_HEALTH", "nowhere", "health"),
        ("SLUICEGATE_LIMITS_CONNECTIONS", "0", "limits.connections"),
        ("SLUICEGATE_LIMITS_IDLE", "99ms", "limits.idle"),
    ] {
        check_refused(&["config", "check"], &[(name, value)], 1, key);
    }
    check_refused(&["config", "check", "--health", "127.0.0.1:8081"], &[], 1, "control and health");
    check_refused(&["config", "check", "--health", "[::]:8080"], &[], 1, "listen and health");
    let fine = [
        ("SLUICEGATE_DRAIN_RETRY", "16days"),
        ("SLUICEGATE_CORS_ORIGINS", "[\"https://a.example\", \"http://localhost:3000\"]"),
    ];
    assert!(run(&["config", "check"], &fine).status.success());
}
