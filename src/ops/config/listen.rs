//! `listen`, the addresses of the public listener, and `health`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::ops::limits::LISTEN_MAX;

/// One address or more, none of them twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<SocketAddr>", into = "Vec<SocketAddr>")]
pub struct Listen(Vec<SocketAddr>);

impl Default for Listen {
    fn default() -> Listen {
        Listen(vec![SocketAddr::from(([0, 0, 0, 0], 8080))])
    }
}

impl Listen {
    /// The addresses, in the order they were given in.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.0
    }
}

impl TryFrom<Vec<SocketAddr>> for Listen {
    type Error = String;

    fn try_from(addresses: Vec<SocketAddr>) -> Result<Listen, String> {
        if addresses.is_empty() || addresses.len() > LISTEN_MAX {
            return Err(format!("{} addresses, from 1 to {LISTEN_MAX} are needed", addresses.len()));
        }
        for (i, address) in addresses.iter().enumerate() {
            if address.port() != 0 && addresses[..i].contains(address) {
                return Err(format!("{address} is listed twice"));
            }
        }
        Ok(Listen(addresses))
    }
}

impl From<Listen> for Vec<SocketAddr> {
    fn from(listen: Listen) -> Vec<SocketAddr> {
        listen.0
    }
}

/// What [`Health`] is written as when there is no such listener.
const OFF: &str = "off";

/// The address of the health listener, if there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Health(Option<SocketAddr>);

impl Health {
    /// On this address.
    pub const fn on(address: SocketAddr) -> Health {
        Health(Some(address))
    }

    /// The address.
    pub const fn address(self) -> Option<SocketAddr> {
        self.0
    }
}

impl TryFrom<String> for Health {
    type Error = String;

    fn try_from(text: String) -> Result<Health, String> {
        match text.as_str() {
            OFF => Ok(Health(None)),
            address => {
                address.parse().map(Health::on).map_err(|_| format!("{address:?} is neither an address nor \"{OFF}\""))
            }
        }
    }
}

impl From<Health> for String {
    fn from(health: Health) -> String {
        health.0.map_or_else(|| OFF.to_owned(), |address| address.to_string())
    }
}
