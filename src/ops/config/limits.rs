//! `[limits]`.

use serde::{Deserialize, Serialize};

use crate::ops::limits::{
    BODY_BYTES_MAX, CONNECTIONS_MAX, DEADLINE_MS_MIN, HEAD_BYTES_MAX, HEAD_BYTES_MIN, PINNED_BYTES_MAX,
    PINNED_BYTES_MIN,
};
use crate::ops::units::{Count, KIB, MIB, Size, Time};

/// `[limits]`: bounds on what clients may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// How many streams may be open; 0 is as many as the descriptors allow. Default: 0.
    pub streams: Count<0, 0xffff_ffff>,
    /// How many connections to the public listener may be open that are no streams; at most half of
    /// what descriptors the gateway does not need itself. For one more, the longest idle is closed.
    /// Default: 512.
    pub connections: Count<1, CONNECTIONS_MAX>,
    /// The longest request head, in bytes. Default: 16 KiB: room for 128 topics of usual length.
    pub head_bytes: Size<HEAD_BYTES_MIN, HEAD_BYTES_MAX>,
    /// How long a client may take to send a request's head, from its first byte. Default: 10 seconds.
    pub head_deadline: Time<DEADLINE_MS_MIN>,
    /// How long a connection may wait for a request. Default: 75 seconds, longer than load balancers and
    /// clients keep theirs in a pool, so that they close first.
    pub idle: Time<DEADLINE_MS_MIN>,
    /// The longest request body, in bytes, so also the most data of one event. Default: 1 MiB.
    pub body_bytes: Size<1, BODY_BYTES_MAX>,
    /// How long a client may take to send a request's body. Default: 30 seconds.
    pub body_deadline: Time<DEADLINE_MS_MIN>,
    /// How much memory streams that are behind may hold of events that have left the log, in bytes, divided
    /// over the shards. The oldest goes first. Default: 64 MiB.
    pub pinned_bytes: Size<PINNED_BYTES_MIN, PINNED_BYTES_MAX>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            streams: Count::new(0),
            connections: Count::new(512),
            head_bytes: Size::new(16 * KIB),
            head_deadline: Time::from_millis(10_000),
            idle: Time::from_millis(75_000),
            body_bytes: Size::new(MIB),
            body_deadline: Time::from_millis(30_000),
            pinned_bytes: Size::new(64 * MIB),
        }
    }
}
