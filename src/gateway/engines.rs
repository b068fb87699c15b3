//! The engine that is configured: opened before anything runs, and loaded before streams are served.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::engine::Engine;
use crate::engine::archive::{self, Archive, PAGE_NUMBERS, PAGES_BYTES};
use crate::engine::committer::{Committer, Surroundings, Syncs, Writer};
use crate::engine::disk::archive::Segments;
use crate::engine::disk::io::Disk;
use crate::engine::disk::read::Readers;
use crate::engine::disk::recover::Report;
use crate::engine::disk::retention::Limits;
use crate::engine::disk::segment::Sync;
use crate::engine::disk::store::{Options, SEGMENT_BYTES, Store};
use crate::engine::keys::Keys;
use crate::engine::load::Loading;
#[cfg(feature = "nats")]
use crate::engine::nats::{self, Cluster, Publisher, Reader, Replayer};
use crate::engine::status::Phase;
use crate::engine::wall::wall_ms;
use crate::exchange::bus::Bus;
use crate::exchange::log_cell::LogCell;
use crate::exchange::pages::PageCache;
use crate::hub::id::Epoch;
use crate::hub::log::Log;
use crate::net::clock::Clock;
use crate::net::command::Command;
use crate::net::state::State;
use crate::ops::config::{Config, EngineKind};
use crate::ops::threads::{end_process, spawn};
use crate::ops::units::{MIB, TIME_MS_MAX};

use super::error::StartError;

/// How far the clock of a gateway reaches back that starts with events from before: longer than any
/// `history.age`.
const PAST: Duration = Duration::from_millis(TIME_MS_MAX + 1);
/// The least size of a segment, so that a short history has no crowd of files.
const SEGMENT_BYTES_MIN: u64 = MIB;

/// What an engine keeps, opened.
pub(super) enum Opened {
    /// Nothing.
    Memory,
    /// Files.
    Disk(Box<Store>),
    /// A stream that is yet to be found.
    Nats,
}

/// The same, whose log there is.
pub(super) enum Filled {
    Memory,
    Disk(Box<Store>, Loading),
    Nats,
}

/// What is to fill the log, and then goes on.
pub(super) enum Filling {
    Disk(Box<Writer>, Loading, Readers),
    #[cfg(feature = "nats")]
    Nats(Publisher, Reader, Replayer),
}

impl Opened {
    /// Opens what the configured engine keeps.
    pub(super) fn open(config: &Config, random: u64) -> Result<Opened, StartError> {
        match config.engine {
            EngineKind::Memory => Ok(Opened::Memory),
            EngineKind::Disk => store(config, random).map(|store| Opened::Disk(Box::new(store))),
            EngineKind::Nats => Ok(Opened::Nats),
        }
    }

    /// A clock that knows the time of every event.
    pub(super) fn clock(&self) -> Clock {
        match self {
            Opened::Memory => Clock::start(),
            Opened::Disk(_) | Opened::Nats => Clock::started_before(PAST),
        }
    }

    /// The log that it fills.
    pub(super) fn log(self, config: &Config, random: u64) -> (LogCell, Filled) {
        let (epoch, limits) = (Epoch::new(random), config.history.log_limits());
        match self {
            Opened::Memory => (LogCell::new(epoch, limits), Filled::Memory),
            Opened::Disk(store) => {
                let (loading, log) = Loading::new(&store, limits);
                let log = log.with_pages(PageCache::new(PAGE_NUMBERS, PAGES_BYTES));
                (log, Filled::Disk(store, loading))
            }
            Opened::Nats => {
                let log = Log::new(epoch, limits).starting_after(None);
                let log = LogCell::of_engine(log, epoch, limits).shared();
                (log.with_pages(PageCache::new(PAGE_NUMBERS, PAGES_BYTES)), Filled::Nats)
            }
        }
    }
}

impl Filled {
    /// The engine, and what is to run until it is ready.
    pub(super) fn engine(
        self,
        config: &Config,
        bus: &Arc<Bus<Command>>,
        keys: &Arc<Keys>,
        clock: Clock,
    ) -> (Engine, Option<Filling>) {
        match self {
            Filled::Memory => (Engine::memory(keys.clone()), None),
            Filled::Disk(store, loading) => {
                let bus = bus.clone();
                let accept = Box::new(move |drafts, numbers| {
                    bus.accept(drafts, numbers, clock.now_ns());
                });
                let readers = store.readers();
                let surroundings = Surroundings { accept, now_ms: Box::new(move || clock.now_ms()) };
                let (committer, writer) = Committer::new(*store, config.disk.syncs(), surroundings);
                (Engine::disk(committer, keys.clone()), Some(Filling::Disk(Box::new(writer), loading, readers)))
            }
            #[cfg(feature = "nats")]
            Filled::Nats => {
                let settings = config.cluster.settings(config.history.events.get());
                let (cluster, publisher, reader, replayer) = Cluster::new(settings);
                (Engine::nats(cluster, keys.clone()), Some(Filling::Nats(publisher, reader, replayer)))
            }
            #[cfg(not(feature = "nats"))]
            Filled::Nats => unreachable!("Invariant: the configuration was checked"),
        }
    }
}

