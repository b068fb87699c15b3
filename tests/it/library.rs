//! The gateway as a library, in this process.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sluicegate::config::ConfigError;
use sluicegate::{
    Builder, Config, Event, EventError, EventId, Fault, Gateway, NameError, Pattern, PatternError, PublishError,
    Publisher, ReloadError, Reloaded, Reply, Request, Schedule, ScheduleError, StartError, StreamReply, Topic,
    TopicError,
};

use crate::support::{Conversation, Item, Metrics, SOON, within};

const ANY_PORT: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

fn builder() -> Builder {
    Gateway::builder().listen(ANY_PORT.into()).control(ANY_PORT.into())
}

/// Opens a stream, and reads its head and first comment.
#[track_caller]
fn subscribe(address: SocketAddr, target: &str) -> Conversation {
    let mut stream = Conversation::to(address);
    stream.send(format!("GET {target} HTTP/1.1\r\nhost: h\r\naccept: text/event-stream\r\n\r\n"));
    assert_eq!(stream.head().status, 200);
    stream.beginning();
    stream
}

fn topic(text: &str) -> Topic {
    Topic::parse(text).unwrap()
}

#[test]
fn publishing_from_inside() {
    let gateway = builder().start().unwrap();
    let address = gateway.addresses()[0];
    let mut stream = subscribe(address, "/events/news");
    assert!(within(SOON, || gateway.streams() == 1));
    let publisher = gateway.publisher();
    let id = publisher.publish(topic("news"), Event::new("a\nb").event("flash")).unwrap().expect("an id");
    let event = stream.event();
    assert_eq!((&*event.event, &*event.data, &*event.id), ("flash", "a\nb", id.as_str()));
    assert_eq!(publisher.publish(topic("news"), Event::new("live").keep(false)).unwrap(), None);
    stream.expect_data("live");

    let metrics = Metrics::of(gateway.control_address().unwrap());
    assert_eq!(metrics.get("sluicegate_events_published_total{source=\"library\"}"), 2.0);
    // A publisher may outlive its gateway.
    drop(gateway);
    assert!(stream.is_closed_within(SOON));
    assert_eq!(publisher.publish("news", Event::new("late")), Err(PublishError::Closing));
}

#[test]
fn an_event_may_have_several_topics() {
    let gateway = builder().start().unwrap();
    let address = gateway.addresses()[0];
    let publisher = gateway.publisher();
    let mut streams = ["/events/a", "/events/b", "/events?topic=a&topic=b"].map(|target| subscribe(address, target));
    let both = [topic("a"), topic("b")];
    let listed = both.to_vec();
    let ids = [
        publisher.publish(["a", "b"], Event::new("1")),
        publisher.publish(&both, Event::new("2")),
        publisher.publish(both.clone(), Event::new("3")),
        publisher.publish(both.as_slice(), Event::new("4")),
        publisher.publish(both.to_vec(), Event::new("5")),
        publisher.publish(&listed, Event::new("6")),
        publisher.publish(["a", "b"].as_slice(), Event::new("7")),
    ];
    let ids = ids.map(|id| id.unwrap().unwrap().to_string());
    // A topic that is named twice is one topic.
    publisher.publish(["a", "b", "a"], Event::new("8").keep(false)).unwrap();
    for stream in &mut streams {
        for (id, data) in ids.iter().zip(1..) {
            assert_eq!(stream.expect_data(&data.to_string()).id, *id);
        }
        stream.expect_data("8");
    }
    publisher.publish("a", Event::new("end")).unwrap();
    publisher.publish(&String::from("b"), Event::new("end")).unwrap();
    for stream in &mut streams {
        stream.expect_data("end");
    }
}

#[test]
fn a_batch_is_published_whole_or_not_at_all() {
    let gateway = builder().start().unwrap();
    let publisher = gateway.publisher();
    let mut stream = subscribe(gateway.addresses()[0], "/events?match=**");
    let batch = [
        ("a", Event::new("1")),
        ("b", Event::new("2").keep(false)),
        ("c", Event::new("3").id("own")),
        ("d", Event::new("4")),
    ];
    let ids = publisher.publish_batch(batch.clone()).unwrap();
    let given: Vec<_> = (1..=4).map(|n| stream.expect_data(&n.to_string()).id).collect();
    assert_eq!(given[2], "own");
    let known: Vec<_> = ids.iter().map(|id| id.as_ref().map(EventId::as_str)).collect();
    assert_eq!(known, [Some(&*given[0]), None, None, Some(&*given[3])]);
    assert_eq!(publisher.publish_batch(batch.iter().map(|(topic, event)| (*topic, event))).unwrap().len(), 4);
    (1..=4).for_each(|n| drop(stream.expect_data(&n.to_string())));
    assert_eq!(publisher.publish_batch::<&str, Event<'_>>([]).unwrap(), []);

    let wrong = [("a", Event::new("5")), ("b", Event::new("6").event("x\ny")), ("c", Event::new("7"))];
    let PublishError::Invalid { index, fault, .. } = publisher.publish_batch(wrong).unwrap_err() else { panic!() };
    assert_eq!((index, fault.field(), &fault), (1, "event", &EventError::TypeLine));
    let error = publisher.publish("a/*", Event::new("8")).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.starts_with("topic: "), "{source}");
    let none: [Topic; 0] = [];
    let error = publisher.publish(none, Event::new("9")).unwrap_err();
    assert!(matches!(&error, PublishError::Invalid { index: 0, fault: EventError::NoTopic, .. }), "{error:?}");
    let events = 1_000_000;
    let error = publisher.publish_batch((0..events).map(|_| ("a", Event::new("x")))).unwrap_err();
    assert!(matches!(error, PublishError::TooLarge { .. }), "{error:?}");
    publisher.publish("a", Event::new("end")).unwrap();
    stream.expect_data("end");
}

