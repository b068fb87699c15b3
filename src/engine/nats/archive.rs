//! The stream as an archive: messages that have left the log in memory are read back by direct gets of many at once.
//!
//! Any replica may answer these, and the stream may have become another one meanwhile. So a page counts only if the
//! stream's leader says afterwards that it is the one which this node follows, with the newest message that it has; and
//! what a replica lacks is asked of the leader before it counts as lost.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message as Answer, StatusCode, Subscriber};
use futures_util::StreamExt;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::engine::archive::{Archive, NoPage, PAGE_BYTES, PAGE_SEQUENCES};
use crate::engine::offset::{EVENTS_MAX, INDEX_BITS, Offset};
use crate::engine::status::Phase;
use crate::exchange::topics::TopicTable;
use crate::hub::archive::{Hole, Page};
use crate::hub::gap::GapReason;
use crate::hub::id::Epoch;

use super::api::{ANSWER, Failed};
use super::connect::{Link, NotConnected, connect};
use super::message::{Message, Unreadable};
use super::stream::{self, Info};
use super::{Held, Shared};

/// How long a page may take.
const PAGE: Duration = Duration::from_secs(10);
/// How long a connection may take to come up, and how often it is looked at.
const UP: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(10);

/// What the replayer's thread reads by.
pub struct Replayer {
    shared: Arc<Shared>,
}

/// What it needs of the gateway.
pub struct Surroundings {
    /// The epoch of ids.
    pub epoch: Box<dyn Fn() -> Epoch + Send>,
    /// The topics.
    pub topics: TopicTable,
    /// The time, in nanoseconds.
    pub now_ns: Box<dyn Fn() -> u64 + Send>,
}

impl Replayer {
    pub(super) fn new(shared: Arc<Shared>) -> Replayer {
        Replayer { shared }
    }

    /// The stream as an archive. It connects when it is asked for the first page.
    ///
    /// # Errors
    /// If the system refuses what a runtime needs.
    pub fn archive(self, surroundings: Surroundings) -> std::io::Result<impl Archive> {
        // A thread of its own keeps the connection alive between two pages.
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("archive").enable_all().build()?;
        Ok(Messages { shared: self.shared, surroundings, runtime, connection: None })
    }
}

struct Messages {
    shared: Arc<Shared>,
    surroundings: Surroundings,
    runtime: Runtime,
    connection: Option<(Client, Arc<Link>)>,
}

impl Archive for Messages {
    fn page(&mut self, first: u64, end: u64) -> Result<Page, NoPage> {
        let range = Range { from: (first >> INDEX_BITS).max(1), through: (end - 1) >> INDEX_BITS };
        let Messages { shared, surroundings, runtime, connection } = self;
        runtime.block_on(async {
            tokio::select! {
                page = timeout(PAGE, read(shared, surroundings, connection, range)) => {
                    page.unwrap_or_else(|_| away("the engine takes too long for a page"))
                }
                () = shared.stops.cancelled() => away("the engine has ended"),
            }
        })
    }
}

fn away<T>(why: impl Into<String>) -> Result<T, NoPage> {
    Err(NoPage::Away(why.into()))
}

impl From<Failed> for NoPage {
    fn from(failed: Failed) -> NoPage {
        NoPage::Away(failed.to_string())
    }
}

/// The sequences that a page is to have.
#[derive(Clone, Copy)]
struct Range {
    from: u64,
    through: u64,
}

/// Reads a page of the stream that this node follows.
async fn read(
    shared: &Shared,
    surroundings: &Surroundings,
    connection: &mut Option<(Client, Arc<Link>)>,
    range: Range,
) -> Result<Page, NoPage> {
    if shared.status.phase() != Phase::Ready {
        return away("the engine is away");
    }
    let client = connected(shared, connection).await?;
    let (held, epoch) = (shared.held(), (surroundings.epoch)());
    let (mut reading, more) = fetch(&client, shared, surroundings, epoch, range).await?;
    let info = check(&client, shared, &held).await?;
    let last = info.state.last_seq;
    // Behind the last that a replica has, there may be no more, or it lacks that.
    if !more && reading.next <= range.through.min(last) {
        reading.misses(range.through.min(last));
    }
    reading.confirm(&client, shared, &info).await?;
    let stays = more || last >= range.through;
    Ok(reading.into_page(info.state.first_seq, shared.settings.tells_holes, stays))
}

