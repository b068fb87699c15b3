//! The log that all cores read and publishers append to.

use std::sync::Arc;

use crate::hub::archive::{Pages, Reach, Wanted};
use crate::hub::effort::Effort;
use crate::hub::fault::TooLarge;
use crate::hub::frame::{Draft, Frame};
use crate::hub::id::{Epoch, EventId};
use crate::hub::log::{
    EVICTED_A_LOCK, Evicted, LIVE_EVENTS, Log, LogLimits, Numbering, Placed, Read, Resume, Search, Start, Window,
};
use crate::hub::offset::Offset;
use crate::hub::registry::History;
use crate::hub::topic::Subscription;

use super::pages::PageCache;
use super::sync::{AtomicU64, Mutex, Ordering};

/// A namespace's log, shared.
pub struct LogCell {
    // A mutex and not an RwLock: readers hold it for as little as writers do. Events are encoded
    // before it is taken and freed after it is given back; under it are only moves, index updates
    // and reference counts, bounded by a batch or by one read.
    log: Mutex<Log>,
    /// The log's head, so that a shard sees without the lock whether there is anything for it.
    head: AtomicU64,
    /// The epoch's digits.
    epoch: AtomicU64,
    /// When the log had, for sure, all that its engine has: always, if nobody else writes there.
    whole_ns: AtomicU64,
    /// Whether the log's own offsets are the numbers in ids.
    own_numbers: bool,
    /// What one call may bring: those that follow the log get it whole, however little is kept.
    admits: LogLimits,
    /// The way to what has left it, if an engine has that.
    pages: Option<PageCache>,
    /// The offset with which its epoch began: what streams knew that had all before it, is of another.
    began: AtomicU64,
}

impl LogCell {
    /// An empty log.
    pub fn new(epoch: Epoch, limits: LogLimits) -> LogCell {
        LogCell::with_live_events(epoch, limits, LIVE_EVENTS)
    }

    /// The same, with so many events at most for those that follow it.
    pub fn with_live_events(epoch: Epoch, limits: LogLimits, live_events: usize) -> LogCell {
        LogCell::of(Log::new(epoch, limits).with_live_events(live_events), epoch, limits, live_events)
    }

    /// A log whose own offsets are the numbers in ids.
    pub(crate) fn of(log: Log, epoch: Epoch, limits: LogLimits, live_events: usize) -> LogCell {
        LogCell { own_numbers: true, ..LogCell::filled(log, epoch, limits, live_events) }
    }

    /// A log that an engine fills.
    pub fn of_engine(log: Log, epoch: Epoch, limits: LogLimits) -> LogCell {
        LogCell::filled(log.with_live_events(LIVE_EVENTS), epoch, limits, LIVE_EVENTS)
    }

    /// The same, with so many events at most for those that follow it.
    pub(crate) fn filled(log: Log, epoch: Epoch, limits: LogLimits, live_events: usize) -> LogCell {
        let admits = LogLimits { events: limits.events.max(live_events), ..limits };
        let head = AtomicU64::new(log.head().get());
        let epoch = AtomicU64::new(u64::from_ne_bytes(*epoch.digits()));
        let whole_ns = AtomicU64::new(u64::MAX);
        LogCell {
            log: Mutex::new(log),
            head,
            epoch,
            own_numbers: false,
            admits,
            whole_ns,
            pages: None,
            began: AtomicU64::new(0),
        }
    }

    /// The same, of an engine that others write to as well.
    pub fn shared(self) -> LogCell {
        LogCell { whole_ns: AtomicU64::new(0), ..self }
    }

    /// At this time the log had all that its engine had.
    pub fn is_whole(&self, at_ns: u64) {
        self.whole_ns.store(at_ns, Ordering::Relaxed);
    }

    /// Whether the event that a stream wants to resume after may be yet to come: another gateway may have sent it to
    /// the client that asked at this time.
    pub fn is_to_come(&self, resume: &Resume, asked_ns: u64) -> bool {
        let Resume::After(id) = resume else { return false };
        self.whole_ns.load(Ordering::Relaxed) <= asked_ns && self.log.lock().is_ahead(id)
    }

    /// The same, with a way to what has left it.
    pub fn with_pages(self, pages: PageCache) -> LogCell {
        self.log.lock().set_archive();
        LogCell { pages: Some(pages), ..self }
    }

