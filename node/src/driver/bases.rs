//! Bases: pinned trees with the digests that they were made from. A base is imported when the first
//! run needs it and from then on only by command, so that nothing above it changes by itself.

use std::sync::Arc;

use caravan_effects::base::{self, Importable};
use caravan_protocol::{
    identity::Tier,
    ids::{NodeId, RunId},
    platform::Platform,
    policy::Base,
};
use tokio::sync::{mpsc, oneshot};

use super::{Driver, Notice, Shared, questions};
use crate::{
    build::chain,
    clock,
    control::Reply,
    home::{Home, HomeError},
};

/// The bases pinned in a node's store, by name.
pub(crate) fn pinned(home: &Home) -> Vec<Base> {
    let records = match home.store.records("base") {
        Ok(records) => records,
        Err(error) => {
            tracing::warn!(%error, "could not read which bases are pinned");
            return Vec::new();
        }
    };
    let load = |name: &str| match home.load("base", name) {
        Ok(base) => base,
        Err(error) => {
            let why = chain(&error);
            tracing::warn!(
                base = name,
                why,
                "an older version kept this base; import it again"
            );
            None
        }
    };
    records.iter().filter_map(|(name, _)| load(name)).collect()
}

impl Driver {
    /// Has the bases of a run: those pinned, and those that must be imported first.
    pub(crate) fn find_bases(&mut self, run: RunId) {
        let run_bases = self.runs.get(&run).map(|run| run.bases.clone());
        let names = run_bases.unwrap_or_default();
        let names = if names.is_empty() {
            self.shared.config.bases.clone()
        } else {
            names
        };
        let shared = Arc::clone(&self.shared);
        let trusted = self.trusted();
        self.shared.tasks.spawn("bases", async move {
            let found = all(&shared, &trusted, names).await;
            let _ = shared.notices.send(Notice::Bases { run, found }).await;
        });
    }

    pub(crate) fn import_base(
        &mut self,
        name: String,
        progress: mpsc::Sender<Reply>,
        reply: oneshot::Sender<Result<Reply, String>>,
    ) {
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn("import base", async move {
            let imported = async {
                let wanted = base::importable(&name).map_err(|error| error.to_string())?;
                let what = format!("making {} from Debian's {}", wanted.name, wanted.suite);
                let _ = progress.try_send(Reply::Progress {
                    what,
                    done: 0,
                    total: 0,
                });
                have(&shared, &[], wanted, true).await.map(Reply::Base)
            };
            drop(reply.send(imported.await));
        });
    }

    /// Other members whose word on a base is taken.
    pub(super) fn trusted(&self) -> Vec<NodeId> {
        let members = self.membership.roster.members(clock::stamp());
        let trusted = members
            .filter(|cert| cert.tier >= Tier::Trusted)
            .map(|cert| cert.node);
        trusted
            .filter(|node| *node != self.shared.home.key.node())
            .collect()
    }

    pub(crate) fn on_imported(&mut self, base: Base) {
        self.bases
            .retain(|known| known.name != base.name || known.platform != base.platform);
        self.bases.push(base);
        self.changed = true;
    }
}

/// The bases of these names: those pinned, and those that must be imported first.
pub(super) async fn all(
    shared: &Arc<Shared>,
    trusted: &[NodeId],
    names: Vec<String>,
) -> Result<Vec<Base>, String> {
    let mut bases = Vec::new();
    for name in names {
        // A base that a person has imported under a name of its own.
        if base::importable(&name).is_err()
            && let Some(base) = known(shared, &name)?
        {
            bases.push(base);
            continue;
        }
        let wanted = base::importable(&name).map_err(|error| error.to_string())?;
        bases.push(have(shared, trusted, wanted, false).await?);
    }
    Ok(bases)
}

/// The base that is pinned under this name, if all of it is here.
pub(super) fn known(shared: &Shared, name: &str) -> Result<Option<Base>, String> {
    let known: Option<Base> = match shared.home.load("base", name) {
        Ok(known) => known,
        // What an older version has pinned under a name is never replaced silently.
        Err(error @ HomeError::Codec(_)) => {
            let text = chain(&error);
            return Err(format!(
                "read what is pinned as {name} ({text}): an older version kept it; import it again with `caravan base import` or `caravan image import`"
            ));
        }
        Err(error) => return Err(chain(&error)),
    };
    let whole = |base: &Base| {
        shared
            .home
            .store
            .missing(base.tree)
            .is_ok_and(|missing| missing.is_empty())
    };
    Ok(known.filter(whole))
}

/// The base, imported if there is none or `anew` is asked for. One import at a time.
pub(super) async fn have(
    shared: &Arc<Shared>,
    trusted: &[NodeId],
    wanted: Importable,
    anew: bool,
) -> Result<Base, String> {
    if !anew && let Some(base) = known(shared, wanted.name)? {
        return Ok(base);
    }
    let _one = shared.importing.lock().await;
    // What is made here is nobody's until it is pinned.
    let _held = shared.home.store.hold();
    // Another may have made it meanwhile.
    if !anew && let Some(base) = known(shared, wanted.name)? {
        return Ok(base);
    }
    if !anew && let Some(base) = questions::base_of_a_member(shared, trusted, wanted.name).await {
        return pin(shared, base).await;
    }
    tracing::info!(
        base = wanted.name,
        "importing a base; this takes a few minutes"
    );
    let workspace = shared
        .home
        .store
        .workspace()
        .map_err(|error| chain(&error))?;
    let out = workspace.path().join("base");
    let facts = base::import(&shared.recipes, wanted, &out)
        .await
        .map_err(|error| chain(&error))?;
    let store = shared.home.store.clone();
    let ingest = move || {
        let ingested = store.ingest_dir(&out);
        drop(workspace);
        ingested
    };
    let ingested = shared
        .tasks
        .blocking(ingest)
        .await
        .map_err(|_| "the import was given up".to_owned())?;
    let ingested = ingested.map_err(|error| chain(&error))?;
    let platform = Platform::here();
    let base = Base {
        name: wanted.name.to_owned(),
        platform,
        tree: ingested.tree,
        facts,
        env: Vec::new(),
    };
    pin(shared, base).await
}

/// Keeps a base as the one of its name.
pub(super) async fn pin(shared: &Arc<Shared>, base: Base) -> Result<Base, String> {
    shared
        .home
        .save("base", &base.name, &base)
        .map_err(|error| chain(&error))?;
    super::keeping::pin_base(&shared.home.store, &base).map_err(|error| chain(&error))?;
    let _ = shared
        .notices
        .send(Notice::Imported { base: base.clone() })
        .await;
    Ok(base)
}
