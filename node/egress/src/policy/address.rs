//! What an address is: everybody's, or one that only looks so.
//!
//! Of IPv6 only the part that is handed out to the world is public, so what is new or odd is refused
//! without being known here.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A machine of the internet.
    Public,
    /// A public one that this machine has.
    Own,
    /// This machine.
    Loopback,
    /// A network of somebody's own: RFC 1918, RFC 6598, benchmarks, unique local.
    Private,
    /// For examples in books, and for whoever maps a network of their own onto it.
    Documentation,
    /// Neighbours on the cable.
    LinkLocal,
    /// Where clouds keep a machine's credentials.
    Metadata,
    /// A group.
    Multicast,
    /// No address.
    Unspecified,
    /// An address of one protocol in another, which leads to somewhere else.
    Embedding,
    /// Held back.
    Reserved,
}

impl Kind {
    /// Whether an operator may list a host of this kind.
    #[must_use]
    pub const fn may_be_listed(self) -> bool {
        matches!(
            self,
            Self::Public
                | Self::Own
                | Self::Loopback
                | Self::Private
                | Self::Documentation
                | Self::LinkLocal
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "a public address",
            Self::Own => "an address of this node",
            Self::Loopback => "a loopback address",
            Self::Private => "a private address",
            Self::Documentation => "an address of documentation",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "the address of a cloud's metadata",
            Self::Multicast => "a multicast address",
            Self::Unspecified => "an unspecified address",
            Self::Embedding => "an address that hides another",
            Self::Reserved => "a reserved address",
        })
    }
}

/// What this address is.
#[must_use]
pub const fn kind(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(address) => kind_v4(address),
        IpAddr::V6(address) => kind_v6(address),
    }
}

/// The address of IPv4 that a network without IPv4 reaches by this one (NAT64).
#[must_use]
pub const fn behind(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => match address.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(joined(high, low)),
            _ => None,
        },
    }
}

const fn joined(high: u16, low: u16) -> Ipv4Addr {
    let [a, b] = high.to_be_bytes();
    let [c, d] = low.to_be_bytes();
    Ipv4Addr::new(a, b, c, d)
}

const fn kind_v4(address: Ipv4Addr) -> Kind {
    match address.octets() {
        [169, 254, 169, 254]
        | [169, 254, 170, 2 | 23]
        | [100, 100, 100, 200]
        | [168, 63, 129, 16] => Kind::Metadata,
        [0, ..] => Kind::Unspecified,
        [127, ..] => Kind::Loopback,
        [10, ..]
        | [172, 16..=31, ..]
        | [192, 168, ..]
        | [100, 64..=127, ..]
        | [198, 18 | 19, ..] => Kind::Private,
        [169, 254, ..] => Kind::LinkLocal,
        [192, 88, 99, _] => Kind::Embedding,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Kind::Documentation,
        [192, 0, 0, _] | [240..=255, ..] => Kind::Reserved,
        [224..=239, ..] => Kind::Multicast,
        _ => Kind::Public,
    }
}

const fn kind_v6(address: Ipv6Addr) -> Kind {
    let parts = address.segments();
    match parts {
        [0, 0, 0, 0, 0, 0, 0, 0] => Kind::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Kind::Loopback,
        // What matters is who is behind.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => match kind_v4(joined(high, low)) {
            Kind::Public => Kind::Public,
            _ => Kind::Embedding,
        },
        [0, ..] | [0x64, 0xff9b, ..] | [0x2002, ..] | [0x2001, 0, ..] => Kind::Embedding,
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => Kind::Metadata,
        [0xfc00..=0xfdff, ..] => Kind::Private,
        [0xfe80..=0xfeff, ..] => Kind::LinkLocal,
        [0xff00..=0xffff, ..] => Kind::Multicast,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Kind::Documentation,
        [0x2001, 1..=0x1ff, ..] => Kind::Reserved,
        [0x2000..=0x3fff, ..] => Kind::Public,
        _ => Kind::Reserved,
    }
}
