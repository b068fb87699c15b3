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
use tokio::runtime::Runtime;
use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::hub::frame::Framing;
use crate::hub::subscribe::Subscribe;
use crate::hub::topic::Subscription;
use crate::ops::metrics::{Listener, Shed};

use super::answer::answer;
use super::command::Command;
use super::connection::{self, ConnectionLimits, HandedOff, RequestBody, Transport};
use super::context::{Context, Protocol};
use super::listener::{self, accept_loop};
use super::route::Allows;
use super::slots::{Slot, Slots};
use super::state::State;
use super::wire::Wire;
use super::{negotiation, streams};

/// How long requests that are under way when connections end may still take. It bounds what clients
/// that send half a request can hold up, whose own deadlines are longer.
const FINISH_GRACE: Duration = Duration::from_secs(1);

/// A listener: which one it is, what it allows, and when it ends. It may have several acceptors.
#[derive(Clone)]
pub struct Endpoint {
    /// Its name.
    pub listener: Listener,
    /// What requests to it may be for.
    pub allows: Allows,
    /// How many connections it has at most.
    pub slots: Arc<Slots>,
    /// What clients may take.
    pub limits: Arc<ConnectionLimits>,
    /// How it ends.
    pub closing: Closing,
}

/// How a listener ends: first it accepts no more, and idle connections close; then what is under way
/// ends as well.
#[derive(Clone, Debug, Default)]
pub struct Closing {
    /// No connection is accepted, and none waits for another request.
    pub accepting: CancellationToken,
    /// Connections end, within a second.
    pub connections: CancellationToken,
}

impl Closing {
    /// Both at once.
    pub fn cancel(&self) {
        self.accepting.cancel();
        self.connections.cancel();
    }
}

/// An acceptor that is about to start: what the system may refuse, it has granted.
pub struct Acceptor {
    runtime: Runtime,
    sockets: Vec<tokio::net::TcpListener>,
    endpoint: Endpoint,
    state: Arc<State>,
}

impl Acceptor {
    /// An acceptor of an endpoint, from these sockets.
    ///
    /// # Errors
    /// If the runtime can't be made, or a socket not be registered with it.
    pub fn new(endpoint: Endpoint, sockets: Vec<TcpListener>, state: Arc<State>) -> io::Result<Acceptor> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let context = runtime.enter();
        let sockets = sockets.into_iter().map(listener::register).collect::<io::Result<_>>()?;
        drop(context);
        Ok(Acceptor { runtime, sockets, endpoint, state })
    }

    /// Serves until the endpoint closes.
    ///
    /// # Panics
    /// If accepting does: whoever runs it must not go on without it.
    pub fn run(self) {
        let Acceptor { runtime, sockets, endpoint, state } = self;
        let local = LocalSet::new();
        let tasks = TaskTracker::new();
        let closing = endpoint.closing.clone();
        let shared = Rc::new(Serving { endpoint, state, subscription: LastSubscription::default() });
        local.block_on(&runtime, async {
            let mut loops = JoinSet::new();
            for socket in sockets {
                let (serving, tasks) = (shared.clone(), tasks.clone());
                let on_socket = move |socket, peer, slot| {
                    let serving = serving.clone();
                    tasks.spawn_local(async move { serving.connection(socket, peer, slot).await });
                };
                let (slots, errors) = (shared.endpoint.slots.clone(), shared.clone());
                let on_error = move |_: &io::Error| errors.state.metrics.accept_error();
                loops.spawn_local(accept_loop(socket, closing.accepting.clone(), slots, on_socket, on_error));
            }
            // Whichever fails first.
            while let Some(ended) = loops.join_next().await {
                if let Err(failed) = ended {
                    std::panic::resume_unwind(failed.into_panic());
                }
            }
            tasks.close();
            tokio::select! {
                () = tasks.wait() => return,
                () = closing.connections.cancelled() => {}
            }
            if tokio::time::timeout(FINISH_GRACE, tasks.wait()).await.is_err() {
                tracing::info!(connections = tasks.len(), "requests that were not whole by the end are dropped");
            }
        });
    }
}

/// What the connections of one thread share.
struct Serving {
    endpoint: Endpoint,
    state: Arc<State>,
    subscription: LastSubscription,
}

