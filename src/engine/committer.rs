//! The disk engine's one writer: it takes the publish calls that wait, appends them, syncs once, puts
//! them into the log in that order, and only then answers.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use crate::hub::frame::Draft;
use crate::hub::id::Epoch;
use crate::hub::log::Numbering;

use super::disk::store::{AppendError, Store};
use super::offset::Offset;
use super::record::Packed;
use super::status::{Phase, Status};
use super::waiting::{ENDED, WAITING_MAX, Waiting};
use super::wall::wall_ms;
use super::{Answer, Ids, NotStored, Stored};

/// How many bytes one sync is to carry at most.
const GROUP_BYTES: usize = 4 << 20;
/// How often it looks for segments to remove, and how long it leaves a disk alone that removes none.
const RETENTION: Duration = Duration::from_secs(1);
const RETENTION_AGAIN: Duration = Duration::from_secs(60);

/// What publishers hold.
pub struct Committer {
    asks: Sender<Ask>,
    waiting: Waiting,
    status: Arc<Status>,
}

/// A publish call that waits.
struct Offer {
    drafts: Vec<Draft>,
    pack: Packed,
    answer: Answer,
    /// The memory that it takes.
    bytes: usize,
}

enum Ask {
    Store(Offer),
    /// It is dropped when all before it is done.
    Flush(Sender<()>),
    Stop,
}

/// When the store is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syncs {
    /// Before each answer.
    Always,
    /// So often.
    Every(Duration),
}

/// What the writer needs of its surroundings.
pub struct Surroundings {
    /// Puts drafts into the log, with these numbers.
    pub accept: Box<dyn FnMut(Vec<Draft>, Numbering) + Send>,
    /// Milliseconds of a clock that never goes back.
    pub now_ms: Box<dyn Fn() -> u64 + Send>,
}

/// What the thread runs.
pub struct Writer {
    store: Store,
    epoch: Epoch,
    syncs: Syncs,
    asks: Receiver<Ask>,
    waiting: Waiting,
    surroundings: Surroundings,
}

impl Committer {
    /// A writer of this store, and what publishers hold of it.
    pub fn new(store: Store, syncs: Syncs, surroundings: Surroundings) -> (Committer, Writer) {
        let (sender, asks) = bounded(WAITING_MAX);
        let waiting = Waiting::new("too many bytes wait for the disk");
        let status = Arc::new(Status::new(Phase::Loading));
        let committer = Committer { asks: sender, waiting: waiting.clone(), status };
        let epoch = store.epoch();
        (committer, Writer { store, epoch, syncs, asks, waiting, surroundings })
    }

    /// What it is doing.
    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Has a pack stored, and its drafts put into the log then. The answer is given after that, or at once if too much
    /// waits or the writer has ended.
    pub(super) fn offer(&self, drafts: Vec<Draft>, pack: Packed, answer: Answer) {
        let bytes = pack.bytes().len() + drafts.iter().map(Draft::cost_bytes).sum::<usize>();
        let ask = Ask::Store(Offer { drafts, pack, answer, bytes });
        let unsent = self.waiting.enter(ask, bytes, |ask| match self.asks.try_send(ask) {
            Ok(()) => None,
            Err(TrySendError::Full(ask)) => Some(("too many publishers wait for the disk", ask)),
            Err(TrySendError::Disconnected(ask)) => Some((ENDED, ask)),
        });
        if let Some((why, Ask::Store(Offer { answer, .. }))) = unsent {
            answer(Err(NotStored::Busy(why)));
        }
    }

    pub(super) fn flush(&self) {
        let (done, end) = bounded(0);
        if self.asks.send(Ask::Flush(done)).is_ok() {
            // Nothing is ever sent: it fails when the other end is dropped.
            let _ = end.recv();
        }
    }

    pub(super) fn stop(&self) {
        let _ = self.asks.send(Ask::Stop);
    }
}

