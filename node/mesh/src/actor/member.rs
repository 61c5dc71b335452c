//! The membership engine at work: what happens is told to it, what it asks for is done, and what it
//! has found out is shown.

use std::{sync::Arc, time::Instant};

use caravan_protocol::{
    codec,
    identity::{NodeCert, Signed},
    ids::NodeId,
    member::{
        Change, Command, Event as Told, Kind, Message, RECORD_BYTES_MAX, Revocation, Sealed, Slot,
        Status,
    },
};
use libp2p::PeerId;
use tokio::sync::mpsc;

use super::{Actor, stamp};
use crate::{
    book::told_addresses,
    bucket::Verdict,
    event::Event,
    limits::{
        ADDRESSES_MAX, FULL_MESH_MAX, INCARNATIONS_AHEAD, LINK_FRAMES_MAX, RECORDS_PER_TOKEN,
    },
    links::{self, Heard},
    members::{Member, Members},
    membership::{seal_cert, seal_revocation},
    names::peer_of,
    purse::Speech,
    streams::Opened,
    wire,
};

/// What a record that is not believed costs its sender, in frames: a signature is dear to check.
const REJECTED_COST: usize = 10;

/// How a message is paid for. Records, which cost something to look at even where they are no news,
/// are paid by their number, and apart from the rest: a node that is flooded with them still answers.
fn price(message: &Message) -> (Speech, u32) {
    let Message::Records(records) = message else {
        return (Speech::Member, 1);
    };
    let tokens = records.0.len().div_ceil(RECORDS_PER_TOKEN).max(1);
    (Speech::Records, u32::try_from(tokens).unwrap_or(u32::MAX))
}

impl Actor {
    /// Tells the engine what happened and does what it asks for.
    pub(super) fn tell(&mut self, event: Told) {
        let mut out = Vec::new();
        self.membership.tell(event, &mut out);
        self.carry_out(out);
    }

    /// Tells the engine something about a node that it knows.
    pub(super) fn tell_of(&mut self, node: NodeId, event: impl FnOnce(Slot) -> Told) {
        if let Some(slot) = self.membership.slot(node) {
            self.tell(event(slot));
        }
    }

    fn carry_out(&mut self, commands: Vec<Command>) {
        let mut changes = Vec::new();
        for command in commands {
            match command {
                Command::Send { to, message } => self.say(self.membership.node(to), &message),
                Command::Keep(incarnation) => {
                    self.keep_ahead(incarnation.number());
                }
                Command::Record(sealed) => self.recorded(&sealed),
                Command::Changed { who, change } => {
                    let node = self.membership.node(who);
                    self.changed(node, who, change);
                    changes.push((node, change));
                }
                Command::Neighbours => self.dial_neighbours(),
                Command::Twin { .. } => self.found_twin(self.me, Vec::new()),
                Command::Evicted => {
                    tracing::error!("this node was revoked: no member speaks to it any more");
                    self.emit(Event::Evicted);
                }
                Command::Rejected { from, reason } => {
                    let node = self.membership.node(from);
                    self.rejected(node, &reason.to_string());
                }
            }
        }
        if !changes.is_empty() {
            // Whoever hears of a change finds it in the view.
            if self.membership.engine().standing().live <= 4 * FULL_MESH_MAX {
                self.show_members();
                self.know();
            } else {
                self.members_behind = true;
                self.known_behind = true;
            }
            for (node, change) in changes {
                self.emit(Event::Member { node, change });
            }
        }
    }

    /// Has incarnations kept for the next start, well before this node says anything under them: so
    /// no word of it waits for the disk.
    pub(super) fn keep_ahead(&mut self, incarnation: u32) {
        if incarnation.saturating_add(INCARNATIONS_AHEAD / 2) > self.reserved {
            self.reserved = incarnation.saturating_add(INCARNATIONS_AHEAD);
            self.emit(Event::Incarnation(self.reserved));
        }
    }

    /// Where a member stands has changed.
    fn changed(&mut self, node: NodeId, who: Slot, change: Change) {
        match change {
            Change::Joined | Change::Updated => self.take_addresses(node, who),
            Change::Revoked => self.cut_off_revoked(node),
            Change::Died => {
                // Its observers found it silent; a connection that says otherwise may stay.
                let patience = self.timing.tuning.period + self.timing.tuning.timeout;
                let peer = peer_of(node);
                let entry = peer.and_then(|peer| self.peers.get(&peer));
                if let (Some(peer), Some(entry)) = (peer, entry)
                    && entry.is_heard()
                    && entry.alive.elapsed() > patience
                {
                    self.close(peer, "its observers agree that it is dead");
                }
            }
            Change::Expired | Change::Left => {
                if let Some(peer) = peer_of(node).filter(|peer| self.peers.contains_key(peer)) {
                    self.close(peer, "it is no member any more");
                }
            }
            Change::Forgotten => {
                self.view.remove(&node);
            }
        }
    }

