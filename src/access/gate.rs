//! The settings on access, ready to be asked.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

use crate::engine::wall::wall_s;
use crate::ops::config::{Config, Rule};

use super::pass::Pass;
use super::remembered::{Digest, Remembered};
use super::verify::{self, Key};

pub use super::verify::{TOKEN_BYTES_MAX, TokenError};

/// Who is let in, and what they may. Made anew when the configuration changes.
pub struct Gate {
    keys: Vec<Key>,
    /// Keys that are tokens themselves, by their digests: those are compared in constant time, whatever their length.
    fixed: Vec<(Digest, Arc<Pass>)>,
    control: Option<Digest>,
    rules: Vec<Rule>,
    leeway_s: u64,
    anonymous: Arc<Pass>,
    remembered: Remembered,
    is_on: bool,
}

/// What a token came to.
pub struct Known {
    /// What its holder may do.
    pub pass: Arc<Pass>,
    /// Whether it was verified before.
    pub again: bool,
}

fn digest_of(text: &[u8]) -> Digest {
    let mut bytes = Digest::default();
    bytes.copy_from_slice(digest(&SHA256, text).as_ref());
    bytes
}

impl Gate {
    /// Of a configuration that was checked.
    ///
    /// # Errors
    /// What is wrong with a key that has changed since.
    pub fn new(config: &Config) -> Result<Gate, String> {
        let (auth, rules) = (&config.auth, &config.rule);
        // In whole seconds, as tokens have them.
        let leeway_s = auth.leeway.get().as_secs();
        let keys = auth.jwt.iter().map(|key| Key::new(key, leeway_s)).collect::<Result<_, _>>()?;
        let fixed = auth.key.iter().map(|key| {
            let own = [&key.subscribe, &key.publish].map(|patterns| patterns.get().to_vec());
            Ok((digest_of(&key.key.read_long()?), Arc::new(Pass::of_key(rules, own, &key.name))))
        });
        let control = match &auth.control_key {
            key if key.is_empty() => None,
            key => Some(digest_of(&key.read_long()?)),
        };
        Ok(Gate {
            keys,
            fixed: fixed.collect::<Result<_, String>>()?,
            control,
            rules: rules.clone(),
            leeway_s,
            anonymous: Arc::new(Pass::anonymous(rules)),
            remembered: Remembered::new(auth.remembered.as_usize()),
            is_on: auth.is_on() || !rules.is_empty(),
        })
    }

    /// Whether anything is said of access: else all subscribe, nobody publishes, and what looks like a token is none
    /// of ours.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// What those may do that have no token.
    pub fn anonymous(&self) -> &Arc<Pass> {
        &self.anonymous
    }

    /// What whoever has this token may do.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn pass(&self, token: &str) -> Result<Known, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong(token.len()));
        }
        let digest = digest_of(token.as_bytes());
        // All are looked at, so that the time says nothing of which it was.
        let mut fixed = None;
        for (own, pass) in &self.fixed {
            if verify_slices_are_equal(own, &digest).is_ok() {
                fixed = Some(pass);
            }
        }
        if let Some(pass) = fixed {
            return Ok(Known { pass: pass.clone(), again: true });
        }
        if let Some(pass) = self.remembered.get(&digest) {
            let until_s = pass.token.as_ref().and_then(|token| token.until_s);
            if until_s.is_some_and(|until_s| wall_s() >= until_s) {
                return Err(TokenError::Expired);
            }
            return Ok(Known { pass, again: true });
        }
        let claims = verify::verify(&self.keys, token)?;
        let pass = Pass::of_claims(&self.rules, &claims, self.leeway_s).map_err(TokenError::Claim)?;
        let pass = Arc::new(pass);
        self.remembered.insert(digest, pass.clone());
        Ok(Known { pass, again: false })
    }

    /// Whether the control listener asks for a key.
    pub fn guards_control(&self) -> bool {
        self.control.is_some()
    }

    /// Whether this is the key that the control listener asks for, or it asks for none.
    pub fn opens_control(&self, key: Option<&str>) -> bool {
        let Some(control) = &self.control else { return true };
        key.is_some_and(|key| verify_slices_are_equal(control, &digest_of(key.as_bytes())).is_ok())
    }
}
