//! What a gateway in one's own process does to that process. Each test has a process of its own: this
//! test binary, asked for one of the tests that are children.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use sluicegate::{Builder, Config, Event, Gateway};

use crate::support::{Conversation, SOON, within};

const ANY_PORT: ([u8; 4], u16) = ([127, 0, 0, 1], 0);
/// Tells this binary which child it is.
const CHILD: &str = "SLUICEGATE_TEST_CHILD";

fn is_child(name: &str) -> bool {
    std::env::var_os(CHILD).is_some_and(|child| child == name)
}

fn child(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("process::{name}"), "--nocapture"]).env(CHILD, name).stdin(Stdio::null());
    command
}

/// The masks of the signals that are ignored and caught.
fn signals() -> Vec<String> {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let masks = status.lines().filter(|line| ["SigIgn", "SigCgt"].iter().any(|name| line.starts_with(name)));
    masks.map(str::to_owned).collect()
}

#[test]
fn starts() {
    if !is_child("starts") {
        return;
    }
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(700), maximum: hard }).unwrap();
    let before = signals();
    assert_eq!(before.len(), 2);
    let builder = || Gateway::builder().listen(ANY_PORT.into()).control(ANY_PORT.into());
    let gateway = builder().on_hangup(|| Ok(Config::default())).start().unwrap();
    assert_eq!(getrlimit(Resource::Nofile).current, Some(700));
    assert_eq!(signals(), before);
    drop(gateway);
    drop(builder().raise_descriptor_limit(true).start().unwrap());
    assert_eq!(getrlimit(Resource::Nofile).current, hard);
    println!("the process is as it was");
}

#[test]
fn a_start_leaves_signals_and_limits_alone() {
    let output = child("starts").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("the process is as it was"), "{said}");
}

#[test]
fn runs() {
    if !is_child("runs") {
        return;
    }
    let mut config = Config::parse("[drain]\ndelay = \"1h\"\ndeadline = \"1h\"\n", "drain.toml".as_ref()).unwrap();
    config.listen = toml::Value::try_from(["127.0.0.1:0"]).unwrap().try_into().unwrap();
    config.control = ANY_PORT.into();
    let gateway = Builder::from_config(config).start().unwrap();
    let (publisher, address) = (gateway.publisher(), gateway.addresses()[0]);
    let publishing = thread::spawn(move || {
        while publisher.publish("a", Event::new("x")).is_ok() {
            thread::sleep(Duration::from_millis(10));
        }
    });
    // The first line may share its line with what the test harness writes.
    println!("\nat {address} {}", gateway.control_address().unwrap());
    gateway.run_until_signal().unwrap();
    publishing.join().unwrap();
    println!("goes on");
}

/// The mask of the signals that a process catches.
fn caught(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap()
}

fn ready_status(control: SocketAddr) -> u16 {
    let mut client = Conversation::to(control);
    client.send("GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    client.response().status()
}

/// The first signal drains, the second cuts that short, and the process goes on where it was.
#[test]
fn a_program_has_its_publisher_and_its_signals() {
    let mut running = child("runs").stdout(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_child(&running);
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines().map(Result::unwrap);
    let addresses = lines.find_map(|line| line.strip_prefix("at ").map(str::to_owned)).unwrap();
    let (address, control) = addresses.split_once(' ').unwrap();
    let control = control.parse().unwrap();
    let mut stream = Conversation::to(address.parse().unwrap());
    stream.send("GET /events/a HTTP/1.1\r\nhost: h\r\n\r\n");
    assert_eq!(stream.head().status, 200);
    stream.expect_data("x");
    assert!(within(SOON, || caught(running.id()) & 1 << (Signal::TERM.as_raw() - 1) != 0), "it listens to signals");
    assert_eq!(ready_status(control), 200);
    kill_process(pid, Signal::TERM).unwrap();
    assert!(within(SOON, || ready_status(control) == 503));
    stream.expect_data("x");
    kill_process(pid, Signal::INT).unwrap();
    let began = Instant::now();
    assert!(lines.any(|line| line == "goes on"));
    assert!(running.wait().unwrap().success());
    assert!(began.elapsed() < SOON);
    assert!(stream.is_closed_within(SOON));
}
