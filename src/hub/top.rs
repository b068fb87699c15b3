//! The largest of many: one walk, and room for those alone.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Keeps the largest items that it is offered, at most `max` of them.
pub struct Top<T> {
    // The least of those kept stands on top, for the next one to be held against.
    kept: BinaryHeap<Reverse<T>>,
    max: usize,
}

impl<T: Ord> Top<T> {
    /// Room for so many.
    pub fn new(max: usize) -> Top<T> {
        Top { kept: BinaryHeap::with_capacity(max), max }
    }

    /// Keeps the item if it is one of the largest so far.
    pub fn offer(&mut self, item: T) {
        if self.kept.len() < self.max {
            self.kept.push(Reverse(item));
        } else if let Some(mut least) = self.kept.peek_mut()
            && least.0 < item
        {
            *least = Reverse(item);
        }
    }

    /// The largest, largest first.
    pub fn into_sorted(self) -> impl Iterator<Item = T> {
        self.kept.into_sorted_vec().into_iter().map(|Reverse(item)| item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_keeps_what_sorting_would_put_first(mut items: Vec<u8>, max in 0usize..20) {
            let mut top = Top::new(max);
            items.iter().for_each(|item| top.offer(*item));
            items.sort_unstable_by(|a, b| b.cmp(a));
            items.truncate(max);
            prop_assert_eq!(top.into_sorted().collect::<Vec<_>>(), items);
        }
    }
}
