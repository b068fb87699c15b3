//! The console, in a browser, and what it takes from whom.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::tool::absent;
use crate::support::{SOON, Server, tool, within};

const ADMIN: &str = "admin = true\nschedule = []\n";

#[test]
fn a_person_uses_it_in_a_browser() {
    let (Some(chromium), Some(node)) = (tool("chromium"), tool("node")) else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/console");
    if !folder.join("node_modules").is_dir() {
        return absent("tests/console/node_modules (npm ci --prefix tests/console)");
    }
    let server = Server::start(ADMIN);
    let mut stream = server.subscribe("/events/prices/eur");
    server.publish("prices/eur", "1.08");
    stream.expect_data("1.08");
    let console = format!("http://{}", server.control());
    let mut command = Command::new(node);
    command.current_dir(folder).arg("console.mjs").arg(&console).arg(chromium);
    if let Some(screenshots) = std::env::var_os("SCREENSHOTS") {
        command.arg(screenshots);
    }
    let output = command.output().unwrap();
    let seen: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    for list in ["errors", "foreign", "violations"] {
        assert_eq!(seen[list], Value::Array(Vec::new()), "{list}: {seen:#}");
    }
    assert_eq!((&seen["ok"], &seen["overflow"]), (&true.into(), &0.into()), "{seen:#}");
    assert!(seen["watched"].as_str().unwrap().contains("paid"), "{seen:#}");
    assert!(seen["refused"].as_str().unwrap().contains("kept for the gateway"), "{seen:#}");
    // Nobody looks any more: its own events end.
    assert!(within(SOON, || server.metrics().sum("sluicegate_streams") == 1.0));
}

fn status(server: &Server, request: &str) -> u16 {
    let mut client = server.connect_control();
    client.send(request);
    client.response().status()
}

#[test]
fn it_is_off_unless_admin_is_on_and_only_for_its_own_page() {
    let off = Server::start("");
    for path in ["/console", "/console/console.js", "/console/events?topic=a", "/admin/config"] {
        assert_eq!(status(&off, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")), 404, "{path}");
    }
    let on = Server::start(ADMIN);
    for (fields, expected) in [
        ("", 200),
        ("sec-fetch-site: none\r\n", 200),
        ("sec-fetch-site: same-origin\r\n", 200),
        ("sec-fetch-site: cross-site\r\nsec-fetch-mode: navigate\r\nsec-fetch-dest: document\r\n", 200),
        ("sec-fetch-site: cross-site\r\n", 403),
        ("sec-fetch-site: cross-site\r\nsec-fetch-mode: navigate\r\nsec-fetch-dest: iframe\r\n", 403),
        ("origin: http://evil.example\r\n", 403),
    ] {
        let request = format!("GET /console HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n");
        assert_eq!(status(&on, &request), expected, "{fields}");
    }
    // A name that was made to resolve to this address.
    assert_eq!(status(&on, "GET /console HTTP/1.1\r\nhost: evil.example\r\n\r\n"), 403);
    assert_eq!(status(&on, "GET /console/none HTTP/1.1\r\nhost: localhost\r\n\r\n"), 404);
}

#[test]
fn its_own_events_reach_nobody_else() {
    let server = Server::start(ADMIN);
    let mut all = server.subscribe("/events?match=**&match=*/*");
    let mut console = server.connect_control();
    console.send("GET /console/events?topic=$sys/stats&topic=$sys/streams HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let head = console.head();
    assert_eq!(head.status, 200);
    assert!(head.field("access-control-allow-origin").is_none());
    let mut types = [console.event().event, console.event().event];
    types.sort();
    assert_eq!(types, ["stats", "streams"]);
    // A pattern covers none of them: what comes next to who has all is what is published next.
    thread::sleep(Duration::from_millis(1500));
    server.publish("a", "x");
    all.expect_data("x");
    for target in ["/events/$sys/stats", "/events?topic=$sys/x&topic=a"] {
        let mut client = server.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nhost: h\r\n\r\n"));
        let response = client.response();
        assert_eq!((response.status(), &response.json()["field"]), (400, &"topic".into()), "{target}");
    }
    let mut publisher = server.connect_control();
    publisher.send("POST /events/$sys/stats HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\nx");
    assert_eq!(publisher.response().status(), 400);
    publisher.send(
        "POST /events HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: 36\r\n\r\n[{\"topics\":[\"a\",\"$sys/b\"],\"data\":1}]",
    );
    assert_eq!(publisher.response().status(), 400);
}
