//! A gateway's parts, made and started.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use rustix::event::{EventfdFlags, eventfd};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::access::gate::Gate;
use crate::access::revoked::Revoked;
use crate::access::tickets::Tickets;
use crate::engine::Engine;
use crate::engine::entropy::random;
use crate::engine::keys::Keys;
use crate::exchange::bus::Bus;
use crate::exchange::inbox::Inbox;
use crate::exchange::pages::PageCache;
use crate::exchange::timers::Timers;
use crate::exchange::topics::TopicTable;
use crate::net::acceptor::{Acceptor, Closing, Endpoint};
use crate::net::clock::Clock;
use crate::net::command::{Command, Timer};
use crate::net::connection::ConnectionLimits;
use crate::net::console::Console;
use crate::net::elsewhere::Addresses;
use crate::net::question::Turns;
use crate::net::route::Allows;
use crate::net::shard::{Parts, Shard};
use crate::net::slots::Slots;
use crate::net::state::State;
use crate::net::ticker;
use crate::ops::config::ConfigError;
use crate::ops::config::listen::reachable;
use crate::ops::descriptors::{self, Own, Plan};
use crate::ops::limits::{CONTROL_CONNECTIONS_MAX, HEALTH_CONNECTIONS_MAX, PUBLISHERS_MAX};
use crate::ops::memory::MemorySum;
use crate::ops::metrics::{Bounds, Gauges, Listener, Metrics, ShardCells};
use crate::ops::reload::LiveConfig;
use crate::ops::threads::spawn;

use super::builder::Builder;
use super::certificates::{Watch, tls_server};
use super::engines::Opened;
use super::error::StartError;
use super::listen;
use super::running::Gateway;

