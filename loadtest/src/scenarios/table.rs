//! `table`: everything that must be reached, measured one after another.

use super::{book::Book, connect, idle, publish, ratios, resume, scale, topics};
use crate::{
    Result,
    args::{ConnectArgs, IdleArgs, Load, PublishArgs, RatiosArgs, ResumeArgs, ScaleArgs, TableArgs, TopicsArgs},
    report::{Row, grouped},
};

const BATCH_PUBLISH: &str = "batch publish, nobody subscribed";
const NONE: &str = "-";

pub(crate) fn run(args: &TableArgs) -> Result<()> {
    let (seconds, idle_seconds, rounds) = if args.quick { (4, 20, 1) } else { (10, 60, 2) };
    let server = &args.server;
    let mut book = Book::default();

    let load = Load { streams: 10_000, rate: 10.0, seconds, size: 100, warmup: 2 };
    let rates = vec![10.0, 100.0, 200.0];
    let ratios = RatiosArgs { load: load.clone(), rates, rounds, server: server.clone() };
    let floor = ratios::fill(&ratios, &mut book);
    ratios::fill_time_to_last(&Load { rate: 5.0, ..load }, rounds, server, &mut book);
    let scale = ScaleArgs { few: 1_000, many: 18_000, rate: 10.0, seconds, server: server.clone() };
    scale::fill(&scale, &mut book);
    let topics = TopicsArgs { streams: 10_000, rate: 10.0, batch: 1_000, seconds, size: 100, server: server.clone() };
    fill_topics(&topics, floor, &mut book);
    fill_connect(&ConnectArgs { streams: 10_000, in_flight: 256, server: server.clone() }, &mut book);
    fill_resume(&ResumeArgs { streams: 10_000, missed: 100, size: 100, server: server.clone() }, &mut book);
    let publish = PublishArgs { connections: 2, batch: 1_000, seconds: 5, size: 100, server: server.clone() };
    fill_publish(&publish, &mut book);
    fill_idle(&IdleArgs { streams: 18_000, seconds: idle_seconds, server: server.clone() }, &mut book);

    if let Some(path) = &args.json {
        book.write_json(path)?;
    }
    book.close()
}

fn fill_topics(args: &TopicsArgs, floor: Option<f64>, book: &mut Book) {
    let measure = format!("CPU a delivery, {0} streams on {0} topics", grouped(u64::from(args.streams)));
    let must = "≤ 1.6 × floor's send";
    let figures = book.keep("topics", topics::measure(args));
    book.add(match (&figures, figures.as_ref().and_then(|figures| figures.cpu_us), floor) {
        (Some(figures), Some(cpu), Some(floor)) => Row::new(
            &measure,
            must,
            format!("{floor:.2} µs"),
            format!("{cpu:.2} µs"),
            format!("{:.2}", cpu / floor),
            cpu <= 1.6 * floor && figures.verdict().is_ok(),
        ),
        _ => Row::failed(&measure, must, "not measured"),
    });
    if let Some(figures) = figures {
        book.note("topics", figures.verdict());
    }
}

fn fill_connect(args: &ConnectArgs, book: &mut Book) {
    let (measure, must) = ("CPU a connect", "≤ 30 µs");
    let figures = book.keep("connect", connect::measure(args));
    book.add(figures.map_or_else(
        || Row::failed(measure, must, "not measured"),
        |figures| {
            let said = format!("{:.1} µs, {}/s", figures.cpu_us, grouped(figures.per_second as u64));
            alone(measure, must, said, figures.cpu_us <= 30.0)
        },
    ));
}

fn fill_resume(args: &ResumeArgs, book: &mut Book) {
    let measure = format!("{} streams resume {} missed events", grouped(u64::from(args.streams)), args.missed);
    let must = "nothing lost, ≤ 2 s of CPU";
    let Some(figures) = book.keep("resume", resume::measure(args)) else {
        return book.add(Row::failed(&measure, must, "not measured"));
    };
    let lost = if figures.verdict().is_ok() { "nothing lost" } else { "NOT exactly the missed ones" };
    let said = format!("{:.2} s of CPU, {:.2} s of wall time, {lost}", figures.cpu_seconds, figures.seconds);
    book.add(alone(&measure, must, said, figures.verdict().is_ok() && figures.cpu_seconds <= 2.0));
    book.note("resume", figures.verdict());
}

fn fill_publish(args: &PublishArgs, book: &mut Book) {
    let must = "≥ 300,000 events/s";
    let figures = book.keep("publish", publish::measure(args));
    book.add(figures.map_or_else(
        || Row::failed(BATCH_PUBLISH, must, "not measured"),
        |figures| {
            let said = format!("{} events/s", grouped(figures.events_per_second as u64));
            alone(BATCH_PUBLISH, must, said, figures.events_per_second >= 300_000.0)
        },
    ));
}

fn fill_idle(args: &IdleArgs, book: &mut Book) {
    let streams = grouped(u64::from(args.streams));
    let names = [
        (format!("memory (PSS) an idle stream, {streams} of them"), "≤ 1,024 bytes"),
        ("given back when all have closed".to_owned(), "≥ 80 %"),
        (format!("CPU of {streams} idle streams with 15 s heartbeats"), "≤ 1.5 % of a core"),
    ];
    let Some(figures) = book.keep("idle", idle::measure(args)) else {
        return names.iter().for_each(|(measure, must)| book.add(Row::failed(measure, must, "not measured")));
    };
    // Each stream gets one in every 15 s, but for those that the first and the last moments cut off.
    let expected = u64::from(args.streams) * u64::from((args.seconds / 15).saturating_sub(1));
    let beats = figures.heartbeats >= expected;
    let cpu = format!("{:.2} %, {} heartbeats in {} s", figures.cpu_percent, grouped(figures.heartbeats), args.seconds);
    let results = [
        (format!("{:.0} bytes", figures.bytes_per_stream), figures.bytes_per_stream <= 1_024.0),
        (format!("{:.0} %", figures.given_back_percent), figures.given_back_percent >= 80.0),
        (cpu, beats && figures.cpu_percent <= 1.5),
    ];
    for ((measure, must), (said, ok)) in names.iter().zip(results) {
        book.add(alone(measure, must, said, ok));
    }
}

/// A row that needs no floor.
fn alone(measure: &str, must: &str, said: String, ok: bool) -> Row {
    Row::new(measure, must, NONE.to_owned(), said, NONE.to_owned(), ok)
}
