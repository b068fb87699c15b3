//! The reader: brings the stream's messages into the log, in the stream's order, and notices where they are missing
//! and when the stream is no longer what it was.
//!
//! It reads by a push consumer of its own making, which begins **at** the newest message that this node has, not after
//! it: the first that comes must be that one, with the same sequence and time. A stream that was made anew, or a server
//! that came back with less, shows itself by that, and by nothing else for sure.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::{Client, StatusCode, Subscriber};
use crossbeam_channel::Sender;
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::engine::Ids;
use crate::engine::entropy::random;
use crate::engine::keys::Keys;
use crate::engine::load::drafts;
use crate::engine::offset::{EVENTS_MAX, Offset, SEQUENCE_MAX};
use crate::engine::record::Record;
use crate::engine::status::Phase;
use crate::engine::wall::wall_ms;
use crate::exchange::bus::Bus;
use crate::exchange::topics::TopicTable;
use crate::hub::id::Epoch;
use crate::hub::log::Numbering;

use super::api::{self, Failed};
use super::connect::{Link, NotConnected, connect};
use super::memory::{Memory, Seen};
use super::message::{Message, Unreadable};
use super::stream::{self, Identity, Info};
use super::{Changed, ClusterError, Held, Restart, Shared};

/// How often the server says that it is there, and how many steps of `STEP` nothing may come.
const HEARTBEAT: Duration = Duration::from_millis(500);
const STEP: Duration = Duration::from_millis(250);
const SILENT_STEPS: u32 = 6;
/// How often the stream is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// A stream with less than this node saw is looked at again so often, and after so long.
const LESS_MAX: u32 = 6;
const LESS: Duration = Duration::from_millis(500);
/// After so many steps without a message what is still missing does not come.
const IDLE_STEPS: u32 = 8;
/// From one attempt to the next.
const AGAIN: Duration = Duration::from_millis(250);
/// How long a gateway that starts waits for what does not answer.
const START: Duration = Duration::from_secs(30);
/// How long a server that is up may take until it has JetStream.
const JETSTREAM: Duration = Duration::from_secs(5);
/// How long it takes until all nodes that write an epoch at once have done so.
const EPOCH_SETTLES: Duration = Duration::from_secs(1);
/// After so long there is a line that says how far the loading is, again and again.
const PROGRESS: Duration = Duration::from_secs(2);

/// What the reader's thread runs.
pub struct Reader {
    shared: Arc<Shared>,
}

/// What was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Events.
    pub events: u64,
    /// Messages that are missing or can't be read.
    pub lost_packs: u64,
}

/// What the reader needs of the gateway.
pub struct Surroundings<M> {
    /// The log, and who is to be woken.
    pub bus: Arc<Bus<M>>,
    /// The topics.
    pub topics: TopicTable,
    /// The idempotency keys.
    pub keys: Arc<Keys>,
    /// The time, in nanoseconds.
    pub now_ns: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Reader {
        Reader { shared }
    }

    /// Loads what there is, says so, and follows the stream until the engine stops.
    ///
    /// # Errors
    /// If the system refuses what a runtime needs.
    pub fn run<M: Send + 'static>(
        self,
        surroundings: Surroundings<M>,
        loaded: Sender<Result<Loaded, ClusterError>>,
    ) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stops = self.shared.stops.clone();
        let following = self.follow_all(surroundings, loaded);
        runtime.block_on(async {
            tokio::select! {
                () = following => {}
                () = stops.cancelled() => {}
            }
        });
        Ok(())
    }

    async fn follow_all<M>(self, surroundings: Surroundings<M>, loaded: Sender<Result<Loaded, ClusterError>>) {
        let shared = self.shared;
        let memory = Memory::open(&shared.settings).map_err(ClusterError);
        let begun = async {
            let memory = memory?;
            let (client, link, info, identity) = begin(&shared, &*surroundings.now_ns).await?;
            let (info, identity) = recognize(&shared, &client, memory.as_ref(), info, identity).await?;
            Ok((client, link, memory, info, identity))
        };
        let (client, link, memory, info, identity) = match begun.await {
            Ok(begun) => begun,
            Err(error) => {
                shared.status.set(Phase::Faulted);
                let _ = loaded.send(Err(error));
                return;
            }
        };
        shared.facts.set_max_payload(client.server_info().max_payload);
        let live = match client.subscribe(shared.names.live()).await {
            Ok(live) => live,
            Err(error) => {
                let _ = loaded.send(Err(ClusterError(format!("can't subscribe: {error}"))));
                return;
            }
        };
        shared.status.set(Phase::Loading);
        let mut following = Following {
            shared,
            surroundings,
            client,
            live,
            identity,
            head: 0,
            held_ns: None,
            target: 0,
            is_ready: false,
            link,
            memory,
            looked: None,
            whole_ns: None,
            less: 0,
            loaded: Some(loaded),
            sum: Loaded::default(),
            told_ns: 0,
        };
        following.reload(&info);
        loop {
            if let Some(reason) = following.follow().await {
                following.shared.facts.restarted(reason);
                tracing::debug!(reason = reason.as_ref(), head = following.head, "the reader begins anew");
            }
        }
    }
}

