//! The first message of TLS, read as far as the name that it is for.
//!
//! Many hosts stand behind one address. A tunnel that was granted for one of them is held to it by
//! the name that the client asks for in the clear.

use crate::policy::Host;

/// What a client's first bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hello {
    /// The beginning of one.
    Partial,
    /// No hello of TLS.
    Foreign,
    /// A hello for this name, or for nobody.
    For(Option<String>),
}

/// Content type of a handshake, and the type of a client's hello.
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// Extension that carries the name, and the only kind of name that there is.
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
/// Longest record.
const RECORD_MAX: usize = (1 << 14) + 256;

/// Bytes that are taken from the front.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<usize> {
        let taken = self.take(bytes)?;
        Some(
            taken
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
        )
    }

    /// A piece with its length before it.
    fn piece(&mut self, length_bytes: usize) -> Option<Self> {
        let length = self.number(length_bytes)?;
        self.take(length).map(Self)
    }
}

/// Reads what a client has said so far.
pub(crate) fn read(bytes: &[u8]) -> Hello {
    let mut message = Vec::new();
    let mut records = Bytes(bytes);
    // A hello may be cut into several records.
    loop {
        if let Some(&[kind, length @ ..]) = message.first_chunk::<4>() {
            let length = length
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            if kind != CLIENT_HELLO {
                return Hello::Foreign;
            }
            if message.len() >= 4 + length {
                return body(&message[4..4 + length]).map_or(Hello::Foreign, Hello::For);
            }
        }
        let Some(&first) = records.0.first() else {
            return Hello::Partial;
        };
        if first != HANDSHAKE || records.0.get(1).is_some_and(|major| *major != 3) {
            return Hello::Foreign;
        }
        let mut record = Bytes(records.0);
        let Some(length) = record.take(3).and_then(|_| record.number(2)) else {
            return Hello::Partial;
        };
        if length == 0 || length > RECORD_MAX {
            return Hello::Foreign;
        }
        let Some(piece) = record.take(length) else {
            return Hello::Partial;
        };
        message.extend_from_slice(piece);
        records = record;
    }
}

/// The name in a whole hello. Nothing if it is not one.
#[expect(
    clippy::option_option,
    reason = "no hello, a hello for nobody, a hello for a name"
)]
fn body(message: &[u8]) -> Option<Option<String>> {
    let mut hello = Bytes(message);
    // Version and random bytes, session, ciphers, compressions.
    hello.take(2 + 32)?;
    hello.piece(1)?;
    hello.piece(2)?;
    hello.piece(1)?;
    if hello.0.is_empty() {
        return Some(None);
    }
    let mut extensions = hello.piece(2)?;
    let mut found = None;
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)?;
        let mut extension = extensions.piece(2)?;
        if kind != usize::from(SERVER_NAME) {
            continue;
        }
        let mut names = extension.piece(2)?;
        let kind = names.number(1)?;
        let name = names.piece(2)?;
        // One name, said once.
        if kind != usize::from(HOST_NAME) || !names.0.is_empty() || found.is_some() {
            return None;
        }
        found = Some(String::from_utf8(name.0.to_vec()).ok()?);
    }
    Some(found)
}

/// Whether a hello for `name` belongs into a tunnel to `host`.
pub(crate) fn fits(name: Option<&str>, host: &Host) -> bool {
    match (name, host) {
        (Some(name), Host::Name(host)) => name.eq_ignore_ascii_case(host),
        // TLS has no names that are addresses.
        (None, Host::Address(_)) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
