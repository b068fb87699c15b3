//! Holds every stream to it: each event exactly once, whole and in order. Also keeps the latencies.

use std::collections::{BTreeSet, HashMap};

use hdrhistogram::Histogram;

use crate::{
    payload::{Event, Layout},
    sse::Frame,
};

/// Whose events a stream may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// All streams share one topic, whose key is 0.
    Shared,
    /// Stream `i` has topic `i`, whose key is `i`.
    OwnTopic,
}

/// Departures from "exactly once, whole and in order". A missing event is counted once for each stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Faults {
    pub(crate) missing: u64,
    pub(crate) doubled: u64,
    pub(crate) reordered: u64,
    pub(crate) corrupted: u64,
}

/// One event of a shared topic, as it spreads over the streams.
#[derive(Clone, Copy, Debug, Default)]
struct Spread {
    due_ns: u64,
    seen: u32,
    last_ns: u64,
}

/// The state of all streams' checks.
#[derive(Debug)]
pub(crate) struct Checker {
    layout: Layout,
    keys: Keys,
    /// The number each stream must see next.
    next: Vec<u32>,
    /// Numbers that a stream has skipped so far; empty in a good run.
    skipped: HashMap<u32, BTreeSet<u32>>,
    faults: Faults,
    delivered: u64,
    comments: u64,
    /// Events received since the last `settle`, and on how many streams.
    arrived: Vec<(Event, u64)>,
    /// Events due before this are warm-up: checked, but in no figure.
    measured_from_ns: u64,
    latency: Histogram<u64>,
    /// By number; only for a shared topic.
    spread: Vec<Spread>,
}

impl Checker {
    /// Whether all streams get the same events.
    pub(crate) fn shares_topic(&self) -> bool {
        self.keys == Keys::Shared
    }

    pub(crate) fn new(streams: usize, size: usize, keys: Keys) -> Self {
        Self {
            layout: Layout::new(size),
            keys,
            next: vec![0; streams],
            skipped: HashMap::new(),
            faults: Faults::default(),
            delivered: 0,
            comments: 0,
            arrived: Vec::new(),
            measured_from_ns: 0,
            latency: histogram(),
            spread: Vec::new(),
        }
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn measure_from(&mut self, due_ns: u64) {
        self.measured_from_ns = due_ns;
    }

    /// Events received so far, over all streams.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Heartbeats and other frames without data.
    pub(crate) fn comments(&self) -> u64 {
        self.comments
    }

    pub(crate) fn next(&self, stream: usize) -> u32 {
        self.next[stream]
    }

    /// Takes one frame of one stream; the event, if it was the one expected.
    pub(crate) fn take(&mut self, stream: usize, frame: &Frame<'_>) -> Option<Event> {
        let Some(data) = frame.data else {
            self.comments += 1;
            return None;
        };
        let key = match self.keys {
            Keys::Shared => 0,
            Keys::OwnTopic => stream as u32,
        };
        let event = self.layout.read(data).filter(|event| event.key == key && frame.data_lines == 1);
        let Some(event) = event else {
            self.faults.corrupted += 1;
            return None;
        };
        let next = &mut self.next[stream];
        if event.number == *next {
            *next += 1;
            self.arrive(event, 1);
            return Some(event);
        }
        if event.number > *next {
            self.skipped.entry(stream as u32).or_default().extend(*next..event.number);
            *next = event.number + 1;
            self.arrive(event, 1);
        } else if self.skipped.get_mut(&(stream as u32)).is_some_and(|skipped| skipped.remove(&event.number)) {
            self.faults.reordered += 1;
            self.arrive(event, 1);
        } else {
            self.faults.doubled += 1;
        }
        None
    }

    /// A stream got `count` events in order, by a read whose bytes were already checked on another stream.
    pub(crate) fn take_again(&mut self, stream: usize, count: u32) {
        self.next[stream] += count;
    }

    /// `streams` more streams got this event.
    pub(crate) fn arrive(&mut self, event: Event, streams: u64) {
        self.delivered += streams;
        match self.arrived.last_mut() {
            Some((last, count)) if *last == event => *count += streams,
            _ => self.arrived.push((event, streams)),
        }
    }

    /// Dates what has arrived since the last call. `now_ns` is read after the bytes were, never before.
    pub(crate) fn settle(&mut self, now_ns: u64) {
        for (event, streams) in self.arrived.drain(..) {
            if event.due_ns < self.measured_from_ns {
                continue;
            }
            self.latency.saturating_record_n(now_ns.saturating_sub(event.due_ns), streams);
            if self.keys == Keys::Shared {
                let number = event.number as usize;
                if number >= self.spread.len() {
                    self.spread.resize(number + 1, Spread::default());
                }
                let spread = &mut self.spread[number];
                spread.due_ns = event.due_ns;
                spread.seen += streams as u32;
                spread.last_ns = now_ns;
            }
        }
    }

    pub(crate) fn latency(&self) -> &Histogram<u64> {
        &self.latency
    }

    /// From due to the last subscriber, for the measured events that reached all of them.
    pub(crate) fn time_to_last(&self) -> Histogram<u64> {
        let mut times = histogram();
        for spread in self.spread.iter().filter(|spread| spread.seen as usize >= self.next.len()) {
            times.saturating_record(spread.last_ns.saturating_sub(spread.due_ns));
        }
        times
    }

    /// The faults, given how many events each stream should have seen by now.
    pub(crate) fn faults(&self, expected: impl Fn(usize) -> u32) -> Faults {
        let behind: u64 = (0..self.next.len()).map(|i| u64::from(expected(i).saturating_sub(self.next[i]))).sum();
        let skipped: u64 = self.skipped.values().map(|skipped| skipped.len() as u64).sum();
        Faults { missing: behind + skipped, ..self.faults }
    }
}

/// Nanoseconds from 1 µs to 10 minutes, in steps of 0.1 %.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 600_000_000_000, 3).expect("the bounds are constants")
}

