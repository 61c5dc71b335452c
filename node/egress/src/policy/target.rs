//! A host and a port, as a request names them: in one spelling each.
//!
//! Resolvers, clients and servers disagree about `127.1`, `0x7f000001` or `a.b.`, and a filter that
//! reads a name otherwise than whoever resolves it is none. So there is one way to write an address
//! and one to write a name, and all else is refused before it is looked up.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::limits::AUTHORITY_BYTES_MAX;

/// Characters of a refused text that are shown.
const SHOWN_MAX: usize = 80;

/// A machine, by name or by address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// Lower case, of at least one label, no dot at its end.
    Name(String),
    /// An address in its usual spelling.
    Address(IpAddr),
}

/// One port of a host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Which machine.
    pub host: Host,
    /// Which of its ports.
    pub port: u16,
}

/// What is wrong with how a target is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Spelling {
    /// No host at all.
    #[error("the request names no host")]
    Empty,
    /// More than any name.
    #[error("the host's name is longer than {max} bytes", max = AUTHORITY_BYTES_MAX)]
    TooLong,
    /// A name and a password before the host.
    #[error("a host with a user before it is not taken: {}", shown(.0))]
    User(String),
    /// An address that is spelled so that not everybody reads the same.
    #[error("the address {} is spelled in an unusual way, which is not taken", shown(.0))]
    OddAddress(String),
    /// A name that is none.
    #[error("{} is no name of a host", shown(.0))]
    Name(String),
    /// A name with a dot at its end.
    #[error("the name {} ends with a dot, which is not taken", shown(.0))]
    TrailingDot(String),
    /// A port that is none.
    #[error("{} names no port from 1 to 65535", shown(.0))]
    Port(String),
}

/// Safe to print wherever it goes.
pub(crate) fn shown(text: &str) -> String {
    let cut = text.chars().take(SHOWN_MAX);
    let cut: String = cut.flat_map(char::escape_default).collect();
    format!("\"{cut}\"")
}

impl Target {
    /// Reads `HOST` or `HOST:PORT`, as the authority of a URL.
    ///
    /// # Errors
    /// If it could be read in more than one way.
    pub fn parse(text: &str, default_port: Option<u16>) -> Result<Self, Spelling> {
        if text.len() > AUTHORITY_BYTES_MAX {
            return Err(Spelling::TooLong);
        }
        if text.contains('@') {
            return Err(Spelling::User(text.to_owned()));
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (inside, after) = rest
                    .split_once(']')
                    .ok_or_else(|| Spelling::OddAddress(text.to_owned()))?;
                let port = match after.strip_prefix(':') {
                    Some(port) => Some(port),
                    None if after.is_empty() => None,
                    None => return Err(Spelling::Port(text.to_owned())),
                };
                let address: Ipv6Addr = inside
                    .parse()
                    .map_err(|_| Spelling::OddAddress(text.to_owned()))?;
                (Host::Address(address.into()), port)
            }
            None => {
                let (host, port) = match text.split_once(':') {
                    Some((host, port)) => (host, Some(port)),
                    None => (text, None),
                };
                (Host::parse(host)?, port)
            }
        };
        let port = match port {
            Some(port) => parse_port(port),
            None => default_port,
        };
        let port = port.ok_or_else(|| Spelling::Port(text.to_owned()))?;
        Ok(Self { host, port })
    }

    /// As the authority of a URL whose usual port is this.
    #[must_use]
    pub fn authority(&self, usual: u16) -> String {
        if self.port == usual {
            self.host.to_string()
        } else {
            self.to_string()
        }
    }
}

impl Host {
    /// Reads a name or an address of IPv4; one of IPv6 stands in brackets and is not read here.
    ///
    /// # Errors
    /// If it is neither, or spelled as no other program would print it.
    pub fn parse(text: &str) -> Result<Self, Spelling> {
        if text.is_empty() {
            return Err(Spelling::Empty);
        }
        if text.ends_with('.') {
            return Err(Spelling::TrailingDot(text.to_owned()));
        }
        if text.len() > 253 || !text.split('.').all(is_label) {
            return Err(Spelling::Name(text.to_owned()));
        }
        // What ends like a number is an address to some, so it must be one to all.
        if text.rsplit('.').next().is_some_and(is_number) {
            let address: Option<Ipv4Addr> = text.parse().ok();
            return match address {
                Some(address) if address.to_string() == text => Ok(Self::Address(address.into())),
                _ => Err(Spelling::OddAddress(text.to_owned())),
            };
        }
        Ok(Self::Name(text.to_ascii_lowercase()))
    }
}

fn is_label(label: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=63).contains(&label.len())
        && label.bytes().all(fits)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x").or(label.strip_prefix("0X"));
    label.bytes().all(|b| b.is_ascii_digit())
        || hex.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn parse_port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    plain.then(|| text.parse().ok()).flatten()
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}