/// The connection, once it is up.
async fn connected(shared: &Shared, connection: &mut Option<(Client, Arc<Link>)>) -> Result<Client, NoPage> {
    if connection.is_none() {
        let link = Arc::new(Link::default());
        let client = connect(&shared.settings, "replayer", &link, true).await.map_err(|error| match error {
            NotConnected::Later(why) => NoPage::Away(why),
            NotConnected::Never(error) => NoPage::Away(error.to_string()),
        })?;
        *connection = Some((client, link));
    }
    let (client, link) = connection.as_ref().expect("Invariant: it was made");
    // What is sent without a connection would be sent later, when nobody waits for it.
    let up = async {
        while !link.is_up() {
            tokio::time::sleep(LOOK).await;
        }
    };
    match timeout(UP, up).await {
        Ok(()) => Ok(client.clone()),
        Err(_) => away("no connection"),
    }
}

/// Gets messages; says whether there are more behind the last of them.
async fn fetch(
    client: &Client,
    shared: &Shared,
    surroundings: &Surroundings,
    epoch: Epoch,
    range: Range,
) -> Result<(Reading, bool), NoPage> {
    let inbox = client.new_inbox();
    let failed = |error: &dyn std::fmt::Display| NoPage::Away(error.to_string());
    let mut answers = client.subscribe(inbox.clone()).await.map_err(|error| failed(&error))?;
    let ask = json!({ "seq": range.from, "batch": PAGE_SEQUENCES, "max_bytes": PAGE_BYTES }).to_string();
    let subject = format!("$JS.API.DIRECT.GET.{}", shared.names.stream);
    client.publish_with_reply(subject, inbox, ask.into()).await.map_err(|error| failed(&error))?;
    let mut reading = Reading::new(range.from);
    loop {
        let answer = next(&mut answers).await?;
        let fields = answer.headers.as_ref();
        let pending = || field(fields, "Nats-Num-Pending").and_then(|number| number.parse::<u64>().ok());
        match answer.status {
            None => {}
            Some(StatusCode::NOT_FOUND) => return Ok((reading, false)),
            Some(StatusCode::NO_RESPONDERS) => {
                let info = stream::look(client, &shared.names).await?;
                if info.is_some_and(|info| !info.allows_direct()) {
                    let text = format!("the stream {} does not allow direct gets: allow_direct", shared.names.stream);
                    return Err(NoPage::Unreadable(text.into()));
                }
                return away("nobody answers direct gets of the stream");
            }
            Some(status) if status.as_u16() == 204 => return Ok((reading, pending() != Some(0))),
            Some(status) => {
                let text = answer.description.as_deref().unwrap_or_default();
                return away(format!("direct gets of the stream are refused: {} {text}", status.as_u16()));
            }
        }
        if pending().is_none() {
            return away("the server has no direct gets of many messages: 2.11 is the oldest that has");
        }
        let sequence = field(fields, "Nats-Sequence").and_then(|number| number.parse::<u64>().ok());
        let Some(sequence) = sequence.filter(|sequence| *sequence >= reading.next) else {
            return away("messages come out of order");
        };
        if sequence > reading.next {
            reading.misses(sequence - 1);
        }
        if sequence > range.through || reading.bytes >= PAGE_BYTES {
            return Ok((reading, true));
        }
        let message = Message {
            subject: field(fields, "Nats-Subject").unwrap_or_default(),
            headers: fields,
            payload: &answer.payload,
        };
        match message.events(&shared.names, epoch, &surroundings.topics) {
            Ok((drafts, _)) => {
                let published_ns = (surroundings.now_ns)();
                for (number, draft) in (Offset::new(sequence, 0).get()..).zip(drafts) {
                    reading.bytes += draft.cost_bytes();
                    reading.page.frames.push(draft.archived(number, epoch, published_ns));
                }
            }
            Err(Unreadable::Foreign) => {}
            Err(Unreadable::Ours(why)) => {
                tracing::warn!(sequence, why, "a message can't be read: its events are lost");
                reading.missing.push(Missing { first: sequence, last: sequence, is_there: true });
            }
        }
        reading.next = sequence + 1;
    }
}

