//! Many seeds; and that they find the faults that were.

use std::panic::AssertUnwindSafe;

use strum::VariantArray;

use crate::hub::close::CloseReason;
use crate::hub::gap::GapReason;
use crate::hub::shard::Fault;

use super::oracle::{ABOUT_TO_BE_LAPPED, NOTHING_LOST, OWED_IN_SLEEP};
use super::world::{PASS_IN_REST, World};

/// What many seeds came to, to see that they met what they are for.
#[derive(Debug, Default)]
struct Met {
    closed: [u64; CloseReason::VARIANTS.len()],
    gaps: [u64; GapReason::VARIANTS.len()],
    deliveries: u64,
    slept: u64,
    rested: u64,
    marked: u64,
    paged: u64,
    told: [u64; 2],
}

fn play(seed: u64, fault: Option<Fault>, met: &mut Met) {
    struct Named(u64, bool);
    impl Drop for Named {
        fn drop(&mut self) {
            if self.1 && std::thread::panicking() {
                eprintln!("failing seed: SLUICEGATE_SEED={}", self.0);
            }
        }
    }
    let _named = Named(seed, fault.is_none());
    let mut world = World::new(seed, fault);
    for _ in 0..100 + world.random.below(400) {
        world.step();
    }
    let tally = world.finish();
    met.closed.iter_mut().zip(tally.closed).for_each(|(sum, one)| *sum += one);
    met.gaps.iter_mut().zip(tally.gaps).for_each(|(sum, one)| *sum += one);
    met.deliveries += tally.deliveries;
    met.slept += world.slept;
    met.rested += world.rested;
    met.marked += world.marked;
    met.paged += world.paged;
    met.told.iter_mut().zip(world.told).for_each(|(sum, one)| *sum += one);
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn every_stream_gets_its_events_once_in_order_or_is_told() {
    let mut met = Met::default();
    if let Some(seed) = number("SLUICEGATE_SEED") {
        return play(seed, None, &mut met);
    }
    let seeds = number("SLUICEGATE_SEEDS").unwrap_or(200);
    // On two threads, each with every second seed.
    let halves: Vec<Met> = std::thread::scope(|scope| {
        let half = |first: u64| {
            move || {
                let mut met = Met::default();
                (first..seeds).step_by(2).for_each(|seed| play(seed, None, &mut met));
                met
            }
        };
        let threads = [0, 1].map(|first| scope.spawn(half(first)));
        threads.map(|thread| thread.join().expect("no seed fails")).into()
    });
    for half in halves {
        met.closed.iter_mut().zip(half.closed).for_each(|(sum, one)| *sum += one);
        met.gaps.iter_mut().zip(half.gaps).for_each(|(sum, one)| *sum += one);
        met.deliveries += half.deliveries;
        met.slept += half.slept;
        met.rested += half.rested;
        met.marked += half.marked;
        met.paged += half.paged;
        met.told.iter_mut().zip(half.told).for_each(|(sum, one)| *sum += one);
    }
    println!("{met:?}");
    assert!(met.gaps.iter().all(|&gaps| gaps > 0), "{met:?}");
    assert!(met.closed.iter().all(|&closed| closed > 0), "{met:?}");
    assert!(met.told.iter().all(|&told| told > 0), "{met:?}");
    assert!(met.slept > 0 && met.rested > 0 && met.marked > 0 && met.paged > 0, "{met:?}");
}

/// The law that a fault breaks, as it says it.
fn law(fault: Fault) -> &'static str {
    match fault {
        Fault::LostWakeUp => OWED_IN_SLEEP,
        Fault::DeafRest => ABOUT_TO_BE_LAPPED,
        Fault::EndsPass => PASS_IN_REST,
        Fault::ForgetsTopics => NOTHING_LOST,
    }
}

/// The first seed that breaks the fault's law.
fn found(fault: Fault) -> u64 {
    let finds = |seed: &u64| {
        let played = std::panic::catch_unwind(AssertUnwindSafe(|| play(*seed, Some(fault), &mut Met::default())));
        let Err(panic) = played else { return false };
        let words = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        words.is_some_and(|words| words.contains(law(fault)))
    };
    (0..300).find(finds).unwrap_or_else(|| panic!("no seed finds {fault:?}"))
}

/// Each of these was in a release once, or nearly.
#[test]
fn the_faults_that_were_are_found() {
    for fault in Fault::ALL {
        println!("{fault:?} is found by seed {}", found(fault));
    }
}