impl Faults {
    /// One line, if there is anything to say.
    pub(crate) fn complaint(&self) -> Option<String> {
        (*self != Self::default()).then(|| {
            format!(
                "events were not delivered exactly once, whole and in order: {} missing, {} doubled, {} reordered, {} corrupted",
                self.missing, self.doubled, self.reordered, self.corrupted
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(numbers: &[u32], expected: u32, faults: Faults) {
        let mut checker = Checker::new(2, 50, Keys::Shared);
        for &number in numbers {
            let mut data = Vec::new();
            checker.layout().write(Event { number, due_ns: 7, key: 0 }, &mut data);
            checker.take(1, &Frame { data: Some(&data), data_lines: 1, ..Frame::default() });
        }
        assert_eq!(checker.faults(|i| if i == 1 { expected } else { 0 }), faults, "{numbers:?}");
    }

    #[test]
    fn faults_are_told_apart() {
        let none = Faults::default();
        check(&[], 0, none);
        check(&[0, 1, 2], 3, none);
        check(&[0, 1], 3, Faults { missing: 1, ..none });
        check(&[0, 2], 3, Faults { missing: 1, ..none });
        check(&[0, 0, 1, 2, 1], 3, Faults { doubled: 2, ..none });
        check(&[0, 2, 1], 3, Faults { reordered: 1, ..none });
        check(&[0, 3, 1, 1], 4, Faults { reordered: 1, doubled: 1, missing: 1, ..none });
    }

    #[test]
    fn a_foreign_a_cut_and_a_glued_event_are_corrupted() {
        let mut checker = Checker::new(3, 100, Keys::OwnTopic);
        let mut data = Vec::new();
        checker.layout().write(Event { number: 0, due_ns: 7, key: 1 }, &mut data);
        let frame = Frame { data: Some(&data), data_lines: 1, ..Frame::default() };
        checker.take(2, &frame);
        checker.take(1, &Frame { data_lines: 2, ..frame });
        checker.take(1, &Frame { data: Some(&data[..99]), ..frame });
        assert_eq!(checker.faults(|_| 0), Faults { corrupted: 3, ..Faults::default() });
        assert!(checker.take(1, &frame).is_some());
    }

    #[test]
    fn time_to_last_counts_only_events_that_reached_all() {
        let mut checker = Checker::new(2, 50, Keys::Shared);
        checker.measure_from(1_000);
        for number in 0..3 {
            let event = Event { number, due_ns: u64::from(number) * 1_000, key: 0 };
            checker.arrive(event, 1);
            checker.settle(10_000);
            if number < 2 {
                checker.arrive(event, 1);
                checker.settle(20_000);
            }
        }
        assert_eq!(checker.time_to_last().len(), 1);
        assert_eq!(checker.latency().len(), 3);
        assert_eq!(checker.delivered(), 5);
    }
}
