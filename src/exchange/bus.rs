//! What the threads of one gateway share, put together: the log, the directory and the shards'
//! inboxes, and publishing, which touches all three.

use smallvec::SmallVec;

#[cfg(test)]
use crate::hub::fault::TooLarge;
use crate::hub::frame::Draft;
use crate::hub::id::Epoch;
use crate::hub::log::{Numbering, Placed};
use crate::hub::offset::Offset;

use super::directory::Directory;
use super::inbox::Inbox;
use super::log_cell::LogCell;
use super::sync::{AtomicBool, Ordering};

/// Seldom enough to cost nothing, often enough that who follows the log is woken well before it is lapped.
const RETENTION_STEP_MS_MAX: u64 = 1000;
/// After how long the next part of what is too old goes: the thread has other timers to see to.
const RETENTION_AGAIN_MS: u64 = 1;

/// The log, the directory and the shards' inboxes. `M` is what a shard is sent.
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

    /// How often events are looked for that are too old.
    pub fn retention_step_ms(&self) -> u64 {
        self.age_ms.map_or(RETENTION_STEP_MS_MAX, |age_ms| (age_ms / 100).clamp(10, RETENTION_STEP_MS_MAX))
    }

    /// Evicts a part of what is too old, and wakes the shards that are about to lose something by it. Says after how long
    /// that is to be done again.
    pub fn evict(&self, now_ns: u64) -> u64 {
        let (halfway, more) = self.log.evict(now_ns);
        self.endanger_before(halfway);
        if more { RETENTION_AGAIN_MS } else { self.retention_step_ms() }
    }

    /// Has the shards follow that are about to be lapped by the log, whatever they have streams for, and if they rest.
    fn endanger_before(&self, halfway: Offset) {
        self.inboxes.iter().filter(|inbox| inbox.position() < halfway).for_each(Inbox::endanger);
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

    /// How long the oldest event that a shard was notified of and has yet to take has been in the log, in
    /// nanoseconds; 0 if it has taken all.
    pub fn lag_ns(&self, shard: usize, now_ns: u64) -> u64 {
        let published_ns = self.inbox(shard).awaited().and_then(|offset| self.log.published_ns(offset));
        published_ns.map_or(0, |published_ns| now_ns.saturating_sub(published_ns))
    }

    /// Says that the shards are ending.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    /// Whether the shards are ending.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Publishes as an engine does that keeps events in the log alone.
    ///
    /// # Errors
    /// If they do not fit into the log together.
    #[cfg(test)]
    pub fn publish(&self, drafts: Vec<Draft>, now_ns: u64) -> Result<Placed, TooLarge> {
        self.log.admit(&drafts)?;
        Ok(self.accept(drafts, Numbering::Own, now_ns))
    }

    /// The engine has lost its events up to this number: streams are told.
    pub fn lose(&self, last: u64) {
        self.log.lose(last);
        self.notify_all();
    }

    /// The engine's events up to this number are gone, see [`LogCell::forget`].
    pub fn forget(&self, through: u64) {
        while self.log.forget(through) {}
        self.endanger_before(self.log.halfway());
    }

    /// The engine's events are others from now on, see [`LogCell::restart`]: streams are told.
    pub fn restart(&self, epoch: Epoch, number: Option<u64>) {
        self.log.restart(epoch, number);
        self.notify_all();
        self.endanger_before(self.log.halfway());
    }

    fn notify_all(&self) {
        let head = self.log.head();
        self.inboxes.iter().for_each(|inbox| inbox.notify_of(head, head));
    }

    /// Gives the drafts, which the log has admitted, their offsets in the log, and wakes the shards that may have
    /// streams for them. It never waits for a reader. The kept ones
    /// have these numbers in their ids.
    pub fn accept(&self, drafts: Vec<Draft>, numbers: Numbering, now_ns: u64) -> Placed {
        // The directory is asked after the append: see there why. The drafts are gone by then. The number
        // of a topic may be another's by then, too, but not if there are streams that name it.
        let mut topics: SmallVec<[u32; 16]> = SmallVec::new();
        for topic in drafts.iter().flat_map(|draft| draft.topics().iter()) {
            if topics.last() != Some(&topic.number()) {
                topics.push(topic.number());
            }
        }
        let placed = self.log.append(drafts, numbers, now_ns);
        let interested = self.directory.interested(topics, self.shards());
        for (shard, inbox) in self.inboxes.iter().enumerate() {
            if interested.holds(shard) {
                inbox.notify_of(placed.first, placed.last);
            }
        }
        self.endanger_before(placed.halfway);
        placed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::hub::event::Event;
    use crate::hub::id::Epoch;
    use crate::hub::log::{Log, LogLimits, Resume};
    use crate::hub::topic::{Subscription, TopicHandle, Topics, handle};

    #[test]
    fn a_shards_lag_is_the_age_of_what_it_has_not_taken() {
        let limits = LogLimits { events: 3, bytes: 1 << 20, age_ns: u64::MAX };
        let inboxes = (0..2).map(|_| Inbox::<()>::new(|| {}).0).collect();
        let bus = Bus::new(LogCell::new(Epoch::new(1), limits), inboxes, None);
        let mine = handle("mine");
        bus.directory.join(&mine, 0);
        let publish = |on: &str, now_ns| {
            let draft = Draft::encode(Topics::one(handle(on)), &Event::new("x"), bus.log.epoch()).unwrap();
            bus.publish(vec![draft], now_ns).unwrap();
        };
        let lags = |now_ns| [0, 1].map(|shard| bus.lag_ns(shard, now_ns));
        publish("other", 100);
        assert_eq!(lags(200), [0, 0], "it is nobody's");
        publish("mine", 300);
        publish("mine", 350);
        assert_eq!(lags(1_000), [700, 0]);
        bus.inbox(0).set_position(Offset::new(2));
        assert_eq!(lags(1_000), [650, 0]);
        bus.inbox(0).set_position(Offset::new(3));
        assert_eq!(lags(1_000), [0, 0]);
        // What has left the log no longer counts. The other shard has to follow, but is not late.
        (1..=4).for_each(|n| publish("mine", 1_000 + n));
        assert_eq!(lags(2_000), [2_000 - 1_002, 0]);
    }

    /// Two shards that rest, the first with streams for `t`, and publishing at it: says for each shard how often it was woken,
    /// and whether it was woken because it is about to be lapped.
    struct Resting {
        bus: Bus<()>,
        topic: TopicHandle,
        wakes: [Arc<AtomicUsize>; 2],
    }

    impl Resting {
        fn new(log: LogCell) -> Resting {
            let wakes = [0, 1].map(|_| Arc::new(AtomicUsize::new(0)));
            let inboxes = wakes.clone().map(|wakes| {
                Inbox::<()>::new(move || {
                    wakes.fetch_add(1, Ordering::SeqCst);
                })
                .0
            });
            let bus = Bus::new(log, inboxes.into(), None);
            let topic = handle("t");
            bus.directory.join(&topic, 0);
            (0..2).for_each(|shard| bus.inbox(shard).listen(false));
            Resting { bus, topic, wakes }
        }

        fn publish(&self, events: usize) -> [(usize, bool); 2] {
            let draft =
                |_| Draft::encode(Topics::one(self.topic.clone()), &Event::new("x"), self.bus.log.epoch()).unwrap();
            self.bus.publish((0..events).map(draft).collect(), 0).unwrap();
            self.look()
        }

        fn look(&self) -> [(usize, bool); 2] {
            [0, 1].map(|shard| {
                let inbox = self.bus.inbox(shard);
                inbox.awake();
                (self.wakes[shard].swap(0, Ordering::SeqCst), inbox.take_endangered())
            })
        }
    }

    const RESTS: (usize, bool) = (0, false);
    const FOLLOWS: (usize, bool) = (1, true);

    #[test]
    fn a_shard_is_woken_from_its_rest_before_the_log_laps_it() {
        let limits = LogLimits { events: 8, bytes: 1 << 20, age_ns: u64::MAX };
        let shards = Resting::new(LogCell::with_live_events(Epoch::new(1), limits, 8));
        // While the log is less than half full, there is time.
        (0..3).for_each(|_| assert_eq!(shards.publish(1), [RESTS, RESTS]));
        // The one that rests and the one that it is nothing to, both have to follow.
        assert_eq!(shards.publish(1), [FOLLOWS, FOLLOWS]);
        shards.bus.inbox(0).set_position(Offset::new(4));
        assert_eq!(shards.publish(1), [RESTS, FOLLOWS]);
    }

    #[test]
    fn a_short_history_ends_no_rest() {
        let limits = LogLimits { events: 1, bytes: 1 << 20, age_ns: 1 };
        let shards = Resting::new(LogCell::new(Epoch::new(1), limits));
        (0..4).for_each(|_| assert_eq!(shards.publish(500), [RESTS, RESTS]));
        assert_eq!(shards.publish(47), [RESTS, RESTS]);
        // Half of what is held for those that follow.
        assert_eq!(shards.publish(1), [FOLLOWS, FOLLOWS]);
        (0..2).for_each(|shard| shards.bus.inbox(shard).set_position(shards.bus.log.head()));
        assert_eq!(shards.publish(1), [RESTS, RESTS]);
        // Nothing is published, but it grows old.
        for (seconds, expected) in [(4, RESTS), (6, FOLLOWS)] {
            while shards.bus.evict(seconds * 1_000_000_000) == RETENTION_AGAIN_MS {}
            assert_eq!(shards.look(), [expected; 2], "{seconds} s");
        }
    }

    #[test]
    fn what_grows_too_old_at_once_goes_in_parts_with_others_timers_in_between() {
        let limits = LogLimits { events: 2000, bytes: 1 << 20, age_ns: 1_000_000_000 };
        let bus = Bus::<()>::new(LogCell::with_live_events(Epoch::new(1), limits, 0), Vec::new(), Some(1000));
        let draft = |_| Draft::encode(Topics::one(handle("t")), &Event::new("x"), bus.log.epoch()).unwrap();
        bus.publish((0..1000).map(draft).collect(), 0).unwrap();
        while bus.evict(1_000_000_000) == RETENTION_AGAIN_MS {}
        assert_eq!(bus.log.size().0, 1000);
        let parts = std::iter::repeat_with(|| (bus.evict(1_000_000_001), bus.log.size().0));
        let parts: Vec<_> = parts.take(5).collect();
        assert_eq!(parts, [(1, 744), (1, 488), (1, 232), (10, 0), (10, 0)]);
    }

    #[test]
    fn what_an_engine_has_no_more_goes_in_parts() {
        let limits = LogLimits { events: 2000, bytes: 1 << 20, age_ns: u64::MAX };
        let log = Log::new(Epoch::new(1), limits).starting_after(None);
        let bus = Bus::<()>::new(LogCell::of_engine(log, Epoch::new(1), limits), Vec::new(), None);
        let draft = |_| Draft::encode(Topics::one(handle("t")), &Event::new("x"), bus.log.epoch()).unwrap();
        bus.accept((0..1000).map(draft).collect(), Numbering::From(1), 0);
        let kept = || {
            let mut frames = Vec::new();
            bus.log.before(Offset::new(u64::MAX), usize::MAX, &mut frames);
            frames.len()
        };
        let earliest = || bus.log.start(&Resume::Earliest, &Subscription::to(handle("t"))).after.get();
        let parts = std::iter::repeat_with(|| (bus.log.forget(900), kept(), earliest()));
        let parts: Vec<_> = parts.take(5).collect();
        assert_eq!(parts, [(true, 744, 900), (true, 488, 900), (true, 232, 900), (false, 100, 900), (false, 100, 900)]);
    }
}
