//! A stream's socket with TLS around it, on its shard.

use std::fmt;

use rustls::server::UnbufferedServerConnection;

use crate::hub::stream::{Sent, Socket};
use crate::net::wire::Wire;

use super::records::{self, PLAIN_MAX, RECEIVED_MAX, RECORD_MAX};

/// What the wires of a thread share: nothing of it outlives a call.
#[derive(Debug)]
pub struct Scratch {
    record: Box<[u8]>,
    received: Box<[u8]>,
    plain: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch { record: vec![0; RECORD_MAX].into(), received: vec![0; 2 * RECEIVED_MAX].into(), plain: Vec::new() }
    }
}

/// A socket, the keys of its connection, and what of a record has not gone either way yet.
///
/// Invariant: what is in `unsent` is sent before anything else is encrypted, so it is one record at most, and what
/// answers the client's own.
pub struct TlsWire {
    wire: Wire,
    connection: UnbufferedServerConnection,
    /// Records, and how many of their bytes the socket has taken.
    unsent: Vec<u8>,
    taken: usize,
    /// The last byte of the stream in `unsent` was not said to be taken.
    owes_last: bool,
    /// A record that is not whole.
    received: Vec<u8>,
}

impl fmt::Debug for TlsWire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsWire").field("wire", &self.wire).finish_non_exhaustive()
    }
}

/// What became of unsent records.
enum Flushed {
    All,
    Part,
    Not(Sent),
}

impl TlsWire {
    /// A connection that stands where its handshake and its requests have brought it.
    pub(super) fn new(
        wire: Wire,
        connection: UnbufferedServerConnection,
        unsent: Vec<u8>,
        received: Vec<u8>,
    ) -> TlsWire {
        TlsWire { wire, connection, unsent, taken: 0, owes_last: false, received }
    }

    /// The socket.
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// As [`Socket::send`]. The bytes are encrypted a record at a time. Of a record that its socket
    /// takes in part, all bytes but the last are said to be taken: so the stream is behind, has all events of the record
    /// begun, and comes with the last byte when the socket reports.
    pub fn send(&mut self, bytes: &[u8], scratch: &mut Scratch) -> Sent {
        let mut told = match self.flush() {
            Flushed::All => usize::from(std::mem::take(&mut self.owes_last)),
            Flushed::Part => return Sent::Full,
            Flushed::Not(sent) => return sent,
        };
        while told < bytes.len() {
            let plain = &bytes[told..bytes.len().min(told + PLAIN_MAX)];
            let Some(length) = records::encrypt(&mut self.connection, plain, &mut scratch.record) else {
                return Sent::Failed;
            };
            let record = &scratch.record[..length];
            let taken = match self.wire.send(record) {
                Sent::Wrote(taken) if taken == length => {
                    told += plain.len();
                    continue;
                }
                Sent::Wrote(taken) => taken,
                Sent::Full => 0,
                failed => return failed,
            };
            self.unsent = record[taken..].to_vec();
            self.owes_last = true;
            told += plain.len() - 1;
            // A single byte is the last of something that was begun: nothing that is written is as short.
            return if told == 0 { Sent::Full } else { Sent::Wrote(told) };
        }
        Sent::Wrote(told)
    }

    fn flush(&mut self) -> Flushed {
        if self.unsent.is_empty() {
            return Flushed::All;
        }
        match self.wire.send(&self.unsent[self.taken..]) {
            Sent::Wrote(taken) => {
                self.taken += taken;
                if self.taken < self.unsent.len() {
                    return Flushed::Part;
                }
                self.unsent = Vec::new();
                self.taken = 0;
                Flushed::All
            }
            Sent::Full => Flushed::Part,
            failed => Flushed::Not(failed),
        }
    }

