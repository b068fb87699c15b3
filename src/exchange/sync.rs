//! The locks, atomics, queues and maps of this module, all from here: `models/` puts those of a model
//! checker in their place, and runs the files beside this one with them as they are.

pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};

pub(super) use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
pub(super) use dashmap::DashMap;
pub(super) use parking_lot::{Condvar, Mutex};
