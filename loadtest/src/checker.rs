//! Holds every stream to it: each event exactly once, whole and in order. Also keeps the latencies.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    payload::{Event, Layout, tick},
    profile::Subscribe,
    sse::Frame,
    tally::{Expected, Tally},
};

/// Whose events a stream may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// All streams share one topic, whose key is 0.
    Shared,
    /// Stream `i` has topic `i % topics`, which is its key.
    ByTopic(u32),
}

/// What the data is that streams read.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Reading {
    /// Our publisher's events, of so many bytes.
    Events { size: usize },
    /// A schedule's, `n time`; its wall clock's epoch on the run's clock. A stream begins with any.
    Ticks { epoch_ns: i64 },
}

/// The part of a run that is measured.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Span {
    pub(crate) from_ns: u64,
    pub(crate) until_ns: u64,
    /// Its course is told in slices of this length.
    pub(crate) slice_ns: u64,
}

impl Span {
    /// Before we are told what is measured.
    const NONE: Self = Self { from_ns: u64::MAX, until_ns: u64::MAX, slice_ns: 1 };

    fn slice(&self, at_ns: u64) -> Option<usize> {
        (self.from_ns..self.until_ns).contains(&at_ns).then(|| ((at_ns - self.from_ns) / self.slice_ns) as usize)
    }
}

/// The state of all streams' checks.
#[derive(Debug)]
pub(crate) struct Checker {
    /// The number of the first stream.
    first: u32,
    reading: Reading,
    layout: Layout,
    /// Where the event is in data that the server wraps.
    data_path: Option<String>,
    keys: Keys,
    /// The number each stream must see next.
    next: Vec<u32>,
    /// Streams that were told of a gap.
    told: HashSet<u32>,
    /// Numbers that a stream has skipped so far; empty in a good run.
    skipped: HashMap<u32, BTreeSet<u32>>,
    delivered: u64,
    comments: u64,
    /// Events received since the last `settle`, and on how many streams.
    arrived: Vec<(Event, u64)>,
    span: Span,
    /// What was found so far; what is missing is known at the end.
    found: Tally,
}

impl Checker {
    pub(crate) fn new(streams: usize, first: u32, reading: &Reading, keys: Keys, subscribe: &Subscribe) -> Self {
        let size = match reading {
            Reading::Events { size } => *size,
            Reading::Ticks { .. } => 0,
        };
        Self {
            first,
            reading: reading.clone(),
            layout: Layout::new(size),
            data_path: subscribe.data_path.clone(),
            keys,
            next: vec![0; streams],
            told: HashSet::new(),
            skipped: HashMap::new(),
            delivered: 0,
            comments: 0,
            arrived: Vec::new(),
            span: Span::NONE,
            found: Tally::default(),
        }
    }

    /// Whether all streams get the same events.
    pub(crate) fn shares_topic(&self) -> bool {
        self.keys == Keys::Shared
    }

    /// Events due before the span are warm-up: checked, but in no figure.
    pub(crate) fn measure(&mut self, span: Span) {
        self.span = span;
    }

    /// Events received so far, over all streams.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Heartbeats and other frames without an event.
    pub(crate) fn comments(&self) -> u64 {
        self.comments
    }

    pub(crate) fn next(&self, stream: usize) -> u32 {
        self.next[stream]
    }

    /// Takes one frame of one stream; the event, if it was the one expected.
    pub(crate) fn take(&mut self, stream: usize, frame: &Frame<'_>) -> Option<Event> {
        if frame.event == Some(b"gap") {
            self.found.gaps += 1;
            self.told.insert(stream as u32);
            return None;
        }
        let unwrapped = match (&self.data_path, frame.data) {
            (Some(path), Some(data)) => Some(unwrap(data, path).unwrap_or_default()),
            _ => None,
        };
        let data = unwrapped.as_deref().or(frame.data).filter(|data| unwrapped.is_none() || !data.is_empty());
        let Some(data) = data else {
            self.comments += 1;
            return None;
        };
        let event = match self.reading {
            Reading::Events { .. } => self.layout.read(data).filter(|event| event.key == self.key(stream)),
            Reading::Ticks { epoch_ns } => tick(data, epoch_ns),
        };
        let Some(event) = event.filter(|_| frame.data_lines == 1) else {
            self.found.faults.corrupted += 1;
            return None;
        };
        let next = &mut self.next[stream];
        let begins = *next == 0 && matches!(self.reading, Reading::Ticks { .. });
        if event.number == *next || begins {
            *next = event.number + 1;
            self.arrive(event, 1);
            return Some(event);
        }
        if event.number > *next {
            self.skipped.entry(stream as u32).or_default().extend(*next..event.number);
            *next = event.number + 1;
            self.arrive(event, 1);
        } else if self.skipped.get_mut(&(stream as u32)).is_some_and(|skipped| skipped.remove(&event.number)) {
            self.found.faults.reordered += 1;
            self.arrive(event, 1);
        } else {
            self.found.faults.doubled += 1;
        }
        None
    }

