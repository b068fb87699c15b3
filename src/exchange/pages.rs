//! Pages of what an engine keeps beyond the log: asked for once however many streams wait, and kept for a while.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::hub::archive::{Page, Wanted};

use super::sync::{AtomicU64, Condvar, Mutex, Ordering};

/// The most pages that are kept, however small they are.
const PAGES_MAX: usize = 4096;

/// The pages that are here or asked for.
pub struct PageCache {
    state: Mutex<State>,
    changed: Condvar,
    /// So many numbers are a page, or several if their events take much memory: the first is a multiple of this.
    numbers: u64,
    read: AtomicU64,
    shared: AtomicU64,
}

/// A page that is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The number with which it begins.
    pub first: u64,
    /// How often pages were forgotten before.
    forgotten: u64,
}

#[derive(Default)]
struct State {
    slots: HashMap<u64, Slot>,
    /// How often pages were forgotten.
    forgotten: u64,
    /// Those that are to be read.
    asked: VecDeque<u64>,
    stopped: bool,
    bytes: usize,
    bytes_max: usize,
    uses: u64,
}

enum Slot {
    /// It is to be read, or is being read.
    Asked,
    Here {
        page: Arc<Page>,
        bytes: usize,
        used: u64,
    },
}

impl PageCache {
    /// A cache of so much memory.
    pub fn new(numbers: u64, bytes_max: usize) -> PageCache {
        let state = Mutex::new(State { bytes_max, ..State::default() });
        PageCache { state, changed: Condvar::new(), numbers, read: AtomicU64::new(0), shared: AtomicU64::new(0) }
    }

    /// The next page that is to be [read](Self::put), once there is one; `None` at the end.
    pub fn next(&self) -> Option<Asked> {
        let mut state = self.state.lock();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(first) = state.asked.pop_front() {
                return Some(Asked { first, forgotten: state.forgotten });
            }
            self.changed.wait(&mut state);
        }
    }

    /// The same, if there is one now.
    #[cfg(test)]
    pub(crate) fn try_next(&self) -> Option<Asked> {
        let mut state = self.state.lock();
        let forgotten = state.forgotten;
        state.asked.pop_front().map(|first| Asked { first, forgotten })
    }

    /// Whether any is.
    #[cfg(test)]
    pub(crate) fn is_asked(&self) -> bool {
        !self.state.lock().asked.is_empty()
    }

    /// No page is to be read any more.
    pub fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }

    /// The number behind the last that the page may hold which begins with this one.
    pub fn end_of(&self, first: u64) -> u64 {
        first - first % self.numbers + self.numbers
    }

    /// The page that has what comes after a number.
    pub fn find(&self, after: u64) -> Wanted {
        let mut state = self.state.lock();
        state.uses += 1;
        let uses = state.uses;
        let mut first = after - after % self.numbers;
        loop {
            match state.slots.get_mut(&first) {
                Some(Slot::Here { page, used, .. }) if page.through > after => {
                    *used = uses;
                    self.shared.fetch_add(1, Ordering::Relaxed);
                    return Wanted::Here(page.clone());
                }
                // A page of much memory ends early, and another goes on there.
                Some(Slot::Here { page, .. }) if page.stays => first = page.through + 1,
                Some(Slot::Asked) => return Wanted::Later(first),
                // There is more by now.
                Some(Slot::Here { .. }) => state.take_out(first),
                None => {
                    state.slots.insert(first, Slot::Asked);
                    state.asked.push_back(first);
                    self.changed.notify_one();
                    return Wanted::Later(first);
                }
            }
        }
    }

    /// Whether it is still to be read: what was read of it may have been forgotten meanwhile.
    pub fn is_wanted(&self, asked: Asked) -> bool {
        let state = self.state.lock();
        !state.stopped && state.forgotten == asked.forgotten
    }

    /// What pages have up to this number is no longer so: they are read again, and so are those that are being read.
    pub fn forget(&self, through: u64) {
        let mut state = self.state.lock();
        let gone: Vec<_> =
            state.slots.iter().filter(|(first, _)| **first <= through).map(|(first, _)| *first).collect();
        for first in &gone {
            if matches!(state.slots.get(first), Some(Slot::Here { .. })) {
                state.take_out(*first);
            }
        }
        state.forgotten += u64::from(!gone.is_empty());
    }

    /// A page that was asked for. It is not kept if it is not [wanted](Self::is_wanted) any more: who wants it has to ask again.
    pub fn put(&self, asked: Asked, page: Page) {
        let first = asked.first;
        let mut state = self.state.lock();
        if state.stopped || state.forgotten != asked.forgotten {
            state.slots.remove(&first);
            return;
        }
        state.uses += 1;
        let (bytes, used) = (page.cost_bytes(), state.uses);
        state.slots.insert(first, Slot::Here { page: Arc::new(page), bytes, used });
        state.bytes += bytes;
        // The one that came stays: somebody waits for it.
        while state.bytes > state.bytes_max || state.slots.len() > PAGES_MAX {
            let oldest = state.slots.iter().filter_map(|(&at, slot)| match slot {
                Slot::Here { used, .. } if at != first => Some((*used, at)),
                _ => None,
            });
            let Some((_, oldest)) = oldest.min() else { break };
            state.take_out(oldest);
        }
        self.read.fetch_add(1, Ordering::Relaxed);
    }

    /// How many pages were read, and how often one was there already, or came for others, too.
    pub fn counts(&self) -> [u64; 2] {
        [&self.read, &self.shared].map(|count| count.load(Ordering::Relaxed))
    }
}

