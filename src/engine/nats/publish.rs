//! Publishing: what waits goes to the stream, is tried again until it is acknowledged or too late, and is answered.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{Client, HeaderMap, Request};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::engine::offset::{EVENTS_MAX, Offset, SEQUENCE_MAX};
use crate::engine::pack::Packs;
use crate::engine::record::{Packed, Record, join};
use crate::engine::waiting::{ENDED, WAITING_MAX, Waiting};
use crate::engine::{Answer, Ids, NotStored, Stored};
use crate::hub::id::Epoch;

use super::Shared;
use super::api::{self, Failed, Refusal};
use super::connect::{NotConnected, connect};
use super::message::{VERSION, VERSION_FIELD};

/// The memory that a call takes beside its events.
const CALL_BYTES: usize = 512;
/// How many bytes calls are put together to at most.
const JOINED_BYTES_MAX: usize = 256 << 10;
/// What a message takes beside its pack: names, subject and header fields.
pub(super) const HEADER_BYTES: usize = 512;
/// How long one attempt may take, and how long it is until the next.
const ATTEMPT: Duration = Duration::from_secs(2);
const AGAIN: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// What publishers hold.
pub(super) struct Asks {
    sender: mpsc::Sender<Ask>,
    waiting: Waiting,
}

enum Ask {
    Publish(Offer),
    /// It is dropped when all before it is done.
    Flush(crossbeam_channel::Sender<()>),
}

struct Offer {
    packs: Packs,
    key: Option<Box<str>>,
    answer: Answer,
    bytes: usize,
}

/// What the publisher's thread runs.
pub struct Publisher {
    shared: Arc<Shared>,
    asks: mpsc::Receiver<Ask>,
    waiting: Waiting,
}

pub(super) fn new(shared: Arc<Shared>) -> (Asks, Publisher) {
    let (sender, asks) = mpsc::channel(WAITING_MAX);
    let waiting = Waiting::new("too many bytes wait for the engine");
    let publisher = Publisher { shared, asks, waiting: waiting.clone() };
    (Asks { sender, waiting }, publisher)
}

impl Asks {
    pub(super) fn offer(&self, packs: Packs, key: Option<&str>, answer: Answer) {
        let packed = [&packs.kept, &packs.live_only].into_iter().flatten();
        let bytes = CALL_BYTES + packed.map(|pack| pack.bytes().len()).sum::<usize>();
        let ask = Ask::Publish(Offer { packs, key: key.map(Box::from), answer, bytes });
        let unsent = self.waiting.enter(ask, bytes, |ask| match self.sender.try_send(ask) {
            Ok(()) => None,
            Err(mpsc::error::TrySendError::Full(ask)) => Some(("too many publishers wait for the engine", ask)),
            Err(mpsc::error::TrySendError::Closed(ask)) => Some((ENDED, ask)),
        });
        if let Some((why, Ask::Publish(Offer { answer, .. }))) = unsent {
            answer(Err(NotStored::Busy(why)));
        }
    }

    pub(super) fn flush(&self) {
        let (done, end) = crossbeam_channel::bounded::<()>(0);
        let mut ask = Ask::Flush(done);
        while let Err(mpsc::error::TrySendError::Full(back)) = self.sender.try_send(ask) {
            ask = back;
            std::thread::sleep(Duration::from_millis(1));
        }
        // Nothing is ever sent: it fails when the other end is dropped.
        let _ = end.recv();
    }
}

impl Publisher {
    /// Publishes until the engine stops. `epoch` is that of ids, `now_ms` a clock that never goes back.
    ///
    /// # Errors
    /// If the system refuses what a runtime needs.
    pub fn run(
        self,
        epoch: impl Fn() -> Epoch + Send + Sync + 'static,
        now_ms: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.publish(Surroundings { epoch: Box::new(epoch), now_ms: Box::new(now_ms) }.into()));
        Ok(())
    }

    async fn publish(mut self, surroundings: Arc<Surroundings>) {
        let shared = self.shared.clone();
        // A fault in the settings is told by the reader.
        let client = match connect(&shared.settings, "publisher", &shared.link, true).await {
            Ok(client) => client,
            Err(NotConnected::Later(_) | NotConnected::Never(_)) => return,
        };
        let in_flight = shared.settings.publish_in_flight;
        let (mut waiting, mut under_way, mut flushed) = (VecDeque::new(), JoinSet::new(), Vec::new());
        loop {
            while under_way.len() < in_flight && !waiting.is_empty() {
                // With as many on the way as may be, what waits goes together.
                let joins = under_way.len() + 1 == in_flight;
                let calls = next_message(&mut waiting, joins);
                let message =
                    Message { shared: shared.clone(), client: client.clone(), surroundings: surroundings.clone() };
                let (bytes, memory) = (calls.iter().map(|call| call.bytes).sum(), self.waiting.clone());
                under_way.spawn(async move {
                    message.publish(calls).await;
                    memory.leave(bytes);
                });
            }
            if waiting.is_empty() && under_way.is_empty() {
                flushed.clear();
            }
            tokio::select! {
                biased;
                Some(_) = under_way.join_next() => {}
                ask = self.asks.recv(), if waiting.len() < WAITING_MAX => match ask {
                    Some(Ask::Publish(offer)) => waiting.push_back(offer),
                    Some(Ask::Flush(done)) => flushed.push(done),
                    None => return,
                },
                () = shared.stops.cancelled() => break,
            }
        }
        // Who waits still is told that it is unknown, by dropping what was to answer.
        under_way.shutdown().await;
    }
}

