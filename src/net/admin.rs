//! `/admin/`: the slowest streams and the busiest topics, for an operator who asks.
//!
//! What a request costs and what it answers is bounded, and of each kind one at a time is under way.
//! A shard looks at its own streams, once; the log is read a piece at a time on a thread of its own, and
//! publishers come in between.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::Full;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::exchange::bus::Bus;
use crate::exchange::log_cell::LogCell;
use crate::hub::registry::Registry;
use crate::hub::registry::look::{Order, Standing};
use crate::hub::top::Top;
use crate::hub::topic::{Pattern, Subscription, Topic};

use super::control::{READ_METHODS, refuse_pages};
use super::problem::{Problem, Refusal};
use super::query::{self, quoted};
use super::response;
use super::shard::Command;
use super::state::State;
use super::wire::Wire;

/// What the paths begin with.
pub const PREFIX: &str = "/admin/";
/// How many items are answered,
const LIMIT: usize = 20;
/// and how many at most.
const LIMIT_MAX: usize = 100;
/// How many topics of a stream are shown, and how many patterns.
const NAMES_SHOWN: usize = 8;
/// How long the shards may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Over how long a topic's rate is taken, if the log reaches so far back,
const RATE_NS: u64 = 10_000_000_000;
/// and over how long at least.
const RATE_NS_MIN: u64 = 100_000_000;
/// How many events are taken from the log under one lock.
const EVENTS_A_LOCK: usize = 256;
/// How many topics of events are counted, newest first: time and memory.
const COUNTED_MAX: usize = 250_000;

/// Who may ask now.
pub struct Turns {
    streams: Semaphore,
    topics: Arc<Semaphore>,
    /// A shard that has not answered is not asked again, so that questions don't fill its inbox.
    shards: Box<[Arc<Semaphore>]>,
}

impl Turns {
    /// Turns for so many shards.
    pub fn new(shards: usize) -> Turns {
        let turn = || Semaphore::new(1);
        Turns { streams: turn(), topics: Arc::new(turn()), shards: (0..shards).map(|_| Arc::new(turn())).collect() }
    }
}

/// Answers a request below [`PREFIX`].
///
/// # Errors
/// 404 while it is off, or for another path; 405; 403 for a web page; 400, naming the parameter; 503
/// while another request of the kind is under way.
pub async fn answer<B>(state: &State, request: &Request<B>) -> Result<Response<Full<Bytes>>, Problem> {
    if !state.config.load().admin {
        return Err(Problem::new(Refusal::NotFound, "this is off: `admin = true` in the configuration turns it on"));
    }
    let path = &request.uri().path()[PREFIX.len()..];
    if !["streams", "topics"].contains(&path) {
        return Err(Problem::not_found());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Problem::method(READ_METHODS));
    }
    refuse_pages(request.headers())?;
    refuse_names(request.headers())?;
    let query = request.uri().query().unwrap_or_default();
    let document = if path == "streams" { streams(state, query).await? } else { topics(state, query).await? };
    let mut response = response::ok(document, "application/json");
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// A page whose own name is made to resolve to this address is of one origin with it, and its browser
/// need not say where it comes from. But it asks for that name.
fn refuse_names(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(host) = headers.get(header::HOST) else { return Ok(()) };
    let authority = Authority::try_from(host.as_bytes()).ok();
    let ours = authority
        .as_ref()
        .map(Authority::host)
        .is_some_and(|name| name.starts_with('[') || name.parse::<std::net::Ipv4Addr>().is_ok() || !name.contains('.'));
    if ours {
        return Ok(());
    }
    let detail = "a name with dots may be a web page's: ask for an address, localhost or a name without dots";
    Err(Problem::new(Refusal::Forbidden, detail).about("host"))
}

fn busy() -> Problem {
    Problem::new(Refusal::Busy, "another such request is under way: one at a time")
        .with(header::RETRY_AFTER, HeaderValue::from_static("1"))
}

