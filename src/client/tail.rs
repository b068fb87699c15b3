//! `sluicegate tail`: a stream's events as they come, over any number of reconnects.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, header};
use serde_json::json;

use super::http::{Base, ClientError, Http, Target};
use super::paint::{Paint, Painter, harmless};
use super::sse::{Endless, Item, Reader};

/// How long to wait before a reconnect as long as the gateway has not said how long.
const RETRY: Duration = Duration::from_secs(3);

/// What to show.
#[derive(Clone, Debug)]
pub struct Tail {
    /// Topics, and patterns: names with a segment `*` or `**`.
    pub names: Vec<String>,
    /// Where to begin: after this id, or `earliest`.
    pub since: Option<String>,
    /// Show JSON objects, a line each.
    pub json: bool,
    /// End after so many events.
    pub max_events: Option<u64>,
}

/// How a connection ended.
enum End {
    /// All that was asked for has come.
    Enough,
    /// The gateway has nothing more for us.
    NoMore,
    /// The stream ended or broke; why, if that is known.
    Reconnect(Option<ClientError>),
}

/// Shows events until there were enough, or for ever.
///
/// # Errors
/// If the gateway refuses the stream, or can't be reached at first.
pub async fn tail(base: Base, what: Tail) -> Result<(), ClientError> {
    let http = Http::new(base);
    let mut shown =
        Shown { painter: Painter::for_stdout(), json: what.json, left: what.max_events.unwrap_or(u64::MAX) };
    let mut last_id = what.since.clone().unwrap_or_default();
    let mut retry = RETRY;
    let mut connected = false;
    loop {
        let why = match stream(&http, &what, &mut last_id, &mut retry, &mut shown, &mut connected).await? {
            End::Enough => return Ok(()),
            End::NoMore => {
                note("the gateway says that there is nothing more to come (status 204)");
                return Ok(());
            }
            End::Reconnect(why) => why,
        };
        match why {
            // Who is wrong about the address should learn so at once.
            Some(error) if !connected => return Err(error),
            Some(error) => note(&format!("{error}; trying again in {:.1} s", retry.as_secs_f64())),
            None => note(&format!("the stream ended; reconnecting in {:.1} s", retry.as_secs_f64())),
        }
        tokio::time::sleep(retry).await;
    }
}

fn note(text: &str) {
    let _ = writeln!(io::stderr(), "sluicegate: {text}");
}

fn target(what: &Tail) -> Target {
    what.names.iter().fold(Target::path("/events"), |target, name| {
        let is_pattern = name.split('/').any(|segment| segment.contains('*'));
        target.with(if is_pattern { "match" } else { "topic" }, name)
    })
}

async fn stream(
    http: &Http,
    what: &Tail,
    last_id: &mut String,
    retry: &mut Duration,
    shown: &mut Shown,
    connected: &mut bool,
) -> Result<End, ClientError> {
    let mut headers = vec![("accept", "text/event-stream")];
    if !last_id.is_empty() {
        headers.push(("last-event-id", last_id.as_str()));
    }
    let answer = http.open("GET", &target(what), &headers, Bytes::new()).await;
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(error) if error.passes() => return Ok(End::Reconnect(Some(error))),
        Err(error) => return Err(error),
    };
    if answer.status() == StatusCode::NO_CONTENT {
        return Ok(End::NoMore);
    }
    let content_type = answer.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(|value| value.starts_with("text/event-stream")) {
        return Err(ClientError::Odd("the answer is no event stream".to_owned()));
    }
    *connected = true;
    let mut reader = Reader::after(last_id.clone());
    loop {
        let piece = match http.piece(&mut answer).await {
            Ok(Some(piece)) => piece,
            Ok(None) => return Ok(End::Reconnect(None)),
            Err(error) => return Ok(End::Reconnect(Some(error))),
        };
        let mut out = io::stdout().lock();
        let mut wrote = Ok(());
        let fed = reader.feed(&piece, |item, id| match item {
            Item::Retry(ms) => *retry = Duration::from_millis(ms),
            Item::Comment(text) => note(&harmless(&text)),
            Item::Event { event, data } => {
                if shown.left > 0 && wrote.is_ok() {
                    shown.left -= 1;
                    wrote = shown.show(&mut out, id, &event, &data);
                }
            }
        });
        wrote.and_then(|()| out.flush()).map_err(ClientError::System)?;
        fed.map_err(|Endless| ClientError::Odd("an event is larger than 64 MiB".to_owned()))?;
        reader.last_id().clone_into(last_id);
        if shown.left == 0 {
            return Ok(End::Enough);
        }
    }
}

/// How events are shown.
struct Shown {
    painter: Painter,
    json: bool,
    left: u64,
}

impl Shown {
    fn show(&self, out: &mut impl Write, id: &str, event: &str, data: &str) -> io::Result<()> {
        if self.json {
            return writeln!(out, "{}", json!({"id": id, "event": event, "data": data}));
        }
        let id = self.painter.paint(Paint::Dim, harmless(id));
        if event == "gap" {
            return writeln!(out, "{id}  {}", self.painter.paint(Paint::Warning, gap(data)));
        }
        let event = match event {
            "message" => String::new(),
            event => format!("{}  ", self.painter.paint(Paint::Name, harmless(event))),
        };
        let data = harmless(data).replace('\n', "\n    ");
        writeln!(out, "{id}  {event}{data}")
    }
}

/// A gap in words.
fn gap(data: &str) -> String {
    let gap: serde_json::Value = serde_json::from_str(data).unwrap_or_default();
    let why = match gap["reason"].as_str() {
        Some("unknown_id") => "the gateway does not know the id; what follows is all that it has",
        Some("expired") => "events are no longer retained",
        Some("foreign_epoch") => "the id is of another log, from before a restart perhaps",
        Some("lost") => "events are missing where they were stored",
        Some("lagged") => "this client read too slowly",
        Some("conflated") => "this client read slowly, and gets the newest event of each key",
        _ => return format!("gap: {}", harmless(data)),
    };
    format!("gap: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(json: bool, event: &str, data: &str) -> String {
        let mut out = Vec::new();
        Shown { painter: Painter::plain(), json, left: 1 }.show(&mut out, "e-1", event, data).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn events_are_shown_a_line_each() {
        assert_eq!(shown(false, "message", "1.08"), "e-1  1.08\n");
        assert_eq!(shown(false, "trade", "a\nb"), "e-1  trade  a\n    b\n");
        assert_eq!(shown(false, "gap", r#"{"reason":"lagged"}"#), "e-1  gap: this client read too slowly\n");
        assert_eq!(shown(false, "gap", "odd\x1b"), "e-1  gap: odd\u{fffd}\n");
        assert_eq!(shown(true, "trade", "a\nb\""), "{\"data\":\"a\\nb\\\"\",\"event\":\"trade\",\"id\":\"e-1\"}\n");
    }
}
