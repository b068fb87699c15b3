//! What a stream's bytes are written to: a raw socket, or one with TLS around it.
//!
//! A raw socket is its descriptor. What is more is in a table of the shard's thread, so that the record of a stream
//! stays small for those that have none of it.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::time::Duration;

use crate::hub::stream::{Sent, Socket};

use super::tls::wire::{Scratch, TlsWire};
use super::wire::Wire;

/// What a connection hands over for a stream to be written to.
#[derive(Debug)]
pub enum Handover {
    /// A socket.
    Plain(Wire),
    /// A socket and its TLS connection.
    Tls(Box<TlsWire>),
}

/// What a stream is written to. It stays on its thread; dropping it closes the connection.
#[derive(Debug)]
pub enum Sink {
    /// A socket.
    Plain(Wire),
    /// A socket in the thread's table.
    Tls(Seat),
}

// A stream's record has room for so much.
const _: () = assert!(size_of::<Sink>() <= 8 && align_of::<Sink>() <= 4);

/// Where something is in the thread's table, which is free again when this is dropped.
#[derive(Debug)]
pub struct Seat {
    index: u32,
    /// Another thread has another table.
    of_thread: PhantomData<*const ()>,
}

#[derive(Default)]
struct Table {
    wires: Vec<Option<Box<TlsWire>>>,
    free: Vec<u32>,
    scratch: Scratch,
}

thread_local! {
    static TABLE: RefCell<Option<Box<Table>>> = const { RefCell::new(None) };
}

fn with_table<T>(f: impl FnOnce(&mut Table) -> T) -> T {
    TABLE.with_borrow_mut(|table| f(table.get_or_insert_default()))
}

impl From<Handover> for Sink {
    fn from(handover: Handover) -> Sink {
        match handover {
            Handover::Plain(wire) => Sink::Plain(wire),
            Handover::Tls(wire) => Sink::Tls(Seat::take(wire)),
        }
    }
}

impl Seat {
    fn take(wire: Box<TlsWire>) -> Seat {
        let index = with_table(|table| match table.free.pop() {
            Some(index) => {
                table.wires[index as usize] = Some(wire);
                index
            }
            None => {
                table.wires.push(Some(wire));
                table.wires.len() as u32 - 1
            }
        });
        Seat { index, of_thread: PhantomData }
    }

    fn with<T>(&self, f: impl FnOnce(&mut TlsWire, &mut Scratch) -> T) -> T {
        with_table(|table| {
            let wire = table.wires[self.index as usize].as_mut();
            f(wire.expect("Invariant: a seat is taken until it is dropped"), &mut table.scratch)
        })
    }

    fn leave(&self) -> Option<Box<TlsWire>> {
        // While the thread ends there may be no table any more.
        let left = TABLE.try_with(|table| {
            let mut table = table.borrow_mut();
            let table = table.as_mut()?;
            let wire = table.wires.get_mut(self.index as usize)?.take()?;
            table.free.push(self.index);
            if table.free.len() == table.wires.len() {
                (table.wires, table.free) = (Vec::new(), Vec::new());
            }
            Some(wire)
        });
        left.ok().flatten()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        drop(self.leave());
    }
}

impl Socket for Sink {
    fn send(&mut self, bytes: &[u8]) -> Sent {
        match self {
            Sink::Plain(wire) => wire.send(bytes),
            Sink::Tls(seat) => seat.with(|wire, scratch| wire.send(bytes, scratch)),
        }
    }
}

impl Sink {
    /// Gives its socket.
    pub fn with_wire<T>(&self, f: impl FnOnce(&Wire) -> T) -> T {
        match self {
            Sink::Plain(wire) => f(wire),
            Sink::Tls(seat) => seat.with(|wire, _| f(wire.wire())),
        }
    }

    /// As [`Wire::peer`].
    pub fn peer(&self) -> Option<SocketAddr> {
        self.with_wire(Wire::peer)
    }

    /// As [`Wire::set_user_timeout`].
    pub fn set_user_timeout(&self, time: Duration) {
        self.with_wire(|wire| wire.set_user_timeout(time));
    }

    /// Reads and drops what the client sent, up to about `max` bytes. `None` if the connection has failed.
    pub fn discard(&mut self, scratch: &mut [u8], max: usize) -> Option<usize> {
        match self {
            Sink::Plain(wire) => wire.discard(scratch, max),
            Sink::Tls(seat) => seat.with(|wire, scratch| wire.discard(scratch, max)),
        }
    }

    /// As [`Wire::close_properly`].
    pub fn close_properly(self, scratch: &mut [u8]) {
        match self {
            Sink::Plain(wire) => wire.close_properly(scratch),
            Sink::Tls(seat) => {
                if let Some(wire) = seat.leave() {
                    with_table(|table| wire.close_properly(&mut table.scratch));
                }
            }
        }
    }
}

impl Handover {
    /// Sends a last answer to a client that no shard takes, and closes. A socket that is new takes it whole; if it does
    /// not, the client is gone or finds the connection closed.
    pub fn send_away(self, answer: &[u8]) {
        let mut sink = Sink::from(self);
        sink.send(answer);
        sink.close_properly(&mut [0; 1024]);
    }
}
