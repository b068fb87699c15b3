//! `publish`: how many events a second the server takes when nobody listens.

use std::{
    io::{BufReader, Write},
    net::SocketAddr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::book::Outcome;
use crate::{
    Result,
    args::PublishArgs,
    payload::{Event, Layout},
    process::Processes,
    publisher::Requests,
    report::grouped,
    request,
    server::Target,
    streams::{self, fresh_topic},
};

/// Batches under way on a connection: one being taken while the next is on its way.
const PIPELINED: u32 = 2;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) events: u64,
    pub(crate) events_per_second: f64,
    /// Microseconds of server CPU an event.
    pub(crate) cpu_us: Option<f64>,
}

pub(crate) fn measure(args: &PublishArgs, target: &Target) -> Result<Outcome<Figures>> {
    let server = target.start()?;
    let topic = fresh_topic("publish");
    let layout = Layout::new(args.size);
    let mut request = Vec::new();
    let events = (0..args.batch).map(|number| (topic.as_str(), Event { number, due_ns: 0, key: 0 }));
    Requests::new(&server).batch(events, &layout, &mut request)?;
    let request: Arc<[u8]> = request.into();

    let used = || server.processes.map(Processes::cpu).transpose();
    let before = used()?;
    let began = Instant::now();
    let until = began + Duration::from_secs(u64::from(args.seconds));
    let threads: Vec<_> = (0..args.connections)
        .map(|_| {
            let (request, control) = (Arc::clone(&request), server.control);
            thread::spawn(move || publish_until(control, &request, until))
        })
        .collect();
    let mut batches = 0;
    for thread in threads {
        batches += thread.join().map_err(|_| "a publisher panicked".to_owned())??;
    }
    let seconds = began.elapsed().as_secs_f64();
    let events = batches * u64::from(args.batch);
    let cpu = used()?.zip(before).map(|(after, before)| after.since(before).total());
    let figures = Figures {
        events,
        events_per_second: events as f64 / seconds,
        cpu_us: cpu.map(|cpu| cpu * 1e6 / events.max(1) as f64),
    };
    let mut said = format!(
        "publish: {} events/s to {}, in batches of {} events of {} bytes on {} connections\n",
        grouped(figures.events_per_second as u64),
        target.name(),
        grouped(u64::from(args.batch)),
        args.size,
        args.connections
    );
    if let Some(cpu) = figures.cpu_us {
        said += &format!("  server CPU    {cpu:.2} µs an event\n");
    }
    Ok(Outcome::new(args, figures, said))
}

/// Sends the same request again and again; the number of replies.
fn publish_until(control: SocketAddr, request: &[u8], until: Instant) -> Result<u64> {
    let mut connection = request::connect(control)?;
    let from_server = connection.try_clone().map_err(|error| format!("publisher: {error}"))?;
    let mut replies = BufReader::with_capacity(64 * 1024, from_server);
    let (mut sent, mut answered) = (0, 0);
    loop {
        while sent - answered < u64::from(PIPELINED) && Instant::now() < until {
            connection
                .write_all(request)
                .map_err(|error| format!("publishing to {control} failed: {}", streams::plain(&error)))?;
            sent += 1;
        }
        if sent == answered {
            return Ok(answered);
        }
        request::read_reply(&mut replies)?;
        answered += 1;
    }
}
