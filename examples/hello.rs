//! The classic evented server: each event-stream client gets `hello` every 2 seconds, on a timer
//! that goes with it; any other request gets `ok`. `cargo run --example hello`

use std::time::Duration;

use sluicegate::{Builder, Event, Gateway, Reply, Request, StartError, StreamReply};

pub(crate) fn hello() -> Builder {
    Gateway::builder().on_request(async |request: Request| {
        if request.accepts_event_stream() {
            let hello = Event::new("hello").event("message").id("1");
            Reply::from(StreamReply::new().every(Duration::from_secs(2), hello))
        } else {
            Reply::text("ok\n")
        }
    })
}

fn main() -> Result<(), StartError> {
    let gateway = hello().listen(([127, 0, 0, 1], 8080).into()).start()?;
    for address in gateway.addresses() {
        println!("http://{address}");
    }
    gateway.run_until_signal()?;
    Ok(())
}