    fn key(&self, stream: usize) -> u32 {
        match self.keys {
            Keys::Shared => 0,
            Keys::ByTopic(topics) => (self.first + stream as u32) % topics,
        }
    }

    /// A stream got events in order, by a read whose bytes were already checked on another stream that stood where
    /// it did and now must see `next`.
    pub(crate) fn take_again(&mut self, stream: usize, next: u32) {
        self.next[stream] = next;
    }

    /// `streams` more streams got this event.
    pub(crate) fn arrive(&mut self, event: Event, streams: u64) {
        self.delivered += streams;
        match self.arrived.last_mut() {
            Some((last, count)) if *last == event => *count += streams,
            _ => self.arrived.push((event, streams)),
        }
    }

    /// Dates what has arrived since the last call, and says whether anything has. `now_ns` is read after the bytes
    /// were, never before.
    pub(crate) fn settle(&mut self, now_ns: u64) -> bool {
        let any = !self.arrived.is_empty();
        for (event, streams) in self.arrived.drain(..) {
            let found = &mut self.found;
            if let Some(slice) = self.span.slice(now_ns) {
                found.in_span += streams;
                found.slice(slice).deliveries += streams;
            }
            if event.due_ns < self.span.from_ns {
                continue;
            }
            let late_ns = now_ns.saturating_sub(event.due_ns);
            found.latency.saturating_record_n(late_ns, streams);
            if let Some(slice) = self.span.slice(event.due_ns) {
                found.slice(slice).latency.saturating_record_n(late_ns, streams);
            }
            if self.keys == Keys::Shared {
                let spread = found.spread(event.number as usize);
                spread.due_ns = event.due_ns;
                spread.seen += streams;
                spread.last_ns = now_ns;
            }
        }
        any
    }

    /// All that was found, given how many events each stream should have seen by now and which streams are to have
    /// all of them.
    pub(crate) fn tally(&self, expected: &Expected, is_due_all: impl Fn(usize) -> bool) -> Tally {
        let behind = |stream: usize| match expected {
            Expected::Nothing => 0,
            Expected::Each(count) => count.saturating_sub(self.next[stream]),
            Expected::ByKey(counts) => counts[self.key(stream) as usize].saturating_sub(self.next[stream]),
        };
        let behind = (0..self.next.len())
            .filter(|stream| is_due_all(*stream))
            .map(|stream| (stream as u32, u64::from(behind(stream))));
        let skipped = self.skipped.iter().map(|(stream, skipped)| (*stream, skipped.len() as u64));
        let mut tally = self.found.clone();
        for (stream, missing) in behind.chain(skipped) {
            tally.faults.missing += missing;
            if !self.told.contains(&stream) {
                tally.missing_untold += missing;
            }
        }
        tally
    }
}

