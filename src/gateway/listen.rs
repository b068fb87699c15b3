//! Where a gateway listens.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use crate::net::listener::{SocketOptions, adopt, bind, bind_all};
use crate::net::tls::server::TlsServer;
use crate::ops::config::Config;

use super::error::StartError;

/// An address, or a socket that someone else has bound.
#[derive(Debug)]
pub(super) enum Listen {
    Address(SocketAddr),
    Socket(TcpListener),
}

/// A socket that is listened on, perhaps with TLS.
pub(super) type Bound = (TcpListener, Option<Arc<TlsServer>>);

/// Listens for streams, on some addresses over TLS. Gives the addresses, and for each acceptor a socket of each.
pub(super) fn public(
    listen: Vec<(Listen, Option<Arc<TlsServer>>)>,
    acceptors: usize,
    config: &Config,
) -> Result<(Vec<SocketAddr>, Vec<Vec<Bound>>), StartError> {
    let options = SocketOptions {
        reuse_port: true,
        notsent_lowat: Some(config.stream.notsent_lowat.get() as u32),
        user_timeout: Some(config.stream.write_deadline.get()),
        ..SocketOptions::default()
    };
    // Alone on each address, too: several of our own listeners may share one, but a second gateway
    // would silently take a part of the clients. All are tried before the first is taken, since
    // `[::]` takes the place of `0.0.0.0` as well.
    for (listen, _) in &listen {
        if let Listen::Address(address) = *listen
            && address.port() != 0
        {
            let alone = SocketOptions { reuse_port: false, ..options.clone() };
            drop(bind(address, &alone).map_err(|source| StartError::Bind { address, source })?);
        }
    }
    let (mut addresses, mut sockets) = (Vec::new(), Vec::from_iter((0..acceptors).map(|_| Vec::new())));
    for (listen, tls) in listen {
        let all = match listen {
            Listen::Address(address) => {
                bind_all(address, acceptors, &options).map_err(|source| StartError::Bind { address, source })?
            }
            // All accept from its one queue.
            Listen::Socket(socket) => {
                let socket = adopt(socket, &options)?;
                (0..acceptors).map(|_| socket.try_clone()).collect::<Result<_, _>>()?
            }
        };
        addresses.push(all[0].local_addr()?);
        sockets.iter_mut().zip(all).for_each(|(mine, socket)| mine.push((socket, tls.clone())));
    }
    Ok((addresses, sockets))
}

/// Listens for the operator.
pub(super) fn private(listen: Listen) -> Result<(SocketAddr, TcpListener), StartError> {
    // Alone on its address: a second gateway on the same machine is refused.
    let alone = SocketOptions { reuse_port: false, notsent_lowat: None, ..SocketOptions::default() };
    let socket = match listen {
        Listen::Address(address) => bind(address, &alone).map_err(|source| StartError::Bind { address, source })?,
        Listen::Socket(socket) => adopt(socket, &alone)?,
    };
    Ok((socket.local_addr()?, socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_acceptor_has_a_socket_of_each_address() {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let given = TcpListener::bind(any_port).unwrap();
        let expected = given.local_addr().unwrap();
        let listen = vec![(Listen::Address(any_port), None), (Listen::Socket(given), None)];
        let (addresses, sockets) = public(listen, 3, &Config::default()).unwrap();
        assert_eq!((addresses.len(), addresses[1]), (2, expected));
        assert_eq!(sockets.len(), 3);
        for sockets in sockets {
            let own: Vec<_> = sockets.iter().map(|(socket, _)| socket.local_addr().unwrap()).collect();
            assert_eq!(own, addresses);
        }
    }
}
