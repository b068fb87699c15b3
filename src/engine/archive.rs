//! What an engine has of events that have left the log in memory, read a page at a time by one thread.
//!
//! ```text
//!   a stream wants a number ── PageCache::find ──► PageCache::next ── run ── Archive::page
//!   shards are told         ◄── tell ◄── PageCache::put ◄──────────────────────┘
//! ```
//! A shard waits for none of this: a stream whose page is not here waits, and others go on.

use std::error::Error;
use std::time::Duration;

use crate::exchange::pages::{Asked, PageCache};
use crate::hub::archive::{Hole, Page};
use crate::hub::gap::GapReason;

use super::offset::INDEX_BITS;

/// How many sequences are a page.
pub const PAGE_SEQUENCES: u64 = 1024;
/// How many numbers are a page: those of so many sequences.
pub const PAGE_NUMBERS: u64 = PAGE_SEQUENCES << INDEX_BITS;
/// The memory of a page's events at which it ends, though there are more.
pub const PAGE_BYTES: usize = 4 << 20;
/// The memory that pages take for which nobody waits any more.
pub const PAGES_BYTES: usize = 32 << 20;

/// After how long what could not be read is tried again; after that it counts as lost.
const TRIED_AGAIN: [Duration; 3] = [Duration::from_millis(10), Duration::from_millis(100), Duration::from_secs(1)];

/// After how long an engine that is away is asked again.
const AWAY: Duration = Duration::from_millis(250);

/// Why there is no page.
#[derive(Debug)]
pub enum NoPage {
    /// The engine does not answer now: who wants the page waits for that.
    Away(String),
    /// It could not be read.
    Unreadable(Box<dyn Error + Send + Sync>),
}

impl<E: Error + Send + Sync + 'static> From<E> for NoPage {
    fn from(error: E) -> NoPage {
        NoPage::Unreadable(Box::new(error))
    }
}

/// The way to an engine's events, for one thread. It may wait for its engine, within a bound of its own.
pub trait Archive: Send {
    /// The kept events from the number `first` on and before `end`, in their order, with what of it is missing as holes.
    /// The page may end early, between two packs ([`PAGE_BYTES`]), and a hole at its end may go on behind `end`:
    /// [`Page::through`] says how far it is. Where the engine has no more yet, [`Page::stays`] is false.
    ///
    /// # Errors
    /// A [`NoPage`].
    fn page(&mut self, first: u64, end: u64) -> Result<Page, NoPage>;
}

/// Reads pages as long as any are wanted, and `tell`s of each.
pub fn run(pages: &PageCache, archive: &mut dyn Archive, tell: impl Fn(u64), wait: impl Fn(Duration)) {
    while let Some(asked) = pages.next() {
        // One that nobody wants any more is told of, too: who waits for it finds out why.
        pages.put(asked, read(archive, pages, asked, &wait).unwrap_or_default());
        tell(asked.first);
    }
}

/// Reads a page for as long as it is wanted.
fn read(archive: &mut dyn Archive, pages: &PageCache, asked: Asked, wait: &impl Fn(Duration)) -> Option<Page> {
    let (first, end) = (asked.first, pages.end_of(asked.first));
    let (mut pauses, mut is_told) = (TRIED_AGAIN.into_iter(), false);
    while pages.is_wanted(asked) {
        let pause = match archive.page(first, end) {
            Ok(page) if page.through >= first => return Some(page),
            Ok(_) => {
                tracing::warn!(first, "what has left the log is not in the archive");
                pauses.next()
            }
            Err(NoPage::Unreadable(error)) => {
                tracing::warn!(first, %error, "the archive can't be read");
                pauses.next()
            }
            Err(NoPage::Away(why)) => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::warn!(first, why, "streams wait for events that have left the log");
                }
                Some(AWAY)
            }
        };
        let Some(pause) = pause else {
            tracing::error!(first, end, "events that could not be read are given up");
            let lost = Hole { first, last: end - 1, reason: GapReason::Lost };
            return Some(Page { holes: vec![lost], through: end - 1, ..Page::default() });
        };
        wait(pause);
    }
    None
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::hub::archive::Wanted;

    /// An archive that answers with these in turn, each for a page of ten.
    struct Says(Vec<Result<u64, NoPage>>);

    impl Archive for Says {
        fn page(&mut self, _: u64, _: u64) -> Result<Page, NoPage> {
            self.0.remove(0).map(|through| Page { through, stays: true, ..Page::default() })
        }
    }

    /// Reads the page of 25 from such an archive: where it ends, what it lacks, and how often was waited.
    fn read_page(says: Vec<Result<u64, NoPage>>, stop_after: usize) -> (Option<(u64, usize)>, usize) {
        let pages = PageCache::new(10, 1 << 20);
        assert!(matches!(pages.find(25), Wanted::Later(20)));
        let waited = Cell::new(0);
        let wait = |_| {
            waited.set(waited.get() + 1);
            if waited.get() == stop_after {
                pages.stop();
            }
        };
        run(&pages, &mut Says(says), |_| pages.stop(), wait);
        let page = match pages.find(25) {
            Wanted::Here(page) => Some((page.through, page.holes.len())),
            Wanted::Later(_) => None,
        };
        (page, waited.into_inner())
    }

    #[test]
    fn what_can_not_be_read_is_given_up_and_an_engine_that_is_away_is_waited_for() {
        let away = || Err(NoPage::Away("away".to_owned()));
        let broken = || Err(NoPage::from(std::io::Error::other("broken")));
        assert_eq!(read_page(vec![Ok(29)], 99), (Some((29, 0)), 0));
        assert_eq!(read_page(vec![broken(), Ok(3), broken(), Ok(29)], 99), (Some((29, 0)), 3));
        assert_eq!(read_page(vec![broken(), Ok(3), broken(), broken()], 99), (Some((29, 1)), 3), "it is lost");
        let mut long: Vec<_> = (0..20).map(|_| away()).collect();
        long.push(Ok(29));
        assert_eq!(read_page(long, 99), (Some((29, 0)), 20));
        assert_eq!(read_page((0..20).map(|_| away()).collect(), 5), (None, 5), "until the end");
    }
}
