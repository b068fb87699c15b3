//! The fields of an event.

use strum::{EnumString, IntoStaticStr};

/// The fields of an event, as publishers name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Field {
    Topic,
    Topics,
    Data,
    Event,
    Id,
    Retry,
    Key,
    Keep,
    Private,
}

impl Field {
    /// Its name.
    pub(super) fn name(self) -> &'static str {
        self.into()
    }
}

/// The fields seen so far.
#[derive(Default)]
pub(super) struct Seen(u16);

impl Seen {
    /// `false` if the field was there already.
    pub(super) fn insert(&mut self, field: Field) -> bool {
        let bit = 1 << field as u8;
        let new = self.0 & bit == 0;
        self.0 |= bit;
        new
    }
}
