//! The busiest topics: the log is read a piece at a time on a thread of its own, and publishers come in
//! between.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde::Serialize;

use crate::exchange::bus::Bus;
use crate::exchange::log_cell::LogCell;
use crate::hub::offset::Offset;
use crate::hub::top::Top;
use crate::hub::topic::TopicHandle;
use crate::net::command::Command;
use crate::net::problem::Problem;
use crate::net::state::State;

use super::parameters::sort_and_limit;
use super::{busy, json};

/// Over how long a topic's rate is taken, if the log reaches so far back,
const RATE_NS: u64 = 10_000_000_000;
/// and over how long at least.
const RATE_NS_MIN: u64 = 100_000_000;
/// How many events are taken from the log under one lock.
const EVENTS_A_LOCK: usize = 256;
/// How many topics of events are counted, newest first: time and memory.
pub(super) const COUNTED_MAX: usize = 250_000;

/// By what topics are put in order; the largest comes first.
#[derive(Clone, Copy)]
enum TopicOrder {
    Rate,
    Events,
    Bytes,
}

/// What was counted of one topic.
#[derive(Default)]
struct Counted {
    /// Events of late, kept ones and live-only ones.
    recent: [u64; 2],
    /// Kept events, and the memory they take.
    events: u64,
    bytes: u64,
}

impl Counted {
    /// Events a second, where the recent ones are of this time.
    fn rate(&self, reach_ns: [u64; 2]) -> f64 {
        let rate = |at: usize| self.recent[at] as f64 * 1e9 / reach_ns[at].max(RATE_NS_MIN) as f64;
        rate(0) + rate(1)
    }
}

/// What was counted of the log.
struct Count {
    topics: HashMap<TopicHandle, Counted>,
    events: usize,
    /// Whether all of the log was counted.
    complete: bool,
    /// For how long before now all recent events were counted, kept ones and live-only ones.
    reach_ns: [u64; 2],
}

fn count(log: &LogCell, now_ns: u64) -> Count {
    let reach_ns = log.reach_ns(now_ns, RATE_NS.min(now_ns));
    let mut count = Count { topics: HashMap::new(), events: 0, complete: false, reach_ns };
    let (mut before, mut names, mut frames) = (Offset::MAX, 0, Vec::new());
    while names < COUNTED_MAX {
        frames.clear();
        log.before(before, EVENTS_A_LOCK, &mut frames);
        let Some(oldest) = frames.last() else {
            count.complete = true;
            return count;
        };
        before = oldest.offset();
        let oldest_ns = oldest.published_ns();
        for frame in &frames {
            let is_recent = now_ns.saturating_sub(frame.published_ns()) <= RATE_NS;
            names += frame.topics().len();
            if frame.live_only() && !is_recent {
                continue;
            }
            for topic in frame.topics().iter() {
                let counted = count.topics.entry(topic.clone()).or_default();
                counted.recent[usize::from(frame.live_only())] += u64::from(is_recent);
                if !frame.live_only() {
                    counted.events += 1;
                    counted.bytes += frame.cost_bytes() as u64;
                }
            }
        }
        count.events += frames.len();
        if names >= COUNTED_MAX {
            count.reach_ns = reach_ns.map(|reach_ns| reach_ns.min(now_ns.saturating_sub(oldest_ns)));
        }
    }
    count
}

/// The busiest topics.
///
/// # Errors
/// 400, naming the parameter; 503 while another such request is under way.
pub async fn topics(state: &State, query: &str) -> Result<Vec<u8>, Problem> {
    let sorts = [("rate", TopicOrder::Rate), ("events", TopicOrder::Events), ("bytes", TopicOrder::Bytes)];
    let ((sort, order), limit) = sort_and_limit(query, &sorts)?;
    let turn = state.admin.topics.clone().try_acquire_owned().map_err(|_| busy())?;
    let (bus, now_ns) = (state.bus.clone(), state.clock.now_ns());
    // The turn is over with the work, even if the one who asked has gone before.
    let work = tokio::task::spawn_blocking(move || {
        let document = busiest(&bus, now_ns, sort, order, limit);
        drop(turn);
        document
    });
    Ok(work.await.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic())))
}

fn busiest(bus: &Bus<Command>, now_ns: u64, sort: &'static str, order: TopicOrder, limit: usize) -> Vec<u8> {
    let Count { topics, events, complete, reach_ns } = count(&bus.log, now_ns);
    let mut top = Top::new(limit);
    for (topic, counted) in &topics {
        let rank = match order {
            TopicOrder::Rate => (counted.rate(reach_ns) * 1e3) as u64,
            TopicOrder::Events => counted.events,
            TopicOrder::Bytes => counted.bytes,
        };
        top.offer((rank, counted.events, Reverse(topic)));
    }

    #[derive(Serialize)]
    struct Document<'a> {
        topics: usize,
        topics_with_streams: usize,
        sort: &'static str,
        items: Vec<Item<'a>>,
        rate_over_seconds: [f64; 2],
        events_counted: usize,
        complete: bool,
    }
    #[derive(Serialize)]
    struct Item<'a> {
        topic: &'a str,
        rate: f64,
        events: u64,
        bytes: u64,
        shards: u32,
    }
    let items = top.into_sorted().filter_map(|(_, _, Reverse(topic))| {
        let counted = topics.get(topic)?;
        Some(Item {
            topic: topic.as_str(),
            rate: (counted.rate(reach_ns) * 1e3).round() / 1e3,
            events: counted.events,
            bytes: counted.bytes,
            shards: bus.directory.interested([topic.number()], bus.shards()).count(),
        })
    });
    json(&Document {
        topics: topics.len(),
        topics_with_streams: bus.directory.topics(),
        sort,
        items: items.collect(),
        rate_over_seconds: reach_ns.map(|ns| (ns / 1_000_000) as f64 / 1e3),
        events_counted: events,
        complete,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_over_the_time_that_the_log_reaches_back() {
        let counted = Counted { recent: [10, 5], ..Counted::default() };
        assert_eq!(counted.rate([RATE_NS, RATE_NS]), 1.5);
        assert_eq!(counted.rate([RATE_NS / 10, RATE_NS]), 10.5);
        assert_eq!(counted.rate([0, RATE_NS]), 100.5);
    }
}
