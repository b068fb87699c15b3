//! Sluicegate.

pub mod hub;
