//! Why requests are refused.

use strum::{AsRefStr, VariantArray};

/// Why a request is refused: a closed set, so that it can label a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, AsRefStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Refusal {
    /// The request head can't be parsed.
    BadHead,
    /// The request's target is too long.
    UriTooLong,
    /// The request head is too long or has too many fields.
    HeadTooLarge,
    /// The request head didn't arrive in time.
    HeadTooSlow,
    /// The client speaks another version of HTTP than this port.
    HttpVersion,
    /// The client speaks without TLS to a port for TLS.
    NotTls,
    /// A field of the request is malformed.
    BadField,
    /// The body is malformed as a whole, or broke off.
    BadBody,
    /// The body is longer than the limit.
    BodyTooLarge,
    /// The body didn't arrive in time.
    BodyTooSlow,
    /// The batch holds more events than the limit.
    BatchTooLarge,
    /// The body has a media type that isn't understood here.
    MediaType,
    /// There is nothing at this path.
    NotFound,
    /// The path doesn't know this method.
    Method,
    /// There is no token, or none that is good.
    Unauthorized,
    /// This is not allowed here, or the token doesn't grant it.
    Forbidden,
    /// The handler of the program that runs the gateway failed.
    Handler,
    /// Another request of the kind is under way.
    Busy,
    /// The gateway is about to stop.
    ShuttingDown,
    /// The engine has not stored what was published.
    NotStored,
    /// The idempotency key came with other events before.
    KeyReused,
    /// It is unknown whether the engine has stored what was published.
    PerhapsStored,
}
