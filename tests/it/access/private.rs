//! Private events: who gets them, and who does not know of them.

use std::time::Duration;

use serde_json::json;

use super::{HS256, bearer, open, token};
use crate::support::{Conversation, Item, Launch, Server, within};

/// What a stream gets by now: the data of its events, and how many gaps there were.
#[track_caller]
fn check(stream: &mut Conversation, expected: &[&str]) {
    for data in expected {
        stream.expect_data(data);
    }
    stream.expect_nothing(Duration::from_millis(50));
}

/// Who subscribes by `target` with and without a token, and gets what.
#[track_caller]
fn check_all(server: &Server, target: &str) {
    let own = bearer(&token(json!({"sluicegate": {"subscribe": ["rooms/1"]}})));
    let other = bearer(&token(json!({"sluicegate": {"subscribe": ["rooms/2"]}})));
    let mut streams = [vec![], vec![&*other], vec![&*own]].map(|fields| open(server, target, &fields));
    streams.iter_mut().for_each(|stream| drop(stream.mark()));
    let mut publisher = server.publisher();
    publisher.publish("rooms/1?private=1", "single");
    publisher.publish("rooms/1", "public");
    publisher.batch(
        "{\"topic\":\"rooms/1\",\"data\":\"batch\",\"private\":true}\n\
         {\"topics\":[\"rooms/9\",\"rooms/1\"],\"data\":\"two\",\"private\":true}\n\
         {\"topic\":\"rooms/1\",\"data\":\"live\",\"private\":true,\"keep\":false}\n\
         {\"topic\":\"rooms/1\",\"data\":\"open\",\"private\":false}",
    );
    let [mut anonymous, mut others, mut owner] = streams;
    check(&mut anonymous, &["public", "open"]);
    check(&mut others, &["public", "open"]);
    check(&mut owner, &["single", "public", "batch", "two", "live", "open"]);
    // Whoever comes back has what the token grants that is shown now.
    let resume = format!("{target}&last_event_id=earliest");
    let of = |fields: &[&str]| open(server, &resume, fields);
    check(&mut of(&[]), &["public", "open"]);
    check(&mut of(&[&other]), &["public", "open"]);
    check(&mut of(&[&own]), &["single", "public", "batch", "two", "open"]);
}

#[test]
fn they_reach_those_whose_token_grants_the_topic() {
    check_all(&Server::start(HS256), "/events?topic=rooms/1");
    check_all(&Server::start(HS256), "/events?match=rooms/*");
    let folder = tempfile::tempdir().unwrap();
    let disk = format!("engine = \"disk\"\n[disk]\ndir = \"{}\"\n{HS256}", folder.path().join("log").display());
    check_all(&Server::start(&disk), "/events?match=rooms/*");
    // They are as private after a restart.
    let server = Server::start(&disk);
    let mut anonymous = open(&server, "/events?match=rooms/*&last_event_id=earliest", &[]);
    check(&mut anonymous, &["public", "open"]);
}

#[test]
fn a_rule_for_everyone_grants_nothing_private() {
    let rules = "[[rule]]\ntopics = [\"open/**\"]\nsubscribe = \"anyone\"\n[[rule]]\ntopics = [\"members/**\"]\nsubscribe = \"token\"\n";
    let server = Server::start(&format!("{HS256}{rules}"));
    let own = bearer(&token(json!({"sub": "a"})));
    let mut stream = open(&server, "/events?match=*/a", &[&own]);
    stream.mark();
    let mut publisher = server.publisher();
    for topic in ["open/a", "members/a", "else/a"] {
        publisher.publish(topic, topic);
        publisher.publish(&format!("{topic}?private=true"), &format!("private {topic}"));
    }
    check(&mut stream, &["open/a", "members/a", "private members/a", "else/a"]);
}

#[test]
fn what_one_may_not_have_is_no_gap() {
    let server = Server::start(&format!("[history]\nevents = 10\n{HS256}"));
    let mut publisher = server.publisher();
    let first = publisher.publish("rooms/1", "first");
    publisher.publish("rooms/1?private=1", "gone");
    let second = publisher.publish("rooms/1", "second");
    // The private one leaves the log, and the public one with it; then private ones alone.
    for n in 0..30 {
        publisher.publish("rooms/1?private=1", &n.to_string());
    }
    let gaps = |target: &str, after: &str, fields: &[&str]| {
        let mut stream = open(&server, &format!("{target}&last_event_id={after}"), fields);
        publisher_end(&server);
        let mut gaps = 0;
        loop {
            match stream.item() {
                Some(Item::Event(event)) if event.event == "gap" => gaps += 1,
                Some(Item::Event(event)) if event.data == "end" => return gaps,
                Some(_) => {}
                None => panic!("the stream ended"),
            }
        }
    };
    let own = bearer(&token(json!({"sluicegate": {"subscribe": ["rooms/*"]}})));
    for target in ["/events?topic=rooms/1", "/events?match=rooms/*"] {
        assert_eq!(gaps(target, &first, &[]), 1, "the second is gone");
        assert_eq!(gaps(target, &second, &[]), 0, "only private ones are");
        assert_eq!(gaps(target, &second, &[&own]), 1);
    }
}

fn publisher_end(server: &Server) {
    server.publish("rooms/1", "end");
}

#[test]
fn a_schedule_may_be_private() {
    let server = Launch::config(&format!(
        "{HS256}[[schedule]]\ntopic = \"ticks\"\nevery = \"20ms\"\ndata = \"tick\"\nprivate = true\n"
    ))
    .start();
    let own = bearer(&token(json!({"sluicegate": {"subscribe": ["ticks"]}})));
    let mut anonymous = open(&server, "/events?topic=ticks", &[]);
    let mut owner = open(&server, "/events?topic=ticks", &[&own]);
    owner.mark();
    owner.expect_data("tick");
    owner.expect_data("tick");
    anonymous.mark();
    anonymous.expect_nothing(Duration::from_millis(100));
    assert!(within(Duration::from_secs(5), || server.metrics().get("sluicegate_deliveries_total") >= 2.0));
}