    /// A member's own word about where it is.
    fn take_addresses(&mut self, node: NodeId, who: Slot) {
        if node == self.me {
            return;
        }
        let table = self.membership.table();
        let Some(cert) = table.latest(who, Kind::Cert) else {
            return;
        };
        let Ok(cert) = codec::decode::<RECORD_BYTES_MAX, Signed<NodeCert>>(&cert.sealed.bytes)
        else {
            return;
        };
        let addresses = table
            .presence(who)
            .map(|presence| presence.addresses.clone())
            .unwrap_or_default();
        let addresses = told_addresses(&addresses, self.is_on_this_machine(node));
        let news = self.book.enter(node, &cert, addresses, Instant::now());
        self.learned([(node, news)]);
    }

    /// A record was taken.
    fn recorded(&mut self, sealed: &Sealed) {
        match sealed.kind {
            Kind::Cert if sealed.subject == self.me => {
                let Ok(cert) = codec::decode::<RECORD_BYTES_MAX, _>(&sealed.bytes) else {
                    return;
                };
                if self.cert != cert {
                    self.cert = cert.clone();
                    self.emit(Event::Renewed { cert });
                }
            }
            Kind::Revocation => {
                if let Ok(revocation) = codec::decode::<RECORD_BYTES_MAX, _>(&sealed.bytes) {
                    self.keep_revocation(sealed.subject, revocation);
                }
            }
            // The address book keeps certificates, and the rest is true only while it is.
            Kind::Cert | Kind::Presence | Kind::Alert | Kind::Obituary => {}
        }
    }

    fn keep_revocation(&mut self, node: NodeId, revocation: Signed<Revocation>) {
        if !self.revoked.contains(&revocation) {
            self.revoked.push(revocation.clone());
            self.emit(Event::Revoked { node, revocation });
        }
    }

    /// A revocation from anywhere: if it holds, the node is out.
    pub(super) fn revoke(&mut self, revocation: Signed<Revocation>) {
        if self.revoked.contains(&revocation) {
            return;
        }
        match self
            .membership
            .roster_mut()
            .told_revoked(&revocation, stamp())
        {
            Ok(body) => {
                match seal_revocation(&revocation, &body) {
                    Ok(sealed) => self.tell(Told::Records(vec![sealed])),
                    Err(refused) => tracing::error!(%refused, "a revocation cannot be passed on"),
                }
                self.keep_revocation(body.node, revocation);
                self.cut_off_revoked(body.node);
            }
            Err(refused) => tracing::warn!(%refused, "a revocation does not hold"),
        }
    }

    fn cut_off_revoked(&mut self, node: NodeId) {
        if node != self.me {
            self.ban(node);
        }
    }

    /// A certificate from this node's own side: checked, and passed on.
    pub(super) fn certify(&mut self, cert: &Signed<NodeCert>) -> Option<NodeCert> {
        let admitted = self.membership.roster_mut().admit(cert, stamp());
        match admitted {
            Ok(body) => {
                if let Ok(sealed) = seal_cert(cert, &body) {
                    self.tell(Told::Records(vec![sealed]));
                }
                Some(body)
            }
            Err(refused) => {
                tracing::error!(%refused, "a certificate does not hold");
                None
            }
        }
    }

    fn rejected(&mut self, node: NodeId, reason: &str) {
        if node == self.me {
            tracing::warn!(reason, "a record of this node's own is not good");
            return;
        }
        tracing::debug!(%node, reason, "a record is not believed");
        let Some(peer) = peer_of(node) else { return };
        for _ in 0..REJECTED_COST {
            if self.within_rate(peer, Speech::Member) == Verdict::Cut {
                return self.cut(peer, node);
            }
        }
    }

    /// A stream that a peer opened.
    pub(super) fn opened(&mut self, opened: Opened) {
        let Opened {
            peer,
            protocol,
            stream,
        } = opened;
        if protocol.as_ref() == wire::BLOBS {
            return self.bulk_asked(peer, stream);
        }
        let cancel = self.cancel.clone();
        let Some(entry) = self.peers.get_mut(&peer).filter(|entry| entry.is_heard()) else {
            return;
        };
        let cancel = entry.link.read_anew(&cancel);
        let (heard, patience) = (self.heard.clone(), self.timing.answer);
        self.tasks
            .spawn(links::read(peer, stream, patience, heard, cancel));
    }

