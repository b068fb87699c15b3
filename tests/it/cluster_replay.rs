//! Streams that resume after an id that is older than what memory has, at any gateway: they get it from the NATS stream.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::cluster::{SETTLED, config, ready};
use crate::support::nats::Nats;
use crate::support::{Conversation, Item, Launch, Server, within};

/// A gateway that has little in memory.
fn gateway(nats: &Nats, replicas: usize, more: &str) -> Server {
    let text = config(nats, replicas) + more + "[history]\nevents = 50\n[stream]\nheartbeat = \"200ms\"\n";
    Launch::config(&text).start()
}

/// Publishes these numbers one by one; answers their ids.
fn publish(server: &Server, numbers: std::ops::Range<usize>) -> Vec<String> {
    let mut publisher = server.publisher();
    numbers.map(|number| publisher.publish("t", &number.to_string())).collect()
}

fn resume(server: &Server, id: &str) -> Conversation {
    let mut stream = server.connect().patience(SETTLED);
    stream.send(format!("GET /events/t HTTP/1.1\r\nhost: h\r\nlast-event-id: {id}\r\n\r\n"));
    assert_eq!(stream.head().status, 200);
    stream
}

/// These numbers come next, and no gap.
#[track_caller]
fn expect(stream: &mut Conversation, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let event = stream.event();
        assert_eq!((event.event.as_str(), event.data), ("message", number.to_string()));
    }
}

fn pages(server: &Server) -> f64 {
    server.metrics().get("sluicegate_replay_pages_total{source=\"engine\"}")
}

#[test]
fn who_resumes_before_memory_gets_all_in_order_at_any_gateway_and_the_stream_is_read_once() {
    const STREAMS: usize = 100;
    const SEQUENCES: usize = 2500;
    let Some(nats) = Nats::start(1) else { return };
    let (one, other) = (gateway(&nats, 1, ""), gateway(&nats, 1, ""));
    let ids = publish(&one, 0..SEQUENCES);
    let began = Instant::now();
    let mut streams: Vec<_> = (0..STREAMS).map(|_| resume(&other, &ids[0])).collect();
    // Who wants all that there is, misses nothing.
    streams.push(resume(&other, "earliest"));
    thread::scope(|scope| {
        scope.spawn(|| publish(&one, SEQUENCES..SEQUENCES + 200));
        for (at, stream) in streams.iter_mut().enumerate() {
            expect(stream, if at < STREAMS { 1 } else { 0 }..SEQUENCES + 200);
        }
    });
    eprintln!("{STREAMS} streams were whole after {:?}, {} pages", began.elapsed(), pages(&other));
    assert!(pages(&other) <= (SEQUENCES / 1024 + 2) as f64, "{} pages", pages(&other));
    assert!(other.metrics().get("sluicegate_replay_pages_total{source=\"memory\"}") >= STREAMS as f64);
    assert_eq!((pages(&one), other.metrics().get("sluicegate_replay_waiting_streams")), (0.0, 0.0));
}

#[test]
fn what_is_no_longer_in_the_stream_is_told_where_it_was() {
    let Some(nats) = Nats::start(1) else { return };
    let (server, ignores) = (gateway(&nats, 1, ""), gateway(&nats, 1, "holes = \"ignore\"\n"));
    let ids = publish(&server, 0..1300);
    // The page is there before it is purged.
    expect(&mut resume(&server, &ids[10]), 11..1300);
    // Sequences begin with 1: number 0 is sequence 1.
    for sequence in [701, 702, 1101] {
        nats.request("$JS.API.STREAM.MSG.DELETE.SG_default", &format!("{{\"seq\":{sequence}}}"));
    }
    nats.request("$JS.API.STREAM.PURGE.SG_default", "{\"seq\":301}");
    let is_purged = || {
        thread::sleep(Duration::from_millis(300));
        resume(&server, &ids[10]).event().event == "gap"
    };
    assert!(within(SETTLED, is_purged), "what was purged is served");
    let mut stream = resume(&server, &ids[10]);
    let gap = stream.event();
    assert!(gap.event == "gap" && gap.data.contains("\"expired\"") && gap.data.contains(&ids[10]), "{gap:?}");
    assert!(ids[299] <= gap.id && gap.id < ids[300], "{gap:?}");
    expect(&mut stream, 300..700);
    let gap = stream.event();
    assert!(gap.event == "gap" && gap.data.contains("\"lost\""), "{gap:?}");
    assert!(ids[701] <= gap.id && gap.id < ids[702], "{gap:?}");
    expect(&mut stream, 702..1100);
    // That one was read before it was deleted, or is told.
    let next = stream.event();
    assert!(next.event == "gap" && next.data.contains("\"lost\"") || next.data == "1100", "{next:?}");
    expect(&mut stream, 1101..1300);
    let mut stream = resume(&server, "earliest");
    expect(&mut stream, 300..700);
    let mut stream = resume(&ignores, &ids[500]);
    expect(&mut stream, 501..700);
    expect(&mut stream, 702..1100);
    expect(&mut stream, 1101..1300);
}

