//! `ratios`: floor and gateway in turn, so that both see the same machine, and the ratios of their medians.

use super::{book::Book, fanout};
use crate::{
    Result,
    args::{Kind, Load, RatiosArgs, ServerArgs},
    report::{Row, grouped, median},
};

/// What must be reached at 10,000 streams: events a second, CPU a delivery against the floor's send, p99 in ms.
const MUST_REACH: [(f64, f64, Option<f64>); 3] =
    [(10.0, 1.15, None), (100.0, 0.15, Some(250.0)), (200.0, 0.08, Some(300.0))];

pub(crate) fn run(args: &RatiosArgs) -> Result<()> {
    let mut book = Book::default();
    fill(args, &mut book);
    book.close()
}

/// Adds a row for each rate; returns the floor's send in µs, if it was measured.
pub(crate) fn fill(args: &RatiosArgs, book: &mut Book) -> Option<f64> {
    let mut floors = Vec::new();
    let mut gateways = vec![Vec::new(); args.rates.len()];
    for _ in 0..args.rounds {
        floors.extend(book.fanout(Kind::Floor, &args.load, &args.server));
        for (rate, figures) in args.rates.iter().zip(&mut gateways) {
            let load = Load { rate: *rate, ..args.load.clone() };
            figures.extend(book.fanout(Kind::Gateway, &load, &args.server));
        }
    }
    let floor = median(floors.iter().filter_map(|figures| figures.cpu_us).collect());
    for (&rate, figures) in args.rates.iter().zip(&gateways) {
        let measure = format!("CPU a delivery, {} streams, {rate} events/s", grouped(u64::from(args.load.streams)));
        let target = MUST_REACH.iter().find(|target| target.0 == rate);
        let must = match target {
            Some((_, ratio, None)) => format!("≤ {ratio} × floor's send"),
            Some((_, ratio, Some(p99))) => format!("≤ {ratio} × floor's send, p99 ≤ {p99} ms, all delivered"),
            None => "-".to_owned(),
        };
        let cpu = median(figures.iter().filter_map(|figures| figures.cpu_us).collect());
        let p99 = median(figures.iter().map(|figures| figures.latency.p99_ms).collect());
        let (Some(floor), Some(cpu), Some(p99)) = (floor, cpu, p99) else {
            book.add(Row::failed(&measure, &must, "not measured"));
            continue;
        };
        let whole = figures.len() == args.rounds as usize && figures.iter().all(|figures| figures.verdict().is_ok());
        let fast = target.is_none_or(|target| cpu / floor <= target.1 && target.2.is_none_or(|most| p99 <= most));
        let lost = if whole { "all delivered" } else { "NOT all delivered" };
        book.add(Row::new(
            &measure,
            &must,
            format!("{floor:.2} µs"),
            format!("{cpu:.2} µs, p99 {p99:.0} ms, {lost}"),
            format!("{:.2}", cpu / floor),
            whole && fast,
        ));
    }
    floor
}

/// Adds the row of the time to the last stream.
pub(crate) fn fill_time_to_last(load: &Load, rounds: u32, server: &ServerArgs, book: &mut Book) {
    let measure = format!("time to the last of {} at {} events/s, p50", grouped(u64::from(load.streams)), load.rate);
    let must = "≤ 1.1 × floor's";
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (kind, times) in [Kind::Floor, Kind::Gateway].into_iter().zip(&mut times) {
            times.extend(book.fanout(kind, load, server));
        }
    }
    let [floor, gateway] =
        times.map(|figures: Vec<fanout::Figures>| median(figures.iter().map(|f| f.to_last.p50_ms).collect()));
    book.add(match (floor, gateway) {
        (Some(floor), Some(gateway)) => Row::new(
            &measure,
            must,
            format!("{floor:.1} ms"),
            format!("{gateway:.1} ms"),
            format!("{:.2}", gateway / floor),
            gateway <= 1.1 * floor,
        ),
        _ => Row::failed(&measure, must, "not measured"),
    });
}
