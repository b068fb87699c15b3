//! `topics`: many topics, and events to topics drawn at random: evenly, or by Zipf's law as crowds choose.

use serde::Serialize;

use super::{
    book::{Book, Outcome},
    window::{Measured, Window, soon},
};
use crate::{
    Result,
    args::TopicsArgs,
    clock::Clock,
    fleet::{Fleet, Streams},
    payload::{Event, Layout},
    publisher::{Publisher, Requests},
    report::{Quantiles, grouped},
    server::Target,
    streams::{Topic, fresh_topic},
    tally::Expected,
};

const WARM_UP_SECONDS: f64 = 2.0;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) delivered: u64,
    pub(crate) deliveries_per_second: f64,
    #[serde(flatten)]
    pub(crate) latency: Quantiles,
    /// Microseconds a delivery, the publishing included.
    pub(crate) cpu_us: Option<f64>,
    pub(crate) user_us: Option<f64>,
    pub(crate) system_us: Option<f64>,
    pub(crate) client_cpu_us: Option<f64>,
    pub(crate) missing: u64,
}

/// The floor that walks its sockets as the events' topics come.
pub(crate) const FLOOR: &str = "floor-topics";

pub(crate) fn run(args: &TopicsArgs, target: &Target, book: &mut Book) -> Result<()> {
    let floor = if args.with_floor {
        let floor = Target::built_in(FLOOR)?;
        book.take("topics", &floor, measure(args, &floor))
    } else {
        None
    };
    let server = book.take("topics", target, measure(args, target));
    let cpu = |outcome: Option<Outcome<Figures>>| outcome.and_then(|outcome| outcome.figures.cpu_us);
    if let (Some(floor), Some(server)) = (cpu(floor), cpu(server)) {
        println!("  {:.2} times the floor that walks its sockets in the same order", server / floor);
    }
    Ok(())
}

pub(crate) fn measure(args: &TopicsArgs, target: &Target) -> Result<Outcome<Figures>> {
    target.profile.needs("topics")?;
    let server = target.start()?;
    let clock = Clock::start();
    let topics = args.topics.unwrap_or(args.streams);
    let prefix = format!("{}/", fresh_topic("topics"));
    let topic = Topic::Own { prefix: prefix.clone(), topics };
    let streams = Streams { topic, ..Streams::of(String::new(), args.streams, args.size) };
    let mut fleet = Fleet::open(&streams, &server, clock)?;

    let requests = Requests::new(&server);
    // Where a server takes no batches, each event is a request.
    let batch = if requests.takes_batches() { args.batch } else { 1 };
    let per_second = args.rate * f64::from(args.batch / batch);
    let (schedule, from) = soon(clock, per_second, WARM_UP_SECONDS, args.seconds.into());
    let events = draw(topics, args.zipf, schedule.count as usize * batch as usize);
    let mut totals = vec![0_u32; topics as usize];
    for event in &events {
        totals[event.key as usize] += 1;
    }
    let subscribers = |key: usize| u64::from(args.streams / topics + u32::from((key as u32) < args.streams % topics));
    let measured = Measured {
        schedule,
        from,
        deliveries: totals.iter().enumerate().map(|(key, count)| u64::from(*count) * subscribers(key)).sum(),
        expected: Expected::ByKey(totals),
    };
    let layout = Layout::new(args.size);
    let names: Vec<String> = (0..topics).map(|key| format!("{prefix}{key}")).collect();
    let takes_batches = requests.takes_batches();
    let write = move |k: u32, due_ns: u64, bytes: &mut Vec<u8>| {
        let events = events[(k * batch) as usize..][..batch as usize].iter().map(|event| Event { due_ns, ..*event });
        let mut named = events.map(|event| (names[event.key as usize].as_str(), event));
        if takes_batches {
            requests.batch(named, &layout, bytes).expect("it takes batches");
        } else if let Some((topic, event)) = named.next() {
            requests.one(topic, bytes, |data| layout.write(event, data));
        }
    };
    let window =
        Window::take(&server, &mut fleet, clock, &measured, || Publisher::start(&server, clock, schedule, write))?;

    let figures = Figures {
        delivered: window.delivered,
        deliveries_per_second: window.deliveries_per_second(),
        latency: Quantiles::of(&window.tally.latency),
        cpu_us: window.server.and_then(|cpu| window.micros(cpu.total())),
        user_us: window.server.and_then(|cpu| window.micros(cpu.user)),
        system_us: window.server.and_then(|cpu| window.micros(cpu.system)),
        client_cpu_us: window.micros(window.client.total()),
        missing: window.tally.faults.missing,
    };
    let said = format!(
        "topics: {} streams of {} on {} topics, {} batches/s of {} events, zipf {}\n{}",
        grouped(u64::from(args.streams)),
        target.name(),
        grouped(u64::from(topics)),
        args.rate,
        grouped(u64::from(args.batch)),
        args.zipf,
        window.said()
    );
    Ok(Outcome::new(args, figures, said).with_course(&window).checked([fleet.all_still_open(), window.verdict()]))
}

/// Events to topics drawn at random, numbered in each; the same in every run. Topic `k`, from 1, has the weight `1/k`
/// to the power `zipf`.
fn draw(topics: u32, zipf: f64, count: usize) -> Vec<Event> {
    let mut sum = 0.0;
    let bounds: Vec<f64> = (1..=topics)
        .map(|k| {
            sum += f64::from(k).powf(-zipf);
            sum
        })
        .collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut numbers = vec![0; topics as usize];
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let drawn = (state >> 11) as f64 / (1_u64 << 53) as f64 * sum;
            let key = bounds.partition_point(|bound| *bound <= drawn).min(bounds.len() - 1);
            let number = numbers[key];
            numbers[key] += 1;
            Event { number, due_ns: 0, key: key as u32 }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_drawn_by_their_weight() {
        let counts = |zipf| {
            let mut counts = vec![0_u32; 100];
            draw(100, zipf, 100_000).iter().for_each(|event| counts[event.key as usize] += 1);
            counts
        };
        assert!(counts(0.0).iter().all(|count| (800..1_200).contains(count)));
        let skewed = counts(1.0);
        // 1/k over the 100th harmonic number, 5.187.
        assert!((18_000..20_500).contains(&skewed[0]), "{}", skewed[0]);
        assert!((1_500..2_400).contains(&skewed[9]), "{}", skewed[9]);
    }
}