impl State {
    fn take_out(&mut self, first: u64) {
        if let Some(Slot::Here { bytes, .. }) = self.slots.remove(&first) {
            self.bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(through: u64, stays: bool) -> Page {
        Page { through, stays, ..Page::default() }
    }

    /// Up to where the page is that has what comes after a number, or which is asked for.
    fn find(pages: &PageCache, after: u64) -> Result<u64, u64> {
        match pages.find(after) {
            Wanted::Here(page) => Ok(page.through),
            Wanted::Later(first) => Err(first),
        }
    }

    #[test]
    fn a_page_is_asked_for_once_however_many_want_it() {
        let pages = PageCache::new(100, 1 << 20);
        for after in [205, 250, 299, 200] {
            assert_eq!(find(&pages, after), Err(200), "{after}");
        }
        assert_eq!(find(&pages, 300), Err(300));
        let asked: Vec<_> = std::iter::from_fn(|| pages.try_next()).collect();
        assert_eq!(asked.iter().map(|asked| asked.first).collect::<Vec<_>>(), [200, 300]);
        assert_eq!(find(&pages, 205), Err(200), "it is being read");
        pages.put(asked[0], page(299, true));
        // What comes after its last number is in the next.
        assert_eq!((find(&pages, 200), find(&pages, 298), find(&pages, 299)), (Ok(299), Ok(299), Err(300)));
        assert_eq!((pages.counts(), pages.try_next()), ([1, 2], None));
    }

    #[test]
    fn a_page_that_ends_early_is_followed_by_another_and_one_of_the_end_is_read_again() {
        let pages = PageCache::new(100, 1 << 20);
        let put = |first, page| {
            let asked = std::iter::from_fn(|| pages.try_next()).find(|asked| asked.first == first);
            pages.put(asked.unwrap(), page);
        };
        assert_eq!(find(&pages, 50), Err(0));
        put(0, page(40, true));
        assert_eq!((find(&pages, 39), find(&pages, 50), pages.end_of(41)), (Ok(40), Err(41), 100));
        put(41, page(60, false));
        assert_eq!((find(&pages, 50), find(&pages, 60)), (Ok(60), Err(41)));
        put(41, page(99, true));
        assert_eq!((find(&pages, 60), find(&pages, 99)), (Ok(99), Err(100)));
        // What is missing may be more than a page.
        put(100, page(450, true));
        assert_eq!(find(&pages, 120), Ok(450));
    }

    #[test]
    fn pages_take_no_more_memory_than_they_may_and_the_one_that_was_used_last_stays() {
        let bytes = page(0, true).cost_bytes();
        let pages = PageCache::new(100, 3 * bytes);
        for first in [0, 100, 200] {
            assert_eq!(find(&pages, first), Err(first));
            pages.put(pages.try_next().unwrap(), page(first + 99, true));
        }
        assert_eq!(find(&pages, 0), Ok(99));
        assert_eq!(find(&pages, 300), Err(300));
        pages.put(pages.try_next().unwrap(), page(399, true));
        assert_eq!(pages.state.lock().bytes, 3 * bytes);
        assert_eq!((find(&pages, 0), find(&pages, 200), find(&pages, 300)), (Ok(99), Ok(299), Ok(399)));
        assert_eq!(find(&pages, 100), Err(100));
    }

    #[test]
    fn who_reads_pages_ends_when_it_is_told() {
        let pages = PageCache::new(100, 0);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| std::iter::from_fn(|| pages.next()).collect::<Vec<_>>());
            assert_eq!(find(&pages, 7), Err(0));
            while pages.is_asked() {
                std::thread::yield_now();
            }
            pages.stop();
            assert_eq!(reader.join().unwrap().iter().map(|asked| asked.first).collect::<Vec<_>>(), [0]);
        });
    }

    #[test]
    fn what_was_forgotten_is_read_again_though_it_was_being_read() {
        let pages = PageCache::new(100, 1 << 20);
        for first in [0, 100, 200] {
            assert_eq!(find(&pages, first), Err(first));
        }
        let asked: Vec<_> = std::iter::from_fn(|| pages.try_next()).collect();
        pages.put(asked[0], page(99, true));
        pages.put(asked[1], page(199, true));
        pages.forget(50);
        assert_eq!((find(&pages, 150), pages.is_wanted(asked[2])), (Ok(199), false), "only what was before");
        assert_eq!(find(&pages, 10), Err(0));
        pages.put(asked[2], page(299, true));
        assert_eq!(find(&pages, 210), Err(200), "asked for again");
        let again: Vec<_> = std::iter::from_fn(|| pages.try_next()).collect();
        again.iter().for_each(|asked| pages.put(*asked, page(asked.first + 99, true)));
        assert_eq!((find(&pages, 10), find(&pages, 210)), (Ok(99), Ok(299)));
        // Of what nobody has asked for nothing is known.
        let sixth = (find(&pages, 500), pages.try_next().unwrap()).1;
        pages.forget(u64::MAX);
        assert_eq!((pages.is_wanted(sixth), find(&pages, 10), pages.state.lock().bytes), (false, Err(0), 0));
    }
}
