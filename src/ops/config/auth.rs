//! `[auth]`.

use std::fmt;
use std::path::Path;

use jsonwebtoken::DecodingKey;
use serde::{Deserialize, Serialize};

use crate::hub::topic::Pattern;
use crate::ops::units::{Count, Time};

/// What `config print` shows in the place of a secret.
const HIDDEN: &str = "hidden";
/// The most keys of either kind.
pub const AUTH_KEYS_MAX: usize = 64;

/// `[auth]`: who is known, and by what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Auth {
    /// How far the clocks of those who issue tokens may be off. Default: 10 seconds.
    pub leeway: Time<0, 600_000>,
    /// The cookie that may hold a token. Default: none.
    pub cookie: CookieName,
    /// Whether the query may hold a token, as `access_token`. Default: no.
    pub query: bool,
    /// How a stream is refused: with a status, or with an event. Default: `status`.
    pub denied: DeniedAs,
    /// How many tokens are remembered that were verified, so that they need not be again. Default: 65,536.
    pub remembered: Count<1, 1_048_576>,
    /// How long a revocation is remembered: as long as tokens last. Default: 7 days.
    pub revoked_for: Time<1_000>,
    /// What the control listener asks for. Default: nothing.
    pub control_key: Secret,
    /// The keys that tokens are signed with.
    pub jwt: Vec<JwtKey>,
    /// Keys that are tokens themselves.
    pub key: Vec<StaticKey>,
}

impl Default for Auth {
    fn default() -> Auth {
        Auth {
            leeway: Time::from_millis(10_000),
            cookie: CookieName::default(),
            query: false,
            denied: DeniedAs::default(),
            remembered: Count::new(65_536),
            revoked_for: Time::from_millis(7 * 86_400_000),
            control_key: Secret::default(),
            jwt: Vec::new(),
            key: Vec::new(),
        }
    }
}

/// How a stream is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DeniedAs {
    /// 401 or 403.
    #[default]
    Status,
    /// 200 and an event `denied`, for clients that show their page nothing else.
    Event,
}

/// A key that tokens are signed with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct JwtKey {
    /// The one algorithm that it is for.
    pub algorithm: JwtAlgorithm,
    /// The key: a secret for HS…, else a public key in PEM.
    pub key: Secret,
    /// The `kid` of the tokens that it is for. Default: any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kid: String,
    /// What `iss` must be. Default: anything.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub issuer: String,
    /// What `aud` must be or name. Default: anything.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub audience: String,
}

/// A key that is a token itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct StaticKey {
    /// What it is called where it is spoken of.
    pub name: String,
    /// The key.
    pub key: Secret,
    /// The topics that whoever has it may publish to. Default: all.
    #[serde(default = "Patterns::all")]
    pub publish: Patterns,
    /// The topics that whoever has it may subscribe to, private events with them. Default: none.
    #[serde(default)]
    pub subscribe: Patterns,
}

/// An algorithm that tokens are signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "RFC 7518 says what each is")]
#[non_exhaustive]
pub enum JwtAlgorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

/// A text that is not shown, where it is written or where it is found: `file:/run/secrets/key`, `env:JWT_KEY`.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Secret(String);

/// Patterns over topics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Patterns(Vec<Pattern>);

/// The name of a cookie, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CookieName(String);

// ===== impls =====

impl Auth {
    /// Whether somebody may have a token.
    pub fn is_on(&self) -> bool {
        !self.jwt.is_empty() || !self.key.is_empty()
    }

    /// Whether all keys can be read, and are keys.
    ///
    /// # Errors
    /// The first that is not, and why.
    pub fn check(&self) -> Result<(), (String, String)> {
        for (at, key) in self.jwt.iter().enumerate() {
            key.decoding_key().map_err(|reason| (format!("auth.jwt {}", at + 1), reason))?;
        }
        for (at, key) in self.key.iter().enumerate() {
            let named = |reason| (format!("auth.key {}", at + 1), reason);
            key.key.read_long().map_err(named)?;
        }
        if !self.control_key.is_empty() {
            self.control_key.read_long().map_err(|reason| ("auth.control_key".to_owned(), reason))?;
        }
        Ok(())
    }
}

impl JwtAlgorithm {
    /// How many bytes a secret must have at least (RFC 7518, section 3.2); `None` for algorithms with public keys.
    fn secret_bytes_min(self) -> Option<usize> {
        match self {
            JwtAlgorithm::HS256 => Some(32),
            JwtAlgorithm::HS384 => Some(48),
            JwtAlgorithm::HS512 => Some(64),
            _ => None,
        }
    }

