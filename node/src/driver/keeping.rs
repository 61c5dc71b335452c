//! What of the store is needed by what goes on here, and making room for more.
//!
//! An attempt keeps what it is given and makes until its claim is kept; a run keeps what its policy
//! has provided and what its steps have made until it ends; bases are pinned. Room is made by a
//! task of its own: at the start, now and then, after attempts, and at once when the disk is full.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use caravan_protocol::{
    action::Action,
    claim::{Claim, Verdict},
    identity::Signed,
    ids::{ActionKey, MeshId, NodeId, RunId},
    offer::AttemptId,
    policy::{Base, Command, Outcome},
};
use caravan_store::{
    Collect, FULL_WORDS, Hold, Lease, Pin, Pinned, Stage, Store, StoreError, Used,
};
use tokio::sync::Notify;

use super::{Driver, Shared, inputs};
use crate::{
    build::{Built, chain},
    keeping::{freezing, now_s},
};

/// How often the water marks are looked at.
const LOOK: Duration = Duration::from_secs(60);
/// Least that is freed when the disk was full, bytes: a quota may leave less than the disk has.
const FREED_LEAST: u64 = 256 * 1024 * 1024;
/// Most files of all that members are asked for when a pinned tree is healed are those of so many.
const HEALED_MAX: usize = 1000;

/// What is kept for what goes on.
#[derive(Debug, Default)]
pub(crate) struct Keeping {
    /// One collection is enough for all that wait for room.
    collecting: tokio::sync::Mutex<()>,
    /// How many wait for room at once: a collection that takes its time is to hurry.
    waiting: AtomicUsize,
    look: Notify,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    attempts: BTreeMap<AttemptId, (Hold, Lease)>,
    runs: BTreeMap<RunId, Lease>,
}

impl Keeping {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something waits for room: then a collection freezes nothing more.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Has the water marks looked at soon.
    pub(crate) fn look(&self) {
        self.look.notify_one();
    }

    /// A run begins.
    pub(crate) fn begin_run(&self, run: RunId, store: &Store) {
        self.lock().runs.insert(run, store.lease(&[]));
    }

    /// A run needs nothing any more.
    pub(crate) fn end_run(&self, run: RunId) {
        self.lock().runs.remove(&run);
        self.look();
    }

    /// A run needs what its policy provides. Called before that is kept.
    pub(crate) fn provided(&self, run: RunId, commands: &[Command]) {
        for command in commands {
            if let Command::Provide { tree, .. } = command
                && let Ok((id, _)) = tree.seal()
                && let Some(lease) = self.lock().runs.get_mut(&run)
            {
                lease.add(id);
            }
        }
    }

    /// A run needs what an action of its own names.
    pub(crate) fn wanted(&self, run: RunId, action: &Action) {
        if let Some(lease) = self.lock().runs.get_mut(&run) {
            for tree in inputs::trees_of(action) {
                lease.add(tree);
            }
        }
    }

    /// A run needs what one of its steps came to.
    pub(crate) fn got(&self, run: RunId, outcome: &Outcome) {
        if let Some(lease) = self.lock().runs.get_mut(&run) {
            if let Some(tree) = outcome.output {
                lease.add(tree);
            }
            if let Some(log) = outcome.log {
                lease.add_blob(log);
            }
        }
    }

    /// An attempt begins: what it names stays, and what it makes.
    pub(crate) fn begin(&self, attempt: AttemptId, store: &Store, action: &Action) {
        let hold = store.hold();
        let trees = inputs::trees_of(action);
        let lease = store.lease(&trees);
        let now_s = now_s();
        for tree in trees {
            note(store.note_use(tree, now_s));
        }
        self.lock().attempts.insert(attempt, (hold, lease));
    }

    /// An attempt has ended, and whatever is to be kept of it is.
    pub(crate) fn end(&self, attempt: AttemptId) {
        self.lock().attempts.remove(&attempt);
        self.look();
    }
}

fn note(noted: Result<(), StoreError>) {
    if let Err(error) = noted {
        tracing::debug!(error = %chain(&error), "a use was not noted");
    }
}

