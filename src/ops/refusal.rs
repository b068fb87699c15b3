//! Why requests are refused.

/// Why a request is refused: a closed set, so that it can label a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// The token doesn't grant this.
    Forbidden,
    /// The handler of the program that runs the gateway failed.
    Handler,
    /// Another request of the kind is under way.
    Busy,
    /// The gateway is about to stop.
    ShuttingDown,
}

impl Refusal {
    /// Every refusal, for registering metrics.
    pub const ALL: [Refusal; 17] = [
        Refusal::BadHead,
        Refusal::UriTooLong,
        Refusal::HeadTooLarge,
        Refusal::HeadTooSlow,
        Refusal::HttpVersion,
        Refusal::BadField,
        Refusal::BadBody,
        Refusal::BodyTooLarge,
        Refusal::BodyTooSlow,
        Refusal::BatchTooLarge,
        Refusal::MediaType,
        Refusal::NotFound,
        Refusal::Method,
        Refusal::Forbidden,
        Refusal::Handler,
        Refusal::Busy,
        Refusal::ShuttingDown,
    ];

    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::BadHead => "bad_head",
            Refusal::UriTooLong => "uri_too_long",
            Refusal::HeadTooLarge => "head_too_large",
            Refusal::HeadTooSlow => "head_too_slow",
            Refusal::HttpVersion => "http_version",
            Refusal::BadField => "bad_field",
            Refusal::BadBody => "bad_body",
            Refusal::BodyTooLarge => "body_too_large",
            Refusal::BodyTooSlow => "body_too_slow",
            Refusal::BatchTooLarge => "batch_too_large",
            Refusal::MediaType => "media_type",
            Refusal::NotFound => "not_found",
            Refusal::Method => "method",
            Refusal::Forbidden => "forbidden",
            Refusal::Handler => "handler",
            Refusal::Busy => "busy",
            Refusal::ShuttingDown => "shutting_down",
        }
    }
}
