//! The NATS engine: gateways that share a stream on real servers, with clients that go from one to the other.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::Signal;

use crate::support::hopping::{Addresses, Client, Publisher, check, publish};
use crate::support::nats::Nats;
use crate::support::{Item, Launch, Response, Server, run, within};

/// How long may pass until all have what was published, on a busy machine.
pub(crate) const SETTLED: Duration = Duration::from_secs(30);

pub(crate) fn config(nats: &Nats, replicas: usize) -> String {
    let urls = nats.urls();
    format!("schedule = []\nengine = \"nats\"\n[cluster]\nurls = {urls}\nreplicas = {replicas}\n")
}

fn gateway(nats: &Nats, replicas: usize) -> Server {
    Launch::config(&config(nats, replicas)).start()
}

fn addresses(servers: &[&Server], of: impl Fn(&Server) -> std::net::SocketAddr) -> Addresses {
    Arc::new(Mutex::new(servers.iter().map(|server| of(server)).collect()))
}

pub(crate) fn ready(server: &Server) -> Response {
    let mut conversation = server.connect_control();
    conversation.send("GET /readyz HTTP/1.1\r\nhost: h\r\n\r\n");
    conversation.response()
}

#[test]
fn clients_that_hop_between_two_gateways_get_each_event_once() {
    let Some(nats) = Nats::start(1) else { return };
    let (one, other) = (gateway(&nats, 1), gateway(&nats, 1));
    assert!(ready(&one).body.starts_with("ready\nengine ready since "), "{:?}", ready(&one));
    let (public, control) = (addresses(&[&one, &other], Server::public), addresses(&[&one, &other], Server::control));
    let topics = ["a", "b/c"];
    let clients: Vec<_> = (0..6)
        .map(|at| Client::start(&public, topics[at % 2], at, Duration::from_millis(300 + 70 * at as u64)))
        .collect();
    let publishers = topics.map(|topic| Publisher::start(&control, topic, Duration::from_millis(2)));
    thread::sleep(Duration::from_secs(4));
    let acknowledged = publishers.map(Publisher::stop);
    for (at, client) in clients.iter().enumerate() {
        let acknowledged = &acknowledged[at % 2];
        let last = acknowledged.last().expect("some were published").0.to_string();
        assert!(within(SETTLED, || client.has(&last)), "{at}");
        assert_eq!(check(client, acknowledged), Vec::<String>::new());
    }
    // Both gave the same ids, and tell the same of a call that comes again, whoever had it first.
    let first = publish(one.control(), "a", "-", Some("again")).unwrap();
    let again = publish(other.control(), "a", "-", Some("again")).unwrap();
    let id = |body: &str| serde_json::from_str::<serde_json::Value>(body).unwrap()["id"].clone();
    assert_eq!((first.0, again.0, id(&first.1)), (200, 200, id(&again.1)));
    assert!(again.1.contains("\"duplicate\":true"), "{again:?}");
}

/// What it is told of the stream may be older than what it has had meanwhile.
#[test]
fn a_gateway_that_is_busy_is_not_taken_for_one_whose_servers_are_away() {
    let Some(nats) = Nats::start(1) else { return };
    let (one, other) = (gateway(&nats, 1), gateway(&nats, 1));
    let until = std::time::Instant::now() + Duration::from_secs(11);
    thread::scope(|scope| {
        for at in 0..8 {
            let mut publisher = [&one, &other][at % 2].publisher();
            scope.spawn(move || {
                while std::time::Instant::now() < until {
                    publisher.publish("t", "x");
                }
            });
        }
    });
    for server in [&one, &other] {
        assert_eq!(server.log("the engine is away"), None);
        let restarts = server.metrics().sum("sluicegate_engine_reader_restarts_total");
        assert_eq!(restarts, 0.0);
    }
}

