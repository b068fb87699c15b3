//! A gateway: its parts put together, started, drained and stopped.

use std::convert::Infallible;
use std::error::Error;
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
use crate::net::admin::Turns;
use crate::net::clock::Clock;
use crate::net::connection::ConnectionLimits;
use crate::net::listener::{SocketOptions, bind, bind_all};
use crate::net::reply::{Reply, Request};
use crate::net::shard::{Command, Shard};
use crate::net::state::{Handler, State};
use crate::net::ticker::{self, Timer};
use crate::ops::config::{Config, ConfigError};
use crate::ops::descriptors::{self, Plan};
use crate::ops::logging;
use crate::ops::memory::MemorySum;
use crate::ops::metrics::{Bounds, Gauges, Metrics, ShardCells, Source};
use crate::ops::reload::{LiveConfig, Reloaded};
use crate::ops::schedule::Schedule;
use crate::ops::shutdown::{Hangups, Signals};

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

/// Why a new configuration was refused. The gateway goes on as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// It is not valid, or not beside what needs a restart.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A schedule publishes what can't be published.
    #[error("schedule: {0}")]
    Schedule(#[from] Fault),
}

/// Reads the configuration anew.
type ReadConfig = Arc<dyn Fn() -> Result<Config, Box<dyn Error + Send + Sync>> + Send + Sync>;

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
    source: Option<ReadConfig>,
}

impl Builder {
    /// The gateway that this configuration describes.
    pub fn from_config(config: Config) -> Builder {
        let listen = config.listen.addresses().to_vec();
        let control = Some(config.control);
        Builder { config, listen, control, handler: None, source: None }
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

    /// Has [`Builder::run`] ask for the configuration again at each SIGHUP, and apply it as
    /// [`Gateway::reload`] does. Without this, SIGHUP ends the process as it always did.
    pub fn on_hangup(
        mut self,
        source: impl Fn() -> Result<Config, Box<dyn Error + Send + Sync>> + Send + Sync + 'static,
    ) -> Builder {
        self.source = Some(Arc::new(source));
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
    pub fn run(mut self) -> Result<(), StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ran = runtime.block_on(async {
            let mut signals = Signals::new()?;
            let source = self.source.take().map(|source| Ok::<_, io::Error>((Hangups::new()?, source))).transpose()?;
            let gateway = self.start()?;
            let signal = tokio::select! {
                signal = signals.first() => signal,
                never = reload_at_hangups(source, gateway.state.clone(), gateway.timers.clone()) => match never {},
            };
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
        });
        // A file that can't be read to its end must not keep the process.
        runtime.shutdown_background();
        ran
    }
}

/// Reads and applies the configuration at each SIGHUP, one after the other. It is read on a thread of
/// its own, so that a file that hangs holds up nothing else.
async fn reload_at_hangups(
    source: Option<(Hangups, ReadConfig)>,
    state: Arc<State>,
    timers: Arc<Timers<Timer>>,
) -> Infallible {
    let Some((mut hangups, source)) = source else { return std::future::pending().await };
    loop {
        hangups.next().await;
        let (source, state, timers) = (source.clone(), state.clone(), timers.clone());
        let reloading = tokio::task::spawn_blocking(move || match source() {
            Ok(config) => drop(reload(&state, &timers, &config)),
            Err(error) => refused(&state, &*error),
        });
        if reloading.await.is_err() {
            tracing::error!("reading the configuration panicked; it stays as it was");
        }
    }
}

/// Puts a new configuration in the place of the one that runs: as a whole, or not at all.
fn reload(state: &State, timers: &Timers<Timer>, new: &Config) -> Result<Reloaded, ReloadError> {
    let planned = state.config.load().reload(new).map_err(ReloadError::from).and_then(|(next, reloaded)| {
        check_schedules(&next, state.bus.log.epoch())?;
        Ok((next, reloaded))
    });
    let (next, reloaded) = planned.inspect_err(|error| refused(state, error))?;
    logging::set_level(&next.log.level);
    state.config.store(Arc::new(next));
    // The ticker tells the shards, as it tells them whatever else has come due.
    timers.arm(state.clock.now_ms(), Timer::Reload);
    state.metrics.reloaded(true);
    reloaded.log();
    Ok(reloaded)
}

fn refused(state: &State, error: &dyn Error) {
    state.metrics.reloaded(false);
    tracing::error!(%error, "the new configuration is refused, and nothing has changed");
}

/// Whether all that the schedules will publish can be published.
fn check_schedules(config: &Config, epoch: Epoch) -> Result<(), Fault> {
    let limits = log_limits(config);
    for schedule in &config.schedule {
        let topics = Topics::from_elem(schedule.topic(&config.default_topic), 1);
        limits.admit(&[Draft::encode(topics, &schedule.event(SystemTime::now(), u64::MAX), epoch)?])?;
    }
    Ok(())
}

fn log_limits(config: &Config) -> LogLimits {
    let age_ns = config.history.age.get().map_or(u64::MAX, |age| age.as_nanos() as u64);
    LogLimits { events: config.history.events.as_usize(), bytes: config.history.bytes.as_usize(), age_ns }
}

/// A running gateway. Dropping it closes all streams at once; [`Gateway::drain`] is kinder.
pub struct Gateway {
    state: Arc<State>,
    timers: Arc<Timers<Timer>>,
    addresses: Vec<SocketAddr>,
    control_address: Option<SocketAddr>,
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
        Builder { config, listen: Vec::new(), control: None, handler: None, source: None }
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

    /// Applies what of a new configuration can change while the gateway runs: all of that, or nothing.
    /// Streams and publishers do not notice. Its schedules take the place of all that run, those of
    /// [`Builder::schedule`] included. What needs a restart stays as it was, and is told.
    /// `log.level` is the level of [`crate::ops::logging`], so without effect on a logger of your own.
    ///
    /// # Errors
    /// If the configuration is not valid, or not beside what needs a restart.
    pub fn reload(&self, new: &Config) -> Result<Reloaded, ReloadError> {
        reload(&self.state, &self.timers, new)
    }

    /// Ends the gateway kindly: readiness fails; after `drain.delay` the listeners close; then the
    /// streams are ended over `drain.window`, each with what was published so far and a jittered
    /// `retry:`. Blocks until that is done.
    pub fn drain(mut self) {
        self.state.draining.store(true, Ordering::Relaxed);
        self.state.metrics.set_draining();
        let drain = self.state.config.load().drain.clone();
        thread::sleep(drain.delay.get());
        self.state.close();
        self.public_closing.cancel();
        let (window, retry) = (drain.window.get(), drain.retry.get());
        self.tell_shards(|| Command::Drain { window, retry });
        let gives_up_ms = self.state.clock.now_ms() + (window + drain.grace.get()).as_millis() as u64;
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
        let Builder { config, listen, control, handler, source: _ } = builder;
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
        let epoch = Epoch::new(seed);
        check_schedules(&config, epoch)?;

        let clock = Clock::start();
        let timers = Arc::new(Timers::new(0));
        let log = LogCell::new(epoch, log_limits(&config));
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
            handler,
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
            let shard =
                Shard::new(index, seed, bell, mail, bus, timers, metrics, clock, live).map_err(io::Error::from)?;
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