/// Reads `sort`, one of these, the first by default, and `limit`.
fn sort_and_limit<S: Copy>(text: &str, sorts: &[(&'static str, S)]) -> Result<((&'static str, S), usize), Problem> {
    let (mut sort, mut limit) = (None, None);
    for (name, value) in query::pairs(text) {
        let field = match query::decode(name, true).as_deref() {
            Ok("sort") => "sort",
            Ok("limit") => "limit",
            _ => return Err(Problem::in_field(quoted(name), "isn't known: sort and limit are")),
        };
        let refuse = |reason| Problem::in_field(field, reason);
        let value = query::decode(value, true).map_err(refuse)?;
        let given_before = if field == "sort" {
            let known = sorts.iter().find(|(name, _)| *name == value).copied();
            let names: Vec<_> = sorts.iter().map(|(name, _)| *name).collect();
            sort.replace(known.ok_or_else(|| Problem::in_field(field, format!("is one of {}", names.join(", "))))?)
                .is_some()
        } else {
            // `parse` would take a plus sign, too.
            let number = if value.bytes().all(|b| b.is_ascii_digit()) { value.parse().ok() } else { None };
            let number = number.filter(|number| (1..=LIMIT_MAX).contains(number));
            limit
                .replace(number.ok_or_else(|| Problem::in_field(field, format!("is a number from 1 to {LIMIT_MAX}")))?)
                .is_some()
        };
        if given_before {
            return Err(refuse("is given twice"));
        }
    }
    Ok((sort.unwrap_or(sorts[0]), limit.unwrap_or(LIMIT)))
}

fn json(document: &impl Serialize) -> Vec<u8> {
    // Texts and numbers can't fail to serialize.
    let mut bytes = serde_json::to_vec(document).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

// ===== streams =====

/// What a shard is asked.
pub struct Question {
    order: Order,
    limit: usize,
    answer: mpsc::Sender<(usize, Vec<Seen>)>,
    /// Given back as the shard answers, or when it never will.
    turn: OwnedSemaphorePermit,
}

/// A stream that was seen.
struct Seen {
    shard: usize,
    stream: u32,
    behind: bool,
    standing: Standing,
    subscription: Arc<Subscription>,
    peer: Option<SocketAddr>,
}

impl Question {
    /// Answers for a shard.
    pub fn answer(self, shard: usize, registry: &Registry<Wire>, now_ms: u64) {
        let Question { order, limit, answer, turn } = self;
        let looks = registry.look(order, limit, now_ms);
        let seen = looks.map(|look| Seen {
            shard,
            stream: look.slot,
            behind: look.behind,
            standing: look.standing,
            subscription: look.subscription.clone(),
            // A client that has gone meanwhile has none.
            peer: look.socket.0.peer_addr().ok(),
        });
        let seen = seen.collect();
        // Before the answer: who has it may ask again at once.
        drop(turn);
        // There is room for each shard's answer; who asked may have gone.
        let _ = answer.try_send((shard, seen));
    }
}

async fn streams(state: &State, query: &str) -> Result<Vec<u8>, Problem> {
    let sorts = [("lag", Order::Lag), ("age", Order::Age), ("written", Order::Written)];
    let ((sort, order), limit) = sort_and_limit(query, &sorts)?;
    let _turn = state.admin.streams.try_acquire().map_err(|_| busy())?;
    let (answer, mut answers) = mpsc::channel(state.bus.shards());
    for (shard, turn) in state.admin.shards.iter().enumerate() {
        let Ok(turn) = turn.clone().try_acquire_owned() else { continue };
        let question = Question { order, limit, answer: answer.clone(), turn };
        // A shard whose inbox is full is silent.
        let _ = state.bus.inbox(shard).push(Command::Look(question));
    }
    drop(answer);
    let mut shards_silent: Vec<_> = (0..state.bus.shards()).collect();
    let mut seen = Vec::new();
    let all = async {
        while let Some((shard, streams)) = answers.recv().await {
            shards_silent.retain(|silent| *silent != shard);
            seen.extend(streams);
        }
    };
    // What has come by then is answered.
    let _ = tokio::time::timeout(ANSWER_WITHIN, all).await;
    seen.sort_by_key(|seen: &Seen| Reverse(seen.standing.rank(order)));
    seen.truncate(limit);

    #[derive(Serialize)]
    struct Document<'a> {
        streams: usize,
        sort: &'static str,
        items: Vec<Item<'a>>,
        shards_silent: Vec<usize>,
    }
    #[derive(Serialize)]
    struct Item<'a> {
        shard: usize,
        stream: u32,
        state: &'static str,
        lag: u64,
        written_seconds: f64,
        age_seconds: u64,
        peer: Option<SocketAddr>,
        names: usize,
        topics: Vec<&'a str>,
        patterns: Vec<&'a str>,
    }
    let items = seen.iter().map(|seen| {
        let (topics, patterns) = (seen.subscription.topics(), seen.subscription.patterns());
        Item {
            shard: seen.shard,
            stream: seen.stream,
            state: if seen.behind { "behind" } else { "live" },
            lag: seen.standing.lag,
            written_seconds: seen.standing.written_ms as f64 / 1e3,
            age_seconds: seen.standing.age_s,
            peer: seen.peer,
            names: topics.len() + patterns.len(),
            topics: topics.iter().take(NAMES_SHOWN).map(Topic::as_str).collect(),
            patterns: patterns.iter().take(NAMES_SHOWN).map(Pattern::as_str).collect(),
        }
    });
    Ok(json(&Document { streams: state.bus.streams(), sort, items: items.collect(), shards_silent }))
}

