//! `durability`: the gateway with its events in memory and on disk, in turn: what the second costs a publisher and a
//! delivery, and how soon a gateway with many events is there again.

use std::{fs, time::Instant};

use super::{
    book::Book,
    fanout,
    publish::{self, Figures},
};
use crate::{
    Result,
    args::{Engine, EngineArgs, Load, PublishArgs, defaults},
    payload::{Event, Layout},
    publisher::Requests,
    record::{Cell, TableRow},
    report::{grouped, median},
    request::Connection,
    server::{Folder, Target},
    streams::fresh_topic,
};

/// Events in a batch.
const BATCH: u32 = 100;
/// Single events a second to which answers are timed.
const PACED: f64 = 1_000.0;
/// Events a second to the streams.
const RATES: [f64; 2] = [10.0, 100.0];

pub(crate) fn run(args: &EngineArgs, target: &Target, book: &mut Book) -> Result<()> {
    let targets = [target.clone(), target.with_engine(Engine::Disk)?];
    book.table().columns = vec!["memory".to_owned(), "disk".to_owned(), "ratio".to_owned()];
    let connections = args.connections;
    let publishing = PublishArgs { connections, seconds: args.seconds, ..defaults() };
    let publish = |args: PublishArgs, figure: fn(&Figures) -> f64| {
        move |target: &Target, book: &mut Book| {
            book.take("publish", target, publish::measure(&args, target)).map(|outcome| figure(&outcome.figures))
        }
    };
    let rate: fn(&Figures) -> f64 = |figures| figures.events_per_second;
    let mut add = |measure: &str, unit, must, one: &dyn Fn(&Target, &mut Book) -> Option<f64>| {
        let medians = in_turn(args.rounds, &targets, book, one);
        book.add(row(measure, unit, must, medians));
    };

    let measure = format!("events published one by one, {connections} connections");
    let single = PublishArgs { batch: 1, ..publishing.clone() };
    add(&measure, "/s", Must::Least(20_000.0), &publish(single.clone(), rate));

    let measure = format!("events published in batches of {BATCH}, {connections} connections");
    let batches = PublishArgs { batch: BATCH, ..publishing };
    add(&measure, "/s", Must::Least(300_000.0), &publish(batches, rate));

    let measure = format!("answers to {} events/s, p99", grouped(PACED as u64));
    let paced = PublishArgs { rate: Some(PACED), ..single };
    add(&measure, " ms", Must::Most(5.0), &publish(paced, |figures| figures.answered.p99_ms));

    for rate in RATES {
        let measure = format!("CPU per delivery, {} streams, {rate} events/s", grouped(args.streams.into()));
        let load = Load { streams: args.streams, rate, seconds: args.seconds, ..defaults() };
        add(&measure, " µs", Must::Times(1.05), &|target, book| {
            book.take("fanout", target, fanout::measure(&load, target)).and_then(|outcome| outcome.figures.cpu_us)
        });
    }
    book.add(start(args, target)?);
    Ok(())
}

/// What an engine's figure must be.
#[derive(Clone, Copy)]
pub(super) enum Must {
    Least(f64),
    Most(f64),
    /// At most so many times memory's.
    Times(f64),
    /// At most so much more than memory's.
    Added(f64),
    /// So much, or what memory reaches if that is less, and a fifth less than that.
    LeastOr(f64),
}

/// The medians of memory and another engine, each so many times in turn, so that both see the same machine.
pub(super) fn in_turn(
    rounds: u32,
    targets: &[Target; 2],
    book: &mut Book,
    one: &dyn Fn(&Target, &mut Book) -> Option<f64>,
) -> [Option<f64>; 2] {
    let mut all = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (target, all) in targets.iter().zip(&mut all) {
            all.extend(one(target, book));
        }
    }
    all.map(median)
}

