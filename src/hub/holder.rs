//! Whose a stream is, as far as that may end it.

use std::any::Any;
use std::fmt;

/// What is known of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Token {
    /// Whose it is: its `sub`.
    pub account: Option<Box<str>>,
    /// Its `jti`.
    pub id: Option<Box<str>>,
    /// Its `iat`, in seconds since 1970.
    pub issued_s: Option<u64>,
    /// From when on it is refused, in seconds since 1970.
    pub until_s: Option<u64>,
}

/// Which streams are to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// Of the token with this `jti`.
    Id(Box<str>),
    /// Of this account's tokens that were issued before this time.
    Account(Box<str>, u64),
    /// Of all tokens that were issued before this time.
    IssuedBefore(u64),
    /// Of this ticket, but for the one that it opened at its last use.
    Ticket {
        /// The ticket's number.
        number: u64,
        /// How often it was used.
        uses: u32,
    },
}

/// Whose a stream is, and what it holds for as long as it is open.
pub struct Holder {
    /// The token that it was opened with.
    pub token: Option<Token>,
    /// The ticket's number, and how often that had been used.
    pub ticket: Option<(u64, u32)>,
    /// What is given back when the stream is gone.
    pub held: Vec<Box<dyn Any + Send + Sync>>,
}

impl Revocation {
    /// Whether it is about this token. One that does not say when it was issued may have been before.
    pub fn covers(&self, token: &Token) -> bool {
        let is_before = |time_s: u64| token.issued_s.is_none_or(|issued_s| issued_s < time_s);
        match self {
            Revocation::Id(id) => token.id.as_ref() == Some(id),
            Revocation::Account(account, time_s) => token.account.as_ref() == Some(account) && is_before(*time_s),
            Revocation::IssuedBefore(time_s) => is_before(*time_s),
            Revocation::Ticket { .. } => false,
        }
    }

    /// Whether it ends a stream of this holder.
    pub fn ends(&self, holder: &Holder) -> bool {
        match (self, holder.ticket) {
            (Revocation::Ticket { number, uses }, Some((held, at))) => *number == held && at < *uses,
            _ => holder.token.as_ref().is_some_and(|token| self.covers(token)),
        }
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holder").field("token", &self.token).field("ticket", &self.ticket).finish_non_exhaustive()
    }
}
