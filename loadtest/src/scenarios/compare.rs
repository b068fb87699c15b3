//! `compare`: servers side by side. Each scenario goes through all of them in turn, and again, so that all see the
//! same machine; the table has the medians.

use std::{fs, time::Instant};

use serde::Serialize;

use super::{
    book::{Book, Outcome},
    connect, fanout, idle, slow, storm,
};
use crate::{
    Result,
    args::{CompareArgs, ConnectArgs, IdleArgs, Load, SlowArgs, StormArgs, defaults},
    html,
    profile::COMPARED,
    record::{Cell, TableRow},
    report::{grouped, median},
    server::Target,
};

/// Events a second that are offered to all.
const RATES: [f64; 4] = [1.0, 10.0, 100.0, 200.0];
/// And to who holds those, until it does not.
const MORE_RATES: [f64; 3] = [400.0, 800.0, 1_600.0];
/// The rate at which one event is done long before the next.
const ALONE: f64 = 1.0;
/// So many streams the targets are for.
const TELLING_STREAMS: u32 = 10_000;
/// What stands for a figure at a rate that was not held, and at those above it.
const CANNOT_HOLD: &str = "cannot hold";
const NOT_OFFERED: &str = "not offered";
/// And for one of a run that failed, or in which streams or events were lost: the record says how.
const FAILED: &str = "failed";
/// A feature that the server lacks.
const MISSING: &str = "missing: ";
/// The floor's send, against which others' CPU is put, is taken at this rate.
const FLOOR_RATE: f64 = 10.0;

/// Streams, events a second, seconds and bytes of the backlog that stalled readers leave: 1.2 MB each.
const BACKLOG: (u32, f64, u32, usize) = (1_000, 50.0, 6, 4_096);

/// What one server did at one rate, once.
#[derive(Clone, Debug)]
struct AtRate {
    figures: fanout::Figures,
    held: bool,
}

/// All that was measured of one server. Where it could not be put through something, why.
#[derive(Debug)]
struct Entry {
    target: Target,
    fanouts: Vec<(f64, Vec<Result<AtRate>>)>,
    idle: Vec<Result<idle::Figures>>,
    slow: Vec<Result<slow::Figures>>,
    connect: Vec<Result<connect::Figures>>,
    storm: Vec<Result<storm::Figures>>,
}

