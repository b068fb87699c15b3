//! `docs/openapi.json`: that it is served, that its examples are what a gateway answers, and that a tool which tries
//! what nobody thought of finds nothing it does not say.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Map, Value};

use crate::support::{Conversation, Server, tool};

const DOCUMENT: &str = include_str!("../../docs/openapi.json");
const CONFIG: &str = "admin = true\nschedule = []\nhealth = \"127.0.0.1:0\"\n";

fn document() -> Value {
    serde_json::from_str(DOCUMENT).expect("JSON")
}

fn object(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value))
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// As it stands in a query, a path or a header: one text, or several of them.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(several) => several.iter().flat_map(texts).collect(),
        other => vec![other.to_string()],
    }
}

/// A request and its answer, which have one name in the examples of an operation.
#[derive(Debug)]
struct Exchange<'a> {
    name: &'a str,
    method: &'a str,
    servers: Vec<&'a str>,
    target: String,
    fields: Vec<String>,
    body: String,
    status: u16,
    content_type: &'a str,
    answer: &'a Value,
}

fn exchanges(document: &Value) -> Vec<Exchange<'_>> {
    let mut found = Vec::new();
    for (path, item) in object(&document["paths"]) {
        for (method, operation) in object(item) {
            let servers = operation["servers"].as_array().expect("each operation says where it is");
            let servers: Vec<_> = servers.iter().map(|server| server["url"].as_str().expect("a URL")).collect();
            for (status, response) in object(&operation["responses"]) {
                for (content_type, content) in object(&response["content"]) {
                    for (name, answer) in object(&content["examples"]) {
                        let mut exchange = Exchange {
                            name,
                            method,
                            servers: servers.clone(),
                            target: path.to_owned(),
                            fields: Vec::new(),
                            body: String::new(),
                            status: status.parse().expect("a status"),
                            content_type,
                            answer: &answer["value"],
                        };
                        ask(&mut exchange, operation);
                        found.push(exchange);
                    }
                }
            }
        }
    }
    // What is read has to be published first, and single events before the batch.
    found.sort_by_key(|exchange| (exchange.method != "post", Reverse(exchange.target.clone())));
    found
}

/// The request of an exchange, from the parameters and the body of its name.
fn ask(exchange: &mut Exchange<'_>, operation: &Value) {
    let mut query = Vec::new();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().expect("a name");
        let Some(example) = parameter["examples"].get(exchange.name) else { continue };
        for text in texts(&example["value"]) {
            match parameter["in"].as_str() {
                Some("path") => exchange.target = exchange.target.replace(&format!("{{{name}}}"), &encoded(&text)),
                Some("query") => query.push(format!("{name}={}", encoded(&text))),
                Some("header") => exchange.fields.push(format!("{name}: {text}")),
                place => panic!("a parameter in {place:?}"),
            }
        }
    }
    assert!(!exchange.target.contains('{'), "{}: its path has no example", exchange.name);
    if !query.is_empty() {
        exchange.target = format!("{}?{}", exchange.target, query.join("&"));
    }
    for (content_type, content) in object(&operation["requestBody"]["content"]) {
        if let Some(example) = content["examples"].get(exchange.name) {
            exchange.fields.push(format!("content-type: {content_type}"));
            exchange.body = match &example["value"] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
        }
    }
}

/// What differs from one gateway or moment to the next is taken out: ids, times, counts of bytes.
fn settled(text: &str) -> String {
    let is_id = |word: &str| {
        let parts: Vec<_> = word.split('-').collect();
        matches!(parts[..], [epoch, number] if epoch.len() == 8 && number.len() == 12)
    };
    let words = text.split_inclusive(|c: char| !(c.is_alphanumeric() || c == '-'));
    let words = words.map(|word| {
        let end = word.trim_end_matches(|c: char| !(c.is_alphanumeric() || c == '-'));
        if is_id(end) { format!("ID{}", &word[end.len()..]) } else { word.to_owned() }
    });
    words.collect()
}

/// Objects have the same keys and values of the same kind; texts without ids, times and addresses are the same.
fn assert_alike(came: &Value, example: &Value, at: &str) {
    match (came, example) {
        (Value::Object(came), Value::Object(example)) => {
            let keys = |object: &Map<String, Value>| object.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(came), keys(example), "{at}");
            came.iter().for_each(|(key, value)| assert_alike(value, &example[key], &format!("{at}.{key}")));
        }
        (Value::Array(came), Value::Array(example)) => {
            assert_eq!(came.len(), example.len(), "{at}");
            came.iter().zip(example).for_each(|(came, example)| assert_alike(came, example, &format!("{at}[]")));
        }
        (Value::String(came), Value::String(example)) => assert_eq!(settled(came), settled(example), "{at}"),
        (Value::Number(_), Value::Number(_)) if ["rate", "bytes"].iter().any(|word| at.contains(word)) => {}
        (came, example) => assert_eq!(came, example, "{at}"),
    }
}

