//! The floor: the least server there can be. It reads nothing but the end of each request head, knows no topics, and
//! does one `send` of ready bytes per stream and event. What it costs is what the kernel asks for a delivery, and no
//! gateway on plain sockets can be under it without sending several events at once.
//!
//! Events come as lines on the control port; the frame around them has the length and shape of the gateway's.

use std::{
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use rustix::net::SendFlags;

use crate::{Result, args::FloorServer, streams};

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache, no-transform\r\n\
    x-accel-buffering: no\r\naccess-control-allow-origin: *\r\ntransfer-encoding: chunked\r\n\r\n3\r\n:\n\n\r\n";

type Sockets = Arc<Mutex<Vec<OwnedFd>>>;

/// Serves until killed.
pub(crate) fn serve(args: &FloorServer) -> Result<()> {
    streams::raise_descriptor_limit()?;
    let listener = listen(args.listen)?;
    let control = listen(args.control)?;
    let senders: Vec<(Sockets, mpsc::Sender<Arc<[u8]>>)> = (0..args.threads)
        .map(|_| {
            let sockets = Sockets::default();
            let (events, inbox) = mpsc::channel();
            let own = Arc::clone(&sockets);
            thread::spawn(move || send_each(&own, &inbox));
            (sockets, events)
        })
        .collect();
    let (sockets, events): (Vec<_>, Vec<_>) = senders.into_iter().unzip();
    thread::spawn(move || {
        for (turn, connection) in listener.incoming().flatten().enumerate() {
            let mut request = [0; 4096];
            let _ = connection.set_read_timeout(Some(Duration::from_secs(1)));
            let asked = matches!((&connection).read(&mut request), Ok(1..));
            if asked && rustix::net::send(&connection, HEAD, SendFlags::NOSIGNAL) == Ok(HEAD.len()) {
                sockets[turn % sockets.len()].lock().expect("no thread panics with it").push(connection.into());
            }
        }
    });
    for connection in control.incoming().flatten() {
        let mut lines = BufReader::new(connection);
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            if lines.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
                break;
            }
            let frame: Arc<[u8]> = chunk(number, line.trim_ascii_end()).into();
            for sender in &events {
                let _ = sender.send(Arc::clone(&frame));
            }
        }
    }
    Ok(())
}

fn send_each(sockets: &Sockets, inbox: &mpsc::Receiver<Arc<[u8]>>) {
    for frame in inbox {
        // A socket that does not take the whole frame is dropped: the client will say so.
        let whole = |socket: &OwnedFd| {
            rustix::net::send(socket, &frame, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) == Ok(frame.len())
        };
        sockets.lock().expect("no thread panics with it").retain(whole);
    }
}

fn chunk(number: u64, data: &[u8]) -> Vec<u8> {
    let id = format!("id: 00000000-{number:012}\ndata: ");
    let mut chunk = format!("{:x}\r\n{id}", id.len() + data.len() + 2).into_bytes();
    chunk.extend_from_slice(data);
    chunk.extend_from_slice(b"\n\n\r\n");
    chunk
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let bind = || {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(4096)?;
        Ok(socket.into())
    };
    bind().map_err(|error: std::io::Error| format!("cannot listen on {address}: {}", streams::plain(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Reader;

    #[test]
    fn what_it_sends_is_a_stream() {
        let mut seen = Vec::new();
        let mut reader = Reader::default();
        reader
            .feed(&[HEAD, &chunk(7, b"hello")].concat(), &mut |frame| seen.extend(frame.data.map(<[u8]>::to_vec)))
            .unwrap();
        assert!(reader.is_at_rest());
        assert_eq!(seen, [b"hello"]);
    }
}
