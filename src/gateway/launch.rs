//! A gateway's parts, made and started.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::SystemTime;

use rustix::event::{EventfdFlags, eventfd};
use tokio_util::sync::CancellationToken;

use crate::exchange::bus::Bus;
use crate::exchange::inbox::Inbox;
use crate::exchange::log_cell::LogCell;
use crate::exchange::timers::Timers;
use crate::hub::id::Epoch;
use crate::net::acceptor::{self, Door};

use crate::net::clock::Clock;
use crate::net::command::{Command, Timer};
use crate::net::connection::ConnectionLimits;
use crate::net::listener::{SocketOptions, bind, bind_all};
use crate::net::question::Turns;
use crate::net::shard::{Parts, Shard};
use crate::net::state::State;
use crate::net::ticker;
use crate::ops::config::ConfigError;
use crate::ops::descriptors::{self, Plan};
use crate::ops::memory::MemorySum;
use crate::ops::metrics::{Bounds, Gauges, Metrics, ShardCells};
use crate::ops::reload::LiveConfig;
use crate::ops::threads::spawn;

use super::builder::Builder;
use super::running::Gateway;

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address can't be listened on.
    #[error("can't listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The configuration is not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system refused a thread, a descriptor or a signal handler.
    #[error("can't start: {0}")]
    System(#[from] io::Error),
}

