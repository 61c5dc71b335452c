//! The address book: members, where they were heard of, and when to dial them next. It decides
//! nothing about membership; the actor enters only checked certificates.

use std::{collections::BTreeMap, time::Instant};

use caravan_protocol::{
    identity::{NodeCert, Signed},
    ids::{BlobId, NodeId},
};
use libp2p::{Multiaddr, PeerId};

use crate::{
    event::Contact,
    limits::{
        ADDRESSES_MAX, BOOK_MAX, FIRST_DIAL_LEFT, PATIENCE_MAX, RETRY_MAX, RETRY_MIN, SEEDS_MAX,
    },
    names::{parse_address, split_peer},
};

/// When something is tried again: after pauses that double.
#[derive(Debug, Clone, Copy)]
struct Retry {
    failures: u32,
    next: Instant,
}

impl Retry {
    const fn at(next: Instant) -> Self {
        Self { failures: 0, next }
    }

    /// Notes that it is being tried now. `salt` spreads nodes that start together.
    fn tried(&mut self, now: Instant, salt: u8) {
        let pause = RETRY_MIN
            .saturating_mul(1 << self.failures.min(10))
            .min(RETRY_MAX);
        let spread = pause.mul_f64(f64::from(salt) / 1024.0);
        self.failures = self.failures.saturating_add(1);
        self.next = now + pause + spread;
    }
}

/// What is new about a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum News {
    /// Nothing.
    None,
    /// It is at addresses where it was not before.
    Moved,
    /// The member itself, its certificate, or where it is at all.
    Found,
}

#[derive(Debug)]
struct Entry {
    cert: Signed<NodeCert>,
    /// Newest first.
    addresses: Vec<Multiaddr>,
    retry: Retry,
    /// How often it was given up of late and came back, and when last.
    slow: u32,
    slow_at: Option<Instant>,
}

impl Entry {
    /// What one more address is.
    const fn more(&self) -> News {
        if self.addresses.is_empty() {
            News::Found
        } else {
            News::Moved
        }
    }

    fn contact(&self) -> Contact {
        Contact {
            cert: self.cert.clone(),
            addresses: self.addresses.iter().map(ToString::to_string).collect(),
        }
    }
}

#[derive(Debug)]
struct Seed {
    address: Multiaddr,
    /// Who answers there, once known.
    peer: Option<PeerId>,
    retry: Retry,
}

#[derive(Debug)]
pub(crate) struct Book {
    me: NodeId,
    entries: BTreeMap<NodeId, Entry>,
    checked: BTreeMap<BlobId, NodeId>,
    seeds: Vec<Seed>,
}

impl Book {
    pub(crate) const fn new(me: NodeId) -> Self {
        Self {
            me,
            entries: BTreeMap::new(),
            checked: BTreeMap::new(),
            seeds: Vec::new(),
        }
    }

    /// Enters a member's checked certificate. What is new, if there is room.
    fn certified(&mut self, node: NodeId, cert: &Signed<NodeCert>, now: Instant) -> Option<News> {
        let room = self.entries.len() < BOOK_MAX;
        match self.entries.get_mut(&node) {
            Some(entry) if entry.cert == *cert => return Some(News::None),
            Some(entry) => {
                self.checked.remove(&entry.cert.id());
                entry.cert = cert.clone();
            }
            None if !room => return None,
            None => {
                // Two that hear of each other at once need one dial, not two.
                let first = if self.me < node {
                    now
                } else {
                    now + FIRST_DIAL_LEFT
                };
                let entry = Entry {
                    cert: cert.clone(),
                    addresses: Vec::new(),
                    retry: Retry::at(first),
                    slow: 0,
                    slow_at: None,
                };
                self.entries.insert(node, entry);
            }
        }
        self.checked.insert(cert.id(), node);
        Some(News::Found)
    }

    /// Whom a certificate is about, if it is in the book already and so was checked.
    pub(crate) fn holder(&self, cert: &Signed<NodeCert>) -> Option<NodeId> {
        let node = self.checked.get(&cert.id())?;
        (self.cert(*node) == Some(cert)).then_some(*node)
    }

