//! Listening sockets, and accepting from them.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::slots::{Slot, Slots};

/// How many handshakes the kernel completes ahead of us. The kernel cuts it to `somaxconn`.
const BACKLOG: i32 = 4096;
/// Connections accepted in a row before those already open get their turn.
const ACCEPT_BURST: u32 = 16;
/// The first and the longest wait after an accept failed for want of descriptors or memory.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// What sockets accepted from a listener start with. The listener has these options itself and
/// Linux hands them down, so accepting costs no system call for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// Several listeners, one a core, may share the address (`SO_REUSEPORT`).
    pub reuse_port: bool,
    /// The unsent bytes in a socket's buffer above which it isn't writable
    /// (`TCP_NOTSENT_LOWAT`): what a slow reader lags behind shows in our log and not in kernel
    /// memory. `None` leaves the system's.
    pub notsent_lowat: Option<u32>,
    /// How long sent bytes may stay unacknowledged, or a closed window closed, before the kernel
    /// drops the connection (`TCP_USER_TIMEOUT`).
    pub user_timeout: Option<Duration>,
    /// The silence after which the kernel probes the peer, and then the time between probes, in
    /// whole seconds.
    pub keepalive: Option<Duration>,
}

impl Default for SocketOptions {
    fn default() -> SocketOptions {
        SocketOptions {
            reuse_port: false,
            notsent_lowat: None,
            user_timeout: Some(Duration::from_secs(30)),
            keepalive: Some(Duration::from_secs(60)),
        }
    }
}

/// Listens on `addr`, non-blocking. `[::]` takes IPv4 as well.
///
/// # Errors
/// What the system says: the address is taken, not ours, or not allowed.
pub fn bind(addr: SocketAddr, options: &SocketOptions) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if addr.ip() == Ipv6Addr::UNSPECIFIED {
        socket.set_only_v6(false)?;
    }
    hand_down(&socket, options)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Takes over a socket that someone else has bound, and listens on it.
///
/// # Errors
/// What the system says: it is no TCP socket, or not bound.
pub fn adopt(listener: TcpListener, options: &SocketOptions) -> io::Result<TcpListener> {
    let socket = Socket::from(listener);
    hand_down(&socket, options)?;
    socket.set_nonblocking(true)?;
    // If it listens already this only sets how many may wait.
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Sets what accepted sockets inherit.
fn hand_down(socket: &Socket, options: &SocketOptions) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    if let Some(bytes) = options.notsent_lowat {
        socket.set_tcp_notsent_lowat(bytes)?;
    }
    socket.set_tcp_user_timeout(options.user_timeout)?;
    if let Some(silence) = options.keepalive {
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(silence).with_interval(silence))?;
    }
    Ok(())
}

/// Listens `count` times on the same address, one listener a core. With port 0 the first one's
/// port is everyone's.
///
/// # Errors
/// As [`bind`].
pub fn bind_all(addr: SocketAddr, count: usize, options: &SocketOptions) -> io::Result<Vec<TcpListener>> {
    let options = SocketOptions { reuse_port: options.reuse_port || count > 1, ..options.clone() };
    let mut listeners = Vec::with_capacity(count);
    let mut addr = addr;
    for _ in 0..count {
        let listener = bind(addr, &options)?;
        addr = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Registers a listener with the runtime that this is called in.
///
/// # Errors
/// What the system says.
pub fn register(listener: TcpListener) -> io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

/// Accepts until `shutdown` is cancelled, and gives each socket to `on_socket`, with a slot. While
/// there is none, further clients wait in the backlog.
///
/// A connection that was gone before it was accepted is passed over. When descriptors or memory
/// run out the loop waits, longer each time up to a second, and says so once. `on_error` is told
/// of every failure, for counting.
pub async fn accept_loop(
    listener: tokio::net::TcpListener,
    shutdown: CancellationToken,
    slots: Arc<Slots>,
    on_socket: impl FnMut(TcpStream, SocketAddr, Slot),
    on_error: impl FnMut(&io::Error),
) {
    // Dropping the loop drops the listener: what waits in its backlog is reset, and the clients
    // go to another listener at once instead of waiting here.
    shutdown.run_until_cancelled(accept_all(listener, slots, on_socket, on_error)).await;
}

async fn accept_all(
    listener: tokio::net::TcpListener,
    slots: Arc<Slots>,
    mut on_socket: impl FnMut(TcpStream, SocketAddr, Slot),
    mut on_error: impl FnMut(&io::Error),
) {
    let mut backoff = Backoff::default();
    let mut in_a_row = 0;
    loop {
        let error = match listener.accept().await {
            Ok((socket, peer)) => {
                backoff = Backoff::default();
                on_socket(socket, peer, slots.take().await);
                in_a_row += 1;
                if in_a_row == ACCEPT_BURST {
                    in_a_row = 0;
                    tokio::task::yield_now().await;
                }
                continue;
            }
            Err(error) => error,
        };
        on_error(&error);
        if is_of_one_connection(&error) {
            continue;
        }
        let first = backoff.is_fresh();
        let wait = backoff.next_wait();
        if first {
            tracing::warn!(%error, "accepting is on hold: connections wait in the backlog");
        }
        tokio::time::sleep(wait).await;
    }
}

/// Whether only the connection at hand failed, so that the next may be accepted at once. accept(2)
/// reports pending network errors of the new socket as its own.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::INTR
                | Errno::PERM
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::NONET
                | Errno::TIMEDOUT
        )
    )
}

