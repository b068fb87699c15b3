//! Every name, with its help and its label.

use super::family::{Family, counter, gauge, histogram};

pub(super) const STREAMS: Family = gauge("sluicegate_streams", "Open streams.").by(&["shard"]);
pub(super) const BEHIND_STREAMS: Family =
    gauge("sluicegate_behind_streams", "Open streams that read behind the head of the log.");
pub(super) const PINNED_BYTES: Family = gauge(
    "sluicegate_pinned_bytes",
    "Memory of events that have left the log and that streams behind still hold, in bytes.",
)
.by(&["shard"]);
pub(super) const PINNED_BYTES_MAX: Family = gauge(
    "sluicegate_pinned_bytes_max",
    "Memory that streams behind may hold of events that have left the log, in bytes.",
);
pub(super) const STREAMS_OPENED: Family = counter("sluicegate_streams_opened_total", "Streams opened.");
pub(super) const STREAMS_CLOSED: Family =
    counter("sluicegate_streams_closed_total", "Streams closed, by reason.").by(&["reason"]);
pub(super) const STREAMS_SHED: Family =
    counter("sluicegate_streams_shed_total", "Streams refused with a retry and a close, by reason.").by(&["reason"]);
pub(super) const EVENTS_PUBLISHED: Family =
    counter("sluicegate_events_published_total", "Events taken into the log, by source.").by(&["source"]);
pub(super) const PUBLISH_REJECTED: Family =
    counter("sluicegate_publish_rejected_total", "Publish requests refused, by reason.").by(&["reason"]);
pub(super) const REQUESTS_REJECTED: Family =
    counter("sluicegate_requests_rejected_total", "Requests refused that were no publish, by reason.").by(&["reason"]);
pub(super) const TOKENS: Family =
    counter("sluicegate_tokens_total", "Tokens and keys that requests held, by result.").by(&["result"]);
pub(super) const ENGINE_STATE: Family =
    gauge("sluicegate_engine_state", "1 for what the engine is doing, 0 for what else it may do.").by(&["state"]);
pub(super) const ENGINE_PUBLISHES: Family =
    counter("sluicegate_engine_publishes_total", "Publish calls that the engine was offered, by result.")
        .by(&["result"]);
pub(super) const ENGINE_PUBLISH_SECONDS: Family = histogram(
    "sluicegate_engine_publish_seconds",
    "Time to the engine's answer, of publish calls that waited for its store, in seconds.",
);
pub(super) const ENGINE_HEAD_SEQ: Family =
    gauge("sluicegate_engine_head_seq", "The sequence of the newest message of the engine's stream that is here.");
pub(super) const ENGINE_LAST_SEQ: Family =
    gauge("sluicegate_engine_last_seq", "The sequence of the newest message of the engine's stream.");
pub(super) const ENGINE_LAG_SECONDS: Family = gauge(
    "sluicegate_engine_lag_seconds",
    "How long the gateway has not had all of the engine's stream, in seconds; 0 while it has.",
);
pub(super) const ENGINE_SILENCE_SECONDS: Family =
    gauge("sluicegate_engine_silence_seconds", "How long nothing has come from the engine's servers, in seconds.");
pub(super) const ENGINE_READER_RESTARTS: Family =
    counter("sluicegate_engine_reader_restarts_total", "Times that reading the engine's stream began anew, by reason.")
        .by(&["reason"]);
pub(super) const ENGINE_EPOCH_CHANGES: Family =
    counter("sluicegate_engine_epoch_changes_total", "Times that the engine's stream was not what it was, by reason.")
        .by(&["reason"]);
pub(super) const ENGINE_HOLES: Family =
    counter("sluicegate_engine_holes_total", "Messages that were missing in the engine's stream.");
pub(super) const ENGINE_UNREADABLE: Family =
    counter("sluicegate_engine_unreadable_total", "Messages of the engine's stream that are no events.");
pub(super) const DELIVERIES: Family =
    counter("sluicegate_deliveries_total", "Events written to streams: one per event and stream.");
pub(super) const BYTES_WRITTEN: Family = counter("sluicegate_bytes_written_total", "Bytes written to streams.");
pub(super) const WRITES: Family = counter("sluicegate_writes_total", "Writes to streams that took at least a byte.");
pub(super) const GAPS: Family = counter("sluicegate_gaps_total", "Gaps that streams got, by reason.").by(&["reason"]);
pub(super) const DELIVERY_SECONDS: Family = histogram(
    "sluicegate_delivery_seconds",
    "Time from an event's publish to the write that carried it, per delivery but for replay, in seconds.",
);
pub(super) const PASS_SECONDS: Family = histogram(
    "sluicegate_pass_seconds",
    "Length of a shard's passes, rests between their pieces included, in seconds.",
);
pub(super) const SHARD_LAG_SECONDS: Family = gauge(
    "sluicegate_shard_lag_seconds",
    "Age of the oldest event in the log that waits for the shard's passes, in seconds; 0 when none does.",
)
.by(&["shard"]);
pub(super) const SHARD_BUSY_SECONDS: Family =
    counter("sluicegate_shard_busy_seconds_total", "Processor time that the shard's passes took, in seconds.")
        .by(&["shard"]);
pub(super) const STREAMS_MAX: Family = gauge("sluicegate_streams_max", "Streams that may be open.");
pub(super) const LOG_EVENTS_MAX: Family = gauge("sluicegate_log_events_max", "Kept events that the log may hold.");
pub(super) const LOG_BYTES_MAX: Family =
    gauge("sluicegate_log_bytes_max", "Memory that kept events may take, in bytes.");
