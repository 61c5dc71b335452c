//! One connection's side of raw streams: negotiates those that are wished for and queues those that
//! the peer opens, to a bound.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use libp2p::{
    Stream, StreamProtocol,
    core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo},
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
        handler::{
            ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
        },
    },
};
use tokio::sync::oneshot;

use super::{OpenError, Wish};

/// Streams of the peer that wait to be taken; more are dropped, and whoever opened them tries again.
const ARRIVED_MAX: usize = 8;
/// Streams wished for on one connection at once.
const WISHED_MAX: usize = 64;

pub(crate) struct Handler {
    offered: Vec<StreamProtocol>,
    wished: VecDeque<Wish>,
    arrived: VecDeque<(StreamProtocol, Stream)>,
}

impl Handler {
    pub(super) const fn new(offered: Vec<StreamProtocol>) -> Self {
        Self {
            offered,
            wished: VecDeque::new(),
            arrived: VecDeque::new(),
        }
    }
}

/// What becomes of a stream that is being negotiated.
pub(crate) struct Asked {
    protocol: StreamProtocol,
    reply: oneshot::Sender<Result<Stream, OpenError>>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Wish;
    type ToBehaviour = (StreamProtocol, Stream);
    type InboundProtocol = Speaks;
    type OutboundProtocol = Speaks;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Asked;

    fn listen_protocol(&self) -> SubstreamProtocol<Speaks> {
        SubstreamProtocol::new(Speaks(self.offered.clone()), ())
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Speaks, Asked, (StreamProtocol, Stream)>> {
        if let Some(arrived) = self.arrived.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(arrived));
        }
        // Every other way in wakes the connection's task by itself.
        match self.wished.pop_front() {
            Some(wish) => Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(
                    Speaks(vec![wish.protocol.clone()]),
                    Asked {
                        protocol: wish.protocol,
                        reply: wish.reply,
                    },
                ),
            }),
            None => Poll::Pending,
        }
    }

    fn on_behaviour_event(&mut self, wish: Wish) {
        if self.wished.len() < WISHED_MAX {
            self.wished.push_back(wish);
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Speaks, Speaks, (), Asked>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (stream, protocol),
                ..
            }) if self.arrived.len() < ARRIVED_MAX => {
                self.arrived.push_back((protocol, stream));
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: (stream, _),
                info,
            }) => {
                // Whoever asked may have stopped waiting.
                let _ = info.reply.send(Ok(stream));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let error = match error {
                    StreamUpgradeError::Timeout => OpenError::Lost("no answer came".to_owned()),
                    StreamUpgradeError::Apply(never) => match never {},
                    StreamUpgradeError::NegotiationFailed => OpenError::Unsupported(info.protocol),
                    StreamUpgradeError::Io(error) => OpenError::Lost(error.to_string()),
                };
                let _ = info.reply.send(Err(error));
            }
            _ => {}
        }
    }
}

/// Protocols by name; a stream that is negotiated is handed over as it is.
pub(crate) struct Speaks(Vec<StreamProtocol>);

impl UpgradeInfo for Speaks {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl InboundUpgrade<Stream> for Speaks {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, name: StreamProtocol) -> Self::Future {
        ready(Ok((stream, name)))
    }
}

impl OutboundUpgrade<Stream> for Speaks {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, name: StreamProtocol) -> Self::Future {
        ready(Ok((stream, name)))
    }
}
