//! What an operator sees.

use super::*;
use crate::hub::registry::look::{Looking, Order, Standing};

#[test]
fn the_slowest_are_found_in_any_order() {
    let mut shard = OneShard::with(LogLimits { events: 100, bytes: 1 << 30, age_ns: u64::MAX });
    let _live = shard.open(Asks { topics: &["q"], ..Asks::default() });
    shard.now_ms.set(3_000);
    let [_, stuck, slow] = [usize::MAX, 5, 60].map(|takes| {
        let peer = shard.open(Asks::default());
        peer.wire.borrow_mut().room = takes;
        peer
    });
    shard.now_ms.set(5_500);
    shard.say(&["1", "2", "3"]);
    shard.pass();
    shard.now_ms.set(6_000);
    shard.takes(&slow, 1);
    let looks = |order, max| -> Vec<_> {
        let mut looking = Looking::new(order, max);
        let mut turns = 1;
        while !shard.registry.look_on(&mut looking, 6_000) {
            turns += 1;
        }
        assert_eq!(turns, 2, "three streams a turn");
        shard.registry.looks(looking).map(|look| (look.slot, look.behind, look.standing)).collect()
    };
    let standing = |lag, written_ms, age_s| Standing { lag, written_ms, age_s };
    let by_lag = looks(Order::Lag, 9);
    assert_eq!(by_lag.len(), 4);
    assert_eq!(by_lag[0].0, stuck.key.index(), "{by_lag:?}");
    assert!(by_lag[0].1 && by_lag[0].2.lag > by_lag[1].2.lag && by_lag[1].2.lag > 0, "{by_lag:?}");
    assert_eq!(by_lag[1].0, slow.key.index());
    assert_eq!(by_lag[2..], [(0, false, standing(0, 6_000, 6)), (1, false, standing(0, 500, 3))]);
    assert_eq!(looks(Order::Age, 1), [(0, false, standing(0, 6_000, 6))]);
    assert_eq!(looks(Order::Written, 2).iter().map(|look| look.0).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(looks(Order::Lag, 0), []);
}
