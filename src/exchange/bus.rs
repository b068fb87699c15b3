//! What the threads of one gateway share, put together: the log, the directory and the shards'
//! inboxes, and publishing, which touches all three.

use std::sync::atomic::{AtomicBool, Ordering};

use smallvec::SmallVec;

use crate::hub::fault::Fault;
use crate::hub::frame::Draft;
use crate::hub::log::Placed;
use crate::hub::topic::Topic;

use super::directory::Directory;
use super::inbox::Inbox;
use super::log_cell::LogCell;

/// The log, the directory and the shards' inboxes. `M` is what a shard is told.
pub struct Bus<M> {
    /// The one namespace's log.
    pub log: LogCell,
    /// Who has streams for what.
    pub directory: Directory,
    inboxes: Box<[Inbox<M>]>,
    age_ms: Option<u64>,
    stopped: AtomicBool,
}

impl<M> Bus<M> {
    /// Puts the parts together. Events older than `age_ms` are evicted; `None` keeps them whatever
    /// their age.
    pub fn new(log: LogCell, inboxes: Vec<Inbox<M>>, age_ms: Option<u64>) -> Bus<M> {
        let inboxes = inboxes.into_boxed_slice();
        Bus { log, directory: Directory::default(), inboxes, age_ms, stopped: AtomicBool::new(false) }
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.inboxes.len()
    }

    /// A shard's inbox.
    pub fn inbox(&self, shard: usize) -> &Inbox<M> {
        &self.inboxes[shard]
    }

    /// How often the log is asked for events that are too old.
    pub fn retention_step_ms(&self) -> Option<u64> {
        self.age_ms.map(|age_ms| (age_ms / 100).clamp(10, 60_000))
    }

    /// The shard with the fewest streams. Not the core that accepted: the kernel's hash over
    /// listeners is skewed, and a skew of long-lived streams never heals.
    pub fn least_loaded(&self) -> usize {
        (0..self.inboxes.len()).min_by_key(|&shard| self.inboxes[shard].streams()).unwrap_or(0)
    }

    /// How many streams are open or on their way to a shard.
    pub fn streams(&self) -> usize {
        self.inboxes.iter().map(Inbox::streams).sum()
    }

    /// Says that the shards are ending.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    /// Whether the shards are ending.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Gives the drafts their places in the log, all or none, and wakes the shards that may have
    /// streams for them. It never waits for a reader.
    ///
    /// # Errors
    /// A [`Fault`] if they do not fit into the log together.
    pub fn publish(&self, drafts: Vec<Draft>, now_ns: u64) -> Result<Placed, Fault> {
        // The directory is asked after the append: see there why. The drafts are gone by then.
        let mut topics: SmallVec<[Topic; 4]> = SmallVec::new();
        for topic in drafts.iter().flat_map(Draft::topics) {
            if topics.last() != Some(topic) {
                topics.push(topic.clone());
            }
        }
        let placed = self.log.append(drafts, now_ns)?;
        let interested = self.directory.interested(&topics, self.shards());
        for (shard, inbox) in self.inboxes.iter().enumerate() {
            // A shard that is not interested still has to follow before the log laps it.
            if interested.holds(shard) || inbox.position() < placed.halfway {
                inbox.nudge();
            }
        }
        Ok(placed)
    }
}
