//! What must be known of a server to drive it: how to subscribe, how to publish, how to start it. One TOML file a
//! server, in `profiles/`; a file of the same form drives any other.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::Result;

/// The servers that are compared, in this order.
pub(crate) const COMPARED: [&str; 8] =
    ["floor", "sluicegate", "nchan", "axum", "node", "pushpin", "mercure", "centrifugo"];

const BUILT_IN: [(&str, &str); 13] = [
    ("floor", include_str!("../profiles/floor.toml")),
    // The floor of many topics.
    ("floor-topics", include_str!("../profiles/floor-topics.toml")),
    ("sluicegate", include_str!("../profiles/sluicegate.toml")),
    ("sluicegate-tls", include_str!("../profiles/sluicegate-tls.toml")),
    ("nchan", include_str!("../profiles/nchan.toml")),
    ("axum", include_str!("../profiles/axum.toml")),
    ("node", include_str!("../profiles/node.toml")),
    ("pushpin", include_str!("../profiles/pushpin.toml")),
    // Mercure without its history, and its next version.
    ("mercure-local", include_str!("../profiles/mercure-local.toml")),
    ("mercure-1", include_str!("../profiles/mercure-1.toml")),
    ("mercure-1-local", include_str!("../profiles/mercure-1-local.toml")),
    ("mercure", include_str!("../profiles/mercure.toml")),
    ("centrifugo", include_str!("../profiles/centrifugo.toml")),
];

/// Files that profiles hand to the servers they start.
const INCLUDED: [(&str, &str); 1] = [("../handlers/node.mjs", include_str!("../handlers/node.mjs"))];

/// What may stand in a path segment as it is; a topic's slashes stay.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
const IN_FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    pub(crate) name: String,
    /// One line: what the server is.
    pub(crate) about: String,
    pub(crate) subscribe: Subscribe,
    pub(crate) publish: Publish,
    /// How it is started; without it, `--url` is needed.
    pub(crate) start: Option<Start>,
    /// What it cannot do, and why: `replay`, `topics`, `ticks`, `slow`.
    #[serde(default)]
    pub(crate) missing: BTreeMap<String, String>,
}

/// A stream's request. `{topic}` in the path is the topic.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Subscribe {
    pub(crate) path: String,
    /// Whether it is sent over TLS.
    #[serde(default)]
    pub(crate) tls: bool,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// The header that says after which id to resume…
    pub(crate) resume_header: Option<String>,
    /// …or the query parameter that does.
    pub(crate) resume_query: Option<String>,
    /// Where the event is in data that the server has wrapped in JSON (RFC 6901); absent: data is the event.
    pub(crate) data_path: Option<String>,
    /// Connects under way at once that the server bears, if there is a known bound.
    pub(crate) in_flight_max: Option<u32>,
    /// The query parameter that has the server end a stream after so many seconds.
    pub(crate) seconds_query: Option<String>,
    /// How topics are asked for by patterns.
    pub(crate) patterns: Option<Patterns>,
}

/// Streams of patterns: `*` stands for one segment.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Patterns {
    pub(crate) path: String,
    /// The query parameter that is a pattern; it may be repeated.
    pub(crate) query: String,
    /// The id after which all that is kept comes.
    pub(crate) earliest: String,
}

/// A publish request. `{topic}` and `{data}` in path and body are the event's.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Publish {
    #[serde(default = "post")]
    pub(crate) method: String,
    #[serde(default)]
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) body: String,
    #[serde(default)]
    pub(crate) escape: Escape,
    /// Whether requests may be sent ahead of replies on one connection.
    #[serde(default)]
    pub(crate) pipelined: bool,
    /// Several events in one request, if the server takes such.
    pub(crate) batch: Option<Batch>,
    /// No HTTP: these bytes are sent for each event, and no reply comes. A batch is as many of them.
    pub(crate) raw: Option<String>,
}

/// How data is written into a publish request's body.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Escape {
    #[default]
    None,
    Form,
    Json,
}

/// Events of several topics in one request: `before`, the items with `between` between them, `after`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Batch {
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) before: String,
    pub(crate) item: String,
    #[serde(default)]
    pub(crate) between: String,
    #[serde(default)]
    pub(crate) after: String,
    #[serde(default)]
    pub(crate) escape: Escape,
}