    /// The way to what has left it.
    pub fn page_cache(&self) -> Option<&PageCache> {
        self.pages.as_ref()
    }

    /// The epoch, which encoding needs.
    pub fn epoch(&self) -> Epoch {
        let digits = self.epoch.load(Ordering::Relaxed).to_ne_bytes();
        Epoch::from_digits(digits).expect("Invariant: they are an epoch's")
    }

    /// The offset of the newest event.
    pub fn head(&self) -> Offset {
        Offset::new(self.head.load(Ordering::SeqCst))
    }

    /// The id of an offset.
    pub fn id(&self, offset: Offset) -> EventId {
        if self.own_numbers { self.epoch().id(offset.get()) } else { self.log.lock().id(offset) }
    }

    /// Whether the log has room for these drafts together.
    ///
    /// # Errors
    /// If it has not.
    pub fn admit(&self, drafts: &[Draft]) -> Result<(), TooLarge> {
        self.admits.admit(drafts)
    }

    /// Gives the drafts their offsets; they are admitted.
    pub fn append(&self, drafts: Vec<Draft>, numbers: Numbering, now_ns: u64) -> Placed {
        let mut evicted = Evicted::default();
        let placed = {
            let mut log = self.log.lock();
            let placed = log.append(drafts, numbers, now_ns, &mut evicted);
            self.head.store(placed.last.get(), Ordering::SeqCst);
            placed
        };
        drop(evicted);
        placed
    }

    /// As [`Log::lose`].
    pub fn lose(&self, last: u64) {
        let mut log = self.log.lock();
        log.lose(last);
        self.head.store(log.head().get(), Ordering::SeqCst);
    }

    /// As [`Log::forget`], a part of it, and of pages, too: says whether there are more.
    #[must_use]
    pub fn forget(&self, through: u64) -> bool {
        let mut evicted = Evicted::default();
        let more = self.log.lock().forget(through, EVICTED_A_LOCK, &mut evicted);
        drop(evicted);
        if let (false, Some(pages)) = (more, &self.pages) {
            pages.forget(through);
        }
        more
    }

    /// As [`Log::restart`].
    pub fn restart(&self, epoch: Epoch, number: Option<u64>) {
        let mut evicted = Evicted::default();
        {
            let mut log = self.log.lock();
            log.restart(epoch, number, &mut evicted);
            self.epoch.store(u64::from_ne_bytes(*epoch.digits()), Ordering::Relaxed);
            self.head.store(log.head().get(), Ordering::SeqCst);
            self.began.store(log.head().get(), Ordering::SeqCst);
        }
        if let Some(pages) = &self.pages {
            pages.forget(u64::MAX);
        }
        drop(evicted);
    }

    /// Whether a stream that had all up to this offset knows this epoch.
    fn is_of_epoch(&self, cursor: Offset) -> bool {
        self.began.load(Ordering::SeqCst) <= cursor.get()
    }

    /// Evicts a part of what is too old. Says who is in danger then, as [`Log::halfway`], and whether there may be more.
    pub fn evict(&self, now_ns: u64) -> (Offset, bool) {
        let mut evicted = Evicted::default();
        let found = {
            let mut log = self.log.lock();
            let more = log.evict(now_ns, EVICTED_A_LOCK, &mut evicted);
            (log.halfway(), more)
        };
        drop(evicted);
        found
    }

    /// Where a stream starts.
    #[cfg(test)]
    pub(super) fn start(&self, resume: &Resume, subscription: &Subscription) -> Start {
        let (mut search, mut effort) = (Search::default(), Effort::unbounded());
        self.search(&mut search, resume, subscription, &mut effort).expect("it may do any work")
    }

    /// As [`Log::halfway`].
    pub fn halfway(&self) -> Offset {
        self.log.lock().halfway()
    }

    /// As [`Log::gone_through`].
    pub fn gone_through(&self) -> [Offset; 2] {
        self.log.lock().gone_through()
    }

    /// As [`Log::published_ns`].
    pub fn published_ns(&self, from: Offset) -> Option<u64> {
        self.log.lock().published_ns(from)
    }

