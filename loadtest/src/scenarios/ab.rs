//! `ab`: two builds of the gateway in turn, so that both see the same machine in the same minutes, and every figure of
//! the new one beside the old one's.

use clap::ValueEnum as _;

use super::{
    attack,
    book::{Book, Outcome},
    connect, ends, fanout, idle, publish, storm, topics,
};
use crate::{
    Result,
    args::{
        AbArgs, AttackArgs, ConnectArgs, EndsArgs, IdleArgs, Load, Part, PublishArgs, StormArgs, TopicsArgs, defaults,
    },
    record::{Cell, TableRow},
    report::median,
    server::Target,
};

/// A figure may be so many times worse than the old build's.
const WORSE_MAX: f64 = 1.05;

/// A figure that is compared.
struct Row {
    part: Part,
    measure: String,
    unit: &'static str,
    /// Whether more of it is better.
    more_is_better: bool,
    old: Vec<f64>,
    new: Vec<f64>,
}

/// What one run says of a row: the row's name, unit and figure.
struct Figure(&'static str, &'static str, Option<f64>);

pub(crate) fn run(args: &AbArgs) -> Result<bool> {
    Book::check(&[&args.keep.json, &args.keep.html])?;
    let old = Target::build("old", Some(args.old.clone()))?;
    let new = Target::build("new", args.new.clone())?;
    let mut book = Book::new();
    for target in [&old, &new] {
        if let Some(why) = book.why_missing(target) {
            return Err(why);
        }
    }
    let parts = if args.only.is_empty() { Part::value_variants() } else { &args.only };
    let mut rows = Vec::new();
    for round in 0..args.rounds {
        println!("\n===== round {} of {}", round + 1, args.rounds);
        for &part in parts {
            // Who is second finds the machine as the first has left it.
            let turns = if round % 2 == 0 { [false, true] } else { [true, false] };
            for is_new in turns {
                let target = if is_new { &new } else { &old };
                for figure in measure(part, args.seconds, target, &mut book) {
                    note(&mut rows, part, is_new, &figure);
                }
            }
        }
    }
    book.table().columns = ["old", "new", "new / old"].map(str::to_owned).to_vec();
    let mut all_well = true;
    for row in rows.iter().map(Row::judged) {
        all_well &= row.target.as_ref().is_some_and(|(_, ok)| *ok);
        book.add(row);
    }
    Ok(book.close(&args.keep)? && all_well)
}

fn note(rows: &mut Vec<Row>, part: Part, is_new: bool, &Figure(measure, unit, value): &Figure) {
    let at = rows.iter().position(|row| row.part == part && row.measure == measure).unwrap_or_else(|| {
        let more_is_better = unit.ends_with("/s") || unit == "%";
        let measure = measure.to_owned();
        rows.push(Row { part, measure, unit, more_is_better, old: Vec::new(), new: Vec::new() });
        rows.len() - 1
    });
    let values = if is_new { &mut rows[at].new } else { &mut rows[at].old };
    values.extend(value);
}

impl Row {
    fn judged(&self) -> TableRow {
        let name = self.part.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned());
        let measure = format!("{name}: {}", self.measure);
        let bound = if self.more_is_better { 1.0 / WORSE_MAX } else { WORSE_MAX };
        let must = format!("{} {bound:.2}", if self.more_is_better { "≥" } else { "≤" });
        let say = |values: &[f64]| {
            let median = median(values.to_vec())?;
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(0.0, f64::max);
            let decimals = if median < 100.0 { 2 } else { 0 };
            let text = format!("{median:.decimals$} {} ({least:.decimals$} to {most:.decimals$})", self.unit);
            Some(Cell::of(median, text))
        };
        let (Some(old), Some(new)) = (say(&self.old), say(&self.new)) else {
            let cells = vec![Cell::default(), Cell::words("not measured"), Cell::default()];
            return TableRow::new(&measure, "", cells, Some((must, false)));
        };
        let ratio = new.value.unwrap_or_default() / old.value.unwrap_or_default();
        let ok = if self.more_is_better { ratio >= bound } else { ratio <= bound };
        let ratio = Cell::of(ratio, format!("{ratio:.3}"));
        TableRow::new(&measure, self.unit, vec![old, new, ratio], Some((must, ok)))
    }
}

// ===== the parts =====

