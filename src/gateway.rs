//! A gateway: its parts put together, started, drained and stopped.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use rustix::event::{EventfdFlags, eventfd};
use tokio_util::sync::CancellationToken;

use crate::exchange::bus::Bus;
use crate::exchange::inbox::Inbox;
use crate::exchange::log_cell::LogCell;
use crate::exchange::timers::Timers;
use crate::hub::event::Event;
use crate::hub::fault::Fault;
use crate::hub::frame::{Draft, Topics};
use crate::hub::id::{Epoch, EventId};
use crate::hub::log::LogLimits;
use crate::hub::topic::Topic;
use crate::net::acceptor::{self, Door};
use crate::net::clock::Clock;
use crate::net::connection::ConnectionLimits;
use crate::net::listener::{SocketOptions, bind, bind_all};
use crate::net::reply::{Reply, Request};
use crate::net::shard::{Command, Shard, ShardConfig};
use crate::net::state::{Handler, State};
use crate::net::ticker::{self, Running, Timer};
use crate::ops::config::Config;
use crate::ops::descriptors::{self, Plan};
use crate::ops::limits::MemorySum;
use crate::ops::metrics::{Bounds, Gauges, Metrics, ShardCells, Source};
use crate::ops::schedule::Schedule;
use crate::ops::shutdown::Signals;

/// How often the end of a drain is looked for.
const DRAIN_POLL: Duration = Duration::from_millis(10);

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
    /// A schedule publishes what can't be published.
    #[error("schedule: {0}")]
    Schedule(#[from] Fault),
    /// The system refused a thread, a descriptor or a signal handler.
    #[error("can't start: {0}")]
    System(#[from] io::Error),
}

/// What a gateway is built from.
///
/// ```no_run
/// # use sluicegate::{Event, Gateway, Topic};
/// let gateway = Gateway::builder().listen("127.0.0.1:8080".parse()?).start()?;
/// gateway.publisher().publish(&Topic::parse("news")?, &Event::new("hello"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Builder {
    config: Config,
    listen: Vec<SocketAddr>,
    control: Option<SocketAddr>,
    handler: Option<Handler>,
}

impl Builder {
    /// The gateway that this configuration describes.
    pub fn from_config(config: Config) -> Builder {
        let listen = config.listen.addresses().to_vec();
        let control = Some(config.control);
        Builder { config, listen, control, handler: None }
    }

    /// Also listens for streams on this address. Port 0 asks for a free one: see
    /// [`Gateway::addresses`].
    pub fn listen(mut self, address: SocketAddr) -> Builder {
        self.listen.push(address);
        self
    }

    /// Listens for publishers and scrapes on this address, which must not be reachable from
    /// outside: whoever reaches it may publish.
    pub fn control(mut self, address: SocketAddr) -> Builder {
        self.control = Some(address);
        self
    }

    /// Publishes an event to a topic again and again, first after one period: one timer, however
    /// many streams there are.
    pub fn schedule(mut self, schedule: Schedule) -> Builder {
        self.config.schedule.push(schedule);
        self
    }

    /// Answers requests on the public listener. The handler runs on the acceptors' threads and must
    /// not block.
    pub fn on_request(mut self, handler: impl Fn(&Request<'_>) -> Reply + Send + Sync + 'static) -> Builder {
        self.handler = Some(Arc::new(handler));
        self
    }

    /// Starts the gateway's threads and returns.
    ///
    /// # Errors
    /// If an address can't be listened on, or the system refuses a thread or a descriptor.
    pub fn start(self) -> Result<Gateway, StartError> {
        Gateway::start(self)
    }

    /// Starts the gateway and serves until SIGTERM or SIGINT, then drains. A second signal ends the
    /// process at once.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub fn run(self) -> Result<(), StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut signals = Signals::new()?;
            let gateway = self.start()?;
            let signal = signals.first().await;
            tracing::info!(signal, streams = gateway.streams(), "draining; a second signal ends at once");
            let drained = tokio::task::spawn_blocking(move || gateway.drain());
            tokio::select! {
                _ = drained => tracing::info!("drained"),
                signal = signals.second() => {
                    tracing::warn!(signal, "ended before streams were drained");
                    std::process::exit(0);
                }
            }
            Ok(())
        })
    }
}

