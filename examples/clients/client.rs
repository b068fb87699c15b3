//! Prints the events of a stream, reconnects, and resumes after the event that it saw last. Only the standard library,
//! and so HTTP without TLS; with it, read the lines of a response of `reqwest` or `ureq` in the same way.
//!
//!     rustc examples/clients/client.rs && ./client 127.0.0.1:8080 /events/prices/eur

use std::io::{BufRead, BufReader, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

struct Client {
    id: String,
    retry: Duration,
}

impl Client {
    /// Reads one response to its end.
    fn read(&mut self, address: &str, target: &str) -> Result<()> {
        let mut socket = TcpStream::connect(address)?;
        // Longer than the gateway's heartbeat of 15 seconds: a stream that is silent for longer is dead.
        socket.set_read_timeout(Some(Duration::from_secs(45)))?;
        let resume = if self.id.is_empty() { String::new() } else { format!("Last-Event-ID: {}\r\n", self.id) };
        // HTTP/1.0: the body comes as it is, without chunks.
        write!(socket, "GET {target} HTTP/1.0\r\nHost: {address}\r\nAccept: text/event-stream\r\n{resume}\r\n")?;
        let mut lines = BufReader::new(socket).lines();
        let status = lines.next().transpose()?.unwrap_or_default();
        if status.split(' ').nth(1) != Some("200") {
            eprintln!("{status}");
            return Ok(());
        }
        let (mut kind, mut data) = (String::from("message"), Vec::new());
        for line in lines.by_ref().skip_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty())).skip(1) {
            let line = line?;
            match line.split_once(": ").unwrap_or((line.trim_end_matches(':'), "")) {
                ("id", value) => self.id = value.to_owned(),
                ("event", value) => kind = value.to_owned(),
                ("data", value) => data.push(value.to_owned()),
                ("retry", value) => self.retry = value.parse().map_or(self.retry, Duration::from_millis),
                ("", _) if line.is_empty() => {
                    // An id without data is a position in the stream, and no event.
                    if !data.is_empty() {
                        // On an event of the type gap, fetch the current state.
                        println!("{}{}", if kind == "gap" { "gap: " } else { "" }, data.join("\n"));
                    }
                    (kind, data) = (String::from("message"), Vec::new());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let mut client = Client { id: String::new(), retry: Duration::from_secs(3) };
    loop {
        if let Err(error) = client.read(&arguments[1], &arguments[2]) {
            eprintln!("{error}");
        }
        std::thread::sleep(client.retry);
    }
}
