//! `soak`: streams that leave and resume, events that keep coming, for as long as you like. Does memory grow, does
//! latency, is anything lost?

use serde::Serialize;

use super::{
    book::Outcome,
    window::{Measured, Window, soon},
};
use crate::{
    Result,
    args::SoakArgs,
    clock::Clock,
    fleet::{Fleet, Streams},
    payload::Layout,
    publisher::Publisher,
    report::{Quantiles, grouped},
    server::Target,
    streams::fresh_topic,
};

/// Before what is measured.
const WARM_UP_SECONDS: f64 = 5.0;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    /// Replay after a return included.
    #[serde(flatten)]
    pub(crate) latency: Quantiles,
    pub(crate) delivered: u64,
    pub(crate) cpu_us: Option<f64>,
    /// Streams that left and came back.
    pub(crate) resumed: u64,
    pub(crate) memory_before_bytes: Option<u64>,
    pub(crate) memory_most_bytes: Option<u64>,
    pub(crate) missing: u64,
}

pub(crate) fn measure(args: &SoakArgs, target: &Target) -> Result<Outcome<Figures>> {
    if args.churn > 0.0 {
        target.profile.needs("replay").map_err(|problem| format!("{problem} (--churn 0 needs none)"))?;
    }
    let server = target.start()?;
    let clock = Clock::start();
    let topic = fresh_topic("soak");
    let streams = Streams { keep_ids: true, ..Streams::of(topic.clone(), args.streams, args.size) };
    let mut fleet = Fleet::open(&streams, &server, clock)?;

    let schedule = soon(clock, args.rate, WARM_UP_SECONDS, args.seconds.into());
    let measured = Measured::events(schedule, args.streams.into());
    fleet.churn(args.churn)?;
    let window = Window::take(&server, &mut fleet, clock, &measured, || {
        Publisher::of_events(&server, clock, measured.schedule, &topic, Layout::new(args.size), 0)
    })?;
    let resumed = fleet.status().churned;

    let (memory_before_bytes, memory_most_bytes) = window.memory().unzip();
    let figures = Figures {
        latency: Quantiles::of(&window.tally.latency),
        delivered: window.delivered,
        cpu_us: window.server.and_then(|cpu| window.micros(cpu.total())),
        resumed,
        memory_before_bytes,
        memory_most_bytes,
        missing: window.tally.faults.missing,
    };
    let mut said = format!(
        "soak: {} streams of {}, {} events/s of {} bytes, {} s\n{}  resumed       {} streams left and came back\n",
        grouped(u64::from(args.streams)),
        target.name(),
        args.rate,
        args.size,
        args.seconds,
        window.said(),
        grouped(resumed)
    );
    if let (Some(before), Some(most)) = (memory_before_bytes, memory_most_bytes) {
        said += &format!(
            "  memory        {} KiB after the warm-up, {} KiB at most\n",
            grouped(before / 1024),
            grouped(most / 1024)
        );
    }
    Ok(Outcome::new(args, figures, said).with_course(&window).checked([fleet.all_still_open(), window.verdict()]))
}