/// Connects, and finds or makes the stream.
async fn begin(shared: &Shared, now_ns: &dyn Fn() -> u64) -> Result<(Client, Arc<Link>, Info, Identity), ClusterError> {
    let (settings, names) = (&shared.settings, &shared.names);
    let since = |at_ns: u64| Duration::from_nanos(now_ns().saturating_sub(at_ns));
    let began_ns = now_ns();
    let link = Arc::new(Link::default());
    let mut told_ns = began_ns;
    let mut wait = async |text: String| -> Result<(), ClusterError> {
        if since(began_ns) > START {
            return Err(ClusterError(format!("{text}; given up after {} s", START.as_secs())));
        }
        if since(told_ns) > PROGRESS {
            told_ns = now_ns();
            tracing::warn!("{text}; trying again");
        }
        sleep(AGAIN).await;
        Ok(())
    };
    let client = loop {
        match connect(settings, "reader", &link, false).await {
            Ok(client) => break client,
            Err(NotConnected::Never(error)) => return Err(error),
            Err(NotConnected::Later(text)) => wait(text).await?,
        }
    };
    let connected_ns = now_ns();
    loop {
        let found = match stream::look(&client, names).await {
            Ok(None) if !settings.create => {
                let name = &names.stream;
                return Err(ClusterError(format!("there is no stream {name}, and cluster.create is off")));
            }
            Ok(None) => stream::make(&client, settings, names, Epoch::new(random())).await,
            found => found,
        };
        let text = match found {
            Ok(Some(info)) => {
                stream::verify(&client, settings, names, &info).await?;
                match info.identity() {
                    Some(identity) => return Ok((client, link, info, identity)),
                    // It was made by hand.
                    None => match stream::set_epoch(&client, names, &info, Epoch::new(random())).await {
                        Ok(()) => {
                            sleep(EPOCH_SETTLES).await;
                            continue;
                        }
                        Err(failed) => said(&failed, &link, &names.stream),
                    },
                }
            }
            Ok(None) => "the stream is gone again".to_owned(),
            Err(failed) => {
                if let Some(error) = stream::fault(&failed, names) {
                    return Err(error);
                }
                let text = said(&failed, &link, &names.stream);
                let forbidden = link.said().is_some_and(|said| said.to_lowercase().contains("permissions violation"));
                let off = failed == Failed::NoResponders && since(connected_ns) > JETSTREAM;
                if forbidden || off {
                    return Err(ClusterError(text));
                }
                text
            }
        };
        wait(text).await?;
    }
}

