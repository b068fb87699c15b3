//! What the next groups of a pass need is brought into the processor's caches together.
//!
//! After each `send` the caches hold the kernel's things. Where cohorts have a stream or two, as with topics as many as
//! streams, each write would wait for memory several times in a row: for its cohort, its stream, its frame. Looked at
//! for some groups at once, none of these waits for another.

use std::hint::black_box;

use crate::hub::frame::Framing;
use crate::hub::stream::Socket;

use super::Registry;
use super::pass::Pass;

/// How many of what is touched are looked at together: more would be out of the caches again when their turn comes.
const TOGETHER: usize = 16;
/// How many bytes come into a cache together.
const CACHE_LINE: usize = 64;

impl<S: Socket> Registry<S> {
    /// Looks at what the next groups need, unless that was done.
    pub(super) fn prefetch(&mut self, pass: &mut Pass) {
        if pass.next < pass.fetched {
            return;
        }
        let Pass { frames, touched, next, fetched, .. } = pass;
        *fetched = (*next + TOGETHER).min(touched.len());
        let mut members = [None; TOGETHER];
        for (member, &(cohort, at)) in members.iter_mut().zip(&touched[*next..*fetched]) {
            // A pass that was paused may name one that has gone.
            let cohort = self.cohorts.key_of(cohort).and_then(|key| self.cohorts.get(key));
            *member = cohort.and_then(|cohort| cohort.live.first().copied());
            black_box(frames[at as usize].offset());
        }
        for (member, &(_, at)) in members.iter().zip(&touched[*next..*fetched]) {
            black_box(member.and_then(|index| self.streams.key_of(index)));
            frames[at as usize].wire(Framing::Chunked).iter().step_by(CACHE_LINE).take(TOGETHER).for_each(|byte| {
                black_box(byte);
            });
        }
    }
}
