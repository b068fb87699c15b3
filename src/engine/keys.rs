//! Idempotency keys: a publish call that comes again with its key is answered as before, and published no second time.
//!
//! Invariant: `order` has an entry, with its time, for each call that is done, oldest first.
//! Invariant: a call that is under way has a [`Ticket`], which ends that however it is dropped.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;

use super::record::{self, Record};
use super::{Answer, Ids, NotStored, Stored};
use crate::hub::chunked::Chunked;
use crate::hub::event::Event;
use crate::hub::topic::Topics;

/// The memory that a key takes, in bytes: its text, its places in both tables, and what they take while they grow,
/// rounded up.
pub const KEY_BYTES: u64 = 448;

/// How many keys that are too old go with one call. A call brings one at most.
const EVICTED_A_CALL: usize = 16;

/// How many keys are remembered, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct KeyLimits {
    /// The most keys.
    pub keys: usize,
    /// How long each, in nanoseconds.
    pub age_ns: u64,
}

/// The keys of recent publish calls.
pub struct Keys {
    window: Mutex<Window>,
    hasher: RandomState,
}

struct Window {
    limits: KeyLimits,
    // A tree and a queue in chunks: neither is ever moved as a whole, which all keyed calls would wait for.
    calls: BTreeMap<Arc<str>, Call>,
    order: Chunked<(u64, Arc<str>)>,
}

struct Call {
    fingerprint: Fingerprint,
    course: Course,
}

enum Course {
    /// These wait for its answer.
    UnderWay(Vec<Answer>),
    Done {
        ids: Ids,
        at_ns: u64,
    },
}

/// What a call's events are known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

/// A key, and what it came with.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The key.
    pub text: &'a str,
    /// The events that it came with.
    pub fingerprint: Fingerprint,
}

/// What is known of a key.
pub(super) enum Begun {
    /// Nothing: the call is to be published.
    First(Ticket),
    /// It was published, with these ids.
    Done(Ids),
    /// It is under way, and the answer will be given with that of the first.
    Waits,
    /// It came with other events.
    Other,
}

impl Keys {
    /// Remembers nothing yet.
    pub fn new(limits: KeyLimits) -> Keys {
        let window = Window { limits, calls: BTreeMap::new(), order: Chunked::default() };
        Keys { window: Mutex::new(window), hasher: RandomState::new() }
    }

    /// What these events are known by.
    pub fn fingerprint<'a>(&self, events: impl Iterator<Item = (&'a Topics, &'a Event<'a>)>) -> Fingerprint {
        let mut hasher = self.hasher.build_hasher();
        for (topics, event) in events {
            let Event { data, event, id, retry_ms, key, live_only, private } = event;
            let topics = topics.iter().map(|topic| topic.as_str());
            let texts = [event.as_deref(), id.as_deref(), key.as_deref(), Some(data)];
            hash(&mut hasher, topics, texts, *retry_ms, [*live_only, *private]);
        }
        Fingerprint(hasher.finish())
    }

    fn fingerprint_of(&self, record: &Record<'_>) -> Fingerprint {
        let mut hasher = self.hasher.build_hasher();
        for record::Event { topics, event, id, retry_ms, key, data, live_only, private } in record.events() {
            hash(&mut hasher, topics.iter(), [event, id, key, Some(data)], retry_ms, [live_only, private]);
        }
        Fingerprint(hasher.finish())
    }

    /// Begins a call with a key.
    pub(super) fn begin(self: &Arc<Self>, key: Key<'_>, now_ns: u64, answer: impl FnOnce() -> Answer) -> Begun {
        let Key { text, fingerprint } = key;
        let mut window = self.window.lock();
        window.evict(now_ns);
        let age_ns = window.limits.age_ns;
        let is_young = |call: &Call| match call.course {
            Course::Done { at_ns, .. } => now_ns.saturating_sub(at_ns) <= age_ns,
            Course::UnderWay(_) => true,
        };
        match window.calls.get_mut(text).filter(|call| is_young(call)) {
            Some(call) if call.fingerprint != fingerprint => Begun::Other,
            Some(Call { course: Course::Done { ids, .. }, .. }) => Begun::Done(*ids),
            Some(Call { course: Course::UnderWay(waiting), .. }) => {
                waiting.push(answer());
                Begun::Waits
            }
            None => {
                let key: Arc<str> = text.into();
                window.calls.insert(key.clone(), Call { fingerprint, course: Course::UnderWay(Vec::new()) });
                Begun::First(Ticket { keys: self.clone(), key: Some(key), at_ns: now_ns })
            }
        }
    }

    /// Remembers what a stored record says of itself: so a new process learns what the one before knew. Of two with
    /// one key the newer counts.
    pub fn learn(&self, record: &Record<'_>, ids: Ids, at_ns: u64) {
        let Some(key) = record.head().idempotency_key else { return };
        let call = Call { fingerprint: self.fingerprint_of(record), course: Course::Done { ids, at_ns } };
        let mut window = self.window.lock();
        // One that is under way here ends with its own answer.
        if !matches!(window.calls.get(key), Some(Call { course: Course::UnderWay(_), .. })) {
            window.done(key.into(), call, at_ns);
        }
    }
}

