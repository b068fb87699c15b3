//! A start that fails: it says why, and leaves nothing behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sluicegate::{Builder, Config, StartError};

use crate::support::{Conversation, SOON, within};

const ANY_PORT: ([u8; 4], u16) = ([127, 0, 0, 1], 0);
/// Tells the test binary that it is the process of [`child`].
const IN_CHILD: &str = "SLUICEGATE_TEST_STARTS";

fn builder(listen: SocketAddr, control: SocketAddr) -> Builder {
    let mut config = Config::parse("shards = 2\nacceptors = 2\n", "two.toml".as_ref()).unwrap();
    config.listen = toml::Value::try_from([listen.to_string()]).unwrap().try_into().unwrap();
    config.control = control;
    Builder::from_config(config)
}

fn entries(folder: &str) -> usize {
    fs::read_dir(folder).unwrap().count()
}

fn free_port() -> SocketAddr {
    TcpListener::bind(SocketAddr::from(ANY_PORT)).unwrap().local_addr().unwrap()
}

/// It answers, whichever of its acceptors is asked.
#[track_caller]
fn check_serves(address: SocketAddr) {
    for _ in 0..20 {
        let mut client = Conversation::to(address);
        client.send("GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
        assert_eq!(client.response().body, "ok");
    }
}

/// The limit on open descriptors is that of a process, so this needs one of its own: whichever
/// descriptor is the first that is refused, the start fails as a whole.
#[test]
fn child() {
    if std::env::var_os(IN_CHILD).is_none() {
        return;
    }
    // What is made once and stays is made now.
    drop(builder(ANY_PORT.into(), ANY_PORT.into()).start().unwrap());
    let (listen, control) = (free_port(), free_port());
    let (descriptors, threads) = (entries("/proc/self/fd"), entries("/proc/self/task"));
    let all = getrlimit(Resource::Nofile);
    let mut failed = 0;
    let gateway = loop {
        let limit = (descriptors + failed - 1) as u64;
        setrlimit(Resource::Nofile, Rlimit { current: Some(limit), ..all }).unwrap();
        let started = builder(listen, control).start();
        setrlimit(Resource::Nofile, all).unwrap();
        let error = match started {
            Ok(gateway) => break gateway,
            Err(error) => error,
        };
        let reason = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(reason.contains("Too many open files"), "{error}: {reason}");
        for address in [listen, control] {
            drop(TcpListener::bind(address).unwrap_or_else(|error| panic!("{failed}: {address} is held: {error}")));
        }
        assert!(within(SOON, || entries("/proc/self/task") == threads), "{failed}: a thread is left");
        assert_eq!(entries("/proc/self/fd"), descriptors, "{failed}: a descriptor is left");
        failed += 1;
        assert!(failed < 1_000, "{error}");
    };
    // Sockets, an event and an epoll descriptor a shard, those of each acceptor's runtime.
    assert!(failed > 10, "{failed} failures");
    check_serves(listen);
    drop(gateway);
    assert!(within(SOON, || entries("/proc/self/task") == threads && entries("/proc/self/fd") == descriptors));
    println!("{failed} starts have failed");
}

#[test]
fn a_start_that_fails_leaves_nothing_behind() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "starting::child", "--nocapture"])
        .env(IN_CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("starts have failed"), "{said}");
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind(SocketAddr::from(ANY_PORT)).unwrap();
    let taken = taken.local_addr().unwrap();
    let listen = free_port();
    let error = builder(listen, taken).start().unwrap_err();
    assert!(matches!(error, StartError::Bind { address, .. } if address == taken), "{error:?}");
    assert_eq!(error.to_string(), format!("can't listen on {taken}"));
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.starts_with("Address already in use"), "{source}");
    // What was bound before it is free again.
    drop(TcpListener::bind(listen).unwrap());
}

/// The program with so many descriptors: where it says that it serves, or what it said before it ended.
fn program(limit: u64) -> Result<(Child, SocketAddr), (ExitStatus, Vec<String>)> {
    let mut program = Command::new("sh")
        .args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_sluicegate")])
        .args(["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"])
        .envs([("SLUICEGATE_SHARDS", "2"), ("SLUICEGATE_ACCEPTORS", "2"), ("SLUICEGATE_LOG_FORMAT", "json")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    for line in BufReader::new(program.stderr.take().unwrap()).lines().map(Result::unwrap) {
        let value: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        if value["message"] == "streams are served" {
            return Ok((program, value["address"].as_str().unwrap().parse().unwrap()));
        }
        said.push(line);
    }
    Err((program.wait().unwrap(), said))
}

/// The program either serves, or says why not and ends with 1; and it says that it serves only then.
#[test]
fn the_program_serves_or_says_why_not() {
    // With fewer it can't be loaded.
    const LEAST: u64 = 8;
    let mut limit = LEAST;
    let mut running = loop {
        match program(limit) {
            Ok((running, _)) => break running,
            Err((status, said)) => {
                assert_eq!(status.code(), Some(1), "{limit}: {said:?}");
                let reason = said.last().unwrap();
                assert!(reason.starts_with("sluicegate: can't "), "{limit}: {said:?}");
                assert!(reason.contains("Too many open files"), "{limit}: {said:?}");
            }
        }
        limit += 1;
        assert!(limit < 200, "it should have started by now");
    };
    assert!(limit > LEAST + 10, "it starts with {limit} descriptors");
    // A thread takes its name when it first runs.
    let threads = || -> Vec<_> {
        let tasks = fs::read_dir(format!("/proc/{}/task", running.id())).unwrap();
        tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")).unwrap().trim().to_owned()).collect()
    };
    for name in ["acceptor-0", "acceptor-1", "control", "shard-0", "shard-1", "ticker"] {
        assert!(within(SOON, || threads().iter().any(|thread| thread == name)), "{name} is not among {:?}", threads());
    }
    running.kill().unwrap();
    running.wait().unwrap();
    // That took all there is. With some more it has room for clients, too.
    let (mut running, address) = program(limit + 20).unwrap();
    check_serves(address);
    running.kill().unwrap();
    running.wait().unwrap();
}