/// Looks at what an attempt came to before the driver hears of it: what it made must be here, and if
/// the disk was full there must be room when it is tried again.
pub(crate) async fn check_built(shared: &Arc<Shared>, attempt: AttemptId, built: Built) -> Built {
    if let Some(tree) = built.output.filter(|_| built.verdict != Verdict::Infra) {
        if let Some((_, lease)) = shared.keeping.lock().attempts.get_mut(&attempt) {
            lease.add(tree);
        }
        let store = shared.home.store.clone();
        let whole = shared.tasks.blocking(move || store.missing(tree)).await;
        if !whole.is_ok_and(|whole| whole.is_ok_and(|missing| missing.is_empty())) {
            return Built::infra("what it made was collected before it was named; again");
        }
    }
    let full = built.verdict == Verdict::Infra
        && built
            .message
            .as_ref()
            .is_some_and(|words| words.contains(FULL_WORDS));
    if full {
        make_room(shared, true).await;
    }
    built
}

/// Collects down to the low water mark, if the high one is reached or `now`. One at a time: whoever
/// waited for another's collection looks again whether it was enough.
pub(super) async fn make_room(shared: &Arc<Shared>, now: bool) {
    let before = shared.home.store.disk().ok();
    // Whoever waits for room does not wait until something is frozen.
    let waiting = now.then(|| Waiting::new(shared));
    let _one = shared.keeping.collecting.lock().await;
    let keeping = Arc::clone(shared);
    let store = shared.home.store.clone();
    let marks = shared.config.store;
    let stop = shared.tasks.stopping();
    let work = move || -> Result<Option<caravan_store::Collected>, StoreError> {
        // The store may be collected for a person just now, and that is waited for as well.
        let _waiting = waiting;
        let disk = store.disk()?;
        // Another collection has made the room that was wanted.
        let made = before.is_some_and(|before| disk.free > before.free.saturating_add(FREED_LEAST));
        let want_bytes = match now && !made {
            true => marks.surplus(&disk).max(FREED_LEAST),
            false => marks.excess(&disk),
        };
        if want_bytes == 0 {
            return Ok(None);
        }
        let ask = Collect {
            now_s: now_s(),
            want_bytes,
            dry_run: false,
            freeze: freezing(&marks).filter(|_| !now),
        };
        let done = store.collect(&ask, &mut |stage, _, _| {
            let may = match stage {
                Stage::Freezing => !keeping.keeping.is_waited_for(),
                _ => true,
            };
            may && !stop.is_cancelled()
        })?;
        Ok(Some(done))
    };
    match shared.tasks.blocking(work).await {
        Ok(Ok(None)) | Err(_) => {}
        Ok(Ok(Some(done))) if done.short_bytes > 0 => tracing::warn!(
            freed_bytes = done.freed_bytes,
            short_bytes = done.short_bytes,
            "the store cannot be made small enough: what is left of it is pinned or in use; make room on its disk"
        ),
        Ok(Ok(Some(done))) => tracing::info!(
            freed_bytes = done.freed_bytes,
            evicted = done.evicted,
            frozen = done.frozen,
            packs = done.packs,
            "made room in the store"
        ),
        Ok(Err(error)) => {
            tracing::warn!(error = %chain(&error), "could not make room in the store")
        }
    }
}

/// That somebody waits for room.
struct Waiting(Arc<Shared>);