impl Writer {
    /// Writes until it is told to stop; then the store is closed.
    ///
    /// # Errors
    /// Why it is unknown what is on disk: the process has to end.
    pub fn run(mut self) -> Result<(), AppendError> {
        let mut retains_ms = (self.surroundings.now_ms)();
        let mut syncs_ms = None;
        let (mut group, mut flushed) = (Vec::new(), Vec::new());
        loop {
            let now_ms = (self.surroundings.now_ms)();
            let due_ms = syncs_ms.map_or(retains_ms, |syncs_ms: u64| syncs_ms.min(retains_ms));
            let mut next = match self.asks.recv_timeout(Duration::from_millis(due_ms.saturating_sub(now_ms))) {
                Ok(ask) => Some(ask),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Ask::Stop),
            };
            let (mut bytes, mut memory_bytes, mut stops) = (0, 0, false);
            while let Some(ask) = next {
                match ask {
                    Ask::Store(offer) => {
                        bytes += offer.pack.bytes().len();
                        memory_bytes += offer.bytes;
                        group.push(offer);
                    }
                    Ask::Flush(done) => flushed.push(done),
                    Ask::Stop => stops = true,
                }
                let full = bytes >= GROUP_BYTES || group.len() >= WAITING_MAX;
                next = if stops || full { None } else { self.asks.try_recv().ok() };
            }
            if !group.is_empty() {
                self.commit(&mut group)?;
            }
            self.waiting.leave(memory_bytes);
            flushed.clear();
            if stops {
                return self.store.close();
            }
            let now_ms = (self.surroundings.now_ms)();
            if let Syncs::Every(every) = self.syncs {
                if syncs_ms.is_some_and(|syncs_ms| syncs_ms <= now_ms) {
                    self.store.sync()?;
                    syncs_ms = None;
                }
                if syncs_ms.is_none() && self.store.unsynced() > 0 {
                    syncs_ms = Some(now_ms + every.as_millis() as u64);
                }
            }
            if retains_ms <= now_ms {
                retains_ms = now_ms + self.retain()?.as_millis() as u64;
            }
        }
    }

    /// Stores a group, all or none, and answers.
    fn commit(&mut self, group: &mut Vec<Offer>) -> Result<(), AppendError> {
        let (packs, waiting): (Vec<_>, Vec<_>) =
            group.drain(..).map(|Offer { drafts, pack, answer, .. }| (pack, (drafts, answer))).unzip();
        let stored = self.store.append(&packs).and_then(|sequences| {
            if self.syncs == Syncs::Always {
                self.store.sync()?;
            }
            Ok(sequences)
        });
        match stored {
            Ok(sequences) => {
                for (sequence, (drafts, answer)) in sequences.zip(waiting) {
                    let next = Offset::new(sequence, 0).get();
                    (self.surroundings.accept)(drafts, Numbering::From(next));
                    let ids = Ids { epoch: self.epoch, next, counts_live_only: false };
                    answer(Ok(Stored { ids, duplicate: false }));
                }
                Ok(())
            }
            Err(error) => {
                let text: Arc<str> = error.to_string().into();
                let unknown = matches!(error, AppendError::Failed { .. });
                for (_, answer) in waiting {
                    let text = text.clone();
                    answer(Err(if unknown { NotStored::Unknown(text) } else { NotStored::Refused(text) }));
                }
                if unknown || matches!(error, AppendError::Poisoned(_)) {
                    return Err(error);
                }
                tracing::error!(%error, packs = packs.len(), "events were refused");
                Ok(())
            }
        }
    }

    /// Removes what is no longer to be kept. Says when to look again.
    fn retain(&mut self) -> Result<Duration, AppendError> {
        match self.store.retain(wall_ms()) {
            Ok(retained) if retained.more => Ok(Duration::ZERO),
            Ok(_) => Ok(RETENTION),
            Err(error @ AppendError::Refused { .. }) => {
                tracing::warn!(%error, "an old segment stays");
                Ok(RETENTION_AGAIN)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use parking_lot::Mutex;

    use super::super::disk::kit::{open, options, pack};
    use super::super::disk::segment::Sync;
    use super::super::disk::sim::{Fault, Sim};
    use super::*;

    type Answers = Arc<Mutex<Vec<Result<u64, &'static str>>>>;

    /// A writer on a simulated disk, and the numbers that its log was given.
    fn writer(sim: &Sim) -> (Committer, Writer, Arc<Mutex<Vec<Numbering>>>) {
        let (store, _) = open(sim, options(Sync::Always, 1 << 20)).unwrap();
        let accepted = Arc::new(Mutex::new(Vec::new()));
        let (log, time) = (accepted.clone(), AtomicU64::new(0));
        let surroundings = Surroundings {
            accept: Box::new(move |_, numbers| log.lock().push(numbers)),
            now_ms: Box::new(move || time.fetch_add(1, Ordering::Relaxed)),
        };
        let (committer, writer) = Committer::new(store, Syncs::Always, surroundings);
        (committer, writer, accepted)
    }

    fn offer(committer: &Committer, text: &str, answers: &Answers) {
        let answers = answers.clone();
        let answer = move |stored: Result<Stored, NotStored>| {
            answers.lock().push(stored.map(|stored| stored.ids.next).map_err(|error| match error {
                NotStored::Busy(_) => "busy",
                NotStored::Refused(_) => "refused",
                NotStored::TooLarge(_) => "too large",
                NotStored::KeyReused => "reused",
                NotStored::Unknown(_) => "unknown",
            }));
        };
        committer.offer(Vec::new(), pack(text, 1), Box::new(answer));
    }

    #[test]
    fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
        let (sim, answers) = (Sim::new(), Answers::default());
        let (committer, writer, accepted) = writer(&sim);
        let thread = std::thread::spawn(|| writer.run());
        let publish = |text| {
            offer(&committer, text, &answers);
            committer.flush();
        };
        publish("one");
        sim.room(Some(0));
        publish("two");
        sim.room(None);
        publish("three");
        committer.stop();
        thread.join().unwrap().unwrap();
        let number = |sequence| Offset::new(sequence, 0).get();
        assert_eq!(*accepted.lock(), [1, 2].map(|sequence| Numbering::From(number(sequence))));
        // It has ended.
        offer(&committer, "four", &answers);
        assert_eq!(*answers.lock(), [Ok(number(1)), Err("refused"), Ok(number(2)), Err("busy")]);
    }

    #[test]
    fn a_sync_that_fails_ends_the_writer_and_nothing_unknown_reaches_the_log() {
        let (sim, answers) = (Sim::new(), Answers::default());
        let (committer, writer, accepted) = writer(&sim);
        (0..2).for_each(|_| offer(&committer, "x", &answers));
        // After the write.
        sim.fail_at(1, Fault::Fail);
        assert!(matches!(writer.run(), Err(AppendError::Failed { action: "sync", .. })));
        assert_eq!(*answers.lock(), [Err("unknown"); 2]);
        assert!(accepted.lock().is_empty());
    }

    #[test]
    fn what_waits_is_bounded() {
        let (sim, answers) = (Sim::new(), Answers::default());
        let (committer, writer, _) = writer(&sim);
        (0..WAITING_MAX + 1).for_each(|_| offer(&committer, "x", &answers));
        assert_eq!(answers.lock().drain(..).collect::<Vec<_>>(), [Err("busy")]);
        drop(committer);
        writer.run().unwrap();
        assert!(answers.lock().iter().all(Result::is_ok) && answers.lock().len() == WAITING_MAX);
    }
}