/// A running gateway. Dropping it closes all streams at once; [`Gateway::drain`] is kinder.
pub struct Gateway {
    state: Arc<State>,
    timers: Arc<Timers<Timer>>,
    addresses: Vec<SocketAddr>,
    control_address: Option<SocketAddr>,
    drain_delay: Duration,
    drain_window: Duration,
    drain_grace: Duration,
    public_closing: CancellationToken,
    control_closing: CancellationToken,
    doors: Vec<JoinHandle<()>>,
    control_door: Option<JoinHandle<()>>,
    shards: Vec<JoinHandle<()>>,
    ticker: Option<JoinHandle<()>>,
}

/// Publishes from inside the process. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    state: Arc<State>,
}

impl Publisher {
    /// Publishes an event to a topic. It has its place in the log when this returns; no reader is
    /// waited for. Answers the id that the log gave it: none if it is live only or has its own.
    ///
    /// # Errors
    /// A [`Fault`] that names the field that can't be published, or `gateway` if that is closing.
    pub fn publish(&self, topic: &Topic, event: &Event<'_>) -> Result<Option<EventId>, Fault> {
        let epoch = self.state.bus.log.epoch();
        let draft = Draft::encode(Topics::from_elem(topic.clone(), 1), event, epoch)?;
        let placed = self.state.publish(vec![draft], self.state.clock.now_ns())?;
        self.state.metrics.events_published(Source::Library, 1);
        Ok((!event.live_only && event.id.is_none()).then(|| epoch.id(placed.first)))
    }
}

impl Gateway {
    /// A gateway with no address, no control listener and no schedule yet, and the default for
    /// everything else.
    pub fn builder() -> Builder {
        let config = Config { schedule: Vec::new(), ..Config::default() };
        Builder { config, listen: Vec::new(), control: None, handler: None }
    }

    /// The addresses that streams are served on.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The address of the control listener.
    pub fn control_address(&self) -> Option<SocketAddr> {
        self.control_address
    }

    /// How many streams are open.
    pub fn streams(&self) -> usize {
        self.state.bus.streams()
    }

    /// A handle that publishes.
    pub fn publisher(&self) -> Publisher {
        Publisher { state: self.state.clone() }
    }

    /// Ends the gateway kindly: readiness fails; after `drain.delay` the listeners close; then the
    /// streams are ended over `drain.window`, each with what was published so far and a jittered
    /// `retry:`. Blocks until that is done.
    pub fn drain(mut self) {
        self.state.draining.store(true, Ordering::Relaxed);
        self.state.metrics.set_draining();
        thread::sleep(self.drain_delay);
        self.state.close();
        self.public_closing.cancel();
        let (window, retry) = (self.drain_window, self.state.retry);
        self.tell_shards(|| Command::Drain { window, retry });
        let gives_up_ms = self.state.clock.now_ms() + (window + self.drain_grace).as_millis() as u64;
        while self.state.bus.streams() > 0 && self.state.clock.now_ms() < gives_up_ms {
            thread::sleep(DRAIN_POLL);
        }
        let cut = self.state.bus.streams();
        if cut > 0 {
            tracing::warn!(streams = cut, "cut off: they were still behind when drain.grace was over");
        }
        self.stop();
    }