pub(super) const LOG_EVENTS: Family =
    gauge("sluicegate_log_events", "Events in the log: kept, live-only, and held for open streams alone.");
pub(super) const LOG_BYTES: Family = gauge("sluicegate_log_bytes", "Memory of the events in the log, in bytes.");
pub(super) const LOG_OLDEST_SECONDS: Family = gauge(
    "sluicegate_log_oldest_seconds",
    "Age of the oldest kept event that memory has, in seconds; 0 when there is none.",
);
pub(super) const TOPICS: Family =
    gauge("sluicegate_topics", "Topics that events in the log or open streams name, or did until lately.");
pub(super) const TIMER_ENTRIES: Family = gauge("sluicegate_timer_entries", "Entries on the timing wheel.");
pub(super) const TIMER_LATE_SECONDS: Family =
    histogram("sluicegate_timer_late_seconds", "How late the timing wheel's entries expired, in seconds.");
pub(super) const CONNECTIONS: Family =
    gauge("sluicegate_connections", "Open connections that are no streams, by listener.").by(&["listener"]);
pub(super) const CONNECTIONS_OVER_LIMIT: Family = counter(
    "sluicegate_connections_over_limit_total",
    "Connections that found as many open as may be, so that the longest idle was closed, by listener.",
)
.by(&["listener"]);
pub(super) const ACCEPT_ERRORS: Family = counter("sluicegate_accept_errors_total", "Failures to accept a connection.");
pub(super) const LOG_LINES_DROPPED: Family =
    counter("sluicegate_log_lines_dropped_total", "Log lines dropped, since stderr did not take them in time.");
pub(super) const DRAINING: Family = gauge("sluicegate_draining", "1 while the gateway is shutting down, else 0.");
pub(super) const RELOAD_SUCCESSFUL: Family = gauge(
    "sluicegate_config_last_reload_successful",
    "1 if the configuration was applied when it was last read, 0 if it was refused.",
);
pub(super) const RELOAD_SUCCESS_TIMESTAMP: Family = gauge(
    "sluicegate_config_last_reload_success_timestamp_seconds",
    "When a configuration was last applied, at the start or since, in seconds since 1970.",
);
pub(super) const BUILD_INFO: Family =
    gauge("sluicegate_build_info", "1, with what was built as labels.").by(&["revision", "version"]);

pub(super) const REPLAY_PAGES: Family = counter(
    "sluicegate_replay_pages_total",
    "Pages of events that have left the log, by where streams had them from: the engine, or memory.",
)
.by(&["source"]);
pub(super) const REPLAY_WAITING: Family =
    gauge("sluicegate_replay_waiting_streams", "Streams that wait for a page of events that have left the log.");

pub(super) const TLS_HANDSHAKES: Family =
    counter("sluicegate_tls_handshakes_total", "TLS handshakes, by result.").by(&["result"]);
pub(super) const TLS_CERTIFICATE_EXPIRY: Family = gauge(
    "sluicegate_tls_certificate_expiry_timestamp_seconds",
    "When the first of the certificates expires, in seconds since 1970; 0 without TLS.",
);
pub(super) const TLS_CERTIFICATES_SUCCESSFUL: Family = gauge(
    "sluicegate_tls_certificates_last_read_successful",
    "1 if all certificates could be used when their files were last read, 0 if an old one had to stay.",
);

pub(super) const FAMILIES: [&Family; 52] = [
    &TLS_HANDSHAKES,
    &TLS_CERTIFICATE_EXPIRY,
    &TLS_CERTIFICATES_SUCCESSFUL,
    &REPLAY_PAGES,
    &REPLAY_WAITING,
    &STREAMS,
    &BEHIND_STREAMS,
    &PINNED_BYTES,
    &PINNED_BYTES_MAX,
    &STREAMS_OPENED,
    &STREAMS_CLOSED,
    &STREAMS_SHED,
    &EVENTS_PUBLISHED,
    &PUBLISH_REJECTED,
    &REQUESTS_REJECTED,
    &TOKENS,
    &ENGINE_STATE,
    &ENGINE_PUBLISHES,
    &ENGINE_PUBLISH_SECONDS,
    &ENGINE_HEAD_SEQ,
    &ENGINE_LAST_SEQ,
    &ENGINE_LAG_SECONDS,
    &ENGINE_SILENCE_SECONDS,
    &ENGINE_READER_RESTARTS,
    &ENGINE_EPOCH_CHANGES,
    &ENGINE_HOLES,
    &ENGINE_UNREADABLE,
    &DELIVERIES,
    &BYTES_WRITTEN,
    &WRITES,
    &GAPS,
    &DELIVERY_SECONDS,
    &PASS_SECONDS,
    &SHARD_LAG_SECONDS,
    &SHARD_BUSY_SECONDS,
    &STREAMS_MAX,
    &LOG_EVENTS_MAX,
    &LOG_BYTES_MAX,
    &LOG_EVENTS,
    &LOG_BYTES,
    &LOG_OLDEST_SECONDS,
    &TOPICS,
    &TIMER_ENTRIES,
    &TIMER_LATE_SECONDS,
    &CONNECTIONS,
    &CONNECTIONS_OVER_LIMIT,
    &ACCEPT_ERRORS,
    &LOG_LINES_DROPPED,
    &DRAINING,
    &RELOAD_SUCCESSFUL,
    &RELOAD_SUCCESS_TIMESTAMP,
    &BUILD_INFO,
];
