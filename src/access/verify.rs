//! Tokens are what they say: signature, time, issuer and audience.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};

use crate::ops::config::JwtKey;

use super::claims::{ClaimError, Claims};

/// The longest token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is too long.
    #[error("is {0} bytes long, at most {TOKEN_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// It is no JWT, and no key that is known here.
    #[error("is no token that is known here")]
    Malformed,
    /// No key is for its algorithm and `kid`.
    #[error("is signed with a key or an algorithm that is not known here")]
    UnknownKey,
    /// Its signature is wrong.
    #[error("has a signature that is wrong")]
    Signature,
    /// Its time is over.
    #[error("has expired")]
    Expired,
    /// Its time has not come.
    #[error("is not valid yet")]
    NotYet,
    /// It is of another issuer, for another audience, or says no time of its end.
    #[error("is of another issuer, for another audience, or has no exp")]
    NotForUs,
    /// It was revoked.
    #[error("was revoked")]
    Revoked,
    /// What it says is malformed.
    #[error("{0}")]
    Claim(ClaimError),
}

/// A key that tokens are verified with.
pub(super) struct Key {
    kid: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
    validation: Validation,
}

impl Key {
    pub(super) fn new(settings: &JwtKey, leeway_s: u64) -> Result<Key, String> {
        let algorithm = settings.algorithm.of_crate();
        let mut validation = Validation::new(algorithm);
        validation.leeway = leeway_s;
        validation.validate_nbf = true;
        let mut required = vec!["exp"];
        if settings.issuer.is_empty() {
            validation.iss = None;
        } else {
            validation.set_issuer(&[&settings.issuer]);
            required.push("iss");
        }
        if settings.audience.is_empty() {
            validation.validate_aud = false;
        } else {
            validation.set_audience(&[&settings.audience]);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        let kid = Some(settings.kid.clone()).filter(|kid| !kid.is_empty());
        Ok(Key { kid, algorithm, key: settings.decoding_key()?, validation })
    }
}

/// Verifies a token by one of these keys.
pub(super) fn verify(keys: &[Key], token: &str) -> Result<Claims, TokenError> {
    // The algorithm `none` does not parse.
    let header = decode_header(token).map_err(|_| TokenError::Malformed)?;
    let mut found = TokenError::UnknownKey;
    for key in keys {
        let is_its = key.kid.is_none() || key.kid == header.kid;
        if key.algorithm != header.alg || !is_its {
            continue;
        }
        match decode(token, &key.key, &key.validation) {
            Ok(decoded) => return Ok(Claims(decoded.claims)),
            Err(error) => {
                // What a key says that has verified the signature is more to the point.
                let error = reason(error.kind());
                if matches!(found, TokenError::UnknownKey | TokenError::Signature) {
                    found = error;
                }
            }
        }
    }
    Err(found)
}

fn reason(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::NotYet,
        ErrorKind::InvalidIssuer | ErrorKind::InvalidAudience | ErrorKind::MissingRequiredClaim(_) => {
            TokenError::NotForUs
        }
        ErrorKind::InvalidSignature => TokenError::Signature,
        _ => TokenError::Malformed,
    }
}