/// How long to wait after a failure: doubling, bounded.
#[derive(Debug, Default)]
struct Backoff(Option<Duration>);

impl Backoff {
    /// Whether nothing has failed since the last success.
    fn is_fresh(&self) -> bool {
        self.0.is_none()
    }

    fn next_wait(&mut self) -> Duration {
        let wait = self.0.map_or(BACKOFF.0, |last| (last * 2).min(BACKOFF.1));
        self.0 = Some(wait);
        wait
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::io::{Read, Write};
    use std::rc::Rc;

    use super::*;
    use crate::ops::metrics::{Gauges, Metrics, ShardCells};

    fn local() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    fn roomy() -> Arc<Slots> {
        let metrics = Metrics::new(ShardCells::for_shards(1), Gauges::default());
        Slots::new(
            crate::ops::metrics::Listener::Public,
            usize::MAX,
            Arc::new(metrics),
            crate::net::clock::Clock::start(),
        )
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn accepted_sockets_inherit_the_listeners_options() {
        let options = SocketOptions {
            reuse_port: true,
            notsent_lowat: Some(12_345),
            user_timeout: Some(Duration::from_millis(6_789)),
            keepalive: Some(Duration::from_secs(42)),
        };
        let adopted = adopt(TcpListener::bind(local()).unwrap(), &options).unwrap();
        for listener in [bind(local(), &options).unwrap(), adopted] {
            check_inherited(&listener, &options);
        }
    }

    #[track_caller]
    fn check_inherited(listener: &TcpListener, options: &SocketOptions) {
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        let accepted = Socket::from(listener.accept().unwrap().0);
        assert!(accepted.tcp_nodelay().unwrap());
        assert_eq!(accepted.tcp_notsent_lowat().unwrap(), 12_345);
        assert_eq!(accepted.tcp_user_timeout().unwrap(), options.user_timeout);
        assert!(accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), Duration::from_secs(42));
        assert_eq!(accepted.tcp_keepalive_interval().unwrap(), Duration::from_secs(42));
        drop(client);
    }

    #[test]
    fn several_listeners_share_the_first_ones_port() {
        let listeners = bind_all(local(), 3, &SocketOptions::default()).unwrap();
        let ports: Vec<_> = listeners.iter().map(|l| l.local_addr().unwrap().port()).collect();
        assert_eq!(ports, [ports[0]; 3]);
        assert_ne!(ports[0], 0);
        let taken = bind(listeners[0].local_addr().unwrap(), &SocketOptions::default());
        assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn the_ipv6_wildcard_takes_ipv4_too() {
        let Ok(listener) = bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)), &SocketOptions::default()) else {
            return; // No IPv6 here.
        };
        let port = listener.local_addr().unwrap().port();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    }

    #[test]
    fn the_loop_accepts_until_told_to_stop() {
        let listener = bind(local(), &SocketOptions::default()).unwrap();
        let addr = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..50).map(|_| std::net::TcpStream::connect(addr).unwrap()).collect();
        let token = CancellationToken::new();
        let accepted = RefCell::new(Vec::new());
        block_on(async {
            accept_loop(
                register(listener).unwrap(),
                token.clone(),
                roomy(),
                |socket, peer, _| {
                    accepted.borrow_mut().push((socket, peer));
                    if accepted.borrow().len() == 50 {
                        token.cancel();
                    }
                },
                |error| panic!("{error}"),
            )
            .await;
        });
        let peers: Vec<_> = clients.iter().map(|c| c.local_addr().unwrap()).collect();
        assert!(accepted.borrow().iter().all(|(_, peer)| peers.contains(peer)));
        assert!(std::net::TcpStream::connect(addr).is_err(), "the listener is closed");
    }

    #[test]
    fn open_connections_get_their_turn_in_a_flood() {
        let listener = bind(local(), &SocketOptions::default()).unwrap();
        let addr = listener.local_addr().unwrap();
        let _clients: Vec<_> = (0..100).map(|_| std::net::TcpStream::connect(addr).unwrap()).collect();
        let accepted = Rc::new(Cell::new(0));
        let token = CancellationToken::new();
        let seen_at = Rc::new(Cell::new(usize::MAX));
        block_on(tokio::task::LocalSet::new().run_until(async {
            let (seen, count) = (seen_at.clone(), accepted.clone());
            let mut other = Some(tokio::task::spawn_local(async move { seen.set(count.get()) }));
            accept_loop(
                register(listener).unwrap(),
                token.clone(),
                roomy(),
                |_, _, _| {
                    accepted.set(accepted.get() + 1);
                    if accepted.get() == 100 {
                        token.cancel();
                    }
                },
                |_| {},
            )
            .await;
            other.take().unwrap().await.unwrap();
        }));
        assert!(seen_at.get() <= ACCEPT_BURST as usize, "another task ran after {} accepts", seen_at.get());
    }

    #[test]
    fn waits_double_up_to_a_second() {
        let mut backoff = Backoff::default();
        assert!(backoff.is_fresh());
        let waits: Vec<_> = (0..10).map(|_| backoff.next_wait().as_millis()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert!(!backoff.is_fresh());
    }

    /// Runs itself again as a process of its own, as the descriptor limit is a process' own.
    #[test]
    fn without_descriptors_the_loop_waits_and_recovers() {
        const INSIDE: &str = "SLUICEGATE_TEST_WITHOUT_DESCRIPTORS";
        if std::env::var_os(INSIDE).is_none() {
            let output = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "net::listener::tests::without_descriptors_the_loop_waits_and_recovers"])
                .args(["--nocapture", "--test-threads=1"])
                .env(INSIDE, "1")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains("1 passed"), "{said}");
            return;
        }
        let listener = bind(local(), &SocketOptions::default()).unwrap();
        let addr = listener.local_addr().unwrap();
        let errors = Cell::new(0);
        block_on(async {
            let mut client = std::net::TcpStream::connect(addr).unwrap();
            rlimit::setrlimit(rlimit::Resource::NOFILE, 64, 64).unwrap();
            let mut hoard: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
            // One is left, for the second client, so that no connection can be accepted.
            hoard.pop();
            let token = CancellationToken::new();
            let accepted = RefCell::new(Vec::new());
            let stop = token.clone();
            let accept = accept_loop(
                register(listener).unwrap(),
                token,
                roomy(),
                |socket, _, _| {
                    accepted.borrow_mut().push(socket);
                    if accepted.borrow().len() == 2 {
                        stop.cancel();
                    }
                },
                |error| {
                    assert_eq!(Errno::from_io_error(error), Some(Errno::MFILE));
                    errors.set(errors.get() + 1);
                },
            );
            let relief = async {
                let second =
                    rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None);
                let second = std::net::TcpStream::from(second.expect("one descriptor is left"));
                rustix::net::connect(&second, &addr).unwrap();
                tokio::time::sleep(Duration::from_millis(200)).await;
                let failed = errors.get();
                assert!((3..=8).contains(&failed), "{failed} failures in 200 ms: it must wait, not spin");
                hoard.truncate(10);
                second
            };
            let ((), mut second) = tokio::join!(accept, relief);
            // Both are served after all.
            for (socket, client) in accepted.into_inner().into_iter().zip([&mut client, &mut second]) {
                let mut socket = socket.into_std().unwrap();
                client.write_all(b"x").unwrap();
                socket.set_nonblocking(false).unwrap();
                socket.read_exact(&mut [0]).unwrap();
            }
        });
        assert!(errors.get() > 0);
    }
}
