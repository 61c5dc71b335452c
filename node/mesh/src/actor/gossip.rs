//! Offer digests: published to all members that listen for a platform, passed on by everyone after
//! a check. The network library has checked the author's signature before anything arrives here.

use std::time::Instant;

use caravan_protocol::{ids::NodeId, limits::GOSSIP_BYTES_MAX, platform::Platform};
use libp2p::{
    PeerId,
    gossipsub::{Event as Gossiped, IdentTopic, Message, MessageAcceptance, PublishError},
};

use super::{Actor, Author, stamp};
use crate::{
    bucket::Verdict,
    event::Event,
    names::node_of,
    purse::{Purse, Speech},
    replay::Replay,
    wire,
};

/// What to do with a digest.
enum Judged {
    Good {
        from: NodeId,
        platform: Platform,
    },
    /// Of no use, but no proof of ill will.
    Useless,
    /// No honest member passes it on.
    Bad,
}

impl Actor {
    pub(super) fn publish(&mut self, platform: &Platform, bytes: Vec<u8>) {
        let topic = IdentTopic::new(wire::topic(self.roster().mesh(), platform));
        let members = self.swarm.behaviour_mut().members.inner();
        match members.gossip.publish(topic, bytes) {
            Ok(_) => self.tally.gossip_out.add(1),
            // Nobody listens for this platform at the moment.
            Err(PublishError::NoPeersSubscribedToTopic | PublishError::Duplicate) => {}
            Err(error) => tracing::debug!(%error, "a digest was not published"),
        }
    }

    pub(super) fn gossiped(&mut self, event: Gossiped) {
        match event {
            Gossiped::Message {
                propagation_source,
                message_id,
                message,
            } => {
                // Each was checked by the library, which costs: nobody passes on so many.
                if let Some(entry) = self.peers.get_mut(&propagation_source)
                    && entry.passed_on.take(Instant::now()) == Verdict::Cut
                {
                    let node = entry.node;
                    self.too_much(Speech::Gossip);
                    return self.cut(propagation_source, node);
                }
                let judged = self.judge(&message);
                let acceptance = match judged {
                    Judged::Good { .. } => MessageAcceptance::Accept,
                    Judged::Useless => MessageAcceptance::Ignore,
                    Judged::Bad => MessageAcceptance::Reject,
                };
                let members = self.swarm.behaviour_mut().members.inner();
                members.gossip.report_message_validation_result(
                    &message_id,
                    &propagation_source,
                    acceptance,
                );
                self.judged(propagation_source, judged, message.data);
            }
            // A member speaks gossip; a connection on which it seems not to is of no use.
            Gossiped::GossipsubNotSupported { peer_id }
                if self.peers.get(&peer_id).is_some_and(super::Peer::is_member) =>
            {
                self.close(peer_id, "it does not speak gossip on this connection");
            }
            _ => {}
        }
    }

    fn judged(&mut self, source: PeerId, judged: Judged, bytes: Vec<u8>) {
        match judged {
            Judged::Good { from, platform } => {
                self.tally.gossip_in.add(1);
                self.emit(Event::Gossip {
                    from,
                    platform,
                    bytes,
                });
            }
            Judged::Useless => self.tally.dropped_gossip.add(1),
            Judged::Bad => {
                self.tally.dropped_gossip.add(1);
                if let Some(node) = node_of(&source) {
                    self.misbehaved(
                        node,
                        "it passes on a digest that breaks the rules".to_owned(),
                    );
                }
                self.send_away(source, "it passes on a digest that breaks the rules");
            }
        }
    }

    fn judge(&mut self, message: &Message) -> Judged {
        let mesh = self.roster().mesh();
        let platform = wire::platform_of(mesh, message.topic.as_str());
        let author = message.source.as_ref().and_then(node_of);
        let (Some(platform), Some(from), Some(number)) =
            (platform, author, message.sequence_number)
        else {
            return Judged::Bad;
        };
        if message.data.len() > GOSSIP_BYTES_MAX {
            return Judged::Bad;
        }
        // Its certificate may not have come round yet, or may just have expired.
        if from == self.me || self.roster().member(from, stamp()).is_none() {
            return Judged::Useless;
        }
        let now = Instant::now();
        let author = self.authors.entry(from).or_insert_with(|| Author {
            purse: Purse::of_peer(now),
            replay: Replay::default(),
        });
        if !author.replay.is_new(number) {
            return Judged::Useless;
        }
        match author.purse.take(Speech::Gossip, now) {
            Verdict::Pass if self.within_operator(from, Speech::Gossip) => {
                Judged::Good { from, platform }
            }
            Verdict::Pass => Judged::Useless,
            // Those who pass it on are not to blame, and neither is it worth a cut.
            Verdict::Drop | Verdict::Cut => {
                self.too_much(Speech::Gossip);
                Judged::Useless
            }
        }
    }
}