async fn next(answers: &mut Subscriber) -> Result<Answer, NoPage> {
    match timeout(ANSWER, answers.next()).await {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => away("the connection is gone"),
        Err(_) => away("no answer to a direct get"),
    }
}

fn field<'a>(fields: Option<&'a HeaderMap>, name: &str) -> Option<&'a str> {
    // A message may have fields of that name by its publisher, before the server's.
    fields?.get_last(name).map(|value| value.as_str())
}

/// Whether the stream is the one that this node follows, as its leader says.
async fn check(client: &Client, shared: &Shared, held: &Held) -> Result<Info, NoPage> {
    let Some(info) = stream::look(client, &shared.names).await? else { return away("the stream is gone") };
    let (first, last) = (info.state.first_seq, info.state.last_seq);
    let is_same = info.identity() == held.identity
        && match held.newest {
            None => true,
            Some((newest, _)) if newest > last => false,
            // What has left the stream can't be held against anything.
            Some((newest, _)) if newest < first => true,
            Some((newest, stored_ns)) => {
                let found = stream::stored_ns(client, &shared.names, newest).await?;
                found.is_none_or(|found| found == stored_ns)
            }
        };
    if is_same { Ok(info) } else { away("the stream is not the one that was read") }
}

/// What was read so far.
struct Reading {
    page: Page,
    bytes: usize,
    /// The sequence of what comes next.
    next: u64,
    missing: Vec<Missing>,
}

/// Messages without events that could be served.
#[derive(Clone, Copy)]
struct Missing {
    first: u64,
    last: u64,
    /// The stream has them, but they can't be read.
    is_there: bool,
}

impl Reading {
    fn new(from: u64) -> Reading {
        Reading { page: Page::default(), bytes: 0, next: from, missing: Vec::new() }
    }

    /// The messages up to this one are not there.
    fn misses(&mut self, last: u64) {
        self.missing.push(Missing { first: self.next, last, is_there: false });
        self.next = last + 1;
    }

    /// Whether the leader, too, lacks what is missing. What a replica that is behind lacks is in one piece, so the longest
    /// is looked for.
    async fn confirm(&self, client: &Client, shared: &Shared, info: &Info) -> Result<(), NoPage> {
        let first_kept = info.state.first_seq;
        let of_middle = self.missing.iter().filter(|missing| !missing.is_there && missing.last >= first_kept);
        let Some(longest) = of_middle.max_by_key(|missing| missing.last - missing.first.max(first_kept)) else {
            return Ok(());
        };
        let found = stream::next_sequence(client, &shared.names, longest.first.max(first_kept)).await?;
        if found.is_some_and(|found| found <= longest.last) {
            return away("a replica has less than the leader");
        }
        Ok(())
    }

    fn into_page(self, first_kept: u64, tells_holes: bool, stays: bool) -> Page {
        let number = |sequence| Offset::new(sequence, 0).get();
        let mut page = self.page;
        for missing in self.missing {
            let expired = missing.last.min(first_kept.saturating_sub(1));
            let parts = [
                (missing.first, expired, GapReason::Expired),
                (missing.first.max(expired + 1), missing.last, GapReason::Lost),
            ];
            for (first, last, reason) in parts.into_iter().filter(|(first, last, _)| first <= last) {
                if reason == GapReason::Lost && !tells_holes && !missing.is_there {
                    continue;
                }
                let hole = Hole { first: number(first), last: Offset::new(last, EVENTS_MAX - 1).get(), reason };
                match page.holes.last_mut() {
                    // One gap is enough for what is missing together.
                    Some(before) if before.last + 1 == hole.first && before.reason == reason => before.last = hole.last,
                    _ => page.holes.push(hole),
                }
            }
        }
        page.through = number(self.next) - 1;
        page.stays = stays;
        page
    }
}
