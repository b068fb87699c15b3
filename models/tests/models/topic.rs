//! The one topic of the models.

use std::sync::Arc;

use sluicegate_models::hub::topic::{Release, Topic, TopicHandle};

/// Where the one topic has its number from.
struct Unnumbered;

impl Release for Unnumbered {
    fn release(&self, _: &Topic, _: u32) {}
}

pub(crate) fn topic() -> TopicHandle {
    TopicHandle::new(Topic::parse("a").unwrap(), 0, Arc::new(Unnumbered))
}
