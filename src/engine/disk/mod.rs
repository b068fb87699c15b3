//! The disk engine's store: a log of publish calls in segment files.
//!
//! ```text
//!   Pack ── record::encode ──► Packed ── Store::append, sync ──► segment files
//!                                                                   │
//!   record::Record ◄── Item::Pack ◄── Reader::next ◄────────────────┘
//! ```

// The file system, and one that fails on purpose.
pub mod io;
#[cfg(test)]
pub(super) mod sim;
// How packs stand in files.
pub mod segment;
pub mod frames;
pub mod catalog;
// Who writes and reads them.
pub mod recover;
pub mod read;
pub mod retention;
pub mod store;
pub mod archive;
// For people.
mod walk;
pub mod verify;
pub mod dump;
// And all of it together.
#[cfg(test)]
pub(super) mod kit;
#[cfg(test)]
mod crashes;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod behaviour;
#[cfg(test)]
mod kills;
