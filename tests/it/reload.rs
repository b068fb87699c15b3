//! A new configuration while the gateway runs.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use sluicegate::{Builder, Config, ReloadError};

use crate::support::fleet::{Ask, block_on};
use crate::support::{Conversation, Item, SOON, Server, within};

const OK: &str = "sluicegate_config_last_reload_successful";
const OK_AT: &str = "sluicegate_config_last_reload_success_timestamp_seconds";

/// The settings that the log line says were applied.
fn applied(line: &Value) -> &str {
    line["applied"].as_str().unwrap_or_else(|| panic!("not applied: {line}"))
}

/// The settings that were named as needing a restart, so far.
fn need_restart(server: &Server) -> Vec<Value> {
    let warnings = server.logs("changed, but takes effect after a restart only");
    assert!(warnings.iter().all(|line| line["level"] == "WARN"));
    warnings.into_iter().map(|line| line["setting"].clone()).collect()
}

#[test]
fn what_is_invalid_changes_nothing_and_is_told_in_one_line() {
    let config = "schedule = []\n[limits]\nbody_bytes = 10\n";
    let server = Server::start(config);
    let mut stream = server.subscribe("/events/a");
    let started = server.metrics();
    assert_eq!(started.get(OK), 1.0);
    for (bad, where_it_is) in [
        (
            "schedule = []\n[limits]\nbody_bytes = 20\n[stream]\nheartbeat = \"soon\"\n",
            "sluicegate.toml:5: stream.heartbeat: ",
        ),
        ("limits = 1", "sluicegate.toml:1: limits: "),
        ("[limits]\nbody_bytes = \"100MiB\"", "limits.body_bytes and history.bytes disagree: "),
        (
            "[limits]\nbody_bytes = \"100MiB\"\n[history]\nbytes = \"200MiB\"",
            "needs a restart: limits.body_bytes and hist",
        ),
        ("[[schedule]]\nevery = \"1s\"\ndata = \"\"\nid = \"a\\rb\"", "sluicegate.toml:1: schedule: id: "),
    ] {
        let words = || server.lines().iter().filter(|line| !line.contains("INFO")).count();
        let before = words();
        let line = server.reload(bad);
        assert_eq!(line["level"], "ERROR", "{line}");
        assert!(line["error"].as_str().is_some_and(|error| error.contains(where_it_is)), "{where_it_is}: {line}");
        assert_eq!(words(), before + 1, "{:#?}", server.lines());
        let metrics = server.metrics();
        assert_eq!((metrics.get(OK), metrics.get(OK_AT)), (0.0, started.get(OK_AT)));
    }
    assert_eq!(server.publisher().post("/events/a", &[], "12345678901").status(), 413);
    server.publish("a", "1234567890");
    stream.expect_data("1234567890");

    assert_eq!(applied(&server.reload(config)), "");
    let metrics = server.metrics();
    assert_eq!(metrics.get(OK), 1.0);
    assert!(metrics.get(OK_AT) > started.get(OK_AT));
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_applied() {
    let server = Server::start("schedule = []\n[limits]\nbody_bytes = 10\n");
    let mut publisher = server.publisher();
    let line = server.reload(
        "schedule = []\nshards = 7\ncontrol = \"127.0.0.1:1\"\n[limits]\nbody_bytes = 60\nhead_bytes = \"9KiB\"\n",
    );
    assert_eq!(applied(&line), "limits.body_bytes");
    // The flags still win over the file: the addresses have not changed.
    assert!(within(SOON, || need_restart(&server).len() == 2), "{:?}", need_restart(&server));
    assert_eq!(need_restart(&server), ["limits.head_bytes", "shards"]);
    // A connection that was open before has the new limits, too.
    let batch = "{\"topic\":\"a\",\"data\":\"1\"}\n".repeat(2);
    assert_eq!(publisher.batch(&batch).len(), 2);
    assert_eq!(publisher.post("/events", &["content-type: application/x-ndjson"], batch.repeat(2)).status(), 413);
}

#[test]
fn schedules_come_and_go_and_those_that_stay_do_not_notice() {
    let schedule =
        |topic: &str, every| format!("[[schedule]]\ntopic = \"{topic}\"\nevery = \"{every}ms\"\ndata = \"{{n}}\"\n");
    let stays = schedule("stays", 50);
    let server = Server::start(&[&*stays, &schedule("goes", 20)].concat());
    let (mut stays_on, mut gone) = (server.subscribe("/events/stays"), server.subscribe("/events/goes"));
    let mut comes = server.subscribe("/events/comes");
    let entries = || server.metrics().get("sluicegate_timer_entries");
    gone.event();
    let first: u64 = stays_on.event().data.parse().unwrap();
    let began = Instant::now();
    let busy = entries();
    for round in 0..10 {
        assert_eq!(applied(&server.reload(&[&*schedule("comes", 20 + round), &stays].concat())), "schedule");
        comes.event();
    }
    // No event of the one that stays was lost, doubled or late.
    for n in 1..=20 {
        stays_on.expect_data(&(first + n).to_string());
    }
    let took = began.elapsed();
    assert!((Duration::from_millis(950)..Duration::from_secs(3)).contains(&took), "{took:?}");
    server.publish("goes", "end");
    let events = std::iter::repeat_with(|| gone.event().data).take_while(|data| data != "end").count();
    assert!(events < 25, "{events} events in a second, where 50 would have come");
    assert_eq!(applied(&server.reload("schedule = []")), "schedule");
    assert!(within(SOON, || entries() <= busy - 2.0), "{} entries, {busy} before", entries());
    server.publish("stays", "end");
    while stays_on.event().data != "end" {}
    // What would come would come with ten events of another schedule, from the same thread.
    let mut later = server.subscribe("/events/later");
    assert_eq!(applied(&server.reload(&schedule("later", 20))), "schedule");
    (1..=10).for_each(|n| drop(later.expect_data(&n.to_string())));
    server.publish("stays", "the next");
    stays_on.expect_data("the next");
}

#[test]
fn open_streams_get_the_new_heartbeat() {
    for (before, after) in [("0s", "300ms"), ("1h", "300ms")] {
        let config = |heartbeat| format!("schedule = []\n[stream]\nheartbeat = \"{heartbeat}\"\n");
        let server = Server::start(&config(before));
        let mut stream = server.subscribe("/events/a");
        stream.expect_nothing(Duration::from_millis(500));
        assert_eq!(applied(&server.reload(&config(after))), "stream.heartbeat");
        for _ in 0..3 {
            assert_eq!(stream.item(), Some(Item::Comment(String::new())));
        }
        assert_eq!(applied(&server.reload(&config("0s"))), "stream.heartbeat");
        // One may have been on its way.
        thread::sleep(Duration::from_millis(100));
        server.publish("a", "x");
        while stream.item().is_some_and(|item| !matches!(item, Item::Event(_))) {}
        stream.expect_nothing(Duration::from_millis(700));
        // On, off and on again: one rhythm, not two.
        for heartbeat in [after, "0s", after, "200ms", after] {
            server.reload(&config(heartbeat));
        }
        stream.item();
        let began = Instant::now();
        (0..4).for_each(|_| drop(stream.item()));
        assert!(began.elapsed() > Duration::from_millis(4 * 200), "{:?}", began.elapsed());
    }
}

/// A stream that does not read is closed after the deadline that runs by then, and no later than the
/// kernel's own would have it.
#[test]
fn open_streams_get_the_new_write_deadline() {
    let config = |deadline| format!("schedule = []\n[stream]\nwrite_deadline = \"{deadline}\"\n");
    let server = Server::start(&config("1s"));
    let stalls = |server: &Server| {
        let mut stream = server.connect();
        stream.send("GET /events/a HTTP/1.1\r\nhost: h\r\n\r\n");
        stream.head();
        let began = Instant::now();
        while server.metrics().get("sluicegate_behind_streams") == 0.0 {
            server.publish("a", &"x".repeat(1_000_000));
        }
        (stream, began)
    };
    let closed = |server: &Server| server.metrics().sum("sluicegate_streams_closed_total");
    let (_stream, _) = stalls(&server);
    assert_eq!(applied(&server.reload(&config("4s"))), "stream.write_deadline");
    let lengthened = Instant::now();
    assert!(within(SOON, || closed(&server) == 1.0));
    assert!(lengthened.elapsed() > Duration::from_millis(2_500), "{:?}", lengthened.elapsed());
    server.reload(&config("500ms"));
    let (_other, began) = stalls(&server);
    assert!(within(SOON, || closed(&server) == 2.0));
    assert!(began.elapsed() < Duration::from_millis(3_500), "{:?}", began.elapsed());
}

#[test]
fn policies_hold_for_streams_that_are_open() {
    let config = |policy: &str| format!("schedule = []\n{policy}\n[history]\nevents = 10\n");
    let server = Server::start(&config(""));
    let last = "sluicegate_streams_closed_total{reason=\"lagged\"}";
    let (skipped, lagged) = ("sluicegate_gaps_total{reason=\"lagged\"}", 20);
    block_on(async {
        let mut stream = Ask::target("/events/a").receive_buffer(4096).open(server.public()).await;
        let flood = || {
            let mut publisher = server.publisher();
            (0..lagged).for_each(|n| drop(publisher.publish("a", &format!("{n} {}", "x".repeat(1_000_000)))));
        };
        server.reload(&config("[[policy]]\ntopic = \"a\"\nslow = \"skip\"\n"));
        flood();
        // It reads on, and gets the gap instead of being closed.
        while stream.event().await.event != "gap" {}
        assert_eq!((server.metrics().get(skipped), server.metrics().get(last)), (1.0, 0.0));
    });
}

#[test]
fn the_log_level_and_the_drain_change() {
    let config = |level, deadline, retry| {
        format!("schedule = []\n[log]\nlevel = \"{level}\"\n[drain]\ndeadline = \"{deadline}\"\nretry = \"{retry}\"\n")
    };
    let mut server = Server::start(&config("info", "1h", "3s"));
    let mut stream = server.subscribe("/events/a");
    assert_eq!(applied(&server.reload(&config("trace", "2s", "50s"))), "drain.deadline, drain.retry, log.level");
    drop(server.subscribe("/events/a"));
    assert!(within(SOON, || server.log("stream closed").is_some()), "{:#?}", server.lines());
    server.signal(Signal::TERM);
    assert_eq!(server.wait(Duration::from_secs(5)).code(), Some(0));
    assert!(matches!(stream.item(), Some(Item::Retry(ms)) if ms >= 25_000));
}

#[test]
fn new_streams_get_the_new_age() {
    let server = Server::start("");
    let mut old = server.subscribe("/events/a");
    server.reload("[stream]\nmax_age = \"200ms\"\n");
    let mut new = server.subscribe("/events/a");
    assert_eq!(new.item(), None);
    old.expect_nothing(Duration::from_millis(300));
}

/// A storm of signals under load: all that is published arrives, once and in order.
#[test]
fn streams_and_publishers_do_not_notice() {
    let config = |n| {
        format!(
            "[stream]\nheartbeat = \"{}ms\"\nwrite_deadline = \"{}s\"\n[[policy]]\ntopic = \"t{n}\"\nslow = \"skip\"\n\
             [[schedule]]\ntopic = \"other\"\nevery = \"{}ms\"\ndata = \"x\"\n",
            50 + n,
            10 + n,
            10 + n
        )
    };
    let server = Server::start(&config(0));
    let mut streams: Vec<_> = (0..20).map(|n| server.subscribe(&format!("/events?topic=a&topic=own/{n}"))).collect();
    let mut publisher = server.publisher();
    let publishing = thread::spawn(move || {
        (0..2_000).for_each(|n| drop(publisher.publish("a", &n.to_string())));
    });
    let mut rounds = 0;
    while !publishing.is_finished() {
        rounds += 1;
        applied(&server.reload(&config(rounds % 100)));
    }
    publishing.join().expect("all were accepted");
    eprintln!("{rounds} reloads");
    assert!(rounds > 3);
    for stream in &mut streams {
        (0..2_000).for_each(|n| drop(stream.expect_data(&n.to_string())));
    }
    assert_eq!(server.metrics().sum("sluicegate_streams"), 20.0);
}

#[test]
fn the_library_reloads_too() {
    let config = |text: &str| {
        let mut config = Config::parse(text, "library.toml".as_ref()).unwrap();
        config.listen = toml::Value::try_from(["127.0.0.1:0"]).unwrap().try_into().unwrap();
        config.control = ([127, 0, 0, 1], 0).into();
        config
    };
    let gateway = Builder::from_config(config("schedule = []")).start().unwrap();
    let mut stream = Conversation::to(gateway.addresses()[0]);
    stream.send("GET /events/tick HTTP/1.1\r\nhost: h\r\n\r\n");
    stream.head();
    let tick = "shards = 9\n[[schedule]]\ntopic = \"tick\"\nevery = \"20ms\"\ndata = \"{n}\"\n";
    let reloaded = gateway.reload(&config(tick)).unwrap();
    assert_eq!((reloaded.applied, reloaded.need_restart), (vec!["schedule".to_owned()], vec!["shards".to_owned()]));
    stream.expect_data("1");
    let error = gateway.reload(&config("[history]\nbytes = \"1KiB\"")).unwrap_err();
    assert!(matches!(error, ReloadError::Config(_)) && error.to_string().contains("history.bytes"), "{error}");
    stream.event();
}
