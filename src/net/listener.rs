//! Listening TCP sockets.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// How many handshakes the kernel completes ahead of us. The kernel cuts it to `somaxconn`.
const BACKLOG: i32 = 4096;

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

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
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
}
