//! Publishing, by the real bus, and the list of all that was ever published, which the oracle goes by.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use crate::exchange::bus::Bus;
use crate::exchange::topics::TopicTable;
use crate::hub::archive::{Hole, Page};
use crate::hub::event::Event;
use crate::hub::frame::Draft;
use crate::hub::gap::GapReason;
use crate::hub::id::{Epoch, Parsed};
use crate::hub::log::{LogLimits, Numbering};
use crate::hub::offset::Offset;
use crate::hub::registry::look::Order;
use crate::hub::shard::Message;
use crate::hub::topic::{TopicHandle, Topics};

use super::kit::{Mock, Random, Time};

pub(super) type SimBus = Bus<Message<Mock, Order>>;

pub(super) const TOPICS: [&str; 6] = ["a", "b", "c/x", "c/y", "d/e/f", "quiet"];

/// An event as the oracle knows it, or a place of the log where events are missing: that has all topics, since nobody
/// knows what they were of.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) topics: Vec<TopicHandle>,
    pub(super) key: Option<&'static str>,
    pub(super) live_only: bool,
    pub(super) id: Option<String>,
    /// The number that ids have from here on. Where the log gives its own, it is the offset.
    pub(super) number: u64,
    /// Its publisher gave it its id.
    pub(super) has_own_id: bool,
    /// Why events are missing.
    pub(super) missing: Option<GapReason>,
}

/// What an id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// These offsets: one, or where an engine numbers the events, that of a kept one and those of what is live only up to
    /// the next kept one.
    Offsets(u64, u64),
    /// The same of an epoch that has ended: at which offset.
    Former(u64, u64, u64),
    /// None so far.
    Ahead,
    /// It is not of the generated form, or of no epoch that there was.
    Not,
}

/// All that publishers do.
pub(super) struct Press {
    pub(super) bus: Rc<SimBus>,
    pub(super) time: Rc<Time>,
    pub(super) random: RefCell<Random>,
    pub(super) limits: LogLimits,
    /// An engine numbers the events, and may lose them.
    pub(super) engine: bool,
    /// The epochs, and after which offset each began.
    epochs: RefCell<Vec<(Epoch, u64)>>,
    /// All events, by their offset less one.
    pub(super) published: RefCell<Vec<Published>>,
    /// What the log still holds, kept and live only.
    held: RefCell<[VecDeque<u64>; 2]>,
    /// The newest offsets that have left the log.
    pub(super) evicted: Cell<[u64; 2]>,
    topics: Vec<TopicHandle>,
    /// Ids may be used twice, and live-only events may have one: then no client can be exact.
    pub(super) careless_ids: bool,
    pub(super) big: bool,
    /// The archive, if there is one, has forgotten all up to here.
    pub(super) forgotten: Cell<u64>,
    /// What the events of one page are.
    texts: RefCell<Vec<Option<(Topics, Event<'static>)>>>,
}

impl Press {
    pub(super) fn new(
        bus: Rc<SimBus>,
        engine: bool,
        time: Rc<Time>,
        table: &TopicTable,
        mut random: Random,
        limits: LogLimits,
        big: bool,
    ) -> Press {
        Press {
            epochs: RefCell::new(vec![(bus.log.epoch(), 0)]),
            engine,
            bus,
            time,
            careless_ids: random.chance(25),
            random: RefCell::new(random),
            limits,
            published: RefCell::default(),
            held: RefCell::default(),
            evicted: Cell::new([0, 0]),
            topics: TOPICS.iter().map(|text| table.named(text).unwrap()).collect(),
            big,
            forgotten: Cell::new(0),
            texts: RefCell::default(),
        }
    }

    pub(super) fn head(&self) -> u64 {
        self.published.borrow().len() as u64
    }

    /// The number that ids have up to an offset.
    pub(super) fn number(&self, offset: u64) -> u64 {
        offset.checked_sub(1).map_or(0, |at| self.published.borrow()[at as usize].number)
    }

    /// The id of an offset, as it was when it was the newest.
    pub(super) fn id(&self, offset: u64) -> String {
        let epochs = self.epochs.borrow();
        let (epoch, _) = epochs.iter().rfind(|(_, after)| *after < offset).unwrap_or(&epochs[0]);
        epoch.id(self.number(offset)).to_string()
    }