    /// As [`Log::oldest_kept_ns`].
    pub fn oldest_kept_ns(&self) -> Option<u64> {
        self.log.lock().oldest_kept_ns()
    }

    /// As [`Log::before`].
    pub fn before(&self, before: Offset, max: usize, out: &mut Vec<Arc<Frame>>) {
        self.log.lock().before(before, max, out);
    }

    /// As [`Log::reach_ns`].
    pub fn reach_ns(&self, now_ns: u64, window_ns: u64) -> [u64; 2] {
        self.log.lock().reach_ns(now_ns, window_ns)
    }

    /// How many events it holds, and how many bytes of memory they take.
    pub fn size(&self) -> (usize, usize) {
        let log = self.log.lock();
        (log.events(), log.bytes())
    }
}

impl History for LogCell {
    fn head(&self) -> Offset {
        self.head()
    }

    fn tail(&self, after: Offset, max: usize, out: &mut Vec<Arc<Frame>>) -> Option<Offset> {
        self.log.lock().tail(after, max, out)
    }

    fn search(
        &self,
        search: &mut Search,
        resume: &Resume,
        subscription: &Subscription,
        effort: &mut Effort,
    ) -> Option<Start> {
        loop {
            let found = self.log.lock().search(search, resume, subscription);
            // What may be its own is looked at outside the lock.
            let found = found.or_else(|| search.choose(subscription, effort));
            if found.is_some() || effort.is_spent() {
                return found;
            }
        }
    }

    fn read(&self, window: &Window<'_>, budget_bytes: usize, out: &mut Vec<Arc<Frame>>, effort: &mut Effort) -> Read {
        // A search by patterns is done outside the lock.
        let found = self.log.lock().candidates(window, budget_bytes, out);
        window.choose(found, out, effort)
    }

    fn id(&self, offset: Offset) -> EventId {
        self.id(offset)
    }

    fn old_before(&self) -> Offset {
        self.log.lock().old_before()
    }

    fn pages(&self) -> Option<&dyn Pages> {
        self.pages.is_some().then_some(self)
    }

    fn gone_through(&self) -> [Offset; 2] {
        self.gone_through()
    }
}

impl Pages for LogCell {
    fn reach(&self, number: u64, cursor: Offset) -> Reach {
        let log = self.log.lock();
        match self.is_of_epoch(cursor) {
            true => log.reach(number),
            false => Reach::Foreign(log.oldest()),
        }
    }

    fn without_live_only(
        &self,
        subscription: &Subscription,
        after: Offset,
        through: Offset,
        effort: &mut Effort,
    ) -> Option<Offset> {
        let window = Window { subscription, after, through, opened_at: after };
        let mut frames = Vec::new();
        let found = self.log.lock().live_only_candidates(&window, &mut frames);
        match window.choose(found, &mut frames, effort) {
            Read::Through(through) if frames.is_empty() => Some(through),
            _ => None,
        }
    }

    fn page(&self, after: u64, cursor: Offset) -> Option<Wanted> {
        let found = self.pages.as_ref().expect("Invariant: who asks has been given the way").find(after);
        // Looked at last: pages of another epoch are not there before that has begun.
        self.is_of_epoch(cursor).then_some(found)
    }