impl Builder {
    /// Starts the gateway's threads and returns.
    ///
    /// # Errors
    /// If the configuration is not valid, an address can't be listened on, or the system refuses a
    /// thread or a descriptor.
    pub fn start(self) -> Result<Gateway, StartError> {
        let Builder { config, listen, control, handler, methods, source, raise_descriptor_limit } = self;
        config.check()?;
        let limit = if raise_descriptor_limit { descriptors::raise() } else { descriptors::current() }?;
        let plan = Plan::new(limit, &config.limits);
        plan.log();
        let (shards, acceptors) = (config.shards.or_cores(), config.acceptors.or_cores());
        MemorySum::new(&config, &plan, shards).log();

        // Everything that can be refused is tried before the first thread starts.
        let options = SocketOptions {
            reuse_port: true,
            notsent_lowat: Some(config.stream.notsent_lowat.get() as u32),
            user_timeout: Some(config.stream.write_deadline.get()),
            ..SocketOptions::default()
        };
        let mut listeners: Vec<Vec<_>> = (0..acceptors).map(|_| Vec::new()).collect();
        let mut addresses = Vec::new();
        // Alone on each address, too: several of our own listeners may share one, but a second gateway
        // would silently take a part of the clients. All are tried before the first is taken, since
        // `[::]` takes the place of `0.0.0.0` as well.
        for &address in listen.iter().filter(|address| address.port() != 0) {
            let alone = SocketOptions { reuse_port: false, ..options.clone() };
            drop(bind(address, &alone).map_err(|source| StartError::Bind { address, source })?);
        }
        for address in listen {
            let all = bind_all(address, acceptors, &options).map_err(|source| StartError::Bind { address, source })?;
            addresses.push(all[0].local_addr()?);
            listeners.iter_mut().zip(all).for_each(|(mine, listener)| mine.push(listener));
        }
        let control = match control {
            None => None,
            Some(address) => {
                // Alone on its address: a second gateway on the same machine is told so.
                let options = SocketOptions { reuse_port: false, notsent_lowat: None, ..SocketOptions::default() };
                Some(bind(address, &options).map_err(|source| StartError::Bind { address, source })?)
            }
        };
        let control_address = control.as_ref().map(|listener| listener.local_addr()).transpose()?;

        let seed = random_seed();
        let epoch = Epoch::new(seed);

        let clock = Clock::start();
        let timers = Arc::new(Timers::new(0));
        let log = LogCell::new(epoch, config.history.log_limits());
        let (mut inboxes, mut mailboxes) = (Vec::new(), Vec::new());
        for _ in 0..shards {
            let bell = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).map_err(io::Error::from)?);
            let rings = bell.clone();
            // A bell that is full rings already.
            let (inbox, mail) = Inbox::new(move || {
                let _ = rustix::io::write(&*rings, &1u64.to_ne_bytes());
            });
            inboxes.push(inbox);
            mailboxes.push((bell, mail));
        }
        let bus = Arc::new(Bus::new(log, inboxes, config.history.age.get().map(|age| age.as_millis() as u64)));
        let bounds = Bounds {
            streams: plan.streams,
            log_events: config.history.events.get(),
            log_bytes: config.history.bytes.get(),
        };
        let metrics = Arc::new(Metrics::new(ShardCells::for_shards(shards), gauges(&bus, &timers, clock, bounds)));
        let live = Arc::new(LiveConfig::from_pointee(config.clone()));
        let state = Arc::new(State {
            config: live.clone(),
            bus: bus.clone(),
            metrics: metrics.clone(),
            clock,
            default_topic: config.default_topic.clone(),
            streams_max: plan.streams as usize,
            sockets_max: plan.sockets as usize,
            handler: match methods {
                Some(methods) => handler.map(|handler| handler.with_methods(methods)),
                None => handler,
            },
            admin: Turns::new(shards),
            draining: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            publishing: AtomicUsize::new(0),
            seed: AtomicU64::new(seed),
        });

        let mut shard_threads = Vec::new();
        for (index, (bell, mail)) in mailboxes.into_iter().enumerate() {
            let seed = seed.rotate_left(index as u32 + 1);
            let (bus, timers, metrics, live) = (bus.clone(), timers.clone(), metrics.clone(), live.clone());
            let parts = Parts { wake: bell, mail, bus, timers, metrics, clock, live };
            let shard = Shard::new(index, seed, parts).map_err(io::Error::from)?;
            shard_threads.push(spawn(format!("shard-{index}"), move || shard.run())?);
        }
        let ticker = {
            let (timers, bus, metrics) = (timers.clone(), bus.clone(), metrics.clone());
            spawn("ticker".to_owned(), move || ticker::run(&timers, clock, &bus, &metrics, &live))?
        };
        let connection_limits = ConnectionLimits {
            head_bytes: config.limits.head_bytes.as_usize(),
            head_deadline: config.limits.head_deadline.get(),
        };
        let (public_closing, control_closing) = (CancellationToken::new(), CancellationToken::new());
        let door = |name: String, door, listeners, closing: &CancellationToken| {
            let (state, limits, closing) = (state.clone(), connection_limits.clone(), closing.clone());
            spawn(name, move || {
                if let Err(error) = acceptor::run(door, listeners, state, limits, closing) {
                    tracing::error!(%error, "an acceptor ended");
                }
            })
        };
        let mut doors = Vec::new();
        for (index, listeners) in listeners.into_iter().enumerate() {
            doors.push(door(format!("acceptor-{index}"), Door::Public, listeners, &public_closing)?);
        }
        let control_door = control
            .map(|listener| door("control".to_owned(), Door::Control, vec![listener], &control_closing))
            .transpose()?;
        for address in &addresses {
            tracing::info!(%address, "streams are served");
        }
        if let Some(address) = control_address {
            tracing::info!(%address, "publishing, metrics and health are served");
        }
        Ok(Gateway {
            state,
            timers,
            addresses,
            control_address,
            public_closing,
            control_closing,
            doors,
            control_door,
            shards: shard_threads,
            ticker: Some(ticker),
            source,
        })
    }
}

fn gauges(bus: &Arc<Bus<Command>>, timers: &Arc<Timers<Timer>>, clock: Clock, bounds: Bounds) -> Gauges {
    let (events, bytes, lag, timers) = (bus.clone(), bus.clone(), bus.clone(), timers.clone());
    Gauges {
        log_events: Box::new(move || events.log.size().0 as u64),
        log_bytes: Box::new(move || bytes.log.size().1 as u64),
        timer_entries: Box::new(move || timers.len() as u64),
        shard_lag_ns: Box::new(move |shard| lag.lag_ns(shard, clock.now_ns())),
        bounds,
    }
}

/// Random bits from the standard library's hasher, which the system seeds.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(SystemTime::now())
}
