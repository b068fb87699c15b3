//! What is wrong with an input: the field, and why it is refused.

use std::borrow::Cow;
use std::fmt;

/// A refused input. It names the field, so that a problem document can.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// The field as the publisher or subscriber wrote it: `topic`, `id`, `retry` …
    pub field: &'static str,
    /// Why it was refused, as a lower-case sentence without a full stop.
    pub reason: Cow<'static, str>,
}

impl Fault {
    /// A fault in `field`.
    pub fn new(field: &'static str, reason: impl Into<Cow<'static, str>>) -> Fault {
        Fault { field, reason: reason.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

impl std::error::Error for Fault {}
