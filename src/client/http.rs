//! Requests to a gateway, and what to say where they fail.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer's head, or the whole of a short one, may take.
const ANSWER: Duration = Duration::from_secs(30);
/// How long nothing may be acknowledged until a connection is taken for dead.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// How long an answer that is read as a whole may be.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// What may stand in a path's segment or a query's value as it is.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Where a gateway is: `http://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base(Authority);

impl FromStr for Base {
    type Err = String;

    fn from_str(text: &str) -> Result<Base, String> {
        let fault = |what: &str| format!("{text:?} {what}: give a URL such as http://127.0.0.1:8080");
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = with_scheme.parse().map_err(|_| fault("is no URL"))?;
        if uri.scheme() != Some(&Scheme::HTTP) {
            return Err(fault("is not http"));
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err(fault("has a path"));
        }
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        authority.cloned().map(Base).ok_or_else(|| fault("names no host"))
    }
}

impl From<SocketAddr> for Base {
    fn from(address: SocketAddr) -> Base {
        Base(address.to_string().parse().expect("Invariant: an address is an authority"))
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.0)
    }
}

/// Why a client gives up.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("nothing listens on {0}: is the gateway running? `sluicegate` starts one, --url says where another is")]
    NothingListens(Authority),
    /// The gateway can't be reached, or did not answer.
    #[error("can't reach {0}")]
    Unreachable(Authority, #[source] Box<dyn Error + Send + Sync>),
    /// The connection broke while an answer came.
    #[error("the connection to {0} broke")]
    Broken(Authority, #[source] Box<dyn Error + Send + Sync>),
    /// The gateway said no.
    #[error("refused with status {status}: {detail}")]
    Refused {
        /// The status.
        status: u16,
        /// The gateway's words.
        detail: String,
    },
    /// What was given can't be sent.
    #[error("{0}")]
    Input(String),
    /// What came is not what was asked for.
    #[error("{0}")]
    Odd(String),
    /// The system refuses to read, to write or to wait.
    #[error("{0}")]
    System(#[source] io::Error),
}

impl ClientError {
    /// Whether another try may go well.
    pub fn passes(&self) -> bool {
        match self {
            ClientError::NothingListens(_) | ClientError::Unreachable(..) | ClientError::Broken(..) => true,
            ClientError::Refused { status, .. } => *status >= 500 || *status == 429,
            ClientError::Input(_) | ClientError::Odd(_) | ClientError::System(_) => false,
        }
    }
}

/// A path or a query being written.
#[derive(Clone, Debug)]
pub struct Target(String);

impl Target {
    /// `/events/TOPIC`.
    pub fn of_topic(topic: &str) -> Target {
        let segments: Vec<_> = topic.split('/').map(encoded).collect();
        Target(format!("/events/{}", segments.join("/")))
    }

    /// This path, which needs no encoding.
    pub fn path(path: &str) -> Target {
        Target(path.to_owned())
    }

    /// With one more parameter.
    pub fn with(mut self, name: &str, value: &str) -> Target {
        self.0.push(if self.0.contains('?') { '&' } else { '?' });
        self.0.push_str(name);
        self.0.push('=');
        self.0.push_str(&encoded(value));
        self
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, KEPT).to_string()
}

/// A client of one gateway.
pub struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    base: Base,
}

impl Http {
    /// A client of the gateway there.
    pub fn new(base: Base) -> Http {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_nodelay(true);
        connector.set_keepalive(Some(KEEPALIVE));
        connector.set_keepalive_interval(Some(KEEPALIVE / 3));
        connector.set_keepalive_retries(Some(3));
        Http { client: Client::builder(TokioExecutor::new()).build(connector), base }
    }

    /// Sends a request and waits for the head of a good answer.
    ///
    /// # Errors
    /// If there is none.
    pub async fn open(
        &self,
        method: &str,
        target: &Target,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut request = Request::builder().method(method).uri(format!("{}{}", self.base, target.0));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).map_err(|error| ClientError::Input(error.to_string()))?;
        let answer = tokio::time::timeout(ANSWER, self.client.request(request)).await;
        let answer = answer.map_err(|_| self.unreachable(format!("no answer within {ANSWER:?}")))?;
        let answer = answer.map_err(|error| {
            let refused = causes(&error).any(|cause| {
                cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
            });
            if refused { ClientError::NothingListens(self.base.0.clone()) } else { self.unreachable(error) }
        })?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let detail = self.whole(answer).await.ok().and_then(|(_, body)| detail(&body));
        let detail = detail.unwrap_or_else(|| status.canonical_reason().unwrap_or("no reason given").to_owned());
        Err(ClientError::Refused { status: status.as_u16(), detail })
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// If there is no good one.
    pub async fn ask(
        &self,
        method: &str,
        target: &Target,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Bytes, ClientError> {
        let answer = self.open(method, target, headers, body).await?;
        Ok(self.whole(answer).await?.1)
    }

    /// The next piece of an answer's body; `None` at its end.
    ///
    /// # Errors
    /// If the connection broke.
    pub async fn piece(&self, answer: &mut Response<Incoming>) -> Result<Option<Bytes>, ClientError> {
        loop {
            match answer.body_mut().frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => return Err(ClientError::Broken(self.base.0.clone(), error.into())),
            }
        }
    }

    async fn whole(&self, answer: Response<Incoming>) -> Result<(HeaderMap, Bytes), ClientError> {
        let (head, body) = answer.into_parts();
        let read = tokio::time::timeout(ANSWER, Limited::new(body, ANSWER_BYTES_MAX).collect()).await;
        let read = read.map_err(|_| self.unreachable(format!("no whole answer within {ANSWER:?}")))?;
        let read = read.map_err(|error| ClientError::Broken(self.base.0.clone(), error))?;
        Ok((head.headers, read.to_bytes()))
    }

    fn unreachable(&self, error: impl Into<Box<dyn Error + Send + Sync>>) -> ClientError {
        ClientError::Unreachable(self.base.0.clone(), error.into())
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The gateway's own words in a problem document; of any other short text, its first line.
fn detail(body: &[u8]) -> Option<String> {
    if let Ok(document) = serde_json::from_slice::<serde_json::Value>(body) {
        return document["detail"].as_str().map(str::to_owned);
    }
    let line = std::str::from_utf8(body).ok()?.lines().next()?.trim();
    (!line.is_empty() && line.len() < 200).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_named_as_people_do() {
        for good in ["http://127.0.0.1:8080", "127.0.0.1:8080", "http://127.0.0.1:8080/"] {
            assert_eq!(good.parse::<Base>().unwrap().to_string(), "http://127.0.0.1:8080");
        }
        assert_eq!("gate".parse::<Base>().unwrap().to_string(), "http://gate");
        for (bad, why) in [
            ("https://gate", "is not http"),
            ("http://gate/events", "has a path"),
            ("gate?x", "has a path"),
            ("http://me:secret@gate", "names no host"),
            ("a b", "is no URL"),
            ("", "is no URL"),
        ] {
            let said = bad.parse::<Base>().unwrap_err();
            assert!(said.contains(why) && said.contains("http://127.0.0.1:8080"), "{bad}: {said}");
        }
    }

    #[test]
    fn targets_are_encoded() {
        assert_eq!(Target::of_topic("a/b c/ä*").0, "/events/a/b%20c/%C3%A4%2A");
        assert_eq!(
            Target::path("/events").with("topic", "a&b").with("match", "c/*").0,
            "/events?topic=a%26b&match=c%2F%2A"
        );
    }

    #[test]
    fn a_refusal_is_said_in_the_words_of_the_gateway() {
        assert_eq!(detail(br#"{"detail":"topic: is empty"}"#).as_deref(), Some("topic: is empty"));
        assert_eq!(detail(b"no\nmore").as_deref(), Some("no"));
        assert_eq!(detail(b""), None);
    }
}
