//! The classic evented server: each event-stream client gets `hello` every 2 seconds, on a timer
//! that goes with it; any other request gets `ok`. `cargo run --example hello`

use std::time::Duration;

use sluicegate::{Event, Gateway, Reply, StartError};

fn main() -> Result<(), StartError> {
    println!("http://127.0.0.1:8080");
    Gateway::builder()
        .listen(([127, 0, 0, 1], 8080).into())
        .on_request(|request| {
            if request.accepts_event_stream() {
                let hello = Event::new("hello").event("message").id("1");
                Reply::stream().every(Duration::from_secs(2), hello)
            } else {
                Reply::text("ok")
            }
        })
        .run()
}