/// Holds the stream against what this node saw last. One that has less, or something else there, gets a new epoch.
async fn recognize(
    shared: &Shared,
    client: &Client,
    memory: Option<&Memory>,
    info: Info,
    identity: Identity,
) -> Result<(Info, Identity), ClusterError> {
    let seen = memory.and_then(|memory| memory.seen.as_ref()).filter(|seen| seen.is_of(identity.epoch));
    let Some(seen) = seen else { return Ok((info, identity)) };
    let failed = |failed| ClusterError(format!("the stream can't be held against cluster.state_dir: {failed}"));
    let is_same = if seen.head > info.state.last_seq {
        false
    } else {
        // What has left the stream can't be held against anything.
        let found = stream::stored_ns(client, &shared.names, seen.head).await.map_err(failed)?;
        found.is_none_or(|stored_ns| stored_ns == seen.stored_ns)
    };
    if is_same {
        return Ok((info, identity));
    }
    tracing::warn!(head = seen.head, last = info.state.last_seq, "the stream is not what it was: a new epoch");
    stream::set_epoch(client, &shared.names, &info, Epoch::new(random())).await.map_err(failed)?;
    sleep(EPOCH_SETTLES).await;
    let found = stream::look(client, &shared.names).await.map_err(failed)?;
    let found = found.and_then(|info| Some((info.clone(), info.identity()?)));
    shared.facts.changed(Changed::RolledBack);
    found.ok_or_else(|| ClusterError("the stream is gone again".to_owned()))
}

/// What is wrong, for people.
fn said(failed: &Failed, link: &Link, stream: &str) -> String {
    let said = link.said().map(|said| format!("; the server says: {said}")).unwrap_or_default();
    match failed {
        Failed::NoResponders => format!("JetStream does not answer: it may not be enabled there{said}"),
        Failed::Silent => format!("no answer about the stream {stream}{said}"),
        Failed::Refused(refusal) => format!("the stream {stream}: {refusal}{said}"),
        Failed::Unreadable(error) => format!("an answer about the stream {stream} can't be read: {error}{said}"),
    }
}

struct Following<M> {
    shared: Arc<Shared>,
    surroundings: Surroundings<M>,
    client: Client,
    live: Subscriber,
    identity: Identity,
    /// The newest sequence that was dealt with, and when that message was stored, if there was one.
    head: u64,
    held_ns: Option<u64>,
    /// What is to be there until it is ready, and whether it is.
    target: u64,
    is_ready: bool,
    link: Arc<Link>,
    memory: Option<Memory>,
    /// How far the stream was when it was looked at, and when that was asked for.
    looked: Option<(u64, u64)>,
    /// When it was asked for before, and this node had all.
    whole_ns: Option<u64>,
    /// How often in turn the stream had less than this node.
    less: u32,
    loaded: Option<Sender<Result<Loaded, ClusterError>>>,
    sum: Loaded,
    told_ns: u64,
}

/// Where a message stands, by the subject that acknowledges it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    sequence: u64,
    /// The how manieth this consumer has sent.
    delivery: u64,
    stored_ns: u64,
}

impl Place {
    /// `$JS.ACK.<stream>.<consumer>.<times>.<sequence>.<delivery>.<time>.<pending>`, where newer servers have a domain and
    /// an account after the second word, and something random at the end.
    fn read(reply: &str) -> Option<Place> {
        let tokens: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
        let from = match tokens.len() {
            7 => 3,
            length if length >= 9 => 5,
            _ => return None,
        };
        let number = |at: usize| -> Option<u64> { tokens.get(at)?.parse().ok() };
        Some(Place { sequence: number(from)?, delivery: number(from + 1)?, stored_ns: number(from + 2)? })
    }
}

impl<M> Following<M> {
    /// Begins with this stream: all that memory holds is of before.
    fn reload(&mut self, info: &Info) {
        let state = info.state;
        let first = state.first_seq.max(1).max((state.last_seq + 1).saturating_sub(self.shared.settings.memory_events));
        self.head = first - 1;
        self.held_ns = None;
        *self.shared.held.lock() = Held { identity: Some(self.identity.clone()), newest: None };
        self.target = state.last_seq;
        self.is_ready = false;
        self.told_ns = (self.surroundings.now_ns)();
        let before = (first > 1).then(|| Offset::new(first, 0).get() - 1);
        self.surroundings.bus.restart(self.identity.epoch, before);
        self.shared.facts.has(self.head);
        self.shared.facts.there_is(state.last_seq);
        tracing::info!(epoch = %self.identity.epoch, first, last = state.last_seq, "reading the stream");
    }

