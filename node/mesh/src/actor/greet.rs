//! Hellos and admissions: the only protocol that strangers may speak.

use std::{net::IpAddr, time::Instant};

use caravan_protocol::{identity::NodeCert, ids::NodeId, platform::Platform, time::Stamp};
use libp2p::{
    Multiaddr, PeerId,
    request_response::{Message, OutboundFailure, ResponseChannel},
};
use tokio::sync::oneshot;

use super::{Actor, Done, Standing, stamp, words::clock_words};
use crate::{
    behaviour::RpcEvent,
    book::told_addresses,
    bucket::Verdict,
    event::{Contact, Event, Refusal, Welcome},
    limits::{
        ADDRESSES_MAX, ADMISSIONS_MAX, CERT_BYTES_MAX, CONTACT_BYTES_MAX, CONTACTS_SHARED_MAX,
        GREETING_BYTES_MAX, PLATFORMS_MAX, REVOKED_BYTES_MAX, REVOKED_SHARED_MAX,
    },
    names::{ip_of, is_circuit, peer_of},
    purse::Speech,
    wire::{self, Admit, Answer, Greeting, Hello},
};

impl Actor {
    pub(super) fn greeting(&mut self, event: RpcEvent) {
        match event {
            RpcEvent::Message { peer, message, .. } => match message {
                Message::Request {
                    request, channel, ..
                } => self.greeted(peer, &request, channel),
                Message::Response {
                    request_id,
                    response,
                } => {
                    if self.hellos.remove(&request_id).is_some() {
                        self.greeting_answered(peer, &response);
                    }
                }
            },
            RpcEvent::OutboundFailure {
                peer,
                request_id,
                error,
                ..
            } => {
                let member = self.peers.get(&peer).is_some_and(super::Peer::is_member);
                let asked = self.hellos.remove(&request_id).is_some() && !member;
                if asked && matches!(error, OutboundFailure::UnsupportedProtocols) {
                    let words = format!(
                        "it does not speak {}, and this node speaks nothing else: one of the two \
                         caravans is too old",
                        wire::ADMIT
                    );
                    self.other_version(peer, &words);
                    self.send_away(peer, "it is of another version");
                } else if asked {
                    // It may have been busy or on its way out: it is tried again.
                    self.close(peer, &format!("it did not answer the hello: {error}"));
                }
            }
            _ => {}
        }
    }

    /// A peer of an older version is told so in its own.
    pub(super) fn greeted_by_older(&mut self, event: RpcEvent) {
        let RpcEvent::Message {
            peer,
            message: Message::Request {
                request, channel, ..
            },
            ..
        } = event
        else {
            return;
        };
        self.other_version(
            peer,
            "its caravan is older than this one and has to be updated",
        );
        if let Ok(bytes) = wire::too_old(&request).encode() {
            // It closes the connection when it has read that, or its time as a stranger ends.
            let _ = self
                .swarm
                .behaviour_mut()
                .older
                .send_response(channel, bytes);
        }
    }

    pub(super) fn say_hello(&mut self, peer: PeerId, node: NodeId) {
        // Whoever answers at an address may be anyone; only members hear of members.
        let known = self.roster().member(node, stamp()).is_some();
        let greeting = Greeting::Hello(self.hello(peer, known));
        match greeting.encode() {
            Ok(bytes) => {
                let id = self.swarm.behaviour_mut().admit.send_request(&peer, bytes);
                self.hellos.insert(id, peer);
            }
            Err(error) => tracing::error!(%error, "this node's hello cannot be said"),
        }
    }

    fn hello(&self, peer: PeerId, with_contacts: bool) -> Hello {
        let contacts = if with_contacts {
            self.shared_contacts()
        } else {
            Vec::new()
        };
        Hello {
            meeting: self.peers.get(&peer).map_or(0, |entry| entry.meeting),
            life: self.life,
            now: stamp(),
            cert: self.cert.clone(),
            addresses: self.own_addresses(self.is_here(peer)),
            contacts,
            // No secret, and a stranger may know better than this node that it is out.
            revoked: self
                .revoked
                .iter()
                .rev()
                .take(REVOKED_SHARED_MAX)
                .cloned()
                .collect(),
        }
    }

    /// Members, as many as fit into a hello.
    fn shared_contacts(&self) -> Vec<Contact> {
        fitting(self.book.contacts(CONTACTS_SHARED_MAX))
    }

    /// Shows the new certificate to everyone before the old one expires.
    pub(super) fn renewed(&mut self) {
        let members: Vec<(PeerId, NodeId)> = self
            .peers
            .iter()
            .filter(|(_, entry)| entry.is_member())
            .map(|(peer, entry)| (*peer, entry.node))
            .collect();
        for (peer, node) in members {
            self.say_hello(peer, node);
        }
    }

