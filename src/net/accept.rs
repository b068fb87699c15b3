//! Accepting connections, of whatever kind.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::slots::{Slot, Slots};
use super::transport::Listen;

/// Connections accepted in a row before those already open get their turn.
const ACCEPT_BURST: u32 = 16;
/// The first and the longest wait after an accept failed for want of descriptors or memory.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// Accepts until `shutdown` is cancelled, and gives each socket to `on_socket`, with a slot. While
/// there is none, further clients wait in the backlog.
///
/// A connection that was gone before it was accepted is passed over. When descriptors or memory
/// run out the loop waits, longer each time up to a second, and says so once. `on_error` gets
/// every failure, for counting.
pub async fn accept_loop<L: Listen>(
    listener: L,
    shutdown: CancellationToken,
    slots: Arc<Slots>,
    on_socket: impl FnMut(L::Transport, SocketAddr, Slot),
    on_error: impl FnMut(&io::Error),
) {
    // Dropping the loop drops the listener: what waits in its backlog is reset, and the clients
    // go to another listener at once instead of waiting here.
    shutdown.run_until_cancelled(accept_all(listener, slots, on_socket, on_error)).await;
}

async fn accept_all<L: Listen>(
    listener: L,
    slots: Arc<Slots>,
    mut on_socket: impl FnMut(L::Transport, SocketAddr, Slot),
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

    use tokio::net::TcpListener;

    use super::*;
    use crate::net::listener::{SocketOptions, bind};
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
    fn the_loop_accepts_until_it_is_stopped() {
        let listener = bind(local(), &SocketOptions::default()).unwrap();
        let addr = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..50).map(|_| std::net::TcpStream::connect(addr).unwrap()).collect();
        let token = CancellationToken::new();
        let accepted = RefCell::new(Vec::new());
        block_on(async {
            accept_loop(
                TcpListener::register(listener).unwrap(),
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
                TcpListener::register(listener).unwrap(),
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
                .args(["--exact", "net::accept::tests::without_descriptors_the_loop_waits_and_recovers"])
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
                TcpListener::register(listener).unwrap(),
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
