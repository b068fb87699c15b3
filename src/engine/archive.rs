//! What an engine has of events that have left the log in memory, read a page at a time by one thread.
//!
//! ```text
//!   a stream wants a number ── PageCache::find ──► PageCache::next ── run ── Archive::page
//!   shards are told         ◄── tell ◄── PageCache::put ◄──────────────────────┘
//! ```
//! A shard waits for none of this: a stream whose page is not here waits, and others go on.

use std::time::Duration;

use crate::exchange::pages::PageCache;
use crate::hub::archive::{Hole, Page};
use crate::hub::gap::GapReason;

use super::offset::INDEX_BITS;

/// How many sequences are a page.
const PAGE_SEQUENCES: u64 = 1024;
/// How many numbers are a page: those of so many sequences.
pub const PAGE_NUMBERS: u64 = PAGE_SEQUENCES << INDEX_BITS;
/// The memory of a page's events at which it ends, though there are more.
pub const PAGE_BYTES: usize = 4 << 20;
/// The memory that pages take for which nobody waits any more.
pub const PAGES_BYTES: usize = 32 << 20;

/// After how long what could not be read is tried again; after that it counts as lost.
const TRIED_AGAIN: [Duration; 3] = [Duration::from_millis(10), Duration::from_millis(100), Duration::from_secs(1)];

/// The way to an engine's events, for one thread. It may wait for its engine, within a bound of its own.
pub trait Archive: Send {
    /// The kept events from the number `first` on and before `end`, in their order, with what of it is missing as holes.
    /// The page may end early, between two packs ([`PAGE_BYTES`]), and a hole at its end may go on behind `end`:
    /// [`Page::through`] says how far it is. Where the engine has no more yet, [`Page::stays`] is false.
    ///
    /// # Errors
    /// If it can't be read now.
    fn page(&mut self, first: u64, end: u64) -> Result<Page, Box<dyn std::error::Error + Send + Sync>>;
}

/// Reads pages as long as any are wanted, and `tell`s of each.
pub fn run(pages: &PageCache, archive: &mut dyn Archive, tell: impl Fn(u64), wait: impl Fn(Duration)) {
    while let Some(first) = pages.next() {
        pages.put(first, read(archive, first, pages.end_of(first), &wait));
        tell(first);
    }
}

fn read(archive: &mut dyn Archive, first: u64, end: u64, wait: &impl Fn(Duration)) -> Page {
    for pause in TRIED_AGAIN {
        match archive.page(first, end) {
            Ok(page) if page.through >= first => return page,
            Ok(_) => tracing::warn!(first, "what has left the log is not in the archive"),
            Err(error) => tracing::warn!(first, %error, "the archive can't be read"),
        }
        wait(pause);
    }
    tracing::error!(first, end, "events that could not be read are given up");
    let lost = Hole { first, last: end - 1, reason: GapReason::Lost };
    Page { holes: vec![lost], through: end - 1, ..Page::default() }
}
