//! The providers of a fetch: their links come, go and come again.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use caravan_protocol::ids::NodeId;
use libp2p::StreamProtocol;
use tokio::sync::mpsc;

use super::{Fetch, JOBS_MAX};
use crate::{
    bulk::{
        flow::bounded,
        link::{Failure, Job, Link, Note, Teller},
        swarm::Event,
    },
    handle::Handle,
    limits::{BUSY_PAUSE, BUSY_TRIES_MAX, PROVIDERS_MAX},
    names::peer_of,
    traffic::Way,
    wire::BLOBS,
};

/// A provider as the fetch sees it.
#[derive(Default)]
pub(super) struct Peer {
    pub(super) jobs: Option<mpsc::Sender<Job>>,
    pub(super) is_up: bool,
    /// It is not asked again.
    pub(super) is_over: bool,
    pub(super) tries: u32,
    pub(super) strikes: u32,
    /// Watches that it has not answered.
    pub(super) unheard: usize,
    pub(super) moved: Arc<AtomicU64>,
    /// How much had moved when the actor was told.
    pub(super) told: u64,
    /// Whether the link brought something that was good.
    pub(super) gave: bool,
}

impl Fetch {
    /// Makes a node a provider.
    pub(super) fn add(&mut self, node: NodeId) {
        if self.peers.contains_key(&node)
            || self.peers.len() >= PROVIDERS_MAX
            || node == self.teller.node
        {
            return;
        }
        self.peers.insert(node, Peer::default());
        self.link(node, Duration::ZERO);
    }

    pub(super) fn link(&mut self, node: NodeId, pause: Duration) {
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        let (jobs, todo) = mpsc::channel(JOBS_MAX);
        peer.jobs = Some(jobs);
        peer.is_up = false;
        peer.unheard = 0;
        peer.gave = false;
        let traffic = &self.handle.tally().traffic;
        traffic.watch(node, Way::In, &peer.moved);
        let link = Link {
            terms: self.handle.terms().clone(),
            sink: Arc::clone(&self.order.sink),
            moved: Arc::clone(&peer.moved),
            progress: Arc::clone(&self.order.progress),
            teller: Teller {
                node,
                notes: self.teller.notes.clone(),
            },
        };
        let handle = self.handle.clone();
        self.links.spawn(async move {
            let teller = link.teller.clone();
            tokio::time::sleep(pause).await;
            let failure = match open(&handle, node).await {
                Ok(stream) => link.run(stream, todo).await.err(),
                Err(failure) => Some(failure),
            };
            let silent = || Failure::Lost("it ended the stream".to_owned());
            let ended = Note::Ended(failure.unwrap_or_else(silent));
            teller.tell(ended).await;
        });
    }

    pub(super) fn ended(&mut self, node: NodeId, failure: Failure) {
        self.event(Event::Gone { node });
        for large in &mut self.large {
            large.parts.remove(&node);
        }
        let Some(peer) = self.peers.get_mut(&node).filter(|peer| !peer.is_over) else {
            return;
        };
        peer.jobs = None;
        peer.is_up = false;
        let words = match failure {
            Failure::Broke(words) => {
                self.handle.report(node, words.clone());
                words
            }
            Failure::Busy if peer.tries < BUSY_TRIES_MAX => return self.again(node),
            Failure::Busy => "it is busy".to_owned(),
            // A connection that went away while it was of use may be back.
            Failure::Lost(_) if peer.gave && peer.tries < BUSY_TRIES_MAX => {
                return self.again(node);
            }
            Failure::Lost(words) => words,
            Failure::Fatal(error) => error.to_string(),
        };
        peer.is_over = true;
        self.fetched.failures.push((node, words));
    }

    fn again(&mut self, node: NodeId) {
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        peer.tries += 1;
        let pause = BUSY_PAUSE.saturating_mul(1 << peer.tries);
        self.link(node, pause);
    }

    pub(super) fn tell_alive(&mut self) {
        for (node, peer) in &mut self.peers {
            let moved = peer.moved.load(Ordering::Relaxed);
            if moved != std::mem::replace(&mut peer.told, moved) {
                self.handle.alive(*node);
            }
        }
    }
}

async fn open(handle: &Handle, node: NodeId) -> Result<libp2p::Stream, Failure> {
    let connected = handle.reach(node).await;
    let Some(peer) = peer_of(node).filter(|_| connected) else {
        return Err(Failure::Lost("it is not connected".to_owned()));
    };
    let mut streams = handle.streams();
    let opened = bounded(handle.terms(), async {
        let opened = streams.open_stream(peer, StreamProtocol::new(BLOBS)).await;
        opened.map_err(|error| io::Error::other(error.to_string()))
    });
    Ok(opened.await?)
}