impl Builder {
    /// Starts the gateway's threads and returns.
    ///
    /// # Errors
    /// If the configuration is not valid, the limit on open files is too low for it, an address can't be
    /// listened on, or the system refuses a thread or a descriptor.
    pub fn start(self) -> Result<Gateway, StartError> {
        let Builder {
            config,
            listen,
            listen_tls,
            control,
            health,
            handler,
            methods,
            source,
            raise_descriptor_limit,
            notify_systemd: _,
        } = self;
        config.check()?;
        let tls = tls_server(&config)?;
        if tls.is_none() && !listen_tls.is_empty() {
            return Err(StartError::Certificate("TLS needs a certificate: tls.cert".into()));
        }
        let gate = Gate::new(&config).map_err(|reason| ConfigError::invalid("auth", reason))?;
        let limit = if raise_descriptor_limit { descriptors::raise() } else { descriptors::current() }?;
        let (shards, acceptors) = (config.shards.or_cores(), config.acceptors.or_cores());
        let (addresses, control_too, health_too) =
            (listen.len() + listen_tls.len(), control.is_some(), health.is_some());
        let own = Own { shards, acceptors, addresses, control: control_too, health: health_too };
        let plan = Plan::new(limit, &own, &config.limits)?;
        plan.log();
        MemorySum::new(&config, &plan, shards).log();

        // Everything that can be refused is tried before the first thread starts.
        let control = control.map(listen::private).transpose()?;
        let health = health.map(listen::private).transpose()?;
        let address_of = |listener: &Option<(SocketAddr, _)>| listener.as_ref().map(|(address, _)| *address);
        let (control_address, health_address) = (address_of(&control), address_of(&health));

        let seed = random();
        let opened = Opened::open(&config, seed)?;
        let clock = opened.clock();
        let (timers, topics) = (Arc::new(Timers::new(clock.now_ms())), TopicTable::default());
        let (log, opened) = opened.log(&config, seed);
        let (mut inboxes, mut shard_ends) = (Vec::new(), Vec::new());
        for _ in 0..shards {
            let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).map_err(io::Error::from)?);
            let waker = wake.clone();
            // A counter that is full wakes already.
            let (inbox, mail) = Inbox::new(move || {
                let _ = rustix::io::write(&*waker, &1u64.to_ne_bytes());
            });
            inboxes.push(inbox);
            shard_ends.push((wake, mail));
        }
        let bus = Arc::new(Bus::new(log, inboxes, config.history.age.get().map(|age| age.as_millis() as u64)));
        let keys = Arc::new(Keys::new(config.history.key_limits()));
        let (engine, filling) = opened.engine(&config, &bus, &keys, clock);
        let bounds = Bounds {
            streams: plan.streams,
            log_events: config.history.events.get(),
            log_bytes: config.history.bytes.get(),
            pinned_bytes: config.limits.pinned_bytes.get(),
        };
        let metrics = Arc::new(Metrics::new(
            ShardCells::for_shards(shards),
            gauges(&bus, &timers, &topics, &engine, clock, bounds),
        ));
        let live = Arc::new(LiveConfig::from_pointee(config.clone()));
        let revoked = Arc::new(Revoked::default());
        let state = Arc::new(State {
            config: live.clone(),
            engine,
            bus: bus.clone(),
            topics: topics.clone(),
            metrics: metrics.clone(),
            clock,
            addresses: OnceLock::new(),
            gate: ArcSwap::from_pointee(gate),
            revoked: revoked.clone(),
            tickets: Tickets::default(),
            default_topic: config.default_topic.clone(),
            streams_max: plan.streams as usize,
            handler: match methods {
                Some(methods) => handler.map(|handler| handler.with_methods(methods)),
                None => handler,
            },
            publishers: Semaphore::new(PUBLISHERS_MAX as usize),
            admin: Turns::new(shards),
            console: Console::default(),
            draining: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            publishing: AtomicUsize::new(0),
        });

        let mut all_shards = Vec::new();
        for (index, (wake, mail)) in shard_ends.into_iter().enumerate() {
            let seed = seed.rotate_left(index as u32 + 1);
            let (bus, timers, metrics, live) = (bus.clone(), timers.clone(), metrics.clone(), live.clone());
            let revoked = revoked.clone();
            let parts = Parts { wake, mail, bus, timers, metrics, clock, live, revoked };
            all_shards.push(Shard::new(index, seed, parts).map_err(io::Error::from)?);
        }
        let endpoint = |listener, allows: Allows, connections| {
            let limits = Arc::new(ConnectionLimits {
                head_bytes: config.limits.head_bytes.as_usize(),
                head_deadline: config.limits.head_deadline.get(),
                idle: config.limits.idle.get(),
            });
            let slots = Slots::new(listener, connections as usize, metrics.clone(), clock);
            Endpoint { listener, allows, slots, limits, closing: Closing::default() }
        };
        let allows = Allows { publish_elsewhere: control_too, ..Allows::PUBLIC };
        let public = endpoint(Listener::Public, allows, plan.connections);
        let mut private_acceptors = Vec::new();
        let mut private = Vec::new();
        for (name, socket, endpoint) in [
            ("control", control, endpoint(Listener::Control, Allows::CONTROL, CONTROL_CONNECTIONS_MAX)),
            ("health", health, endpoint(Listener::Health, Allows::HEALTH, HEALTH_CONNECTIONS_MAX)),
        ] {
            let Some((_, socket)) = socket else { continue };
            private.push(endpoint.closing.clone());
            private_acceptors
                .push((name.to_owned(), Acceptor::<TcpListener>::new(endpoint, vec![(socket, None)], state.clone())?));
        }

        // Should a thread be refused, what runs by then is stopped as the gateway is dropped.
        let mut gateway = Gateway {
            state: state.clone(),
            timers: timers.clone(),
            addresses: Vec::new(),
            tls_addresses: Vec::new(),
            certificates: None,
            control_address,
            health_address,
            public: public.closing.clone(),
            private,
            acceptors: Vec::new(),
            shards: Vec::new(),
            ticker: None,
            engine_threads: Vec::new(),
            source,
        };
        if let Some(filling) = filling {
            // Whoever asks meanwhile learns that it loads. A client that is refused a connection comes
            // back by itself, so the public listener waits.
            for (name, acceptor) in private_acceptors.drain(..) {
                gateway.acceptors.push(spawn(name, move || acceptor.run())?);
            }
            filling.run(&state, &keys, &mut gateway.engine_threads)?;
        }
        let plain = listen.len();
        let listen_tls = listen_tls.into_iter().map(|listen| (listen, tls.clone()));
        let all = listen.into_iter().map(|listen| (listen, None)).chain(listen_tls).collect();
        let (mut addresses, listeners) = listen::public(all, acceptors, &config)?;
        gateway.tls_addresses = addresses.split_off(plain);
        let public_address = addresses.first().copied();
        let _ = state.addresses.set(Addresses { public: public_address, control: control_address });
        gateway.addresses = addresses;
        gateway.certificates = match &tls {
            Some(tls) => Watch::start(tls, live, metrics.clone())?,
            None => None,
        };
        let mut all_acceptors = Vec::new();
        for (index, sockets) in listeners.into_iter().enumerate() {
            all_acceptors.push((
                format!("acceptor-{index}"),
                Acceptor::<TcpListener>::new(public.clone(), sockets, state.clone())?,
            ));
        }
        all_acceptors.append(&mut private_acceptors);
        for (index, shard) in all_shards.into_iter().enumerate() {
            gateway.shards.push(spawn(format!("shard-{index}"), move || shard.run())?);
        }
        state.engine.status().loaded();
        gateway.ticker = Some(spawn("ticker".to_owned(), move || {
            ticker::run(&timers, &state);
        })?);
        for (name, acceptor) in all_acceptors {
            gateway.acceptors.push(spawn(name, move || acceptor.run())?);
        }
        for address in &gateway.addresses {
            tracing::info!(%address, "streams are served");
        }
        for address in &gateway.tls_addresses {
            tracing::info!(%address, "streams are served over TLS");
        }
        if let Some(address) = health_address {
            tracing::info!(%address, "health and metrics are served");
        }
        if let Some(address) = control_address {
            let open = public_address.map(|public| format!("http://{}/try", reachable(public)));
            let publish = format!("curl -d hello http://{}/events/news", reachable(address));
            tracing::info!(%address, open, publish, "publishing, metrics and health are served");
        }
        let is_open = |address: &SocketAddr| !address.ip().is_loopback() && config.auth.control_key.is_empty();
        if let Some(address) = control_address.filter(is_open) {
            tracing::warn!(%address, "whoever reaches the control listener may publish: it is not on loopback");
        }
        Ok(gateway)
    }
}

fn gauges(
    bus: &Arc<Bus<Command>>,
    timers: &Arc<Timers<Timer>>,
    topics: &TopicTable,
    engine: &Engine,
    clock: Clock,
    bounds: Bounds,
) -> Gauges {
    let (events, bytes, oldest, lag) = (bus.clone(), bus.clone(), bus.clone(), bus.clone());
    let (pages, timers, topics) = (bus.clone(), timers.clone(), topics.clone());
    let status = engine.status().clone();
    Gauges {
        log_events: Box::new(move || events.log.size().0 as u64),
        log_bytes: Box::new(move || bytes.log.size().1 as u64),
        log_oldest_ns: Box::new(move || {
            oldest.log.oldest_kept_ns().map_or(0, |published_ns| clock.now_ns().saturating_sub(published_ns))
        }),
        topics: Box::new(move || topics.len() as u64),
        timer_entries: Box::new(move || timers.len() as u64),
        shard_lag_ns: Box::new(move |shard| lag.lag_ns(shard, clock.now_ns())),
        engine_phase: Box::new(move || status.phase()),
        engine_facts: engine.facts(),
        pages: Box::new(move || pages.log.page_cache().map_or([0, 0], PageCache::counts)),
        bounds,
    }
}
