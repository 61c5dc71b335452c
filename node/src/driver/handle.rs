//! What everybody but the driver holds: questions to it, and the snapshots that it publishes.

use std::sync::Arc;

use caravan_gateway::LogChunk;
use caravan_protocol::{
    identity::Tier,
    ids::{NodeId, RunId},
    policy::WantId,
    view::{RunView, Snapshot},
};
use tokio::sync::{mpsc, oneshot, watch};

use super::{Ask, Shared};
use crate::control::{Checked, CiRequest, Reply};

/// A piece of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPiece {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Offset behind them.
    pub next: u64,
    /// Whether more may come.
    pub live: bool,
}

/// A node, from outside.
#[derive(Clone)]
pub struct Handle {
    pub(crate) asks: mpsc::Sender<Ask>,
    pub(crate) snapshots: watch::Receiver<Arc<Snapshot>>,
    pub(crate) shared: Arc<Shared>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Handle(of {})", self.shared.home.key.node().fmt_short())
    }
}

impl Handle {
    /// The newest snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// Tells when there is a newer one.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// One run as it is now.
    #[must_use]
    pub fn run(&self, id: RunId) -> Option<RunView> {
        self.snapshots
            .borrow()
            .runs
            .iter()
            .find(|run| run.id == id)
            .cloned()
    }

    /// Takes a project through CI.
    pub async fn ci(&self, request: CiRequest) -> Result<RunId, String> {
        self.ask(|reply| Ask::Ci { request, reply }).await
    }

    /// Gives a run up.
    pub async fn cancel(&self, run: RunId) -> Result<(), String> {
        self.ask(|reply| Ask::Cancel { run, reply }).await
    }

    /// Makes an invite token.
    pub async fn invite(&self, operator: String, tier: Tier) -> Result<String, String> {
        self.ask(|reply| Ask::Invite {
            operator,
            tier,
            reply,
        })
        .await
    }

    /// Strikes a node out.
    pub async fn revoke(&self, node: NodeId) -> Result<(), String> {
        self.ask(|reply| Ask::Revoke { node, reply }).await
    }

    /// Imports a base anew and pins it.
    pub async fn import_base(
        &self,
        name: String,
        progress: mpsc::Sender<Reply>,
    ) -> Result<Reply, String> {
        self.ask(|reply| Ask::ImportBase {
            name,
            progress,
            reply,
        })
        .await
    }

    /// Checks every object of the store, and forgets what is damaged if asked to.
    pub async fn check_store(
        &self,
        heal: bool,
        progress: mpsc::Sender<Reply>,
    ) -> Result<Reply, String> {
        let store = self.shared.home.store.clone();
        let work = move || {
            let mut tell = |done: u64, total: u64| {
                let what = "checking the store".to_owned();
                // Progress is for the eye: what finds no room is left out.
                let _ = progress.try_send(Reply::Progress { what, done, total });
            };
            store.check(heal, &mut tell)
        };
        match self.shared.tasks.blocking(work).await {
            Ok(Ok(report)) => Ok(Reply::Check(Checked::from(report))),
            Ok(Err(error)) => Err(crate::build::chain(&error)),
            Err(_) => Err("the check was given up".to_owned()),
        }
    }

    /// A piece of a step's log from `offset`, or nothing where there is none yet.
    pub async fn log(&self, run: RunId, want: WantId, offset: u64, max: usize) -> Option<LogPiece> {
        let step = self.run(run)?.steps.get(&want)?.clone();
        let store = self.shared.home.store.clone();
        let name = step.action.to_string();
        let read = move || super::outcome::read_log(&store, &name, step.log, offset, max);
        self.shared.tasks.blocking(read).await.ok()?
    }

    /// A piece of a step's log with its whole length, for the pages. It reads a file, so it is
    /// called where blocking is allowed.
    pub(crate) fn log_chunk(
        &self,
        run: RunId,
        want: WantId,
        offset: u64,
        max: usize,
    ) -> Option<LogChunk> {
        let step = self.run(run)?.steps.get(&want)?.clone();
        let store = &self.shared.home.store;
        let name = step.action.to_string();
        let total = match step.log {
            Some(log) => store.blob_size(log).ok()??,
            None => store.log(&name)?.size(),
        };
        let piece = super::outcome::read_log(store, &name, step.log, offset, max)?;
        Some(LogChunk {
            bytes: piece.bytes,
            next: piece.next,
            total,
            live: piece.live,
        })
    }

    /// Stops the node.
    pub fn stop(&self) {
        self.shared.tasks.stopping().cancel();
    }

    async fn ask<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<Result<T, String>>) -> Ask,
    ) -> Result<T, String> {
        let (reply, answer) = oneshot::channel();
        let stopped = || "the node is stopping".to_owned();
        self.asks.send(ask(reply)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}
