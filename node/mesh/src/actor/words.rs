//! Trouble that people should hear of, each in its words and not too often: clocks that disagree,
//! two machines with one key, peers of other versions, and a network that is not there.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use caravan_protocol::{ids::NodeId, limits::CLOCK_SKEW_MS, time::Stamp};
use libp2p::{Multiaddr, PeerId, swarm::DialError};

use super::{Actor, dials::reason, stamp};
use crate::{
    event::Event,
    limits::{ALONE, CLOCK_PAUSE, LIFE_REMEMBERED, LIVES_MAX, WORD_PAUSE},
    names::{ip_of, node_of, socket_of},
    wire::Hello,
};

/// One start of a node.
struct Life {
    number: u64,
    address: String,
    heard: Instant,
}

/// What is remembered of one node.
#[derive(Default)]
struct Known {
    /// Newest last.
    lives: Vec<Life>,
    /// How far its clock is ahead.
    clock: Option<(i64, Instant)>,
    clock_told: Option<Instant>,
    twin_told: Option<Instant>,
}

pub(super) struct Words {
    nodes: HashMap<NodeId, Known>,
    /// Why the last dial failed.
    last_failure: Option<String>,
    alone_since: Option<Instant>,
    told: Option<Instant>,
    waiting: Option<String>,
}

impl Words {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            nodes: HashMap::new(),
            last_failure: None,
            alone_since: Some(now),
            told: None,
            waiting: None,
        }
    }

    pub(super) fn waiting(&self) -> Option<&str> {
        self.waiting.as_deref()
    }

    pub(super) fn failed(&mut self, error: &DialError) {
        if !matches!(error, DialError::DialPeerConditionFalse(_)) {
            self.last_failure = Some(reason(error).chars().take(400).collect());
        }
    }

    fn known(&mut self, node: NodeId, now: Instant) -> Option<&mut Known> {
        if self.nodes.len() >= LIVES_MAX && !self.nodes.contains_key(&node) {
            self.nodes.retain(|_, known| {
                known
                    .lives
                    .last()
                    .is_some_and(|life| now.saturating_duration_since(life.heard) < LIFE_REMEMBERED)
            });
            if self.nodes.len() >= LIVES_MAX {
                return None;
            }
        }
        Some(self.nodes.entry(node).or_default())
    }

    /// Notes a start of a node; if an earlier one speaks again after a later one has spoken, there
    /// are two machines, and here is where they were.
    fn lives(&mut self, node: NodeId, life: u64, at: String, now: Instant) -> Option<Vec<String>> {
        let known = self.known(node, now)?;
        known
            .lives
            .retain(|life| now.saturating_duration_since(life.heard) < LIFE_REMEMBERED);
        let position = known.lives.iter().position(|known| known.number == life);
        let twin = position.is_some_and(|at| at + 1 < known.lives.len());
        let mut life = Life {
            number: life,
            address: at,
            heard: now,
        };
        if let Some(position) = position {
            life.address = known.lives.remove(position).address;
        }
        known.lives.push(life);
        if known.lives.len() > 4 {
            known.lives.remove(0);
        }
        twin.then(|| {
            known
                .lives
                .iter()
                .map(|life| life.address.clone())
                .collect()
        })
    }

    /// Notes a peer's clock. How far it is ahead, if that is to be told now.
    fn clock(&mut self, node: NodeId, theirs: Stamp, ours: Stamp, now: Instant) -> Option<i64> {
        let ahead = signed(theirs, ours);
        let known = self.known(node, now)?;
        known.clock = Some((ahead, now));
        let far = ahead.unsigned_abs() > CLOCK_SKEW_MS;
        if !far || !due(known.clock_told, now, CLOCK_PAUSE) {
            return None;
        }
        known.clock_told = Some(now);
        Some(ahead)
    }

    /// How far this node's clock is ahead of the others', in the middle, if far.
    pub(super) fn clock_ahead_ms(&self) -> Option<i64> {
        let now = Instant::now();
        let mut all: Vec<i64> = self
            .nodes
            .values()
            .filter_map(|known| known.clock)
            .filter(|(_, at)| now.saturating_duration_since(*at) < CLOCK_PAUSE)
            .map(|(ahead, _)| -ahead)
            .collect();
        all.sort_unstable();
        let middle = *all.get(all.len() / 2)?;
        (middle.unsigned_abs() > CLOCK_SKEW_MS).then_some(middle)
    }
}

