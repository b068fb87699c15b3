//! Tokens that are refused though they are good.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

use crate::hub::holder::{Revocation, Token};

/// How many tokens and accounts are remembered.
pub const REVOKED_MAX: usize = 65_536;

/// What was revoked, for as long as tokens may last.
#[derive(Default)]
pub struct Revoked {
    /// Whether there is something: most gateways never have anything.
    any: AtomicBool,
    lists: RwLock<Lists>,
}

#[derive(Default)]
struct Lists {
    /// By `jti`, until when each is remembered.
    ids: HashMap<Box<str>, u64>,
    /// By account: those issued before this time, and until when that is remembered.
    accounts: HashMap<Box<str>, (u64, u64)>,
    /// All that were issued before.
    before_s: u64,
}

/// There are too many already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Revoked {
    /// Refuses these tokens from now on; `until_s` is when the last of them has ended by itself.
    ///
    /// # Errors
    /// If as many are remembered as may be.
    pub fn add(&self, revocation: &Revocation, now_s: u64, until_s: u64) -> Result<(), Full> {
        let mut lists = self.lists.write();
        if lists.ids.len() + lists.accounts.len() >= REVOKED_MAX {
            lists.ids.retain(|_, until_s| *until_s > now_s);
            lists.accounts.retain(|_, (_, until_s)| *until_s > now_s);
        }
        let is_full = lists.ids.len() + lists.accounts.len() >= REVOKED_MAX;
        match revocation {
            Revocation::Id(id) if !is_full || lists.ids.contains_key(id) => {
                lists.ids.insert(id.clone(), until_s);
            }
            Revocation::Account(account, before_s) if !is_full || lists.accounts.contains_key(account) => {
                let (of, until) = lists.accounts.entry(account.clone()).or_default();
                (*of, *until) = ((*of).max(*before_s), (*until).max(until_s));
            }
            Revocation::IssuedBefore(before_s) => lists.before_s = lists.before_s.max(*before_s),
            Revocation::Id(_) | Revocation::Account(..) => return Err(Full),
            Revocation::Ticket { .. } => return Ok(()),
        }
        self.any.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether this token is refused.
    pub fn covers(&self, token: &Token) -> bool {
        if !self.any.load(Ordering::Acquire) {
            return false;
        }
        let lists = self.lists.read();
        let of_account = |account: &str| lists.accounts.get(account).map(|(before_s, _)| *before_s);
        let before_s = token.account.as_deref().and_then(of_account).unwrap_or(0).max(lists.before_s);
        token.id.as_ref().is_some_and(|id| lists.ids.contains_key(id))
            || before_s > 0 && Revocation::IssuedBefore(before_s).covers(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_revoked_is_refused_and_nothing_else() {
        let revoked = Revoked::default();
        let token = |account: &str, id: &str, issued_s| Token {
            account: Some(account.into()),
            id: Some(id.into()),
            issued_s,
            until_s: None,
        };
        assert!(!revoked.covers(&token("a", "1", None)));
        revoked.add(&Revocation::Id("1".into()), 0, 10).unwrap();
        assert!(revoked.covers(&token("a", "1", Some(99))) && !revoked.covers(&token("a", "2", None)));
        revoked.add(&Revocation::Account("a".into(), 50), 0, 10).unwrap();
        assert!(revoked.covers(&token("a", "2", Some(49))) && !revoked.covers(&token("a", "2", Some(50))));
        assert!(revoked.covers(&token("a", "2", None)) && !revoked.covers(&token("b", "2", Some(49))));
        // An earlier time takes nothing back.
        revoked.add(&Revocation::Account("a".into(), 40), 0, 10).unwrap();
        assert!(revoked.covers(&token("a", "2", Some(49))));
        revoked.add(&Revocation::IssuedBefore(10), 0, 10).unwrap();
        assert!(revoked.covers(&token("b", "2", Some(9))) && !revoked.covers(&token("b", "2", Some(10))));
    }

    #[test]
    fn they_are_bounded_and_go_when_their_tokens_have_ended() {
        let revoked = Revoked::default();
        let id = |n: usize| Revocation::Id(n.to_string().into());
        (0..REVOKED_MAX).for_each(|n| revoked.add(&id(n), 0, 10).unwrap());
        assert_eq!(revoked.add(&id(REVOKED_MAX), 9, 20), Err(Full));
        assert_eq!(revoked.add(&id(0), 9, 20), Ok(()));
        assert_eq!(revoked.add(&id(REVOKED_MAX), 10, 20), Ok(()));
        let covers = |n: usize| revoked.covers(&Token { id: Some(n.to_string().into()), ..Token::default() });
        assert!(covers(0) && covers(REVOKED_MAX) && !covers(1));
    }
}