/// Takes the calls of the next message: one, or several without keys.
fn next_message(waiting: &mut VecDeque<Offer>, joins: bool) -> Vec<Offer> {
    let mut calls: Vec<Offer> = waiting.pop_front().into_iter().collect();
    let joinable = |offer: &Offer| offer.key.is_none() && offer.packs.kept.is_some();
    if !joins || !calls.iter().all(joinable) {
        return calls;
    }
    let size = |offer: &Offer| offer.packs.kept.as_ref().map_or((0, 0), |pack| (pack.events(), pack.bytes().len()));
    let (mut events, mut bytes) = calls.first().map_or((0, 0), size);
    while let Some(next) = waiting.front().filter(|next| joinable(next)) {
        let (more_events, more_bytes) = size(next);
        (events, bytes) = (events + more_events, bytes + more_bytes);
        if events > EVENTS_MAX || bytes > JOINED_BYTES_MAX {
            break;
        }
        calls.extend(waiting.pop_front());
    }
    calls
}

/// What the server answers to a message.
#[derive(Debug, Deserialize)]
struct Ack {
    #[serde(rename = "seq")]
    sequence: u64,
    #[serde(default)]
    duplicate: bool,
}

/// What it needs of the gateway.
struct Surroundings {
    epoch: Box<dyn Fn() -> Epoch + Send + Sync>,
    now_ms: Box<dyn Fn() -> u64 + Send + Sync>,
}

struct Message {
    shared: Arc<Shared>,
    client: Client,
    surroundings: Arc<Surroundings>,
}

impl Message {
    async fn publish(&self, mut calls: Vec<Offer>) {
        let kept: Vec<Packed> = calls.iter_mut().filter_map(|call| call.packs.kept.take()).collect();
        let stored = match kept.as_slice() {
            [] => Ok(None),
            [one] => self.store(one, calls[0].key.as_deref()).await.map(Some),
            several => self.store(&join(several), None).await.map(Some),
        };
        let mut index = 0;
        for (at, call) in calls.into_iter().enumerate() {
            let answer = match &stored {
                Ok(ack) => {
                    let duplicate = ack.as_ref().is_some_and(|ack| ack.duplicate);
                    if let Some(live_only) = call.packs.live_only.filter(|_| !duplicate) {
                        self.pass_on(live_only).await;
                    }
                    let next = ack.as_ref().map_or(0, |ack| Offset::new(ack.sequence, index).get());
                    index += kept.get(at).map_or(0, Packed::events);
                    let ids = Ids { epoch: (self.surroundings.epoch)(), next, counts_live_only: false };
                    Ok(Stored { ids, duplicate })
                }
                Err(error) => Err(error.clone()),
            };
            (call.answer)(answer);
        }
    }

    /// Sends live-only events to all nodes, this one too. Who is not there does not get them.
    async fn pass_on(&self, pack: Packed) {
        let mut headers = HeaderMap::new();
        headers.insert(VERSION_FIELD, VERSION);
        let subject = self.shared.names.live();
        if let Err(error) = self.client.publish_with_headers(subject, headers, pack.bytes().to_vec().into()).await {
            tracing::warn!(%error, "live-only events were not passed on");
        }
    }

