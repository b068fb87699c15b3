//! `[cors]`.

use http::Uri;
use serde::{Deserialize, Serialize};

/// `[cors]`: which web pages may read streams.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Cors {
    /// The origins whose pages may, with their cookies, such as `https://example.com`. Default: none
    /// are named, and all may, without cookies.
    pub origins: Vec<Origin>,
}

/// An origin as browsers write it: a scheme, a host, and a port if it is not the scheme's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin(String);

impl Origin {
    /// Reads an origin.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Origin, String> {
        let uri = text.parse::<Uri>().ok();
        let is_origin = uri.as_ref().is_some_and(|uri| {
            let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
            let parts = [uri.scheme_str().unwrap_or_default(), "://", uri.host().unwrap_or_default(), &port];
            uri.scheme().is_some() && text == parts.concat()
        });
        if !is_origin {
            return Err(format!("{text:?} is no origin, as in \"https://example.com\" or \"http://localhost:3000\""));
        }
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(format!("{text:?} has capital letters, where browsers write small ones"));
        }
        if [":80", ":443"]
            .iter()
            .zip(["http://", "https://"])
            .any(|(port, scheme)| text.ends_with(port) && text.starts_with(scheme))
        {
            return Err(format!("{text:?} names its scheme's own port, which browsers leave out"));
        }
        Ok(Origin(text.to_owned()))
    }

    /// The origin as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Origin, String> {
        Origin::parse(&text)
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> String {
        origin.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_as_browsers_write_them() {
        for good in ["https://example.com", "http://localhost:3000", "https://a.b:8443", "http://[::1]:8080"] {
            assert_eq!(Origin::parse(good).map(String::from).as_deref(), Ok(good));
        }
        let bad = [
            "",
            "*",
            "null",
            "example.com",
            "https://a/",
            "https://a/b",
            "https://u@a",
            "https://A",
            "https://a:443",
            "http://a:80x",
        ];
        for bad in bad {
            assert!(Origin::parse(bad).is_err(), "{bad}");
        }
    }
}
