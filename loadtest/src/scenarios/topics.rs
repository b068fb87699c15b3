//! `topics`: every stream on a topic of its own, batches of events to random topics.

use std::io::Write as _;

use serde::Serialize;

use super::{
    fresh_topic,
    window::{PAUSE_NS, Window},
};
use crate::{
    Result,
    args::{Kind, TopicsArgs},
    checker::{Checker, Faults, Keys},
    clock::{Clock, Schedule},
    payload::Event,
    publisher::{self, Publisher, Replies},
    report::{Quantiles, grouped},
    server::Server,
    streams::{Plan, Streams, Topic},
};

const WARM_UP_SECONDS: f64 = 2.0;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) streams: u32,
    pub(crate) batches_per_second: f64,
    pub(crate) batch: u32,
    pub(crate) delivered: u64,
    pub(crate) expected: u64,
    pub(crate) deliveries_per_second: f64,
    pub(crate) latency: Quantiles,
    /// Microseconds a delivery, the publishing included.
    pub(crate) cpu_us: Option<f64>,
    pub(crate) client_us: f64,
    pub(crate) faults: Faults,
    #[serde(skip)]
    closed: Result<()>,
}

pub(crate) fn run(args: &TopicsArgs) -> Result<()> {
    let figures = measure(args)?;
    println!(
        "topics: {} streams on as many topics, {} batches/s of {} events to random topics",
        grouped(u64::from(figures.streams)),
        figures.batches_per_second,
        grouped(u64::from(figures.batch))
    );
    println!(
        "  deliveries    {} of {}, {}/s",
        grouped(figures.delivered),
        grouped(figures.expected),
        grouped(figures.deliveries_per_second as u64)
    );
    let Quantiles { p50_ms, p99_ms, max_ms, .. } = figures.latency;
    println!("  latency       p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms, max {max_ms:.1} ms");
    if let Some(cpu) = figures.cpu_us {
        println!("  server CPU    {cpu:.2} µs a delivery, publishing included");
    }
    println!("  client CPU    {:.2} µs a delivery", figures.client_us);
    figures.verdict()
}

pub(crate) fn measure(args: &TopicsArgs) -> Result<Figures> {
    let server = Server::start(Kind::Gateway, &args.server)?;
    let clock = Clock::start();
    let prefix = format!("{}/", fresh_topic("topics"));
    let count = args.streams as usize;
    let plan = Plan::fresh(server.streams, Topic::Own(prefix.clone()));
    let mut streams = Streams::open(plan, clock, Checker::new(count, args.size, Keys::OwnTopic), count)?;

    let warm = (WARM_UP_SECONDS * args.rate).round() as u32;
    let measured = ((f64::from(args.seconds) * args.rate).round() as u32).max(1);
    let schedule = Schedule { first_ns: clock.now_ns() + PAUSE_NS, per_second: args.rate, count: warm + measured };
    streams.checker.measure_from(schedule.due_ns(warm));
    let events = draw(args.streams, schedule.count as usize * args.batch as usize);
    let mut totals = vec![0; count];
    for event in &events {
        totals[event.key as usize] += 1;
    }
    let expected = events.len() as u64;
    let layout = streams.checker.layout().clone();
    let batch = args.batch as usize;
    let publisher = Publisher::start(server.control, clock, schedule, Replies::Http, move |k, due_ns, bytes| {
        publisher::post("/events", "application/x-ndjson", bytes, |body| {
            for &event in &events[k as usize * batch..][..batch] {
                let _ = write!(body, "{{\"topic\":\"{prefix}{}\",\"data\":\"", event.key);
                layout.write(Event { due_ns, ..event }, body);
                body.extend_from_slice(b"\"}\n");
            }
        });
    })?;
    let window = Window::take(&server, &mut streams, clock, schedule, warm, expected, publisher)?;

    Ok(Figures {
        streams: args.streams,
        batches_per_second: args.rate,
        batch: args.batch,
        delivered: streams.checker.delivered(),
        expected,
        deliveries_per_second: window.deliveries as f64 / window.seconds,
        latency: Quantiles::of(streams.checker.latency()),
        cpu_us: window.server.map(|cpu| window.micros(cpu.total())),
        client_us: window.micros(window.client.total()),
        faults: streams.checker.faults(|stream| totals[stream]),
        closed: streams.all_still_open(),
    })
}

impl Figures {
    pub(crate) fn verdict(&self) -> Result<()> {
        self.closed.clone()?;
        self.faults.complaint().map_or(Ok(()), Err)
    }
}

/// Events to random topics, numbered in each; the same in every run.
fn draw(topics: u32, count: usize) -> Vec<Event> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut numbers = vec![0; topics as usize];
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let key = (((state >> 32) * u64::from(topics)) >> 32) as u32;
            let number = numbers[key as usize];
            numbers[key as usize] += 1;
            Event { number, due_ns: 0, key }
        })
        .collect()
}