    /// Where this node can be reached: as it was told, through relays, and where it listens.
    pub(super) fn own_addresses(&self, peer_is_here: bool) -> Vec<String> {
        let listens = self
            .swarm
            .listeners()
            .filter(|address| !is_circuit(address));
        self.announced
            .iter()
            .chain(self.relays.circuits())
            .chain(listens)
            .filter(|address| {
                let ip = ip_of(address);
                ip.is_some_and(|ip| peer_is_here || !ip.is_loopback())
            })
            .take(ADDRESSES_MAX)
            .map(ToString::to_string)
            .collect()
    }

    /// Whether the peer is on this machine.
    fn is_here(&self, peer: PeerId) -> bool {
        let loopback = |way: &super::peer::Way| {
            let address: &Multiaddr = &way.address;
            let ip: Option<IpAddr> = address.iter().find_map(|part| match part {
                libp2p::multiaddr::Protocol::Ip4(ip) => Some(ip.into()),
                libp2p::multiaddr::Protocol::Ip6(ip) => Some(ip.into()),
                _ => None,
            });
            !way.relayed && ip.is_some_and(|ip| ip.is_loopback())
        };
        self.peers
            .get(&peer)
            .is_some_and(|entry| entry.ways.values().any(loopback))
    }

    /// Whether this node itself listens nowhere but on this machine, or is told so.
    pub(super) fn is_loopback_only(&self) -> bool {
        self.swarm
            .listeners()
            .chain(&self.announced)
            .all(|address| ip_of(address).is_some_and(|ip| ip.is_loopback()))
    }

    /// Whether a member, connected or not, is on this machine as far as can be told: what is said
    /// of it elsewhere may mean another machine's loopback.
    pub(super) fn is_on_this_machine(&self, node: NodeId) -> bool {
        self.is_loopback_only() || peer_of(node).is_some_and(|peer| self.is_here(peer))
    }

    fn greeted(&mut self, peer: PeerId, request: &[u8], channel: ResponseChannel<Vec<u8>>) {
        match self.within_rate(peer, Speech::Greeting) {
            Verdict::Pass => {}
            Verdict::Drop => return,
            Verdict::Cut => return self.send_away(peer, "it sends far too many greetings"),
        }
        match Greeting::decode(request) {
            Ok(Greeting::Hello(hello)) => match self.check_hello(peer, &hello) {
                Ok(cert) => {
                    // First the gate opens, then the other side is told that it has.
                    if self.admitted(peer, hello.meeting, (&hello.cert, cert)) {
                        self.learn_from(peer, &hello);
                        let answer = Answer::Hello(self.hello(peer, true));
                        self.reply(channel, &answer);
                    }
                }
                Err(reason) => self.reply(channel, &Answer::Unwelcome(reason)),
            },
            Ok(Greeting::Admit(admit)) => self.asked_in(peer, admit, channel),
            Err(error) => {
                tracing::debug!(%peer, %error, "a greeting cannot be read");
                self.send_away(peer, "its greeting cannot be read");
            }
        }
    }

    fn greeting_answered(&mut self, peer: PeerId, response: &[u8]) {
        let Some(node) = self.peers.get(&peer).map(|entry| entry.node) else {
            return;
        };
        match Answer::decode(response) {
            Ok(Answer::Hello(hello)) => match self.check_hello(peer, &hello) {
                Ok(cert) => {
                    if self.admitted(peer, hello.meeting, (&hello.cert, cert)) {
                        self.learn_from(peer, &hello);
                    }
                }
                Err(reason) => self.send_away(peer, &reason),
            },
            Ok(Answer::Unwelcome(reason)) => {
                let reason = reason.chars().take(400).collect();
                self.emit(Event::Unwelcome { node, reason });
                self.send_away(peer, "it does not take this node for a member");
            }
            Ok(_) => self.send_away(peer, "it answers something else than a hello"),
            Err(error) => {
                tracing::debug!(%peer, %error, "an answer to the hello cannot be read");
                self.send_away(peer, "its answer to the hello cannot be read");
            }
        }
    }

    /// Whether the certificate holds and is the peer's own. The connection proves the key.
    fn check_hello(&mut self, peer: PeerId, hello: &Hello) -> Result<NodeCert, String> {
        let now = stamp();
        // It may be out and know it; what holds is taken before anything else is looked at.
        for revocation in hello.revoked.iter().take(REVOKED_SHARED_MAX) {
            self.revoke(revocation.clone());
        }
        let refuse = |refused: caravan_protocol::identity::Refused| {
            format!("{refused}{}", clock_words(hello.now, now))
        };
        let cert = self.roster().check(&hello.cert, now).map_err(refuse)?;
        if peer_of(cert.node) != Some(peer) {
            return Err(format!("the certificate is about {}", cert.node));
        }
        if let Some(words) = self.look_at(peer, hello) {
            return Err(words);
        }
        // It may be a new member, or a certificate longer valid than the one known.
        self.membership
            .roster_mut()
            .admit(&hello.cert, now)
            .map_err(refuse)
    }