    fn numbered(&self, number: u64) -> EventId {
        self.epoch().id(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::archive::{Page, Past};
    use crate::hub::event::Event;
    use crate::hub::gap::GapReason;
    use crate::hub::topic::{Pattern, Topic, Topics, handle, table};

    #[test]
    fn what_a_stream_knew_of_an_epoch_is_foreign_in_the_next_and_its_pages_are_gone() {
        let limits = LogLimits { events: 9, bytes: 1 << 20, age_ns: u64::MAX };
        let log = Log::new(Epoch::new(1), limits).starting_after(Some(500));
        let log = LogCell::of_engine(log, Epoch::new(1), limits).with_pages(PageCache::new(100, 1 << 20));
        let topics = vec![Topic::parse("t").unwrap()];
        let all = Subscription::new(topics, Vec::new(), &table()).unwrap();
        let resume = |log: &LogCell, epoch, number| {
            log.start(&Resume::After(Epoch::new(epoch).id(number).as_str().into()), &all)
        };
        let earliest = |log: &LogCell| log.start(&Resume::Earliest, &all);
        let old = resume(&log, 1, 250);
        assert_eq!(old.archive, Some(Past::After(250)));
        assert_eq!(earliest(&log).archive, Some(Past::Oldest(0)));
        let is_read = |start: Start| {
            let Some(past) = start.archive else { return false };
            let found = log.page(past.number(), start.after);
            let reach = log.reach(past.number(), start.after);
            assert_eq!(found.is_none(), matches!(reach, Reach::Foreign(_)));
            matches!(found, Some(Wanted::Here(_)))
        };
        assert!(!is_read(old));
        let pages = log.page_cache().unwrap();
        pages.put(pages.try_next().unwrap(), Page { through: 299, stays: true, ..Page::default() });
        assert!(is_read(old));
        log.restart(Epoch::new(2), Some(400));
        assert!(!is_read(old) && pages.try_next().is_some());
        let new = resume(&log, 2, 250);
        assert_eq!((new.archive, log.page(250, new.after).is_some()), (Some(Past::After(250)), true));
        assert!(!is_read(new), "the page was of the old epoch");
        assert_eq!(resume(&log, 1, 250).gap, Some(GapReason::ForeignEpoch));
    }

    #[test]
    fn an_id_may_be_to_come_until_the_log_was_whole_after_it_was_asked_for() {
        let (epoch, limits) = (Epoch::new(1), LogLimits { events: 9, bytes: 1 << 20, age_ns: u64::MAX });
        let log = || LogCell::of_engine(Log::new(epoch, limits).starting_after(Some(10)), epoch, limits);
        let after = |epoch: Epoch, number| Resume::After(epoch.id(number).as_str().into());
        let shared = log().shared();
        assert!(shared.is_to_come(&after(epoch, 11), 5));
        for known in [after(epoch, 10), after(Epoch::new(2), 11), Resume::Now, Resume::After("own".into())] {
            assert!(!shared.is_to_come(&known, 5), "{known:?}");
        }
        shared.is_whole(5);
        assert!(shared.is_to_come(&after(epoch, 11), 5));
        shared.is_whole(6);
        assert_eq!([5, 6].map(|asked_ns| shared.is_to_come(&after(epoch, 11), asked_ns)), [false, true]);
        assert!(!log().is_to_come(&after(epoch, 11), 5), "nobody else writes there");
    }

    #[test]
    fn live_only_events_that_a_stream_passes_over_are_found_however_many_others_are_before_them() {
        const OTHERS: usize = 1000;
        let (epoch, limits) = (Epoch::new(1), LogLimits { events: 2 * OTHERS, bytes: 1 << 20, age_ns: u64::MAX });
        let log = LogCell::new(epoch, limits);
        let publish = |topic: &str| {
            let draft = Draft::encode(Topics::one(handle(topic)), &Event::new("x").keep(false), epoch).unwrap();
            log.append(vec![draft], Numbering::Own, 0);
        };
        (0..OTHERS).for_each(|at| publish(&format!("other/{at}")));
        publish("mine/1");
        let of = |topics: &[&str], patterns: &[&str]| {
            let topics = topics.iter().map(|text| Topic::parse(text).unwrap()).collect();
            Subscription::new(topics, patterns.iter().map(|text| Pattern::parse(text).unwrap()).collect(), &table())
                .unwrap()
        };
        // In how many steps it is known that there are none up to here.
        let find = |subscription: &Subscription, through: usize| {
            let (through, mut opened_at) = (Offset::new(through as u64), Offset::ZERO);
            for steps in 1.. {
                opened_at = log.without_live_only(subscription, opened_at, through, &mut Effort::unbounded())?;
                if opened_at >= through {
                    return Some(steps);
                }
            }
            None
        };
        let (by_topic, by_pattern) = (of(&["mine/1"], &[]), of(&["a"], &["mine/*"]));
        assert_eq!((find(&by_topic, OTHERS), find(&by_topic, OTHERS + 1)), (Some(1), None));
        assert_eq!((find(&by_pattern, OTHERS), find(&by_pattern, OTHERS + 1)), (Some(4), None));
        // One that may do little has looked at one event at least.
        let found = log.without_live_only(&by_pattern, Offset::ZERO, log.head(), &mut Effort::new(1));
        assert_eq!(found, Some(Offset::new(1)));
    }
}