pub(crate) fn run(args: &CompareArgs) -> Result<bool> {
    let names = if args.servers.is_empty() { COMPARED.map(str::to_owned).to_vec() } else { args.servers.clone() };
    Book::check(&[&args.keep.json, &args.keep.html, &args.svg])?;
    let mut book = Book::forgiving();
    let mut entries = Vec::new();
    for name in names {
        let target = Target::built_in(&name)?;
        match book.why_missing(&target) {
            Some(why) => println!("{name} is left out: {why}"),
            None => entries.push(Entry::new(target)),
        }
    }
    if entries.is_empty() {
        return Err("none of the servers is here".to_owned());
    }
    let rounds = if args.quick { 1 } else { args.rounds };
    for round in 1..=rounds {
        println!("\n===== round {round} of {rounds}");
        let began = Instant::now();
        measure_round(args, &mut entries, &mut book);
        let minutes = began.elapsed().as_secs_f64() / 60.0;
        let left = f64::from(rounds - round) * minutes;
        println!("\nround {round} of {rounds} took {minutes:.0} min; {left:.0} min are left");
    }
    fill(args, &entries, &mut book);
    if let Some(path) = &args.svg {
        let plot = html::comparison_plot(book.record()).ok_or("there are no figures to plot")?;
        fs::write(path, plot).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    book.close(&args.keep)
}

fn measure_round(args: &CompareArgs, entries: &mut [Entry], book: &mut Book) {
    let size = args.size;
    for rate in RATES.into_iter().chain(MORE_RATES) {
        // Few events a second need more seconds to tell a percentile.
        let seconds = match (args.quick, rate > 5.0) {
            (true, true) => 4,
            (true, false) => 8,
            (false, true) => 10,
            (false, false) => 30,
        };
        let load = Load { streams: args.streams, rate, seconds, size, ..defaults() };
        for entry in entries.iter_mut().filter(|entry| entry.may_hold(rate)) {
            let outcome = book.take("fanout", &entry.target, fanout::measure(&load, &entry.target));
            let at = |outcome: Outcome<_>| AtRate { held: fanout::is_held(&outcome), figures: outcome.figures };
            let result = outcome.map(at).ok_or_else(|| FAILED.to_owned());
            match entry.fanouts.iter_mut().find(|(at, _)| *at == rate) {
                Some((_, results)) => results.push(result),
                None => entry.fanouts.push((rate, vec![result])),
            }
        }
    }
    for entry in entries.iter_mut() {
        let args = IdleArgs { streams: args.streams, seconds: 1 };
        let result = take("idle", None, &entry.target, book, |target| idle::measure(&args, target));
        entry.idle.push(right(result));
    }
    for entry in entries.iter_mut() {
        let (streams, rate, seconds, size) = BACKLOG;
        let args = SlowArgs { load: Load { streams, rate, seconds, size, warmup: 0, ..defaults() }, stalled: 1.0 };
        let result = take("slow", Some("slow"), &entry.target, book, |target| slow::measure(&args, target));
        entry.slow.push(result.map(|(figures, _)| figures));
    }
    for entry in entries.iter_mut() {
        let args = ConnectArgs { streams: args.streams, ..defaults() };
        let result = take("connect", None, &entry.target, book, |target| connect::measure(&args, target));
        entry.connect.push(right(result));
    }
    for entry in entries.iter_mut() {
        let args = StormArgs { streams: args.streams, size, ..defaults() };
        let result = take("storm", Some("replay"), &entry.target, book, |target| storm::measure(&args, target));
        entry.storm.push(right(result));
    }
}

/// Measures, keeps the run, and hands its figures on with whether every delivery was right; or why there are none.
fn take<F: Serialize + Clone>(
    scenario: &str,
    feature: Option<&str>,
    target: &Target,
    book: &mut Book,
    measure: impl FnOnce(&Target) -> Result<Outcome<F>>,
) -> Result<(F, bool)> {
    // A feature that a server lacks is no run.
    if let Some(why) = feature.and_then(|feature| target.profile.lacks(feature)) {
        return Err(format!("{MISSING}{why}"));
    }
    let outcome = measure(target);
    match book.take(scenario, target, outcome) {
        Some(outcome) => Ok((outcome.figures.clone(), outcome.is_right())),
        None => Err(FAILED.to_owned()),
    }
}

/// Figures of a run in which anything was wrong are none.
fn right<F>(result: Result<(F, bool)>) -> Result<F> {
    result.and_then(|(figures, is_right)| if is_right { Ok(figures) } else { Err(FAILED.to_owned()) })
}

impl Entry {
    fn new(target: Target) -> Self {
        Self { target, fanouts: Vec::new(), idle: Vec::new(), slow: Vec::new(), connect: Vec::new(), storm: Vec::new() }
    }

    fn at(&self, rate: f64) -> &[Result<AtRate>] {
        self.fanouts.iter().find(|(at, _)| *at == rate).map_or(&[], |(_, results)| results)
    }

    fn held(&self, rate: f64) -> bool {
        !self.at(rate).is_empty() && self.at(rate).iter().all(|result| matches!(result, Ok(AtRate { held: true, .. })))
    }

    /// Whether it has held all lower rates.
    fn may_hold(&self, rate: f64) -> bool {
        let lower = RATES.into_iter().chain(MORE_RATES).filter(|lower| *lower < rate);
        lower.into_iter().all(|lower| self.held(lower))
    }

    /// The median of a figure over the rounds at a rate.
    fn median_at(&self, rate: f64, figure: impl Fn(&fanout::Figures) -> Option<f64>) -> Option<f64> {
        median(self.at(rate).iter().flatten().filter_map(|at| figure(&at.figures)).collect())
    }

    /// A cell with a figure at a rate, if the rate was held.
    fn cell_at(
        &self,
        rate: f64,
        figure: impl Fn(&fanout::Figures) -> Option<f64>,
        say: impl Fn(f64) -> String,
    ) -> Cell {
        match self.median_at(rate, figure) {
            Some(value) if self.held(rate) => Cell::of(value, say(value)),
            _ if self.at(rate).is_empty() => Cell::words(NOT_OFFERED),
            _ => Cell::words(self.at(rate).iter().find_map(|at| at.as_ref().err()).map_or(CANNOT_HOLD, String::as_str)),
        }
    }

    /// The highest rate held, with its deliveries a second; and more, if a run that fell behind made more.
    fn highest(&self) -> Cell {
        let most = |results: &[Result<AtRate>]| {
            results.iter().flatten().map(|at| at.figures.deliveries_per_second).fold(0.0, f64::max)
        };
        let highest = self.fanouts.iter().filter(|(rate, _)| self.held(*rate)).max_by(|a, b| a.0.total_cmp(&b.0));
        let at_most = self.fanouts.iter().map(|(_, results)| most(results)).fold(0.0, f64::max);
        let Some((rate, results)) = highest else { return Cell::words("none") };
        let held = most(results);
        let mut text = format!("{} ({rate} events/s)", grouped(held as u64));
        if at_most > held * 1.05 {
            text += &format!("; late, {}", grouped(at_most as u64));
        }
        Cell::of(held, text)
    }
}

/// The median of a figure, or the words that stand for it.
fn cell<F>(results: &[Result<F>], figure: impl Fn(&F) -> Option<f64>, say: impl Fn(f64) -> String) -> Cell {
    match median(results.iter().flatten().filter_map(figure).collect()) {
        Some(value) => Cell::of(value, say(value)),
        None => {
            let why = results.iter().find_map(|result| result.as_ref().err()).map_or("not measured", String::as_str);
            Cell::words(why)
        }
    }
}

// ===== the table =====

fn fill(args: &CompareArgs, entries: &[Entry], book: &mut Book) {
    let streams = grouped(u64::from(args.streams));
    book.table().columns = entries.iter().map(|entry| entry.target.name().to_owned()).collect();
    let floor_send = entries
        .iter()
        .find(|entry| entry.target.name() == "floor")
        .and_then(|floor| floor.median_at(FLOOR_RATE, |figures| figures.cpu_us));
    let us = |value: f64| match floor_send {
        Some(floor) => format!("{value:.2} µs ({:.2} ×)", value / floor),
        None => format!("{value:.2} µs"),
    };
    let ms = |value: f64| format!("{value:.1} ms");
    // A short look at a few streams tells nothing of what must be reached with 10,000.
    let is_telling = !args.quick && args.streams >= TELLING_STREAMS;
    let mut add = |measure: String, unit: &str, cell: &dyn Fn(&Entry) -> Cell, goals: &[Goal<'_>]| {
        let cells: Vec<Cell> = entries.iter().map(cell).collect();
        let target = if is_telling { judge(entries, &cells, goals) } else { None };
        book.add(TableRow::new(&measure, unit, cells, target));
    };

    for rate in RATES {
        let goals: &[Goal<'_>] = match rate {
            10.0 => &[Goal::Ratio("nchan", 0.65), Goal::Ratio("axum", 0.65)],
            100.0 => &[Goal::Held, Goal::Ratio("axum", 0.5)],
            200.0 => &[Goal::Held],
            _ => &[],
        };
        let measure = format!("CPU per delivery, {streams} streams, {rate} events/s");
        add(measure, "µs", &|entry| entry.cell_at(rate, |figures| figures.cpu_us, us), goals);
    }
    add("highest rate held".to_owned(), "deliveries/s", &Entry::highest, &[Goal::AtLeast(1_000_000.0)]);
    for (rate, name) in [(10.0, "10"), (100.0, "100"), (200.0, "200")] {
        let p50 = |entry: &Entry| entry.cell_at(rate, |figures| Some(figures.latency.p50_ms), ms);
        let p99 = |entry: &Entry| entry.cell_at(rate, |figures| Some(figures.latency.p99_ms), ms);
        let p999 = |entry: &Entry| entry.cell_at(rate, |figures| Some(figures.latency.p999_ms), ms);
        let goals: &[Goal<'_>] = if rate == 100.0 { &[Goal::Ratio("axum", 1.0)] } else { &[] };
        add(format!("latency p50, {name} events/s"), "ms", &p50, &[]);
        add(format!("latency p99, {name} events/s"), "ms", &p99, goals);
        add(format!("latency p99.9, {name} events/s"), "ms", &p999, &[]);
    }
    let p50 = |entry: &Entry| entry.cell_at(ALONE, |figures| figures.to_last_p50_ms, ms);
    add(format!("to the last of {streams}, {ALONE} event/s, p50"), "ms", &p50, &[]);
    let p99 = |entry: &Entry| entry.cell_at(ALONE, |figures| figures.to_last_p99_ms, ms);
    add(format!("to the last of {streams}, {ALONE} event/s, p99"), "ms", &p99, &[Goal::Ratio("floor", 1.2)]);

    let bytes = |value: f64| format!("{} B", grouped(value as u64));
    let idle = |entry: &Entry| cell(&entry.idle, |figures| Some(figures.bytes_per_stream), bytes);
    let goals = [Goal::Ratio("nchan", 1.0 / 8.0), Goal::Ratio("axum", 1.0 / 25.0)];
    add("memory per stream, idle".to_owned(), "bytes", &idle, &goals);
    let (_, rate, seconds, size) = BACKLOG;
    let backlog = |entry: &Entry| {
        let mut cell = cell(&entry.slow, |figures| figures.stalled_bytes_per_stream, bytes);
        // Who drops its slow readers needs no memory for them.
        let most = |figure: fn(&slow::Figures) -> u64| entry.slow.iter().flatten().map(figure).max().unwrap_or(0);
        for (count, what) in
            [(most(|figures| figures.stalled_closed), "closed"), (most(|figures| figures.missing), "events lost")]
        {
            if count > 0 {
                cell.text += &format!(", {} {what}", grouped(count));
            }
        }
        cell
    };
    let offered = f64::from(seconds) * rate * size as f64 / 1e6;
    add(format!("memory per stalled stream, {offered:.1} MB offered"), "bytes", &backlog, &[]);
    let connects = |entry: &Entry| {
        cell(&entry.connect, |figures| Some(figures.connects_per_second), |value| grouped(value as u64))
    };
    add("connects/s".to_owned(), "connects/s", &connects, &[]);
    let connect =
        |entry: &Entry| cell(&entry.connect, |figures| Some(figures.cpu_us), |value| format!("{value:.1} µs"));
    add("CPU per connection".to_owned(), "µs", &connect, &[Goal::Ratio("nchan", 1.0)]);
    let whole = |entry: &Entry| cell(&entry.storm, |figures| Some(figures.whole_s), |value| format!("{value:.2} s"));
    let measure = format!("reconnect storm, {streams} streams resume 100 events: the last is whole after");
    add(measure, "s", &whole, &[Goal::Ratio("nchan", 0.5)]);
}

/// What the gateway must reach in a row.
enum Goal<'a> {
    /// At most so many times another's figure.
    Ratio(&'a str, f64),
    AtLeast(f64),
    /// Whatever the others do.
    Held,
}

/// The goals in words with what was reached, and whether all were; `None` without the gateway, or without anyone to
/// hold it against.
fn judge(entries: &[Entry], cells: &[Cell], goals: &[Goal<'_>]) -> Option<(String, bool)> {
    let of = |name: &str| entries.iter().position(|entry| entry.target.name() == name).map(|index| &cells[index]);
    let own = of("sluicegate")?;
    let judged: Vec<(String, Option<bool>)> = goals
        .iter()
        .filter_map(|goal| match (goal, own.value) {
            (Goal::Held, value) => Some(("held".to_owned(), Some(value.is_some()))),
            (Goal::AtLeast(least), value) => {
                Some((format!("≥ {}", grouped(*least as u64)), Some(value.is_some_and(|value| value >= *least))))
            }
            (Goal::Ratio(name, _), _) if of(name).is_none() => Some((format!("{name} is not here"), None)),
            (Goal::Ratio(name, most), value) => {
                let most_text = if *most < 0.2 { format!("1/{:.0}", 1.0 / most) } else { most.to_string() };
                match (of(name)?.value, value) {
                    (Some(other), Some(own)) => {
                        let ratio = own / other;
                        let is = if *most < 0.2 { format!("1/{:.1}", 1.0 / ratio) } else { format!("{ratio:.2}") };
                        Some((format!("≤ {most_text} × {name}: is {is}"), Some(ratio <= *most)))
                    }
                    // Who is measured against one that cannot has reached it; against one that failed, nobody has.
                    (None, Some(_)) => {
                        let text = &of(name)?.text;
                        let cannot = [CANNOT_HOLD, NOT_OFFERED].contains(&text.as_str()) || text.starts_with(MISSING);
                        let word = if cannot { "cannot" } else { "failed" };
                        Some((format!("≤ {most_text} × {name}, which {word}"), Some(cannot)))
                    }
                    (_, None) => Some((format!("≤ {most_text} × {name}"), Some(false))),
                }
            }
        })
        .collect();
    if judged.iter().all(|(_, ok)| ok.is_none()) {
        return None;
    }
    let words: Vec<&str> = judged.iter().map(|(words, _)| words.as_str()).collect();
    Some((words.join("; "), judged.iter().all(|(_, ok)| ok.unwrap_or(true))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(names: &[&str]) -> Vec<Entry> {
        names.iter().map(|name| Entry::new(Target::built_in(name).expect("a built-in profile"))).collect()
    }

    /// What 1 is beside nchan's cell, where half of nchan's is asked for.
    fn beside(nchan: Cell) -> (String, bool) {
        let cells = [Cell::of(1.0, "1".to_owned()), nchan];
        judge(&entries(&["sluicegate", "nchan"]), &cells, &[Goal::Ratio("nchan", 0.5)]).expect("it is judged")
    }

    #[test]
    fn nothing_is_reached_against_a_server_that_failed() {
        assert_eq!(beside(Cell::of(4.0, String::new())), ("≤ 0.5 × nchan: is 0.25".to_owned(), true));
        assert_eq!(beside(Cell::of(1.5, String::new())), ("≤ 0.5 × nchan: is 0.67".to_owned(), false));
        for cannot in [CANNOT_HOLD, NOT_OFFERED, "missing: keeps nothing"] {
            assert!(beside(Cell::words(cannot)).1, "{cannot}");
        }
        assert_eq!(beside(Cell::words(FAILED)), ("≤ 0.5 × nchan, which failed".to_owned(), false));
        let own = [Cell::words(FAILED), Cell::of(4.0, String::new())];
        let goals = [Goal::Ratio("nchan", 0.5)];
        assert_eq!(judge(&entries(&["sluicegate", "nchan"]), &own, &goals).map(|(_, ok)| ok), Some(false));
    }

    #[test]
    fn who_is_not_here_is_named_and_judges_nothing() {
        let (here, own) = (entries(&["sluicegate"]), [Cell::of(1.0, String::new())]);
        assert_eq!(judge(&here, &own, &[Goal::Ratio("nchan", 0.5)]), None);
        let both = judge(&here, &own, &[Goal::Held, Goal::Ratio("nchan", 0.5)]);
        assert_eq!(both, Some(("held; nchan is not here".to_owned(), true)));
        assert_eq!(judge(&entries(&["nchan"]), &own, &[Goal::Held]), None, "without the gateway");
        let own = [Cell::words(CANNOT_HOLD)];
        assert_eq!(judge(&here, &own, &[Goal::Held, Goal::AtLeast(1.0)]).map(|(_, ok)| ok), Some(false));
    }

    #[test]
    fn a_rate_that_failed_one_that_was_not_offered_and_no_rate_at_all() {
        let mut entry = entries(&["nchan"]).remove(0);
        entry.fanouts.push((1.0, vec![Err(FAILED.to_owned())]));
        let cell = |rate| entry.cell_at(rate, |figures| figures.cpu_us, |value| value.to_string()).text;
        assert_eq!((cell(1.0).as_str(), cell(10.0).as_str()), (FAILED, NOT_OFFERED));
        assert!(!entry.held(1.0) && !entry.may_hold(10.0));
        assert_eq!(entry.highest().text, "none");
    }
}