    /// Follows the stream until it has to begin anew; says why, if that is to be counted.
    async fn follow(&mut self) -> Option<Restart> {
        // What is sent without a connection would be sent later, when nobody waits for it.
        if !self.link.is_up() {
            self.away("no connection");
            sleep(AGAIN).await;
            return None;
        }
        let info = match stream::look(&self.client, &self.shared.names).await {
            Ok(Some(info)) => info,
            found => {
                self.away(match &found {
                    Ok(_) => "the stream is gone",
                    Err(_) => "no answer about the stream",
                });
                sleep(AGAIN).await;
                return None;
            }
        };
        if !self.is_ours(&info) {
            sleep(LOOK).await;
            return None;
        }
        if let Err(restart) = self.compare(&info, self.head).await {
            return restart;
        }
        let State { start, overlaps } = self.start(&info);
        let inbox = self.client.new_inbox();
        let Ok(mut messages) = self.client.subscribe(inbox.clone()).await else {
            sleep(AGAIN).await;
            return None;
        };
        let pending = match self.make_consumer(&inbox, start).await {
            Ok(pending) => pending,
            Err(failed) => {
                self.away("no consumer");
                tracing::debug!(%failed, "no consumer of the stream");
                sleep(AGAIN).await;
                return None;
            }
        };
        if pending == 0 && self.head >= self.target {
            self.is_whole();
        }
        self.read(&mut messages, overlaps).await
    }

    /// Whether what is published comes to the stream. While it does not, nothing can be published.
    fn is_ours(&mut self, info: &Info) -> bool {
        let shared = &self.shared;
        match info.check(&shared.names) {
            Ok(()) => {
                shared.foreign.store(false, Ordering::Relaxed);
                true
            }
            Err(error) => {
                self.is_ready = false;
                if shared.status.phase() != Phase::Faulted {
                    tracing::error!(%error, "the stream is not the engine's any more");
                    shared.status.set(Phase::Faulted);
                }
                false
            }
        }
    }

    /// Whether it is the stream that memory is of; else memory is of this one now, or nothing is known yet. `head` is the
    /// newest that this node had when it asked: more may have come before the answer.
    async fn compare(&mut self, info: &Info, head: u64) -> Result<(), Option<Restart>> {
        let identity = info.identity();
        let has_less = info.state.last_seq < head;
        if identity.as_ref() == Some(&self.identity) && !has_less {
            self.less = 0;
            return Ok(());
        }
        // A server that has just begun to lead may not have put all that is stored into its stream yet.
        if identity.as_ref() == Some(&self.identity) && self.less < LESS_MAX {
            self.less += 1;
            self.away("the stream has less than this node");
            sleep(LESS).await;
            return Err(None);
        }
        self.less = 0;
        match identity {
            Some(identity) if identity.epoch != self.identity.epoch => {
                self.change(identity, info, Changed::Remade);
                Err(Some(Restart::Stream))
            }
            _ => {
                let reason = if has_less { Changed::RolledBack } else { Changed::Remade };
                self.new_epoch(info, reason).await;
                Err(Some(Restart::Stream))
            }
        }
    }

    /// The stream is not the one that ids of before are of, and does not say so: it gets a new epoch.
    async fn new_epoch(&mut self, info: &Info, reason: Changed) {
        self.shared.status.set(Phase::Reloading);
        tracing::warn!(head = self.head, last = info.state.last_seq, "the stream is not what it was: a new epoch");
        let names = &self.shared.names;
        if stream::set_epoch(&self.client, names, info, Epoch::new(random())).await.is_err() {
            return sleep(AGAIN).await;
        }
        sleep(EPOCH_SETTLES).await;
        let Ok(Some(info)) = stream::look(&self.client, names).await else { return };
        if let Some(identity) = info.identity().filter(|identity| identity.epoch != self.identity.epoch) {
            self.change(identity, &info, reason);
        }
    }

    fn change(&mut self, identity: Identity, info: &Info, reason: Changed) {
        self.shared.status.set(Phase::Reloading);
        self.shared.facts.changed(reason);
        tracing::warn!(old = %self.identity.epoch, new = %identity.epoch, reason = reason.as_ref(), "the stream's epoch is another");
        self.identity = identity;
        self.reload(info);
    }

