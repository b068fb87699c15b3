//! Records: what was received is read, and what is sent is made.

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};

/// The most bytes of an application that a record holds: RFC 8446, section 5.1.
pub(super) const PLAIN_MAX: usize = 16 * 1024;
/// The most that a record of so many bytes takes, with what TLS 1.2 or 1.3 puts around it, and a change of keys
/// before it.
pub(super) const RECORD_MAX: usize = PLAIN_MAX + 512;
/// The most bytes that are received and not yet whole: the longest record that RFC 5246 allows, and one that follows.
pub(super) const RECEIVED_MAX: usize = 20 * 1024;

/// What the peer has said with whole records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    /// How many of the bytes were used.
    pub(super) used: usize,
    /// It sends nothing more.
    pub(super) ended: bool,
}

/// Reads the whole records in `received`. Puts what is to be sent for them into `answers`, and what they hold of the
/// application's into `plain`.
///
/// # Errors
/// The connection has failed; `answers` has the alert.
pub(super) fn read(
    connection: &mut UnbufferedServerConnection,
    received: &mut [u8],
    answers: &mut Vec<u8>,
    plain: &mut Vec<u8>,
) -> Result<Read, rustls::Error> {
    let mut read = Read::default();
    let mut failed = None;
    loop {
        let left = if failed.is_none() { &mut received[read.used..] } else { &mut [] };
        let UnbufferedStatus { discard, state, .. } = connection.process_tls_records(left);
        read.used += discard;
        match state {
            Ok(ConnectionState::EncodeTlsData(mut message)) => append(answers, |room| {
                message.encode(room).map_err(|error| match error {
                    EncodeError::InsufficientSize(size) => size.required_size,
                    EncodeError::AlreadyEncoded => 0,
                })
            }),
            Ok(ConnectionState::TransmitTlsData(sent)) => sent.done(),
            Ok(ConnectionState::ReadTraffic(mut records)) => {
                while let Some(record) = records.next_record() {
                    let record = record?;
                    read.used += record.discard;
                    plain.extend_from_slice(record.payload);
                }
            }
            Ok(ConnectionState::PeerClosed) => read.ended = true,
            // Early data is never offered, and of what may yet be added nothing is known.
            Ok(_) => break,
            // Once more, for the alert.
            Err(error) if failed.is_none() => failed = Some(error),
            Err(_) => break,
        }
    }
    failed.map_or(Ok(read), Err)
}

/// Encrypts at most [`PLAIN_MAX`] bytes, to a record at the beginning of `out`, which has room for [`RECORD_MAX`].
/// `None` if the connection can't send any more.
pub(super) fn encrypt(connection: &mut UnbufferedServerConnection, plain: &[u8], out: &mut [u8]) -> Option<usize> {
    write(connection, |traffic| match traffic {
        ConnectionState::WriteTraffic(mut traffic) => traffic.encrypt(plain, out).ok(),
        _ => None,
    })
}

/// Puts the alert that says that nothing more is sent into `answers`.
pub(super) fn close_notify(connection: &mut UnbufferedServerConnection, answers: &mut Vec<u8>) {
    write(connection, |traffic| match traffic {
        ConnectionState::WriteTraffic(mut traffic) => {
            append(answers, |room| {
                traffic.queue_close_notify(room).map_err(|error| match error {
                    EncryptError::InsufficientSize(size) => size.required_size,
                    EncryptError::EncryptExhausted => 0,
                })
            });
            Some(())
        }
        _ => None,
    });
}

/// Uses the connection's present state.
fn write<T>(
    connection: &mut UnbufferedServerConnection,
    with: impl FnOnce(ConnectionState<'_, '_, rustls::server::ServerConnectionData>) -> Option<T>,
) -> Option<T> {
    with(connection.process_tls_records(&mut []).state.ok()?)
}

/// Appends what is encoded into the room that it is given, or says how much it needs: 0 for nothing.
fn append(into: &mut Vec<u8>, mut encode: impl FnMut(&mut [u8]) -> Result<usize, usize>) {
    let end = into.len();
    let mut room = 256;
    loop {
        into.resize(end + room, 0);
        match encode(&mut into[end..]) {
            Ok(length) => return into.truncate(end + length),
            Err(needed) if needed > room => room = needed,
            Err(_) => return into.truncate(end),
        }
    }
}
