//! The events of a message, whoever wrote it.

use async_nats::HeaderMap;

use crate::engine::load::drafts;
use crate::engine::record::Record;
use crate::exchange::topics::TopicTable;
use crate::hub::event::Event;
use crate::hub::frame::Draft;
use crate::hub::id::Epoch;
use crate::hub::topic::Topics;

use super::names::Names;

/// Says which version of a gateway's form a message has.
pub(super) const VERSION_FIELD: &str = "Sg-V";
/// The version of what a gateway writes.
pub(super) const VERSION: &str = "1";

/// A message of the stream, as it was published.
pub(super) struct Message<'a> {
    pub(super) subject: &'a str,
    pub(super) headers: Option<&'a HeaderMap>,
    pub(super) payload: &'a [u8],
}

/// Why a message is no event.
pub(super) enum Unreadable {
    /// A gateway wrote it.
    Ours(String),
    /// Another publisher did.
    Foreign,
}

impl<'a> Message<'a> {
    /// Encodes its events for the log, with the record that they are from if a gateway wrote it.
    pub(super) fn events(
        &self,
        names: &Names,
        epoch: Epoch,
        topics: &TopicTable,
    ) -> Result<(Vec<Draft>, Option<Record<'a>>), Unreadable> {
        if self.headers.is_some_and(|fields| fields.get(VERSION_FIELD).is_some()) {
            let record = Record::decode(self.payload).map_err(|error| Unreadable::Ours(error.to_string()))?;
            let drafts = drafts(&record, epoch, topics).map_err(|fault| Unreadable::Ours(fault.to_string()))?;
            return Ok((drafts, Some(record)));
        }
        let topic = names.topic_of(self.subject).ok_or(Unreadable::Foreign)?;
        let topic = topics.named(&topic).map_err(|_| Unreadable::Foreign)?;
        let data = std::str::from_utf8(self.payload).map_err(|_| Unreadable::Foreign)?;
        let draft = Draft::encode(Topics::one(topic), &Event::new(data), epoch).map_err(|_| Unreadable::Foreign)?;
        Ok((vec![draft], None))
    }
}