fn due(told: Option<Instant>, now: Instant, pause: Duration) -> bool {
    told.is_none_or(|told| now.saturating_duration_since(told) >= pause)
}

/// How far one clock is ahead of another.
fn signed(one: Stamp, other: Stamp) -> i64 {
    let apart = i64::try_from(one.as_ms().abs_diff(other.as_ms())).unwrap_or(i64::MAX);
    if one >= other { apart } else { -apart }
}

/// What to add to a refusal where the clocks may be to blame.
pub(super) fn clock_words(theirs: Stamp, ours: Stamp) -> String {
    let ahead = signed(theirs, ours);
    if ahead.unsigned_abs() <= CLOCK_SKEW_MS {
        return String::new();
    }
    let minutes = ahead.unsigned_abs() / 60_000;
    let (hours, minutes) = (minutes / 60, minutes % 60);
    let way = if ahead > 0 { "ahead of" } else { "behind" };
    format!("; its clock is {hours} h {minutes} min {way} the other node's: set one of the two")
}

impl Actor {
    /// What a hello tells about its sender's machine. The words of refusal, if two run with its
    /// key.
    pub(super) fn look_at(&mut self, peer: PeerId, hello: &Hello) -> Option<String> {
        let node = node_of(&peer)?;
        let now = Instant::now();
        if let Some(ahead_ms) = self.words.clock(node, hello.now, stamp(), now) {
            tracing::warn!(%node, ahead_ms, "a member's clock and this node's are far apart");
            self.emit(Event::Clock { node, ahead_ms });
            self.show();
        }
        let entry = self.peers.get(&peer)?;
        // The newest connection is the one that the hello came over, most likely.
        let newest = entry.ways.iter().max_by_key(|(id, _)| **id);
        let at = newest.map_or(String::new(), |(_, way)| way.address.to_string());
        let addresses = self.words.lives(node, hello.life, at, now)?;
        let words = format!(
            "two machines run with the key of node {node}, seen at {}; stop one of them, and let it \
             join anew with an empty data directory",
            addresses.join(" and ")
        );
        self.found_twin(node, addresses);
        Some(words)
    }

    /// Two machines run with one key.
    pub(super) fn found_twin(&mut self, node: NodeId, addresses: Vec<String>) {
        let now = Instant::now();
        let Some(known) = self.words.known(node, now) else {
            return;
        };
        if !due(known.twin_told, now, WORD_PAUSE) {
            return;
        }
        known.twin_told = Some(now);
        tracing::warn!(%node, ?addresses, "two machines run with one key");
        self.emit(Event::Twin { node, addresses });
    }

    /// A dial has found this node's own key at an address. On its own network that is another
    /// machine; beyond, it may well be this one, seen from outside.
    pub(super) fn met_itself(&mut self, address: &Multiaddr) {
        let Some(ip) = ip_of(address) else { return };
        let private = match ip {
            std::net::IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
            std::net::IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
        };
        let own = |known: &Multiaddr| socket_of(known).is_some_and(|socket| socket.ip() == ip);
        let is_own = self.swarm.listeners().chain(&self.announced).any(own);
        if private && !is_own {
            self.found_twin(self.me, vec![address.to_string()]);
        }
    }

