//! Commands of the handle.

use std::time::Instant;

use caravan_protocol::member::{Event as Told, Mode};
use libp2p::swarm::dial_opts::DialOpts;

use super::{Actor, stamp};
use crate::{handle::Command, limits::BOOK_MAX, names::peer_of};

impl Actor {
    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::Send { to, bytes } => self.send(to, bytes),
            Command::Gossip { platform, bytes } => self.publish(&platform, bytes),
            Command::Ask { to, bytes, reply } => self.ask(to, bytes, reply),
            Command::Dial(address) => {
                if !self.book.seed(address.clone(), Instant::now()) {
                    // No room to remember it: it is tried just once.
                    self.dial(DialOpts::unknown_peer_id().address(address).build());
                }
                self.dial_seeds();
            }
            Command::Learn(contacts) => {
                self.learn(&contacts, true);
                self.know();
            }
            Command::Renew(cert) => {
                let of = self.roster().check(&cert, stamp()).map(|body| body.node);
                if of == Ok(self.me) {
                    self.cert = cert.clone();
                    self.certify(&cert);
                    self.renewed();
                } else if self.certify(&cert).is_some() {
                    self.know();
                }
            }
            Command::Revoke(revocation) => self.revoke(revocation),
            Command::Presence(presence) => {
                let (facts, mode) = *presence;
                self.tell(Told::Facts(Box::new(facts)));
                self.tell(Told::Mode(mode));
            }
            Command::Leave(said) => {
                self.tell(Told::Mode(Mode::Left));
                self.farewell = Some((Instant::now(), said));
            }
            Command::Reach { node, reply } => self.reach(node, reply),
            Command::Contacts(reply) => {
                let _ = reply.send(self.book.contacts(BOOK_MAX));
            }
            Command::Disconnect(node) => {
                if let Some(peer) = peer_of(node) {
                    self.send_away(peer, "by command");
                }
            }
            Command::Ban(node) => self.ban(node),
            Command::Alive(node) => {
                let peer = peer_of(node).and_then(|peer| self.peers.get_mut(&peer));
                if let Some(peer) = peer {
                    peer.used = Instant::now();
                    peer.lives(Instant::now());
                }
            }
            Command::Report { node, reason } => self.misbehaved(node, reason),
        }
    }
}
