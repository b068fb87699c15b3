//! The messages of a shard, and what it needs of the world around it.

use std::time::Duration;

use std::sync::Arc;

use crate::hub::close::CloseReason;
use crate::hub::holder::{Holder, Revocation};
use crate::hub::log::Resume;
use crate::hub::offset::Offset;
use crate::hub::policy::Policies;
use crate::hub::registry::look::{Look, Order};
use crate::hub::registry::{History, Registry, StreamKey, Tally};
use crate::hub::stream::Socket;
use crate::hub::subscribe::Subscribe;
use crate::hub::topic::TopicHandle;
use crate::hub::wheel::TimerKey;

/// A message to a shard. `S` is a socket, `Q` a question about its streams.
pub enum Message<S, Q> {
    /// A new stream.
    Open {
        /// Its socket, non-blocking.
        socket: S,
        /// What was granted.
        subscribe: Subscribe,
    },
    /// Something expired.
    Timer(ShardTimer),
    /// End all streams, spread over `window`, each with a `retry:` of about `retry`.
    Drain {
        /// Over how long they are spread.
        window: Duration,
        /// The mean of the jittered `retry:`.
        retry: Duration,
        /// The gateway ends: its streams get all that was published before, and those that come meanwhile are ended, too.
        for_good: bool,
    },
    /// Answer a question about its streams: which are the first `max` in an order.
    Ask {
        /// The order.
        order: Order,
        /// How many.
        max: usize,
        /// Who asks.
        question: Q,
    },
    /// End the streams of whom this is about.
    Revoke(Arc<Revocation>),
    /// A page of what has left the log has come.
    Page(u64),
    /// Close what is left and end.
    Stop,
}

/// What can expire in a shard.
#[derive(Clone, Copy, Debug)]
pub enum ShardTimer {
    /// The rest between two passes is over.
    Rest,
    /// The heartbeats' next slot is due.
    Heartbeat,
    /// The next streams are to be drained.
    Drain,
    /// Streams wait for the event that they resume after: it may have come.
    Ahead,
    /// A stream may have made no progress for too long.
    Progress(StreamKey),
    /// A stream has lasted as long as it may.
    End(StreamKey, CloseReason),
    /// A stream's own event is due.
    TimedEvent(StreamKey),
    /// There are new settings.
    Settings,
}

/// What of a stream's socket has changed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ready {
    /// The connection is gone.
    pub closed: bool,
    /// The peer sends nothing more; it may still read.
    pub half_closed: bool,
    /// There are bytes to read.
    pub readable: bool,
    /// It can take bytes.
    pub writable: bool,
}

/// The settings of a shard.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The longest rest after a pass, as a multiple of its processor time.
    pub rest_max: f64,
    /// The least time from one pass to the next.
    pub interval_min: Duration,
    /// How long a stream may be idle before it gets a heartbeat.
    pub heartbeat: Option<Duration>,
    /// Whether streams get marks, which say without an event how far they are.
    pub marks: bool,
    /// How long a full socket may make no progress.
    pub write_deadline: Duration,
    /// What happens to streams that are too slow.
    pub policies: Policies,
}

/// What surrounds a shard: the log, the time, sockets, and what other threads see of it.
pub trait Host {
    /// A socket on its way to the shard.
    type Arriving: Into<Self::Socket>;
    /// A stream's socket.
    type Socket: Socket;
    /// A question about the shard's streams.
    type Question;
    /// The log.
    type History: History;

    /// The log.
    fn history(&self) -> &Self::History;
    /// Whether what a stream wants to resume after is yet to come, as far as is known; it has asked at this time.
    fn waits(&self, resume: &Resume, since_ns: u64) -> bool;
    /// The offset behind which whoever reads the log is in danger of being lapped.
    fn halfway(&self) -> Offset;

    /// The time, in nanoseconds.
    fn now_ns(&self) -> u64;
    /// The processor time that this shard has used, in nanoseconds.
    fn cpu_ns(&self) -> u64;
    /// Has a timer expire.
    fn arm(&self, due_ms: u64, timer: ShardTimer) -> TimerKey;
    /// Takes a timer back. `false` if it has expired: then it is on its way.
    fn cancel(&self, timer: TimerKey) -> bool;

    /// Notes that the shard is awake: for what comes after this, it is woken again.
    fn awake(&self);
    /// The next message.
    fn message(&self) -> Option<Message<Self::Arriving, Self::Question>>;
    /// Whether there is none.
    fn is_inbox_empty(&self) -> bool;
    /// Says whether the shard wants to be woken for new events.
    fn listen(&self, listens: bool);
    /// Whether somebody has said, since the last call, that the log is about to lap the shard.
    fn take_endangered(&self) -> bool;
    /// Says up to which offset the shard has served its live streams.
    fn set_position(&self, position: Offset);
    /// Says that the shard has streams for this topic.
    fn join(&self, topic: &TopicHandle);
    /// Says that it has none any more.
    fn leave(&self, topic: &TopicHandle);
    /// Says whether it has streams with patterns.
    fn set_patterned(&self, has_patterns: bool);
    /// The settings that hold now.
    fn settings(&self) -> Settings;

    /// Whether somebody's streams were ended before this one came.
    fn is_revoked(&self, _holder: &Holder) -> bool {
        false
    }

    /// What a response begins with.
    fn response_head(&self, subscribe: &Subscribe, into: &mut Vec<u8>);
    /// Has what becomes of a stream's socket reported from now on. `false` if that can't be.
    fn watch(&self, key: StreamKey, socket: &mut Self::Socket, write_deadline: Duration) -> bool;
    /// The write deadline of open sockets has changed.
    fn set_write_deadline(&self, socket: &mut Self::Socket, write_deadline: Duration);
    /// Reads and drops what a client sent, up to about `max` bytes. `None` if the connection
    /// has failed.
    fn discard(&self, socket: &mut Self::Socket, max: usize) -> Option<usize>;
    /// A stream is no more.
    fn closed(&self, socket: Self::Socket, reason: CloseReason);

    /// Events accepted at these times (nanoseconds) have just been handed to this many sockets.
    fn delivered(&self, published_ns: &[u64], streams: u64);
    /// A pass, or a piece of one, took this processor time.
    fn busy(&self, cpu_ns: u64);
    /// A pass took this long, its pauses included.
    fn passed(&self, ns: u64);
    /// What has happened since the last call, and the streams as they are.
    fn count(&self, tally: &Tally, streams: &Registry<Self::Socket>);
    /// Answers a question with the streams that were asked for.
    fn answer<'a>(&self, question: Self::Question, looks: impl Iterator<Item = Look<'a, Self::Socket>>)
    where
        Self::Socket: 'a;
}
