//! Commands of the handle.

use std::time::Instant;

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
            Command::Renew(cert) => match self.roster.check(&cert, stamp()) {
                Ok(checked) if checked.node == self.me => {
                    let _ = self.roster.admit(&cert, stamp());
                    self.cert = cert;
                    self.renewed();
                }
                Ok(checked) => tracing::error!(node = %checked.node, "a certificate of another"),
                Err(refused) => tracing::error!(%refused, "this node's certificate"),
            },
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
                    peer.alive = Instant::now();
                }
            }
            Command::Report { node, reason } => self.misbehaved(node, reason),
        }
    }
}