    /// Enters a member and addresses that it told of itself. What is new.
    pub(crate) fn enter(
        &mut self,
        node: NodeId,
        cert: &Signed<NodeCert>,
        addresses: Vec<Multiaddr>,
        now: Instant,
    ) -> News {
        let Some(mut news) = self.certified(node, cert, now) else {
            return News::None;
        };
        let Some(entry) = self.entries.get_mut(&node) else {
            return News::None;
        };
        let more = entry.more();
        for address in addresses.into_iter().rev() {
            let (address, _) = split_peer(address);
            match entry.addresses.iter().position(|known| *known == address) {
                Some(at) => {
                    let address = entry.addresses.remove(at);
                    entry.addresses.insert(0, address);
                }
                None => {
                    news = news.max(more);
                    entry.addresses.insert(0, address);
                }
            }
        }
        entry.addresses.truncate(ADDRESSES_MAX);
        news
    }

    /// Enters a member and addresses that somebody else tells of it. They never push out what it
    /// told itself. What is new.
    pub(crate) fn hear(
        &mut self,
        node: NodeId,
        cert: &Signed<NodeCert>,
        addresses: Vec<Multiaddr>,
        now: Instant,
    ) -> News {
        let Some(mut news) = self.certified(node, cert, now) else {
            return News::None;
        };
        let Some(entry) = self.entries.get_mut(&node) else {
            return News::None;
        };
        let more = entry.more();
        for address in addresses {
            let (address, _) = split_peer(address);
            if entry.addresses.len() < ADDRESSES_MAX && !entry.addresses.contains(&address) {
                entry.addresses.push(address);
                news = news.max(more);
            }
        }
        news
    }

    pub(crate) fn strike(&mut self, node: NodeId) {
        if let Some(entry) = self.entries.remove(&node) {
            self.checked.remove(&entry.cert.id());
        }
    }

    pub(crate) fn cert(&self, node: NodeId) -> Option<&Signed<NodeCert>> {
        self.entries.get(&node).map(|entry| &entry.cert)
    }

    pub(crate) fn addresses(&self, node: NodeId) -> &[Multiaddr] {
        self.entries
            .get(&node)
            .map_or(&[], |entry| &entry.addresses)
    }

    /// Members, as many as `max`.
    pub(crate) fn contacts(&self, max: usize) -> Vec<Contact> {
        self.entries
            .values()
            .take(max)
            .map(Entry::contact)
            .collect()
    }

    pub(crate) fn contact(&self, node: NodeId) -> Option<Contact> {
        self.entries.get(&node).map(Entry::contact)
    }