    /// Something came over a stream of the membership protocol.
    pub(super) fn linked(&mut self, heard: Heard) {
        let (Heard::Message { peer, .. } | Heard::Nonsense { peer, .. }) = heard;
        let Some(entry) = self.peers.get_mut(&peer).filter(|entry| entry.is_heard()) else {
            return;
        };
        entry.lives(Instant::now());
        let node = entry.node;
        match heard {
            Heard::Message { message, bytes, .. } => {
                self.tally.member_in.add(1);
                self.tally.member_in_bytes.add(bytes);
                let (speech, price) = price(&message);
                match self.within_rate_of(peer, speech, price) {
                    Verdict::Pass => {
                        let mut out = Vec::new();
                        self.membership.heard(node, message, &mut out);
                        self.carry_out(out);
                    }
                    Verdict::Drop => {}
                    Verdict::Cut => self.cut(peer, node),
                }
            }
            Heard::Nonsense { reason, .. } => {
                self.misbehaved(node, reason);
                self.send_away(peer, "its membership frames cannot be read");
            }
        }
    }

    /// Sends a message of the engine, over the connection that is there or one that is made.
    fn say(&mut self, node: NodeId, message: &Message) {
        let bytes = match message.encode() {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!(%error, "a message of membership cannot be said");
                return;
            }
        };
        let Some(peer) = peer_of(node) else { return };
        let wants_answer = matches!(message, Message::Probe { .. } | Message::Fetch { .. });
        match self.peers.get_mut(&peer) {
            Some(entry) if entry.is_heard() => {
                if wants_answer && entry.asked.is_none() {
                    entry.asked = Some(Instant::now());
                }
                self.put_frame(peer, bytes);
            }
            _ => self.frame_waits(node, bytes),
        }
    }

    /// Hands a frame to the writer of a connected member, a new one if need be.
    pub(super) fn put_frame(&mut self, peer: PeerId, bytes: Vec<u8>) {
        let Some(entry) = self.peers.get_mut(&peer) else {
            return;
        };
        let size = bytes.len();
        let frames = match &entry.link.frames {
            Some(frames) if !frames.is_closed() => frames.clone(),
            _ => {
                let (frames, queue) = mpsc::channel(LINK_FRAMES_MAX);
                entry.link.frames = Some(frames.clone());
                let (streams, patience) = (self.streams.clone(), self.timing.answer);
                let cancel = self.cancel.clone();
                self.tasks
                    .spawn(links::write(peer, streams, patience, queue, cancel));
                frames
            }
        };
        if frames.try_send(bytes).is_ok() {
            self.tally.member_out.add(1);
            self.tally.member_out_bytes.add(size);
        } else {
            self.tally.dropped_member.add(1);
        }
    }

    /// Replaces what readers see of the members.
    pub(super) fn show_members(&mut self) {
        self.members_behind = false;
        let nodes: Vec<NodeId> = self
            .roster()
            .members(stamp())
            .map(|cert| cert.node)
            .chain(self.view.keys().copied())
            .collect();
        for node in nodes {
            if let Some(member) = self.member_now(node) {
                let same = self.view.get(&node).is_some_and(|known| **known == member);
                if !same {
                    self.view.insert(node, Arc::new(member));
                }
            }
        }
        self.members
            .send_replace(Arc::new(Members(self.view.clone())));
    }

    fn member_now(&self, node: NodeId) -> Option<Member> {
        let table = self.membership.table();
        let slot = self.membership.slot(node);
        let status = slot.map_or(Status::Unknown, |slot| {
            self.membership.engine().status(slot)
        });
        let known = self.view.get(&node);
        let cert = slot
            .and_then(|slot| table.cert(slot))
            .or_else(|| self.roster().vouches(node))
            .or_else(|| known.map(|known| &known.cert))?;
        let entry = peer_of(node)
            .and_then(|peer| self.peers.get(&peer))
            .filter(|entry| entry.is_heard());
        let since = match known {
            Some(known) if known.status == status => known.since,
            _ => stamp(),
        };
        Some(Member {
            cert: cert.clone(),
            presence: slot.and_then(|slot| table.presence(slot)).cloned(),
            status,
            since,
            connected: entry.is_some() || node == self.me,
            relayed: entry.is_some_and(super::Peer::is_relayed),
        })
    }

    /// Tells the engine where this node can be reached now.
    pub(super) fn readdress(&mut self) {
        let mut addresses = self.own_addresses(true);
        addresses.truncate(ADDRESSES_MAX);
        self.tell(Told::Addresses(addresses));
    }
}