    /// Reads and drops what the client sent, up to about `max` bytes, and answers what of it asks for an answer.
    /// `None` if the connection has failed. Bytes are counted as they come over the wire, so that records without
    /// content count as well.
    pub fn discard(&mut self, scratch: &mut Scratch, max: usize) -> Option<usize> {
        let mut dropped = 0;
        let mut answers = std::mem::take(&mut self.unsent);
        answers.drain(..std::mem::take(&mut self.taken));
        let had = answers.len();
        let result = loop {
            if dropped >= max {
                break Some(dropped);
            }
            let mut end = self.received.len();
            scratch.received[..end].copy_from_slice(&self.received);
            let Some(count) = self.wire.receive(&mut scratch.received[end..end + RECEIVED_MAX]) else { break None };
            if count == 0 {
                break Some(dropped);
            }
            dropped += count;
            end += count;
            let records = &mut scratch.received[..end];
            let read = records::read(&mut self.connection, records, &mut answers, &mut scratch.plain);
            scratch.plain.clear();
            let Ok(read) = read else {
                // The alert is worth a try.
                self.wire.send(&answers);
                break None;
            };
            let left = &scratch.received[read.used..end];
            if left.len() > RECEIVED_MAX {
                break None;
            }
            self.received = left.to_vec();
        };
        self.unsent = answers;
        if self.unsent.len() > had {
            // What does not go now goes before the next event.
            self.flush();
        }
        result
    }

    /// Says that nothing more comes, and closes as [`Wire::close_properly`].
    pub fn close_properly(mut self, scratch: &mut Scratch) {
        if self.unsent.is_empty() {
            let mut last = Vec::new();
            records::close_notify(&mut self.connection, &mut last);
            self.wire.send(&last);
        }
        self.wire.close_properly(&mut scratch.received);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use fastrand::Rng;
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedProtocolVersion, version};
    use socket2::SockRef;

    use super::*;

    /// A stream's wire, and its client, after their handshake.
    struct Pair {
        wire: TlsWire,
        scratch: Scratch,
        client: ClientConnection,
        socket: UnixStream,
    }

    impl Pair {
        fn new(version: &'static SupportedProtocolVersion, room: usize) -> Pair {
            let made = rcgen::generate_simple_self_signed(vec!["h".to_owned()]).unwrap();
            let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let mut roots = RootCertStore::empty();
            roots.add(made.cert.der().clone()).unwrap();
            let server =
                ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[version]).unwrap();
            let server = server.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
            let client = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
            let client = client.with_root_certificates(roots).with_no_client_auth();
            let mut connection = UnbufferedServerConnection::new(Arc::new(server)).unwrap();
            let mut client = ClientConnection::new(Arc::new(client), ServerName::try_from("h").unwrap()).unwrap();
            while client.is_handshaking() || connection.is_handshaking() || client.wants_write() {
                let (mut from_client, mut from_server) = (Vec::new(), Vec::new());
                while client.wants_write() {
                    client.write_tls(&mut from_client).unwrap();
                }
                let read = records::read(&mut connection, &mut from_client, &mut from_server, &mut Vec::new()).unwrap();
                assert_eq!(read.used, from_client.len());
                let mut left = &from_server[..];
                while !left.is_empty() {
                    client.read_tls(&mut left).unwrap();
                    client.process_new_packets().unwrap();
                }
            }
            let (ours, socket) = UnixStream::pair().unwrap();
            SockRef::from(&ours).set_send_buffer_size(room).unwrap();
            ours.set_nonblocking(true).unwrap();
            socket.set_nonblocking(true).unwrap();
            let wire = TlsWire::new(Wire::from(OwnedFd::from(ours)), connection, Vec::new(), Vec::new());
            Pair { wire, scratch: Scratch::default(), client, socket }
        }

        /// Has the client read up to so many bytes of what is there, and gives what they say.
        fn reads(&mut self, max: usize) -> Vec<u8> {
            let mut bytes = vec![0; max];
            let Ok(count) = self.socket.read(&mut bytes) else { return Vec::new() };
            let (mut left, mut plain) = (&bytes[..count], Vec::new());
            while !left.is_empty() {
                self.client.read_tls(&mut left).unwrap();
                self.client.process_new_packets().unwrap();
                let _ = self.client.reader().read_to_end(&mut plain);
            }
            plain
        }

