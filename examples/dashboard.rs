//! A page that shows this machine's load. One thread publishes it, and however many pages are open
//! subscribe to it. `cargo run --example dashboard`, then open the address in a browser.

use std::error::Error;
use std::time::Duration;
use std::{fs, thread};

use sluicegate::http::{Response, StatusCode};
use sluicegate::{Builder, Event, Gateway, Pattern, Publisher, Reply, Request, StreamReply};

const PAGE: &str = r#"<!doctype html>
<meta charset="utf-8">
<title>Load</title>
<p>Load of the last minute: <output>…</output>
<script>
  const source = new EventSource('/live')
  source.addEventListener('load', event => document.querySelector('output').textContent = event.data)
</script>
"#;

/// The page, its stream, and nothing else.
pub(crate) fn dashboard() -> Builder {
    Gateway::builder().on_request(async |request: Request| -> Reply {
        match request.uri().path() {
            "/" => Response::builder()
                .header("content-type", "text/html; charset=utf-8")
                .header("content-security-policy", "default-src 'self' 'unsafe-inline'")
                .body(PAGE)
                .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
                .into(),
            "/live" => match Pattern::parse("machine/*") {
                Ok(all) => StreamReply::new().pattern(all).lasts(Duration::from_secs(3600)).into(),
                Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into(),
            },
            _ => (StatusCode::NOT_FOUND, "there is only /").into(),
        }
    })
}

/// Publishes the load each second, until the gateway is gone.
pub(crate) fn publish_load(publisher: &Publisher) -> Result<(), Box<dyn Error + Send + Sync>> {
    loop {
        let all = fs::read_to_string("/proc/loadavg")?;
        let load = all.split(' ').next().unwrap_or_default();
        publisher.publish("machine/load", Event::new(load).event("load"))?;
        thread::sleep(Duration::from_secs(1));
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let gateway = dashboard().listen(([127, 0, 0, 1], 8080).into()).start()?;
    println!("http://{}", gateway.addresses()[0]);
    let publisher = gateway.publisher();
    thread::spawn(move || publish_load(&publisher));
    gateway.run_until_signal()?;
    Ok(())
}
