//! `rate`: the highest rate that is held, found step by step. A rate is held if every delivery is right and 99 % of them
//! come within a second.

use super::{
    book::{Book, Outcome},
    fanout::{self, Figures},
};
use crate::{
    Result,
    args::{Load, RateArgs, defaults},
    record::{Cell, TableRow},
    report::grouped,
    server::Target,
};

pub(crate) fn run(args: &RateArgs, target: &Target, book: &mut Book) -> Result<()> {
    let mut held = None;
    let highest = search(args.from, args.step, |rate| {
        let load =
            Load { streams: args.streams, rate: rate.into(), seconds: args.seconds, size: args.size, ..defaults() };
        let outcome = book.take("fanout", target, fanout::measure(&load, target));
        let figures = outcome.filter(fanout::is_held).map(|outcome: Outcome<Figures>| outcome.figures);
        let is_held = figures.is_some();
        println!("  {rate} events/s {}", if is_held { "held" } else { "not held" });
        if let Some(figures) = figures {
            held = Some((rate, figures));
        }
        is_held
    });
    let measure = format!("highest rate held, {} streams", grouped(u64::from(args.streams)));
    let cell = match held.filter(|(rate, _)| Some(*rate) == highest) {
        Some((rate, figures)) => {
            let deliveries = figures.deliveries_per_second;
            let cpu = figures.cpu_us.map_or(String::new(), |cpu| format!(", {cpu:.2} µs per delivery"));
            let p99 = figures.latency.p99_ms;
            let text = format!("{rate} events/s: {} deliveries/s, p99 {p99:.0} ms{cpu}", grouped(deliveries as u64));
            Cell::of(deliveries, text)
        }
        None => Cell::words("none"),
    };
    book.table().columns = vec![target.name().to_owned()];
    book.add(TableRow::new(&measure, "deliveries/s", vec![cell], None));
    Ok(())
}

/// The highest rate that is held, in steps from the first one that is tried: upwards until one is not, or downwards
/// until one is.
fn search(from: u32, step: u32, mut is_held: impl FnMut(u32) -> bool) -> Option<u32> {
    if is_held(from) {
        let mut highest = from;
        while is_held(highest + step) {
            highest += step;
        }
        return Some(highest);
    }
    let lower = std::iter::successors(from.checked_sub(step), |rate| rate.checked_sub(step));
    lower.take_while(|rate| *rate > 0).find(|rate| is_held(*rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_rate_is_found_from_below_and_from_above() {
        for (limit, expected) in [(1_000, Some(1_000)), (1_250, Some(1_200)), (850, Some(800)), (99, None)] {
            let mut tried = Vec::new();
            let found = search(1_000, 100, |rate| {
                tried.push(rate);
                rate <= limit
            });
            assert_eq!(found, expected, "{tried:?}");
            assert!(!tried.contains(&0));
        }
    }
}
