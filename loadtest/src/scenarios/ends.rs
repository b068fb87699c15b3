//! `ends`: many streams with events all the while, and streams of another topic beside them that come and that the
//! server ends, so many a second. Four spans in one run, without and with and without and with them, so that both see
//! the same server and the same minute.

use serde::Serialize;

use super::{
    book::Outcome,
    window::{Measured, Window, soon},
};
use crate::{
    Result,
    args::EndsArgs,
    clock::Clock,
    fleet::{Fleet, Streams},
    payload::Layout,
    publisher::Publisher,
    record::Moment,
    report::{Quantiles, grouped},
    server::Target,
    streams::fresh_topic,
    visitors::{VISIT_SECONDS, Visitors, Visits},
};

const WARM_UP_SECONDS: f64 = 2.0;
/// At the beginning of each span the last visitors of the span before are still there.
const CHANGE_SECONDS: f64 = VISIT_SECONDS as f64 + 0.5;
const SPANS: u32 = 4;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    #[serde(flatten)]
    pub(crate) latency: Quantiles,
    /// Microseconds of server CPU per delivery, without short streams and with them; their connects are counted, too.
    pub(crate) without_cpu_us: Option<f64>,
    pub(crate) with_cpu_us: Option<f64>,
    pub(crate) ratio: Option<f64>,
    pub(crate) ended: u64,
    pub(crate) missing: u64,
}

pub(crate) fn measure(args: &EndsArgs, target: &Target) -> Result<Outcome<Figures>> {
    let short = target.profile.subscribe.ending_after(VISIT_SECONDS);
    let short = short.ok_or_else(|| format!("{} ends no stream after a time", target.name()))?;
    let server = target.start()?;
    let clock = Clock::start();
    let topic = fresh_topic("ends");
    let mut fleet = Fleet::open(&Streams::of(topic.clone(), args.streams, args.size), &server, clock)?;

    let span_s = f64::from(args.seconds) / 2.0;
    let schedule = soon(clock, args.rate, WARM_UP_SECONDS, span_s * f64::from(SPANS));
    let measured = Measured::events(schedule, args.streams.into());
    let at = |span: u32| measured.schedule.due_ns(measured.from) + (f64::from(span) * span_s * 1e9) as u64;
    let visits = Visits { per_second: args.ends, spans_ns: vec![(at(1), at(2)), (at(3), at(4))] };
    let visitors = Visitors::start(server.streams, &short, &fresh_topic("short"), &visits, clock);
    let window = Window::take(&server, &mut fleet, clock, &measured, || {
        Publisher::of_events(&server, clock, measured.schedule, &topic, Layout::new(args.size), 0)
    })?;
    let seen = visitors.finish()?;

    let course = window.course();
    let (without, with) = (cpu_us(&course, span_s, false), cpu_us(&course, span_s, true));
    let figures = Figures {
        latency: Quantiles::of(&window.tally.latency),
        without_cpu_us: without,
        with_cpu_us: with,
        ratio: with.zip(without).map(|(with, without)| with / without),
        ended: seen.ended,
        missing: window.tally.faults.missing,
    };
    let mut said = format!(
        "ends: {} streams of {}, {} events/s; in half of the time {} short streams/s of another topic\n{}\
         \x20 short streams {} came, {} ended as they should\n",
        grouped(u64::from(args.streams)),
        target.name(),
        args.rate,
        args.ends,
        window.said(),
        grouped(seen.came),
        grouped(seen.ended)
    );
    if let Figures { without_cpu_us: Some(without), with_cpu_us: Some(with), ratio: Some(ratio), .. } = figures {
        said += &format!("  with them     {with:.3} µs per delivery, {without:.3} without: {ratio:.2} times\n");
    }
    let verdicts = [fleet.all_still_open(), window.verdict(), seen.verdict()];
    Ok(Outcome::new(args, figures, said).with_course(&window).checked(verdicts))
}

/// Server CPU per delivery in the spans with visitors, or without.
fn cpu_us(course: &[Moment], span_s: f64, with: bool) -> Option<f64> {
    let mut before_s = 0.0;
    let (mut cpu_s, mut deliveries) = (0.0, 0);
    for moment in course {
        let length_s = moment.at_s - before_s;
        let span = (before_s / span_s) as u32;
        // The first span follows none; it begins later all the same, so that all are alike.
        let settled = before_s - f64::from(span) * span_s >= CHANGE_SECONDS;
        let within = moment.at_s <= f64::from(span + 1) * span_s + 1e-6;
        if settled && within && (span % 2 == 1) == with {
            cpu_s += moment.cpu_percent? / 100.0 * length_s;
            deliveries += moment.deliveries;
        }
        before_s = moment.at_s;
    }
    (deliveries > 0).then(|| cpu_s * 1e6 / deliveries as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_apart_without_their_beginnings() {
        // Spans of 3 s, of which the first 1.5 s count for nothing.
        let course: Vec<Moment> = (0..24)
            .map(|slice| {
                let (span, settled) = (slice / 6, slice % 6 >= 3);
                let percent = match (span % 2 == 1, settled) {
                    (_, false) => 1_000.0,
                    (false, true) => 50.0,
                    (true, true) => 60.0,
                };
                let at_s = f64::from(slice + 1) / 2.0;
                Moment { at_s, deliveries: 250_000, cpu_percent: Some(percent), ..Moment::default() }
            })
            .collect();
        let us = |with| (cpu_us(&course, 3.0, with).unwrap() * 100.0).round();
        assert_eq!((us(false), us(true)), (100.0, 120.0));
        assert_eq!(cpu_us(&[], 3.0, true), None);
    }
}
