//! Connect tickets: short texts that open one client's stream in the place of a token, for an EventSource, which can
//! send no header.
//!
//! A ticket is to be used within half a minute, once. The browser asks for the same URL whenever the stream breaks, with
//! the id of the last event that it had: with that, and nobody else's `User-Agent`, a ticket goes on for as long as its
//! token. One stream is open by it at a time: the next ends the one before.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::rand;
use parking_lot::Mutex;

use super::pass::Pass;

/// How long a ticket waits for its first use, in seconds.
pub const FIRST_USE_S: u64 = 30;
/// How many there are at most.
pub const TICKETS_MAX: usize = 65_536;
/// How many random bytes there are in one.
const BYTES: usize = 16;

/// The tickets of a gateway.
#[derive(Default)]
pub struct Tickets(Mutex<Table>);

#[derive(Default)]
struct Table {
    tickets: HashMap<[u8; BYTES], Ticket>,
    last_number: u64,
    swept_s: u64,
}

struct Ticket {
    pass: Arc<Pass>,
    number: u64,
    uses: u32,
    agent: Option<Box<[u8]>>,
    /// Until when it may be used for the first time.
    first_until_s: u64,
}

/// A stream that a ticket opens.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// What it may be.
    pub pass: Arc<Pass>,
    /// The ticket's number.
    pub number: u64,
    /// How often it was used, with this time.
    pub uses: u32,
}

/// Why a ticket opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// There is none like it, or there is no more.
    #[error("is none that is good now")]
    Unknown,
    /// It was used, by another client.
    #[error("was used, and goes on only for the client that did, after its last event")]
    Used,
}

/// There are too many already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Tickets {
    /// Makes one for who has this pass.
    ///
    /// # Errors
    /// If there are as many as may be.
    pub fn issue(&self, pass: Arc<Pass>, now_s: u64) -> Result<String, Full> {
        let mut table = self.0.lock();
        if table.tickets.len() >= TICKETS_MAX / 2 && table.swept_s < now_s {
            table.swept_s = now_s;
            table.tickets.retain(|_, ticket| ticket.is_good(now_s));
        }
        if table.tickets.len() >= TICKETS_MAX {
            return Err(Full);
        }
        let mut id = [0; BYTES];
        rand::fill(&mut id).expect("Invariant: the system has random bytes");
        table.last_number += 1;
        let number = table.last_number;
        let ticket = Ticket { pass, number, uses: 0, agent: None, first_until_s: now_s + FIRST_USE_S };
        table.tickets.insert(id, ticket);
        Ok(id.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Uses one. `agent` is who the client says that it is, `resumes` whether it has had something before.
    ///
    /// # Errors
    /// Why it opens nothing.
    pub fn admit(&self, text: &str, agent: Option<&[u8]>, resumes: bool, now_s: u64) -> Result<Admitted, TicketError> {
        let id = read(text).ok_or(TicketError::Unknown)?;
        let mut table = self.0.lock();
        let ticket = table.tickets.get_mut(&id).ok_or(TicketError::Unknown)?;
        if !ticket.is_good(now_s) {
            table.tickets.remove(&id);
            return Err(TicketError::Unknown);
        }
        if ticket.uses == 0 {
            ticket.agent = agent.map(Box::from);
        } else if !resumes || ticket.agent.as_deref() != agent {
            return Err(TicketError::Used);
        }
        ticket.uses = ticket.uses.saturating_add(1);
        Ok(Admitted { pass: ticket.pass.clone(), number: ticket.number, uses: ticket.uses })
    }
}

impl Ticket {
    fn is_good(&self, now_s: u64) -> bool {
        let until_s = self.pass.token.as_ref().and_then(|token| token.until_s);
        until_s.is_none_or(|until_s| now_s < until_s) && (self.uses > 0 || now_s <= self.first_until_s)
    }
}

fn read(text: &str) -> Option<[u8; BYTES]> {
    let mut id = [0; BYTES];
    if text.len() != 2 * BYTES || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    for (byte, at) in id.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::holder::Token;

    fn pass(until_s: Option<u64>) -> Arc<Pass> {
        Arc::new(Pass { token: Some(Token { until_s, ..Token::default() }), ..Pass::anonymous(&[]) })
    }

    #[test]
    fn a_ticket_is_used_once_and_goes_on_for_its_client() {
        let tickets = Tickets::default();
        let id = tickets.issue(pass(Some(1000)), 100).unwrap();
        assert_eq!(id.len(), 32);
        let agent = Some(&b"browser"[..]);
        let admit = |agent, resumes, now_s| tickets.admit(&id, agent, resumes, now_s).map(|admitted| admitted.uses);
        assert_eq!(admit(agent, false, 130), Ok(1));
        assert_eq!(admit(agent, false, 130), Err(TicketError::Used));
        assert_eq!(admit(Some(b"thief"), true, 130), Err(TicketError::Used));
        assert_eq!(admit(None, true, 130), Err(TicketError::Used));
        assert_eq!(admit(agent, true, 999), Ok(2));
        assert_eq!(admit(agent, true, 1000), Err(TicketError::Unknown));
        // One that nobody used.
        let id = tickets.issue(pass(None), 100).unwrap();
        assert_eq!(tickets.admit(&id, agent, false, 131).err(), Some(TicketError::Unknown));
        for bad in ["", "0", &"0".repeat(32), &"0".repeat(33), &id.to_uppercase(), &"ä".repeat(16)] {
            assert_eq!(tickets.admit(bad, agent, true, 100).err(), Some(TicketError::Unknown), "{bad}");
        }
    }

    #[test]
    fn there_are_as_many_as_may_be() {
        let tickets = Tickets::default();
        let ids: Vec<_> = (0..TICKETS_MAX).map(|_| tickets.issue(pass(None), 100).unwrap()).collect();
        assert_eq!(tickets.issue(pass(None), 130), Err(Full));
        assert!(tickets.admit(&ids[7], None, false, 130).is_ok());
        // Those that nobody used are gone; the one that was goes on.
        assert!(tickets.issue(pass(None), 131).is_ok());
        assert!(tickets.admit(&ids[7], None, true, 131).is_ok());
    }
}
