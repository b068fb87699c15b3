//! The NATS engine: gateways that share a stream on real servers, with clients that go from one to the other.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use crate::support::hopping::{Addresses, Client, Publisher, check, publish};
use crate::support::nats::Nats;
use crate::support::{Launch, Response, Server, run, within};

/// How long may pass until all have what was published, on a busy machine.
const SETTLED: Duration = Duration::from_secs(30);

fn config(nats: &Nats, replicas: usize) -> String {
    let urls = nats.urls();
    format!("schedule = []\nengine = \"nats\"\n[cluster]\nurls = {urls}\nreplicas = {replicas}\n")
}

fn gateway(nats: &Nats, replicas: usize) -> Server {
    Launch::config(&config(nats, replicas)).start()
}

fn addresses(servers: &[&Server], of: impl Fn(&Server) -> std::net::SocketAddr) -> Addresses {
    Arc::new(Mutex::new(servers.iter().map(|server| of(server)).collect()))
}

fn ready(server: &Server) -> Response {
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
    let config = format!("{{\"name\":\"{name}\",\"subjects\":[\"{subjects}\"]}}");
    let answer = nats.request(&format!("$JS.API.STREAM.CREATE.{name}"), &config);
    assert!(answer.contains("\"config\""), "{answer}");
}
