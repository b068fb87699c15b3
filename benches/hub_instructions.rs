//! The core by instructions executed, which do not depend on the machine's load: a number to hold a
//! change against. Each is named after the claim it protects.
//!
//! `cargo bench --bench hub_instructions` needs valgrind, and the runner of the same version as the
//! crate: `cargo install gungraun-runner --version 0.20.0`.

#![allow(missing_docs, reason = "the macros make public items without any")]

use gungraun::{library_benchmark, library_benchmark_group, main};
use hub_world::{Crowd, KEPT, STREAMS, Shard};
use sluicegate::internals::hub::event::Event;
use sluicegate::internals::hub::frame::{Draft, Frame};
use sluicegate::internals::hub::log::{Evicted, Log, Numbering};
use sluicegate::internals::hub::routes::Routes;
use sluicegate::internals::hub::topic::{Pattern, Subscription, TopicHandle, Topics};
use std::hint::black_box;
use std::sync::Arc;

mod hub_world;

fn to_encode(event: Event<'static>) -> (Topics, Event<'static>) {
    (Topics::one(hub_world::topic(1)), event)
}

#[library_benchmark]
#[bench::of_100_bytes(to_encode(hub_world::short_event()))]
#[bench::of_1_kib_in_16_lines(to_encode(hub_world::long_event()))]
fn an_event_is_encoded_once_at_about_the_cost_of_copying_it((topics, event): (Topics, Event<'static>)) -> Draft {
    Draft::encode(topics, black_box(&event), hub_world::epoch()).expect("a good event")
}

type Appending = (Log, Vec<Draft>, Evicted);

/// A full log, and a thousand events to append.
fn appending(topics: usize) -> Appending {
    let drafts = (0..1000).map(|n| hub_world::draft(n % topics)).collect();
    (hub_world::full_log(topics), drafts, Evicted::default())
}

#[library_benchmark]
#[bench::with_10_topics(appending(10))]
#[bench::with_10k_topics(appending(10_000))]
fn an_append_searches_nothing_only_caches_tell_10_topics_from_10k(
    (mut log, drafts, mut evicted): Appending,
) -> (Log, Evicted) {
    for draft in drafts {
        log.append([draft], Numbering::Own, black_box(1), &mut evicted);
    }
    (log, evicted)
}

type Replaying = (Log, Subscription, Vec<Arc<Frame>>);

fn replaying(by_pattern: bool) -> Replaying {
    let pattern = || Pattern::parse("*/7/b").expect("a pattern");
    let subscription = if by_pattern {
        Subscription::new(vec![], vec![pattern()], &*hub_world::TABLE).expect("a subscription")
    } else {
        Subscription::to(hub_world::topic(7))
    };
    (hub_world::full_log(KEPT / 100), subscription, Vec::with_capacity(100))
}

// A hundred of a hundred thousand; a pattern must look at each of them.
#[library_benchmark]
#[bench::by_topic(replaying(false))]
#[bench::by_pattern(replaying(true))]
fn a_replay_by_topic_costs_by_its_matches_and_not_by_the_log((log, subscription, mut frames): Replaying) -> Replaying {
    hub_world::replay(black_box(&log), &subscription, &mut frames);
    (log, subscription, frames)
}

type Resolving = (Routes, Vec<TopicHandle>);

fn resolving(cohorts: usize, by_pattern: bool) -> Resolving {
    let topics = (0..1000).map(|n| hub_world::topic(hub_world::scramble(n) as usize % cohorts)).collect();
    (hub_world::routes(cohorts, by_pattern), topics)
}

// A thousand topics.
#[library_benchmark]
#[bench::among_10_topics(resolving(10, false))]
#[bench::among_10k_topics(resolving(10_000, false))]
#[bench::among_10_patterns(resolving(10, true))]
#[bench::among_10k_patterns(resolving(10_000, true))]
fn a_topic_is_resolved_at_the_same_cost_among_10_and_10k((routes, topics): Resolving) -> Resolving {
    hub_world::resolve(black_box(&routes), &topics);
    (routes, topics)
}

#[library_benchmark]
#[bench::of_1_event_to_1_cohort(hub_world::shard(1, 1))]
#[bench::of_18_events_to_1_cohort(hub_world::shard(1, 18))]
#[bench::of_1000_events_to_10k_cohorts(hub_world::shard(STREAMS, 1000))]
fn a_pass_costs_a_send_for_each_stream_and_little_else(mut shard: Shard) -> Shard {
    black_box(shard.pass());
    shard
}

#[library_benchmark]
#[bench::own_topics_1k(Crowd::of(1_000, hub_world::own_topic))]
#[bench::own_topics_100k(Crowd::of(100_000, hub_world::own_topic))]
#[bench::shared_topics_1k(Crowd::of(1_000, hub_world::shared_topics))]
#[bench::shared_topics_20k(Crowd::of(20_000, hub_world::shared_topics))]
#[bench::own_patterns_1k(Crowd::of(1_000, hub_world::own_pattern))]
#[bench::own_patterns_100k(Crowd::of(100_000, hub_world::own_pattern))]
fn a_stream_comes_and_goes_at_the_same_cost_among_few_and_many(mut crowd: Crowd) -> Crowd {
    crowd.renew();
    crowd
}

library_benchmark_group!(
    name = hub,
    benchmarks = [
        an_event_is_encoded_once_at_about_the_cost_of_copying_it,
        an_append_searches_nothing_only_caches_tell_10_topics_from_10k,
        a_replay_by_topic_costs_by_its_matches_and_not_by_the_log,
        a_topic_is_resolved_at_the_same_cost_among_10_and_10k,
        a_stream_comes_and_goes_at_the_same_cost_among_few_and_many,
        a_pass_costs_a_send_for_each_stream_and_little_else
    ]
);

main!(library_benchmark_groups = hub);
