//! Messages and questions between members.

use std::time::Instant;

use caravan_protocol::{ids::NodeId, limits::MESSAGE_BYTES_MAX};
use libp2p::{
    PeerId,
    request_response::{Message, OutboundRequestId, ResponseChannel},
};
use tokio::sync::oneshot;

use super::{Actor, Asked, Done, PUMP};
use crate::{
    behaviour::RpcEvent,
    bucket::Verdict,
    event::Event,
    handle::AskError,
    limits::{ASKS_PER_PEER_MAX, QUESTIONS_MAX},
    names::peer_of,
    purse::Speech,
    wire::{Control, ControlAnswer},
};

impl Actor {
    pub(super) fn send(&mut self, to: NodeId, bytes: Vec<u8>) {
        let peer = peer_of(to);
        let member = peer
            .and_then(|peer| self.peers.get_mut(&peer))
            .filter(|entry| entry.is_member());
        let (Some(peer), Some(entry)) = (peer, member) else {
            return self.message_waits(to, bytes);
        };
        entry.used = Instant::now();
        if !entry.outbox.push(bytes) {
            return self.send_failed(to, 1, "too many messages wait for it");
        }
        self.pump(peer);
    }

    /// Sends the next batch to a peer if it is time.
    pub(super) fn pump(&mut self, peer: PeerId) {
        let Some(entry) = self.peers.get_mut(&peer).filter(|entry| entry.is_member()) else {
            return;
        };
        let Some(batch) = entry.outbox.next(Instant::now()) else {
            if entry.outbox.is_held_back() {
                self.pump_at.get_or_insert(Instant::now() + PUMP);
            }
            return;
        };
        self.tally.messages_out.add(batch.len());
        let id = self.put(peer, &Control::Batch(batch));
        self.batches.insert(id, peer);
    }

