//! Acceptors: each a thread with a runtime of its own, which accepts, reads requests, and gives
//! streams to the least loaded shard.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::hub::subscribe::Subscribe;
use crate::hub::topic::Subscription;
use crate::ops::metrics::{Handshake, Listener, Shed};

use super::accept::accept_loop;
use super::answer::{answer, refusal};
use super::command::Command;
use super::connection::{self, ConnectionLimits, HandedOff, RequestBody};
use super::console;
use super::context::{Context, Protocol};
use super::problem::{Problem, Refusal};
use super::route::Allows;
use super::slots::{Slot, Slots};
use super::state::State;
use super::streams;
use super::tls::server::{TlsServer, result_of};
use super::tls::stream::{NoHandshake, TlsStream};
use super::transport::{Listen, Raw, Transport};

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
pub struct Acceptor<L> {
    runtime: Runtime,
    sockets: Vec<Listening<L>>,
    endpoint: Endpoint,
    state: Arc<State>,
}

/// A socket that is listened on.
struct Listening<L> {
    socket: L,
    address: SocketAddr,
    tls: Option<Arc<TlsServer>>,
}

impl<L: Listen + 'static> Acceptor<L> {
    /// An acceptor of an endpoint, from these sockets, some with TLS.
    ///
    /// # Errors
    /// If the runtime can't be made, or a socket not be registered with it.
    pub fn new(
        endpoint: Endpoint,
        sockets: Vec<(L::Bound, Option<Arc<TlsServer>>)>,
        state: Arc<State>,
    ) -> io::Result<Acceptor<L>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let context = runtime.enter();
        let register = |(bound, tls)| {
            let socket = L::register(bound)?;
            let address = socket.address()?;
            Ok(Listening { socket, address, tls })
        };
        let sockets = sockets.into_iter().map(register).collect::<io::Result<_>>()?;
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
        if endpoint.allows.admin {
            // It ends with the listener.
            local.spawn_local(console::feed(state.clone()));
        }
        let shared = Rc::new(Serving { endpoint, state, subscription: LastSubscription::default() });
        local.block_on(&runtime, async {
            let mut loops = JoinSet::new();
            for Listening { socket, address: local, tls } in sockets {
                let (serving, tasks) = (shared.clone(), tasks.clone());
                let on_socket = move |transport, peer, slot| {
                    let Endpoint { listener, allows, .. } = serving.endpoint;
                    let context = Context { listener, allows, local, peer, protocol: Protocol::Http1 };
                    match tls.clone() {
                        None => tasks.spawn_local(serving.clone().serve(transport, context, slot)),
                        Some(tls) => tasks.spawn_local(serving.clone().serve_tls(transport, tls, context, slot)),
                    };
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
    async fn serve(self: Rc<Self>, transport: impl Transport, context: Context, slot: Slot) {
        let Endpoint { limits, closing, .. } = &self.endpoint;
        let handler = async |parts, body: &mut RequestBody| answer(&self.state, &context, parts, body).await;
        let refuse = |problem| refusal(&self.state, &context, problem);
        if let Some(handed_off) = connection::serve(transport, limits, &slot, &closing.accepting, handler, refuse).await
        {
            self.open(handed_off, slot);
        }
    }

    async fn serve_tls(
        self: Rc<Self>,
        socket: impl Raw + Transport,
        tls: Arc<TlsServer>,
        context: Context,
        slot: Slot,
    ) {
        if let Some(stream) = self.shake_hands(socket, &tls, &context, &slot).await {
            drop(tls);
            self.serve(stream, context, slot).await;
        }
    }

    /// Shakes hands, unless the client takes too long. As long as that lasts it is the client's turn, as with the head
    /// of a request: when there are too many connections, the one that takes longest gives way.
    async fn shake_hands<S: Raw + Transport>(
        &self,
        socket: S,
        tls: &TlsServer,
        context: &Context,
        slot: &Slot,
    ) -> Option<TlsStream<S>> {
        let Endpoint { limits, closing, .. } = &self.endpoint;
        let shaken = tokio::select! {
            biased;
            shaken = tls.accept(socket) => shaken,
            () = slot.evicted() => return None,
            () = closing.accepting.cancelled() => return None,
            () = tokio::time::sleep(limits.head_deadline) => {
                self.state.metrics.tls_handshake(Handshake::Late);
                return None;
            }
        };
        self.state.metrics.tls_handshake(result_of(&shaken));
        match shaken {
            Ok(stream) => slot.begin().then_some(stream),
            Err(NoHandshake::PlainHttp(socket)) => {
                let detail = "this port speaks HTTP over TLS: the address begins with https://";
                let words = refusal(&self.state, context, Problem::new(Refusal::NotTls, detail));
                connection::end(socket, Some(words), slot).await;
                None
            }
            Err(NoHandshake::Failed(error)) => {
                tracing::debug!(%error, "no TLS handshake");
                None
            }
        }
    }

    /// Gives a stream to the least loaded shard.
    fn open(&self, handed_off: HandedOff<Subscribe>, slot: Slot) {
        let HandedOff { socket, with: mut subscribe, read_ahead: _ } = handed_off;
        let inbox = self.state.bus.inbox(self.state.bus.least_loaded());
        inbox.stream_comes();
        drop(slot);
        subscribe.subscription = self.subscription.share(subscribe.subscription);
        if let Err(Command::Open { socket, subscribe }) = inbox.push(Command::Open { socket, subscribe }) {
            // The shard can't keep up with new streams: this one is sent away for a while.
            inbox.stream_gone();
            let answer = streams::shed_late(&self.state, Shed::InboxFull, subscribe.head_fields.as_deref());
            socket.send_away(&answer);
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
    use std::io::{Read, Write};
    use std::os::unix::net;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use tokio::net::{TcpListener, UnixListener};
    use tracing::span;

    use super::*;
    use crate::hub::stream::Socket;
    use crate::net::listener::{SocketOptions, bind};
    use crate::net::sink::Sink;
    use crate::net::state::tests::state;
    use crate::ops::config::{Config, Cors, Origin};
    use crate::ops::reload::LiveConfig;

    /// Panics at the first event.
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
            panic!("logged {}", event.metadata().name());
        }

        fn enter(&self, _: &span::Id) {}

        fn exit(&self, _: &span::Id) {}
    }

    /// The public listener's.
    fn endpoint(slots: Arc<Slots>) -> Endpoint {
        let second = Duration::from_secs(1);
        let limits = Arc::new(ConnectionLimits { head_bytes: 8192, head_deadline: second, idle: second });
        Endpoint { listener: Listener::Public, allows: Allows::PUBLIC, slots, limits, closing: Closing::default() }
    }

    /// What a listener is of is a matter of [`Listen`] and [`Transport`] alone.
    #[test]
    fn sockets_of_another_kind_are_served_alike() {
        let (state, mail) = state(1, 1);
        let state = Arc::new(state);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let slots = Slots::new(Listener::Public, 8, state.metrics.clone(), state.clock);
        let endpoint = endpoint(slots);
        let closing = endpoint.closing.clone();
        let bound = net::UnixListener::bind(&path).unwrap();
        let acceptor = Acceptor::<UnixListener>::new(endpoint, vec![(bound, None)], state).unwrap();
        let runs = std::thread::spawn(move || acceptor.run());
        let client = || {
            let client = net::UnixStream::connect(&path).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            client
        };

        let mut asks = client();
        asks.write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        asks.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok\n"), "{answer}");

        let mut subscriber = client();
        subscriber.write_all(b"GET /events/a HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
        let opened = mail[0].recv_timeout(Duration::from_secs(20)).unwrap();
        let Command::Open { socket, subscribe } = opened else { panic!("another message") };
        let mut socket = Sink::from(socket);
        assert_eq!(subscribe.subscription.topics()[0].as_str(), "a");
        assert_eq!(socket.send(b"a stream"), crate::hub::stream::Sent::Wrote(8));
        drop(socket);
        let mut stream = String::new();
        subscriber.read_to_string(&mut stream).unwrap();
        assert_eq!(stream, "a stream");
        closing.cancel();
        runs.join().unwrap();
    }

    /// A client is sent away by the same rules as it would have been served by.
    #[test]
    fn a_full_inbox_says_come_back_to_the_pages_that_may_read_it() {
        let (mut state, mail) = state(1, 1);
        let config =
            Config { cors: Cors { origins: vec![Origin::parse("https://a.example").unwrap()] }, ..Config::default() };
        state.config = Arc::new(LiveConfig::from_pointee(config));
        let state = Arc::new(state);
        while state.bus.inbox(0).push(Command::Stop).is_ok() {}
        let slots = Slots::new(Listener::Public, 8, state.metrics.clone(), state.clock);
        let endpoint = endpoint(slots);
        let closing = endpoint.closing.clone();
        let socket = bind(SocketAddr::from(([127, 0, 0, 1], 0)), &SocketOptions::default()).unwrap();
        let address = socket.local_addr().unwrap();
        let acceptor = Acceptor::<TcpListener>::new(endpoint, vec![(socket, None)], state.clone()).unwrap();
        let runs = std::thread::spawn(move || acceptor.run());
        let ask = |origin: &str| {
            let mut client = std::net::TcpStream::connect(address).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let head = format!("GET /events/a HTTP/1.1\r\nhost: h\r\norigin: {origin}\r\n\r\n");
            client.write_all(head.as_bytes()).unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            answer
        };
        let known = ask("https://a.example");
        assert!(known.starts_with("HTTP/1.1 200 OK\r\n"), "{known}");
        assert!(known.contains("\r\ncontent-type: text/event-stream\r\n"), "{known}");
        assert!(known.contains("\r\naccess-control-allow-origin: https://a.example\r\n"), "{known}");
        assert!(known.contains("\r\naccess-control-allow-credentials: true\r\n"), "{known}");
        assert!(known.contains("\r\n\r\nretry: "), "{known}");
        let unknown = ask("https://b.example");
        assert!(unknown.contains("\r\nvary: origin\r\n") && unknown.contains("\r\n\r\nretry: "), "{unknown}");
        for answer in [known, unknown] {
            assert!(!answer.contains("origin: *") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
        }
        assert_eq!(state.bus.streams(), 0);
        drop(mail);
        closing.cancel();
        runs.join().unwrap();
    }

    /// It does not go on with a listener that nobody accepts from: its thread ends the process.
    #[test]
    fn a_panic_in_accepting_comes_out() {
        let (state, _mail) = state(1, 1);
        let state = Arc::new(state);
        // The warning that all slots are taken is given in the midst of accepting.
        let slots = Slots::new(Listener::Public, 1, state.metrics.clone(), state.clock);
        let endpoint = endpoint(slots);
        let closing = endpoint.closing.clone();
        let socket = bind(SocketAddr::from(([127, 0, 0, 1], 0)), &SocketOptions::default()).unwrap();
        let address = socket.local_addr().unwrap();
        let _clients = [(); 2].map(|()| std::net::TcpStream::connect(address).unwrap());
        let acceptor = Acceptor::<TcpListener>::new(endpoint, vec![(socket, None)], state).unwrap();
        let rescue = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(20));
            closing.cancel();
        });
        let ran = tracing::subscriber::with_default(Panics, || catch_unwind(AssertUnwindSafe(|| acceptor.run())));
        let panic = ran.expect_err("it goes on without its listener");
        assert!(panic.downcast_ref::<String>().is_some_and(|said| said.starts_with("logged event")), "another panic");
        drop(rescue);
    }
}
