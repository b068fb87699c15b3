//! A start that fails: it says why, and leaves nothing behind.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;

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
        assert_eq!(client.response().body, "ok\n");
    }
}

/// Whether the log says that it serves.
fn says_that_it_serves(log: &Path) -> bool {
    fs::read_to_string(log).unwrap().contains("served")
}

/// The limit on open descriptors is that of a process, so this needs one of its own. Its limit would do
/// for the gateway alone, but the process has descriptors, too: whichever is the first that the system
/// refuses, the start fails as a whole.
#[test]
fn child() {
    const LIMIT: u64 = 400;
    if std::env::var_os(IN_CHILD).is_none() {
        return;
    }
    let log = tempfile::NamedTempFile::new().unwrap();
    let lines = File::options().append(true).open(&log).unwrap();
    tracing_subscriber::fmt().with_writer(Mutex::new(lines)).with_ansi(false).init();
    let all = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(LIMIT), ..all }).unwrap();
    // What is made once and stays is made now.
    drop(builder(ANY_PORT.into(), ANY_PORT.into()).start().unwrap());
    assert!(says_that_it_serves(log.path()));
    log.as_file().set_len(0).unwrap();
    let (listen, control) = (free_port(), free_port());
    let (descriptors, threads) = (entries("/proc/self/fd"), entries("/proc/self/task"));
    let mut failed = 0;
    let gateway = loop {
        let mut others: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        others.truncate(others.len() - failed);
        let started = builder(listen, control).start();
        drop(others);
        let error = match started {
            Ok(gateway) => break gateway,
            Err(error) => error,
        };
        let reason = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(reason.contains("Too many open files"), "{error}: {reason}");
        assert!(!says_that_it_serves(log.path()), "{error}: {reason}");
        for address in [listen, control] {
            drop(TcpListener::bind(address).unwrap_or_else(|error| panic!("{failed}: {address} is held: {error}")));
        }
        assert!(within(SOON, || entries("/proc/self/task") == threads), "{failed}: a thread is left");
        assert_eq!(entries("/proc/self/fd"), descriptors, "{failed}: a descriptor is left");
        failed += 1;
        assert!(failed < LIMIT as usize / 2, "{error}");
    };
    // Sockets, an event and an epoll descriptor a shard, those of each acceptor's runtime.
    assert!(failed > 10, "{failed} failures");
    assert!(says_that_it_serves(log.path()));
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
    let needs = |limit| -> u64 {
        let (status, said) = program(limit).map(|_| ()).unwrap_err();
        assert_eq!(status.code(), Some(1), "{limit}: {said:?}");
        let reason = format!("sluicegate: the limit on open files is {limit}, and the gateway needs ");
        let needed = said.last().and_then(|last| last.strip_prefix(&reason)).unwrap_or_else(|| panic!("{said:?}"));
        needed.split(' ').next().unwrap().parse().unwrap()
    };
    let needed = needs(50);
    assert_eq!(needs(needed - 1), needed);
    let (mut running, address) = program(needed).unwrap();
    // A thread takes its name when it first runs.
    let threads = || -> Vec<_> {
        let tasks = fs::read_dir(format!("/proc/{}/task", running.id())).unwrap();
        tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")).unwrap().trim().to_owned()).collect()
    };
    for name in ["acceptor-0", "acceptor-1", "control", "shard-0", "shard-1", "ticker"] {
        assert!(within(SOON, || threads().iter().any(|thread| thread == name)), "{name} is not among {:?}", threads());
    }
    check_serves(address);
    running.kill().unwrap();
    running.wait().unwrap();
}
