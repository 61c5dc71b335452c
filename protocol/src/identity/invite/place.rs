//! The addresses of an invite in few bytes. Nearly all of them are TCP and QUIC at one port of an
//! IP address, so that is one entry: a tag, the address, the port. An entry at the port of the entry
//! before it leaves the port out. Any other multiaddress is kept as text.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::ADDRESSES_MAX;

const IPV6: u8 = 1;
const TCP: u8 = 2;
const QUIC: u8 = 4;
const SAME_PORT: u8 = 8;
const TEXT: u8 = 16;
/// Longest address that is kept as text, bytes.
const TEXT_BYTES_MAX: usize = 255;
/// Most bytes before which a further text finds room: people copy tokens.
const FULL_BYTES: usize = 300;

/// One IP address and port with what listens there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Socket {
    ip: IpAddr,
    port: u16,
    transports: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Socket(Socket),
    Text(String),
}

/// Adds the addresses to `bytes`; those that are too many or too long are left out.
pub(super) fn encode(addresses: &[String], bytes: &mut Vec<u8>) {
    let mut port = None;
    for entry in entries(addresses) {
        match entry {
            Entry::Socket(socket) => {
                let same = if port == Some(socket.port) {
                    SAME_PORT
                } else {
                    0
                };
                match socket.ip {
                    IpAddr::V4(ip) => {
                        bytes.push(socket.transports | same);
                        bytes.extend_from_slice(&ip.octets());
                    }
                    IpAddr::V6(ip) => {
                        bytes.push(socket.transports | same | IPV6);
                        bytes.extend_from_slice(&ip.octets());
                    }
                }
                if same == 0 {
                    bytes.extend_from_slice(&socket.port.to_be_bytes());
                }
                port = Some(socket.port);
            }
            Entry::Text(text) => {
                let Ok(length) = u8::try_from(text.len()) else {
                    continue;
                };
                if bytes.len() > FULL_BYTES {
                    continue;
                }
                bytes.push(TEXT);
                bytes.push(length);
                bytes.extend_from_slice(text.as_bytes());
            }
        }
    }
}

/// The addresses that `bytes` hold, if they hold nothing else.
pub(super) fn decode(mut bytes: &[u8]) -> Option<Vec<String>> {
    let mut addresses = Vec::new();
    let mut port = None;
    while let Some((&tag, rest)) = bytes.split_first() {
        bytes = rest;
        if tag == TEXT {
            let (&length, rest) = bytes.split_first()?;
            let (text, rest) = rest.split_at_checked(usize::from(length))?;
            bytes = rest;
            addresses.push(std::str::from_utf8(text).ok()?.to_owned());
        } else {
            if tag & !(IPV6 | TCP | QUIC | SAME_PORT) != 0 || tag & (TCP | QUIC) == 0 {
                return None;
            }
            let ip = if tag & IPV6 == 0 {
                IpAddr::from(take::<4>(&mut bytes)?)
            } else {
                IpAddr::from(take::<16>(&mut bytes)?)
            };
            let here = if tag & SAME_PORT == 0 {
                u16::from_be_bytes(take::<2>(&mut bytes)?)
            } else {
                port?
            };
            port = Some(here);
            let kind = if ip.is_ipv4() { "ip4" } else { "ip6" };
            if tag & TCP != 0 {
                addresses.push(format!("/{kind}/{ip}/tcp/{here}"));
            }
            if tag & QUIC != 0 {
                addresses.push(format!("/{kind}/{ip}/udp/{here}/quic-v1"));
            }
        }
        if addresses.len() > ADDRESSES_MAX {
            return None;
        }
    }
    Some(addresses)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_at_checked(N)?;
    *bytes = rest;
    head.try_into().ok()
}

