//! Which web pages may read an answer (the Fetch standard, "CORS protocol").

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};

use crate::ops::config::Cors;

/// The field of a stream's head where all pages may read it; see [`head_fields`].
pub const ANY: &str = "access-control-allow-origin: *\r\n";

/// What the page behind a request may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Whoever asks, without cookies.
    Any,
    /// This origin, with them.
    Origin {
        /// As the page's browser wrote it.
        origin: HeaderValue,
        /// The fields that a preflight asks leave for.
        fields: Option<HeaderValue>,
    },
    /// No page of another origin.
    None,
}

impl Reader {
    /// Who sent a request with these fields.
    pub fn of(cors: &Cors, headers: &HeaderMap) -> Reader {
        if cors.origins.is_empty() {
            return Reader::Any;
        }
        match headers.get(header::ORIGIN) {
            Some(origin) if cors.origins.iter().any(|known| known.as_str() == origin) => Reader::Origin {
                origin: origin.clone(),
                fields: headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned(),
            },
            _ => Reader::None,
        }
    }

    /// Puts what it may read in the place of "any" in a response that says so.
    pub fn settle(&self, response: &mut HeaderMap) {
        if response.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).is_none_or(|origin| origin != "*") {
            return;
        }
        match self {
            Reader::Any => return,
            Reader::Origin { origin, fields } => {
                response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                response.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
                if let (Some(fields), header::Entry::Occupied(mut allowed)) =
                    (fields, response.entry(header::ACCESS_CONTROL_ALLOW_HEADERS))
                {
                    // With cookies "*" is but a name.
                    allowed.insert(fields.clone());
                }
            }
            Reader::None => {
                for name in [
                    header::ACCESS_CONTROL_ALLOW_ORIGIN,
                    header::ACCESS_CONTROL_ALLOW_METHODS,
                    header::ACCESS_CONTROL_ALLOW_HEADERS,
                    header::ACCESS_CONTROL_MAX_AGE,
                ] {
                    response.remove(name);
                }
            }
        }
        response.append(header::VARY, HeaderValue::from_static("origin"));
    }

    /// What a stream's head has in the place of [`ANY`], with these fields of its own; `None` for just that.
    /// Own ones that say who may read it have the say.
    pub fn head_fields(&self, own: Option<Arc<str>>) -> Option<Arc<str>> {
        let Some(own) = own else { return self.fields() };
        let name = header::ACCESS_CONTROL_ALLOW_ORIGIN;
        if own.lines().any(|line| line.split(':').next() == Some(name.as_str())) {
            return Some(own);
        }
        let fields = self.fields();
        Some(format!("{}{own}", fields.as_deref().unwrap_or(ANY)).into())
    }

    fn fields(&self) -> Option<Arc<str>> {
        match self {
            Reader::Any => None,
            Reader::None => Some("vary: origin\r\n".into()),
            Reader::Origin { origin, .. } => {
                // It equals one of the configured texts.
                let origin = origin.to_str().unwrap_or_default();
                let fields = format!(
                    "access-control-allow-origin: {origin}\r\naccess-control-allow-credentials: true\r\nvary: origin\r\n"
                );
                Some(fields.into())
            }
        }
    }
}