#[test]
fn while_the_servers_are_away_who_wants_more_than_memory_has_waits_and_others_go_on() {
    let Some(mut nats) = Nats::start(1) else { return };
    let server = gateway(&nats, 1, "");
    let ids = publish(&server, 0..200);
    for kills in [false, true] {
        let restarted = gateway(&nats, 1, "");
        if kills {
            nats.end(0, Signal::KILL)
        } else {
            nats.signal(0, Signal::STOP)
        }
        // Before it is known that they are away, and after that.
        let mut early = resume(&restarted, &ids[0]);
        assert!(within(SETTLED, || ready(&restarted).body.contains("engine away since")), "{:?}", ready(&restarted));
        let mut late = resume(&restarted, &ids[50]);
        expect(&mut resume(&restarted, &ids[170]), 171..200);
        for stream in [&mut early, &mut late] {
            stream.beginning();
            (0..5).for_each(|_| assert!(matches!(stream.item(), Some(Item::Comment(_))), "a heartbeat"));
        }
        if kills {
            nats.start_server(0)
        } else {
            nats.signal(0, Signal::CONT)
        }
        expect(&mut early, 1..200);
        expect(&mut late, 51..200);
    }
}

#[test]
fn no_page_of_a_stream_that_is_no_more_is_served() {
    let Some(nats) = Nats::start(1) else { return };
    let (reads, waits) = (gateway(&nats, 1, ""), gateway(&nats, 1, ""));
    let old = publish(&reads, 0..200);
    expect(&mut resume(&reads, "earliest"), 0..200);
    nats.request("$JS.API.STREAM.DELETE.SG_default", "");
    for server in [&reads, &waits] {
        assert!(within(SETTLED, || ready(server).body.contains("engine away since")), "{:?}", ready(server));
    }
    let mut stream = resume(&waits, &old[0]);
    stream.beginning();
    assert!(matches!(stream.item(), Some(Item::Comment(_))), "a heartbeat while it waits");
    let maker = gateway(&nats, 1, "");
    let new = publish(&maker, 1000..1200);
    let gap = stream.event();
    assert!(gap.event == "gap" && gap.data.contains("\"foreign_epoch\""), "{gap:?}");
    let mut last = gap;
    while last.data != "1199" {
        last = stream.event();
        assert!(last.event == "message" && last.id[..8] == new[0][..8], "{last:?}");
        assert!(last.data.parse::<usize>().is_ok_and(|number| number >= 1000), "{last:?}");
    }
    // The one that had the pages.
    assert!(within(SETTLED, || ready(&reads).body.contains("engine ready since")), "{:?}", ready(&reads));
    expect(&mut resume(&reads, "earliest"), 1000..1200);
    let gap = resume(&reads, &old[0]).event();
    assert!(gap.event == "gap" && gap.data.contains("\"foreign_epoch\""), "{gap:?}");
    expect(&mut resume(&reads, &new[3]), 1004..1200);
}

#[test]
fn three_servers_serve_what_has_left_memory_though_their_leader_is_killed() {
    let Some(mut nats) = Nats::start(3) else { return };
    let server = gateway(&nats, 3, "");
    let ids = publish(&server, 0..1500);
    let leader = nats.leader("SG_default");
    nats.end(leader, Signal::KILL);
    let mut streams: Vec<_> = (0..3).map(|at| resume(&server, &ids[at * 400])).collect();
    for (at, stream) in streams.iter_mut().enumerate() {
        expect(stream, at * 400 + 1..1500);
    }
    nats.start_server(leader);
    expect(&mut resume(&gateway(&nats, 3, ""), "earliest"), 0..1500);
}

#[test]
fn a_stream_that_can_not_be_read_from_everywhere_is_told_by_name_and_nobody_waits_for_ever() {
    let Some(nats) = Nats::start(1) else { return };
    let made = "{\"name\":\"SG_default\",\"subjects\":[\"sg.default.t.>\",\"sg.default.m\"],\"allow_direct\":false}";
    assert!(nats.request("$JS.API.STREAM.CREATE.SG_default", made).contains("\"config\""));
    let server = gateway(&nats, 1, "");
    let ids = publish(&server, 0..200);
    let mut stream = resume(&server, &ids[0]);
    let gap = stream.event();
    assert!(gap.event == "gap" && gap.data.contains("\"lost\""), "{gap:?}");
    expect(&mut stream, 150..200);
    let line = server.log("the archive can't be read").expect("a line");
    assert!(line["error"].as_str().is_some_and(|error| error.contains("allow_direct")), "{line}");
    let managed = gateway(&nats, 1, "manage = true\n");
    expect(&mut resume(&managed, &ids[0]), 1..200);
}
