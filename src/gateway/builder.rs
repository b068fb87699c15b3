//! What a gateway is built from.

use std::error::Error;
use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use http::Method;

use crate::net::handler::Handler;
use crate::net::reply::{Reply, Request};
use crate::ops::config::Config;
use crate::ops::schedule::Schedule;

use super::listen::Listen;
use super::reload::ReadConfig;
use super::running::Gateway;

impl Gateway {
    /// A gateway with no address, no control listener and no schedule yet, and the default for
    /// everything else.
    pub fn builder() -> Builder {
        let config = Config { schedule: Vec::new(), ..Config::default() };
        Builder { listen: Vec::new(), control: None, ..Builder::from_config(config) }
    }
}

/// What a gateway is built from.
///
/// ```no_run
/// # use sluicegate::{Event, Gateway};
/// let gateway = Gateway::builder().listen("127.0.0.1:8080".parse()?).start()?;
/// gateway.publisher().publish("news", Event::new("hello"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "it does nothing until it is started"]
pub struct Builder {
    pub(super) config: Config,
    pub(super) listen: Vec<Listen>,
    pub(super) listen_tls: Vec<Listen>,
    pub(super) control: Option<Listen>,
    pub(super) health: Option<Listen>,
    pub(super) handler: Option<Handler>,
    pub(super) methods: Option<Vec<Method>>,
    pub(super) source: Option<ReadConfig>,
    pub(super) raise_descriptor_limit: bool,
    pub(super) notify_systemd: bool,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut builder = f.debug_struct("Builder");
        builder.field("listen", &self.listen).field("control", &self.control).field("config", &self.config);
        builder.field("handler", &self.handler.is_some()).finish_non_exhaustive()
    }
}

impl Builder {
    /// The gateway that this configuration describes.
    pub fn from_config(config: Config) -> Builder {
        let listen = config.listen.addresses().iter().copied().map(Listen::Address).collect();
        let listen_tls = config.tls.addresses().iter().copied().map(Listen::Address).collect();
        let control = Some(Listen::Address(config.control));
        let health = config.health.address().map(Listen::Address);
        Builder {
            config,
            listen,
            listen_tls,
            control,
            health,
            handler: None,
            methods: None,
            source: None,
            raise_descriptor_limit: false,
            notify_systemd: false,
        }
    }

    /// Also listens for streams on this address. Port 0 asks for a free one: see
    /// [`Gateway::addresses`].
    pub fn listen(mut self, address: SocketAddr) -> Builder {
        self.listen.push(Listen::Address(address));
        self
    }

    /// Also listens for streams on this socket, which is bound already: by whoever started the process,
    /// or with options of your own. It gets those that accepted connections must inherit.
    pub fn listen_on(mut self, socket: TcpListener) -> Builder {
        self.listen.push(Listen::Socket(socket));
        self
    }

    /// Listens for streams on these sockets only, in the place of all addresses so far: those of the configuration, say.
    pub fn listen_only_on(mut self, sockets: impl IntoIterator<Item = TcpListener>) -> Builder {
        self.listen = sockets.into_iter().map(Listen::Socket).collect();
        self
    }

    /// Listens for streams over TLS on these sockets only, in the place of the addresses of `tls.listen`. The certificates are those
    /// of `tls.cert`.
    pub fn listen_tls_only_on(mut self, sockets: impl IntoIterator<Item = TcpListener>) -> Builder {
        self.listen_tls = sockets.into_iter().map(Listen::Socket).collect();
        self
    }

    /// Listens for publishers and scrapes on this address, which must not be reachable from
    /// outside: whoever reaches it may publish.
    pub fn control(mut self, address: SocketAddr) -> Builder {
        self.control = Some(Listen::Address(address));
        self
    }

    /// Listens for publishers and scrapes on this socket, as [`Builder::control`].
    pub fn control_on(mut self, socket: TcpListener) -> Builder {
        self.control = Some(Listen::Socket(socket));
        self
    }

    /// Listens for probes and scrapes on this address. What it answers changes nothing.
    pub fn health(mut self, address: SocketAddr) -> Builder {
        self.health = Some(Listen::Address(address));
        self
    }

    /// Listens for probes and scrapes on this socket, as [`Builder::health`].
    pub fn health_on(mut self, socket: TcpListener) -> Builder {
        self.health = Some(Listen::Socket(socket));
        self
    }

    /// Tells systemd, where it started the process by a unit with `Type=notify`, that the gateway is ready, reloads
    /// or stops, and that it is alive, if the unit has a `WatchdogSec=`. Only [`Builder::run`] does so.
    pub fn notify_systemd(mut self, notify: bool) -> Builder {
        self.notify_systemd = notify;
        self
    }

    /// Publishes an event to a topic again and again, first after one period: one timer, however
    /// many streams there are.
    pub fn schedule(mut self, schedule: Schedule) -> Builder {
        self.config.schedule.push(schedule);
        self
    }

    /// Answers the GET requests on the public listener, and those for HEAD with the head of the same
    /// answer. The gateway itself answers OPTIONS, and refuses other methods: see [`Builder::methods`].
    ///
    /// The handler and its future run on the acceptors' threads, on a tokio runtime with timers and
    /// I/O, and must not block. One that panics costs its request, which is answered 500.
    ///
    /// ```
    /// # use sluicegate::{Gateway, Reply, Request, StreamReply, Topic};
    /// let news = Topic::parse("news")?;
    /// let builder = Gateway::builder().on_request(move |request: Request| {
    ///     let news = news.clone();
    ///     async move {
    ///         match request.uri().path() {
    ///             "/news" => Reply::from(StreamReply::new().topic(news)),
    ///             "/hello" => Reply::text("hello"),
    ///             _ => Reply::routes(),
    ///         }
    ///     }
    /// });
    /// # Ok::<(), sluicegate::TopicError>(())
    /// ```
    pub fn on_request<F, A>(mut self, handler: F) -> Builder
    where
        F: Fn(Request) -> A + Send + Sync + 'static,
        A: Future<Output: Into<Reply>> + Send + 'static,
    {
        self.handler = Some(Handler::new(handler));
        self
    }

    /// Asks the handler for these methods, GET only if it is among them. OPTIONS that is not among
    /// them is answered with the list, as a CORS preflight; any other gets 405.
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Builder {
        self.methods = Some(methods.into_iter().collect());
        self
    }

    /// Raises the process' soft limit on open files to the hard one when the gateway starts. Each
    /// stream takes a file descriptor, and the usual soft limit is 1024. Off unless asked for.
    pub fn raise_descriptor_limit(mut self, raise: bool) -> Builder {
        self.raise_descriptor_limit = raise;
        self
    }

    /// Has [`Builder::run`] and [`Gateway::run_until_signal`] ask for the configuration again at each SIGHUP, and apply it as
    /// [`Gateway::reload`] does. Without this, SIGHUP ends the process as it always did.
    pub fn on_hangup(
        mut self,
        source: impl Fn() -> Result<Config, Box<dyn Error + Send + Sync>> + Send + Sync + 'static,
    ) -> Builder {
        self.source = Some(Arc::new(source));
        self
    }
}
