//! A map from topic numbers: one step to what is there, in pages, so that it neither moves much when it
//! grows nor keeps much when it has shrunk.

/// How many numbers a page has.
const PAGE: usize = 64;

/// A map from numbers that are mostly small.
pub struct Paged<T> {
    pages: Vec<Option<Page<T>>>,
    len: usize,
}

struct Page<T> {
    slots: Box<[Option<T>]>,
    used: usize,
}

impl<T> Default for Paged<T> {
    fn default() -> Paged<T> {
        Paged { pages: Vec::new(), len: 0 }
    }
}

fn split(number: u32) -> (usize, usize) {
    (number as usize / PAGE, number as usize % PAGE)
}

impl<T> Paged<T> {
    /// How many numbers have something.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What a number has.
    pub fn get(&self, number: u32) -> Option<&T> {
        let (page, at) = split(number);
        self.pages.get(page)?.as_ref()?.slots[at].as_ref()
    }

    /// What a number has, to change it.
    pub fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let (page, at) = split(number);
        self.pages.get_mut(page)?.as_mut()?.slots[at].as_mut()
    }

    /// What a number has, and if it has nothing, what `make` makes.
    pub fn get_or_insert_with(&mut self, number: u32, make: impl FnOnce() -> T) -> &mut T {
        let (page, at) = split(number);
        if self.pages.len() <= page {
            self.pages.resize_with(page + 1, || None);
        }
        let page = self.pages[page].get_or_insert_with(|| Page { slots: (0..PAGE).map(|_| None).collect(), used: 0 });
        let (slot, used, len) = (&mut page.slots[at], &mut page.used, &mut self.len);
        slot.get_or_insert_with(|| {
            *used += 1;
            *len += 1;
            make()
        })
    }

    /// Takes out what a number has.
    pub fn remove(&mut self, number: u32) -> Option<T> {
        let (at_page, at) = split(number);
        let page = self.pages.get_mut(at_page)?.as_mut()?;
        let removed = page.slots[at].take()?;
        page.used -= 1;
        self.len -= 1;
        if page.used == 0 {
            self.pages[at_page] = None;
            let used = self.pages.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
            self.pages.truncate(used);
            if self.pages.len() < self.pages.capacity() / 4 {
                self.pages.shrink_to(2 * self.pages.len());
            }
        }
        Some(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn it_equals_a_map_and_keeps_no_page_that_is_empty(
            ops in prop::collection::vec((any::<bool>(), prop_oneof![0..4u32, 60..70u32, 0..2000u32]), 1..200),
        ) {
            let (mut paged, mut map) = (Paged::default(), BTreeMap::new());
            for (at, (insert, number)) in ops.into_iter().enumerate() {
                if insert {
                    prop_assert_eq!(paged.get_or_insert_with(number, || at), map.entry(number).or_insert(at));
                } else {
                    prop_assert_eq!(paged.remove(number), map.remove(&number));
                }
                prop_assert_eq!(paged.len(), map.len());
                for number in 0..2000 {
                    prop_assert_eq!(paged.get(number), map.get(&number));
                    prop_assert_eq!(paged.get_mut(number), map.get_mut(&number));
                }
                let pages = map.last_key_value().map_or(0, |(number, _)| *number as usize / PAGE + 1);
                prop_assert_eq!(paged.pages.len(), pages);
                prop_assert!(paged.pages.iter().flatten().all(|page| page.used > 0));
                prop_assert!(paged.pages.capacity() <= 4 * pages.max(8));
            }
        }
    }
}
