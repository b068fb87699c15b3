//! `ratios`: floor and server in turn, so that both see the same machine, and the ratios of their medians.

use super::{
    book::{Book, Outcome},
    fanout::{self, Figures},
};
use crate::{
    Result,
    args::{Load, RatiosArgs},
    record::{Cell, TableRow},
    report::{grouped, median},
    server::Target,
};

/// What must be reached at 10,000 streams: events a second, CPU per delivery against the floor's send, p99 in ms.
const MUST_REACH: [(f64, f64, Option<f64>); 3] =
    [(10.0, 1.15, None), (100.0, 0.15, Some(250.0)), (200.0, 0.08, Some(300.0))];

/// Adds a row for each rate.
pub(crate) fn fill(args: &RatiosArgs, target: &Target, book: &mut Book) -> Result<()> {
    let floor = Target::built_in("floor")?;
    let mut floors = Vec::new();
    let mut servers = vec![Vec::new(); args.rates.len()];
    for _ in 0..args.rounds {
        floors.extend(book.take("fanout", &floor, fanout::measure(&args.load, &floor)).map(figures));
        for (rate, all) in args.rates.iter().zip(&mut servers) {
            let load = Load { rate: *rate, ..args.load.clone() };
            let outcome = book.take("fanout", target, fanout::measure(&load, target));
            all.extend(outcome.map(|outcome| (outcome.is_right(), outcome.figures)));
        }
    }
    let floor = median(floors.iter().filter_map(|figures| figures.cpu_us).collect());
    for (&rate, all) in args.rates.iter().zip(&servers) {
        let measure = format!("CPU per delivery, {} streams, {rate} events/s", grouped(u64::from(args.load.streams)));
        let goal = MUST_REACH.iter().find(|goal| goal.0 == rate);
        let must = goal.map(|(_, ratio, p99)| match p99 {
            None => format!("≤ {ratio} × floor's send"),
            Some(p99) => format!("≤ {ratio} × floor's send, p99 ≤ {p99} ms, all delivered"),
        });
        let cpu = median(all.iter().filter_map(|(_, figures)| figures.cpu_us).collect());
        let p99 = median(all.iter().map(|(_, figures)| figures.latency.p99_ms).collect());
        let (Some(floor), Some(cpu), Some(p99)) = (floor, cpu, p99) else {
            book.add(TableRow::failed(&measure, must.as_deref().unwrap_or("measured")));
            continue;
        };
        let whole = all.len() == args.rounds as usize && all.iter().all(|(is_right, _)| *is_right);
        let fast = goal.is_none_or(|goal| cpu / floor <= goal.1 && goal.2.is_none_or(|most| p99 <= most));
        let lost = if whole { "all delivered" } else { "NOT all delivered" };
        let cells = vec![
            Cell::of(floor, format!("{floor:.2} µs")),
            Cell::of(cpu, format!("{cpu:.2} µs, p99 {p99:.0} ms, {lost}")),
            Cell::of(cpu / floor, format!("{:.2}", cpu / floor)),
        ];
        book.add(TableRow::new(&measure, "µs", cells, must.map(|must| (must, whole && fast))));
    }
    Ok(())
}

/// Adds the row of the time to the last stream.
pub(crate) fn fill_time_to_last(load: &Load, rounds: u32, target: &Target, book: &mut Book) -> Result<()> {
    let measure = format!("time to the last of {} at {} events/s, p50", grouped(u64::from(load.streams)), load.rate);
    let must = "≤ 1.1 × floor's";
    let floor = Target::built_in("floor")?;
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (target, times) in [&floor, target].into_iter().zip(&mut times) {
            times.extend(book.take("fanout", target, fanout::measure(load, target)).map(figures));
        }
    }
    let [floor, server] =
        times.map(|all: Vec<Figures>| median(all.iter().filter_map(|one| one.to_last_p50_ms).collect()));
    book.add(match (floor, server) {
        (Some(floor), Some(server)) => {
            let cells = vec![
                Cell::of(floor, format!("{floor:.1} ms")),
                Cell::of(server, format!("{server:.1} ms")),
                Cell::of(server / floor, format!("{:.2}", server / floor)),
            ];
            TableRow::new(&measure, "ms", cells, Some((must.to_owned(), server <= 1.1 * floor)))
        }
        _ => TableRow::failed(&measure, must),
    });
    Ok(())
}

fn figures(outcome: Outcome<Figures>) -> Figures {
    outcome.figures
}
