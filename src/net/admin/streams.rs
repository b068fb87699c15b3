//! The slowest streams: a shard looks at its own, once.

use std::cmp::Reverse;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;

use crate::hub::registry::look::Order;
use crate::hub::topic::{Pattern, TopicHandle};
use crate::net::command::Command;
use crate::net::problem::Problem;
use crate::net::question::{Question, Seen};
use crate::net::state::State;

use super::parameters::sort_and_limit;
use super::{busy, json};

/// How many topics of a stream are shown, and how many patterns.
const NAMES_SHOWN: usize = 8;
/// How long the shards may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// The slowest streams.
///
/// # Errors
/// 400, naming the parameter; 503 while another such request is under way.
pub async fn streams(state: &State, query: &str) -> Result<Vec<u8>, Problem> {
    let sorts = [("lag", Order::Lag), ("age", Order::Age), ("written", Order::Written)];
    let ((sort, order), limit) = sort_and_limit(query, &sorts)?;
    let _turn = state.admin.streams.try_acquire().map_err(|_| busy())?;
    let (answer, mut answers) = mpsc::channel(state.bus.shards());
    for (shard, turn) in state.admin.shards.iter().enumerate() {
        let Ok(turn) = turn.clone().try_acquire_owned() else { continue };
        let question = Question { answer: answer.clone(), turn };
        // A shard whose inbox is full is silent.
        let _ = state.bus.inbox(shard).push(Command::Ask { order, max: limit, question });
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
            topics: topics.iter().take(NAMES_SHOWN).map(TopicHandle::as_str).collect(),
            patterns: patterns.iter().take(NAMES_SHOWN).map(Pattern::as_str).collect(),
        }
    });
    Ok(json(&Document { streams: state.bus.streams(), sort, items: items.collect(), shards_silent }))
}
