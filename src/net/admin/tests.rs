//! The admin endpoints, asked without a network.
#![cfg(test)]

use std::time::Duration;

use serde_json::Value;

use super::topics::COUNTED_MAX;
use super::*;
use crate::hub::event::Event;
use crate::hub::frame::Draft;
use crate::hub::topic::{Topics, handle};
use crate::net::command::Command;
use crate::net::state::tests::state;

fn publish(state: &State, topics: &[&str], event: &Event<'_>, now_ns: u64) {
    let topics = Topics::new(topics.iter().map(|topic| handle(topic))).unwrap();
    let draft = Draft::encode(topics, event, state.bus.log.epoch()).unwrap();
    state.bus.publish(vec![draft], now_ns).unwrap();
}

async fn get(state: &State, target: &str) -> Result<Value, Problem> {
    let parts = http::Request::get(target).body(()).unwrap().into_parts().0;
    let query = parts.uri.query().unwrap_or_default();
    let document = match parts.uri.path() {
        "/admin/streams" => streams(state, query).await?,
        _ => topics(state, query).await?,
    };
    Ok(serde_json::from_slice(&document).unwrap())
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
        while let Ok(Command::Ask { question, .. }) = speaks.recv() {
            question.answer(0, std::iter::empty());
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
