//! Log lines that can't be written: the gateway serves on, and ends as it should.

use std::fs;
use std::io::{self, PipeReader, Write};
use std::process::Stdio;

use rustix::process::Signal;

use crate::support::{Item, Launch, SOON, Server, within};

const DROPPED: &str = "sluicegate_log_lines_dropped_total";

/// It serves streams and publishers, and drains at SIGTERM.
#[track_caller]
fn serves_and_drains(mut server: Server) {
    let mut stream = server.subscribe("/events/t");
    server.publish("t", "heard");
    stream.expect_data("heard");
    assert_eq!(server.metrics().get("sluicegate_draining"), 0.0);
    server.signal(Signal::TERM);
    assert!(matches!(stream.item(), Some(Item::Retry(_))));
    assert_eq!(stream.item(), None);
    stream.expect_end();
    assert_eq!(server.wait(SOON).code(), Some(0));
}

fn launch() -> Launch {
    Launch::config("schedule = []\nacceptors = 1\n")
}

/// A pipe that is full, and so takes nothing as long as its reader is held.
fn full_pipe() -> (PipeReader, Stdio) {
    let (reader, mut writer) = io::pipe().expect("a pipe");
    let size = rustix::pipe::fcntl_setpipe_size(&writer, 4096).expect("a smaller pipe");
    writer.write_all(&vec![b'x'; size]).expect("room for that many");
    (reader, writer.into())
}

#[test]
fn a_reader_of_the_log_that_is_gone_from_the_start() {
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    let server = launch().start_unheard(writer);
    assert!(within(SOON, || server.metrics().get(DROPPED) >= 3.0), "{}", server.metrics().get(DROPPED));
    serves_and_drains(server);
}

#[test]
fn a_reader_of_the_log_that_goes() {
    let (reader, writer) = io::pipe().expect("a pipe");
    let server = launch().start_unheard(writer);
    drop(reader);
    serves_and_drains(server);
}

#[test]
fn a_full_device() {
    let device = fs::OpenOptions::new().write(true).open("/dev/full").expect("a device that is full");
    let server = launch().start_unheard(device);
    assert!(within(SOON, || server.metrics().get(DROPPED) >= 3.0), "{}", server.metrics().get(DROPPED));
    serves_and_drains(server);
}

#[test]
fn a_reader_of_the_log_that_stops_to_read() {
    let (_reader, writer) = full_pipe();
    serves_and_drains(launch().start_unheard(writer));
}

#[test]
fn a_second_signal_ends_the_process_though_nobody_reads_its_log() {
    let (_reader, writer) = full_pipe();
    let config = "schedule = []\nacceptors = 1\n[drain]\ndelay = \"1h\"\n";
    let mut server = Launch::config(config).start_unheard(writer);
    server.signal(Signal::TERM);
    assert!(within(SOON, || server.metrics().get("sluicegate_draining") == 1.0));
    server.signal(Signal::TERM);
    assert_eq!(server.wait(SOON).code(), Some(0));
}

#[test]
fn a_gateway_that_can_not_start_ends_though_nobody_reads_why() {
    let taken = Server::start("");
    let address = taken.control().to_string();
    let device = fs::OpenOptions::new().write(true).open("/dev/full").expect("a device that is full");
    let (_reader, full_pipe) = full_pipe();
    for stderr in [full_pipe, device.into()] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sluicegate"));
        command.args(["--listen", "127.0.0.1:0", "--control", &address]).stdout(Stdio::null()).stderr(stderr);
        let mut child = command.spawn().expect("the binary starts");
        let ended = within(SOON, || child.try_wait().expect("a child of ours").is_some());
        let _ = child.kill();
        assert_eq!((ended, child.wait().expect("a child of ours").code()), (true, Some(1)));
    }
}

/// With `debug`, who wonders why an event did not arrive sees who asked for what, and what was published where.
#[test]
fn debug_says_who_asked_for_what_and_what_was_published() {
    let server = Server::start("[log]\nlevel = \"debug\"\n");
    let mut stream = server.subscribe("/events?topic=prices/eur&match=orders/*");
    server.publish("prices/eur", "1.08");
    stream.expect_data("1.08");
    let logged = |message: &str, field: &str, part: &str| {
        within(SOON, || server.logs(message).iter().any(|line| line[field].to_string().contains(part)))
    };
    assert!(logged("stream asked for", "topics", "prices/eur"), "{:#?}", server.lines());
    assert!(logged("stream asked for", "patterns", "orders/*"), "{:#?}", server.lines());
    assert!(logged("published", "first_topics", "prices/eur"), "{:#?}", server.lines());
}
