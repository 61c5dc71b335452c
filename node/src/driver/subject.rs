//! Finding what a run is about: the commit of a project with its files, and opam repositories.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use caravan_effects::{archive, git};
use caravan_protocol::{
    codec,
    ids::{BlobId, RunId, TreeId},
    policy::{DEFAULT_REPOSITORY, ProjectHead, RepositoryHead},
};
use caravan_store::{Store, TreeFiles};

use super::{Driver, Notice, Shared};
use crate::{build::chain, control::CiRequest};

/// Repositories held in memory between runs.
const REPOSITORIES_MAX: usize = 8;

/// Repositories read from directories and archives, by path, with when they were changed.
#[derive(Debug, Default)]
pub(crate) struct RepositoryCache(Mutex<BTreeMap<String, (SystemTime, RepositoryHead)>>);

impl Driver {
    pub(crate) fn find_subject(&mut self, run: RunId, request: CiRequest) {
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn("subject", async move {
            let found = project(&shared, &request).await;
            let _ = shared.notices.send(Notice::Subject { run, found }).await;
        });
    }

    pub(crate) fn find_repositories(&mut self, run: RunId, names: Vec<String>) {
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn("repositories", async move {
            let found = repositories(&shared, names).await;
            let _ = shared
                .notices
                .send(Notice::Repositories { run, found })
                .await;
        });
    }
}

pub(super) async fn project(
    shared: &Arc<Shared>,
    request: &CiRequest,
) -> Result<ProjectHead, String> {
    let _held = shared.home.store.hold();
    let mirrors = shared.config.data.join("git");
    let commit = git::resolve(&request.project, request.reference.as_deref(), &mirrors)
        .await
        .map_err(|error| chain(&error))?;
    let notes = match commit.dirty {
        true => vec!["uncommitted changes are not part of the run".to_owned()],
        false => Vec::new(),
    };
    let tree = commit_tree(shared, &commit).await?;
    let files = files(shared, tree).await?;
    Ok(ProjectHead {
        project: request.project.clone(),
        branch: commit.branch,
        commit: commit.id,
        title: commit.title,
        notes,
        tree,
        files: Arc::new(files),
    })
}

/// The tree of a commit; read from git once, then known by the commit's id.
async fn commit_tree(shared: &Arc<Shared>, commit: &git::Commit) -> Result<TreeId, String> {
    let known: Option<TreeId> = shared.home.load("commit", &commit.id).ok().flatten();
    if let Some(tree) = known
        && shared
            .home
            .store
            .missing(tree)
            .is_ok_and(|missing| missing.is_empty())
    {
        return Ok(tree);
    }
    let (store, commit) = (shared.home.store.clone(), commit.clone());
    let work = move || export(&store, &commit);
    shared
        .tasks
        .blocking(work)
        .await
        .map_err(|_| "reading the commit was given up".to_owned())?
}

fn export(store: &Store, commit: &git::Commit) -> Result<TreeId, String> {
    let mut batch = store.batch();
    let mut keep = |bytes: &[u8]| -> std::io::Result<BlobId> {
        batch
            .put_blob(bytes)
            .map_err(|error| std::io::Error::other(chain(&error)))
    };
    let tree =
        git::export(&commit.repository, &commit.id, &mut keep).map_err(|error| chain(&error))?;
    let id = batch.put_tree(&tree).map_err(|error| chain(&error))?;
    batch.commit().map_err(|error| chain(&error))?;
    if let Ok(bytes) = codec::encode::<64>(&id) {
        // Only saves reading git again.
        let _ = store.put_record("commit", &commit.id, &bytes);
    }
    Ok(id)
}

async fn files(shared: &Arc<Shared>, tree: TreeId) -> Result<TreeFiles, String> {
    let store = shared.home.store.clone();
    let work = move || TreeFiles::open(&store, tree).map_err(|error| chain(&error));
    shared
        .tasks
        .blocking(work)
        .await
        .map_err(|_| "reading the tree was given up".to_owned())?
}

pub(super) async fn repositories(
    shared: &Arc<Shared>,
    names: Vec<String>,
) -> Result<Vec<RepositoryHead>, String> {
    let mut heads = Vec::new();
    for name in names {
        if name != DEFAULT_REPOSITORY {
            heads.push(repository(shared, name).await?);
            continue;
        }
        if shared.config.repositories.is_empty() {
            return Err("the project needs an opam repository and this node has none: name one with --opam-repository PATH-OR-URL, or `opam_repositories` in the node's config.toml".to_owned());
        }
        for name in shared.config.repositories.clone() {
            heads.push(repository(shared, name).await?);
        }
    }
    Ok(heads)
}

async fn repository(shared: &Arc<Shared>, name: String) -> Result<RepositoryHead, String> {
    if git::is_url(&name) {
        let _held = shared.home.store.hold();
        let mirrors = shared.config.data.join("git");
        let commit = git::resolve(&name, None, &mirrors)
            .await
            .map_err(|error| chain(&error))?;
        let tree = commit_tree(shared, &commit).await?;
        let files = Arc::new(files(shared, tree).await?);
        return Ok(RepositoryHead {
            name: format!("{name}#{}", commit.id),
            state: tree.blob(),
            files,
        });
    }
    let shared = Arc::clone(shared);
    let tasks = shared.tasks.clone();
    let work = move || shared.repositories.read(&name);
    tasks
        .blocking(work)
        .await
        .map_err(|_| "reading the repository was given up".to_owned())?
}

impl RepositoryCache {
    fn read(&self, name: &str) -> Result<RepositoryHead, String> {
        let path = Path::new(name);
        // Only an archive tells by its own time that nothing in it changed.
        let changed = path.metadata().ok().filter(std::fs::Metadata::is_file);
        let changed = changed.and_then(|metadata| metadata.modified().ok());
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((then, head)) = known.get(name)
            && Some(*then) == changed
        {
            return Ok(head.clone());
        }
        let (files, state) = archive::read(path).map_err(|error| chain(&error))?;
        let head = RepositoryHead {
            name: name.to_owned(),
            state,
            files: Arc::new(files),
        };
        if let Some(changed) = changed {
            if known.len() >= REPOSITORIES_MAX {
                known.pop_first();
            }
            known.insert(name.to_owned(), (changed, head.clone()));
        }
        Ok(head)
    }
}