/// How to start a server. `{listen}`, `{listen_port}`, `{control}`, `{control_port}`, `{dir}`, `{cores}` and
/// `{history}` (events to keep) are filled in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Start {
    /// A name on PATH; `self:NAME` is a program that is built with this one.
    pub(crate) program: String,
    #[serde(default)]
    pub(crate) arguments: Vec<String>,
    /// Programs that it needs besides.
    #[serde(default)]
    pub(crate) needs: Vec<String>,
    /// A path that is answered 2xx when it is ready; without one, it is when it listens.
    pub(crate) ready: Option<String>,
    /// The command that tells its version.
    #[serde(default)]
    pub(crate) version: Vec<String>,
    /// Whether publishers go where streams go.
    #[serde(default)]
    pub(crate) one_port: bool,
    /// What a reader of a comparison should know.
    #[serde(default)]
    pub(crate) notes: Vec<String>,
    #[serde(default)]
    pub(crate) file: Vec<StartFile>,
}

/// A file that is there when the server starts, in `{dir}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartFile {
    pub(crate) name: String,
    pub(crate) text: Option<String>,
    /// A file of ours, where it stands from the profiles.
    pub(crate) include: Option<String>,
}

fn post() -> String {
    "POST".to_owned()
}

impl Profile {
    /// A built-in profile by its name, or one from a file.
    pub(crate) fn named(name: &str) -> Result<Self> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
            return Self::parse(name, text);
        }
        let path = Path::new(name);
        if path.extension().is_none() {
            return Err(format!("there is no profile {name}: one of {}, or a file.toml", Self::names().join(", ")));
        }
        let text = fs::read_to_string(path).map_err(|error| format!("cannot read the profile {name}: {error}"))?;
        Self::parse(name, &text)
    }

    fn names() -> Vec<&'static str> {
        BUILT_IN.iter().map(|(name, _)| *name).collect()
    }

    fn parse(name: &str, text: &str) -> Result<Self> {
        let profile: Self = toml::from_str(text)
            .map_err(|error| format!("the profile {name} is wrong: {}", one_line(&error.to_string())))?;
        for file in profile.start.iter().flat_map(|start| &start.file) {
            file.contents().map_err(|problem| format!("the profile {name} is wrong: {problem}"))?;
        }
        Ok(profile)
    }

    /// Why the server lacks a feature, if it does.
    pub(crate) fn lacks(&self, feature: &str) -> Option<&str> {
        self.missing.get(feature).map(String::as_str)
    }

    /// An error if it does.
    pub(crate) fn needs(&self, feature: &str) -> Result<()> {
        match self.lacks(feature) {
            Some(why) => Err(format!("{} has no {feature}: {why}", self.name)),
            None => Ok(()),
        }
    }
}

impl StartFile {
    pub(crate) fn contents(&self) -> Result<&str> {
        match (&self.text, &self.include) {
            (Some(text), None) => Ok(text),
            (None, Some(path)) => INCLUDED
                .iter()
                .find(|(included, _)| included == path)
                .map(|(_, text)| *text)
                .ok_or_else(|| format!("start.file {}: there is no {path} to include", self.name)),
            _ => Err(format!("start.file {}: give it either text or include", self.name)),
        }
    }
}

impl Subscribe {
    /// The same for streams that the server ends after so many seconds, if it does that.
    pub(crate) fn ending_after(&self, seconds: u32) -> Option<Self> {
        let query = self.seconds_query.as_ref()?;
        let path = format!("{}{}{query}={seconds}", self.path, if self.path.contains('?') { '&' } else { '?' });
        Some(Self { path, ..self.clone() })
    }

    /// Streams of everything kept below a topic, asked for by so many patterns of which one names it. With a depth, each of
    /// the others matches every topic but for its end, in a way of its own through so many segments.
    pub(crate) fn by_patterns(&self, count: u32, depth: u32) -> Option<Self> {
        let Patterns { path, query, earliest } = self.patterns.as_ref()?;
        // As a client sends them: a pattern that matches nothing costs as much as one that does.
        let patterns: Vec<String> = (1..count)
            .map(|other| match depth {
                0 => format!("{query}={{topic}}-{other}/*"),
                depth => {
                    let way = |at: u32| {
                        if other.checked_shr(at).is_some_and(|bits| bits & 1 == 1) {
                            format!("s{at}")
                        } else {
                            "*".to_owned()
                        }
                    };
                    format!("{query}=*/*/{}/zz", (0..depth).map(way).collect::<Vec<_>>().join("/"))
                }
            })
            .chain([format!("{query}={{topic}}/{}", if depth == 0 { "*" } else { "**" })])
            .collect();
        let mut headers = self.headers.clone();
        headers.extend(self.resume_header.iter().map(|name| (name.clone(), earliest.clone())));
        Some(Self { path: format!("{path}?{}", patterns.join("&")), headers, ..self.clone() })
    }

