//! From a publisher to a new stream, by way of the log and the directory: an event comes before the
//! head that the stream starts at, or the shard is woken for it.
//!
//! These faults were put in, one at a time, and a model failed of each:
//! - the shard reads the log's head before it enters its topic, or that it has patterns;
//! - the publisher asks the directory before it appends.

use std::sync::Arc;

use loom::thread;
use sluicegate_models::exchange::bus::Bus;
use sluicegate_models::exchange::inbox::Inbox;
use sluicegate_models::exchange::log_cell::LogCell;
use sluicegate_models::hub::effort::Effort;
use sluicegate_models::hub::event::Event;
use sluicegate_models::hub::frame::Draft;
use sluicegate_models::hub::id::Epoch;
use sluicegate_models::hub::log::{LogLimits, Numbering, Resume, Search};
use sluicegate_models::hub::offset::Offset;
use sluicegate_models::hub::registry::History;
use sluicegate_models::hub::topic::{Subscription, TopicHandle, Topics};

use super::topic::topic;
use super::waker::Waker;

/// A gateway of one shard, where an event is published while `enter` makes the shard known to the
/// directory and its stream starts.
fn model(enter: fn(&Bus<()>, &TopicHandle)) {
    let topic = topic();
    let subscription = Subscription::to(topic.clone());
    loom::model(move || {
        let waker = Arc::new(Waker::new());
        let wakes = waker.clone();
        let (inbox, _mail) = Inbox::new(move || wakes.wake());
        let limits = LogLimits { events: 4, bytes: 1 << 16, age_ns: u64::MAX };
        let bus = Arc::new(Bus::new(LogCell::new(Epoch::new(1), limits), vec![inbox], None));
        // It is far from being lapped, so that nothing but the directory has it woken.
        bus.inbox(0).set_position(Offset::new(u64::MAX));
        let publisher = bus.clone();
        let topics = Topics::one(topic.clone());
        let event = Draft::encode(topics, &Event::new("x"), bus.log.epoch()).unwrap();
        thread::spawn(move || publisher.accept(vec![event], Numbering::Own, 1));
        enter(&bus, &topic);
        let search = &mut Search::default();
        let start = bus.log.search(search, &Resume::Now, &subscription, &mut Effort::unbounded());
        let mut position = start.unwrap().after;
        while position < Offset::new(1) {
            waker.sleep();
            bus.inbox(0).awake();
            position = bus.log.head();
        }
    });
}

#[test]
fn no_event_falls_between_for_a_stream_of_a_topic() {
    model(|bus, topic| bus.directory.join(topic, 0));
}

#[test]
fn no_event_falls_between_for_a_stream_of_patterns() {
    model(|bus, _| bus.directory.set_patterned(0, true));
}
