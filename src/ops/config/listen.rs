//! Addresses to listen on: `listen`, of the public listener, `control` and `health`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Deserializer, Serialize};

use crate::ops::limits::LISTEN_MAX;

/// Where the public listener is when only a port is given.
const EVERYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// Where the operator's listeners are when only a port is given.
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Reads an address of the public listener: `IP:PORT`, `localhost:PORT`, or `PORT` or `:PORT` for all IPv4
/// addresses.
///
/// # Errors
/// If it is none of these.
pub fn public(text: &str) -> Result<SocketAddr, String> {
    read(text, EVERYWHERE)
}

/// Reads an address of an operator's listener: as [`public`], but that a port alone is on 127.0.0.1.
///
/// # Errors
/// As [`public`].
pub fn private(text: &str) -> Result<SocketAddr, String> {
    read(text, LOOPBACK)
}

fn read(text: &str, host: IpAddr) -> Result<SocketAddr, String> {
    let port = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = match text.rsplit_once(':') {
        Some(("localhost", digits)) => (LOOPBACK, port(digits)),
        Some(("", digits)) => (host, port(digits)),
        Some(_) => (host, None),
        None => (host, port(text)),
    };
    let port = port.ok_or_else(|| {
        format!("{text:?} is no address: give an IP address and a port, such as {host}:8080 or [::1]:8080, or a port")
    })?;
    Ok(SocketAddr::new(host, port))
}

/// An address to connect to where this is listened on: this machine's own, in the place of all.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => LOOPBACK,
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Addresses, none of them twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Texts", into = "Vec<SocketAddr>")]
pub struct Listen(Vec<SocketAddr>);

/// Addresses as they are written: one, or a list.
#[derive(Deserialize)]
#[serde(untagged, expecting = "an address such as \"0.0.0.0:8080\" is needed, or a list of them")]
enum Texts {
    One(String),
    Port(u16),
    List(Vec<String>),
}

impl Default for Listen {
    fn default() -> Listen {
        Listen(vec![SocketAddr::new(EVERYWHERE, 8080)])
    }
}

impl Listen {
    /// No address.
    pub(super) const fn none() -> Listen {
        Listen(Vec::new())
    }

    /// The addresses, in the order they were given in.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.0
    }
}

impl TryFrom<Texts> for Listen {
    type Error = String;

    fn try_from(texts: Texts) -> Result<Listen, String> {
        let texts = match texts {
            Texts::One(text) => vec![text],
            Texts::Port(port) => vec![port.to_string()],
            Texts::List(texts) => texts,
        };
        texts.iter().map(|text| public(text)).collect::<Result<Vec<_>, _>>()?.try_into()
    }
}

impl TryFrom<Vec<SocketAddr>> for Listen {
    type Error = String;

    fn try_from(addresses: Vec<SocketAddr>) -> Result<Listen, String> {
        if addresses.len() > LISTEN_MAX {
            return Err(format!("{} addresses, at most {LISTEN_MAX} are allowed", addresses.len()));
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

/// Reads `control`.
pub(super) fn control<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    private(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
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
            address => private(address).map(Health::on).map_err(|reason| format!("{reason}, or \"{OFF}\"")),
        }
    }
}

impl From<Health> for String {
    fn from(health: Health) -> String {
        health.0.map_or_else(|| OFF.to_owned(), |address| address.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let check = |text: &str, everywhere: &str, loopback: &str| {
            assert_eq!(public(text).unwrap().to_string(), everywhere, "{text}");
            assert_eq!(private(text).unwrap().to_string(), loopback, "{text}");
        };
        check("9000", "0.0.0.0:9000", "127.0.0.1:9000");
        check(":9000", "0.0.0.0:9000", "127.0.0.1:9000");
        check("localhost:0", "127.0.0.1:0", "127.0.0.1:0");
        check("192.0.2.1:80", "192.0.2.1:80", "192.0.2.1:80");
        check("[::]:80", "[::]:80", "[::]:80");
        for bad in ["", ":", "nowhere", "nowhere:80", "192.0.2.1", "::1", "65536", ":-1", "+80", "80:", "[::1]"] {
            let said = public(bad).unwrap_err();
            assert!(said.starts_with(&format!("{bad:?} is no address: ")) && said.contains("0.0.0.0:8080"), "{said}");
        }
    }

    #[test]
    fn one_address_needs_no_list() {
        let listen = |text: &str| toml::from_str::<std::collections::BTreeMap<String, Listen>>(text);
        let read = |text| Vec::from_iter(listen(text).unwrap()["listen"].addresses().iter().map(ToString::to_string));
        assert_eq!(read("listen = \"0.0.0.0:9000\""), ["0.0.0.0:9000"]);
        assert_eq!(read("listen = 9000"), ["0.0.0.0:9000"]);
        assert_eq!(read("listen = [\":9000\", \"[::1]:9000\"]"), ["0.0.0.0:9000", "[::1]:9000"]);
        let said = |text| listen(text).unwrap_err().message().to_owned();
        assert!(said("listen = true").contains("an address such as \"0.0.0.0:8080\" is needed, or a list of them"));
        assert!(said("listen = [\"nowhere\"]").contains("\"nowhere\" is no address"));
        // That there is one is checked with those of TLS.
        assert!(read("listen = []").is_empty());
    }
}
