//! What the tests share.

use std::path::PathBuf;
use std::sync::Arc;

use super::io::Io;
use super::read::{Cause, Item, Reader};
use super::recover::{OpenError, Report};
use super::retention::Limits;
use super::segment::Sync;
use super::store::{Options, Store};
use crate::engine::record::{Event, Pack, Packed, encode};

/// Keeps all.
pub(crate) const ALL: Limits = Limits { events: u64::MAX, bytes: u64::MAX, age_ms: u64::MAX };

/// The directory of the log in a simulated file system.
pub(crate) fn dir() -> PathBuf {
    PathBuf::from("/log")
}

pub(crate) fn options(sync: Sync, segment_bytes: u64) -> Options {
    Options { dir: dir(), sync, segment_bytes, limits: ALL, random: 7, holder: "process 1".into() }
}

pub(crate) fn open(io: &(impl Io + Clone + 'static), options: Options) -> Result<(Store, Report), OpenError> {
    Store::open(Arc::new(io.clone()), options, 1_000)
}

/// A pack that is known by its text, with so many events.
pub(crate) fn pack(text: &str, events: usize) -> Packed {
    let datas: Vec<_> = (0..events).map(|i| format!("{text}/{i}")).collect();
    let events: Vec<_> = datas
        .iter()
        .map(|data| Event {
            topics: &["t"][..],
            event: None,
            id: None,
            retry_ms: None,
            key: None,
            data,
            live_only: false,
            private: false,
        })
        .collect();
    encode(&Pack { published_ms: 1_000, idempotency_key: Some(text), events: &events }).unwrap()
}

/// What a reader met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    /// A pack: its sequence, its text, its number of events.
    Pack(u64, String, usize),
    /// A hole.
    Hole(u64, u64, &'static str),
}

/// All that a reader meets.
pub(crate) fn read(reader: &mut Reader) -> Vec<Met> {
    let mut met = Vec::new();
    while let Some(item) = reader.next().unwrap() {
        met.push(match item {
            Item::Pack { sequence, record } => {
                let text = record.head().idempotency_key.unwrap().to_owned();
                for (i, event) in record.events().enumerate() {
                    assert_eq!(event.data, format!("{text}/{i}"));
                }
                Met::Pack(sequence, text, record.events().len())
            }
            Item::Hole(hole) => {
                let cause = match hole.cause {
                    Cause::Expired => "expired",
                    Cause::Missing => "missing",
                    Cause::Damaged { .. } => "damaged",
                    Cause::Unreadable { .. } => "unreadable",
                };
                Met::Hole(hole.first, hole.last, cause)
            }
        });
    }
    met
}

/// All that a log holds.
pub(crate) fn read_all(store: &Store) -> Vec<Met> {
    read(&mut store.readers().reader(1))
}