// ===== topics =====

/// By what topics are put in order; the largest comes first.
#[derive(Clone, Copy)]
enum TopicOrder {
    Rate,
    Events,
    Bytes,
}

/// What was counted of one topic.
#[derive(Default)]
struct Counted {
    /// Events of late, kept ones and live-only ones.
    recent: [u64; 2],
    /// Kept events, and the memory they take.
    events: u64,
    bytes: u64,
}

impl Counted {
    /// Events a second, where the recent ones are of this time.
    fn rate(&self, reach_ns: [u64; 2]) -> f64 {
        let rate = |at: usize| self.recent[at] as f64 * 1e9 / reach_ns[at].max(RATE_NS_MIN) as f64;
        rate(0) + rate(1)
    }
}

/// What was counted of the log.
struct Count {
    topics: HashMap<Topic, Counted>,
    events: usize,
    /// Whether all of the log was counted.
    complete: bool,
    /// For how long before now all recent events were counted, kept ones and live-only ones.
    reach_ns: [u64; 2],
}

fn count(log: &LogCell, now_ns: u64) -> Count {
    let reach_ns = log.reach_ns(now_ns, RATE_NS.min(now_ns));
    let mut count = Count { topics: HashMap::new(), events: 0, complete: false, reach_ns };
    let (mut before, mut names, mut frames) = (u64::MAX, 0, Vec::new());
    while names < COUNTED_MAX {
        frames.clear();
        log.before(before, EVENTS_A_LOCK, &mut frames);
        let Some(oldest) = frames.last() else {
            count.complete = true;
            return count;
        };
        before = oldest.seq();
        let oldest_ns = oldest.published_ns();
        for frame in &frames {
            let is_recent = now_ns.saturating_sub(frame.published_ns()) <= RATE_NS;
            names += frame.topics().len();
            if frame.live_only() && !is_recent {
                continue;
            }
            for (at, topic) in frame.topics().iter().enumerate() {
                // An event may name a topic twice.
                if frame.topics()[..at].contains(topic) {
                    continue;
                }
                let counted = count.topics.entry(topic.clone()).or_default();
                counted.recent[usize::from(frame.live_only())] += u64::from(is_recent);
                if !frame.live_only() {
                    counted.events += 1;
                    counted.bytes += frame.cost_bytes() as u64;
                }
            }
        }
        count.events += frames.len();
        if names >= COUNTED_MAX {
            count.reach_ns = reach_ns.map(|reach_ns| reach_ns.min(now_ns.saturating_sub(oldest_ns)));
        }
    }
    count
}

