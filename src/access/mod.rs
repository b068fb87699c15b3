//! Who somebody is, and what they may have and do by that: tokens are verified here, and the rules are applied. Where
//! a request holds a token, and what becomes of one that is refused, `net` knows.

pub mod claims;
pub mod gate;
pub mod pass;
mod remembered;
pub mod revoked;
pub mod tickets;
mod verify;
