//! `sluicegate publish`: an event from the command line, or one for each line of standard input.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::sync::mpsc;
use std::thread;

use bytes::Bytes;
use serde_json::{Value, json};

use super::http::{Base, ClientError, Http, Target};

/// How many lines are published together, at most.
const LINES_MAX: usize = 1000;
/// How many bytes of lines are published together, at most, if more than one.
const BATCH_BYTES_MAX: usize = 512 << 10;

/// What to publish.
#[derive(Clone, Debug)]
pub struct Publish {
    /// The topic.
    pub topic: String,
    /// The data; standard input if there is none.
    pub data: Option<String>,
    /// An event for each line.
    pub lines: bool,
    /// Its type.
    pub event: Option<String>,
    /// An id of its own.
    pub id: Option<String>,
    /// How long clients wait before they reconnect, in milliseconds.
    pub retry: Option<String>,
    /// What it replaces for streams that are slow.
    pub key: Option<String>,
    /// It is not kept.
    pub live_only: bool,
    /// The key by which the call is known should it come again.
    pub idempotency_key: Option<String>,
}

/// Publishes, and prints the id of each event, a line each.
///
/// # Errors
/// If the gateway can't be reached or refuses.
pub async fn publish(base: Base, what: Publish) -> Result<(), ClientError> {
    let http = Http::new(base);
    if what.lines {
        return lines(&http, &what).await;
    }
    let data = match &what.data {
        Some(data) => Bytes::from(data.clone()),
        None => standard_input()?,
    };
    let mut target = Target::of_topic(&what.topic);
    let fields = [("event", &what.event), ("id", &what.id), ("retry", &what.retry), ("key", &what.key)];
    for (name, value) in fields {
        if let Some(value) = value {
            target = target.with(name, value);
        }
    }
    if what.live_only {
        target = target.with("keep", "false");
    }
    let mut headers = vec![("content-type", "application/octet-stream")];
    headers.extend(what.idempotency_key.as_deref().map(|key| ("idempotency-key", key)));
    let body = http.ask("POST", &target, &headers, data).await?;
    let answer: Value = answer(&body)?;
    say([&answer["id"]])
}

fn answer(body: &[u8]) -> Result<Value, ClientError> {
    serde_json::from_slice(body).map_err(|_| ClientError::Odd("the answer is none of a Sluicegate gateway".to_owned()))
}

fn say<'a>(ids: impl IntoIterator<Item = &'a Value>) -> Result<(), ClientError> {
    let mut out = io::stdout().lock();
    ids.into_iter()
        .try_for_each(|id| writeln!(out, "{}", id.as_str().unwrap_or("published")))
        .map_err(ClientError::System)
}

fn standard_input() -> Result<Bytes, ClientError> {
    hint("the data is read from here; end it with Ctrl-D");
    let mut data = Vec::new();
    io::stdin().lock().read_to_end(&mut data).map_err(ClientError::System)?;
    Ok(data.into())
}

/// Tells a person who may wonder why nothing happens.
fn hint(text: &str) {
    if io::stdin().is_terminal() {
        let _ = writeln!(io::stderr(), "sluicegate: {text}");
    }
}

async fn lines(http: &Http, what: &Publish) -> Result<(), ClientError> {
    hint("each line is an event; end with Ctrl-D");
    // Lines that come while a batch is under way are the next batch.
    let (sender, receiver) = mpsc::sync_channel(LINES_MAX);
    thread::spawn(move || io::stdin().lock().lines().all(|line| sender.send(line).is_ok()));
    let mut number = 0;
    while let Ok(first) = receiver.recv() {
        let (mut batch, mut count) = (Vec::new(), 0);
        let mut next = Some(first);
        while let Some(line) = next {
            count += 1;
            let line = line.map_err(|error| {
                let why =
                    if error.kind() == io::ErrorKind::InvalidData { "is not UTF-8".into() } else { error.to_string() };
                ClientError::Input(format!("line {} {why}", number + count))
            })?;
            // `to_writer` into a vector does not fail.
            let _ = serde_json::to_writer(&mut batch, &object(what, &line));
            batch.push(b'\n');
            let full = count == LINES_MAX || batch.len() >= BATCH_BYTES_MAX;
            next = if full { None } else { receiver.try_recv().ok() };
        }
        let headers = [("content-type", "application/x-ndjson")];
        let body = http.ask("POST", &Target::path("/events"), &headers, batch.into()).await;
        let body = body.map_err(|error| match error {
            ClientError::Refused { status, detail } => {
                let through = number + count;
                ClientError::Refused { status, detail: format!("of lines {}-{through}: {detail}", number + 1) }
            }
            other => other,
        })?;
        number += count;
        let answer = answer(&body)?;
        say(answer["ids"].as_array().into_iter().flatten())?;
    }
    Ok(())
}

fn object(what: &Publish, line: &str) -> Value {
    let mut object = json!({"topic": what.topic, "data": line});
    if let Some(event) = &what.event {
        object["event"] = json!(event);
    }
    if let Some(key) = &what.key {
        object["key"] = json!(key);
    }
    if what.live_only {
        object["keep"] = json!(false);
    }
    object
}