        fn sends(&mut self) {
            while self.client.wants_write() {
                self.client.write_tls(&mut self.socket).unwrap();
            }
        }
    }

    /// The rule: what is said to be taken is taken, in order and once. An event of which a part was taken is finished
    /// before anything else; those of which nothing was taken may never come again. And when all was taken, nothing is
    /// left here.
    #[test]
    fn whatever_a_socket_takes_the_client_reads_what_was_begun() {
        for (seed, version) in [&version::TLS13, &version::TLS12].into_iter().cycle().take(24).enumerate() {
            let random = &mut Rng::with_seed(seed as u64);
            let mut pair = Pair::new(version, 2048 << (seed % 4));
            let (mut begun, mut read, mut fulls) = (Vec::new(), Vec::new(), 0);
            for _ in 0..60 {
                let most = [40, 3_000, 60_000][random.usize(..3)];
                let events: Vec<Vec<u8>> = (0..random.usize(1..6))
                    .map(|_| (0..random.usize(2..most)).map(|_| random.u8(..)).collect())
                    .collect();
                let run = events.concat();
                let mut taken = match pair.wire.send(&run, &mut pair.scratch) {
                    Sent::Wrote(taken) => taken,
                    // What was not begun is given up.
                    Sent::Full => {
                        fulls += 1;
                        read.extend(pair.reads(9_000));
                        continue;
                    }
                    failed => panic!("{failed:?}"),
                };
                for event in &events {
                    if taken == 0 {
                        break;
                    }
                    begun.extend_from_slice(event);
                    let mut offset = taken.min(event.len());
                    taken -= offset;
                    while offset < event.len() {
                        read.extend(pair.reads(9_000));
                        match pair.wire.send(&event[offset..], &mut pair.scratch) {
                            Sent::Wrote(taken) => offset += taken,
                            Sent::Full => fulls += 1,
                            failed => panic!("{failed:?}"),
                        }
                        assert!(offset <= event.len());
                    }
                }
                assert!(pair.wire.unsent.capacity() == 0, "what is told is in the socket, and no memory is kept");
            }
            while read.len() < begun.len() {
                let more = pair.reads(usize::from(u16::MAX));
                assert!(!more.is_empty(), "{} of {} bytes", read.len(), begun.len());
                read.extend(more);
            }
            assert!(read == begun, "the bytes differ");
            assert!(fulls > 0, "the socket was never full");
        }
    }

    #[test]
    fn new_keys_are_answered_and_strays_are_counted_as_they_come() {
        let mut pair = Pair::new(&version::TLS13, 1 << 16);
        for round in 0..5_u8 {
            pair.client.refresh_traffic_keys().unwrap();
            pair.client.writer().write_all(b"stray").unwrap();
            pair.sends();
            let counted = pair.wire.discard(&mut pair.scratch, 65_536).unwrap();
            assert!(counted > 2 * 17 + 5, "{counted} bytes with their records");
            assert_eq!(pair.wire.send(&[round; 10], &mut pair.scratch), Sent::Wrote(10));
            assert_eq!(pair.reads(65_536), [round; 10]);
        }
        // A record that comes in two parts.
        pair.client.writer().write_all(&[7; 1000]).unwrap();
        let mut record = Vec::new();
        pair.client.write_tls(&mut record).unwrap();
        for part in record.chunks(400) {
            pair.socket.write_all(part).unwrap();
            assert_eq!(pair.wire.discard(&mut pair.scratch, 65_536), Some(part.len()));
        }
        assert!(pair.wire.received.is_empty());
        // Garbage ends it, with an alert.
        pair.socket.write_all(&[23, 3, 3, 0, 40]).unwrap();
        pair.socket.write_all(&[9; 40]).unwrap();
        assert_eq!(pair.wire.discard(&mut pair.scratch, 65_536), None);
        let mut alert = [0; 100];
        assert!(pair.socket.read(&mut alert).unwrap() > 5);
    }
}
