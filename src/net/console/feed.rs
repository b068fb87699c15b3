//! What is published for the console: numbers once a second, topics and streams every other second.

use std::sync::Arc;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use serde::Serialize;

use crate::hub::event::Event;
use crate::hub::frame::Draft;
use crate::hub::log::Numbering;
use crate::hub::topic::{INTERNAL, Numbers, Topic, TopicHandle, Topics};
use crate::net::admin;
use crate::net::clock::process_cpu;
use crate::net::state::State;
use crate::ops::cli::VERSION;

/// The time from one look to the next.
const EVERY: Duration = Duration::from_secs(1);
/// Topics and streams are looked at each so many looks: they cost more, and are read slower.
const LISTS_EVERY: u32 = 2;
/// How many looks are made without anybody who sees them: a stream that has just opened is not there yet.
const UNSEEN_MAX: u32 = 3;

/// Publishes for as long as somebody looks, whenever somebody does.
pub async fn feed(state: Arc<State>) {
    loop {
        state.console.opened.notified().await;
        let [stats, topics, streams] = ["stats", "topics", "streams"].map(|name| {
            let topic = Topic::parse(&format!("{INTERNAL}{name}")).expect("Invariant: a valid topic");
            state.topics.handle(&topic)
        });
        let (mut look, mut unseen) = (0, 0);
        while unseen < UNSEEN_MAX && state.config.load().admin {
            unseen = if is_seen(&state, [&stats, &topics, &streams]) { 0 } else { unseen + 1 };
            if unseen == 0 {
                publish(&state, &stats, "stats", numbers(&state));
                if look % LISTS_EVERY == 0 {
                    // One that is asked for by somebody else at this moment is left out.
                    if let Ok(list) = admin::topics(&state, "sort=rate&limit=20").await {
                        publish(&state, &topics, "topics", list);
                    }
                    if let Ok(list) = admin::streams(&state, "sort=lag&limit=20").await {
                        publish(&state, &streams, "streams", list);
                    }
                }
                look += 1;
            }
            tokio::time::sleep(EVERY).await;
        }
    }
}

fn is_seen(state: &State, topics: [&TopicHandle; 3]) -> bool {
    state.bus.directory.interested(topics.map(TopicHandle::number), state.bus.shards()).count() > 0
}

/// Publishes to this gateway's own streams, past the engine.
fn publish(state: &State, topic: &TopicHandle, event: &'static str, document: Vec<u8>) {
    let Ok(text) = String::from_utf8(document) else { return };
    let event = Event::new(text).event(event).keep(false);
    let Ok(draft) = Draft::encode(Topics::one(topic.clone()), &event, state.bus.log.epoch()) else { return };
    let drafts = vec![draft];
    // What does not fit into a very small log is not shown.
    if state.bus.log.admit(&drafts).is_ok() {
        state.bus.accept(drafts, Numbering::Own, state.clock.now_ns());
    }
}

/// The numbers of a moment; those that only grow have a rate by their difference.
#[derive(Serialize)]
struct Stats {
    version: &'static str,
    engine: String,
    at_ms: u64,
    up_seconds: f64,
    streams: f64,
    streams_max: f64,
    behind: f64,
    opened: f64,
    closed: f64,
    published: f64,
    refused: f64,
    deliveries: f64,
    writes: f64,
    log_events: f64,
    log_events_max: f64,
    log_bytes: f64,
    log_bytes_max: f64,
    cpu_seconds: f64,
    busy_seconds: Vec<f64>,
}

fn numbers(state: &State) -> Vec<u8> {
    let families = state.metrics.collect();
    let values = |name: &str| {
        let family = families.iter().find(move |family| family.name() == name);
        family
            .into_iter()
            .flat_map(MetricFamily::get_metric)
            .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value())
    };
    let sum = |name: &str| values(name).sum();
    let stats = Stats {
        version: VERSION,
        engine: state.engine.status().phase().as_ref().to_owned(),
        at_ms: state.clock.now_ms(),
        up_seconds: state.clock.age().as_secs_f64(),
        streams: sum("sluicegate_streams"),
        streams_max: sum("sluicegate_streams_max"),
        behind: sum("sluicegate_behind_streams"),
        opened: sum("sluicegate_streams_opened_total"),
        closed: sum("sluicegate_streams_closed_total"),
        published: sum("sluicegate_events_published_total"),
        refused: sum("sluicegate_publish_rejected_total"),
        deliveries: sum("sluicegate_deliveries_total"),
        writes: sum("sluicegate_writes_total"),
        log_events: sum("sluicegate_log_events"),
        log_events_max: sum("sluicegate_log_events_max"),
        log_bytes: sum("sluicegate_log_bytes"),
        log_bytes_max: sum("sluicegate_log_bytes_max"),
        cpu_seconds: process_cpu().as_secs_f64(),
        busy_seconds: values("sluicegate_shard_busy_seconds_total").collect(),
    };
    // Numbers and texts can't fail to serialize.
    serde_json::to_vec(&stats).unwrap_or_default()
}