pub(super) fn row(measure: &str, unit: &str, must: Must, medians: [Option<f64>; 2]) -> TableRow {
    let said = |figure: f64| {
        if figure >= 1_000.0 { format!("{}{unit}", grouped(figure as u64)) } else { format!("{figure:.2}{unit}") }
    };
    let goal = match must {
        Must::Least(least) => format!("≥ {}", said(least)),
        Must::Most(most) => format!("≤ {}", said(most)),
        Must::Times(times) => format!("≤ {times} × memory's"),
        Must::Added(most) => format!("≤ {} more than memory's", said(most)),
        Must::LeastOr(least) => format!("≥ 0.8 × the less of {} and memory's", said(least)),
    };
    let [Some(memory), Some(disk)] = medians else { return TableRow::failed(measure, &goal) };
    let is_met = match must {
        Must::Least(least) => disk >= least,
        Must::Most(most) => disk <= most,
        Must::Times(times) => disk <= times * memory,
        Must::Added(most) => disk - memory <= most,
        Must::LeastOr(least) => disk >= 0.8 * memory.min(least),
    };
    let ratio = Cell::of(disk / memory, format!("{:.2}", disk / memory));
    let cells = vec![Cell::of(memory, said(memory)), Cell::of(disk, said(disk)), ratio];
    TableRow::new(measure, unit.trim(), cells, Some((goal, is_met)))
}

/// A gateway that keeps many events ends, and starts again on the same directory.
fn start(args: &EngineArgs, target: &Target) -> Result<TableRow> {
    let folder = Folder::new()?;
    let config = folder.path().join("config.toml");
    let text = format!(
        "engine = \"disk\"\n[disk]\ndir = {:?}\n[history]\nevents = {}\nbytes = \"16GiB\"\n",
        folder.path().join("events"),
        args.events
    );
    fs::write(&config, text).map_err(|error| format!("cannot write {}: {error}", config.display()))?;
    let target = target.with_arguments(&["--config".to_owned(), config.display().to_string()])?;
    publish_many(&target, args.events)?;
    let began = Instant::now();
    let server = target.start()?;
    let seconds = began.elapsed().as_secs_f64();
    drop(server);
    let measure = format!("from start to streams, {} events on disk", grouped(args.events.into()));
    Ok(seconds_row(&measure, seconds, 3.0))
}

/// A row of an engine alone.
pub(super) fn seconds_row(measure: &str, seconds: f64, most: f64) -> TableRow {
    let cells = vec![Cell::default(), Cell::of(seconds, format!("{seconds:.2} s")), Cell::default()];
    TableRow::new(measure, "s", cells, Some((format!("≤ {most} s"), seconds <= most)))
}

/// Publishes so many events to a gateway that starts and ends, in batches of 1,000.
pub(super) fn publish_many(target: &Target, events: u32) -> Result<()> {
    let server = target.start()?;
    let (requests, layout) = (Requests::new(&server), Layout::new(100));
    let topics: Vec<String> = (0..1_000).map(|n| format!("{}/{n}", fresh_topic("start"))).collect();
    let mut connection = Connection::open(server.control)?;
    let mut bytes = Vec::new();
    for first in (0..events).step_by(1_000) {
        bytes.clear();
        let numbers = first..(first + 1_000).min(events);
        let events =
            numbers.map(|number| (&*topics[number as usize % topics.len()], Event { number, due_ns: 0, key: 0 }));
        requests.batch(events, &layout, &mut bytes)?;
        connection.send(&bytes)?;
        connection.reply()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_engine_is_judged_by_its_own_figure_or_against_memory() {
        for (must, disk, ok) in [
            (Must::Least(20_000.0), 20_000.0, true),
            (Must::Least(20_000.0), 19_999.0, false),
            (Must::Most(5.0), 5.0, true),
            (Must::Most(5.0), 5.1, false),
            (Must::Times(1.05), 105.0, true),
            (Must::Times(1.05), 106.0, false),
            (Must::Added(0.5), 100.5, true),
            (Must::Added(0.5), 100.6, false),
            (Must::LeastOr(50.0), 40.0, true),
            (Must::LeastOr(50.0), 39.0, false),
            (Must::LeastOr(500.0), 80.0, true),
            (Must::LeastOr(500.0), 79.0, false),
        ] {
            let row = row("it", "/s", must, [Some(100.0), Some(disk)]);
            assert_eq!(row.target.unwrap().1, ok, "{disk}");
        }
        let failed = row("it", "/s", Must::Most(5.0), [Some(1.0), None]);
        assert_eq!(failed.target, Some(("≤ 5.00/s".to_owned(), false)));
    }
}