/// A stream's items, without what is drawn at random; cursor marks and comments come or do not.
fn items(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.starts_with("retry: ") && *line != ":");
    let text = lines.collect::<Vec<_>>().join("\n");
    text.split("\n\n").map(str::trim).filter(|item| item.contains("data:")).map(settled).collect()
}

#[track_caller]
fn replay(server: &Server, exchange: &Exchange<'_>) {
    for url in &exchange.servers {
        let address = match *url {
            "http://127.0.0.1:8080" => server.public(),
            "http://127.0.0.1:8081" => server.control(),
            "http://127.0.0.1:8082" => server.health(),
            url => panic!("no listener: {url}"),
        };
        let mut conversation = Conversation::to(address);
        let (method, body) = (exchange.method.to_uppercase(), &exchange.body);
        let fields: String = exchange.fields.iter().map(|field| format!("{field}\r\n")).collect();
        let length = if method == "POST" { format!("content-length: {}\r\n", body.len()) } else { String::new() };
        // HTTP/1.0, so that a stream's body stands as it is.
        conversation.send(format!("{method} {} HTTP/1.0\r\nhost: h\r\n{fields}{length}\r\n{body}", exchange.target));
        let head = conversation.head();
        let came = String::from_utf8(conversation.read_to_end()).expect("UTF-8");
        let at = format!("{} {} ({url}): {}\n{came}", method, exchange.target, exchange.name);
        assert_eq!(head.status, exchange.status, "{at}");
        let content_type = head.field("content-type").unwrap_or_default();
        assert_eq!(content_type, exchange.content_type, "{at}");
        match exchange.answer {
            Value::String(example) if content_type.starts_with("text/event-stream") => {
                assert_eq!(items(&came), items(example), "{at}");
            }
            Value::String(example) => {
                let first = |text: &str| text.split("since").next().map(str::to_owned);
                assert_eq!(first(&came), first(example), "{at}");
            }
            example => assert_alike(&serde_json::from_str(&came).expect("JSON"), example, &at),
        }
    }
}

/// The names of all examples, wherever they stand.
fn names<'a>(value: &'a Value, into: &mut BTreeSet<&'a str>) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| names(value, into)),
        _ => object(value).for_each(|(key, value)| match key {
            "examples" => into.extend(object(value).map(|(name, _)| name)),
            _ => names(value, into),
        }),
    }
}

#[test]
fn every_example_is_what_a_gateway_answers() {
    let server = Server::start(CONFIG);
    let document = document();
    let exchanges = exchanges(&document);
    for exchange in &exchanges {
        replay(&server, exchange);
    }
    assert!(exchanges.len() >= 16, "{} examples", exchanges.len());
    let replayed: BTreeSet<_> = exchanges.iter().map(|exchange| exchange.name).collect();
    let mut named = BTreeSet::new();
    names(&document["paths"], &mut named);
    assert_eq!(named, replayed, "all examples, and those that are replayed");
}

#[test]
fn it_is_served_as_it_is() {
    let server = Server::start(CONFIG);
    let mut conversation = Conversation::to(server.control());
    conversation.send("GET /openapi.json HTTP/1.1\r\nhost: h\r\n\r\n");
    let response = conversation.response();
    assert_eq!((response.status(), &*response.body), (200, DOCUMENT));
    assert_eq!(document()["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn schemathesis_finds_nothing() {
    let Some(program) = tool("schemathesis") else { return };
    let server = Server::start(CONFIG);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = format!("http://{}", server.control());
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
    let output = Command::new(program)
        .args(["run", &format!("{url}/openapi.json"), "--url", &url, "--no-color", "--seed", "1"])
        .args(["--include-tag", "control", "--include-tag", "operator", "--checks", checks])
        // Streams would not end, and of the examples it can't write lines of JSON; those are replayed above.
        .args(["--phases", "coverage,fuzzing", "--max-examples", "10", "--max-time", "30"])
        .current_dir(folder.path())
        .output()
        .expect("schemathesis starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(server.metrics().get("sluicegate_events_published_total{source=\"http\"}") > 10.0, "{said}");
}
