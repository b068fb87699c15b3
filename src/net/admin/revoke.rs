//! Tokens are refused from now on, and the streams that were opened with them end.

use http::header::{self, HeaderValue};
use serde::Deserialize;

use crate::access::revoked::{Full, REVOKED_MAX};
use crate::engine::wall::wall_s;
use crate::hub::holder::Revocation;
use crate::net::problem::{Problem, Refusal};
use crate::net::state::State;

/// The longest `jti` or `sub`, in bytes.
const TEXT_BYTES_MAX: usize = 255;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    jti: Option<Box<str>>,
    sub: Option<Box<str>>,
    iat_before: Option<u64>,
}

/// Revokes what a body names, and says until when that is remembered.
pub(super) fn revoke(state: &State, body: &[u8]) -> Result<Vec<u8>, Problem> {
    let asked: Asked = serde_json::from_slice(body).map_err(|error| Problem::in_field("body", error.to_string()))?;
    let now_s = wall_s();
    let revocation = match asked {
        Asked { jti: Some(id), sub: None, iat_before: None } => Revocation::Id(bounded("jti", id)?),
        // Whoever signs in again has another token.
        Asked { jti: None, sub: Some(account), iat_before } => {
            Revocation::Account(bounded("sub", account)?, iat_before.unwrap_or(now_s + 1))
        }
        Asked { jti: None, sub: None, iat_before: Some(time_s) } => Revocation::IssuedBefore(time_s),
        _ => return Err(Problem::in_field("body", "names one of jti, sub and iat_before, or sub with iat_before")),
    };
    let until_s = now_s + state.config.load().auth.revoked_for.get().as_secs();
    state.revoked.add(&revocation, now_s, until_s).map_err(|Full| {
        let detail = format!("{REVOKED_MAX} revocations are remembered: as many as may be");
        Problem::new(Refusal::Busy, detail).with(header::RETRY_AFTER, HeaderValue::from_static("60"))
    })?;
    // After that: whoever comes meanwhile is refused, or is there to be ended.
    state.end_streams(revocation);
    Ok(format!("{{\"remembered_until\":{until_s}}}\n").into_bytes())
}

fn bounded(field: &'static str, text: Box<str>) -> Result<Box<str>, Problem> {
    match text.len() {
        1..=TEXT_BYTES_MAX => Ok(text),
        len => Err(Problem::in_field(field, format!("has {len} bytes, 1 to {TEXT_BYTES_MAX} are allowed"))),
    }
}