impl Filling {
    /// Fills the log, and starts the threads that go on with it.
    pub(super) fn run(
        self,
        state: &Arc<State>,
        keys: &Arc<Keys>,
        threads: &mut Vec<JoinHandle<()>>,
    ) -> Result<(), StartError> {
        let failed = |error: Box<dyn std::error::Error + Send + std::marker::Sync>| StartError::Engine(error);
        let clock = state.clock;
        let began_ms = clock.now_ms();
        let (events, lost_packs) = match self {
            Filling::Disk(writer, loading, readers) => {
                let loaded = loading.run(&state.bus.log, &state.topics, keys, || clock.now_ns());
                let loaded = loaded.map_err(|error| failed(Box::new(error)))?;
                let of_writer = state.clone();
                threads.push(spawn("writer".to_owned(), move || {
                    if let Err(error) = writer.run() {
                        of_writer.engine.status().set(Phase::Faulted);
                        end_process(&error);
                    }
                })?);
                let segments = Segments {
                    readers,
                    epoch: state.bus.log.epoch(),
                    topics: state.topics.clone(),
                    age_ms: file_age_ms(&state.config.load()),
                    now_ns: Box::new(move || clock.now_ns()),
                };
                threads.push(replayer_thread(state, Box::new(segments))?);
                (loaded.events, loaded.lost_packs)
            }
            #[cfg(feature = "nats")]
            Filling::Nats(publisher, reader, replayer) => {
                let (told, loaded) = crossbeam_channel::bounded(1);
                let bus = state.bus.clone();
                let surroundings = nats::Surroundings {
                    bus: bus.clone(),
                    topics: state.topics.clone(),
                    keys: keys.clone(),
                    now_ns: Arc::new(move || clock.now_ns()),
                };
                threads.push(spawn("reader".to_owned(), move || {
                    if let Err(error) = reader.run(surroundings, told) {
                        end_process(&error);
                    }
                })?);
                threads.push(spawn("publisher".to_owned(), move || {
                    if let Err(error) = publisher.run(move || bus.log.epoch(), move || clock.now_ms()) {
                        end_process(&error);
                    }
                })?);
                let loaded = loaded.recv().map_err(|error| failed(Box::new(error)))?;
                let loaded = loaded.map_err(|error| failed(Box::new(error)))?;
                let of_epoch = state.bus.clone();
                let archive = replayer.archive(nats::archive::Surroundings {
                    epoch: Box::new(move || of_epoch.log.epoch()),
                    topics: state.topics.clone(),
                    now_ns: Box::new(move || clock.now_ns()),
                })?;
                threads.push(replayer_thread(state, Box::new(archive))?);
                (loaded.events, loaded.lost_packs)
            }
        };
        let took_ms = clock.now_ms() - began_ms;
        tracing::info!(events, lost_packs, took_ms, "what was kept is loaded");
        Ok(())
    }
}

/// The thread that reads what has left the log.
fn replayer_thread(state: &Arc<State>, mut archive: Box<dyn Archive>) -> std::io::Result<JoinHandle<()>> {
    let bus = state.bus.clone();
    spawn("replayer".to_owned(), move || {
        let tell = |page| (0..bus.shards()).for_each(|shard| tell_of(&bus, shard, page));
        if let Some(pages) = bus.log.page_cache() {
            archive::run(pages, &mut *archive, tell, thread::sleep);
        }
    })
}

/// Tells a shard of a page, streams of which may wait for it.
fn tell_of(bus: &Bus<Command>, shard: usize, page: u64) {
    while bus.inbox(shard).push(Command::Page(page)).is_err() && !bus.is_stopped() {
        thread::sleep(Duration::from_millis(1));
    }
}

/// How long files keep an event, in milliseconds.
fn file_age_ms(config: &Config) -> u64 {
    config.disk.age.get().or(config.history.age.get()).map_or(u64::MAX, |age| age.as_millis() as u64)
}

/// Opens the disk engine's store.
fn store(config: &Config, random: u64) -> Result<Store, StartError> {
    let (disk, history) = (&config.disk, &config.history);
    let bytes = if disk.bytes.get() > 0 { disk.bytes.get() } else { history.bytes.get() };
    let segment_bytes = (bytes / 8).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES);
    let limits = Limits {
        events: if disk.events.get() > 0 { disk.events.get() } else { history.events.get() },
        // Whole segments go: so there is room for one that is not yet full, and for one that is to go.
        bytes: bytes.saturating_add(2 * segment_bytes),
        age_ms: file_age_ms(config),
    };
    let options = Options {
        dir: config.disk.dir.clone(),
        sync: if config.disk.syncs() == Syncs::Always { Sync::Always } else { Sync::Interval },
        segment_bytes,
        limits,
        random,
        holder: format!("process {}", std::process::id()),
    };
    let opened = Store::open(Arc::new(Disk), options, wall_ms());
    let (store, report) = opened.map_err(|error| StartError::Engine(Box::new(error)))?;
    let Report { segments, events, bytes, crashed, .. } = report;
    let dir = config.disk.dir.display();
    tracing::info!(%dir, epoch = %store.epoch(), segments, events, bytes, crashed, "the log on disk is open");
    let cut = report.cut.iter().map(ToString::to_string);
    for line in cut.chain(report.holes.iter().map(ToString::to_string)) {
        tracing::warn!("{line}");
    }
    Ok(store)
}
