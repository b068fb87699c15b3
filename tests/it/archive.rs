//! Streams that resume after an id that is older than what memory has: they get it from the engine's files.

use std::thread;
use std::time::{Duration, Instant};

use crate::durability::config;
use crate::support::{Launch, Server, within};

/// A gateway that has little in memory and all in files.
fn server(dir: &std::path::Path, more: &str) -> Server {
    let text = format!(
        "{}sync = \"interval\"\n{more}[history]\nevents = 50\n[stream]\nheartbeat = \"0s\"\n",
        config(&dir.join("log"))
    );
    Launch::config(&text).start()
}

fn pages(server: &Server) -> f64 {
    server.metrics().get("sluicegate_replay_pages_total{source=\"engine\"}")
}

/// Many resume over one range, which is read once; each gets all of it, in order, and what comes meanwhile.
#[test]
fn streams_that_resume_before_memory_get_all_in_order_and_the_files_are_read_once() {
    const STREAMS: usize = 100;
    const SEQUENCES: usize = 2500;
    let folder = tempfile::tempdir().unwrap();
    let server = server(folder.path(), "events = 1000000\n");
    let mut publisher = server.publisher();
    let first = publisher.publish("t", "0");
    for number in 1..SEQUENCES {
        publisher.publish(if number.is_multiple_of(5) { "t" } else { "other" }, &number.to_string());
    }
    let began = Instant::now();
    let mut streams: Vec<_> = (0..STREAMS)
        .map(|at| {
            let target = if at % 2 == 0 { "/events/t" } else { "/events?match=t/**&topic=t" };
            server.open(target, &[&format!("last-event-id: {first}")]).1
        })
        .collect();
    let expected = (1..SEQUENCES + 200).filter(|number| number.is_multiple_of(5));
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in SEQUENCES..SEQUENCES + 200 {
                publisher.publish(if number.is_multiple_of(5) { "t" } else { "other" }, &number.to_string());
            }
        });
        for stream in &mut streams {
            for number in expected.clone() {
                let event = stream.event();
                assert_eq!((event.event.as_str(), event.data), ("message", number.to_string()));
            }
        }
    });
    eprintln!("{STREAMS} streams were whole after {:?}, {} pages", began.elapsed(), pages(&server));
    assert!(pages(&server) <= (SEQUENCES / 1024 + 2) as f64, "{} pages", pages(&server));
    assert!(server.metrics().get("sluicegate_replay_pages_total{source=\"memory\"}") >= STREAMS as f64);
    assert_eq!(server.metrics().get("sluicegate_replay_waiting_streams"), 0.0);
}

#[test]
fn what_the_files_no_longer_have_is_a_gap_and_all_after_it_comes() {
    const EVENTS: usize = 1200;
    let folder = tempfile::tempdir().unwrap();
    let server = server(folder.path(), "bytes = \"1MiB\"\nevents = 1000000\n");
    let mut publisher = server.publisher();
    let text = |number: usize| format!("{number} {}", "x".repeat(10_000));
    let ids: Vec<String> = (0..EVENTS).map(|number| publisher.publish("t", &text(number))).collect();
    // No more goes once they are within the bound, and two segments of a MiB.
    let bytes = || {
        let files = std::fs::read_dir(folder.path().join("log")).unwrap();
        files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len())).sum::<u64>()
    };
    assert!(within(Duration::from_secs(20), || bytes() <= 3 << 20), "{} bytes are left", bytes());
    let (_, mut stream) = server.open("/events/t", &[&format!("last-event-id: {}", ids[0])]);
    let gap = stream.event();
    assert_eq!(gap.event, "gap");
    assert!(gap.data.contains("\"reason\":\"expired\"") && gap.data.contains(&ids[0]), "{}", gap.data);
    let from = ids.iter().position(|id| *id > gap.id).expect("some are left");
    assert!(from > 100 && from < EVENTS - 50, "{from} is the first");
    for (number, id) in ids.iter().enumerate().skip(from) {
        let event = stream.event();
        assert_eq!((&event.id, event.data.split(' ').next()), (id, Some(&*number.to_string())));
    }
}