fn measure(part: Part, seconds: u32, target: &Target, book: &mut Book) -> Vec<Figure> {
    let mut fanout = |streams, rate| {
        let load = Load { streams, rate, seconds, ..defaults() };
        figures(book.take("fanout", target, fanout::measure(&load, target)))
    };
    match part {
        Part::Fanout10 => per_delivery(fanout(10_000, 10.0).as_ref()),
        Part::Fanout100 => per_delivery(fanout(10_000, 100.0).as_ref()),
        Part::Fanout200 => per_delivery(fanout(10_000, 200.0).as_ref()),
        Part::Fanout800 => per_delivery(fanout(10_000, 800.0).as_ref()),
        Part::Few => per_delivery(fanout(1_000, 10.0).as_ref()),
        Part::Many => per_delivery(fanout(18_000, 10.0).as_ref()),
        Part::Last => {
            let figures = fanout(10_000, 5.0);
            vec![Figure("to the last, p50", "ms", figures.and_then(|figures| figures.to_last_p50_ms))]
        }
        Part::Topics => {
            let args = TopicsArgs { seconds, ..defaults() };
            let figures = figures(book.take("topics", target, topics::measure(&args, target)));
            vec![Figure("CPU per delivery", "µs", figures.and_then(|figures| figures.cpu_us))]
        }
        Part::Connect => {
            let args: ConnectArgs = defaults();
            let figures = figures(book.take("connect", target, connect::measure(&args, target)));
            vec![Figure("CPU per connection", "µs", figures.map(|figures| figures.cpu_us))]
        }
        Part::Storm => {
            let args: StormArgs = defaults();
            let figures = figures(book.take("storm", target, storm::measure(&args, target)));
            vec![
                Figure("CPU", "s", figures.as_ref().and_then(|figures| figures.cpu_s)),
                Figure("until the last is whole", "s", figures.map(|figures| figures.whole_s)),
            ]
        }
        Part::Publish => {
            let args = PublishArgs { seconds: seconds.min(5), ..defaults() };
            let figures = figures(book.take("publish", target, publish::measure(&args, target)));
            vec![Figure("events", "events/s", figures.map(|figures| figures.events_per_second))]
        }
        Part::Ends => {
            let args = EndsArgs { seconds: seconds.max(4), ..defaults() };
            let figures = figures(book.take("ends", target, ends::measure(&args, target)));
            vec![Figure("CPU per delivery beside them", "µs", figures.and_then(|figures| figures.with_cpu_us))]
        }
        Part::Attack => {
            let args = AttackArgs { seconds, ..defaults() };
            let figures = figures(book.take("attack", target, attack::measure(&args, target)));
            vec![Figure("latency p99 of live streams", "ms", figures.map(|figures| figures.latency.p99_ms))]
        }
        Part::Idle => {
            // Two heartbeats of each stream.
            let args = IdleArgs { seconds: 30, ..defaults() };
            let figures = figures(book.take("idle", target, idle::measure(&args, target)));
            let of = |figure: fn(&idle::Figures) -> f64| figures.as_ref().map(figure);
            vec![
                Figure("memory per stream", "bytes", of(|figures| figures.bytes_per_stream)),
                Figure("given back", "%", of(|figures| figures.given_back_percent)),
                Figure("CPU of heartbeats", "% of a core", of(|figures| figures.cpu_percent)),
            ]
        }
    }
}

fn figures<F>(outcome: Option<Outcome<F>>) -> Option<F> {
    outcome.map(|outcome| outcome.figures)
}

fn per_delivery(figures: Option<&fanout::Figures>) -> Vec<Figure> {
    vec![
        Figure("CPU per delivery", "µs", figures.and_then(|figures| figures.cpu_us)),
        Figure("latency p99", "ms", figures.map(|figures| figures.latency.p99_ms)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(unit: &'static str, old: &[f64], new: &[f64]) -> TableRow {
        let mut rows = Vec::new();
        for (is_new, values) in [(false, old), (true, new)] {
            for value in values {
                note(&mut rows, Part::Storm, is_new, &Figure("it", unit, Some(*value)));
            }
        }
        rows[0].judged()
    }

    #[test]
    fn a_median_may_be_5_percent_worse_and_no_more() {
        let ok = |row: TableRow| row.target.map(|(_, ok)| ok);
        // 9 and 30 are no medians.
        assert_eq!(ok(judged("µs", &[9.0, 10.0, 30.0], &[10.4, 9.0, 30.0])), Some(true));
        assert_eq!(ok(judged("µs", &[9.0, 10.0, 30.0], &[10.6, 9.0, 30.0])), Some(false));
        assert_eq!(ok(judged("µs", &[10.0], &[1.0])), Some(true));
        assert_eq!(ok(judged("events/s", &[10.0], &[100.0])), Some(true));
        assert_eq!(ok(judged("events/s", &[10.0], &[9.6])), Some(true));
        assert_eq!(ok(judged("events/s", &[10.0], &[9.4])), Some(false));
        assert_eq!(ok(judged("%", &[60.0], &[50.0])), Some(false), "of memory given back");
        assert_eq!(ok(judged("% of a core", &[1.0], &[0.5])), Some(true));
    }

    #[test]
    fn a_row_says_both_and_how_far_they_vary() {
        let row = judged("µs", &[1.0, 2.0, 4.0], &[300.0]);
        let cells: Vec<&str> = row.cells.iter().map(|cell| cell.text.as_str()).collect();
        assert_eq!(cells, ["2.00 µs (1.00 to 4.00)", "300 µs (300 to 300)", "150.000"]);
        assert_eq!((row.measure.as_str(), row.target), ("storm: it", Some(("≤ 1.05".to_owned(), false))));
    }

    #[test]
    fn what_one_build_could_not_do_fails() {
        let mut rows = Vec::new();
        note(&mut rows, Part::Storm, false, &Figure("it", "s", Some(1.0)));
        note(&mut rows, Part::Storm, true, &Figure("it", "s", None));
        assert_eq!(rows[0].judged().target.map(|(_, ok)| ok), Some(false));
    }
}
