//! Publishing from inside the process.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::sync::Arc;

use crate::hub::event::Event;
use crate::hub::fault::Fault;
use crate::hub::frame::Draft;
use crate::hub::id::EventId;
use crate::net::state::{NotPublished, State};
use crate::ops::metrics::Source;

use super::topics::IntoTopics;

/// Publishes from inside the process. Cheap to clone. It may outlive its gateway, and then publishes to nobody.
#[derive(Clone)]
pub struct Publisher {
    pub(super) state: Arc<State>,
}

/// Why nothing was published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// An event can't be published as it is.
    #[error("event {index} can't be published")]
    #[non_exhaustive]
    Invalid {
        /// Which one, counted from 0.
        index: usize,
        /// Its field, and what is wrong with it.
        #[source]
        fault: Fault,
    },
    /// The events do not fit into the log together, whatever else is in it.
    #[error("too large: {reason}")]
    #[non_exhaustive]
    TooLarge {
        /// Which bound they are over.
        reason: Cow<'static, str>,
    },
    /// The gateway takes nothing any more.
    #[error("the gateway is closing its streams")]
    Closing,
}

impl Publisher {
    /// Publishes an event, to one topic or to several. It is in the log when this returns;
    /// no reader is waited for. Answers the id that the log gave it: none if it is live only or has its
    /// own.
    ///
    /// ```
    /// # use sluicegate::{Event, Gateway};
    /// # let gateway = Gateway::builder().start()?;
    /// let publisher = gateway.publisher();
    /// publisher.publish("news", Event::new("hello"))?;
    /// publisher.publish(["news", "prices/eur"], &Event::new("1.0823").event("quote"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`PublishError`]; nothing has been published then.
    pub fn publish<'e>(
        &self,
        topics: impl IntoTopics,
        event: impl Borrow<Event<'e>>,
    ) -> Result<Option<EventId>, PublishError> {
        Ok(self.publish_batch([(topics, event)])?.into_iter().flatten().next())
    }

    /// Publishes events, all or none, without another publisher's between them. Answers their ids, as
    /// [`Publisher::publish`].
    ///
    /// # Errors
    /// See [`PublishError`]; nothing has been published then.
    pub fn publish_batch<'e, T: IntoTopics, E: Borrow<Event<'e>>>(
        &self,
        events: impl IntoIterator<Item = (T, E)>,
    ) -> Result<Vec<Option<EventId>>, PublishError> {
        let epoch = self.state.bus.log.epoch();
        let (mut drafts, mut has_id) = (Vec::new(), Vec::new());
        for (index, (topics, event)) in events.into_iter().enumerate() {
            let event = event.borrow();
            let draft = topics.into_topics(&self.state.topics).and_then(|topics| Draft::encode(topics, event, epoch));
            drafts.push(draft.map_err(|fault| PublishError::Invalid { index, fault })?);
            has_id.push(!event.live_only && event.id.is_none());
        }
        if drafts.is_empty() {
            return Ok(Vec::new());
        }
        let placed = self.state.publish(drafts, self.state.clock.now_ns())?;
        self.state.metrics.events_published(Source::Library, has_id.len() as u64);
        let mut offset = placed.first;
        let ids = has_id.into_iter().map(|has_id| {
            let id = has_id.then(|| self.state.bus.log.id(offset));
            offset = offset.next();
            id
        });
        Ok(ids.collect())
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

impl From<NotPublished> for PublishError {
    fn from(error: NotPublished) -> PublishError {
        match error {
            NotPublished::TooLarge(fault) => PublishError::TooLarge { reason: fault.to_string().into() },
            NotPublished::Closing => PublishError::Closing,
        }
    }
}
