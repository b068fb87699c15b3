//! What a reader has found, as it travels from a client process to ours, and the sum over all of them.

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeSeq as _};

/// How far a client process is; sent again and again.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Status {
    /// Streams that are open now.
    pub(crate) open: u64,
    /// When the latest of them opened.
    pub(crate) opened_ns: u64,
    /// Streams that the server has closed, without those that stalled.
    pub(crate) closed: u64,
    pub(crate) first_close: Option<String>,
    pub(crate) delivered: u64,
    pub(crate) last_arrival_ns: u64,
    pub(crate) comments: u64,
    /// Streams that were closed and opened again by us.
    pub(crate) churned: u64,
    /// Of the streams that stalled: closed by the server.
    pub(crate) stalled_closed: u64,
    /// Of the streams that stalled: still open when they were woken.
    pub(crate) stalled_open: u64,
}

impl Status {
    pub(crate) fn sum<'a>(all: impl Iterator<Item = &'a Self>) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            open: sum.open + one.open,
            opened_ns: sum.opened_ns.max(one.opened_ns),
            closed: sum.closed + one.closed,
            first_close: sum.first_close.or_else(|| one.first_close.clone()),
            delivered: sum.delivered + one.delivered,
            last_arrival_ns: sum.last_arrival_ns.max(one.last_arrival_ns),
            comments: sum.comments + one.comments,
            churned: sum.churned + one.churned,
            stalled_closed: sum.stalled_closed + one.stalled_closed,
            stalled_open: sum.stalled_open + one.stalled_open,
        })
    }
}

/// How many events streams should have by the end.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Expected {
    /// No number is known: only what is skipped counts as missing.
    Nothing,
    Each(u32),
    /// By the topic's key.
    ByKey(Vec<u32>),
}

/// Departures from "exactly once, whole and in order". A missing event is counted once for each stream.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Faults {
    pub(crate) missing: u64,
    pub(crate) doubled: u64,
    pub(crate) reordered: u64,
    pub(crate) corrupted: u64,
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

/// One event of a shared topic, as it spreads over the streams.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Spread {
    pub(crate) due_ns: u64,
    pub(crate) seen: u64,
    pub(crate) last_ns: u64,
}

/// A piece of the measured span.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Slice {
    /// Received in it.
    pub(crate) deliveries: u64,
    /// Of what was due in it.
    #[serde(serialize_with = "write_histogram", deserialize_with = "read_histogram")]
    pub(crate) latency: Histogram<u64>,
}

impl Default for Slice {
    fn default() -> Self {
        Self { deliveries: 0, latency: histogram() }
    }
}

/// All that was found.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Tally {
    pub(crate) faults: Faults,
    /// Gaps that streams were told of,
    pub(crate) gaps: u64,
    /// and what others miss.
    pub(crate) missing_untold: u64,
    /// Deliveries received in the measured span.
    pub(crate) in_span: u64,
    #[serde(serialize_with = "write_histogram", deserialize_with = "read_histogram")]
    pub(crate) latency: Histogram<u64>,
    pub(crate) slices: Vec<Slice>,
    pub(crate) spread: Vec<Spread>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            faults: Faults::default(),
            gaps: 0,
            missing_untold: 0,
            in_span: 0,
            latency: histogram(),
            slices: Vec::new(),
            spread: Vec::new(),
        }
    }
}

impl Tally {
    pub(crate) fn slice(&mut self, index: usize) -> &mut Slice {
        if index >= self.slices.len() {
            self.slices.resize_with(index + 1, Slice::default);
        }
        &mut self.slices[index]
    }

    /// An event, by its number.
    pub(crate) fn spread(&mut self, number: usize) -> &mut Spread {
        if number >= self.spread.len() {
            self.spread.resize(number + 1, Spread::default());
        }
        &mut self.spread[number]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.faults.missing += other.faults.missing;
        self.faults.doubled += other.faults.doubled;
        self.faults.reordered += other.faults.reordered;
        self.faults.corrupted += other.faults.corrupted;
        self.gaps += other.gaps;
        self.missing_untold += other.missing_untold;
        self.in_span += other.in_span;
        self.latency += &other.latency;
        for (index, other) in other.slices.iter().enumerate() {
            let own = self.slice(index);
            own.deliveries += other.deliveries;
            own.latency += &other.latency;
        }
        for (number, other) in other.spread.iter().enumerate() {
            let own = self.spread(number);
            own.due_ns = own.due_ns.max(other.due_ns);
            own.seen += other.seen;
            own.last_ns = own.last_ns.max(other.last_ns);
        }
    }

    /// From due to the last subscriber, for the measured events that reached all of them.
    pub(crate) fn time_to_last(&self, streams: u64) -> Histogram<u64> {
        let mut times = histogram();
        for spread in self.spread.iter().filter(|spread| spread.seen >= streams) {
            times.saturating_record(spread.last_ns.saturating_sub(spread.due_ns));
        }
        times
    }
}

/// Nanoseconds from 1 µs to 10 minutes, in steps of 0.1 %.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 600_000_000_000, 3).expect("the bounds are constants")
}

/// A histogram travels as its values and their counts.
fn write_histogram<S: Serializer>(histogram: &Histogram<u64>, to: S) -> Result<S::Ok, S::Error> {
    let mut values = to.serialize_seq(None)?;
    for step in histogram.iter_recorded() {
        values.serialize_element(&(step.value_iterated_to(), step.count_at_value()))?;
    }
    values.end()
}

fn read_histogram<'de, D: Deserializer<'de>>(from: D) -> Result<Histogram<u64>, D::Error> {
    let mut histogram = histogram();
    for (value, count) in Vec::<(u64, u64)>::deserialize(from)? {
        histogram.saturating_record_n(value, count);
    }
    Ok(histogram)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_travels_arrives_as_it_was() {
        let mut tally = Tally { in_span: 3, ..Tally::default() };
        for ns in [1_000, 1_234_567, 1_234_568, 987_654_321_000] {
            tally.latency.saturating_record_n(ns, ns % 7 + 1);
        }
        tally.slices.push(Slice { deliveries: 9, ..Slice::default() });
        tally.spread.push(Spread { due_ns: 5, seen: 2, last_ns: 9 });
        let back: Tally = serde_json::from_str(&serde_json::to_string(&tally).unwrap()).unwrap();
        assert_eq!(back.latency, tally.latency);
        assert_eq!(back.spread, tally.spread);
        assert_eq!((back.in_span, back.slices[0].deliveries), (3, 9));
    }

    #[test]
    fn two_readers_make_one_tally() {
        let one = |seen, last_ns| {
            let mut tally = Tally { spread: vec![Spread { due_ns: 1_000, seen, last_ns }], ..Tally::default() };
            tally.latency.saturating_record_n(last_ns, seen);
            tally
        };
        let mut sum = Tally::default();
        sum.add(&one(3, 11_000));
        assert_eq!(sum.time_to_last(5).len(), 0);
        sum.add(&one(2, 31_000));
        let times = sum.time_to_last(5);
        assert_eq!((times.len(), times.max() / 1_000), (1, 30));
        assert_eq!(sum.latency.len(), 5);
    }
}