    /// A connection with the member holds.
    pub(crate) fn reached(&mut self, node: NodeId, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&node) {
            entry.retry = Retry::at(now);
        }
    }

    /// The member was given up for not answering.
    pub(crate) fn slow(&mut self, node: NodeId, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&node) {
            let again = entry
                .slow_at
                .is_some_and(|at| now.saturating_duration_since(at) < 4 * PATIENCE_MAX);
            entry.slow = if again {
                entry.slow.saturating_add(1)
            } else {
                1
            };
            entry.slow_at = Some(now);
        }
    }

    /// How often the member was given up of late.
    pub(crate) fn slowness(&self, node: NodeId) -> u32 {
        self.entries.get(&node).map_or(0, |entry| entry.slow)
    }

    /// Whether all of what is known of where a member is, over TCP, is among `tried`.
    pub(crate) fn knows_all<'a>(
        &self,
        node: NodeId,
        tried: impl Iterator<Item = &'a Multiaddr>,
    ) -> bool {
        let tried: Vec<Multiaddr> = tried.map(|at| split_peer(at.clone()).0).collect();
        let over_tcp = |address: &&Multiaddr| {
            matches!(
                crate::names::socket_of(address),
                Some(crate::names::Socket::Tcp(_))
            )
        };
        self.addresses(node)
            .iter()
            .filter(over_tcp)
            .all(|address| tried.contains(address))
    }

    /// The members are to be dialled as soon as possible, unless that failed just now.
    pub(crate) fn hurry(&mut self, nodes: &[NodeId], now: Instant) {
        for node in nodes {
            if let Some(entry) = self.entries.get_mut(node)
                && entry.retry.failures == 0
            {
                entry.retry.next = entry.retry.next.min(now);
            }
        }
    }

    /// Whether there is anybody to reach.
    pub(crate) fn wants_somebody(&self, me: NodeId) -> bool {
        !self.seeds.is_empty() || self.entries.keys().any(|node| *node != me)
    }

    /// Whether those to reach are on this machine.
    pub(crate) fn is_on_loopback(&self) -> bool {
        let loopback =
            |address: &Multiaddr| crate::names::ip_of(address).is_some_and(|ip| ip.is_loopback());
        self.seeds.iter().any(|seed| loopback(&seed.address))
            || self
                .entries
                .values()
                .any(|entry| entry.addresses.iter().any(loopback))
    }

    /// The member is not to be dialled for a while.
    pub(crate) fn avoid(&mut self, node: NodeId, until: Instant) {
        if let Some(entry) = self.entries.get_mut(&node) {
            entry.retry.next = entry.retry.next.max(until);
        }
    }

    /// Members to dial now, as many as `max`, with how often they were tried in vain; each is noted
    /// as tried.
    pub(crate) fn due(
        &mut self,
        now: Instant,
        max: usize,
        wanted: impl Fn(NodeId) -> bool,
    ) -> Vec<(NodeId, Vec<Multiaddr>, u32)> {
        let mut due = Vec::new();
        for (node, entry) in &mut self.entries {
            if due.len() >= max {
                break;
            }
            if entry.retry.next <= now && !entry.addresses.is_empty() && wanted(*node) {
                let tries = entry.retry.failures;
                entry.retry.tried(now, node.as_bytes()[0]);
                due.push((*node, entry.addresses.clone(), tries));
            }
        }
        due
    }

    /// Adds an address to begin with. Whether there was room.
    pub(crate) fn seed(&mut self, address: Multiaddr, now: Instant) -> bool {
        if self.seeds.iter().any(|seed| seed.address == address) {
            return true;
        }
        let room = self.seeds.len() < SEEDS_MAX;
        if room {
            let (_, peer) = split_peer(address.clone());
            let retry = Retry::at(now);
            self.seeds.push(Seed {
                address,
                peer,
                retry,
            });
        }
        room
    }

    /// Addresses to dial now where nobody connected answers, with the peers that are expected
    /// there; each is noted as tried.
    pub(crate) fn due_seeds(
        &mut self,
        now: Instant,
        connected: impl Fn(&PeerId) -> bool,
    ) -> Vec<(Multiaddr, Option<PeerId>)> {
        let mut due = Vec::new();
        for seed in &mut self.seeds {
            let here = seed.peer.as_ref().is_some_and(&connected);
            if here {
                seed.retry = Retry::at(now + RETRY_MIN);
            } else if seed.retry.next <= now {
                let (bare, named) = split_peer(seed.address.clone());
                // Another node may have moved in where the address names none: every other time,
                // whoever answers is welcome.
                let expected = named.or(seed.peer.filter(|_| seed.retry.failures % 2 == 0));
                seed.retry.tried(now, 0);
                due.push((bare, expected));
            }
        }
        due
    }

    /// `peer` answered at `address`.
    pub(crate) fn answered(&mut self, address: &Multiaddr, peer: PeerId) {
        let (bare, _) = split_peer(address.clone());
        for seed in &mut self.seeds {
            if split_peer(seed.address.clone()).0 == bare {
                seed.peer = Some(peer);
            }
        }
    }
}

/// Addresses of a peer's own telling, checked. Loopback addresses mean this machine to whoever
/// reads them, so they are kept only from a peer on this machine.
pub(crate) fn told_addresses(texts: &[String], peer_is_here: bool) -> Vec<Multiaddr> {
    texts
        .iter()
        .take(ADDRESSES_MAX)
        .filter_map(|text| parse_address(text).ok())
        .filter(|address| {
            crate::names::ip_of(address).is_some_and(|ip| {
                !ip.is_unspecified() && !ip.is_multicast() && (peer_is_here || !ip.is_loopback())
            })
        })
        .collect()
}
