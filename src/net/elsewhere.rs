//! Requests that are for another listener: where that is.

use std::net::SocketAddr;

use http::HeaderValue;
use http::header::ALLOW;

use crate::ops::config::listen::reachable;

use super::context::Context;
use super::problem::{Problem, Refusal};

/// Where the listeners are, once they are there.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The first of the public listener's.
    pub public: Option<SocketAddr>,
    /// The control listener's.
    pub control: Option<SocketAddr>,
}

impl Addresses {
    /// The refusal of a stream.
    pub fn stream(self) -> Problem {
        let detail = match self.public {
            Some(address) => format!("streams are on the public listener: http://{}", reachable(address)),
            None => "streams are on the public listener".to_owned(),
        };
        Problem::new(Refusal::Method, detail).with(ALLOW, HeaderValue::from_static("POST"))
    }

    /// The refusal of an event. Where the control listener is, is nobody's business who can't reach it.
    pub fn publish(self, context: &Context) -> Problem {
        let near = |address: &SocketAddr| address.ip().is_loopback() || context.peer.ip().is_loopback();
        let detail = match self.control.filter(near) {
            Some(address) => format!("publishing is on the control listener: http://{}", reachable(address)),
            None => "publishing is on the control listener".to_owned(),
        };
        Problem::new(Refusal::Forbidden, detail).about("method")
    }
}