    /// Stores a pack: tries until it is acknowledged, refused for good, or too late. All attempts have one message
    /// id, so that the server keeps one of them.
    async fn store(&self, pack: &Packed, key: Option<&str>) -> Result<Ack, NotStored> {
        let names = &self.shared.names;
        let record = Record::decode(pack.bytes()).expect("Invariant: it was encoded here");
        let subject = names.subject_of(&record);
        let id = key.map_or_else(
            || format!("r/{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)),
            |key| format!("k/{key}"),
        );
        let mut headers = HeaderMap::new();
        headers.insert(VERSION_FIELD, VERSION);
        headers.insert("Nats-Msg-Id", id);
        headers.insert("Nats-Expected-Stream", names.stream.as_str());
        let payload = bytes::Bytes::copy_from_slice(pack.bytes());
        let now_ms = &self.surroundings.now_ms;
        let gives_up_ms = now_ms() + self.shared.settings.publish_timeout.as_millis() as u64;
        let left = || Duration::from_millis(gives_up_ms.saturating_sub(now_ms()));
        let [mut again, again_max] = AGAIN;
        let mut doubt = false;
        loop {
            let why = if self.shared.link.is_up() && !left().is_zero() {
                let request = Request::new().payload(payload.clone()).headers(headers.clone());
                let answer =
                    self.client.send_request(subject.clone(), request.timeout(Some(left().min(ATTEMPT)))).await;
                match answer.as_ref().map(|answer| api::read::<Ack>(&answer.payload)) {
                    Ok(Ok(ack)) if ack.sequence <= SEQUENCE_MAX => return Ok(ack),
                    Ok(Ok(ack)) => {
                        return Err(NotStored::Unknown(format!("the sequence {} is too large", ack.sequence).into()));
                    }
                    Ok(Err(Failed::Refused(refusal))) => match self.refused(&refusal) {
                        Some(error) => return Err(error),
                        None => refusal.to_string(),
                    },
                    Ok(Err(failed)) => {
                        doubt = true;
                        failed.to_string()
                    }
                    // Nobody was there to take it.
                    Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                        "no server has the stream".to_owned()
                    }
                    Err(error) => {
                        doubt = true;
                        error.to_string()
                    }
                }
            } else {
                "the engine is away".to_owned()
            };
            if left() <= again {
                return Err(if doubt {
                    let text = format!("{why}: it may have been stored; repeat it with an Idempotency-Key to be sure");
                    NotStored::Unknown(text.into())
                } else {
                    NotStored::Refused(format!("not stored: {why}").into())
                });
            }
            sleep(again).await;
            again = (again * 2).min(again_max);
        }
    }

    /// What an answer means that says no: `None` where it is worth another try.
    fn refused(&self, refusal: &Refusal) -> Option<NotStored> {
        /// The stream that answered has another name.
        const OTHER_STREAM: u32 = 10060;
        /// The message is longer than the stream takes.
        const TOO_LONG: u32 = 10054;
        /// There is no room: for the stream, the account, the server, its disk.
        const NO_ROOM: [u32; 4] = [10077, 10047, 10023, 10028];
        if refusal.err_code == OTHER_STREAM {
            if !self.shared.foreign.swap(true, Ordering::Relaxed) {
                tracing::error!(stream = self.shared.names.stream, %refusal, "another stream takes the engine's subjects");
            }
            return Some(NotStored::Refused("not stored: another stream takes the engine's subjects".into()));
        }
        if refusal.err_code == TOO_LONG {
            return Some(NotStored::TooLarge(format!("the engine refuses it: {refusal}").into()));
        }
        let transient = matches!(refusal.code, 429 | 503) && !NO_ROOM.contains(&refusal.err_code);
        (!transient).then(|| NotStored::Refused(format!("not stored: {refusal}").into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::pack::pack;
    use crate::hub::event::Event;
    use crate::hub::topic::{Topics, handle};

    fn offer(events: usize, data_bytes: usize, key: Option<&str>) -> Offer {
        let (topics, event) = (Topics::one(handle("a")), Event::new("x".repeat(data_bytes)));
        let kept = pack(std::iter::repeat_n((&topics, &event), events), 0, key).unwrap();
        Offer { packs: Packs { kept, live_only: None }, key: key.map(Box::from), answer: Box::new(|_| {}), bytes: 0 }
    }

    /// How many calls go together, message by message.
    fn messages(offers: impl IntoIterator<Item = Offer>, joins: bool) -> Vec<usize> {
        let mut waiting: VecDeque<_> = offers.into_iter().collect();
        std::iter::from_fn(|| Some(next_message(&mut waiting, joins).len()).filter(|calls| *calls > 0)).collect()
    }

    #[test]
    fn what_waits_goes_together_within_bounds_and_never_with_a_key() {
        let many = || (0..5).map(|_| offer(1, 10, None));
        assert_eq!(messages(many(), false), [1; 5]);
        assert_eq!(messages(many(), true), [5]);
        assert_eq!(
            messages([offer(1, 1, None), offer(1, 1, Some("k")), offer(1, 1, None), offer(1, 1, None)], true),
            [1, 1, 2]
        );
        assert_eq!(messages([offer(1, 200_000, None), offer(1, 100_000, None)], true), [1, 1]);
        assert_eq!(messages([offer(EVENTS_MAX, 1, None), offer(1, 1, None)], true), [1, 1]);
        let live_only = Offer { packs: Packs::default(), ..offer(1, 1, None) };
        assert_eq!(messages([offer(1, 1, None), live_only, offer(1, 1, None)], true), [1, 1, 1]);
    }
}
