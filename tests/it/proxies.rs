//! nginx and HAProxy with the files of `deploy/cluster`, in front of two gateways. Only addresses are changed, and in one
//! test all times, in proportion.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::server::Launch;
use crate::support::{Conversation, Item, Metrics, SOON, Server, run, tool, within};

const NGINX: &str = include_str!("../../deploy/cluster/nginx.conf");
const HAPROXY: &str = include_str!("../../deploy/cluster/haproxy.cfg");

/// How long a stream may be silent in the files, and how often a gateway sends a heartbeat unless told otherwise.
const SILENCE: &str = "75s";
const HEARTBEAT: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Nginx,
    Haproxy,
}

/// A running proxy. Dropping it kills it.
struct Proxy {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Kind {
    fn program(self) -> Option<PathBuf> {
        tool(match self {
            Kind::Nginx => "nginx",
            Kind::Haproxy => "haproxy",
        })
    }

    fn config(self) -> &'static str {
        match self {
            Kind::Nginx => NGINX,
            Kind::Haproxy => HAPROXY,
        }
    }

    /// Starts it, with these changes to its file besides.
    fn start(self, program: &PathBuf, gateways: [&Server; 2], changes: &[(&str, &str)]) -> Proxy {
        // Neither can say which port the kernel gave it: another process may take the one that was free.
        (0..5).find_map(|_| self.try_to_start(program, gateways, changes)).expect("the proxy starts")
    }

