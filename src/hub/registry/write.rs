//! Writing to one stream, and what a short or failed write means for it. All writes come through here.

use std::sync::Arc;

use crate::hub::close::CloseReason;
use crate::hub::frame::Chunk;
use crate::hub::run::{Cut, Run};
use crate::hub::stream::{Begun, Behind, Sent, Socket, State, Stream, StreamTimer, Then, Unsent, Waits};

use super::pins::Hold;
use super::{Effect, Registry, StreamKey, Tally};

/// What a write came to for its stream.
pub(super) enum Written<Part> {
    /// Its socket has taken all.
    All,
    /// Its socket is full, and has taken a part, or nothing.
    Part(Part),
    /// The stream is to be closed.
    Failed(CloseReason),
}

impl<S: Socket> Stream<S> {
    /// Writes bytes, and notes what the socket took of them.
    fn write(&mut self, bytes: &[u8], now_ms: u64, tally: &mut Tally) -> Written<usize> {
        let taken = match self.socket.send(bytes) {
            Sent::Wrote(taken) => taken,
            Sent::Full => return Written::Part(0),
            Sent::Gone => return Written::Failed(CloseReason::ClientGone),
            Sent::Failed => return Written::Failed(CloseReason::WriteError),
        };
        tally.bytes += taken as u64;
        tally.writes += 1;
        match &mut self.state {
            State::Live { written_ms, .. } => *written_ms = now_ms,
            State::Behind(behind) => behind.takes(taken, now_ms),
        }
        if taken == bytes.len() { Written::All } else { Written::Part(taken) }
    }

    /// Writes a run up to so many events, and notes which of them the stream has now.
    pub(super) fn write_run(&mut self, run: &Run, events: u32, now_ms: u64, tally: &mut Tally) -> Written<Cut> {
        match self.write(run.first(events as usize), now_ms, tally) {
            Written::All => {
                self.remaining.count_down(events);
                tally.deliveries += u64::from(events);
                Written::All
            }
            Written::Part(len) => {
                let cut = run.cut(len);
                // One that was begun will be finished, and is delivered then.
                self.remaining.count_down(cut.frames_begun as u32);
                tally.deliveries += cut.frames_whole() as u64;
                Written::Part(cut)
            }
            Written::Failed(reason) => Written::Failed(reason),
        }
    }
}

impl<S: Socket> Registry<S> {
    /// Writes bytes to one stream that has nothing begun. If its socket takes only a part, the
    /// stream is behind and holds the others. Says whether all was written.
    pub(super) fn write_or_hold(&mut self, key: StreamKey, mut unsent: Unsent, now_ms: u64) -> bool {
        let stream = self.streams.at(key.index());
        let cohort = stream.cohort;
        let bytes = unsent.bytes(self.cohorts.at(cohort).framing);
        match stream.write(bytes, now_ms, &mut self.tally) {
            Written::All => return true,
            Written::Part(len) => unsent.offset += len,
            Written::Failed(reason) => {
                self.close(key, reason);
                return false;
            }
        }
        if stream.is_live() {
            let through = self.served_through(cohort);
            self.fall_behind(key.index(), Behind::at(through, through, now_ms));
        }
        self.hold(key, Some(unsent));
        false
    }

    /// The socket of a stream that is behind is full: the stream goes on when it reports, with what it has begun.
    pub(super) fn hold(&mut self, key: StreamKey, unsent: Option<Unsent>) {
        let stream = self.streams.at(key.index());
        if stream.timers[StreamTimer::Progress as usize].is_none() {
            self.effects.push(Effect::AwaitProgress(key));
        }
        let State::Behind(behind) = &mut stream.state else { return };
        if let Some(Begun::Frame(frame)) = unsent.as_ref().map(|unsent| &unsent.begun) {
            self.pins.take(key.index(), Hold::Begun, frame);
        }
        behind.unsent = unsent;
        behind.waits = Waits::Socket;
        behind.slow = true;
    }

    /// A live stream is behind from now on.
    pub(super) fn fall_behind(&mut self, index: u32, mut behind: Box<Behind>) {
        let stream = self.streams.at(index);
        let State::Live { slot, written_ms } = stream.state else { return };
        behind.written_ms = written_ms;
        stream.state = State::Behind(behind);
        let cohort = stream.cohort;
        self.behind += 1;
        self.leave_live(cohort, slot);
    }

    /// Ends a stream that has nothing begun: writes the farewell and the response's last bytes.
    pub(super) fn finish(&mut self, key: StreamKey, reason: CloseReason, farewell: Option<&Arc<Chunk>>, now_ms: u64) {
        let stream = self.streams.at(key.index());
        let framing = self.cohorts.at(stream.cohort).framing;
        let mut bytes = farewell.map_or(Vec::new(), |farewell| farewell.wire(framing).to_vec());
        bytes.extend_from_slice(framing.last_bytes());
        if let Some(behind) = stream.behind_mut() {
            behind.then = Then::Close(reason);
        }
        let is_out = bytes.is_empty() || self.write_or_hold(key, Unsent::all_of(Begun::Bytes(bytes.into())), now_ms);
        if is_out {
            self.close(key, reason);
        } else if let Some(behind) = self.streams.get_mut(key).and_then(Stream::behind_mut) {
            behind.then = Then::Close(reason);
        }
    }
}