impl Serving {
    async fn connection(&self, socket: TcpStream, peer: SocketAddr, slot: Slot) {
        // A client that has gone meanwhile has no address any more.
        let Ok(local) = socket.local_addr() else { return };
        let Endpoint { listener, allows, .. } = self.endpoint;
        let accepted_ns = self.state.clock.now_ns();
        let context = Context { listener, allows, local, peer, protocol: Protocol::Http1, accepted_ns };
        // A framing such as TLS is laid around the socket here.
        self.serve(socket, context, slot).await;
    }

    async fn serve(&self, stream: impl Transport<Raw = std::net::TcpStream>, context: Context, slot: Slot) {
        let Endpoint { limits, closing, .. } = &self.endpoint;
        let stop = closing.accepting.clone();
        let handler = async |parts, body: &mut RequestBody| answer(&self.state, &context, parts, body).await;
        let refused = |refusal| self.state.metrics.request_rejected(refusal);
        let handed_off = tokio::select! {
            biased;
            () = slot.evicted() => None,
            handed_off = connection::serve(stream, limits, &slot, stop, handler, refused) => handed_off,
        };
        if let Some(handed_off) = handed_off {
            self.open(handed_off, slot).await;
        }
    }

    /// Gives a stream to the least loaded shard.
    async fn open(&self, handed_off: HandedOff<std::net::TcpStream, Subscribe>, slot: Slot) {
        let HandedOff { raw: socket, with: mut subscribe, read_ahead: _ } = handed_off;
        let inbox = self.state.bus.inbox(self.state.bus.least_loaded());
        inbox.stream_comes();
        drop(slot);
        subscribe.subscription = self.subscription.share(subscribe.subscription);
        let socket = Wire(socket);
        if let Err(Command::Open { socket: Wire(socket), .. }) = inbox.push(Command::Open { socket, subscribe }) {
            // The shard can't keep up with new streams: this one is sent away for a while.
            inbox.stream_gone();
            self.state.metrics.stream_shed(Shed::InboxFull);
            let mut answer = negotiation::stream_head(Framing::Close, &httpdate::fmt_http_date(SystemTime::now()));
            answer.extend_from_slice(negotiation::beginning(None).wire(Framing::Close));
            answer.extend_from_slice(streams::come_back(&self.state).as_bytes());
            if let Ok(mut socket) = TcpStream::from_std(socket) {
                // Should it fail, the client is gone or finds the connection closed.
                let _ = socket.write_all(&answer).await;
                let _ = socket.shutdown().await;
            }
        }
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

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use tracing::span;

    use super::*;
    use crate::net::listener::{SocketOptions, bind};
    use crate::net::state::tests::state;

    /// Panics at the first thing that it is told.
    struct Panics;

    impl tracing::Subscriber for Panics {
        fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
            metadata.target().contains("sluicegate")
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, event: &tracing::Event<'_>) {
            panic!("told of {}", event.metadata().name());
        }

        fn enter(&self, _: &span::Id) {}

        fn exit(&self, _: &span::Id) {}
    }

    /// It does not go on with a listener that nobody accepts from: its thread ends the process.
    #[test]
    fn a_panic_in_accepting_comes_out() {
        let (state, _mail) = state(1, 1);
        let state = Arc::new(state);
        // The warning that all slots are taken is given in the midst of accepting.
        let slots = Slots::new(Listener::Public, 1, state.metrics.clone(), state.clock);
        let second = Duration::from_secs(1);
        let limits = ConnectionLimits { head_bytes: 8192, head_deadline: second, idle: second, any_reader: false };
        let closing = Closing::default();
        let endpoint = Endpoint {
            listener: Listener::Public,
            allows: Allows::PUBLIC,
            slots,
            limits: Arc::new(limits),
            closing: closing.clone(),
        };
        let socket = bind(SocketAddr::from(([127, 0, 0, 1], 0)), &SocketOptions::default()).unwrap();
        let address = socket.local_addr().unwrap();
        let _clients = [(); 2].map(|()| std::net::TcpStream::connect(address).unwrap());
        let acceptor = Acceptor::new(endpoint, vec![socket], state).unwrap();
        let rescue = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(20));
            closing.cancel();
        });
        let ran = tracing::subscriber::with_default(Panics, || catch_unwind(AssertUnwindSafe(|| acceptor.run())));
        let panic = ran.expect_err("it goes on without its listener");
        assert!(panic.downcast_ref::<String>().is_some_and(|said| said.starts_with("told of event")), "another panic");
        drop(rescue);
    }
}
