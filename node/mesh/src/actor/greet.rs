//! Hellos and admissions: the only protocol that strangers may speak.

use std::{net::IpAddr, time::Instant};

use caravan_protocol::{identity::NodeCert, ids::NodeId, platform::Platform, time::Stamp};
use libp2p::{
    Multiaddr, PeerId,
    request_response::{Message, ResponseChannel},
};
use tokio::sync::oneshot;

use super::{Actor, Done, Standing, stamp};
use crate::{
    behaviour::RpcEvent,
    book::told_addresses,
    event::{Contact, Event, Refusal, Welcome},
    limits::{
        ADDRESSES_MAX, ADMISSIONS_MAX, CERT_BYTES_MAX, CONTACT_BYTES_MAX, CONTACTS_SHARED_MAX,
        GREETING_BYTES_MAX, PLATFORMS_MAX,
    },
    names::{peer_of, socket_of},
    wire::{Admit, Answer, Greeting, Hello},
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
                if self.hellos.remove(&request_id).is_some() && !member {
                    // It may have been busy or on its way out: it is tried again.
                    self.close(peer, &format!("it did not answer the hello: {error}"));
                }
            }
            _ => {}
        }
    }

    pub(super) fn say_hello(&mut self, peer: PeerId, node: NodeId) {
        // Whoever answers at an address may be anyone; only members hear of members.
        let known = self.roster.member(node, stamp()).is_some();
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
            cert: self.cert.clone(),
            addresses: self.own_addresses(self.is_here(peer)),
            contacts,
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

    fn own_addresses(&self, peer_is_here: bool) -> Vec<String> {
        self.announced
            .iter()
            .chain(self.swarm.listeners())
            .filter(|address| {
                let socket = socket_of(address);
                socket.is_some_and(|socket| peer_is_here || !socket.ip().is_loopback())
            })
            .take(ADDRESSES_MAX)
            .map(ToString::to_string)
            .collect()
    }

    /// Whether the peer is on this machine.
    fn is_here(&self, peer: PeerId) -> bool {
        let loopback = |address: &Multiaddr| {
            let ip: Option<IpAddr> = address.iter().find_map(|part| match part {
                libp2p::multiaddr::Protocol::Ip4(ip) => Some(ip.into()),
                libp2p::multiaddr::Protocol::Ip6(ip) => Some(ip.into()),
                _ => None,
            });
            ip.is_some_and(|ip| ip.is_loopback())
        };
        self.peers
            .get(&peer)
            .is_some_and(|entry| entry.connections.values().any(loopback))
    }

    fn greeted(&mut self, peer: PeerId, request: &[u8], channel: ResponseChannel<Vec<u8>>) {
        match Greeting::decode(request) {
            Ok(Greeting::Hello(hello)) => match self.check_hello(peer, &hello) {
                Ok(cert) => {
                    // First the gate opens, then the other side is told that it has.
                    if self.admitted(peer, hello.meeting, cert) {
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
                    if self.admitted(peer, hello.meeting, cert) {
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
        let cert = self
            .roster
            .check(&hello.cert, now)
            .map_err(|refused| refused.to_string())?;
        if peer_of(cert.node) != Some(peer) {
            return Err(format!("the certificate is about {}", cert.node));
        }
        // It may be a new member, or a certificate longer valid than the one known.
        self.roster
            .admit(&hello.cert, now)
            .map_err(|refused| refused.to_string())
    }

    fn learn_from(&mut self, peer: PeerId, hello: &Hello) {
        let here = self.is_here(peer);
        let Some(node) = self.peers.get(&peer).map(|entry| entry.node) else {
            return;
        };
        let own = told_addresses(&hello.addresses, here);
        if self.book.enter(node, &hello.cert, own, Instant::now()) {
            let contacts = self.book.contact(node).into_iter().collect();
            self.learned(contacts);
        }
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
            if self
                .book
                .hear(node, &contact.cert, addresses, Instant::now())
            {
                learned.extend(self.book.contact(node));
            }
        }
        self.learned(learned);
    }

    fn learned(&mut self, contacts: Vec<Contact>) {
        if !contacts.is_empty() {
            self.know();
            self.emit(Event::Learned { contacts });
        }
    }

    /// Whom a contact is about. A certificate that is in the book is not checked again.
    fn certified(&mut self, contact: &Contact, now: Stamp) -> Option<NodeId> {
        if let Some(node) = self.book.holder(&contact.cert) {
            return self.roster.member(node, now).map(|cert| cert.node);
        }
        match self.roster.admit(&contact.cert, now) {
            Ok(cert) => Some(cert.node),
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
    let mut room = GREETING_BYTES_MAX - 2 * CONTACT_BYTES_MAX;
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