#[test]
fn publishing_from_inside_on_a_runtime() {
    fn sent<F: Future + Send>(future: F) -> F {
        future
    }
    let gateway = builder().start().unwrap();
    let publisher = gateway.publisher();
    let mut stream = subscribe(gateway.addresses()[0], "/events?match=**");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let batch = || [("a", Event::new("2")), ("b", Event::new("3").keep(false)), ("c", Event::new("4").id("own"))];
    // Nothing is published before it is polled.
    drop(publisher.publish_async("a", Event::new("never")));
    drop(publisher.publish_batch_async(batch()));
    let id = runtime.block_on(sent(publisher.publish_async("a", Event::new("1")))).unwrap();
    let ids = runtime.block_on(sent(publisher.publish_batch_async(batch()))).unwrap();
    let known: Vec<_> = [id].iter().chain(&ids).map(|id| id.map(|id| id.to_string())).collect();
    let given: Vec<_> = (1..=4).map(|n| stream.expect_data(&n.to_string()).id).collect();
    assert_eq!(known, [Some(given[0].clone()), Some(given[1].clone()), None, None]);
    assert_eq!(given[3], "own");
    assert_eq!(runtime.block_on(publisher.publish_batch_async::<&str, Event<'_>>([])).unwrap(), []);

    let wrong = [("a", Event::new("5")), ("b", Event::new("6").event("x\ny"))];
    let error = runtime.block_on(publisher.publish_batch_async(wrong)).unwrap_err();
    assert!(matches!(&error, PublishError::Invalid { index: 1, fault, .. } if fault.field() == "event"), "{error:?}");
    publisher.publish("a", Event::new("end")).unwrap();
    stream.expect_data("end");
    let metrics = Metrics::of(gateway.control_address().unwrap());
    assert_eq!(metrics.get("sluicegate_events_published_total{source=\"library\"}"), 5.0);
    drop(gateway);
    let late = runtime.block_on(publisher.publish_async("a", Event::new("late")));
    assert_eq!(late, Err(PublishError::Closing));
}

/// What one expects of the types of a library, checked by the compiler.
#[test]
fn types_can_be_sent_printed_and_compared() {
    fn plain<T: Debug + Send + Sync + 'static>() {}
    fn value<T: Debug + Clone + PartialEq + Send + Sync + 'static>() {}
    fn error<T: std::error::Error + Send + Sync + 'static>() {}
    plain::<Builder>();
    plain::<Gateway>();
    plain::<Publisher>();
    plain::<Request>();
    plain::<Reply>();
    plain::<StreamReply>();
    value::<Event<'static>>();
    value::<EventId>();
    value::<Topic>();
    value::<Pattern>();
    value::<Schedule>();
    value::<Reloaded>();
    value::<Config>();
    error::<TopicError>();
    error::<PatternError>();
    error::<EventError>();
    error::<ScheduleError>();
    error::<PublishError>();
    error::<StartError>();
    error::<ReloadError>();
    error::<ConfigError>();
    assert_eq!("a/b".parse::<Topic>().unwrap().to_string(), "a/b");
    assert_eq!("a/*".parse::<Pattern>().unwrap().as_ref(), "a/*");
    assert_eq!("".parse::<Topic>(), Err(TopicError::Name(NameError::Empty)));
}

#[test]
fn a_socket_that_is_bound_may_be_passed_in() {
    let bound = || std::net::TcpListener::bind(std::net::SocketAddr::from(ANY_PORT)).unwrap();
    let (public, control, health) = (bound(), bound(), bound());
    let addresses = [&public, &control, &health].map(|socket| socket.local_addr().unwrap());
    let mut early = Conversation::to(addresses[0]);
    let mut config = sluicegate::Config::parse("acceptors = 3", "three.toml".as_ref()).unwrap();
    config.listen = toml::Value::try_from(["127.0.0.1:0"]).unwrap().try_into().unwrap();
    config.control = ANY_PORT.into();
    let builder = Builder::from_config(config).listen_on(public).control_on(control).health_on(health);
    let gateway = builder.start().unwrap();
    assert_eq!(gateway.addresses()[1], addresses[0]);
    assert_eq!([gateway.control_address(), gateway.health_address()], [Some(addresses[1]), Some(addresses[2])]);
    // Who had connected before is served, too.
    early.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n");
    assert_eq!(early.response().body, "ok\n");
    let mut streams: Vec<_> = (0..20).map(|_| subscribe(addresses[0], "/events/a")).collect();
    streams.push(subscribe(gateway.addresses()[0], "/events/a"));
    gateway.publisher().publish("a", Event::new("x")).unwrap();
    for stream in &mut streams {
        stream.expect_data("x");
    }
    assert_eq!(Metrics::of(addresses[1]).sum("sluicegate_streams"), 21.0);
    assert_eq!(Metrics::of(addresses[2]).sum("sluicegate_streams"), 21.0);
    drop(gateway);
    assert!(std::net::TcpStream::connect(addresses[0]).is_err(), "it no longer listens");
}

#[test]
fn a_gateway_serves_until_a_future_is_ready() {
    let mut config = sluicegate::Config::parse("[drain]\ndeadline = \"5s\"\n", "drain.toml".as_ref()).unwrap();
    config.listen = toml::Value::try_from(["127.0.0.1:0"]).unwrap().try_into().unwrap();
    config.control = ANY_PORT.into();
    let gateway = Builder::from_config(config).start().unwrap();
    let (publisher, address) = (gateway.publisher(), gateway.addresses()[0]);
    let (end, ended) = tokio::sync::oneshot::channel();
    let serving = std::thread::spawn(move || {
        gateway.run_until(async {
            // A timer shows that the runtime has them.
            tokio::time::sleep(Duration::from_millis(1)).await;
            ended.await.unwrap();
        })
    });
    let mut stream = subscribe(address, "/events/a");
    publisher.publish("a", Event::new("x")).unwrap();
    stream.expect_data("x");
    end.send(()).unwrap();
    serving.join().unwrap().unwrap();
    assert!(matches!(stream.item(), Some(Item::Retry(_))));
    assert_eq!(stream.item(), None);
    stream.expect_end();
    assert_eq!(publisher.publish("a", Event::new("late")), Err(PublishError::Closing));
}

#[test]
fn schedules_from_inside() {
    let tick = Schedule::new(&topic("ticks"), Duration::from_millis(30), &Event::new("{n}").keep(false)).unwrap();
    let gateway = builder().schedule(tick).start().unwrap();
    let mut stream = subscribe(gateway.addresses()[0], "/events/ticks");
    let first: u64 = stream.event().data.parse().unwrap();
    stream.expect_data(&(first + 1).to_string());
    stream.expect_data(&(first + 2).to_string());
}

#[test]
fn a_timer_of_a_stream_goes_with_it() {
    let period = Duration::from_millis(40);
    let gateway = builder()
        .on_request(move |_| async move {
            StreamReply::new().every(period, Event::new("tick").id("7")).topic(topic("news"))
        })
        .start()
        .unwrap();
    let control = gateway.control_address().unwrap();
    let entries = || Metrics::of(control).get("sluicegate_timer_entries");
    let idle = steady(entries);

    let mut stream = subscribe(gateway.addresses()[0], "/whatever");
    let began = Instant::now();
    for _ in 0..5 {
        let event = stream.event();
        assert_eq!((&*event.data, &*event.id), ("tick", "7"));
    }
    assert!(began.elapsed() >= 4 * period, "{:?}", began.elapsed());
    // The same stream has its topics, too.
    gateway.publisher().publish(topic("news"), Event::new("flash")).unwrap();
    assert!((0..100).any(|_| stream.event().data == "flash"));
    assert!(within(SOON, || entries() == idle + 1.0), "{} entries, {idle} before", entries());

    drop(stream);
    assert!(within(SOON, || gateway.streams() == 0));
    assert!(within(SOON, || entries() == idle), "{} entries, {idle} before", entries());
    let metrics = Metrics::of(control);
    assert_eq!(metrics.get("sluicegate_streams_closed_total{reason=\"client_gone\"}"), 1.0);
    assert_eq!(metrics.get("sluicegate_events_published_total{source=\"library\"}"), 1.0);
}

#[test]
fn timers_go_when_many_clients_go() {
    let gateway = builder()
        .on_request(async |_: Request| StreamReply::new().every(Duration::from_millis(5), Event::new("tick")))
        .start()
        .unwrap();
    let control = gateway.control_address().unwrap();
    let entries = || Metrics::of(control).get("sluicegate_timer_entries");
    let idle = steady(entries);
    let streams: Vec<_> = (0..200).map(|_| subscribe(gateway.addresses()[0], "/")).collect();
    assert!(within(SOON, || entries() >= idle + 200.0), "{} entries, {idle} before", entries());
    drop(streams);
    assert!(within(SOON, || gateway.streams() == 0 && entries() == idle), "{} entries, {idle} before", entries());
}

#[test]
fn a_stream_may_be_bounded_in_time() {
    let gateway =
        builder().on_request(async |_: Request| StreamReply::new().lasts(Duration::from_millis(100))).start().unwrap();
    let mut stream = subscribe(gateway.addresses()[0], "/");
    assert_eq!(stream.item(), None);
    stream.expect_end();
}

#[test]
fn a_handler_may_leave_requests_to_the_gateway() {
    let answer = async |request: Request| match request.uri().path() {
        "/hi" => Reply::text("hi"),
        _ => Reply::routes(),
    };
    let gateway = builder().on_request(answer).start().unwrap();
    let mut client = Conversation::to(gateway.addresses()[0]);
    for (path, status, body) in [("/hi", 200, "hi"), ("/", 200, "ok\n"), ("/nothing", 404, "")] {
        client.send(format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n"));
        let response = client.response();
        assert_eq!(response.status(), status, "{path}");
        assert!(body.is_empty() || response.body == body, "{}", response.body);
    }
    let mut stream = subscribe(gateway.addresses()[0], "/events/a");
    gateway.publisher().publish(topic("a"), Event::new("x")).unwrap();
    stream.expect_data("x");
}

#[test]
fn a_drain_ends_streams_kindly() {
    let mut config = sluicegate::Config::parse("[drain]\ndeadline = \"5s\"\n", "drain.toml".as_ref()).unwrap();
    config.listen = toml::Value::try_from(["127.0.0.1:0"]).unwrap().try_into().unwrap();
    config.control = ANY_PORT.into();
    let gateway = Builder::from_config(config).start().unwrap();
    let mut streams: Vec<_> = (0..10).map(|_| subscribe(gateway.addresses()[0], "/events/a")).collect();
    gateway.publisher().publish(topic("a"), Event::new("last")).unwrap();
    gateway.drain();
    for stream in &mut streams {
        stream.expect_data("last");
        assert!(matches!(stream.item(), Some(Item::Retry(ms)) if (1_500..=4_500).contains(&ms)));
        assert_eq!(stream.item(), None);
        stream.expect_end();
    }
}

#[allow(dead_code, reason = "its `main` is for those who run it")]
#[path = "../../examples/hello.rs"]
mod hello;

#[test]
fn the_classic_example_in_at_most_30_lines() {
    let lines = include_str!("../../examples/hello.rs").lines().count();
    assert!(lines <= 30, "{lines} lines");
    let gateway = hello::hello().listen(ANY_PORT.into()).start().unwrap();
    let address = gateway.addresses()[0];
    let mut other = Conversation::to(address);
    other.send("GET /anything HTTP/1.1\r\nhost: h\r\n\r\n");
    assert_eq!(other.response().body, "ok\n");
    let began = Instant::now();
    let mut stream = subscribe(address, "/");
    for n in 1..=2 {
        stream.expect("22\r\nevent: message\nid: 1\ndata: hello\n\n\r\n");
        let due = Duration::from_secs(2 * n);
        let took = began.elapsed();
        assert!((due - Duration::from_millis(100)..due + Duration::from_secs(1)).contains(&took), "{took:?}");
    }
    drop(stream);
    assert!(within(SOON, || gateway.streams() == 0));
}

#[test]
fn an_address_is_for_one_gateway_and_a_port_for_both_families() {
    let first = builder().start().unwrap();
    let taken = first.addresses()[0];
    let second = Gateway::builder().listen(taken).start();
    assert!(matches!(second, Err(sluicegate::StartError::Bind { address, .. }) if address == taken));

    let on_both = || {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (four, six) = (format!("0.0.0.0:{port}").parse().unwrap(), format!("[::]:{port}").parse().unwrap());
        Gateway::builder().listen(four).listen(six).start()
    };
    // A neighbour's connection may have taken a port that was free a moment ago, but not one after the other.
    let both = (0..10).map(|_| on_both()).find_map(Result::ok);
    assert!(both.is_some(), "{:?}", on_both().err());
}

/// A number that no longer changes: threads that have just started are still arming their timers.
fn steady(read: impl Fn() -> f64) -> f64 {
    let mut last = read();
    loop {
        std::thread::sleep(Duration::from_millis(150));
        let now = read();
        if now == last && now > 1.0 {
            return now;
        }
        last = now;
    }
}
