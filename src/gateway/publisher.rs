//! Publishing from inside the process.

use std::sync::Arc;

use crate::hub::event::Event;
use crate::hub::fault::Fault;
use crate::hub::frame::{Draft, Topics};
use crate::hub::id::EventId;
use crate::hub::topic::Topic;
use crate::net::state::State;
use crate::ops::metrics::Source;

/// Publishes from inside the process. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    pub(super) state: Arc<State>,
}

impl Publisher {
    /// Publishes an event to a topic. It is in the log when this returns; no reader is
    /// waited for. Answers the id that the log gave it: none if it is live only or has its own.
    ///
    /// # Errors
    /// A [`Fault`] that names the field that can't be published, or `gateway` if that is closing.
    pub fn publish(&self, topic: &Topic, event: &Event<'_>) -> Result<Option<EventId>, Fault> {
        let epoch = self.state.bus.log.epoch();
        let draft = Draft::encode(Topics::from_elem(topic.clone(), 1), event, epoch)?;
        let placed = self.state.publish(vec![draft], self.state.clock.now_ns())?;
        self.state.metrics.events_published(Source::Library, 1);
        Ok((!event.live_only && event.id.is_none()).then(|| self.state.bus.log.id(placed.first)))
    }
}
