//! Streams that wait: each resumes after an event that another gateway has sent it, and that this one is yet to get.
//!
//! Each has its response head, and heartbeats. When the event is there, or it is known that it will not come, the stream
//! is opened as any other.

use crate::hub::close::CloseReason;
use crate::hub::frame::{Chunk, HEARTBEAT};
use crate::hub::stream::{Sent, Socket};
use crate::hub::subscribe::Subscribe;

use super::{Host, Shard, ShardTimer, heartbeat_ms, now_ms};

/// How often it is looked whether what they wait for has come.
const STEP_MS: u64 = 20;

/// A stream that waits.
pub(super) struct Waiting<S> {
    socket: S,
    subscribe: Subscribe,
    since_ns: u64,
    written_ms: u64,
}

impl<H: Host> Shard<H> {
    /// Sends a stream its response head, and has it wait.
    pub(super) fn wait(&mut self, host: &H, mut socket: H::Socket, subscribe: Subscribe, since_ns: u64) {
        self.head.clear();
        host.response_head(&subscribe, &mut self.head);
        if let Err(reason) = whole(&mut socket, &self.head) {
            return host.closed(socket, reason);
        }
        if self.ahead.is_empty() {
            host.arm(now_ms(host) + STEP_MS, ShardTimer::Ahead);
        }
        self.ahead.push(Waiting { socket, subscribe, since_ns, written_ms: now_ms(host) });
    }

    /// Opens those that need not wait any longer.
    pub(super) fn look_ahead(&mut self, host: &H) {
        let heartbeat = Chunk::new(HEARTBEAT);
        for mut waiting in std::mem::take(&mut self.ahead) {
            let Waiting { socket, subscribe, since_ns, written_ms } = &mut waiting;
            if !host.waits(&subscribe.resume, *since_ns) {
                self.admit(host, waiting.socket, waiting.subscribe, true);
                continue;
            }
            if now_ms(host) >= written_ms.saturating_add(heartbeat_ms(&self.settings)) {
                *written_ms = now_ms(host);
                if let Err(reason) = whole(socket, heartbeat.wire(subscribe.framing)) {
                    host.closed(waiting.socket, reason);
                    continue;
                }
            }
            self.ahead.push(waiting);
        }
        if !self.ahead.is_empty() {
            host.arm(now_ms(host) + STEP_MS, ShardTimer::Ahead);
        }
    }

    /// Ends those that wait: they have nothing yet, and will come back with the same id.
    pub(super) fn end_ahead(&mut self, host: &H, reason: CloseReason) {
        for Waiting { mut socket, subscribe, .. } in self.ahead.drain(..) {
            let last = subscribe.framing.last_bytes();
            if !last.is_empty() {
                socket.send(last);
            }
            host.closed(socket, reason);
        }
    }
}

/// Writes bytes whole. A socket that does not take a head or a heartbeat at once is not worth to wait.
fn whole(socket: &mut impl Socket, bytes: &[u8]) -> Result<(), CloseReason> {
    match socket.send(bytes) {
        Sent::Wrote(len) if len == bytes.len() => Ok(()),
        Sent::Gone => Err(CloseReason::ClientGone),
        Sent::Wrote(_) | Sent::Full | Sent::Failed => Err(CloseReason::WriteError),
    }
}
