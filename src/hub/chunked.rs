//! A queue that never moves all of itself: it grows and shrinks a chunk at a time.

use std::collections::VecDeque;
use std::ops::{Index, Range};

/// How many items a chunk has.
const CHUNK: usize = 1024;

/// A queue in chunks. One of few items takes what a `VecDeque` of them does.
pub struct Chunked<T> {
    /// The oldest, at most a chunk of them,
    front: VecDeque<T>,
    /// and the others: all of these are full but for the last.
    rest: VecDeque<VecDeque<T>>,
}

impl<T> Default for Chunked<T> {
    fn default() -> Chunked<T> {
        Chunked { front: VecDeque::new(), rest: VecDeque::new() }
    }
}

impl<T> Chunked<T> {
    /// How many items it has.
    pub fn len(&self) -> usize {
        let of_rest = self.rest.back().map_or(0, |last| (self.rest.len() - 1) * CHUNK + last.len());
        self.front.len() + of_rest
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.front.is_empty()
    }

    /// The oldest.
    pub fn front(&self) -> Option<&T> {
        self.front.front()
    }

    /// The one before which there are `at`.
    pub fn get(&self, at: usize) -> Option<&T> {
        match at.checked_sub(self.front.len()) {
            None => self.front.get(at),
            Some(at) => self.rest.get(at / CHUNK)?.get(at % CHUNK),
        }
    }

    /// Adds one.
    pub fn push_back(&mut self, item: T) {
        match self.rest.back_mut() {
            Some(last) if last.len() < CHUNK => last.push_back(item),
            None if self.front.len() < CHUNK => self.front.push_back(item),
            _ => {
                let mut last = VecDeque::with_capacity(CHUNK);
                last.push_back(item);
                self.rest.push_back(last);
            }
        }
    }

    /// Takes out the oldest.
    pub fn pop_front(&mut self) -> Option<T> {
        let item = self.front.pop_front()?;
        if self.front.is_empty()
            && let Some(next) = self.rest.pop_front()
        {
            self.front = next;
            if self.rest.len() < self.rest.capacity() / 4 {
                self.rest.shrink_to(2 * self.rest.len());
            }
        } else if self.front.capacity() > 64 && self.front.len() < self.front.capacity() / 4 {
            // It was long once.
            self.front.shrink_to(2 * self.front.len());
        }
        Some(item)
    }

    /// How many there are before the first that is not so; all are so before it, and none after it.
    pub fn partition_point(&self, is_before: impl Fn(&T) -> bool) -> usize {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = from.midpoint(to);
            if is_before(&self[middle]) { from = middle + 1 } else { to = middle }
        }
        from
    }

    /// Those in a range.
    pub fn range(&self, range: Range<usize>) -> impl DoubleEndedIterator<Item = &T> {
        range.map(|at| &self[at])
    }

    /// Those from one on.
    pub fn range_from(&self, from: usize) -> impl DoubleEndedIterator<Item = &T> {
        self.range(from..self.len())
    }
}

impl<T> Index<usize> for Chunked<T> {
    type Output = T;

    fn index(&self, at: usize) -> &T {
        self.get(at).expect("it is in the queue")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_equals_a_queue_of_one_piece(
            ops in prop::collection::vec((any::<bool>(), 0..3000usize), 1..20), point in 0..9000usize,
        ) {
            let (mut chunked, mut queue) = (Chunked::default(), VecDeque::new());
            let mut next = 0;
            for (push, count) in ops {
                for _ in 0..count {
                    if push {
                        chunked.push_back(next);
                        queue.push_back(next);
                        next += 1;
                    } else {
                        prop_assert_eq!(chunked.pop_front(), queue.pop_front());
                    }
                }
                prop_assert_eq!((chunked.len(), chunked.is_empty()), (queue.len(), queue.is_empty()));
                prop_assert_eq!(chunked.front(), queue.front());
                prop_assert!(chunked.range_from(0).eq(queue.iter()));
                let (at, len) = (point.min(queue.len()), queue.len());
                prop_assert_eq!((chunked.get(at), chunked.get(len)), (queue.get(at), None));
                prop_assert!(chunked.range(0..at).rev().eq(queue.range(..at).rev()));
                prop_assert!(chunked.range_from(at).eq(queue.range(at..)));
                let before = |item: &usize| *item < point;
                prop_assert_eq!(chunked.partition_point(before), queue.partition_point(before));
            }
        }
    }

    #[test]
    fn one_step_never_takes_much_and_what_is_gone_takes_nothing() {
        let mut chunked = Chunked::default();
        let info = allocation_counter::measure(|| {
            for item in 0..200 * CHUNK as u64 {
                let info = allocation_counter::measure(|| chunked.push_back(item));
                assert!(info.bytes_total <= 16 * CHUNK as u64, "{item}");
            }
            for left in (0..200 * CHUNK).rev() {
                let info = allocation_counter::measure(|| {
                    chunked.pop_front();
                });
                assert!(info.bytes_total <= 16 * CHUNK as u64, "{left}");
            }
        });
        assert!(info.bytes_current <= 2048, "{}", info.bytes_current);
    }
}
