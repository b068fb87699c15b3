//! The end: SIGTERM under load.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::fleet::{Ask, End, block_on, machine};
use crate::support::publish::{Publisher, post};
use crate::support::{Conversation, Item, SOON, Server, within};

fn ready_status(control: SocketAddr) -> u16 {
    let mut conversation = Conversation::to(control);
    conversation.send("GET /readyz HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
    conversation.response().status()
}

/// Publishes numbered events until it is refused. Answers how many were accepted.
fn publish_until_refused(control: SocketAddr) -> u32 {
    let mut publisher = Publisher::to(control);
    for number in 0.. {
        let response = publisher.post("/events/t", &[], format!("{number} {}", "x".repeat(200)));
        match response.status() {
            200 => {}
            503 => return number,
            other => panic!("{other}: {}", response.body),
        }
        // Not more than the readers, which share the machine, take at once.
        thread::sleep(Duration::from_millis(10));
    }
    unreachable!("there are more numbers than time")
}

#[test]
fn sigterm_under_load_loses_nothing_and_sends_all_home_kindly() {
    const READERS: usize = 200;
    let _machine = machine();
    // Long enough that it is noticed in time on a machine that has other things to do.
    const DELAY: Duration = Duration::from_secs(4);
    let mut server =
        Server::start("schedule = []\nshards = 1\n[drain]\ndelay = \"4s\"\ndeadline = \"4s\"\nretry = \"4s\"");
    let (public, control) = (server.public(), server.control());
    let (accepted, ends) = block_on(async {
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let mut stream = Ask::target("/events/t").open(public).await;
            readers.push(tokio::spawn(async move {
                let mut count: u32 = 0;
                while let Some(event) = stream.next().await {
                    assert!(event.data.starts_with(&format!("{count} ")), "event {count}: {:.20}", event.data);
                    count += 1;
                }
                let ended = Instant::now();
                assert_eq!(stream.end(), Some(End::Proper));
                let Some(&Item::Retry(ms)) = stream.last_item() else {
                    panic!("the last words are {:?}", stream.last_item());
                };
                (count, ended, ms)
            }));
        }
        let publisher = tokio::task::spawn_blocking(move || publish_until_refused(control));
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(ready_status(control), 200);
        server.signal(Signal::TERM);
        let signalled = Instant::now();
        // It is not ready at once, yet serves on: who asks, and who comes late.
        while ready_status(control) == 200 {
            assert!(signalled.elapsed() < DELAY, "it is still ready");
        }
        let mut late = Ask::target("/events/t?last_event_id=earliest").open(public).await;
        let late = tokio::spawn(async move {
            while late.next().await.is_some() {}
            late.end()
        });
        // Then it takes nobody any more.
        let mut refused = None;
        while refused.is_none() {
            let attempt = tokio::task::spawn_blocking(move || TcpStream::connect(public)).await.expect("an attempt");
            refused = attempt.err().map(|_| signalled.elapsed());
            assert!(signalled.elapsed() < DELAY + SOON, "it still accepts");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let refused = refused.expect("a time");
        assert!(refused > DELAY - Duration::from_millis(100), "refused after {refused:?}, and the delay is {DELAY:?}");
        let accepted = publisher.await.expect("the publisher");
        assert_eq!(late.await.expect("a reader"), Some(End::Proper));
        let mut ends = Vec::new();
        for reader in readers {
            let (count, ended, retry_ms) = reader.await.expect("a reader");
            ends.push((count, ended - signalled, retry_ms));
        }
        (accepted, ends)
    });
    let status = server.wait(Duration::from_secs(10));
    assert_eq!(status.code(), Some(0));
    assert!(accepted > 100, "{accepted} events");
    for (count, _, retry_ms) in &ends {
        // The last answer may have crossed the first farewells.
        assert!(*count == accepted, "{count} of {accepted} events came");
        assert!((2000..=6000).contains(retry_ms), "retry: {retry_ms}");
    }
    let mut times: Vec<_> = ends.iter().map(|(_, after, _)| after.as_millis()).collect();
    times.sort_unstable();
    eprintln!("{accepted} events; ends from {} to {} ms after the signal", times[0], times[READERS - 1]);
    // They are ended evenly over three quarters of the deadline after the delay: at most two in each step of 20 ms. On a
    // busy machine each may come later, but none earlier; and one that came after the deadline would have been cut.
    for (ended, after_ms) in times.iter().enumerate() {
        let due_ms = DELAY.as_millis() + 20 * (ended as u128 / 2);
        assert!(after_ms + 100 >= due_ms, "end {ended} is due after {due_ms} ms: {times:?}");
    }
    assert!(times[READERS - 1] < (DELAY + SOON).as_millis(), "{times:?}");
    let mut retries: Vec<_> = ends.iter().map(|(_, _, ms)| ms).collect();
    retries.sort_unstable();
    retries.dedup();
    assert!(retries.len() > READERS / 2, "retry times are jittered: {retries:?}");
}

#[test]
fn a_second_signal_ends_at_once() {
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::TERM, Signal::INT), (Signal::INT, Signal::TERM)] {
        let mut server = Server::start("schedule = []\n[drain]\ndelay = \"1h\"\ndeadline = \"1h\"");
        let mut stream = server.subscribe("/events/t");
        server.signal(first);
        let signalled = Instant::now();
        while ready_status(server.control()) == 200 {
            assert!(signalled.elapsed() < Duration::from_secs(5), "it is still ready");
        }
        server.publish("t", "still served");
        stream.expect_data("still served");
        server.signal(second);
        assert_eq!(server.wait(Duration::from_secs(2)).code(), Some(0));
    }
}