    fn learn_from(&mut self, peer: PeerId, hello: &Hello) {
        let here = self.is_here(peer);
        let Some(node) = self.peers.get(&peer).map(|entry| entry.node) else {
            return;
        };
        let own = told_addresses(&hello.addresses, here);
        let news = self.book.enter(node, &hello.cert, own, Instant::now());
        self.learned([(node, news)]);
        let shared = hello.contacts.len().min(CONTACTS_SHARED_MAX);
        self.learn(&hello.contacts[..shared], here);
    }

    /// Takes in members that are said to exist, as far as their certificates hold.
    pub(super) fn learn(&mut self, contacts: &[Contact], from_here: bool) {
        let now = stamp();
        let mut learned = Vec::new();
        for contact in contacts {
            let Some(node) = self.certified(contact, now).filter(|node| *node != self.me) else {
                continue;
            };
            let addresses = told_addresses(&contact.addresses, from_here);
            let news = self
                .book
                .hear(node, &contact.cert, addresses, Instant::now());
            learned.push((node, news));
        }
        self.learned(learned);
    }

    /// Whom a contact is about. A certificate that is in the book is not checked again.
    fn certified(&mut self, contact: &Contact, now: Stamp) -> Option<NodeId> {
        if let Some(node) = self.book.holder(&contact.cert) {
            return self.roster().member(node, now).map(|cert| cert.node);
        }
        match self.membership.roster_mut().admit(&contact.cert, now) {
            Ok(cert) => {
                if let Ok(sealed) = crate::membership::seal_cert(&contact.cert, &cert) {
                    self.tell(caravan_protocol::member::Event::Records(vec![sealed]));
                }
                Some(cert.node)
            }
            Err(refused) => {
                tracing::debug!(%refused, "a contact is passed over");
                None
            }
        }
    }

    /// A stranger asks to become a member.
    fn asked_in(&mut self, peer: PeerId, admit: Admit, channel: ResponseChannel<Vec<u8>>) {
        let refuse = |words: &str| Answer::Refused(Refusal::Other(words.to_owned()));
        if peer_of(admit.node) != Some(peer) {
            return self.reply(
                channel,
                &refuse("the node id is not the key of this connection"),
            );
        }
        let valid = |platform: &Platform| Platform::new(platform.os(), platform.arch()).is_ok();
        if admit.platforms.len() > PLATFORMS_MAX || !admit.platforms.iter().all(valid) {
            return self.reply(channel, &refuse("the platforms cannot be read"));
        }
        if self.admissions >= ADMISSIONS_MAX {
            return self.reply(
                channel,
                &refuse("too many nodes join at this moment; try again"),
            );
        }
        if let Some(entry) = self.peers.get_mut(&peer)
            && let Standing::Stranger { since, .. } = &mut entry.standing
        {
            // The driver's time to decide is not the stranger's.
            *since = Instant::now();
        }
        let (reply, decision) = oneshot::channel();
        self.admissions += 1;
        self.emit(Event::AdmitAsked {
            node: admit.node,
            secret: admit.secret,
            platforms: admit.platforms,
            reply,
        });
        self.replies.push(Box::pin(async move {
            let answer = match decision.await {
                Ok(Ok(welcome)) => Answer::Welcome(Welcome {
                    contacts: fitting(welcome.contacts),
                    ..welcome
                }),
                Ok(Err(refusal)) => Answer::Refused(refusal),
                Err(_) => refuse("the inviting node is not able to decide now; try again"),
            };
            let answer = answer.encode().unwrap_or_default();
            Done::Admission { channel, answer }
        }));
    }

    fn reply(&mut self, channel: ResponseChannel<Vec<u8>>, answer: &Answer) {
        match answer.encode() {
            Ok(bytes) => self.greet(channel, bytes),
            Err(error) => tracing::error!(%error, "an answer to a greeting cannot be said"),
        }
    }

    pub(super) fn greet(&mut self, channel: ResponseChannel<Vec<u8>>, answer: Vec<u8>) {
        // The peer may be gone by now.
        let _ = self
            .swarm
            .behaviour_mut()
            .admit
            .send_response(channel, answer);
    }
}

/// As many contacts as fit into a greeting beside everything else.
fn fitting(contacts: Vec<Contact>) -> Vec<Contact> {
    let mut room = GREETING_BYTES_MAX - 2 * CONTACT_BYTES_MAX - REVOKED_BYTES_MAX;
    let fits = move |contact: &Contact| {
        let addresses: usize = contact.addresses.iter().map(|text| text.len() + 8).sum();
        // A certificate of ours is a few hundred bytes; one that is not does not come through.
        let bytes = addresses.saturating_add(CERT_BYTES_MAX);
        let fits = bytes <= room;
        if fits {
            room -= bytes;
        }
        fits
    };
    contacts
        .into_iter()
        .take(CONTACTS_SHARED_MAX)
        .take_while(fits)
        .collect()
}
