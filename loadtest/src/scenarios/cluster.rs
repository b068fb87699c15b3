//! `cluster`: the gateway with its events in memory and on a nats-server, in turn: what the second costs, and what a node
//! gets that another was given.

use std::time::Instant;

use super::{
    book::{Book, Outcome},
    durability::{Must, in_turn, publish_many, row, seconds_row},
    fanout, publish, storm,
};
use crate::{
    Result,
    args::{Engine, EngineArgs, Load, PublishArgs, StormArgs, defaults},
    record::{Cell, TableRow},
    report::grouped,
    server::{Nats, Target},
};

/// Events in a batch.
const BATCH: u32 = 100;
/// Events a second to the streams.
const RATES: [f64; 2] = [10.0, 100.0];
/// Events a second, and streams, of which the latency is taken.
const PACED: (f64, u32) = (1_000.0, 10);
/// Events that memory keeps for those that resume, and what they miss beside these.
const MEMORY: u32 = 10;
const OLDER: u32 = 100;

pub(crate) fn run(args: &EngineArgs, target: &Target, book: &mut Book) -> Result<()> {
    let [one, pair] = [target.with_engine(Engine::Nats)?, target.with_engine(Engine::NatsPair)?];
    let alone = [target.clone(), one];
    let apart = [target.clone(), pair.clone()];
    book.table().columns = vec!["memory".to_owned(), "nats".to_owned(), "ratio".to_owned()];
    let EngineArgs { streams, connections, seconds, rounds, .. } = *args;

    for rate in RATES {
        let measure = format!("CPU a delivery, another node, {} streams, {rate} events/s", grouped(streams.into()));
        let load = Load { streams, rate, seconds, ..defaults() };
        let medians = in_turn(rounds, &apart, book, &|target, book| {
            book.take("fanout", target, fanout::measure(&load, target)).and_then(|outcome| outcome.figures.cpu_us)
        });
        book.add(row(&measure, " µs", Must::Times(1.05), medians));
    }

    let (rate, few) = PACED;
    let load = Load { streams: few, rate, seconds, ..defaults() };
    for (name, figure, most) in [("p50", p50 as fn(&fanout::Figures) -> f64, 0.5), ("p99", p99, 2.0)] {
        let measure = format!("published to delivered at another node, {} events/s, {name}", grouped(rate as u64));
        let medians = in_turn(rounds, &apart, book, &|target, book| {
            book.take("fanout", target, fanout::measure(&load, target)).map(|outcome| figure(&outcome.figures))
        });
        book.add(row(&measure, " ms", Must::Added(most), medians));
    }

    let single = PublishArgs { connections, seconds, batch: 1, ..defaults() };
    let batches = PublishArgs { connections, seconds, batch: BATCH, ..defaults() };
    let published = |args: &PublishArgs, book: &mut Book| {
        in_turn(rounds, &alone, book, &|target, book| {
            let outcome = book.take("publish", target, publish::measure(args, target));
            outcome.map(|outcome| outcome.figures.events_per_second)
        })
    };
    let medians = published(&single, book);
    let measure = format!("events published one by one, {connections} connections");
    book.add(row(&measure, "/s", Must::LeastOr(20_000.0), medians));
    let medians = published(&batches, book);
    let measure = format!("events published in batches of {BATCH}, {connections} connections");
    book.add(row(&measure, "/s", Must::Least(500_000.0), medians));

    for (args, most) in [(single, 4.0), (batches, 0.3)] {
        let measure = format!("CPU of a node for an event that nobody there listens to, in packs of {}", args.batch);
        let outcome = book.take("publish", &pair, publish::measure(&args, &pair));
        book.add(outcome.and_then(|outcome| outcome.figures.cpu_us).map_or_else(
            || TableRow::failed(&measure, &format!("≤ {most} µs")),
            |cpu_us| {
                let cells = vec![Cell::default(), Cell::of(cpu_us, format!("{cpu_us:.2} µs")), Cell::default()];
                TableRow::new(&measure, "µs", cells, Some((format!("≤ {most} µs"), cpu_us <= most)))
            },
        ));
    }

    book.add(start(args, target)?);
    let memory = format!("[history]\nevents = {MEMORY}\n");
    let on_disk = format!("{memory}[disk]\nevents = 1000000\n");
    for (name, engine, memory) in [("disk", Engine::Disk, &on_disk), ("nats", Engine::Nats, &memory)] {
        resume(args, name, &target.with_engine(engine)?.with_settings(memory)?, book);
    }
    Ok(())
}

fn p50(figures: &fanout::Figures) -> f64 {
    figures.latency.p50_ms
}

fn p99(figures: &fanout::Figures) -> f64 {
    figures.latency.p99_ms
}

/// A gateway starts on a server that has many events.
fn start(args: &EngineArgs, target: &Target) -> Result<TableRow> {
    let nats = Nats::start()?;
    let history = format!("[history]\nevents = {}\nbytes = \"16GiB\"\n", args.events);
    let target = target.on(&nats)?.with_settings(&history)?;
    publish_many(&target, args.events)?;
    let began = Instant::now();
    let server = target.start()?;
    let seconds = began.elapsed().as_secs_f64();
    drop(server);
    let measure = format!("from start to streams, {} events on the server", grouped(args.events.into()));
    Ok(seconds_row(&measure, seconds, 3.0))
}

/// All streams resume events that have left memory.
fn resume(args: &EngineArgs, name: &str, target: &Target, book: &mut Book) {
    let storm = StormArgs { streams: args.streams, missed: OLDER + MEMORY, ..defaults() };
    let outcome = book.take("storm", target, storm::measure(&storm, target));
    let of = format!("{} streams resume {OLDER} events older than memory, {name}", grouped(args.streams.into()));
    let figures = outcome.filter(Outcome::is_right).map(|outcome| outcome.figures);
    let measures = [format!("{of}: whole"), format!("{of}: pages read")];
    let Some(storm::Figures { whole_s, pages: Some(pages), .. }) = figures else {
        measures.iter().for_each(|measure| book.add(TableRow::failed(measure, "")));
        return;
    };
    book.add(seconds_row(&measures[0], whole_s, 3.0));
    // Fewer events than a page holds.
    let cells = vec![Cell::default(), Cell::of(pages as f64, pages.to_string()), Cell::default()];
    book.add(TableRow::new(&measures[1], "", cells, Some(("≤ 3".to_owned(), (1..=3).contains(&pages)))));
}