#[test]
fn without_streams_the_end_is_quick() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::start("schedule = []\n[drain]\ndeadline = \"20s\"");
        server.signal(signal);
        assert_eq!(server.wait(Duration::from_secs(2)).code(), Some(0));
    }
}

/// Connections that are no streams do not hold up the end: idle ones, half a head, half a body.
#[test]
fn connections_in_the_middle_of_something_do_not_hold_up_the_end() {
    let mut server = Server::start("schedule = []\n[drain]\ndeadline = \"5s\"");
    let idle = [server.connect(), server.connect_control()];
    let mut half_a_head = server.connect();
    half_a_head.send("GET /events/t HTTP/1.1\r\nhost:");
    let mut half_a_body = server.connect_control();
    half_a_body.send(&post("/events/t", &[], "hello")[..60]);
    let mut kept_alive = server.publisher();
    kept_alive.publish("t", "x");
    assert!(within(SOON, || half_a_head.is_read() && half_a_body.is_read()), "it is in the middle of both");
    server.signal(Signal::TERM);
    assert_eq!(server.wait(Duration::from_secs(5)).code(), Some(0));
    drop((idle, half_a_head, half_a_body));
}

/// A reader that is behind and does read gets what it is owed, though its turn to end has come.
#[test]
fn who_is_behind_gets_what_was_published_before_the_end() {
    let mut server = Server::start("schedule = []\n[drain]\ndeadline = \"5s\"");
    let mut publisher = server.publisher();
    block_on(async {
        let mut stream = Ask::target("/events/t").receive_buffer(4096).open(server.public()).await;
        for number in 0..200 {
            publisher.publish("t", &format!("{number} {}", "x".repeat(2_000)));
        }
        server.signal(Signal::TERM);
        tokio::time::sleep(Duration::from_millis(500)).await;
        for number in 0..200 {
            assert!(stream.event().await.data.starts_with(&format!("{number} ")), "event {number}");
        }
        assert_eq!(stream.next().await, None);
        assert_eq!(stream.end(), Some(End::Proper));
        assert!(matches!(stream.last_item(), Some(Item::Retry(_))), "{:?}", stream.last_item());
    });
    assert_eq!(server.wait(Duration::from_secs(5)).code(), Some(0));
}

/// While it drains, no stream that was promised is forgotten: clients that connect all the time get
/// a whole stream with a proper end, or no connection.
#[test]
fn who_connects_as_it_closes_gets_a_whole_answer_or_none() {
    let mut server = Server::start("schedule = []\n[drain]\ndelay = \"100ms\"\ndeadline = \"4s\"");
    let public = server.public();
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (stop, asked) = (stop.clone(), asked.clone());
            thread::spawn(move || {
                let mut streams = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let Ok(socket) = TcpStream::connect(public) else { break };
                    let mut conversation = Conversation::over(socket);
                    if conversation.try_send("GET /events/t HTTP/1.1\r\nhost: h\r\n\r\n").is_ok() {
                        streams.push(conversation);
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                    thread::sleep(Duration::from_millis(2));
                }
                streams
            })
        })
        .collect();
    assert!(within(SOON, || asked.load(Ordering::Relaxed) > 100), "nobody is served");
    server.signal(Signal::TERM);
    let streams: Vec<_> = clients.into_iter().flat_map(|client| client.join().expect("a client")).collect();
    stop.store(true, Ordering::Relaxed);
    let (mut whole, mut none) = (0, 0);
    for stream in streams {
        let mut bytes = Vec::new();
        stream.socket().set_read_timeout(Some(SOON)).expect("an open socket");
        // A connection that was never accepted is reset.
        let _ = std::io::Read::read_to_end(&mut stream.socket(), &mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        match &*text {
            "" => none += 1,
            text if text.ends_with("\r\n0\r\n\r\n") && text.contains("retry: ") => whole += 1,
            // Shed: it came when the listeners were about to close.
            text if text.contains("connection: close") && text.ends_with("\n") && text.contains("retry: ") => {
                whole += 1;
            }
            text => panic!("neither whole nor none: {text:?}"),
        }
    }
    eprintln!("{whole} whole answers, {none} none");
    assert!(whole > 20, "{whole} whole answers");
    assert_eq!(server.wait(Duration::from_secs(5)).code(), Some(0));
}
