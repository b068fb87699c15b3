//! When a shard writes, and that it does: what is published never waits for something else to wake its shard.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::Server;
use crate::support::fleet::{Ask, block_on, machine};
use crate::support::publish::Publisher;

/// The last piece of a pass in pieces ends cheaply, while events wait for which nobody wakes the shard again.
#[test]
fn what_came_during_a_pass_in_pieces_needs_nothing_else_to_go_out() {
    let _machine = machine();
    let server = Server::start("schedule = []\nshards = 1\n[stream]\nheartbeat = \"0s\"");
    let mut publisher = server.publisher();
    block_on(async {
        let mut streams = Vec::new();
        // Two cohorts.
        for _ in 0..520 {
            streams.push(Ask::target("/events/t").open(server.public()).await);
        }
        for round in 0..5 {
            for number in 0..5 {
                publisher.publish("t", &format!("{round}: {number}"));
                thread::sleep(Duration::from_millis(50));
            }
            publisher.batch("{\"topic\":\"t\",\"data\":\"two\"}\n{\"topic\":\"t\",\"data\":\"two\"}\n");
            thread::sleep(Duration::from_millis(1));
            publisher.publish("t", "last");
            for (index, stream) in streams.iter_mut().enumerate() {
                for _ in 0..7 {
                    assert_ne!(stream.event().await.data, "last");
                }
                assert_eq!(stream.event().await.data, "last", "stream {index}, round {round}");
            }
        }
    });
}

fn batch(publisher: &mut Publisher, round: usize, events: usize) {
    let line = |number| format!("{{\"topic\":\"t\",\"data\":\"{round}: {number}\"}}\n");
    publisher.batch(&(0..events).map(line).collect::<String>());
}

/// A shard that rests is woken before the log laps it.
#[test]
fn a_rest_loses_no_event_that_a_full_history_pushes_out() {
    let server = Server::start(
        "schedule = []\nshards = 1\n[stream]\nheartbeat = \"0s\"\n[history]\nevents = 5000\n\
         [pass]\nlatency = \"1h\"",
    );
    let mut publisher = server.publisher();
    let mut stream = server.subscribe("/events/t");
    publisher.publish("t", "first");
    stream.expect_data("first");
    for round in 0..4 {
        batch(&mut publisher, round, 3000);
        (0..3000).for_each(|number| drop(stream.expect_data(&format!("{round}: {number}"))));
    }
}

/// What is kept for replay says nothing of the pace.
#[test]
fn a_short_history_leaves_the_pace_as_it_is_set() {
    let server = Server::start(
        "schedule = []\nshards = 1\n[stream]\nheartbeat = \"0s\"\n[history]\nevents = 1\n\
         [pass]\nlatency = \"2s\"",
    );
    let mut publisher = server.publisher();
    let mut stream = server.subscribe("/events/t");
    let began = Instant::now();
    for number in 0..200 {
        publisher.publish("t", &number.to_string());
    }
    (0..200).for_each(|number| drop(stream.expect_data(&number.to_string())));
    let passes = server.metrics().get("sluicegate_pass_seconds_count");
    let allowed = 2.0 + began.elapsed().as_secs_f64() / 2.0;
    assert!(passes <= allowed, "{passes} passes, and {allowed} would have been enough");
}
