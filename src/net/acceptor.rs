//! Acceptors: each a thread with a runtime of its own, which accepts, reads requests, and gives
//! streams to the least loaded shard.

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::hub::frame::Framing;
use crate::hub::subscribe::Subscribe;
use crate::hub::topic::Subscription;
use crate::ops::limits::CONTROL_CONNECTIONS_MAX;
use crate::ops::metrics::{ConnectionGuard, Listener, Shed};

use super::command::Command;
use super::connection::{self, Answer, ConnectionLimits, HandedOff};
use super::listener::accept_loop;
use super::public;
use super::state::State;
use super::wire::Wire;
use super::{control, negotiation};

/// How long requests that are under way when a door closes may still take. It bounds what clients
/// that send half a request can hold up, whose own deadlines are longer.
const FINISH_GRACE: Duration = Duration::from_secs(1);

/// Which door a listener is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Streams, for everyone.
    Public,
    /// The operator's.
    Control,
}

/// Serves the listeners until `closing` is cancelled, and then, for a second, the requests that are
/// under way.
///
/// # Errors
/// If the runtime can't be made, or a listener not be registered with it.
pub fn run(
    door: Door,
    listeners: Vec<TcpListener>,
    state: Arc<State>,
    limits: ConnectionLimits,
    closing: CancellationToken,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    let tasks = TaskTracker::new();
    let limits = Arc::new(limits);
    let shared = Rc::new(LastSubscription::default());
    local.block_on(&runtime, async {
        let mut loops = Vec::new();
        for listener in listeners {
            let (tasks, state, limits) = (tasks.clone(), state.clone(), limits.clone());
            let (shared, token) = (shared.clone(), closing.clone());
            let errors = state.clone();
            let room = state.clone();
            loops.push(tokio::task::spawn_local(accept_loop(
                listener,
                closing.clone(),
                // Streams and connections share the descriptors; when they are all in use, further
                // clients wait in the backlog. The operator's door keeps the reserved ones.
                move || match door {
                    Door::Public => room.sockets() < room.sockets_max,
                    Door::Control => room.metrics.connections(Listener::Control) < CONTROL_CONNECTIONS_MAX,
                },
                move |socket, peer| {
                    let (state, limits) = (state.clone(), limits.clone());
                    let (shared, token) = (shared.clone(), token.clone());
                    tasks.spawn_local(async move {
                        match door {
                            Door::Public => public_connection(socket, peer, &state, &limits, &shared, token).await,
                            Door::Control => control_connection(socket, &state, &limits, token).await,
                        }
                    });
                },
                move |_error| errors.metrics.accept_error(),
            )));
        }
        let mut failed = Ok(());
        for accepting in loops {
            match accepting.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => failed = Err(error),
                Err(panic) => failed = Err(io::Error::other(panic)),
            }
        }
        tasks.close();
        if tokio::time::timeout(FINISH_GRACE, tasks.wait()).await.is_err() {
            tracing::info!(connections = tasks.len(), "requests that were not whole by the end are dropped");
        }
        failed
    })
}

async fn public_connection(
    socket: TcpStream,
    peer: SocketAddr,
    state: &Arc<State>,
    limits: &ConnectionLimits,
    shared: &LastSubscription,
    closing: CancellationToken,
) {
    let counted = state.metrics.connection(Listener::Public);
    let handler = |request: http::Request<hyper::body::Incoming>| {
        let (parts, _body) = request.into_parts();
        public::answer(state, parts, peer)
    };
    let refused = |refusal| state.metrics.request_rejected(refusal);
    if let Some(handed_off) = connection::serve(socket, limits, closing, handler, refused).await {
        open(handed_off, state, shared, counted).await;
    }
}

/// The subscription of the last stream. In a storm most streams ask for the same, and then share one
/// copy: what this thread allocated, it also frees, and its heap keeps nothing for other threads.
#[derive(Default)]
struct LastSubscription(RefCell<Option<Arc<Subscription>>>);

impl LastSubscription {
    fn share(&self, subscription: Arc<Subscription>) -> Arc<Subscription> {
        let mut last = self.0.borrow_mut();
        match &*last {
            Some(last) if *last == subscription => last.clone(),
            _ => last.insert(subscription).clone(),
        }
    }
}

/// Gives a stream to the least loaded shard.
async fn open(handed_off: HandedOff<Subscribe>, state: &State, shared: &LastSubscription, counted: ConnectionGuard) {
    let HandedOff { socket, with: mut subscribe, read_ahead: _ } = handed_off;
    let inbox = state.bus.inbox(state.bus.least_loaded());
    inbox.stream_comes();
    drop(counted);
    subscribe.subscription = shared.share(subscribe.subscription);
    let open = Command::Open { socket: Wire(socket), subscribe };
    if let Err(Command::Open { socket: Wire(socket), .. }) = inbox.push(open) {
        // The shard can't keep up with new streams: this one is sent away for a while.
        inbox.stream_gone();
        state.metrics.stream_shed(Shed::InboxFull);
        let mut answer = negotiation::stream_head(Framing::Close, &httpdate::fmt_http_date(SystemTime::now()));
        answer.extend_from_slice(public::come_back(state).as_bytes());
        if let Ok(mut socket) = TcpStream::from_std(socket) {
            // Should it fail, the client is gone or finds the connection closed.
            let _ = socket.write_all(&answer).await;
            let _ = socket.shutdown().await;
        }
    }
}

async fn control_connection(
    socket: TcpStream,
    state: &Arc<State>,
    limits: &ConnectionLimits,
    closing: CancellationToken,
) {
    let _counted = state.metrics.connection(Listener::Control);
    let handler = |request| async move { Answer::<()>::Respond(control::answer(state, request).await) };
    let refused = |refusal| state.metrics.request_rejected(refusal);
    connection::serve(socket, limits, closing, handler, refused).await;
}