    /// Sends what waits for its turn, wherever that has come.
    pub(super) fn pump_all(&mut self) {
        let held_back: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|(_, entry)| entry.is_member() && entry.outbox.is_held_back())
            .map(|(peer, _)| *peer)
            .collect();
        for peer in held_back {
            self.pump(peer);
        }
    }

    fn put(&mut self, peer: PeerId, frame: &Control) -> OutboundRequestId {
        let bytes = frame.encode();
        self.tally.control_out_bytes.add(bytes.len());
        let members = self.swarm.behaviour_mut().members.inner();
        members.control.send_request(&peer, bytes)
    }

    pub(super) fn ask(
        &mut self,
        to: NodeId,
        bytes: Vec<u8>,
        reply: oneshot::Sender<Result<Vec<u8>, AskError>>,
    ) {
        let peer = peer_of(to);
        let member = peer
            .and_then(|peer| self.peers.get_mut(&peer))
            .filter(|entry| entry.is_member());
        let (Some(peer), Some(entry)) = (peer, member) else {
            return self.ask_waits(to, bytes, reply);
        };
        entry.used = Instant::now();
        // Whoever has stopped waiting needs no answer.
        if entry.asks >= ASKS_PER_PEER_MAX || !entry.outbox.may_ask(Instant::now()) {
            let _ = reply.send(Err(AskError::TooMany(to)));
            return;
        }
        entry.asks += 1;
        let id = self.put(peer, &Control::Ask(bytes));
        self.asks.insert(id, Asked { to, peer, reply });
    }

    pub(super) fn control(&mut self, event: RpcEvent) {
        match event {
            RpcEvent::Message { peer, message, .. } => match message {
                Message::Request {
                    request, channel, ..
                } => self.told(peer, &request, channel),
                Message::Response {
                    request_id,
                    response,
                } => self.settled(request_id, &response),
            },
            RpcEvent::OutboundFailure {
                request_id, error, ..
            } => self.lost(request_id, &error.to_string()),
            RpcEvent::InboundFailure { peer, error, .. } => {
                tracing::debug!(%peer, %error, "a control frame could not be read or answered");
            }
            RpcEvent::ResponseSent { .. } => {}
        }
    }

    fn told(&mut self, peer: PeerId, request: &[u8], channel: ResponseChannel<Vec<u8>>) {
        // The gate lets nobody else through; this is the second lock.
        let Some(entry) = self.peers.get_mut(&peer).filter(|entry| entry.is_heard()) else {
            return;
        };
        let now = Instant::now();
        entry.lives(now);
        entry.used = now;
        let from = entry.node;
        self.tally.control_in_bytes.add(request.len());
        match Control::decode(request) {
            Some(Control::Batch(messages)) => self.batch(peer, from, messages, channel),
            Some(Control::Ask(bytes)) => self.question(peer, from, bytes, channel),
            None => {
                self.misbehaved(from, "a control frame cannot be read".to_owned());
                self.send_away(peer, "its control frame cannot be read");
            }
        }
    }

    fn batch(
        &mut self,
        peer: PeerId,
        from: NodeId,
        messages: Vec<Vec<u8>>,
        channel: ResponseChannel<Vec<u8>>,
    ) {
        let mut dropped = 0;
        for bytes in messages {
            let verdict = if bytes.len() > MESSAGE_BYTES_MAX {
                Verdict::Drop
            } else {
                self.within_rate(peer, Speech::Control)
            };
            match verdict {
                Verdict::Pass if self.is_swamped() => {
                    self.tally.dropped_backlog.add(1);
                    dropped += 1;
                }
                Verdict::Pass => {
                    self.tally.messages_in.add(1);
                    self.emit(Event::Message { from, bytes });
                }
                Verdict::Drop => dropped += 1,
                Verdict::Cut => return self.cut(peer, from),
            }
        }
        let answer = ControlAnswer::Taken { dropped }.encode();
        self.answer(channel, answer);
    }

    fn question(
        &mut self,
        peer: PeerId,
        from: NodeId,
        bytes: Vec<u8>,
        channel: ResponseChannel<Vec<u8>>,
    ) {
        let refused = || ControlAnswer::Unanswered.encode();
        match self.within_rate(peer, Speech::Control) {
            Verdict::Pass if self.questions < QUESTIONS_MAX && !self.is_swamped() => {}
            Verdict::Pass | Verdict::Drop => return self.answer(channel, refused()),
            Verdict::Cut => return self.cut(peer, from),
        }
        let (reply, answer) = oneshot::channel();
        self.questions += 1;
        self.emit(Event::Request { from, bytes, reply });
        self.replies.push(Box::pin(async move {
            let answer = match answer.await {
                Ok(answer) if answer.len() <= MESSAGE_BYTES_MAX => ControlAnswer::Answered(answer),
                _ => ControlAnswer::Unanswered,
            };
            let answer = answer.encode();
            Done::Question { channel, answer }
        }));
    }

    pub(super) fn answer(&mut self, channel: ResponseChannel<Vec<u8>>, answer: Vec<u8>) {
        self.tally.control_out_bytes.add(answer.len());
        let members = self.swarm.behaviour_mut().members.inner();
        // The peer may be gone by now.
        let _ = members.control.send_response(channel, answer);
    }

    fn settled(&mut self, id: OutboundRequestId, response: &[u8]) {
        self.tally.control_in_bytes.add(response.len());
        let answer = ControlAnswer::decode(response);
        if let Some(peer) = self.batches.remove(&id) {
            let Some(entry) = self.peers.get_mut(&peer) else {
                return;
            };
            entry.lives(Instant::now());
            let (node, sent) = (entry.node, entry.outbox.settled());
            match answer {
                Some(ControlAnswer::Taken { dropped: 0 }) => {}
                Some(ControlAnswer::Taken { dropped }) => {
                    let dropped = usize::try_from(dropped).unwrap_or(sent).min(sent);
                    self.send_failed(node, dropped, "it takes no more messages for now");
                }
                _ => self.send_failed(node, sent, "its answer makes no sense"),
            }
            self.pump(peer);
        } else if let Some(asked) = self.asks.remove(&id) {
            self.asked_less(asked.peer);
            let result = match answer {
                Some(ControlAnswer::Answered(bytes)) => Ok(bytes),
                _ => Err(AskError::Unanswered(asked.to)),
            };
            let _ = asked.reply.send(result);
        }
    }

    fn lost(&mut self, id: OutboundRequestId, reason: &str) {
        if let Some(peer) = self.batches.remove(&id) {
            if let Some(entry) = self.peers.get_mut(&peer) {
                let (node, sent) = (entry.node, entry.outbox.settled());
                self.send_failed(node, sent, reason);
                self.pump(peer);
            }
        } else if let Some(asked) = self.asks.remove(&id) {
            self.asked_less(asked.peer);
            let reason = reason.to_owned();
            let to = asked.to;
            let _ = asked.reply.send(Err(AskError::Lost { to, reason }));
        }
    }

    fn asked_less(&mut self, peer: PeerId) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.asks = entry.asks.saturating_sub(1);
        }
    }

    pub(super) fn send_failed(&mut self, to: NodeId, count: usize, reason: &str) {
        if count == 0 {
            return;
        }
        self.tally.dropped_outbox.add(count);
        let reason = reason.to_owned();
        self.emit(Event::SendFailed { to, count, reason });
    }
}
