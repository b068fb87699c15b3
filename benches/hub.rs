//! The core by wall time: what it costs to encode, to keep, to find and to hand over, without the
//! kernel. Each group is named after the claim it protects.
//!
//! `cargo bench --bench hub` (add `-- --quick` for a first look).

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hub_world::{Crowd, KEPT, STREAMS};
use sluicegate::internals::hub::frame::Draft;
use sluicegate::internals::hub::log::{Evicted, Numbering};
use sluicegate::internals::hub::topic::{Pattern, Subscription, Topics};
use std::hint::black_box;
use std::time::Instant;

mod hub_world;

fn encoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("an_event_is_encoded_once_at_about_the_cost_of_copying_it");
    let topics = Topics::one(hub_world::topic(1));
    for (name, event) in [("100_bytes", hub_world::short_event()), ("1_kib_in_16_lines", hub_world::long_event())] {
        group.bench_function(name, |b| {
            b.iter(|| Draft::encode(topics.clone(), black_box(&event), hub_world::epoch()).expect("a good event"));
        });
    }
    group.finish();
}

fn append(c: &mut Criterion) {
    const APPENDED: usize = 1000;
    let mut group = c.benchmark_group("an_append_searches_nothing_only_caches_tell_10_topics_from_10k");
    group.throughput(Throughput::Elements(APPENDED as u64)).sample_size(20);
    for topics in [10, 10_000] {
        let mut log = hub_world::full_log(topics);
        let mut now_ns = 0;
        group.bench_function(BenchmarkId::new("topics", topics), |b| {
            b.iter_batched(
                || (0..APPENDED).map(|n| hub_world::draft(n % topics)).collect::<Vec<_>>(),
                |drafts| {
                    let mut evicted = Evicted::default();
                    for draft in drafts {
                        now_ns += 1;
                        log.append([draft], Numbering::Own, now_ns, &mut evicted);
                    }
                    // The caller frees these outside the lock, so that is not timed.
                    evicted
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

fn replay(c: &mut Criterion) {
    let mut group = c.benchmark_group("a_replay_by_topic_costs_by_its_matches_and_not_by_the_log");
    let log = hub_world::full_log(KEPT / 100);
    let mut frames = Vec::with_capacity(100);
    let pattern = Pattern::parse("*/7/b").expect("a pattern");
    for (name, subscription) in [
        ("by_topic", Subscription::to(hub_world::topic(7))),
        // For comparison: a pattern must look at each of them.
        ("by_pattern", Subscription::new(vec![], vec![pattern], &*hub_world::TABLE).expect("a subscription")),
    ] {
        group.bench_function(BenchmarkId::new(name, "100_of_100k"), |b| {
            b.iter(|| {
                frames.clear();
                hub_world::replay(black_box(&log), &subscription, &mut frames);
                assert_eq!(frames.len(), 100);
            });
        });
    }
    group.finish();
}

fn resolve(c: &mut Criterion) {
    let mut group = c.benchmark_group("a_topic_is_resolved_at_the_same_cost_among_10_and_10k");
    group.throughput(Throughput::Elements(1000));
    for by_pattern in [false, true] {
        for cohorts in [10, 10_000] {
            let routes = hub_world::routes(cohorts, by_pattern);
            let topics: Vec<_> =
                (0..1000).map(|n| hub_world::topic(hub_world::scramble(n) as usize % cohorts)).collect();
            let name = if by_pattern { "patterns" } else { "topics" };
            group.bench_function(BenchmarkId::new(name, cohorts), |b| {
                b.iter(|| hub_world::resolve(black_box(&routes), &topics));
            });
        }
    }
    group.finish();
}

fn upkeep(c: &mut Criterion) {
    let mut group = c.benchmark_group("a_stream_comes_and_goes_at_the_same_cost_among_1k_and_100k");
    group.throughput(Throughput::Elements(Crowd::RENEWED as u64)).sample_size(20);
    type Subscriptions = fn(usize) -> Subscription;
    let kinds: [(&str, Subscriptions); 3] = [
        ("own_topics", hub_world::own_topic),
        ("127_shared_topics", hub_world::shared_topics),
        ("own_patterns", hub_world::own_pattern),
    ];
    for (name, subscription) in kinds {
        for streams in [1_000, 100_000] {
            let mut crowd = Crowd::of(streams, subscription);
            group.bench_function(BenchmarkId::new(name, streams), |b| b.iter(|| crowd.renew()));
        }
    }
    group.finish();
}

fn pass(c: &mut Criterion) {
    let mut group = c.benchmark_group("a_pass_costs_a_send_for_each_stream_and_little_else");
    group.sample_size(20);
    for (cohorts, events, deliveries) in
        [(1, 1, STREAMS), (1, 18, 18 * STREAMS), (STREAMS, 1, 1), (STREAMS, 1000, 1000)]
    {
        let mut shard = hub_world::shard(cohorts, events);
        assert_eq!(shard.pass(), deliveries as u64);
        group.throughput(Throughput::Elements(deliveries as u64));
        group.bench_function(BenchmarkId::new(format!("cohorts_{cohorts}"), format!("events_{events}")), |b| {
            b.iter_custom(|passes| {
                let pass = |_| {
                    shard.publish(events);
                    let began = Instant::now();
                    shard.pass();
                    began.elapsed()
                };
                (0..passes).map(pass).sum()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, encoding, append, replay, resolve, upkeep, pass);
criterion_main!(benches);
