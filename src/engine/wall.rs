//! The wall clock, for what is compared with times of other processes.

use std::time::SystemTime;

/// Milliseconds since 1970.
pub fn wall_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Whole seconds since then, as tokens and certificates count.
pub fn wall_s() -> u64 {
    wall_ms() / 1000
}