    fn start(builder: Builder) -> Result<Gateway, StartError> {
        let Builder { config, listen, control, handler } = builder;
        let limit = descriptors::raise()?;
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
        let age_ns = config.history.age.get().map_or(u64::MAX, |age| age.as_nanos() as u64);
        let limits =
            LogLimits { events: config.history.events.as_usize(), bytes: config.history.bytes.as_usize(), age_ns };
        let epoch = Epoch::new(seed);
        for schedule in &config.schedule {
            let topics = Topics::from_elem(schedule.topic(&config.default_topic), 1);
            limits.admit(&[Draft::encode(topics, &schedule.event(SystemTime::now(), u64::MAX), epoch)?])?;
        }

        let clock = Clock::start();
        let timers = Arc::new(Timers::new(0));
        let log = LogCell::new(epoch, limits);
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
        let state = Arc::new(State {
            bus: bus.clone(),
            metrics: metrics.clone(),
            clock,
            default_topic: config.default_topic.clone(),
            streams_max: plan.streams as usize,
            sockets_max: plan.sockets as usize,
            max_age: config.stream.max_age.get().map(|age| (age, config.stream.max_age_jitter.get())),
            retry: config.drain.retry.get(),
            body_bytes_max: config.limits.body_bytes.as_usize(),
            body_deadline: config.limits.body_deadline.get(),
            batch_events_max: config.limits.batch_events.as_usize(),
            handler,
            draining: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            publishing: AtomicUsize::new(0),
            seed: AtomicU64::new(seed),
        });

        let policies = Arc::new(config.policies());
        let mut shard_threads = Vec::new();
        for (index, (bell, mail)) in mailboxes.into_iter().enumerate() {
            let shard_config = ShardConfig {
                heartbeat: config.stream.heartbeat.get(),
                write_deadline: config.stream.write_deadline.get(),
                rest: config.pass.rest.get(),
                pass_interval_min: config.pass.interval_min.get(),
                policies: policies.clone(),
            };
            let seed = seed.rotate_left(index as u32 + 1);
            let (bus, timers, metrics) = (bus.clone(), timers.clone(), metrics.clone());
            let shard = Shard::new(index, seed, bell, mail, bus, timers, metrics, clock, shard_config)
                .map_err(io::Error::from)?;
            shard_threads.push(spawn(format!("shard-{index}"), move || shard.run())?);
        }
        let running: Vec<Running> = config
            .schedule
            .iter()
            .map(|schedule| Running { topic: schedule.topic(&config.default_topic), schedule: schedule.clone() })
            .collect();
        let ticker = {
            let (timers, bus, metrics) = (timers.clone(), bus.clone(), metrics.clone());
            spawn("ticker".to_owned(), move || ticker::run(&timers, clock, &bus, &metrics, &running))?
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
            drain_delay: config.drain.delay.get(),
            drain_window: config.drain.window.get(),
            drain_grace: config.drain.grace.get(),
            public_closing,
            control_closing,
            doors,
            control_door,
            shards: shard_threads,
            ticker: Some(ticker),
        })
    }

    fn tell_shards(&self, command: impl Fn() -> Command) {
        for shard in 0..self.state.bus.shards() {
            // A full inbox is emptied within a turn; a shard that is gone needs no telling.
            while self.state.bus.inbox(shard).push(command()).is_err()
                && self.shards.get(shard).is_some_and(|thread| !thread.is_finished())
            {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Ends all threads, the doors first, so that no stream comes to a shard that is gone.
    fn stop(&mut self) {
        self.state.close();
        self.public_closing.cancel();
        self.control_closing.cancel();
        let join = |thread: JoinHandle<()>| drop(thread.join());
        self.doors.drain(..).for_each(join);
        self.control_door.take().into_iter().for_each(join);
        self.state.bus.stop();
        self.tell_shards(|| Command::Stop);
        self.shards.drain(..).for_each(join);
        self.timers.stop();
        self.ticker.take().into_iter().for_each(join);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop();
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

/// Starts a thread that the gateway can't do without: should it panic, the process ends, loudly,
/// rather than go on with a part of its streams dead.
fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.clone()).spawn(move || {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {
            tracing::error!(thread = name, "a thread panicked; the process ends");
            std::process::abort();
        }
    })
}

/// Random bits from the standard library's hasher, which the system seeds.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(SystemTime::now())
}