    fn try_to_start(self, program: &PathBuf, gateways: [&Server; 2], changes: &[(&str, &str)]) -> Option<Proxy> {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut config = self.config().to_owned();
        let mut change = |from: &str, to: &str| {
            assert!(config.contains(from), "{self:?}: {from:?} is not in the file");
            config = config.replace(from, to);
        };
        for (name, gateway) in ["gateway-1", "gateway-2"].into_iter().zip(gateways) {
            match self {
                Kind::Nginx => change(&format!("{name}:8080"), &gateway.public().to_string()),
                Kind::Haproxy => change(
                    &format!("{name}:8080 check port 8082"),
                    &format!("{} check port {}", gateway.public(), gateway.health().port()),
                ),
            }
        }
        match self {
            Kind::Nginx => {
                change("listen 8000", &format!("listen {address}"));
                // Its own folders are root's.
                let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
                let own = |kind| format!("{kind}_temp_path {};\n", folder.path().join(kind).display());
                let own: String = kinds.into_iter().map(own).collect();
                change("http {", &format!("http {{\naccess_log off;\n{own}"));
            }
            Kind::Haproxy => change("bind :8000", &format!("bind {address}")),
        }
        changes.iter().for_each(|(from, to)| change(from, to));
        let file = folder.path().join("proxy.conf");
        fs::write(&file, config).expect("a file");
        let mut command = Command::new(program);
        match self {
            Kind::Nginx => {
                let pid = folder.path().join("pid");
                let global = format!("daemon off; pid {}; error_log stderr;", pid.display());
                command.arg("-p").arg(folder.path()).arg("-e").arg("stderr").arg("-c").arg(&file).arg("-g").arg(global);
            }
            Kind::Haproxy => {
                command.arg("-db").arg("-f").arg(&file);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut proxy = Proxy { child: command.spawn().expect("the proxy starts"), address, _folder: folder };
        let mut ended = None;
        let is_up = within(SOON, || {
            ended = proxy.child.try_wait().expect("a child of ours");
            ended.is_some() || TcpStream::connect(address).is_ok()
        });
        if ended.is_some() {
            let mut said = String::new();
            let _ = proxy.child.stderr.take().expect("a pipe").read_to_string(&mut said);
            eprintln!("{self:?} ended: {said}");
            assert!(said.contains("in use") || said.contains("cannot bind"), "{said}");
            return None;
        }
        assert!(is_up, "{self:?} does not listen");
        Some(proxy)
    }
}

impl Proxy {
    /// Opens a stream through it, and reads its beginning.
    #[track_caller]
    fn subscribe(&self) -> Conversation {
        let mut conversation = Conversation::to(self.address);
        conversation.send("GET /events/t HTTP/1.1\r\nhost: h\r\naccept: text/event-stream\r\n\r\n");
        let head = conversation.head();
        assert_eq!(head.status, 200, "{}", head.text);
        assert_eq!(head.field("content-type"), Some("text/event-stream"), "{}", head.text);
        assert_eq!(head.field("content-encoding"), None, "{}", head.text);
        conversation.beginning();
        conversation
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // By its signal for a fast end: nginx' workers go with it.
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).expect("a process id");
        let _ = rustix::process::kill_process(pid, Signal::TERM);
        if !within(SOON, || matches!(self.child.try_wait(), Ok(Some(_)))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[track_caller]
fn gateway(config: &str) -> Server {
    Launch::config(&format!("schedule = []\n{config}")).argument("--health=127.0.0.1:0").start()
}

fn open_streams(gateway: &Server) -> usize {
    Metrics::of(gateway.control()).sum("sluicegate_streams") as usize
}

/// Both proxies that are installed, each with two gateways of this configuration.
fn with_each(config: &str, check: impl Fn(Kind, PathBuf, [Server; 2])) {
    for kind in [Kind::Nginx, Kind::Haproxy] {
        if let Some(program) = kind.program() {
            check(kind, program, [gateway(config), gateway(config)]);
        }
    }
}

/// Waits until the two have so many streams.
#[track_caller]
fn expect_streams(kind: Kind, gateways: [&Server; 2], expected: [usize; 2]) {
    let mut found = [0, 0];
    let as_expected = within(SOON, || {
        found = gateways.map(open_streams);
        found == expected
    });
    assert!(as_expected, "{kind:?}: {found:?} streams, where {expected:?} are expected");
}

#[test]
fn events_cross_a_proxy_at_once_and_a_clients_end_does_too() {
    with_each("", |kind, program, gateways| {
        let gateways = [&gateways[0], &gateways[1]];
        let proxy = kind.start(&program, gateways, &[]);
        let mut streams: Vec<_> = (0..4).map(|_| proxy.subscribe()).collect();
        expect_streams(kind, gateways, [2, 2]);
        for number in 0..3 {
            let data = format!("event {number}");
            gateways.iter().for_each(|gateway| drop(gateway.publish("t", &data)));
            // The next event is published only when this one came: no later one pushes it out of a buffer.
            streams.iter_mut().for_each(|stream| drop(stream.expect_data(&data)));
        }
        drop(streams);
        expect_streams(kind, gateways, [0, 0]);
    });
}

#[test]
fn a_new_stream_goes_to_the_gateway_that_has_the_fewest() {
    with_each("", |kind, program, gateways| {
        let gateways = [&gateways[0], &gateways[1]];
        let proxy = kind.start(&program, gateways, &[]);
        let mut streams: Vec<_> = (0..12).map(|_| proxy.subscribe()).collect();
        expect_streams(kind, gateways, [6, 6]);
        gateways[0].publish("t", "go");
        gateways[1].publish("t", "stay");
        streams.retain_mut(|stream| stream.event().data == "stay");
        expect_streams(kind, gateways, [0, 6]);
        // The proxy may learn of an end a moment after the gateway has.
        thread::sleep(Duration::from_millis(200));
        // In turns, three would go to each.
        streams.extend((0..6).map(|_| proxy.subscribe()));
        expect_streams(kind, gateways, [6, 6]);
    });
}

#[test]
fn heartbeats_keep_a_silent_stream_open_and_without_them_the_proxy_ends_it() {
    let silence = humantime::parse_duration(SILENCE).expect("a time");
    assert!(silence >= 4 * HEARTBEAT, "too few heartbeats may be missed");
    // All times a twenty-fifth of what they are.
    let [short_silence, heartbeat] = [silence / 25, HEARTBEAT / 25].map(|time| format!("{}ms", time.as_millis()));
    let changes = [(SILENCE, short_silence.as_str())];
    with_each(&format!("stream.heartbeat = \"{heartbeat}\""), |kind, program, gateways| {
        let proxy = kind.start(&program, [&gateways[0], &gateways[1]], &changes);
        let mut stream = proxy.subscribe();
        let began = Instant::now();
        while began.elapsed() < 3 * silence / 25 {
            assert!(matches!(stream.item(), Some(Item::Comment(_))), "{kind:?}: ended after {:?}", began.elapsed());
        }
    });
    with_each("stream.heartbeat = \"0s\"", |kind, program, gateways| {
        let proxy = kind.start(&program, [&gateways[0], &gateways[1]], &changes);
        assert!(proxy.subscribe().is_closed_within(silence / 25 + SOON), "{kind:?} knows no such time");
    });
}

#[test]
fn a_gateway_that_drains_or_is_gone_gets_no_new_streams() {
    with_each("[drain]\ndelay = \"4s\"\ndeadline = \"2s\"", |kind, program, [first, second]| {
        let proxy = kind.start(&program, [&first, &second], &[]);
        let mut streams = [proxy.subscribe(), proxy.subscribe()];
        expect_streams(kind, [&first, &second], [1, 1]);
        first.publish("t", "first");
        second.publish("t", "second");
        let datas = streams.each_mut().map(|stream| stream.event().data);
        let at = datas.iter().position(|data| data == "first").expect("one of them");
        first.signal(Signal::TERM);
        if kind == Kind::Haproxy {
            // It asks every second and believes the second answer: before the gateway closes its listeners.
            thread::sleep(Duration::from_secs(3));
            let _more = [proxy.subscribe(), proxy.subscribe()];
            expect_streams(kind, [&first, &second], [1, 3]);
        }
        assert_eq!(streams[at].next_event(), None, "{kind:?}: the end is not a proper one");
        second.publish("t", "still here");
        streams[1 - at].expect_data("still here");
        drop(first);
        let before = open_streams(&second);
        let _more = [proxy.subscribe(), proxy.subscribe()];
        assert!(within(SOON, || open_streams(&second) == before + 2), "{kind:?}: {}", open_streams(&second));
    });
}

#[test]
fn the_other_files_of_the_cluster_are_taken_by_what_reads_them() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/cluster");
    let checked = run(&["config", "check", "--config", &format!("{folder}/sluicegate.toml")], &[]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let Some(nats) = tool("nats-server") else { return };
    let mut command = Command::new(nats);
    command.args(["-t", "-c", &format!("{folder}/nats.conf")]).env("SERVER_NAME", "nats-1");
    let checked = command.output().expect("it runs");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