    /// The same, as the crate has it.
    pub fn of_crate(self) -> jsonwebtoken::Algorithm {
        use jsonwebtoken::Algorithm;
        match self {
            JwtAlgorithm::HS256 => Algorithm::HS256,
            JwtAlgorithm::HS384 => Algorithm::HS384,
            JwtAlgorithm::HS512 => Algorithm::HS512,
            JwtAlgorithm::RS256 => Algorithm::RS256,
            JwtAlgorithm::RS384 => Algorithm::RS384,
            JwtAlgorithm::RS512 => Algorithm::RS512,
            JwtAlgorithm::PS256 => Algorithm::PS256,
            JwtAlgorithm::PS384 => Algorithm::PS384,
            JwtAlgorithm::PS512 => Algorithm::PS512,
            JwtAlgorithm::ES256 => Algorithm::ES256,
            JwtAlgorithm::ES384 => Algorithm::ES384,
            JwtAlgorithm::EdDSA => Algorithm::EdDSA,
        }
    }
}

impl JwtKey {
    /// The key, to verify tokens with.
    ///
    /// # Errors
    /// Why it is none for this algorithm.
    pub fn decoding_key(&self) -> Result<DecodingKey, String> {
        let bytes = self.key.read()?;
        let algorithm = self.algorithm;
        if let Some(min) = algorithm.secret_bytes_min() {
            if bytes.starts_with(b"-----BEGIN") {
                return Err(format!("{algorithm:?} needs a secret, and this is a key in PEM, which others may know"));
            }
            if bytes.len() < min {
                return Err(format!("has {} bytes, {algorithm:?} needs {min} at least", bytes.len()));
            }
            return Ok(DecodingKey::from_secret(&bytes));
        }
        let key = match algorithm {
            JwtAlgorithm::ES256 | JwtAlgorithm::ES384 => DecodingKey::from_ec_pem(&bytes),
            JwtAlgorithm::EdDSA => DecodingKey::from_ed_pem(&bytes),
            _ => DecodingKey::from_rsa_pem(&bytes),
        };
        key.map_err(|error| format!("is no public key in PEM for {algorithm:?}: {error}"))
    }
}

/// The shortest key that is a token itself, in bytes.
const KEY_BYTES_MIN: usize = 16;

impl Secret {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads it where it is.
    ///
    /// # Errors
    /// Why it can't be read.
    pub fn read(&self) -> Result<Vec<u8>, String> {
        let bytes = if let Some(file) = self.0.strip_prefix("file:") {
            let mut bytes = std::fs::read(Path::new(file)).map_err(|error| format!("cannot read {file}: {error}"))?;
            while bytes.pop_if(|byte| matches!(byte, b'\n' | b'\r')).is_some() {}
            bytes
        } else if let Some(name) = self.0.strip_prefix("env:") {
            std::env::var(name).map_err(|_| format!("the variable {name} is not set, or not UTF-8"))?.into_bytes()
        } else {
            self.0.clone().into_bytes()
        };
        if bytes.is_empty() { Err("is empty".to_owned()) } else { Ok(bytes) }
    }

    /// Reads one that is a token itself.
    ///
    /// # Errors
    /// Why it can't be read, or could be guessed.
    pub fn read_long(&self) -> Result<Vec<u8>, String> {
        let bytes = self.read()?;
        if bytes.len() < KEY_BYTES_MIN {
            return Err(format!("has {} bytes, {KEY_BYTES_MIN} at least are needed", bytes.len()));
        }
        if !bytes.iter().all(|byte| byte.is_ascii_graphic()) {
            return Err("holds other characters than visible ASCII, so that no header can".to_owned());
        }
        Ok(bytes)
    }
}

impl TryFrom<String> for Secret {
    type Error = String;

    fn try_from(text: String) -> Result<Secret, String> {
        if text == HIDDEN {
            return Err("is what `config print` shows in the place of a secret".to_owned());
        }
        Ok(Secret(text))
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Secret {
        Secret(text.to_owned())
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_shown = self.0.is_empty() || self.0.starts_with("file:") || self.0.starts_with("env:");
        serializer.serialize_str(if is_shown { &self.0 } else { HIDDEN })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Patterns {
    fn all() -> Patterns {
        Patterns(vec![Pattern::parse("**").expect("a valid pattern")])
    }

    /// The patterns.
    pub fn get(&self) -> &[Pattern] {
        &self.0
    }
}

impl TryFrom<Vec<String>> for Patterns {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Patterns, String> {
        let read = |text: &String| Pattern::parse(text).map_err(|error| format!("{text:?}: {error}"));
        Ok(Patterns(texts.iter().map(read).collect::<Result<_, _>>()?))
    }
}

impl From<Patterns> for Vec<String> {
    fn from(patterns: Patterns) -> Vec<String> {
        patterns.0.iter().map(|pattern| pattern.as_str().to_owned()).collect()
    }
}

impl CookieName {
    /// The name, if there is one.
    pub fn get(&self) -> Option<&str> {
        Some(&*self.0).filter(|name| !name.is_empty())
    }
}

impl TryFrom<String> for CookieName {
    type Error = String;

    fn try_from(text: String) -> Result<CookieName, String> {
        // A token of RFC 9110, section 5.6.2.
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if text.bytes().all(is_token) { Ok(CookieName(text)) } else { Err(format!("{text:?} is no cookie's name")) }
    }
}

impl From<CookieName> for String {
    fn from(name: CookieName) -> String {
        name.0
    }
}
