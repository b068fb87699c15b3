//! What a publisher sends: one event as a body with query parameters, or a batch of JSON objects.

mod batch;
mod body;
mod field;
mod object;
mod single;

pub use batch::batch;
pub use body::read_body;
pub use single::single;
