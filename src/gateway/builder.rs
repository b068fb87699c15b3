//! What a gateway is built from.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::net::reply::{Reply, Request};
use crate::net::state::Handler;
use crate::ops::config::Config;
use crate::ops::schedule::Schedule;

use super::reload::ReadConfig;
use super::running::Gateway;

impl Gateway {
    /// A gateway with no address, no control listener and no schedule yet, and the default for
    /// everything else.
    pub fn builder() -> Builder {
        let config = Config { schedule: Vec::new(), ..Config::default() };
        Builder { config, listen: Vec::new(), control: None, handler: None, source: None }
    }
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
    pub(super) config: Config,
    pub(super) listen: Vec<SocketAddr>,
    pub(super) control: Option<SocketAddr>,
    pub(super) handler: Option<Handler>,
    pub(super) source: Option<ReadConfig>,
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
}
