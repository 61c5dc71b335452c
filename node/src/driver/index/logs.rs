//! Logs of steps that others have run or run now. A finished one is a blob like any other, and comes
//! when somebody reads it. One that still grows is copied here piece by piece from the node that
//! writes it, for as long as the step runs there: readers here see one live log.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use caravan_mesh::Wanted;
use caravan_protocol::{
    ids::{ActionKey, BlobId, NodeId, RunId},
    limits,
    policy::WantId,
    time::Time,
    view::{State, StepView},
};
use caravan_store::{LogWriter, StoreError};
use tokio::sync::oneshot;

use super::{Shared, live};
use crate::{
    build::chain,
    clock,
    driver::{Driver, Handle, inputs, outcome, questions},
};

/// Logs that are copied here at once while they grow.
const COPIES_MAX: usize = 8;
/// Finished logs that did not come and are not asked for again at once.
const FAILED_MAX: usize = 1024;
/// How long they are not.
const AGAIN: Duration = Duration::from_secs(10);
/// Longest wait for a finished log.
const LOG_WAIT: Duration = Duration::from_secs(30);
/// Bytes of one piece.
const PIECE_BYTES: usize = 256 * 1024;
/// How often a log is asked for that has not grown.
const PAUSE: Duration = Duration::from_millis(500);

/// What goes on about logs of other nodes.
#[derive(Debug, Default)]
pub(super) struct Logs(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    copies: BTreeSet<ActionKey>,
    failed: BTreeMap<BlobId, Time>,
}

/// The name of the copy of a live log.
pub(crate) fn copy_of(name: &str) -> String {
    format!("{name}.copy")
}

/// Sees to it that a step's log is to be had here. Called where blocking is allowed, before the log
/// is opened.
pub(crate) fn bring_log(handle: &Handle, run: RunId, want: WantId, step: &StepView) {
    let shared = &handle.shared;
    if shared.mesh.is_none() {
        return;
    }
    match step.log {
        Some(blob) => bring_blob(shared, blob, step.node),
        None if step.state == State::Running => {
            let Some(node) = step.node.filter(|node| *node != shared.home.key.node()) else {
                return;
            };
            let mut kept = shared
                .gathered
                .logs
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if kept.copies.len() >= COPIES_MAX || !kept.copies.insert(step.action) {
                return;
            }
            drop(kept);
            let (of, action) = (handle.clone(), step.action);
            shared.tasks.spawn("log copy", async move {
                if let Err(why) = copy(&of, run, want, (action, node)).await {
                    tracing::debug!(%why, peer = %node.fmt_short(), "a live log is not copied");
                }
                let kept = of.shared.gathered.logs.0.lock();
                kept.unwrap_or_else(PoisonError::into_inner)
                    .copies
                    .remove(&action);
            });
        }
        None => {}
    }
}

fn bring_blob(shared: &Arc<Shared>, blob: BlobId, node: Option<NodeId>) {
    if shared.home.store.has_blob(blob).unwrap_or(true) {
        return;
    }
    let lock = || {
        shared
            .gathered
            .logs
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    };
    let now = clock::now();
    let before = lock().failed.get(&blob).copied();
    if before.is_some_and(|before| now.since(before) < AGAIN) {
        return;
    }
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return;
    };
    let most = caravan_store::log_blob_bytes_max(limits::LOG_BYTES_MAX);
    let wanted = [Wanted::at_most(blob, most)];
    let connected = shared.mesh.as_ref().map(|mesh| mesh.connected());
    let mut nodes = live(shared, node);
    nodes.extend(connected.into_iter().flatten());
    let fetch = inputs::fetch_all(shared, &[], &wanted, &nodes);
    let fetched = runtime.block_on(async { tokio::time::timeout(LOG_WAIT, fetch).await });
    if !matches!(fetched, Ok(Ok(_))) {
        let mut kept = lock();
        if kept.failed.len() >= FAILED_MAX {
            kept.failed.clear();
        }
        kept.failed.insert(blob, now);
    }
}

/// Copies a live log until its step has ended, or is tried elsewhere: then what was copied is
/// dropped, as the attempt's own log is.
async fn copy(
    handle: &Handle,
    run: RunId,
    want: WantId,
    (action, node): (ActionKey, NodeId),
) -> Result<(), String> {
    let shared = &handle.shared;
    let store = shared.home.store.clone();
    let name = copy_of(&action.to_string());
    let writer = store.log_writer(&name, limits::LOG_BYTES_MAX);
    let mut writer = writer.map_err(|error| chain(&error))?;
    let (mut at, mut attempt) = (0, None);
    loop {
        let step = handle
            .run(run)
            .and_then(|run| run.steps.get(&want).cloned());
        let step = step.ok_or("there is no such step any more")?;
        if let Some(blob) = step.log {
            let of = Arc::clone(shared);
            let work = move || end(&of, writer, (blob, step.node), at);
            let ended = shared.tasks.blocking(work).await;
            return ended.map_err(|_| "the node stops".to_owned())?;
        }
        let first = *attempt.get_or_insert(step.attempt);
        let is_running = step.state == State::Running;
        if step.state.is_final() || (is_running && (step.node, step.attempt) != (Some(node), first))
        {
            return Err("it is tried elsewhere, or has no log".to_owned());
        }
        // What it made is on its way while it does not run any more.
        let piece = match is_running {
            true => ask(shared, node, action, at).await.unwrap_or_default(),
            false => Vec::new(),
        };
        if piece.is_empty() {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        at += piece.len() as u64;
        let append = move || writer.append(&piece).map(|()| writer);
        let appended = shared.tasks.blocking(append).await;
        let appended = appended.map_err(|_| "the node stops".to_owned())?;
        writer = appended.map_err(|error: StoreError| chain(&error))?;
    }
}

/// Takes over what is missing of a log that has ended, and ends the copy.
fn end(
    shared: &Arc<Shared>,
    mut writer: LogWriter,
    (blob, node): (BlobId, Option<NodeId>),
    mut at: u64,
) -> Result<(), String> {
    bring_blob(shared, blob, node);
    let reader = shared.home.store.open_log(blob, limits::LOG_BYTES_MAX);
    let reader = reader.map_err(|error| chain(&error))?;
    loop {
        let piece = reader.read_at(at, PIECE_BYTES);
        let piece = piece.map_err(|error| chain(&error))?;
        if piece.is_empty() {
            return writer.finish().map(drop).map_err(|error| chain(&error));
        }
        at += piece.len() as u64;
        writer.append(&piece).map_err(|error| chain(&error))?;
    }
}

async fn ask(shared: &Shared, node: NodeId, action: ActionKey, offset: u64) -> Option<Vec<u8>> {
    let mesh = shared.mesh.as_ref()?;
    let question = questions::log_question(action, offset)?;
    questions::of_log(&mesh.request(node, question).await.ok()?)
}

impl Driver {
    /// Answers with a piece of a log that grows here; with nothing where there is none.
    pub(crate) fn serve_log(
        &self,
        action: ActionKey,
        offset: u64,
        reply: oneshot::Sender<Vec<u8>>,
    ) {
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn("log piece", async move {
            let store = shared.home.store.clone();
            let read = move || {
                let reader = outcome::open_log(&store, &action.to_string(), None).ok()??;
                reader.read_at(offset, PIECE_BYTES).ok()
            };
            let piece = shared.tasks.blocking(read).await.ok().flatten();
            if let Some(bytes) = questions::log_answer(piece.unwrap_or_default()) {
                drop(reply.send(bytes));
            }
        });
    }
}
