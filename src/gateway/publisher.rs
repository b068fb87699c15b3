//! Publishing from inside the process.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::sync::Arc;

use crate::engine::{NotStored, Stored};
use crate::hub::event::Event;
use crate::hub::fault::EventError;
use crate::hub::frame::Draft;
use crate::hub::id::EventId;
use crate::hub::topic::Topics;
use crate::net::state::{NotPublished, Offered, State};
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
        fault: EventError,
    },
    /// The events do not fit into the log together, whatever else is in it, or are more than the engine takes.
    #[error("too large: {reason}")]
    #[non_exhaustive]
    TooLarge {
        /// Which bound they are over.
        reason: Cow<'static, str>,
    },
    /// The gateway takes nothing any more.
    #[error("the gateway is closing its streams")]
    Closing,
    /// The engine has stored nothing of it.
    #[error("{reason}")]
    #[non_exhaustive]
    NotStored {
        /// Why.
        reason: Cow<'static, str>,
    },
    /// It is unknown whether the engine has stored it.
    #[error("{reason}")]
    #[non_exhaustive]
    PerhapsStored {
        /// Why.
        reason: Cow<'static, str>,
    },
}

impl Publisher {
    /// Publishes an event, to one topic or to several. It is in the log when this returns, and stored where the engine
    /// stores it, for which it blocks; no reader is waited for. Answers the id that the log gave it: none if it is live
    /// only or has its own.
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
    /// See [`PublishError`]; nothing has been published then, unless it is [`PublishError::PerhapsStored`].
    pub fn publish<'e>(
        &self,
        topics: impl IntoTopics,
        event: impl Borrow<Event<'e>>,
    ) -> Result<Option<EventId>, PublishError> {
        Ok(self.publish_batch([(topics, event)])?.into_iter().flatten().next())
    }

    /// As [`Publisher::publish`], but waits where that blocks, on any runtime. Nothing is published before the future is
    /// polled. One that is dropped later may have published all the same.
    ///
    /// ```
    /// # use sluicegate::{Event, Gateway};
    /// # let gateway = Gateway::builder().start()?;
    /// let publisher = gateway.publisher();
    /// # let published =
    /// async {
    ///     publisher.publish_async("news", Event::new("hello")).await
    /// }
    /// # ;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(published)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish_async<'e>(
        &self,
        topics: impl IntoTopics,
        event: impl Borrow<Event<'e>>,
    ) -> Result<Option<EventId>, PublishError> {
        Ok(self.publish_batch_async([(topics, event)]).await?.into_iter().flatten().next())
    }

    /// Publishes events, all or none, without another publisher's between them. Answers their ids, as
    /// [`Publisher::publish`].
    ///
    /// # Errors
    /// See [`PublishError`]; nothing has been published then, unless it is [`PublishError::PerhapsStored`].
    pub fn publish_batch<'e, T: IntoTopics, E: Borrow<Event<'e>>>(
        &self,
        events: impl IntoIterator<Item = (T, E)>,
    ) -> Result<Vec<Option<EventId>>, PublishError> {
        let Some(batch) = self.encode(events)? else { return Ok(Vec::new()) };
        let Batch { drafts, events, kinds } = batch;
        let stored = events.iter().flatten().map(|(topics, event)| (topics, event.borrow()));
        Ok(kinds.ids(self.state.publish_blocking(drafts, stored, Source::Library)?))
    }

    /// As [`Publisher::publish_batch`], but waits where that blocks; see [`Publisher::publish_async`].
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish_batch_async<'e, T: IntoTopics, E: Borrow<Event<'e>>>(
        &self,
        events: impl IntoIterator<Item = (T, E)>,
    ) -> Result<Vec<Option<EventId>>, PublishError> {
        let Some((kinds, offered)) = self.offer(events)? else { return Ok(Vec::new()) };
        Ok(kinds.ids(offered.answer().await?))
    }

    fn offer<'e, T: IntoTopics, E: Borrow<Event<'e>>>(
        &self,
        events: impl IntoIterator<Item = (T, E)>,
    ) -> Result<Option<(Kinds, Offered)>, PublishError> {
        let Some(batch) = self.encode(events)? else { return Ok(None) };
        let Batch { drafts, events, kinds } = batch;
        let stored = events.iter().flatten().map(|(topics, event)| (topics, event.borrow()));
        Ok(Some((kinds, self.state.publish(drafts, stored, None, Source::Library)?)))
    }

    /// Encodes events: `None` if there are none.
    fn encode<'e, T: IntoTopics, E: Borrow<Event<'e>>>(
        &self,
        events: impl IntoIterator<Item = (T, E)>,
    ) -> Result<Option<Batch<E>>, PublishError> {
        let epoch = self.state.bus.log.epoch();
        let stores = self.state.engine.stores();
        let mut batch = Batch { drafts: Vec::new(), events: stores.then(Vec::new), kinds: Kinds(Vec::new()) };
        for (index, (topics, given)) in events.into_iter().enumerate() {
            let event = given.borrow();
            let invalid = |fault| PublishError::Invalid { index, fault };
            let topics = topics.into_topics(&self.state.topics).map_err(invalid)?;
            batch.kinds.0.push((event.live_only, event.id.is_some()));
            let copy = stores.then(|| topics.clone());
            batch.drafts.push(Draft::encode(topics, event, epoch).map_err(invalid)?);
            if let (Some(events), Some(topics)) = (&mut batch.events, copy) {
                events.push((topics, given));
            }
        }
        Ok(Some(batch).filter(|batch| !batch.drafts.is_empty()))
    }
}

/// Events that are encoded.
struct Batch<E> {
    drafts: Vec<Draft>,
    /// Once more, for an engine that stores them.
    events: Option<Vec<(Topics, E)>>,
    kinds: Kinds,
}

/// Of each event whether it is live only, and whether it has an id of its own.
struct Kinds(Vec<(bool, bool)>);

impl Kinds {
    /// The ids that the log gave to the events.
    fn ids(self, stored: Stored) -> Vec<Option<EventId>> {
        let mut ids = stored.ids;
        self.0.into_iter().map(|(live_only, has_own)| ids.next(live_only).filter(|_| !has_own)).collect()
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
            error @ (NotPublished::TooLarge(_) | NotPublished::Record(_)) => {
                PublishError::TooLarge { reason: error.to_string().into() }
            }
            NotPublished::Closing => PublishError::Closing,
            NotPublished::Engine(error @ NotStored::TooLarge(_)) => {
                PublishError::TooLarge { reason: error.to_string().into() }
            }
            NotPublished::Engine(error @ NotStored::Unknown(_)) => {
                PublishError::PerhapsStored { reason: error.to_string().into() }
            }
            NotPublished::Engine(error) => PublishError::NotStored { reason: error.to_string().into() },
        }
    }
}
