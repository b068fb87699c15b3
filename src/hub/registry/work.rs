//! What the steps of a turn cost, in units of [`Bounds::work_a_turn`](crate::hub::bounds::Bounds::work_a_turn).

/// A write.
pub(super) const WRITE: usize = 128;
/// A frame that is taken from the log for one stream.
pub(super) const FRAME: usize = 8;
/// A topic or pattern of a new stream that is entered into the routes.
pub(super) const ROUTE: usize = 40;