    /// Where a consumer is to begin.
    fn start(&mut self, info: &Info) -> State {
        let stream::State { first_seq, last_seq, messages } = info.state;
        self.shared.facts.there_is(last_seq);
        self.target = self.target.max(last_seq);
        self.forget(first_seq);
        if first_seq > self.head + 1 {
            // Retention or a purge has been faster than this node.
            self.lose(first_seq - 1);
        }
        let overlaps = self.held_ns.is_some() && messages > 0 && (first_seq..=last_seq).contains(&self.head);
        State { start: if overlaps { self.head } else { self.head + 1 }, overlaps }
    }

    /// Makes a consumer; says how many messages are to come.
    async fn make_consumer(&self, inbox: &str, start: u64) -> Result<u64, Failed> {
        #[derive(Deserialize)]
        struct Made {
            #[serde(default)]
            num_pending: u64,
        }
        let (stream, name) = (&self.shared.names.stream, format!("sg-{:016x}", fastrand::u64(..)));
        let config = json!({
            "name": name,
            "deliver_subject": inbox,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": start,
            "ack_policy": "none",
            "max_deliver": 1,
            "flow_control": true,
            "idle_heartbeat": HEARTBEAT.as_nanos() as u64,
            "inactive_threshold": Duration::from_secs(10).as_nanos() as u64,
            "num_replicas": 1,
            "mem_storage": true,
            "replay_policy": "instant",
        });
        let body = json!({ "stream_name": stream, "config": config, "action": "create" });
        let made = api::ask::<Made>(&self.client, &format!("CONSUMER.CREATE.{stream}.{name}"), Some(body)).await?;
        Ok(made.num_pending)
    }

