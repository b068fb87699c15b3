//! Faults that were, to be put back: the simulation must find each. A release has none of them, nor any trace.

use super::{Host, Shard};

/// A fault of former times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Events that came during a pass in pieces wait for another wake-up.
    LostWakeUp,
    /// A shard that rests does not hear that the log is about to lap it.
    DeafRest,
    /// The end of a stream makes a pass, in a rest too.
    EndsPass,
    /// What has left the log counts as lost by all, whatever its topics: no fault of the shard, but of its log.
    #[cfg(test)]
    ForgetsTopics,
}

#[cfg(test)]
impl Fault {
    pub(crate) const ALL: [Fault; 4] = [Fault::LostWakeUp, Fault::DeafRest, Fault::EndsPass, Fault::ForgetsTopics];
}

impl<H: Host> Shard<H> {
    #[cfg(test)]
    pub(super) fn has_fault(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    #[cfg(not(test))]
    pub(super) const fn has_fault(&self, _: Fault) -> bool {
        false
    }
}
