use toml::Value;

use super::settings::{FILE_VARIABLE, Setting, settings_of};
use super::*;
use crate::hub::policy::SlowPolicy;
use crate::ops::units::{KIB, MIB};

fn settings() -> Vec<Setting> {
    settings_of(&Config::default())
}

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let flags = Flags { config: Some(file.path().to_owned()), ..Flags::default() };
    Config::load_from(&flags, variables.iter().map(|(name, value)| (name.into(), value.into())))
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let error = Config::parse(text, Path::new("gate.toml")).unwrap_err().to_string();
    assert!(error.starts_with(expected), "{text:?} gave\n  {error}\nwanted\n  {expected}");
}

#[track_caller]
fn refused_variable(name: &str, value: &str, expected: &str) {
    let error = load("", &[(name, value)]).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{name} (the setting ")) && error.contains(expected), "{error}");
}

#[track_caller]
fn conflict(text: &str, expected: &str) {
    let error = load(text, &[]).unwrap_err().to_string();
    assert!(error.starts_with(expected), "{text:?} gave {error}");
}

#[test]
fn nothing_given_is_the_default() {
    let loaded = Config::load_from(&Flags::default(), []).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.warnings.is_empty() && loaded.file.is_none());
}

#[test]
fn errors_in_a_file_name_file_line_and_key() {
    refused(
        "\n[stream]\nheartbeat = 15\n",
        "gate.toml:3: stream.heartbeat: invalid type: integer `15`, expected a dur",
    );
    refused("[stream]\nheartbeat = \"15\"\n", "gate.toml:2: stream.heartbeat: \"15\" is no duration with a unit");
    refused("[limits]\nhead_bytes = 8191\n", "gate.toml:2: limits.head_bytes: 8191 bytes is out of range, from 8KiB");
    refused("shards = 65", "gate.toml:1: shards: 65 is out of range, from 0 to 64 is allowed");
    refused("shards = -1", "gate.toml:1: shards: invalid value: integer `-1`");
    refused("listen = [\"a\"]", "gate.toml:1: listen: \"a\" is no address: give");
    refused("default_topic = \"a/*\"", "gate.toml:1: default_topic: the segments * and **");
    refused("[stream]\nmax_age_jitter = nan", "gate.toml:2: stream.max_age_jitter: NaN is out of range");
    refused(
        "[pass]\nlatency = \"2h\"",
        "gate.toml:2: pass.latency: \"2h\" is too long, at most \"1h\" is allowed, or \"auto\"",
    );
    refused("[log]\nlevel = \"lots\"", "gate.toml:2: log.level: \"lots\" is no level");
    refused("[log]\nformat = \"xml\"", "gate.toml:2: log.format: unknown variant `xml`, expected one of `auto`");
    refused(
        "[stream]\nwrite_deadline = \"25days\"",
        "gate.toml:2: stream.write_deadline: \"25days\" is too long, at most \"24days 20h 31m 23s 647ms\"",
    );
    refused("admin = 1", "gate.toml:1: admin: invalid type: integer `1`, expected a boolean");
    refused("[limit]\nstreams = 1", "gate.toml:1: unknown field `limit`");
    refused("[limits]\nstream = 1", "gate.toml:2: limits: unknown field `stream`");
    refused("a b", "gate.toml:1: ");
    refused("[[schedule]]\nevery = \"1s\"", "gate.toml:1: schedule: missing field `data`");
    refused("[[schedule]]\nevery = \"9ms\"\ndata = \"\"", "gate.toml:2: schedule.every: \"9ms\" is too short");
    refused("[[schedule]]\nevery = \"1s\"\ndata = \"\"\nid = \"a\\nb\"", "gate.toml:1: schedule: id: holds CR");
    refused("[[schedule]]\nevery = \"1s\"\ndata = \"\"\ntopic = \"*\"", "gate.toml:1: schedule: topic: the segm");
    refused("[[policy]]\ntopic = \"a*\"\nslow = \"skip\"", "gate.toml:2: policy.topic: a wildcard must be");
    refused("[[policy]]\ntopic = \"a\"\nslow = \"no\"", "gate.toml:3: policy.slow: no policy \"no\"");
}