/// The addresses by IP address and port, in the order in which they are named first.
fn entries(addresses: &[String]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for text in addresses.iter().take(ADDRESSES_MAX) {
        let Some(found) = parse(text) else {
            if text.len() <= TEXT_BYTES_MAX {
                entries.push(Entry::Text(text.clone()));
            }
            continue;
        };
        let same = entries.iter_mut().find_map(|entry| match entry {
            Entry::Socket(known) if (known.ip, known.port) == (found.ip, found.port) => Some(known),
            _ => None,
        });
        match same {
            Some(known) => known.transports |= found.transports,
            None => entries.push(Entry::Socket(found)),
        }
    }
    entries
}

/// `/ip4/192.0.2.1/tcp/4100` or `/ip6/2001:db8::1/udp/4100/quic-v1`, spelt as it will be read back.
fn parse(text: &str) -> Option<Socket> {
    let mut parts = text.strip_prefix('/')?.split('/');
    let (kind, address) = (parts.next()?, parts.next()?);
    let ip = match kind {
        "ip4" => IpAddr::V4(address.parse::<Ipv4Addr>().ok()?),
        "ip6" => IpAddr::V6(address.parse::<Ipv6Addr>().ok()?),
        _ => return None,
    };
    let (transport, port) = (parts.next()?, parts.next()?);
    let transports = match (transport, parts.next(), parts.next()) {
        ("tcp", None, None) => TCP,
        ("udp", Some("quic-v1"), None) => QUIC,
        _ => return None,
    };
    let socket = Socket {
        ip,
        port: port.parse().ok()?,
        transports,
    };
    let is_plain = ip.to_string() == address && socket.port.to_string() == port;
    is_plain.then_some(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(addresses: &[&str]) -> (Vec<String>, usize) {
        let addresses: Vec<String> = addresses.iter().map(|text| (*text).to_owned()).collect();
        let mut bytes = Vec::new();
        encode(&addresses, &mut bytes);
        (decode(&bytes).expect("our own bytes"), bytes.len())
    }

    #[test]
    fn tcp_and_quic_at_one_port_are_seven_bytes() {
        let both = ["/ip4/192.0.2.1/tcp/4100", "/ip4/192.0.2.1/udp/4100/quic-v1"];
        let (back, bytes) = there_and_back(&both);
        assert_eq!((back, bytes), (both.map(str::to_owned).to_vec(), 7));
    }

    #[test]
    fn a_second_host_at_the_same_port_is_five_more() {
        let hosts = ["/ip4/192.0.2.1/tcp/4100", "/ip4/10.0.0.1/tcp/4100"];
        let (back, bytes) = there_and_back(&hosts);
        assert_eq!((back, bytes), (hosts.map(str::to_owned).to_vec(), 12));
    }

    #[test]
    fn every_spelling_comes_back_as_it_was() {
        for text in [
            "/ip6/2001:db8::1/udp/4100/quic-v1",
            "/ip6/::1/tcp/65535",
            "/ip4/192.0.2.1/tcp/0",
            "/dns4/node.example.org/tcp/4100",
            "/ip4/192.0.2.1/tcp/4100/p2p/12D3KooWxyz/p2p-circuit",
            "/ip4/192.0.2.1/tcp/04100",
            "/ip6/2001:DB8::1/tcp/4100",
            "",
        ] {
            assert_eq!(there_and_back(&[text]).0, [text]);
        }
    }

    #[test]
    fn bytes_that_say_nothing_sensible_are_refused() {
        for bad in [
            &[0][..],
            &[IPV6],
            &[TCP, 1, 2, 3],
            &[TCP, 1, 2, 3, 4, 5],
            &[TCP | SAME_PORT, 1, 2, 3, 4],
            &[TEXT],
            &[TEXT, 2, b'a'],
            &[TEXT, 1, 0xff],
            &[32],
            &[TEXT | TCP, 0],
        ] {
            assert_eq!(decode(bad), None, "{bad:?} was taken");
        }
        assert_eq!(decode(&[TEXT, 0].repeat(ADDRESSES_MAX + 1)), None);
    }
}
