//! What everybody but the driver holds: questions to it, and the snapshots that it publishes.

use std::sync::Arc;

use caravan_gateway::LogChunk;
use caravan_protocol::{
    ids::{NodeId, RunId},
    policy::WantId,
    time::Stamp,
    view::{JobView, Overview, RunView, Snapshot},
};
use caravan_store::{LogError, LogReader};
use tokio::sync::{mpsc, oneshot, watch};

use super::{Ask, Shared, drain::Listener};
use crate::{
    control::{Checked, CiRequest, Reply},
    invites::{InviteAsk, InviteView},
};

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
    pub fn run(&self, id: RunId) -> Option<Arc<RunView>> {
        self.snapshots
            .borrow()
            .runs
            .iter()
            .find(|run| run.id == id)
            .cloned()
    }

    /// What waits, what runs and what goes over the wire now; nothing where the node is stopping.
    /// Only where blocking is allowed.
    pub(crate) fn overview_blocking(&self) -> Option<Arc<Overview>> {
        let (reply, answer) = oneshot::channel();
        self.asks.blocking_send(Ask::Overview { reply }).ok()?;
        answer.blocking_recv().ok()?.ok()
    }

    /// What waits, what runs and what goes over the wire now.
    pub async fn overview(&self) -> Result<Arc<Overview>, String> {
        self.ask(|reply| Ask::Overview { reply }).await
    }

    /// What became of a job that is named by the first digits of its key.
    pub async fn job(&self, prefix: String) -> Result<JobView, String> {
        self.ask(|reply| Ask::Job { prefix, reply }).await
    }

    /// Takes what a run asked for through once more, what has passed kept.
    pub async fn again(
        &self,
        run: RunId,
        on: Option<NodeId>,
        not_on: Vec<NodeId>,
    ) -> Result<RunId, String> {
        let ask = |reply| Ask::Again {
            run,
            on,
            not_on,
            reply,
        };
        self.ask(ask).await
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
    pub async fn invite(&self, ask: InviteAsk) -> Result<String, String> {
        self.ask(|reply| Ask::Invite { ask, reply }).await
    }

    /// The invites that were made.
    pub async fn invites(&self) -> Result<Vec<InviteView>, String> {
        self.ask(|reply| Ask::Invites { reply }).await
    }

    /// Takes an invite back: by the first digits of its id, or by its token.
    pub async fn withdraw(&self, what: String) -> Result<(), String> {
        self.ask(|reply| Ask::Withdraw { what, reply }).await
    }

    /// Strikes a node out.
    pub async fn revoke(&self, node: NodeId) -> Result<(), String> {
        self.ask(|reply| Ask::Revoke { node, reply }).await
    }

    /// Lets this node take no new work. Says why it takes none now.
    pub async fn pause(&self, why: String) -> Result<Option<String>, String> {
        self.ask(|reply| Ask::Pause { why, reply }).await
    }

    /// Lets this node take work again. Says why it takes none all the same, if it takes none.
    pub async fn resume(&self) -> Result<Option<String>, String> {
        self.ask(|reply| Ask::Resume { reply }).await
    }

    /// Lets this node end what it has, go from the mesh and stop.
    pub async fn drain(
        &self,
        leave: bool,
        wait: bool,
        progress: mpsc::Sender<Reply>,
    ) -> Result<Reply, String> {
        self.ask(|reply| Ask::Drain {
            leave,
            wait,
            listener: Listener { progress, reply },
        })
        .await
    }

    /// Lets a member take no work, or work again, by the council's word.
    pub async fn cordon(&self, node: NodeId, on: bool, why: String) -> Result<(), String> {
        self.ask(|reply| Ask::Cordon {
            node,
            on,
            why,
            reply,
        })
        .await
    }

    /// Renews this node's certificate. Says until when the new one is valid.
    pub async fn renew(&self) -> Result<Stamp, String> {
        self.ask(|reply| Ask::Renew { reply }).await
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
            Ok(Ok(report)) => {
                let mut checked = Checked::from(report);
                if heal {
                    checked.healed = super::keeping::heal(&self.shared).await;
                }
                Ok(Reply::Check(checked))
            }
            Ok(Err(error)) => Err(crate::build::chain(&error)),
            Err(_) => Err("the check was given up".to_owned()),
        }
    }

    /// A step's log, or nothing where there is none yet.
    pub(crate) async fn log(
        &self,
        run: RunId,
        want: WantId,
    ) -> Result<Option<LogReader>, LogError> {
        let handle = self.clone();
        let open = move || handle.open_log(run, want);
        // A node that stops has no logs any more.
        self.shared.tasks.blocking(open).await.unwrap_or(Ok(None))
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
        let read = || {
            let Some(reader) = self.open_log(run, want)? else {
                return Ok(None);
            };
            let live = reader.end().is_none();
            let bytes = reader.read_at(offset, max)?;
            Ok(Some(LogChunk {
                next: offset.saturating_add(bytes.len() as u64),
                bytes,
                total: reader.size(),
                live,
            }))
        };
        read().unwrap_or_else(|error: LogError| {
            tracing::debug!(error = %crate::build::chain(&error), "a log cannot be shown");
            None
        })
    }

    fn open_log(&self, run: RunId, want: WantId) -> Result<Option<LogReader>, LogError> {
        let step = self.run(run).and_then(|run| run.steps.get(&want).cloned());
        let Some(step) = step else { return Ok(None) };
        super::index::bring_log(self, run, want, &step);
        let store = &self.shared.home.store;
        super::outcome::open_log(store, &step.action.to_string(), step.log)
    }

    /// Looks into the store or looks after it; pieces and progress go to `said`.
    pub async fn store(
        &self,
        ask: crate::keeping::StoreAsk,
        said: mpsc::Sender<Reply>,
    ) -> Result<Reply, String> {
        let (store, marks) = (self.shared.home.store.clone(), self.shared.config.store);
        let stop = self.shared.tasks.stopping();
        let shared = std::sync::Arc::clone(&self.shared);
        let work = move || {
            let may_freeze = || !shared.keeping.is_waited_for();
            let mut tell = |reply| match reply {
                // Progress is for the eye: what finds no room is left out.
                Reply::Progress { .. } => {
                    let _ = said.try_send(reply);
                    !said.is_closed() && !stop.is_cancelled()
                }
                reply => said.blocking_send(reply).is_ok(),
            };
            crate::keeping::answer_beside(&store, &marks, &ask, &may_freeze, &mut tell)
        };
        let answer = self.shared.tasks.blocking(work).await;
        answer.unwrap_or_else(|_| Err("the store's thread died".to_owned()))
    }

    /// Stops the node.
    pub fn stop(&self) {
        self.shared.tasks.stopping().cancel();
    }

    pub(super) async fn ask<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<Result<T, String>>) -> Ask,
    ) -> Result<T, String> {
        let (reply, answer) = oneshot::channel();
        let stopped = || "the node is stopping".to_owned();
        self.asks.send(ask(reply)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}