#[test]
fn a_missing_file_is_named() {
    let flags = Flags { config: Some("/nonexistent/gate.toml".into()), ..Flags::default() };
    let error = Config::load_from(&flags, []).unwrap_err().to_string();
    assert!(error.starts_with("cannot read the configuration file /nonexistent/gate.toml: "), "{error}");
}

#[test]
fn the_flag_wins_over_the_variable_over_the_file_over_the_default() {
    let text = "control = \"127.0.0.1:1\"\nshards = 3\n[limits]\nstreams = 5\nhead_bytes = \"9KiB\"\n";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let variables = [("SLUICEGATE_CONTROL", "127.0.0.1:2"), ("SLUICEGATE_LIMITS_STREAMS", "6")];
    let mut flags = Flags { config: Some(file.path().to_owned()), ..Flags::default() };
    let load = |flags: &Flags| Config::load_from(flags, variables.map(|(n, v)| (n.into(), v.into()))).unwrap().config;
    let config = load(&flags);
    assert_eq!(config.control, "127.0.0.1:2".parse().unwrap());
    assert_eq!((config.shards.get(), config.limits.streams.get()), (3, 6));
    assert_eq!((config.limits.head_bytes.get(), config.limits.body_bytes.get()), (9 * KIB, MIB));
    flags.control = Some("127.0.0.1:3".parse().unwrap());
    flags.listen = vec!["127.0.0.1:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()];
    let config = load(&flags);
    assert_eq!(config.control, "127.0.0.1:3".parse().unwrap());
    assert_eq!(config.listen.addresses(), flags.listen);
}

#[test]
fn a_variable_can_name_the_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "shards = 7").unwrap();
    let variable = (OsString::from(FILE_VARIABLE), OsString::from(file.path()));
    let loaded = Config::load_from(&Flags::default(), [variable]).unwrap();
    assert_eq!(loaded.config.shards.get(), 7);
    assert_eq!(loaded.file.as_deref(), Some(file.path()));
}

#[test]
fn every_setting_can_be_set_by_its_variable() {
    for setting in settings() {
        let value = match &setting.value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let loaded = load("", &[(&setting.variable(), &value)]).unwrap();
        assert_eq!(loaded.config, Config::default(), "{}", setting.variable());
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    }
    assert!(settings().iter().any(|setting| setting.variable() == "SLUICEGATE_STREAM_MAX_AGE_JITTER"));
}

#[test]
fn arrays_in_variables_are_toml_or_parted_by_commas() {
    for text in ["[\"[::]:80\", \"127.0.0.1:81\"]", "[::]:80, 127.0.0.1:81"] {
        let listen = load("", &[("SLUICEGATE_LISTEN", text)]).unwrap().config.listen;
        assert_eq!(listen.addresses(), ["[::]:80".parse().unwrap(), "127.0.0.1:81".parse().unwrap()]);
    }
    let variables = [
        ("SLUICEGATE_SCHEDULE", "[{every = \"1s\", data = \"a\"}, {every = \"2s\", data = \"b\"}]"),
        ("SLUICEGATE_POLICY", "[{topic = \"a/**\", slow = \"conflate\"}]"),
    ];
    let config = load("schedule = []", &variables).unwrap().config;
    assert_eq!(config.schedule.len(), 2);
    assert_eq!(config.policies().for_topic("a/b"), SlowPolicy::Conflate);
    assert!(load("", &[("SLUICEGATE_SCHEDULE", "[]")]).unwrap().config.schedule.is_empty());
}

#[test]
fn booleans_in_variables_are_words_or_digits() {
    for (text, expected) in [("true", true), ("1", true), ("false", false), ("0", false)] {
        assert_eq!(load("admin = true", &[("SLUICEGATE_ADMIN", text)]).unwrap().config.admin, expected, "{text}");
    }
}