    /// What an id names.
    pub(super) fn named(&self, id: &str) -> Named {
        let (epochs, published) = (self.epochs.borrow(), self.published.borrow());
        let mut end = published.len();
        for (at, (epoch, after)) in epochs.iter().enumerate().rev() {
            let Parsed::Here(number) = epoch.parse(id) else {
                end = *after as usize;
                continue;
            };
            let of_epoch = &published[*after as usize..end];
            let before = of_epoch.partition_point(|event| event.number < number);
            let is_own = |event: &Published| event.number == number && (!self.engine || !event.live_only);
            let first = after + before as u64 + u64::from(of_epoch.get(before).is_some_and(is_own));
            let last = after + of_epoch.partition_point(|event| event.number <= number) as u64;
            return match epochs.get(at + 1) {
                Some((_, after)) => Named::Former(first, last, after + 1),
                None if number > of_epoch.last().map_or(0, |event| event.number) => Named::Ahead,
                None => Named::Offsets(first, last),
            };
        }
        Named::Not
    }

    /// What happens to publishers and their engine.
    pub(super) fn act(&self) {
        if self.engine && self.random.borrow_mut().chance(20) {
            return self.fail();
        }
        self.publish();
    }

    /// The engine loses events, or has its retention end, or is made anew: perhaps with a part of what it had.
    fn fail(&self) {
        let mut random = self.random.borrow_mut();
        let newest = self.number(self.head());
        match random.below(10) {
            0..4 => {
                let last = newest + 1 + random.below(5) as u64;
                self.bus.lose(last);
                self.is_missing(GapReason::Lost, last);
            }
            4..8 => {
                let held = self.held.borrow()[0].clone();
                let through = held.get(random.below(held.len() + 1)).map_or(newest, |&seq| self.number(seq));
                self.bus.forget(through);
                self.look_at_log();
            }
            _ => {
                let epochs = self.epochs.borrow().len() as u64;
                let epoch = Epoch::new(1_000_000 * epochs + random.below(1000) as u64);
                let last = random.pick(&[None, Some(0), Some(newest / 2), Some(newest + 3)]);
                self.bus.restart(epoch, last);
                self.epochs.borrow_mut().push((epoch, self.head()));
                self.is_missing(GapReason::ForeignEpoch, last.unwrap_or(0));
                self.held.borrow_mut()[0].clear();
                self.evicted.set([self.head(), self.evicted.get()[1]]);
            }
        }
    }

    /// The next offset is where events are missing.
    fn is_missing(&self, reason: GapReason, number: u64) {
        let topics = self.topics.clone();
        let missing = Some(reason);
        self.published.borrow_mut().push(Published {
            topics,
            key: None,
            live_only: false,
            id: None,
            number,
            has_own_id: false,
            missing,
        });
        self.texts.borrow_mut().push(None);
        assert_eq!(self.bus.log.head().get(), self.head());
    }