async fn topics(state: &State, query: &str) -> Result<Vec<u8>, Problem> {
    let sorts = [("rate", TopicOrder::Rate), ("events", TopicOrder::Events), ("bytes", TopicOrder::Bytes)];
    let ((sort, order), limit) = sort_and_limit(query, &sorts)?;
    let turn = state.admin.topics.clone().try_acquire_owned().map_err(|_| busy())?;
    let (bus, now_ns) = (state.bus.clone(), state.clock.now_ns());
    // The turn is over with the work, even if the one who asked has gone before.
    let work = tokio::task::spawn_blocking(move || {
        let document = busiest(&bus, now_ns, sort, order, limit);
        drop(turn);
        document
    });
    Ok(work.await.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic())))
}

fn busiest(bus: &Bus<Command>, now_ns: u64, sort: &'static str, order: TopicOrder, limit: usize) -> Vec<u8> {
    let Count { topics, events, complete, reach_ns } = count(&bus.log, now_ns);
    let mut top = Top::new(limit);
    for (topic, counted) in &topics {
        let rank = match order {
            TopicOrder::Rate => (counted.rate(reach_ns) * 1e3) as u64,
            TopicOrder::Events => counted.events,
            TopicOrder::Bytes => counted.bytes,
        };
        top.offer((rank, counted.events, Reverse(topic)));
    }

    #[derive(Serialize)]
    struct Document<'a> {
        topics: usize,
        topics_with_streams: usize,
        sort: &'static str,
        items: Vec<Item<'a>>,
        rate_over_seconds: [f64; 2],
        events_counted: usize,
        complete: bool,
    }
    #[derive(Serialize)]
    struct Item<'a> {
        topic: &'a str,
        rate: f64,
        events: u64,
        bytes: u64,
        shards: u32,
    }
    let items = top.into_sorted().filter_map(|(_, _, Reverse(topic))| {
        let counted = topics.get(topic)?;
        Some(Item {
            topic: topic.as_str(),
            rate: (counted.rate(reach_ns) * 1e3).round() / 1e3,
            events: counted.events,
            bytes: counted.bytes,
            shards: bus.directory.interested([topic], bus.shards()).count(),
        })
    });
    json(&Document {
        topics: topics.len(),
        topics_with_streams: bus.directory.topics(),
        sort,
        items: items.collect(),
        rate_over_seconds: reach_ns.map(|ns| (ns / 1_000_000) as f64 / 1e3),
        events_counted: events,
        complete,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

    use crossbeam_channel::Receiver;
    use serde_json::Value;

    use super::*;
    use crate::exchange::inbox::Inbox;
    use crate::hub::event::Event;
    use crate::hub::frame::{Draft, Topics};
    use crate::hub::id::Epoch;
    use crate::hub::log::LogLimits;
    use crate::net::clock::Clock;
    use crate::ops::config::Config;
    use crate::ops::metrics::{Gauges, Metrics, ShardCells};
    use crate::ops::reload::LiveConfig;

    fn state(shards: usize, events: usize) -> (State, Vec<Receiver<Command>>) {
        let (inboxes, mail) = (0..shards).map(|_| Inbox::new(|| {})).unzip();
        let limits = LogLimits { events, bytes: 1 << 30, age_ns: u64::MAX };
        let state = State {
            bus: Arc::new(Bus::new(LogCell::new(Epoch::new(1), limits), inboxes, None)),
            metrics: Arc::new(Metrics::new(ShardCells::for_shards(shards), Gauges::default())),
            clock: Clock::start(),
            config: Arc::new(LiveConfig::from_pointee(Config { admin: true, ..Config::default() })),
            default_topic: Topic::parse("default").unwrap(),
            streams_max: 1,
            sockets_max: 1,
            handler: None,
            admin: Turns::new(shards),
            draining: AtomicBool::default(),
            closing: AtomicBool::default(),
            publishing: AtomicUsize::default(),
            seed: AtomicU64::default(),
        };
        (state, mail)
    }

    fn publish(state: &State, topics: &[&str], event: &Event<'_>, now_ns: u64) {
        let topics: Topics = topics.iter().map(|topic| Topic::parse(topic).unwrap()).collect();
        let draft = Draft::encode(topics, event, state.bus.log.epoch()).unwrap();
        state.bus.publish(vec![draft], now_ns).unwrap();
    }

    async fn get(state: &State, target: &str) -> Result<Value, Problem> {
        let response = answer(state, &Request::get(target).body(()).unwrap()).await?;
        Ok(serde_json::from_slice(&response.into_body().into_inner().unwrap_or_default()).unwrap())
    }

    /// The name and a number of each item.
    fn items(document: &Value, number: &str) -> Vec<(String, f64)> {
        let items = document["items"].as_array().unwrap().iter();
        items.map(|item| (item["topic"].as_str().unwrap().to_owned(), item[number].as_f64().unwrap())).collect()
    }

    #[tokio::test]
    async fn a_shard_that_is_silent_is_named_and_not_asked_again() {
        let (state, mail) = state(3, 10);
        let [mute, full] = [mail[1].clone(), mail[2].clone()];
        while state.bus.inbox(2).push(Command::Stop).is_ok() {}
        let speaks = mail.into_iter().next().unwrap();
        let shard = std::thread::spawn(move || {
            let registry = Registry::new(0, 1000, 1);
            while let Ok(Command::Look(question)) = speaks.recv() {
                question.answer(0, &registry, 0);
            }
        });
        let began = state.clock.now_ms();
        let (one, other) = tokio::join!(get(&state, "/admin/streams"), get(&state, "/admin/streams"));
        assert_eq!(one.unwrap()["shards_silent"], serde_json::json!([1, 2]));
        assert_eq!(other.unwrap_err().reason(), Refusal::Busy);
        assert!((2_000..4_000).contains(&(state.clock.now_ms() - began)));
        // It still has the first question, so nobody waits for its answer to the next.
        let began = state.clock.now_ms();
        for _ in 0..3 {
            assert_eq!(get(&state, "/admin/streams").await.unwrap()["shards_silent"], serde_json::json!([1, 2]));
        }
        assert!(state.clock.now_ms() - began < 1_000);
        assert_eq!(mute.len(), 1);
        // Back again, it is asked again.
        mute.try_iter().for_each(drop);
        full.try_iter().for_each(drop);
        let _ = tokio::join!(get(&state, "/admin/streams"), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!((mute.len(), full.len()), (1, 1));
            mute.try_iter().chain(full.try_iter()).for_each(drop);
        });
        state.bus.inbox(0).push(Command::Stop).map_err(drop).unwrap();
        shard.join().unwrap();
    }

    #[tokio::test]
    async fn topics_are_counted() {
        let (state, _mail) = state(1, 100);
        // The clock has just begun: what is recent is all.
        let empty = get(&state, "/admin/topics").await.unwrap();
        assert_eq!((&empty["topics"], &empty["items"]), (&Value::from(0), &serde_json::json!([])));
        for n in 0..6 {
            publish(&state, &["often"], &Event::new("x"), n);
        }
        publish(&state, &["large", "both", "large"], &Event::new("x".repeat(5_000)), 9);
        for n in 0..9 {
            publish(&state, &["live", "both"], &Event::new("x").keep(false), n);
        }
        let document = get(&state, "/admin/topics?sort=events&limit=2").await.unwrap();
        assert_eq!(items(&document, "events"), [("often".to_owned(), 6.0), ("both".to_owned(), 1.0)]);
        assert_eq!(
            (&document["topics"], &document["events_counted"], &document["complete"]),
            (&4.into(), &16.into(), &true.into())
        );
        let document = get(&state, "/admin/topics?sort=bytes&limit=1").await.unwrap();
        assert!(items(&document, "bytes")[0].0 == "both" && items(&document, "bytes")[0].1 > 5_000.0, "{document}");
        let document = get(&state, "/admin/topics").await.unwrap();
        let rates = items(&document, "rate");
        let names: Vec<_> = rates.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["both", "live", "often", "large"]);
        assert!((rates[0].1 / rates[2].1 - 10.0 / 6.0).abs() < 0.01, "{rates:?}");
    }

    #[test]
    fn a_rate_is_over_the_time_that_the_log_reaches_back() {
        let counted = Counted { recent: [10, 5], ..Counted::default() };
        assert_eq!(counted.rate([RATE_NS, RATE_NS]), 1.5);
        assert_eq!(counted.rate([RATE_NS / 10, RATE_NS]), 10.5);
        assert_eq!(counted.rate([0, RATE_NS]), 100.5);
    }

    #[tokio::test]
    async fn what_would_cost_too_much_is_cut_and_told() {
        let (state, _mail) = state(1, 10_000);
        let names: Vec<_> = (0..128).map(|n| format!("t{n}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        for n in 0..COUNTED_MAX / 128 + 300 {
            publish(&state, &names, &Event::new("x"), n as u64);
        }
        let document = get(&state, "/admin/topics?sort=events").await.unwrap();
        assert_eq!(document["complete"], false);
        let counted = document["events_counted"].as_u64().unwrap();
        assert!((COUNTED_MAX as u64 / 128..=COUNTED_MAX as u64 / 128 + 256).contains(&counted), "{counted}");
        assert_eq!(items(&document, "events")[0].1, counted as f64);
    }

    #[tokio::test]
    async fn parameters_are_strict() {
        let (state, _mail) = state(1, 10);
        for (query, field) in [
            ("limit=0", "limit"),
            ("limit=101", "limit"),
            ("limit=", "limit"),
            ("limit=+5", "limit"),
            ("limit=99999999999999999999", "limit"),
            ("limit=5&limit=5", "limit"),
            ("limit=%", "limit"),
            ("sort=", "sort"),
            ("sort=Rate", "sort"),
            ("sort=rate&sort=rate", "sort"),
            ("top=5", "top"),
            ("%=5", "%"),
        ] {
            let problem = get(&state, &format!("/admin/topics?{query}")).await.unwrap_err();
            let document = problem.into_response().into_body().into_inner().unwrap();
            let document: Value = serde_json::from_slice(&document).unwrap();
            assert_eq!((&document["status"], &document["field"]), (&400.into(), &field.into()), "{query}");
        }
        for query in ["", "limit=100", "limit=1&sort=%72ate", "&"] {
            assert!(get(&state, &format!("/admin/topics?{query}")).await.is_ok(), "{query}");
        }
    }

    #[test]
    fn a_name_that_may_be_a_page_is_refused() {
        let refused =
            |host: &str| refuse_names(&HeaderMap::from_iter([(header::HOST, host.parse().unwrap())])).is_err();
        for host in ["127.0.0.1", "127.0.0.1:8081", "[::1]:8081", "localhost:8081", "gateway", "10.0.0.7:1"] {
            assert!(!refused(host), "{host}");
        }
        for host in ["evil.example", "evil.example:8081", "localhost.", "127.0.0.1.nip.io", "a b", ""] {
            assert!(refused(host), "{host}");
        }
        assert!(refuse_names(&HeaderMap::new()).is_ok());
    }
}