#[test]
fn errors_in_variables_name_the_variable() {
    refused_variable("SLUICEGATE_STREAM_HEARTBEAT", "15", "15");
    refused_variable("SLUICEGATE_SHARDS", "many", "\"many\" is no integer");
    refused_variable("SLUICEGATE_SHARDS", "65", "65 is out of range");
    refused_variable("SLUICEGATE_ADMIN", "yes", "\"yes\" is neither true (1) nor false (0)");
    refused_variable("SLUICEGATE_STREAM_MAX_AGE_JITTER", "x", "is no number");
    refused_variable("SLUICEGATE_LISTEN", "", "\"\" is no address: give");
    refused_variable("SLUICEGATE_CONTROL", "nowhere:1", "\"nowhere:1\" is no address: give");
    refused_variable("SLUICEGATE_POLICY", "a", "is no TOML array");
    refused_variable("SLUICEGATE_POLICY", "1", "is a TOML integer");
    refused_variable("SLUICEGATE_POLICY", "[{topic = \"a\"}]", "missing field `slow`");
    refused_variable("SLUICEGATE_LIMITS_HEAD_BYTES", "1KiB", "1024 bytes is out of range");
}

#[test]
fn settings_that_are_gone_name_what_is_in_their_place() {
    for (section, key, value, now) in [
        ("drain", "window", "\"5s\"", "drain.deadline"),
        ("drain", "grace", "\"5s\"", "drain.deadline"),
        ("limits", "batch_events", "1", "limits.body_bytes, and holds at most 16384 events"),
        ("pass", "rest", "3.0", "pass.latency"),
        ("pass", "interval_min", "\"1s\"", "pass.latency"),
    ] {
        let error = Config::parse(&format!("\n[{section}]\n{key} = {value}\n"), Path::new("gate.toml")).unwrap_err();
        let expected = format!("gate.toml:3: {section}: {section}.{key} is gone; ");
        assert!(error.to_string().starts_with(&expected) && error.to_string().contains(now), "{error}");
        let variable = format!("SLUICEGATE_{}_{}", section.to_uppercase(), key.to_uppercase());
        let error = load("", &[(&variable, value)]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{variable} (the setting {section}.{key}): ")), "{error}");
        assert!(error.contains(now), "{error}");
    }
    // Another section's key of that name is unknown as ever.
    refused("[stream]\nwindow = 1", "gate.toml:2: stream: unknown field `window`");
}

#[test]
fn unknown_variables_only_warn() {
    let variables = [
        ("SLUICEGATE_SERVICE_HOST", "10.0.0.1"),
        ("SLUICEGATE_PORT", "tcp://10.0.0.1:80"),
        ("SLUICEGATE_REQUIRE_TOOLS", "1"),
        ("SLUICEGATE_COMMIT", "abc"),
        ("PATH", "/bin"),
    ];
    let loaded = load("", &variables).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert_eq!(loaded.warnings.len(), 2, "{:?}", loaded.warnings);
    assert!(loaded.warnings[0].contains("SLUICEGATE_PORT"));
}

#[test]
fn settings_that_disagree_are_both_named() {
    conflict("listen = [\"127.0.0.1:81\"]\ncontrol = \"127.0.0.1:81\"", "listen and control disagree: ");
    conflict("listen = [\"0.0.0.0:81\"]\ncontrol = \"127.0.0.1:81\"", "listen and control disagree: ");
    conflict("listen = []", "listen and tls.listen disagree: there is no address for streams");
    let pair = "cert = [\"a\"]\nkey = [\"b\"]";
    conflict(&format!("[tls]\nlisten = [\"127.0.0.1:8081\"]\n{pair}"), "tls.listen and control disagree: ");
    conflict(&format!("[tls]\nlisten = [\"127.0.0.1:8080\"]\n{pair}"), "listen and tls.listen disagree: ");
    conflict("[tls]\nlisten = [\"127.0.0.1:1\"]", "tls.listen and tls.cert disagree: TLS needs a certificate");
    conflict("[tls]\ncert = [\"a\"]", "tls.cert and tls.key disagree: 1 certificates and 0 keys");
    let many = format!("[tls]\ncert = {0:?}\nkey = {0:?}", ["a"; 65]);
    conflict(&many, "tls.cert: 65 entries, at most 64 are allowed");
    assert!(load(&format!("listen = []\n[tls]\nlisten = [\"127.0.0.1:1\"]\n{pair}"), &[]).is_ok());
    assert_eq!(load("[tls]\ndev = true", &[]).unwrap().config.tls.addresses(), ["127.0.0.1:8443".parse().unwrap()]);
    conflict("[history]\nbytes = \"1023KiB\"", "limits.body_bytes and history.bytes disagree: ");
    conflict(
        "[limits]\nbody_bytes = 4\n[[schedule]]\nevery = \"1s\"\ndata = \"hello\"",
        "schedule.data and limits.body_bytes disagree: schedule 1",
    );
    for (listen, control, can) in [
        ("[::]:81", "127.0.0.1:81", false),
        ("[::]:81", "[::1]:81", false),
        ("[::1]:81", "[::]:81", false),
        ("0.0.0.0:81", "[::1]:81", true),
        ("[::ffff:127.0.0.1]:81", "127.0.0.1:81", false),
        ("[::]:81", "127.0.0.1:82", true),
    ] {
        let text = format!("listen = [\"{listen}\"]\ncontrol = \"{control}\"");
        assert_eq!(load(&text, &[]).is_ok(), can, "{text}");
    }
    // What the time and the count are replaced by counts, and so does what an event takes besides its data.
    let schedule = |data: &str| format!("[[schedule]]\nevery = \"1s\"\ndata = \"{data}\"\n");
    let bounds = "[history]\nbytes = \"1KiB\"\n[limits]\nbody_bytes = \"1KiB\"\n";
    assert!(load(&(schedule(&"x".repeat(600)) + bounds), &[]).is_ok());
    for data in ["x".repeat(1020), "{now}".repeat(40)] {
        conflict(&(schedule(&data) + bounds), "schedule and history disagree: schedule 1 can't be published: ");
    }
    assert!(load("listen = [\"127.0.0.1:0\"]\ncontrol = \"127.0.0.1:0\"", &[]).is_ok());
    assert!(load("listen = [\"127.0.0.2:81\"]\ncontrol = \"127.0.0.1:81\"", &[]).is_ok());
    assert!(load("[history]\nbytes = \"1MiB\"\nevents = 10000", &[]).is_ok());
}

#[test]
fn what_is_printed_reads_back_to_the_same() {
    let full = r#"
        listen = ["[::1]:1", "127.0.0.1:2"]
        default_topic = "prices/eur"
        schedule = [
            { topic = "a", every = "1s", data = "{n}", retry = "2s", keep = true },
            { every = "1h 1ms", event = "e", id = "i", data = 'two\lines"' },
        ]
        policy = [{ topic = "a/*", slow = "skip" }, { topic = "**", slow = "conflate" }]
        [history]
        bytes = 1234567
        age = "0s"
        [pass]
        latency = "20ms"
        [log]
        level = "info,sluicegate=debug"
    "#;
    for text in ["", "schedule = []", full] {
        let config = Config::parse(text, Path::new("")).unwrap();
        let printed = config.to_toml();
        assert_eq!(Config::parse(&printed, Path::new("printed")).unwrap(), config, "{printed}");
    }
    let printed = Config::default().to_toml();
    for setting in settings() {
        let key = setting.path.last().unwrap();
        assert!(printed.contains(&format!("{key} = ")) || printed.contains(&format!("[[{key}]]")), "{key}");
    }
}

#[test]
fn the_schedule_is_hello_unless_the_key_is_there() {
    let config = Config::parse("default_topic = \"lobby\"", Path::new("")).unwrap();
    assert_eq!(config.schedule, [Schedule::hello()]);
    assert!(Config::parse("schedule = []", Path::new("")).unwrap().schedule.is_empty());
}

#[test]
fn the_reference_lists_every_setting_with_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let reference = std::fs::read_to_string(path).unwrap();
    let mut rows = 0;
    for setting in settings() {
        let default = match setting.key().as_str() {
            "schedule" => "see below".to_owned(),
            _ => format!("`{}`", setting.value),
        };
        let row = format!("| `{}` | {default} |", setting.key());
        assert_eq!(reference.matches(&row).count(), 1, "docs/configuration.md needs the row {row}");
        rows += 1;
    }
    // Nothing that is gone may stay: only the fields of schedules and policies have rows besides.
    let listed = reference.lines().filter(|line| line.starts_with("| `") && !line.contains("[].")).count();
    assert_eq!(listed, rows, "docs/configuration.md has rows that are no settings");
    let hello = toml::to_string(&Schedule::hello()).unwrap();
    assert!(reference.contains(&format!("[[schedule]]\n{hello}")), "docs/configuration.md needs\n{hello}");
}
