//! Streams that come and go beside those that are measured: opened at a steady rate, each of them ended by the server
//! after a second, and each checked for that.

use std::{
    collections::HashMap,
    net::SocketAddr,
    os::fd::OwnedFd,
    thread::{self, JoinHandle},
};

use rustix::{
    event::{Timespec, epoll},
    io::Errno,
    net::{RecvFlags, SendFlags},
};

use crate::{Result, clock::Clock, fleet::fresh_source, http::Reader, profile::Subscribe, streams};

/// A visit lasts so long,
pub(crate) const VISIT_SECONDS: u32 = 1;
/// and that the server ends it may take so much longer.
const LATE_NS: u64 = 5_000_000_000;
/// Timers may be early by their resolution.
const EARLY_NS: u64 = 20_000_000;

/// When visitors come: so many a second in each of these spans of the run's clock.
#[derive(Clone, Debug)]
pub(crate) struct Visits {
    pub(crate) per_second: u32,
    pub(crate) spans_ns: Vec<(u64, u64)>,
}

impl Visits {
    /// When each comes.
    fn due_ns(&self) -> Vec<u64> {
        let each = |&(from_ns, until_ns): &(u64, u64)| {
            let count = (until_ns - from_ns) * u64::from(self.per_second) / 1_000_000_000;
            (0..count).map(move |k| from_ns + k * 1_000_000_000 / u64::from(self.per_second))
        };
        self.spans_ns.iter().flat_map(each).collect()
    }
}

/// What became of them: `ended` are those that the server ended in time, properly and without any event.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) came: u64,
    pub(crate) ended: u64,
    first_fault: Option<String>,
}

impl Seen {
    /// An error unless every visit was as it should be.
    pub(crate) fn verdict(&self) -> Result<()> {
        match &self.first_fault {
            None if self.ended == self.came => Ok(()),
            fault => Err(format!(
                "of {} short streams {} ended as they should; the first of the others: {}",
                self.came,
                self.ended,
                fault.as_deref().unwrap_or("no end came")
            )),
        }
    }

    fn fail(&mut self, fault: String) {
        self.first_fault.get_or_insert(fault);
    }
}

struct Visit {
    socket: OwnedFd,
    request: Option<Vec<u8>>,
    asked_ns: u64,
    reader: Reader,
    events: u64,
}

/// Visitors at work.
#[derive(Debug)]
pub(crate) struct Visitors(JoinHandle<Result<Seen>>);

impl Visitors {
    pub(crate) fn start(server: SocketAddr, subscribe: &Subscribe, topic: &str, visits: &Visits, clock: Clock) -> Self {
        let request = subscribe.request(server, topic, None);
        let due_ns = visits.due_ns();
        Self(thread::spawn(move || visit(server, &request, &due_ns, clock)))
    }

    /// Waits for the last to go.
    pub(crate) fn finish(self) -> Result<Seen> {
        self.0.join().map_err(|_| "the short streams' thread panicked".to_owned())?
    }
}

fn visit(server: SocketAddr, request: &[u8], due_ns: &[u64], clock: Clock) -> Result<Seen> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| format!("epoll: {error}"))?;
    let run = fresh_source();
    let mut seen = Seen::default();
    let mut open = HashMap::<usize, Visit>::new();
    let mut ready = Vec::with_capacity(256);
    let mut buffer = vec![0; 64 * 1024];
    let mut next = 0;
    let mut last_ns = clock.now_ns();
    while next < due_ns.len() || !open.is_empty() {
        while next < due_ns.len() && due_ns[next] <= clock.now_ns() {
            let source = streams::next_source(run, next as u32);
            let socket = streams::connect(source, server, None)
                .map_err(|error| format!("a short stream cannot connect: {}", streams::plain(&error)))?;
            streams::listen_to(&epoll, &socket, next)?;
            let request = Some(request.to_vec());
            open.insert(next, Visit { socket, request, asked_ns: 0, reader: Reader::default(), events: 0 });
            seen.came += 1;
            next += 1;
            last_ns = clock.now_ns();
        }
        if next == due_ns.len() && clock.now_ns() > last_ns + u64::from(VISIT_SECONDS) * 1_000_000_000 + LATE_NS {
            seen.fail(format!("{} had not ended {} s after they were due", open.len(), LATE_NS / 1_000_000_000));
            return Ok(seen);
        }
        ready.clear();
        let wait = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut ready), Some(&wait)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(format!("epoll: {error}")),
        }
        for event in &ready {
            let index = event.data.u64() as usize;
            let Some(visit) = open.get_mut(&index) else { continue };
            if let Some(outcome) = go_on(visit, &mut buffer, clock) {
                open.remove(&index);
                match outcome {
                    Ok(()) => seen.ended += 1,
                    Err(fault) => seen.fail(fault),
                }
            }
        }
    }
    Ok(seen)
}

/// Sends the request or reads what has come; how it ended, if it has.
fn go_on(visit: &mut Visit, buffer: &mut [u8], clock: Clock) -> Option<Result<()>> {
    if let Some(request) = &visit.request {
        match rustix::net::send(&visit.socket, request, SendFlags::NOSIGNAL) {
            Ok(_) => {
                visit.request = None;
                visit.asked_ns = clock.now_ns();
            }
            // Not connected yet: there will be another edge.
            Err(Errno::AGAIN | Errno::NOTCONN) => return None,
            Err(error) => return Some(Err(format!("it could not ask: {}", streams::plain(&error.into())))),
        }
    }
    loop {
        match rustix::net::recv(&visit.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((0, _)) => return Some(Err("it was cut off".to_owned())),
            Ok((length, _)) => {
                let events = &mut visit.events;
                let fed = visit.reader.feed(&buffer[..length], &mut |frame| *events += u64::from(frame.data.is_some()));
                if let Err(problem) = fed {
                    return Some(Err(problem));
                }
                if visit.reader.has_ended() {
                    return Some(judge(visit.events, clock.now_ns() - visit.asked_ns));
                }
            }
            Err(Errno::AGAIN) => return None,
            Err(Errno::INTR) => {}
            Err(error) => return Some(Err(streams::plain(&error.into()))),
        }
    }
}

fn judge(events: u64, lasted_ns: u64) -> Result<()> {
    let due_ns = u64::from(VISIT_SECONDS) * 1_000_000_000;
    if events > 0 {
        return Err(format!("it got {events} events of a topic to which nothing is published"));
    }
    if (due_ns - EARLY_NS..due_ns + LATE_NS).contains(&lasted_ns) {
        return Ok(());
    }
    Err(format!("it was ended after {:.2} s, where {VISIT_SECONDS} s was asked for", lasted_ns as f64 / 1e9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visits_are_spread_over_their_spans() {
        let visits =
            Visits { per_second: 4, spans_ns: vec![(1_000_000_000, 1_500_000_000), (5_000_000_000, 5_250_000_000)] };
        assert_eq!(visits.due_ns(), [1_000_000_000, 1_250_000_000, 5_000_000_000]);
    }

    #[test]
    fn a_visit_lasts_a_second_and_has_no_event() {
        assert!(judge(0, 1_000_000_000).is_ok() && judge(0, 1_900_000_000).is_ok());
        assert!(judge(1, 1_000_000_000).is_err(), "an event of another topic");
        assert!(judge(0, 300_000_000).is_err(), "too early");
        assert!(judge(0, 7_000_000_000).is_err(), "too late");
    }
}
