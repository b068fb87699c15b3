//! The NATS engine: kept events in one JetStream stream, which all gateways of a namespace share.
//!
//! ```text
//!   publishers ──▶ Publisher ──▶ stream SG_<namespace> ──▶ Reader ──▶ the log in memory
//!     (any node)      ▲              │ sequence                (every node)
//!                     └── ack ◀──────┘
//! ```
//! A message is a pack: one publish call, or several that waited together. What a publisher is told comes from the
//! server's acknowledgement; what streams are sent comes from the reader alone, so that all nodes have one order.
//! Three threads, each with a connection of its own: reading a flood delays no acknowledgement. The third reads what has
//! left the log, for streams that want it, and connects when there is one.

mod api;
pub mod archive;
mod connect;
mod names;
mod publish;
mod memory;
mod message;
mod reader;
pub mod settings;
mod stream;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::facts::{Changed, Facts, Restart};
use super::pack::Packs;
use super::status::{Phase, Status};
use super::{Answer, NotStored};

use connect::Link;
use names::Names;
use settings::Settings;
use stream::Identity;

pub use archive::Replayer;
pub use publish::Publisher;
pub use reader::{Reader, Surroundings};

/// What publishers hold of the engine.
pub struct Cluster {
    asks: publish::Asks,
    shared: Arc<Shared>,
}

/// What the threads share.
struct Shared {
    settings: Settings,
    names: Names,
    status: Arc<Status>,
    facts: Arc<Facts>,
    /// The publisher's connection.
    link: Arc<Link>,
    /// Nothing is taken any more.
    stops: CancellationToken,
    /// The stream is not ours any more: it answers to another name.
    foreign: AtomicBool,
    held: Mutex<Held>,
}

/// The stream that the reader follows, as others may know it by.
#[derive(Clone, Default)]
struct Held {
    identity: Option<Identity>,
    /// The sequence of the newest message that this node has, and when that was stored.
    newest: Option<(u64, u64)>,
}

/// Why the engine can't do what it is to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ClusterError(String);

impl Cluster {
    /// An engine of these settings, and what its threads run.
    pub fn new(settings: Settings) -> (Cluster, Publisher, Reader, Replayer) {
        let shared = Arc::new(Shared {
            names: Names::new(&settings.namespace),
            status: Arc::new(Status::with_grace(Phase::Connecting, settings.ready_grace)),
            settings,
            facts: Arc::default(),
            link: Arc::default(),
            stops: CancellationToken::new(),
            foreign: AtomicBool::new(false),
            held: Mutex::default(),
        });
        let (asks, publisher) = publish::new(shared.clone());
        let reader = Reader::new(shared.clone());
        (Cluster { asks, shared: shared.clone() }, publisher, reader, Replayer::new(shared))
    }

    /// What it is doing.
    pub fn status(&self) -> &Arc<Status> {
        &self.shared.status
    }

    /// What is counted.
    pub fn facts(&self) -> &Arc<Facts> {
        &self.shared.facts
    }

    /// Has packs stored and passed on, and answered then; at once, if that can't be now.
    pub(super) fn offer(&self, packs: Packs, key: Option<&str>, answer: Answer) {
        if let Err(error) = self.shared.takes(&packs) {
            return answer(Err(error));
        }
        self.asks.offer(packs, key, answer);
    }

    pub(super) fn flush(&self) {
        self.asks.flush();
    }

    pub(super) fn stop(&self) {
        self.shared.stops.cancel();
    }
}

impl Shared {
    fn held(&self) -> Held {
        self.held.lock().clone()
    }

    /// Whether it may be tried to store these now.
    fn takes(&self, packs: &Packs) -> Result<(), NotStored> {
        // The library would hold what it can't send, and send it later: perhaps when it was called a failure long ago.
        if self.status.phase() != Phase::Ready || !self.link.is_up() {
            return Err(NotStored::Busy("the engine is away"));
        }
        if self.foreign.load(Ordering::Relaxed) {
            return Err(NotStored::Busy("another stream takes the engine's subjects"));
        }
        let bytes = [&packs.kept, &packs.live_only].into_iter().flatten().map(|pack| pack.bytes().len()).max();
        let (bytes, max) = (bytes.unwrap_or(0) + publish::HEADER_BYTES, self.facts.max_payload());
        if bytes > max {
            let text = format!("its events take {bytes} bytes in one message, the engine's max_payload is {max}");
            return Err(NotStored::TooLarge(text.into()));
        }
        Ok(())
    }
}