    /// Publishes a few events in one call, if the log can hold them.
    pub(super) fn publish(&self) {
        let mut random = self.random.borrow_mut();
        let longest = self.limits.events.min(30) + random.below(4);
        let count = if random.chance(10) { longest } else { 1 + random.below(4) };
        let (mut drafts, mut new, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        // Some numbers of an engine are of no event.
        let first_number = self.number(self.head()) + 1 + if self.engine { random.below(3) as u64 } else { 0 };
        let (mut number, mut next_number) = (self.number(self.head()), first_number);
        for at in 0..count {
            let seq = self.head() + 1 + at as u64;
            // Nothing is ever published on the last.
            let topics =
                (0..random.pick(&[1, 1, 1, 2, 3])).map(|_| self.topics[random.below(TOPICS.len() - 1)].clone());
            let topics = Topics::new(topics.collect::<Vec<_>>()).unwrap();
            let key = random.pick(&[None, Some("k"), Some("l")]);
            let live_only = random.chance(25);
            let own_id = match random.below(4) {
                0 if self.careless_ids => Some(format!("twice-{}", random.below(3))),
                1 if self.careless_ids || !live_only => Some(format!("own-{seq}")),
                _ => None,
            };
            let pad = if self.big { random.pick(&[10, 30_000, 70_000]) } else { random.below(120) };
            let mut event = Event::new(format!("e{seq} {}\nmore", "x".repeat(pad))).keep(!live_only);
            event = own_id.iter().fold(event, |event, id| event.id(id.clone()));
            event = key.iter().fold(event, |event, key| event.key(*key));
            drafts.push(Draft::encode(topics.clone(), &event, self.bus.log.epoch()).unwrap());
            texts.push((!live_only).then(|| (topics.clone(), event)));
            if !self.engine {
                number = seq;
            } else if !live_only {
                number = next_number;
                next_number += 1;
            }
            let has_own_id = own_id.is_some();
            let id = own_id.or((!live_only).then(|| self.bus.log.epoch().id(number).to_string()));
            new.push(Published { topics: topics.to_vec(), key, live_only, id, number, has_own_id, missing: None });
        }
        let (first, last) = (self.head() + 1, self.head() + count as u64);
        if self.bus.log.admit(&drafts).is_err() {
            return;
        }
        let numbers = if self.engine { Numbering::From(first_number) } else { Numbering::Own };
        let placed = self.bus.accept(drafts, numbers, self.time.now_ns.get());
        assert_eq!((placed.first.get(), placed.last.get()), (first, last));
        for (event, seq) in new.iter().zip(first..) {
            self.held.borrow_mut()[usize::from(event.live_only)].push_back(seq);
        }
        self.published.borrow_mut().extend(new);
        self.texts.borrow_mut().extend(texts);
        self.look_at_log();
        // Of a call that is longer than the log, the newest are kept; of another, all.
        for live_only in [false, true] {
            let mut own =
                (first..=last).filter(|&seq| self.published.borrow()[seq as usize - 1].live_only == live_only);
            let over = own.clone().count().saturating_sub(self.limits.events);
            let newest_over = own.nth(over.wrapping_sub(1)).unwrap_or(0);
            let evicted = self.evicted.get()[usize::from(live_only)];
            assert!(evicted < first || evicted == newest_over, "a call evicts {evicted} of its own, {first}..={last}");
        }
        let gone = self.bus.log.gone_through();
        assert!(gone.iter().all(|gone| gone.get() < first), "those that follow the log are given all of a call");
    }

    /// The offset behind which an id is old: a quarter of what is kept is as new or newer, or all of it has gone.
    pub(super) fn old_before(&self) -> u64 {
        let kept = &self.held.borrow()[0];
        kept.get(kept.len() - kept.len().div_ceil(4)).copied().unwrap_or(self.evicted.get()[0])
    }

    /// Has the log forget what is too old.
    pub(super) fn evict(&self) {
        self.bus.evict(self.time.now_ns.get());
        self.look_at_log();
    }

    /// The archive's answer to who wants a page: what it has not forgotten.
    pub(super) fn page(&self, first: u64, end: u64, bytes_max: usize) -> Page {
        let (texts, forgotten) = (self.texts.borrow(), self.forgotten.get());
        let mut page = Page { stays: true, through: first.max(1) - 1, ..Page::default() };
        if first <= forgotten {
            page.through = forgotten;
            page.holes.push(Hole { first, last: forgotten, reason: GapReason::Expired });
        }
        let mut bytes = 0;
        for seq in page.through + 1..end {
            let Some(kept) = texts.get(seq as usize - 1) else {
                page.stays = false;
                break;
            };
            page.through = seq;
            let Some((topics, event)) = kept else { continue };
            let draft = Draft::encode(topics.clone(), event, self.bus.log.epoch()).unwrap();
            bytes += draft.cost_bytes();
            page.frames.push(draft.archived(seq, self.bus.log.epoch(), 0));
            if bytes > bytes_max {
                break;
            }
        }
        page
    }

    /// Notes what has left the log.
    fn look_at_log(&self) {
        let mut frames = Vec::new();
        self.bus.log.before(Offset::MAX, usize::MAX, &mut frames);
        let mut held = self.held.borrow_mut();
        let mut evicted = self.evicted.get();
        for (kind, held) in held.iter_mut().enumerate() {
            let left = frames.iter().filter(|frame| usize::from(frame.live_only()) == kind).count();
            for seq in held.drain(..held.len() - left) {
                evicted[kind] = seq;
            }
        }
        self.evicted.set(evicted);
    }
}
