//! What a publisher sends to the control listener.

use std::net::SocketAddr;

use super::{Conversation, Response};

/// A request with a body, as bytes. `fields` are whole header lines without their line ends.
pub(crate) fn post(target: &str, fields: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut request = format!("POST {target} HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n", body.len());
    for field in fields {
        request.push_str(field);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    [request.as_bytes(), body].concat()
}

/// A publisher that keeps its connection.
#[derive(Debug)]
pub(crate) struct Publisher {
    conversation: Conversation,
}

impl Publisher {
    /// `control` is the control listener's address.
    pub(crate) fn to(control: SocketAddr) -> Publisher {
        Publisher { conversation: Conversation::to(control) }
    }

    /// Any post at all.
    #[track_caller]
    pub(crate) fn post(&mut self, target: &str, fields: &[&str], body: impl AsRef<[u8]>) -> Response {
        self.conversation.send(post(target, fields, body));
        self.conversation.response()
    }

    /// Publishes one event, which must be accepted. `topic` is as it stands in a path, and may have
    /// a query. Answers the id, empty for none.
    #[track_caller]
    pub(crate) fn publish(&mut self, topic: &str, data: &str) -> String {
        let response = self.post(&format!("/events/{topic}"), &[], data);
        assert_eq!(response.status(), 200, "{}", response.body);
        response.json()["id"].as_str().unwrap_or_default().to_owned()
    }

    /// Publishes a batch of one JSON object a line, which must be accepted. Answers the ids.
    #[track_caller]
    pub(crate) fn batch(&mut self, lines: &str) -> Vec<String> {
        let response = self.post("/events", &["content-type: application/x-ndjson"], lines);
        assert_eq!(response.status(), 200, "{}", response.body);
        let ids = response.json();
        let ids = ids["ids"].as_array().expect("a list of ids");
        ids.iter().map(|id| id.as_str().unwrap_or_default().to_owned()).collect()
    }
}