/// The event in wrapped data, if there is one.
fn unwrap(data: &[u8], path: &str) -> Option<Vec<u8>> {
    let wrapped: Value = serde_json::from_slice(data).ok()?;
    match wrapped.pointer(path)? {
        Value::String(text) => Some(text.clone().into_bytes()),
        other => Some(other.to_string().into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Faults;

    fn checker(streams: usize, size: usize, keys: Keys, data_path: Option<&str>) -> Checker {
        let mut subscribe: Subscribe = toml::from_str("path = '/'").unwrap();
        subscribe.data_path = data_path.map(str::to_owned);
        Checker::new(streams, 0, &Reading::Events { size }, keys, &subscribe)
    }

    fn frame(data: &[u8]) -> Frame<'_> {
        Frame { data: Some(data), data_lines: 1, ..Frame::default() }
    }

    fn written(checker: &Checker, number: u32, key: u32) -> Vec<u8> {
        let mut data = Vec::new();
        checker.layout.write(Event { number, due_ns: 7, key }, &mut data);
        data
    }

    fn check(numbers: &[u32], expected: u32, faults: Faults) {
        let mut checker = checker(2, 50, Keys::Shared, None);
        for &number in numbers {
            let data = written(&checker, number, 0);
            checker.take(1, &frame(&data));
        }
        let tally = checker.tally(&Expected::Each(expected), |stream| stream == 1);
        assert_eq!(tally.faults, faults, "{numbers:?}");
    }

    #[test]
    fn faults_are_told_apart() {
        let none = Faults::default();
        check(&[], 0, none);
        let mut told = checker(1, 50, Keys::Shared, None);
        told.take(0, &Frame { id: Some(b"where-it-is"), ..Frame::default() });
        assert_eq!(told.tally(&Expected::Nothing, |_| true).faults, none, "an id alone is no event");
        check(&[0, 1, 2], 3, none);
        check(&[0, 1], 3, Faults { missing: 1, ..none });
        check(&[0, 2], 3, Faults { missing: 1, ..none });
        check(&[0, 0, 1, 2, 1], 3, Faults { doubled: 2, ..none });
        check(&[0, 2, 1], 3, Faults { reordered: 1, ..none });
        check(&[0, 3, 1, 1], 4, Faults { reordered: 1, doubled: 1, missing: 1, ..none });
    }

    #[test]
    fn a_foreign_a_cut_and_a_glued_event_are_corrupted() {
        let mut checker = checker(3, 100, Keys::ByTopic(3), None);
        let data = written(&checker, 0, 1);
        let frame = frame(&data);
        checker.take(2, &frame);
        checker.take(1, &Frame { data_lines: 2, ..frame });
        checker.take(1, &Frame { data: Some(&data[..99]), ..frame });
        assert_eq!(checker.tally(&Expected::Nothing, |_| true).faults, Faults { corrupted: 3, ..Faults::default() });
        assert!(checker.take(1, &frame).is_some());
        let missing = checker.tally(&Expected::ByKey(vec![2, 1, 0]), |_| true).faults.missing;
        assert_eq!(missing, 2, "stream 0 has none of 2, stream 1 its one");
    }

    #[test]
    fn wrapped_events_are_found_and_other_wrappings_are_no_events() {
        let mut checker = checker(1, 60, Keys::Shared, Some("/pub/data"));
        let text = String::from_utf8(written(&checker, 0, 0)).unwrap();
        assert_eq!(checker.take(0, &frame(b"{}")), None);
        assert!(checker.take(0, &frame(format!("{{\"pub\":{{\"data\":\"{text}\"}}}}").as_bytes())).is_some());
        assert_eq!((checker.comments(), checker.delivered()), (1, 1));
    }

    #[test]
    fn ticks_begin_anywhere_and_then_follow_each_other() {
        let subscribe = toml::from_str("path = '/'").unwrap();
        let mut checker = Checker::new(1, 0, &Reading::Ticks { epoch_ns: 0 }, Keys::Shared, &subscribe);
        for n in [7, 8, 10] {
            checker.take(0, &frame(format!("{n} 1970-01-01T00:00:0{}.000Z", n % 10).as_bytes()));
        }
        assert_eq!(checker.tally(&Expected::Nothing, |_| true).faults, Faults { missing: 1, ..Faults::default() });
        assert_eq!(checker.delivered(), 3);
    }

    #[test]
    fn only_the_span_is_measured() {
        let mut checker = checker(2, 50, Keys::Shared, None);
        checker.measure(Span { from_ns: 1_000, until_ns: 3_000_000, slice_ns: 1_000_000 });
        for number in 0..3 {
            let event = Event { number, due_ns: u64::from(number) * 1_000, key: 0 };
            checker.arrive(event, 1);
            checker.settle(1_010_000);
            if number < 2 {
                checker.arrive(event, 1);
                checker.settle(4_000_000);
            }
        }
        let tally = checker.tally(&Expected::Each(0), |_| true);
        assert_eq!((checker.delivered(), tally.in_span, tally.latency.len()), (5, 3, 3));
        assert_eq!(tally.time_to_last(2).len(), 1);
        assert_eq!(tally.slices.iter().map(|slice| slice.deliveries).collect::<Vec<_>>(), [0, 3]);
        assert_eq!(tally.slices[0].latency.len(), 3, "by when they were due");
    }
}
