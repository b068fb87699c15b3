//! Publishes an event, and repeats that until there is an answer: with its key the event counts once. Only the standard
//! library; with `reqwest` or `ureq` it is a POST with a header.
//!
//!     rustc examples/publishers/publish.rs && ./publish prices/eur 1.0823

use std::io::{Error, Read, Result, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn post(address: &str, topic: &str, key: &str, data: &str) -> Result<String> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let topic: String = topic.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let length = data.len();
    write!(
        socket,
        "POST /events/{topic} HTTP/1.0\r\nHost: {address}\r\nIdempotency-Key: {key}\r\nContent-Length: {length}\r\n\r\n{data}"
    )?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let control = std::env::var("SLUICEGATE_CONTROL").unwrap_or_else(|_| "http://127.0.0.1:8081".to_owned());
    let address = control.trim_start_matches("http://");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let key = format!("{now}-{}", std::process::id());
    let mut attempt = 1;
    loop {
        match post(address, &arguments[1], &key, &arguments[2]) {
            Ok(answer) if answer.split(' ').nth(1) == Some("200") => {
                println!("{}", answer.lines().last().unwrap_or_default());
                return Ok(());
            }
            // What the gateway does not understand, it never will.
            Ok(answer) if attempt == 5 || !answer.contains(" 503 ") => return Err(Error::other(answer)),
            Err(error) if attempt == 5 => return Err(error),
            _ => {}
        }
        std::thread::sleep(Duration::from_millis(200 << attempt));
        attempt += 1;
    }
}
