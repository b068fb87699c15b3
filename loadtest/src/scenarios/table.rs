//! `table`: everything that docs/benchmarks.md says must be reached, measured one after another.

use super::{
    book::{Book, Outcome},
    connect, idle, publish, ratios, scale, storm, topics,
};
use crate::{
    Result,
    args::{
        ConnectArgs, IdleArgs, Load, PublishArgs, RatiosArgs, ScaleArgs, StormArgs, TableArgs, TopicsArgs, defaults,
    },
    record::{Cell, TableRow},
    report::{grouped, median},
    server::Target,
};

pub(crate) fn run(args: &TableArgs, target: &Target, book: &mut Book) -> Result<()> {
    let (seconds, idle_seconds, rounds) = if args.quick { (4, 20, 1) } else { (10, 60, 2) };
    book.set_columns(target);

    let load = Load { seconds, ..defaults() };
    let rates = RatiosArgs { load: load.clone(), rounds, ..defaults() };
    ratios::fill(&rates, target, book)?;
    ratios::fill_time_to_last(&Load { rate: 5.0, ..load }, rounds, target, book)?;
    scale::fill(&ScaleArgs { seconds, ..defaults() }, target, book)?;
    fill_topics(&TopicsArgs { seconds, ..defaults() }, rounds, target, book)?;
    fill_connect(&defaults(), target, book);
    fill_storm(&defaults(), target, book);
    fill_publish(&defaults(), target, book);
    fill_idle(&IdleArgs { seconds: idle_seconds, ..defaults() }, target, book);
    Ok(())
}

/// A row that needs no floor.
fn alone(measure: &str, must: &str, said: String, ok: bool) -> TableRow {
    let cells = vec![Cell::default(), Cell::words(&said), Cell::default()];
    TableRow::new(measure, "", cells, Some((must.to_owned(), ok)))
}

fn fill_topics(args: &TopicsArgs, rounds: u32, target: &Target, book: &mut Book) -> Result<()> {
    let measure = format!("CPU per delivery, {0} streams on {0} topics", grouped(u64::from(args.streams)));
    let must = "≤ 1.25 × a floor that walks its sockets in the same order";
    let floor = Target::built_in(topics::FLOOR)?;
    let mut all = [Vec::new(), Vec::new()];
    let mut is_right = true;
    for _ in 0..rounds {
        for (target, all) in [&floor, target].into_iter().zip(&mut all) {
            let outcome = book.take("topics", target, topics::measure(args, target));
            is_right &= outcome.as_ref().is_some_and(Outcome::is_right);
            all.extend(outcome.and_then(|outcome| outcome.figures.cpu_us));
        }
    }
    book.add(match all.map(median) {
        [Some(floor), Some(cpu)] => {
            let cells = vec![
                Cell::of(floor, format!("{floor:.2} µs")),
                Cell::of(cpu, format!("{cpu:.2} µs")),
                Cell::of(cpu / floor, format!("{:.2}", cpu / floor)),
            ];
            TableRow::new(&measure, "µs", cells, Some((must.to_owned(), cpu <= 1.25 * floor && is_right)))
        }
        _ => TableRow::failed(&measure, must),
    });
    Ok(())
}

fn fill_connect(args: &ConnectArgs, target: &Target, book: &mut Book) {
    let (measure, must) = ("CPU per connection", "≤ 30 µs");
    let outcome = book.take("connect", target, connect::measure(args, target));
    book.add(outcome.map_or_else(
        || TableRow::failed(measure, must),
        |outcome| {
            let connect::Figures { cpu_us, connects_per_second, .. } = outcome.figures;
            let said = format!("{cpu_us:.1} µs, {}/s", grouped(connects_per_second as u64));
            alone(measure, must, said, cpu_us <= 30.0 && outcome.is_right())
        },
    ));
}

fn fill_storm(args: &StormArgs, target: &Target, book: &mut Book) {
    let measure = format!("{} streams resume {} missed events", grouped(u64::from(args.streams)), args.missed);
    let must = "nothing lost, ≤ 2 s of CPU";
    let outcome = book.take("storm", target, storm::measure(args, target));
    let cpu = outcome.as_ref().and_then(|outcome| outcome.figures.cpu_s);
    book.add(match (outcome, cpu) {
        (Some(outcome), Some(cpu)) => {
            let lost = if outcome.is_right() { "nothing lost" } else { "NOT exactly the missed ones" };
            let said = format!("{cpu:.2} s of CPU, {:.2} s of wall time, {lost}", outcome.figures.whole_s);
            alone(&measure, must, said, outcome.is_right() && cpu <= 2.0)
        }
        _ => TableRow::failed(&measure, must),
    });
}

fn fill_publish(args: &PublishArgs, target: &Target, book: &mut Book) {
    let (measure, must) = ("batch publish, nobody subscribed", "≥ 300,000 events/s");
    let outcome = book.take("publish", target, publish::measure(args, target));
    book.add(outcome.map_or_else(
        || TableRow::failed(measure, must),
        |outcome| {
            let rate = outcome.figures.events_per_second;
            alone(measure, must, format!("{} events/s", grouped(rate as u64)), rate >= 300_000.0)
        },
    ));
}

fn fill_idle(args: &IdleArgs, target: &Target, book: &mut Book) {
    let streams = grouped(u64::from(args.streams));
    let names = [
        (format!("memory (PSS) per idle stream, {streams} of them"), "≤ 1,024 bytes"),
        ("given back when all have closed".to_owned(), "≥ 80 %"),
        (format!("CPU of {streams} idle streams with 15 s heartbeats"), "≤ 1.5 % of a core"),
    ];
    let Some(outcome) = book.take("idle", target, idle::measure(args, target)) else {
        return names.iter().for_each(|(measure, must)| book.add(TableRow::failed(measure, must)));
    };
    let figures = outcome.figures;
    // Each stream gets one in every 15 s, but for those that the first and the last moments cut off.
    let expected = u64::from(args.streams) * u64::from((args.seconds / 15).saturating_sub(1));
    let all_came = figures.heartbeats >= expected;
    let cpu = format!("{:.2} %, {} heartbeats in {} s", figures.cpu_percent, grouped(figures.heartbeats), args.seconds);
    let results = [
        (format!("{:.0} bytes", figures.bytes_per_stream), figures.bytes_per_stream <= 1_024.0),
        (format!("{:.0} %", figures.given_back_percent), figures.given_back_percent >= 80.0),
        (cpu, all_came && figures.cpu_percent <= 1.5),
    ];
    for ((measure, must), (said, ok)) in names.iter().zip(results) {
        book.add(alone(measure, must, said, ok));
    }
}
