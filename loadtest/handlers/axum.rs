//! SSE by hand: axum over one `tokio::sync::broadcast` channel. `axum-sse 127.0.0.1:8080`
use std::sync::{Arc, Mutex};

use axum::{Router, extract::State, http::StatusCode, response::sse, routing::get, serve::ListenerExt};
use tokio::{net::TcpSocket, sync::broadcast};
use tokio_stream::{Stream, StreamExt, wrappers::BroadcastStream};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type App = Arc<(broadcast::Sender<sse::Event>, Mutex<u64>)>;

async fn subscribe(State(app): State<App>) -> sse::Sse<impl Stream<Item = Result<sse::Event, axum::Error>>> {
    // A receiver that lags behind by more than the channel holds misses events, and nobody tells it.
    let events = BroadcastStream::new(app.0.subscribe()).filter_map(|event| event.ok().map(Ok));
    sse::Sse::new(events).keep_alive(sse::KeepAlive::default())
}

async fn publish(State(app): State<App>, data: String) -> StatusCode {
    let mut last = app.1.lock().unwrap();
    *last += 1;
    let _ = app.0.send(sse::Event::default().id(last.to_string()).data(data));
    StatusCode::NO_CONTENT
}

#[tokio::main]
async fn main() {
    let address = std::env::args().nth(1).expect("usage: axum-sse ADDRESS:PORT");
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(address.parse().unwrap()).unwrap();
    let listener = socket.listen(4096).unwrap().tap_io(|socket| drop(socket.set_nodelay(true)));
    let app = Arc::new((broadcast::Sender::new(4096), Mutex::new(0)));
    axum::serve(listener, Router::new().route("/events", get(subscribe).post(publish)).with_state(app)).await.unwrap();
}