/// What the program says that does not start with this configuration; it has to end soon, and not well.
#[track_caller]
fn refused(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sluicegate.toml");
    std::fs::write(&file, format!("listen = [\"127.0.0.1:0\"]\ncontrol = \"127.0.0.1:0\"\n{text}")).unwrap();
    let output = run(&["--config", file.to_str().unwrap()], &[]);
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn what_is_wrong_with_servers_and_stream_is_named() {
    let Some(nats) = Nats::start(1) else { return };
    let with = |settings: &str| config(&nats, 1) + settings;
    let says = |text: &str, expected: &[&str]| {
        let told = refused(text);
        assert!(expected.iter().all(|part| told.contains(part)), "{expected:?}: {told}");
    };
    says(&with("create = false"), &["there is no stream SG_default", "cluster.create is off"]);
    says(&with("credentials = \"/missing.creds\""), &["cluster.credentials", "/missing.creds"]);
    says(&config(&nats, 3), &["the stream SG_default", "replicas"]);
    // Another cluster's stream on our subjects.
    let taken = with("namespace = \"mine\"");
    create(&nats, "OTHER", "sg.mine.t.>");
    says(&taken, &["another stream takes", "sg.mine.t.>", "cluster.namespace"]);
    create(&nats, "SG_yours", "yours.>");
    says(&with("namespace = \"yours\""), &["the stream SG_yours", "yours.>", "cluster.namespace"]);

    let off = Nats::start_with(1, "# no jetstream\n").unwrap();
    says(&config(&off, 1), &["JetStream does not answer"]);
    let guarded = "authorization { users: [{ user: u, password: p, permissions: { publish: [\"x\"] } }] }\n";
    let guarded = Nats::start_with(1, guarded).unwrap();
    says(&config(&guarded, 1), &["does not let us in", "cluster.credentials"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("who");
    std::fs::write(&file, "u:p\n").unwrap();
    says(&(config(&guarded, 1) + &format!("credentials = {file:?}")), &["no answer about the stream", "ermissions"]);
}

/// Makes a stream as no gateway does.
#[track_caller]
fn create(nats: &Nats, name: &str, subjects: &str) {
    let config = format!("{{\"name\":\"{name}\",\"subjects\":[\"{subjects}\"],\"storage\":\"memory\"}}");
    let answer = nats.request(&format!("$JS.API.STREAM.CREATE.{name}"), &config);
    assert!(answer.contains("\"config\""), "{answer}");
}

/// Clients and publishers on two gateways.
struct Traffic {
    public: Addresses,
    control: Addresses,
    clients: Vec<Client>,
    publishers: Vec<Publisher>,
}

impl Traffic {
    fn start(gateways: [&Server; 2]) -> Traffic {
        let (public, control) = (addresses(&gateways, Server::public), addresses(&gateways, Server::control));
        let clients =
            (0..4).map(|at| Client::start(&public, "t", at, Duration::from_millis(700 + 400 * at as u64))).collect();
        let publishers = vec![Publisher::start(&control, "t", Duration::from_millis(3))];
        Traffic { public, control, clients, publishers }
    }

    /// Waits until so many more have been acknowledged.
    #[track_caller]
    fn goes_on(&self, more: usize) {
        let before = self.publishers[0].acknowledged();
        assert!(within(SETTLED, || self.publishers[0].acknowledged() >= before + more), "nothing is acknowledged");
    }

    /// Ends it: each acknowledged event has come once, in order. Answers all gaps.
    #[track_caller]
    fn end(mut self) -> Vec<String> {
        let acknowledged = self.publishers.remove(0).stop();
        let last = acknowledged.last().expect("some were published").0.to_string();
        let mut gaps = Vec::new();
        for (at, client) in self.clients.iter().enumerate() {
            assert!(within(SETTLED, || client.has(&last)), "client {at} has not got {last}");
            gaps.extend(check(client, &acknowledged));
        }
        gaps
    }
}

const NO_GAP: [String; 0] = [];

#[test]
fn servers_that_are_killed_or_ended_lose_nothing() {
    let Some(mut nats) = Nats::start(3) else { return };
    let (one, other) = (gateway(&nats, 3), gateway(&nats, 3));
    let traffic = Traffic::start([&one, &other]);
    traffic.goes_on(100);
    for signal in [Signal::KILL, Signal::TERM] {
        let leader = nats.leader("SG_default");
        nats.end(leader, signal);
        traffic.goes_on(100);
        nats.start_server(leader);
        traffic.goes_on(100);
    }
    assert_eq!(traffic.end(), NO_GAP);
}

#[test]
fn while_servers_are_away_streams_stay_and_publishers_are_told() {
    let Some(mut nats) = Nats::start(1) else { return };
    let text = config(&nats, 1) + "ready_grace = \"1s\"\n[stream]\nheartbeat = \"200ms\"\n";
    let (one, other) = (Launch::config(&text).start(), Launch::config(&text).start());
    let traffic = Traffic::start([&one, &other]);
    let mut stays = one.subscribe("/events/quiet");
    traffic.goes_on(100);

    nats.signal(0, Signal::STOP);
    assert!(within(SETTLED, || ready(&one).body.contains("engine stale since")), "{:?}", ready(&one));
    assert_eq!(ready(&one).status(), 503);
    let (status, body) = publish(one.control(), "t", "-", None).unwrap();
    assert!(status == 503 && body.contains("not stored: the engine is away"), "{status} {body}");
    nats.signal(0, Signal::CONT);
    traffic.goes_on(100);
    assert!(within(SETTLED, || ready(&one).status() == 200), "{:?}", ready(&one));

    nats.end(0, Signal::KILL);
    assert!(within(SETTLED, || ready(&other).body.contains("engine stale since")), "{:?}", ready(&other));
    nats.start_server(0);
    traffic.goes_on(100);
    publish(other.control(), "quiet", "end", None).unwrap();
    stays.expect_data("end");
    assert_eq!(traffic.end(), NO_GAP);
}

/// Who comes back after a while is further behind than memory reaches, and reads the stream.
#[test]
fn gateways_that_are_killed_lose_and_repeat_nothing() {
    let Some(nats) = Nats::start(1) else { return };
    let gateway = |nats: &Nats, _| Launch::config(&(config(nats, 1) + "[history]\nevents = 10\n")).start();
    let (one, other) = (gateway(&nats, 1), gateway(&nats, 1));
    let traffic = Traffic::start([&one, &other]);
    let mut gateways = [one, other];
    for at in [0, 1, 0] {
        traffic.goes_on(50);
        gateways[at].signal(Signal::KILL);
        gateways[at] = gateway(&nats, 1);
        traffic.public.lock()[at] = gateways[at].public();
        traffic.control.lock()[at] = gateways[at].control();
    }
    traffic.goes_on(50);
    // All at once.
    gateways.iter().for_each(|gateway| gateway.signal(Signal::KILL));
    for (at, killed) in gateways.iter_mut().enumerate() {
        *killed = gateway(&nats, 1);
        traffic.public.lock()[at] = killed.public();
        traffic.control.lock()[at] = killed.control();
    }
    traffic.goes_on(50);
    assert_eq!(traffic.end(), NO_GAP);
}

#[test]
fn a_stream_that_is_made_anew_is_noticed_and_told() {
    let Some(nats) = Nats::start(1) else { return };
    let one = gateway(&nats, 1);
    let mut stream = one.subscribe("/events/t");
    let id = one.publish("t", "old");
    assert_eq!(stream.expect_data("old").id, id);
    nats.request("$JS.API.STREAM.DELETE.SG_default", "");
    assert!(within(SETTLED, || ready(&one).body.contains("engine away since")), "{:?}", ready(&one));
    // It is made by who starts, and not by who runs.
    let other = gateway(&nats, 1);
    let gap = stream.patience(SETTLED);
    let mut stream = gap;
    let gap = stream.event();
    assert!(gap.event == "gap" && gap.data.contains("foreign_epoch"), "{gap:?}");
    let new = other.publish("t", "new");
    assert_eq!(stream.expect_data("new").id, new);
    assert_ne!(new[..8], id[..8], "another epoch");
    assert!(within(SETTLED, || publish(one.control(), "t", "again", None).unwrap().0 == 200));
    stream.expect_data("again");
    let (_, mut resumed) = other.open("/events/t", &[&format!("last-event-id: {id}")]);
    let gap = resumed.event();
    assert!(gap.event == "gap" && gap.data.contains("foreign_epoch"), "{gap:?}");
    assert_eq!(resumed.event().id, new);
}

#[test]
fn a_store_that_is_back_with_less_is_noticed_though_it_has_more_since() {
    let Some(mut nats) = Nats::start(1) else { return };
    let folder = tempfile::tempdir().unwrap();
    let text = config(&nats, 1) + &format!("state_dir = {:?}\n", folder.path());
    let server = Launch::config(&text).start();
    let ids: Vec<_> = (0..5).map(|n| server.publish("t", &n.to_string())).collect();
    nats.end(0, Signal::TERM);
    let backup = tempfile::tempdir().unwrap();
    copy(&nats.store(0), backup.path());
    nats.start_server(0);
    assert!(within(SETTLED, || publish(server.control(), "t", "5", None).unwrap().0 == 200));
    let (_, mut stream) = server.open("/events/t", &[&format!("last-event-id: {}", ids[4])]);
    let lost = stream.expect_data("5").id;
    let mut stream = stream.patience(SETTLED);

    let restore = |nats: &mut Nats, first: u64| {
        nats.end(0, Signal::TERM);
        std::fs::remove_dir_all(nats.store(0)).unwrap();
        copy(backup.path(), &nats.store(0));
        nats.start_server(0);
        // It has more than the gateway saw, before that is back.
        for n in first..first + 5 {
            nats.publish("sg.default.t.t", "", &format!("{n}"));
        }
    };
    restore(&mut nats, 100);
    let gap = stream.event();
    assert!(gap.event == "gap" && gap.data.contains("foreign_epoch"), "{gap:?}");
    for n in (0..5).chain(100..105) {
        assert_ne!(stream.expect_data(&n.to_string()).id[..8], lost[..8], "another epoch");
    }
    // A gateway that starts knows it by its file.
    assert!(within(SETTLED, || publish(server.control(), "t", "end", None).unwrap().0 == 200));
    let end = stream.expect_data("end").id;
    drop(server);
    restore(&mut nats, 200);
    let server = Launch::config(&text).start();
    let (_, mut stream) = server.open("/events/t", &[&format!("last-event-id: {end}")]);
    let gap = stream.event();
    assert!(gap.event == "gap" && gap.data.contains("foreign_epoch"), "{gap:?}");
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to)
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn what_is_missing_in_the_stream_is_told_where_it_was() {
    let Some(nats) = Nats::start(1) else { return };
    let server = gateway(&nats, 1);
    let ids: Vec<_> = (0..6).map(|n| server.publish("t", &n.to_string())).collect();
    nats.request("$JS.API.STREAM.MSG.DELETE.SG_default", "{\"seq\":4}");
    let resumes = |server: &Server, id: &str| server.open("/events/t", &[&format!("last-event-id: {id}")]).1;
    // The gateway that has it serves it. One that starts has not.
    let mut stream = resumes(&server, &ids[1]);
    (2..6).for_each(|n| drop(stream.expect_data(&n.to_string())));
    let other = gateway(&nats, 1);
    let mut stream = resumes(&other, &ids[1]);
    stream.expect_data("2");
    let gap = stream.event();
    assert!(gap.event == "gap" && gap.data.contains("\"lost\""), "{gap:?}");
    assert_eq!(stream.expect_data("4").id, ids[4]);
    let ignores = Launch::config(&(config(&nats, 1) + "holes = \"ignore\"\n")).start();
    let mut stream = resumes(&ignores, &ids[1]);
    stream.expect_data("2");
    stream.expect_data("4");

    // A purge, of all but the last.
    nats.request("$JS.API.STREAM.PURGE.SG_default", "{\"keep\":1}");
    let expired = || {
        // A stream that begins at the very moment is closed, and would come back.
        thread::sleep(Duration::from_millis(300));
        let event = resumes(&server, &ids[1]).event();
        event.event == "gap" && event.data.contains("expired")
    };
    assert!(within(SETTLED, expired), "memory keeps what was purged");
    let mut stream = resumes(&server, &ids[1]);
    stream.event();
    assert_eq!(stream.expect_data("5").id, ids[5]);
}

#[test]
fn what_others_write_is_an_event_or_skipped() {
    let Some(nats) = Nats::start_with(1, "max_payload: 65536\n") else { return };
    let server = gateway(&nats, 1);
    let mut stream = server.subscribe("/events?match=**");
    nats.publish("sg.default.t.prices.e%20r", "", "plain");
    let event = stream.expect_data("plain");
    let (_, mut resumed) = server.open("/events/prices/e%20r", &["last-event-id: earliest"]);
    assert_eq!(resumed.event(), event);
    nats.publish("sg.default.m", "", "of no topic");
    nats.publish("sg.default.t.x", "Sg-V: 1\r\n", "no record");
    let gap = stream.event();
    assert!(gap.event == "gap" && gap.data.contains("\"lost\""), "{gap:?}");
    server.publish("t", "end");
    stream.expect_data("end");

    let (status, body) = publish(server.control(), "t", &"x".repeat(70_000), None).unwrap();
    assert!(status == 413 && body.contains("max_payload is 65536"), "{status} {body}");
    // Live-only events go to all gateways, too, and a batch comes as one.
    let other = gateway(&nats, 1);
    let mut elsewhere = other.subscribe("/events/live");
    let lines = "{\"topic\":\"live\",\"data\":\"1\"}\n{\"topic\":\"live\",\"data\":\"2\",\"keep\":false}\n";
    let ids = server.publisher().batch(lines);
    assert_eq!(elsewhere.expect_data("1").id, ids[0]);
    elsewhere.expect_data("2");
    assert_eq!(ids[1], "");
}

#[test]
fn gateways_that_start_at_once_make_one_stream() {
    let Some(nats) = Nats::start(1) else { return };
    let gateways: Vec<_> = thread::scope(|scope| {
        let starting: Vec<_> = (0..4).map(|_| scope.spawn(|| gateway(&nats, 1))).collect();
        starting.into_iter().map(|starting| starting.join().unwrap()).collect()
    });
    let mut streams: Vec<_> = gateways.iter().map(|gateway| gateway.subscribe("/events/t")).collect();
    for gateway in &gateways {
        let id = gateway.publish("t", "x");
        streams.iter_mut().for_each(|stream| assert_eq!(stream.event().id, id));
    }
}

#[test]
fn an_id_that_a_gateway_is_yet_to_get_is_waited_for() {
    let Some(nats) = Nats::start(1) else { return };
    let text = config(&nats, 1) + "[stream]\nheartbeat = \"100ms\"\n";
    let server = Launch::config(&text).start();
    let ids: Vec<_> = (0..2).map(|n| server.publish("t", &n.to_string())).collect();
    // As numbers, ids of one event each follow each other at one distance.
    let number = |id: &str| u64::from_str_radix(&id[9..], 36).unwrap();
    let text = |number: u64| {
        let mut digits = Vec::new();
        let mut left = number;
        for _ in 0..12 {
            digits.push(char::from_digit((left % 36) as u32, 36).unwrap());
            left /= 36;
        }
        format!("{}-{}", &ids[0][..8], digits.iter().rev().collect::<String>())
    };
    let step = number(&ids[1]) - number(&ids[0]);
    let next = |n: u64| text(number(&ids[1]) + n * step);
    assert_eq!(text(number(&ids[1])), ids[1]);
    let ask = |id: &str| {
        let mut stream = server.connect().patience(SETTLED);
        stream.send(format!("GET /events/t HTTP/1.1\r\nhost: h\r\nlast-event-id: {id}\r\n\r\n"));
        assert_eq!(stream.head().status, 200);
        stream
    };
    // One that the stream does not have, is told once that is sure.
    let mut never = ask(&next(1_000_000));
    let gap = never.event();
    assert!(gap.event == "gap" && gap.data.contains("unknown_id"), "{gap:?}");
    never.expect_data("0");
    // Two are to come, before the stream is looked at again: who has the first wants the second only.
    let mut stream = ask(&next(1));
    stream.beginning();
    assert!(matches!(stream.item(), Some(Item::Comment(_))), "a heartbeat while it waits");
    assert_eq!(server.publish("t", "2"), next(1));
    let id = server.publish("t", "3");
    assert_eq!(stream.expect_data("3").id, id);
}

#[test]
fn a_schedule_that_all_run_is_published_once_a_tick() {
    let Some(nats) = Nats::start(1) else { return };
    let schedule = "schedule = [{ topic = \"s\", every = \"250ms\", data = \"{n} {now}\", keep = true }]";
    let text = config(&nats, 1).replace("schedule = []", schedule);
    let gateways = [(); 3].map(|()| Launch::config(&text).start());
    let mut streams = [&gateways[0], &gateways[2]].map(|gateway| gateway.subscribe("/events/s"));
    let ticks: Vec<_> = (0..8).map(|_| streams[0].event()).collect();
    let number = |data: &str| data.split(' ').next().unwrap().parse::<u64>().unwrap();
    // A busy machine may be too late for a tick, and none comes twice.
    assert!(ticks.windows(2).all(|pair| number(&pair[0].data) < number(&pair[1].data)), "{ticks:?}");
    let (first, last) = (number(&ticks[0].data), number(&ticks[7].data));
    assert!(last - first < 30, "{ticks:?}");
    let same: Vec<_> =
        std::iter::repeat_with(|| streams[1].event()).skip_while(|event| event.id < ticks[0].id).take(4).collect();
    for event in &same {
        assert!(
            ticks.iter().all(|tick| (tick.id == event.id) == (number(&tick.data) == number(&event.data))),
            "{event:?}"
        );
    }
}

#[test]
fn streams_are_ended_or_stay_when_the_engine_stays_away_as_is_configured() {
    let Some(nats) = Nats::start(1) else { return };
    let text = config(&nats, 1)
        + "ready_grace = \"500ms\"\naway = \"close\"\n[drain]\ndeadline = \"1s\"\n[history]\nevents = 10\n[stream]\nheartbeat = \"100ms\"\n";
    let server = Launch::config(&text).start();
    let ids: Vec<_> = (0..50).map(|n| server.publish("t", &n.to_string())).collect();
    let mut live = server.subscribe("/events/t").patience(SETTLED);
    nats.signal(0, Signal::STOP);
    // One that waits for what has left memory is ended as well.
    let mut waits = server.connect().patience(SETTLED);
    waits.send(format!("GET /events/t HTTP/1.1\r\nhost: h\r\nlast-event-id: {}\r\n\r\n", ids[0]));
    assert_eq!(waits.head().status, 200);
    for stream in [&mut live, &mut waits] {
        let items: Vec<_> = std::iter::from_fn(|| stream.item()).collect();
        assert!(matches!(items.last(), Some(Item::Retry(ms)) if (1_500..=4_500).contains(ms)), "{items:?}");
    }
    assert_eq!(ready(&server).status(), 503);
    let mut comes = server.subscribe("/events/t").patience(SETTLED);
    (0..20).for_each(|_| assert!(matches!(comes.item(), Some(Item::Comment(_))), "it stays"));
    nats.signal(0, Signal::CONT);
    assert!(within(SETTLED, || publish(server.control(), "t", "end", None).unwrap().0 == 200));
    comes.expect_data("end");
}

#[test]
fn a_stream_that_loses_its_subjects_to_another_is_a_fault_until_it_has_them_again() {
    let Some(nats) = Nats::start(1) else { return };
    let server = gateway(&nats, 1);
    let stream = server.subscribe("/events/t");
    let info = nats.request("$JS.API.STREAM.INFO.SG_default", "");
    let mut stays: serde_json::Value = serde_json::from_str::<serde_json::Value>(&info).unwrap()["config"].clone();
    let subjects = stays["subjects"].take();
    stays["subjects"] = serde_json::json!(["elsewhere"]);
    let update = |config: &serde_json::Value| {
        let answer = nats.request("$JS.API.STREAM.UPDATE.SG_default", &config.to_string());
        assert!(!answer.contains("\"error\""), "{answer}");
    };
    update(&stays);
    create(&nats, "OTHER", "sg.default.t.>");
    // Whether it is known yet or not.
    let (status, body) = publish(server.control(), "t", "lost", None).unwrap();
    assert!(status == 503 && body.contains("not stored"), "{status} {body}");
    assert!(within(SETTLED, || ready(&server).body.contains("engine faulted since")), "{:?}", ready(&server));
    assert_eq!((ready(&server).status(), publish(server.control(), "t", "lost", None).unwrap().0), (503, 503));
    assert!(server.log("the stream is not the engine's any more").is_some());

    nats.request("$JS.API.STREAM.DELETE.OTHER", "");
    stays["subjects"] = subjects;
    update(&stays);
    assert!(within(SETTLED, || publish(server.control(), "t", "end", None).unwrap().0 == 200));
    assert_eq!(ready(&server).status(), 200);
    stream.patience(SETTLED).expect_data("end");
}
