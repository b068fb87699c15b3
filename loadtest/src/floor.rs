//! The floor: the least server there can be. It reads nothing but the end of each request head, and does one `send` of
//! ready bytes per stream and event: to all streams in the order in which they came, or, by topic, to those that an
//! event is for, in the order of the events, as a gateway with many topics must. What it costs is what the kernel asks for a delivery, and no
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
    if args.by_topic {
        serve_by_topic(listener, &control);
    } else {
        serve_all(listener, &control, args.threads);
    }
    Ok(())
}

/// Every event goes to every stream, in the order in which they came.
fn serve_all(listener: TcpListener, control: &TcpListener, threads: u8) {
    let senders: Vec<(Sockets, mpsc::Sender<Arc<[u8]>>)> = (0..threads)
        .map(|_| {
            let sockets = Sockets::default();
            let (events, inbox) = mpsc::channel();
            let own = Arc::clone(&sockets);
            thread::spawn(move || send_each(&own, &inbox));
            (sockets, events)
        })
        .collect();
    let (sockets, events): (Vec<_>, Vec<_>) = senders.into_iter().unzip();
    let mut turn = 0;
    thread::spawn(move || {
        accept(&listener, |_, socket| {
            sockets[turn % sockets.len()].lock().expect("no thread panics with it").push(socket);
            turn += 1;
        });
    });
    read_lines(control, |number, line| {
        let frame: Arc<[u8]> = chunk(number, line).into();
        for sender in &events {
            let _ = sender.send(Arc::clone(&frame));
        }
    });
}

/// An event goes to the streams of its topic alone. A topic is known by the number at its end, so that finding its
/// sockets is one look into a list: what is measured is the walk over sockets in the order of the events.
fn serve_by_topic(listener: TcpListener, control: &TcpListener) {
    let topics = Arc::new(Mutex::new(Vec::<Vec<OwnedFd>>::new()));
    let opened = Arc::clone(&topics);
    thread::spawn(move || {
        accept(&listener, |request, socket| {
            let path = request.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
            let mut topics = opened.lock().expect("no thread panics with it");
            // What has no number is as good as 0: there is no such client.
            let topic = number_at_end(path).unwrap_or(0);
            if topics.len() <= topic {
                topics.resize_with(topic + 1, Vec::new);
            }
            topics[topic].push(socket);
        });
    });
    read_lines(control, |number, line| {
        let (topic, data) = line.split_at(memchr::memchr(b' ', line).unwrap_or(line.len()));
        let frame = chunk(number, data.trim_ascii_start());
        let mut topics = topics.lock().expect("no thread panics with it");
        if let Some(sockets) = number_at_end(topic).and_then(|topic| topics.get_mut(topic)) {
            sockets.retain(|socket| takes(socket, &frame));
        }
    });
}

/// Answers every stream that comes, and hands on its request and socket.
fn accept(listener: &TcpListener, mut opened: impl FnMut(&[u8], OwnedFd)) {
    for connection in listener.incoming().flatten() {
        let mut request = [0; 4096];
        let _ = connection.set_read_timeout(Some(Duration::from_secs(1)));
        if let Ok(length @ 1..) = (&connection).read(&mut request)
            && rustix::net::send(&connection, HEAD, SendFlags::NOSIGNAL) == Ok(HEAD.len())
        {
            opened(&request[..length], connection.into());
        }
    }
}

/// Hands on every line that comes, numbered in each connection.
fn read_lines(control: &TcpListener, mut each: impl FnMut(u64, &[u8])) {
    for connection in control.incoming().flatten() {
        let mut lines = BufReader::new(connection);
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            if lines.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
                break;
            }
            each(number, line.trim_ascii_end());
        }
    }
}

fn send_each(sockets: &Sockets, inbox: &mpsc::Receiver<Arc<[u8]>>) {
    for frame in inbox {
        sockets.lock().expect("no thread panics with it").retain(|socket| takes(socket, &frame));
    }
}

/// Whether a socket took the whole frame. One that does not is dropped: the client will say so.
fn takes(socket: &OwnedFd, frame: &[u8]) -> bool {
    rustix::net::send(socket, frame, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) == Ok(frame.len())
}

/// The number after the last slash.
fn number_at_end(topic: &[u8]) -> Option<usize> {
    let digits = topic.rsplit(|byte| *byte == b'/').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
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

    #[test]
    fn a_topic_is_known_by_the_number_at_its_end() {
        let topics = [&b"/events/load/topics-1-0/12"[..], b"load/x/0", b"7", b"load/x", b"load/", b""];
        assert_eq!(topics.map(number_at_end), [Some(12), Some(0), Some(7), None, None, None]);
    }
}