impl Window {
    fn done(&mut self, key: Arc<str>, call: Call, at_ns: u64) {
        self.order.push_back((at_ns, key.clone()));
        self.calls.insert(key, call);
        self.evict(at_ns);
    }

    fn evict(&mut self, now_ns: u64) {
        for _ in 0..EVICTED_A_CALL {
            let Some((at_ns, key)) = self.order.front() else { return };
            if self.order.len() <= self.limits.keys && now_ns.saturating_sub(*at_ns) <= self.limits.age_ns {
                return;
            }
            // It may have been published once more.
            let is_it = |call: &Call| matches!(call.course, Course::Done { at_ns: done_ns, .. } if done_ns == *at_ns);
            if self.calls.get(key).is_some_and(is_it) {
                self.calls.remove(key);
            }
            self.order.pop_front();
        }
    }
}

/// A call that is under way.
pub(super) struct Ticket {
    keys: Arc<Keys>,
    /// Until it has ended.
    key: Option<Arc<str>>,
    at_ns: u64,
}

impl Ticket {
    /// The call has this answer: who waits gets it, too.
    pub(super) fn finish(mut self, answer: &Result<Ids, NotStored>) {
        self.end(answer);
    }

    fn end(&mut self, answer: &Result<Ids, NotStored>) {
        let Some(key) = self.key.take() else { return };
        let waiting = {
            let mut window = self.keys.window.lock();
            let call = window.calls.remove(&key);
            let Some(Call { fingerprint, course: Course::UnderWay(waiting) }) = call else {
                unreachable!("Invariant: a call with a ticket is under way");
            };
            if let Ok(ids) = answer {
                let course = Course::Done { ids: *ids, at_ns: self.at_ns };
                window.done(key, Call { fingerprint, course }, self.at_ns);
            }
            waiting
        };
        for waits in waiting {
            waits(answer.clone().map(|ids| Stored { ids, duplicate: true }));
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.end(&Err(NotStored::ended()));
    }
}

fn hash<'a>(
    hasher: &mut impl Hasher,
    topics: impl Iterator<Item = &'a str>,
    texts: [Option<&str>; 4],
    retry_ms: Option<u64>,
    flags: [bool; 2],
) {
    topics.for_each(|topic| Some(topic).hash(hasher));
    (None::<&str>, texts, retry_ms, flags).hash(hasher);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::pack::pack;
    use crate::hub::id::Epoch;
    use crate::hub::topic::handle;

    fn ids(next: u64) -> Ids {
        Ids { epoch: Epoch::new(1), next, counts_live_only: false }
    }

    fn key(text: &str, number: u64) -> Key<'_> {
        Key { text, fingerprint: Fingerprint(number) }
    }

    fn keys(keys: usize, age_ns: u64) -> Arc<Keys> {
        Arc::new(Keys::new(KeyLimits { keys, age_ns }))
    }

    fn begin(keys: &Arc<Keys>, text: &str, now_ns: u64) -> Begun {
        keys.begin(key(text, 1), now_ns, || panic!("it is not under way"))
    }

    /// Publishes with this key, which must be unknown.
    #[track_caller]
    fn publish(keys: &Arc<Keys>, text: &str, number: u64, now_ns: u64) {
        let Begun::First(ticket) = begin(keys, text, now_ns) else { panic!("{text} is known") };
        ticket.finish(&Ok(ids(number)));
    }

    #[track_caller]
    fn is_known(keys: &Arc<Keys>, text: &str, number: u64, now_ns: u64) {
        assert!(matches!(begin(keys, text, now_ns), Begun::Done(known) if known == ids(number)), "{text} at {now_ns}");
    }

    #[test]
    fn a_key_is_known_until_it_is_too_old_or_one_too_many() {
        let keys = keys(2, 1_000);
        publish(&keys, "a", 1, 0);
        publish(&keys, "b", 2, 10);
        is_known(&keys, "a", 1, 1_000);
        publish(&keys, "c", 3, 30);
        is_known(&keys, "b", 2, 1_010);
        publish(&keys, "a", 4, 1_011);
        is_known(&keys, "c", 3, 1_012);
        publish(&keys, "b", 5, 1_013);
        is_known(&keys, "a", 4, 2_011);
        is_known(&keys, "b", 5, 2_013);
        publish(&keys, "d", 6, 3_000);
        let window = keys.window.lock();
        assert_eq!((window.calls.len(), window.order.len()), (1, 1));
    }

    #[test]
    fn keys_that_are_too_old_go_in_parts_and_are_known_no_more() {
        const KEYS: usize = 1000;
        let keys = keys(KEYS, 1_000);
        (0..KEYS).for_each(|number| publish(&keys, &number.to_string(), number as u64, 0));
        let left = || {
            let window = keys.window.lock();
            (window.calls.len(), window.order.len())
        };
        assert_eq!(left(), (KEYS, KEYS));
        // One that has yet to go is published anew, and stays when what it was goes.
        drop(begin(&keys, "999", 1_001));
        assert_eq!(left(), (KEYS - EVICTED_A_CALL - 1, KEYS - EVICTED_A_CALL));
        publish(&keys, "998", 7, 1_001);
        assert_eq!(left().1, KEYS - 3 * EVICTED_A_CALL + 1);
        for _ in 0..KEYS {
            let before = left().1;
            is_known(&keys, "998", 7, 2_001);
            assert!(before - left().1 <= EVICTED_A_CALL);
        }
        assert_eq!(left(), (1, 1));
    }

    #[test]
    fn one_key_more_never_moves_those_that_there_are() {
        let keys = keys(100_000, u64::MAX);
        for number in 0..50_000 {
            let info = allocation_counter::measure(|| publish(&keys, &number.to_string(), number, 0));
            assert!(info.bytes_total < 64 << 10, "{} bytes at {number}", info.bytes_total);
        }
    }

    #[test]
    fn who_comes_while_the_first_is_under_way_gets_its_answer() {
        let keys = keys(9, u64::MAX);
        let answers = Arc::new(Mutex::new(Vec::new()));
        let wait = |key| {
            let answers = answers.clone();
            keys.begin(key, 0, move || Box::new(move |answer| answers.lock().push(answer)))
        };
        let taken = || std::mem::take(&mut *answers.lock());
        let refused = Err(NotStored::Refused("no room".into()));
        let Begun::First(ticket) = wait(key("k", 1)) else { panic!() };
        assert!(matches!((wait(key("k", 1)), wait(key("k", 1))), (Begun::Waits, Begun::Waits)));
        assert!(matches!(wait(key("k", 2)), Begun::Other));
        assert_eq!(taken(), []);
        ticket.finish(&refused);
        assert_eq!(taken(), [Err(NotStored::Refused("no room".into())), Err(NotStored::Refused("no room".into()))]);

        // It was not stored, so it may be published now. One whose answer never comes is no lock on its key.
        let Begun::First(ticket) = wait(key("k", 2)) else { panic!() };
        assert!(matches!(wait(key("k", 2)), Begun::Waits));
        drop(ticket);
        assert_eq!(taken(), [Err(NotStored::ended())]);
        let Begun::First(ticket) = wait(key("k", 3)) else { panic!() };
        assert!(matches!(wait(key("k", 3)), Begun::Waits));
        ticket.finish(&Ok(ids(7)));
        assert_eq!(taken(), [Ok(Stored { ids: ids(7), duplicate: true })]);
        assert!(
            matches!((wait(key("k", 3)), wait(key("k", 1))), (Begun::Done(known), Begun::Other) if known == ids(7))
        );
    }

    #[test]
    fn events_are_known_by_all_that_is_published_of_them() {
        let keys = keys(1, 1);
        let topics = |names: &[&str]| Topics::new(names.iter().map(|name| handle(name))).unwrap();
        let of =
            |events: &[(Topics, Event<'_>)]| keys.fingerprint(events.iter().map(|(topics, event)| (topics, event)));
        let event = || Event::new("x");
        let calls = [
            vec![(topics(&["a"]), event())],
            vec![(topics(&["a"]), Event::new("y"))],
            vec![(topics(&["b"]), event())],
            vec![(topics(&["a", "b"]), event())],
            vec![(topics(&["a"]), event()), (topics(&["a"]), event())],
            vec![(topics(&["a"]), event().id("x"))],
            vec![(topics(&["a"]), event().event("x"))],
            vec![(topics(&["a"]), event().key("x"))],
            vec![(topics(&["a"]), event().retry(std::time::Duration::from_millis(1)))],
            vec![(topics(&["a"]), event().keep(false))],
        ];
        for (i, call) in calls.iter().enumerate() {
            for (j, other) in calls.iter().enumerate() {
                assert_eq!(of(call) == of(other), i == j, "{call:?} {other:?}");
            }
        }
        // A new process knows them by what was stored.
        for call in &calls[..9] {
            let events = call.iter().map(|(topics, event)| (topics, event));
            let packed = pack(events, 0, Some("k")).unwrap().unwrap();
            let record = Record::decode(packed.bytes()).unwrap();
            assert_eq!(keys.fingerprint_of(&record), of(call), "{call:?}");
        }
    }

    #[test]
    fn what_was_stored_is_learned_and_the_newer_counts() {
        let keys = keys(2, 1_000);
        let topics = Topics::one(handle("a"));
        let learn = |text, data, number, at_ns| {
            let event = Event::new(data);
            let packed = pack([(&topics, &event)].into_iter(), 0, text).unwrap().unwrap();
            keys.learn(&Record::decode(packed.bytes()).unwrap(), ids(number), at_ns);
            keys.fingerprint([(&topics, &event)].into_iter())
        };
        learn(None, "x", 1, 0);
        learn(Some("k"), "old", 2, 0);
        let fingerprint = learn(Some("k"), "new", 3, 500);
        let known = |now_ns| match keys.begin(Key { text: "k", fingerprint }, now_ns, || panic!()) {
            Begun::Done(ids) => Some(ids),
            _ => None,
        };
        assert_eq!(known(1_001), Some(ids(3)), "the older has left, and the newer stays");
        assert_eq!(known(1_501), None);
        // The call whose record it is may still be under way here.
        let Begun::First(ticket) = keys.begin(Key { text: "u", fingerprint }, 1_600, || panic!()) else { panic!() };
        learn(Some("u"), "new", 4, 1_600);
        ticket.finish(&Ok(ids(4)));
        assert!(
            matches!(keys.begin(Key { text: "u", fingerprint }, 1_700, || panic!()), Begun::Done(known) if known == ids(4))
        );
    }
}