    /// The bytes that ask for a topic, after an event if `id` names one.
    pub(crate) fn request(&self, server: SocketAddr, topic: &str, id: Option<&[u8]>) -> Vec<u8> {
        let mut path = fill(&self.path, &[("topic", &escaped(topic))]);
        if let (Some(query), Some(id)) = (&self.resume_query, id) {
            let id = utf8_percent_encode(&String::from_utf8_lossy(id), IN_FORM).to_string();
            path += &format!("{}{query}={id}", if path.contains('?') { '&' } else { '?' });
        }
        let mut request = format!("GET {path} HTTP/1.1\r\nhost: {server}\r\n");
        for (name, value) in &self.headers {
            request += &format!("{name}: {value}\r\n");
        }
        let mut request = request.into_bytes();
        if let (Some(header), Some(id)) = (&self.resume_header, id) {
            request.extend_from_slice(header.as_bytes());
            request.extend_from_slice(b": ");
            request.extend_from_slice(id);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        request
    }
}

/// A topic as a part of a path, a query or a form.
pub(crate) fn escaped(topic: &str) -> String {
    utf8_percent_encode(topic, IN_PATH).to_string()
}

impl Escape {
    pub(crate) fn write(self, data: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::None => out.extend_from_slice(data),
            Self::Form => {
                for piece in utf8_percent_encode(&String::from_utf8_lossy(data), IN_FORM) {
                    out.extend_from_slice(piece.as_bytes());
                }
            }
            Self::Json => {
                let quoted = serde_json::Value::from(String::from_utf8_lossy(data)).to_string();
                out.extend_from_slice(&quoted.as_bytes()[1..quoted.len() - 1]);
            }
        }
    }
}

/// Replaces `{name}` by its value; other braces stay.
pub(crate) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_profile_reads_and_bears_its_name() {
        for name in Profile::names() {
            assert_eq!(Profile::named(name).unwrap().name, name);
        }
    }

    #[test]
    fn requests_are_as_the_profile_says() {
        let subscribe: Subscribe = toml::from_str(
            "path = '/s?t={topic}'\nresume_query = 'after'\nresume_header = 'last-event-id'\nheaders = { accept = 'x' }",
        )
        .unwrap();
        let server = "127.0.0.1:80".parse().unwrap();
        let request = |id| String::from_utf8(subscribe.request(server, "a/b c", id)).unwrap();
        assert_eq!(request(None), "GET /s?t=a/b%20c HTTP/1.1\r\nhost: 127.0.0.1:80\r\naccept: x\r\n\r\n");
        assert_eq!(
            request(Some(b"1:2")),
            "GET /s?t=a/b%20c&after=1%3A2 HTTP/1.1\r\nhost: 127.0.0.1:80\r\naccept: x\r\nlast-event-id: 1:2\r\n\r\n"
        );
    }

    #[test]
    fn streams_that_end_and_streams_of_patterns_are_asked_for() {
        let subscribe = Profile::named("sluicegate").unwrap().subscribe;
        let line = |subscribe: Option<Subscribe>| {
            let request = subscribe.unwrap().request("127.0.0.1:80".parse().unwrap(), "a/7", None);
            String::from_utf8(request).unwrap()
        };
        assert!(line(subscribe.ending_after(1)).starts_with("GET /events/a/7?max_seconds=1 HTTP/1.1\r\n"));
        let request = line(subscribe.by_patterns(3, 0));
        assert!(request.starts_with("GET /events?match=a/7-1/*&match=a/7-2/*&match=a/7/* HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("\r\nlast-event-id: earliest\r\n"), "{request}");
        let request = line(subscribe.by_patterns(3, 2));
        assert!(
            request.starts_with("GET /events?match=*/*/s0/*/zz&match=*/*/*/s1/zz&match=a/7/** HTTP/1.1\r\n"),
            "{request}"
        );
        let floor = Profile::named("floor").unwrap().subscribe;
        assert!(floor.ending_after(1).is_none() && floor.by_patterns(1, 0).is_none());
    }

    #[test]
    fn data_is_escaped_for_where_it_goes() {
        let escaped = |escape: Escape| {
            let mut out = Vec::new();
            escape.write(b"a \"b\"", &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(escaped(Escape::None), "a \"b\"");
        assert_eq!(escaped(Escape::Form), "a%20%22b%22");
        assert_eq!(escaped(Escape::Json), "a \\\"b\\\"");
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        for (name, expected) in
            [("nowhere", "one of floor, floor-topics, sluicegate"), ("/nowhere.toml", "cannot read the profile")]
        {
            let problem = Profile::named(name).unwrap_err();
            assert!(problem.contains(expected) && problem.lines().count() == 1, "{problem}");
        }
        let problem = Profile::parse("x", "name = 'x'\nabout = ''\nsubscrybe = {}").unwrap_err();
        assert!(problem.contains("subscrybe") && problem.lines().count() == 1, "{problem}");
        assert_eq!(fill("{a}-{b}", &[("a", "1")]), "1-{b}");
    }
}