    /// A peer speaks no version of a protocol that this node speaks.
    pub(super) fn other_version(&mut self, peer: PeerId, reason: &str) {
        let address = self
            .peers
            .get(&peer)
            .and_then(|entry| entry.ways.values().next())
            .map_or(String::new(), |way| way.address.to_string());
        tracing::warn!(%peer, address, reason, "a peer of another version");
        self.emit(Event::OtherVersion {
            node: node_of(&peer),
            address,
            reason: reason.to_owned(),
        });
    }

    /// Says so when nobody is reached though somebody should be, and again now and then.
    pub(super) fn look_for_network(&mut self, now: Instant) {
        let alone = !self.peers.values().any(super::Peer::is_member);
        let wants = alone && self.book.wants_somebody(self.me);
        if !wants {
            self.words.alone_since = None;
            self.words.told = None;
            if self.words.waiting.take().is_some() {
                self.show();
            }
            return;
        }
        let since = *self.words.alone_since.get_or_insert(now);
        let over = now.saturating_duration_since(since) >= ALONE;
        if !over || !due(self.words.told, now, WORD_PAUSE) {
            return;
        }
        self.words.told = Some(now);
        let lonely = |address: &Multiaddr| {
            socket_of(address).is_some_and(|socket| socket.ip().is_loopback())
        };
        let reason = if self.swarm.listeners().all(lonely) && !self.book.is_on_loopback() {
            "this machine has no network address yet; waiting for one".to_owned()
        } else {
            match &self.words.last_failure {
                Some(failure) => format!("no member is reached; still trying ({failure})"),
                None => "no member is reached; still trying".to_owned(),
            }
        };
        tracing::warn!(reason, "waiting for the network");
        self.words.waiting = Some(reason.clone());
        self.emit(Event::Waiting { reason });
        self.show();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_life_that_speaks_again_is_a_twin_and_a_restart_is_none() {
        let node = NodeId::from_bytes([1; 32]);
        let now = Instant::now();
        let mut words = Words::new(now);
        let mut hear = |life, at: &str, now| words.lives(node, life, at.to_owned(), now);
        assert_eq!(hear(1, "a", now), None);
        assert_eq!(hear(1, "a", now), None);
        assert_eq!(hear(2, "b", now), None, "it was started again");
        assert_eq!(hear(2, "b", now), None);
        let twins = hear(1, "a", now).expect("both live");
        assert_eq!(twins, ["b", "a"]);
        let later = now + LIFE_REMEMBERED;
        assert_eq!(hear(2, "b", later), None, "that was long ago");
    }

    #[test]
    fn clocks_are_told_once_in_a_while_and_the_middle_counts() {
        let now = Instant::now();
        let mut words = Words::new(now);
        let hour = 3_600_000;
        let ours = Stamp::from_ms(10 * hour);
        let node = |n| NodeId::from_bytes([n; 32]);
        assert_eq!(words.clock(node(1), ours, ours, now), None);
        assert_eq!(words.clock_ahead_ms(), None);
        let theirs = Stamp::from_ms(5 * hour);
        assert_eq!(
            words.clock(node(2), theirs, ours, now),
            Some(-5 * 3_600_000)
        );
        assert_eq!(
            words.clock(node(2), theirs, ours, now),
            None,
            "told just now"
        );
        assert_eq!(
            words.clock(node(3), theirs, ours, now),
            Some(-5 * 3_600_000)
        );
        assert_eq!(
            words.clock_ahead_ms(),
            Some(5 * 3_600_000),
            "two of three say so"
        );
        assert!(clock_words(theirs, ours).contains("5 h 0 min behind"));
        assert_eq!(clock_words(ours, ours), "");
    }

    #[test]
    fn nodes_remembered_are_bounded() {
        let now = Instant::now();
        let mut words = Words::new(now);
        for n in 0..2 * LIVES_MAX {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_le_bytes());
            words.lives(NodeId::from_bytes(id), 1, String::new(), now);
        }
        assert_eq!(words.nodes.len(), LIVES_MAX);
    }
}