    /// Reads a consumer's messages until something is wrong.
    async fn read(&mut self, messages: &mut Subscriber, mut overlaps: bool) -> Option<Restart> {
        let mut steps = interval(STEP);
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut silent, mut idle, mut delivered) = (0u32, 0, 0);
        self.whole_ns = None;
        let (looks, mut looked) = mpsc::channel(1);
        let (client, shared, now_ns) = (self.client.clone(), self.shared.clone(), self.surroundings.now_ns.clone());
        let mut looking = pin!(async move {
            loop {
                let (asked_ns, head) = (now_ns(), shared.facts.head());
                let found = stream::look(&client, &shared.names).await;
                if looks.send((asked_ns, head, found)).await.is_err() {
                    return;
                }
                sleep(LOOK).await;
            }
        });
        loop {
            tokio::select! {
                biased;
                message = messages.next() => {
                    silent = 0;
                    let Some(message) = message else { return Some(Restart::Ended) };
                    if let Some(status) = message.status {
                        if status != StatusCode::IDLE_HEARTBEAT {
                            return Some(Restart::Ended);
                        }
                        if let Some(reply) = message.reply {
                            // Flow control: the server goes on once it has this.
                            let _ = self.client.publish(reply, bytes::Bytes::new()).await;
                            continue;
                        }
                        let last = message.headers.as_ref().and_then(|fields| fields.get_last("Nats-Last-Consumer"));
                        if last.is_some_and(|last| last.as_str().parse() != Ok(delivered)) {
                            return Some(Restart::Missing);
                        }
                        continue;
                    }
                    let Some(place) = message.reply.as_deref().and_then(Place::read) else { continue };
                    if place.delivery != delivered + 1 || place.sequence > SEQUENCE_MAX {
                        return Some(Restart::Missing);
                    }
                    delivered = place.delivery;
                    idle = 0;
                    if std::mem::take(&mut overlaps) {
                        let same = place.sequence > self.head || self.held_ns == Some(place.stored_ns);
                        if !same {
                            if let Ok(Some(info)) = stream::look(&self.client, &self.shared.names).await {
                                self.new_epoch(&info, Changed::RolledBack).await;
                            }
                            return Some(Restart::Stream);
                        }
                    }
                    if place.sequence > self.head {
                        self.take(place, &message);
                    }
                    self.confirm();
                    if !self.is_ready && self.head >= self.target {
                        self.is_whole();
                    }
                }
                live = self.live.next() => {
                    let Some(live) = live else { return Some(Restart::Ended) };
                    self.take_live(&live);
                }
                found = looked.recv() => match found {
                    Some((asked_ns, head, Ok(Some(info)))) => {
                        if !self.is_ours(&info) {
                            return None;
                        }
                        if let Err(restart) = self.compare(&info, head).await {
                            return restart;
                        }
                        self.shared.facts.there_is(info.state.last_seq);
                        self.forget(info.state.first_seq);
                        self.remember();
                        self.looked = Some((info.state.last_seq, asked_ns));
                        self.confirm();
                        self.shared.facts.set_max_payload(self.client.server_info().max_payload);
                    }
                    Some((.., Ok(None))) => {
                        self.away("the stream is gone");
                        return Some(Restart::Stream);
                    }
                    // Whether anything comes, is told by the heartbeats.
                    Some((.., Err(_))) | None => {}
                },
                () = &mut looking => {}
                _ = steps.tick() => {
                    if silent == 0 {
                        self.shared.facts.heard();
                    }
                    if self.head >= self.shared.facts.last() {
                        self.shared.facts.is_whole();
                    }
                    idle += 1;
                    if !self.is_ready && !overlaps && idle > IDLE_STEPS {
                        // The last of them are missing.
                        self.is_whole();
                    }
                    silent += 1;
                    if silent > SILENT_STEPS {
                        self.away("nothing comes");
                        return Some(Restart::Silence);
                    }
                    self.shared.status.step();
                }
            }
        }
    }

    /// Takes a message into the log.
    fn take(&mut self, place: Place, message: &async_nats::Message) {
        let Place { sequence, stored_ns, .. } = place;
        if sequence > self.head + 1 {
            self.lose(sequence - 1);
        }
        let bus = &self.surroundings.bus;
        let now_ns = (self.surroundings.now_ns)();
        let is_loading = self.head < self.target;
        let age_ns = if is_loading { (wall_ms() * 1_000_000).saturating_sub(stored_ns) } else { 0 };
        let published_ns = now_ns.saturating_sub(age_ns);
        let next = Offset::new(sequence, 0).get();
        let headers = message.headers.as_ref();
        let message = Message { subject: &message.subject, headers, payload: &message.payload };
        let found = message.events(&self.shared.names, self.identity.epoch, &self.surroundings.topics);
        let found = found.and_then(|(drafts, record)| {
            let admitted = bus.log.admit(&drafts).map_err(|fault| Unreadable::Ours(fault.to_string()));
            admitted.map(|()| (drafts, record))
        });
        match found {
            Ok((drafts, record)) => {
                self.sum.events += drafts.len() as u64;
                bus.accept(drafts, Numbering::From(next), published_ns);
                if let Some(record) = record {
                    let ids = Ids { epoch: self.identity.epoch, next, counts_live_only: false };
                    self.surroundings.keys.learn(&record, ids, published_ns);
                }
            }
            Err(Unreadable::Foreign) => {
                self.shared.facts.can_not_read();
                tracing::warn!(sequence, subject = message.subject, "a message that no gateway wrote is no event");
            }
            Err(Unreadable::Ours(why)) => {
                self.shared.facts.can_not_read();
                self.sum.lost_packs += 1;
                tracing::warn!(sequence, why, "a message can't be read: its events are lost");
                bus.lose(Offset::new(sequence, EVENTS_MAX - 1).get());
            }
        }
        self.head = sequence;
        self.held_ns = Some(stored_ns);
        self.shared.held.lock().newest = Some((sequence, stored_ns));
        self.shared.facts.has(sequence);
        if is_loading && now_ns.saturating_sub(self.told_ns) > PROGRESS.as_nanos() as u64 {
            self.told_ns = now_ns;
            let (at, of, events) = (self.head, self.target, self.sum.events);
            tracing::info!(at, of, events, "loading what was kept");
        }
    }

    /// Takes live-only events of any node.
    fn take_live(&self, message: &async_nats::Message) {
        let Surroundings { bus, topics, now_ns, .. } = &self.surroundings;
        let record = Record::decode(&message.payload).map_err(|error| error.to_string());
        let drafts = record.and_then(|record| {
            let drafts = drafts(&record, bus.log.epoch(), topics).map_err(|fault| fault.to_string())?;
            if drafts.iter().any(|draft| !draft.live_only()) {
                return Err("holds events that are kept".to_owned());
            }
            bus.log.admit(&drafts).map_err(|fault| fault.to_string())?;
            Ok(drafts)
        });
        match drafts {
            Ok(drafts) => drop(bus.accept(drafts, Numbering::Own, now_ns())),
            Err(why) => {
                self.shared.facts.can_not_read();
                tracing::warn!(why, "a message of live-only events can't be read");
            }
        }
    }

    /// The messages after the newest that was dealt with, up to this one, will not come.
    fn lose(&mut self, last: u64) {
        let messages = last - self.head;
        self.shared.facts.lost(messages);
        self.sum.lost_packs += messages;
        tracing::warn!(first = self.head + 1, last, "messages are missing in the stream");
        if self.shared.settings.tells_holes {
            self.surroundings.bus.lose(Offset::new(last, EVENTS_MAX - 1).get());
        }
        self.head = last;
        self.held_ns = None;
        self.shared.held.lock().newest = None;
        self.shared.facts.has(last);
    }

    /// Says when this node had all that there was, once it has had that twice in turn: a server that has just begun to
    /// lead may say less than there is.
    fn confirm(&mut self) {
        let Some((_, asked_ns)) = self.looked.filter(|(last, _)| *last <= self.head) else { return };
        self.looked = None;
        if let Some(before_ns) = self.whole_ns.replace(asked_ns) {
            self.surroundings.bus.log.is_whole(before_ns);
        }
    }

    fn remember(&mut self) {
        if let (Some(memory), Some(held_ns)) = (&mut self.memory, self.held_ns) {
            memory.remember(Seen::new(self.identity.epoch, self.head, held_ns));
        }
    }

    /// The stream begins with this message now.
    fn forget(&self, first: u64) {
        if first > 1 {
            self.surroundings.bus.forget(Offset::new(first, 0).get() - 1);
        }
    }

    /// This node has all that there is.
    fn is_whole(&mut self) {
        self.is_ready = true;
        self.shared.facts.heard();
        self.shared.facts.is_whole();
        if self.head < self.target {
            self.lose(self.target);
        }
        self.remember();
        if let Some(loaded) = self.loaded.take() {
            let _ = loaded.send(Ok(self.sum));
        } else if !matches!(self.shared.status.phase(), Phase::Ready | Phase::Loading) {
            self.shared.status.set(Phase::Ready);
        }
    }

    fn away(&mut self, why: &'static str) {
        self.is_ready = false;
        if self.shared.status.phase() == Phase::Ready {
            tracing::warn!(why, head = self.head, "the engine is away");
            self.shared.status.set(Phase::Away);
        }
        self.shared.status.step();
    }
}

/// Where to begin.
struct State {
    start: u64,
    /// The first message must be the one that is held.
    overlaps: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_from_either_form_of_the_reply() {
        let place = Some(Place { sequence: 42, delivery: 7, stored_ns: 1_700_000_000_123_456_789 });
        assert_eq!(Place::read("$JS.ACK.SG_n.sg-1.1.42.7.1700000000123456789.0"), place);
        assert_eq!(Place::read("$JS.ACK._.ACC.SG_n.sg-1.1.42.7.1700000000123456789.0"), place);
        assert_eq!(Place::read("$JS.ACK.hub.ACC.SG_n.sg-1.1.42.7.1700000000123456789.0.x7Yz"), place);
        for other in ["", "$JS.ACK.SG_n.sg-1.1.42.7", "$JS.ACK.SG_n.sg-1.1.x.7.1.0", "_INBOX.a.b"] {
            assert_eq!(Place::read(other), None, "{other}");
        }
    }
}