impl Waiting {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.keeping.waiting.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(shared))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.keeping.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Looks at the water marks and writes notes of uses down, until the node stops.
pub(crate) fn watch(shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    let tasks = shared.tasks.clone();
    tasks.spawn("keeping", async move {
        loop {
            let store = shared.home.store.clone();
            let flushed = shared.tasks.blocking(move || store.flush_notes()).await;
            if let Ok(flushed) = flushed {
                note(flushed);
            }
            make_room(&shared, false).await;
            tokio::time::sleep(LOOK_LEAST).await;
            tokio::select! {
                () = shared.keeping.look.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    });
}

/// Attempts may end many times a second; looking that often is of no use.
const LOOK_LEAST: Duration = Duration::from_secs(1);

/// Pins a base under its name.
pub(crate) fn pin_base(store: &Store, base: &Base) -> Result<(), StoreError> {
    note(store.note_made(base.tree, now_s(), 0, &format!("base {}", base.name)));
    store.pin(&Pin {
        name: format!("base/{}", base.name),
        what: Pinned::Tree(base.tree),
        why: "a base of this node".to_owned(),
        since_s: now_s(),
    })
}

impl Driver {
    /// At the start: pins bases, and notes the results of a store that was written before uses were.
    pub(crate) fn begin_keeping(&self) {
        let store = &self.shared.home.store;
        for base in &self.bases {
            if let Err(error) = pin_base(store, base) {
                tracing::warn!(base = base.name, error = %chain(&error), "a base is not pinned");
            }
        }
        if store.has_uses().unwrap_or(true) {
            return;
        }
        let mesh = self.membership.roster.mesh();
        let noted = store.for_each_claim(&mut |claim| note_claim(store, mesh, claim, ""));
        note(noted);
        note(store.flush_notes());
    }

    /// Notes what a claim that is kept names.
    pub(crate) fn note_result(&self, action: ActionKey, claim: &Signed<Claim>) {
        let label = self.jobs.get(&action).and_then(|job| {
            let waiter = job.waiters.first()?;
            let step = self.runs.get(&waiter.run)?.view.steps.get(&waiter.want)?;
            Some(step.label.clone())
        });
        let mesh = self.membership.roster.mesh();
        note_claim(
            &self.shared.home.store,
            mesh,
            claim,
            &label.unwrap_or_default(),
        );
    }

    /// A result that was here before is used again.
    pub(crate) fn note_hit(&mut self, outcome: &Outcome) {
        self.counters.saved_ms += outcome.wall_ms;
        let store = &self.shared.home.store;
        if let Some(tree) = outcome.output {
            if let Ok(listed) = store.tree(tree) {
                self.counters.spared_bytes += listed.size();
            }
            note(store.note_use(tree, now_s()));
        }
        if let Some(log) = outcome.log {
            note(store.note_blob(log, Used::Log, now_s(), 0, ""));
        }
    }
}

fn note_claim(store: &Store, mesh: MeshId, claim: &Signed<Claim>, label: &str) {
    let Ok(said) = claim.open(mesh) else { return };
    let used_s = (said.started.as_ms() + said.wall_ms) / 1000;
    if let Some(tree) = said.output {
        note(store.note_made(tree, used_s, said.wall_ms, label));
    }
    for blob in said.outputs.values() {
        note(store.note_blob(*blob, Used::Blob, used_s, said.wall_ms, label));
    }
    if let Some(log) = said.log {
        note(store.note_blob(log, Used::Log, used_s, 0, label));
    }
}

/// Asks members for what pinned trees lack, after a check has forgotten what was damaged. Says what
/// came of it, a line for each pin that lacked something.
pub(crate) async fn heal(shared: &Arc<Shared>) -> Vec<String> {
    let store = shared.home.store.clone();
    let lacking = move || -> Result<Vec<Pin>, StoreError> {
        let mut lacking = Vec::new();
        for pin in store.pins()? {
            let whole = match pin.what {
                Pinned::Tree(tree) => store.missing(tree)?.is_empty(),
                Pinned::Blob(blob) => store.has_blob(blob)?,
            };
            if !whole && lacking.len() < HEALED_MAX {
                lacking.push(pin);
            }
        }
        Ok(lacking)
    };
    let lacking = match shared.tasks.blocking(lacking).await {
        Ok(Ok(lacking)) => lacking,
        Ok(Err(error)) => return vec![format!("look at the pins: {}", chain(&error))],
        Err(_) => return Vec::new(),
    };
    let members: Vec<NodeId> = shared
        .mesh
        .as_ref()
        .map(|mesh| mesh.connected().into_iter().collect())
        .unwrap_or_default();
    let mut lines = Vec::new();
    for pin in lacking {
        let (trees, blobs) = match pin.what {
            Pinned::Tree(tree) => (vec![tree], Vec::new()),
            Pinned::Blob(blob) => {
                let most = caravan_protocol::limits::BLOB_BYTES_MAX;
                (Vec::new(), vec![caravan_mesh::Wanted::at_most(blob, most)])
            }
        };
        lines.push(
            match inputs::fetch_all(shared, &trees, &blobs, &members).await {
                Ok(bytes) => format!(
                    "pin {}: {bytes} bytes fetched from members, it is whole again",
                    pin.name
                ),
                Err(why) => format!("pin {}: still damaged: {why}", pin.name),
            },
        );
    }
    lines
}
