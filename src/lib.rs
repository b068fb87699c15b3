//! Sluicegate.

pub mod hub;

pub mod exchange;
