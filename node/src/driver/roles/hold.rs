//! Holding a run: what its charge names is brought here when the charge comes, so that this node
//! can begin at once should it have to.

use std::sync::Arc;

use caravan_effects::archive;
use caravan_mesh::Wanted;
use caravan_protocol::{
    ids::{NodeId, RunId, TreeId},
    offer::Place,
    policy::{Base, Event, ProjectHead, RepositoryHead, Watched},
    role::{self, Charge, Content, Repository},
    view::{PolicyView, RunView, State},
};
use caravan_store::{Lease, Store, TreeFiles};
use tokio::sync::mpsc;

use super::{
    super::{Driver, Notice, Shared, host, inputs, jobs::Waiter, runs::Run, weigh::Reuse},
    Told,
};
use crate::build::chain;

/// Roles that can be held from a charge alone.
pub(super) const CHARGEABLE: [&str; 1] = ["ci"];
/// Largest archive of a repository that is taken from a member, bytes.
const PACKED_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What a run is about, to be told to its policy.
#[derive(Clone)]
pub(crate) struct Heads {
    pub(crate) project: ProjectHead,
    pub(crate) repositories: Vec<RepositoryHead>,
    pub(crate) bases: Vec<Base>,
}

/// What a charge names, kept here.
pub(super) struct Kept {
    _lease: Lease,
    heads: Option<Heads>,
    fetching: bool,
}

impl Kept {
    pub(super) fn new(store: &Store, charge: &Charge, heads: Option<Heads>) -> Self {
        let (mut trees, blobs) = needs(charge);
        trees.extend(charge.bases.iter().map(|base| base.tree));
        let mut lease = store.lease(&trees);
        for blob in blobs {
            lease.add_blob(blob.id);
        }
        Self {
            _lease: lease,
            heads,
            fetching: false,
        }
    }
}

/// What a policy is told of, by content.
fn needs(charge: &Charge) -> (Vec<TreeId>, Vec<Wanted>) {
    let mut trees = vec![charge.subject.tree];
    let mut blobs = Vec::new();
    for repository in &charge.repositories {
        match repository.content {
            Content::Tree(tree) => trees.push(tree),
            Content::Packed(blob) => blobs.push(Wanted::at_most(blob, PACKED_BYTES_MAX)),
        }
    }
    (trees, blobs)
}

impl Driver {
    /// A charge is kept here: what it names is brought here in time.
    pub(super) fn keep_inputs(&mut self, run: RunId) {
        let Some(charge) = self.roles.engine.charge(run) else {
            return;
        };
        if !self.roles.kept.contains_key(&run) {
            let kept = Kept::new(&self.shared.home.store, charge, None);
            self.roles.kept.insert(run, kept);
        }
        self.fetch_inputs(run);
    }

    fn fetch_inputs(&mut self, run: RunId) {
        let Some(charge) = self.roles.engine.charge(run).cloned() else {
            return;
        };
        let me = self.shared.home.key.node();
        let lead = self.roles.engine.lead(run).map(|(lead, _)| lead);
        let mut providers: Vec<NodeId> = vec![charge.requester];
        providers.extend(lead);
        providers.extend(self.roles.engine.keepers(run));
        let mut seen = std::collections::BTreeSet::from([me]);
        providers.retain(|node| seen.insert(*node) && self.told.contains_key(node));
        let Some(kept) = self.roles.kept.get_mut(&run) else {
            return;
        };
        if kept.fetching || kept.heads.is_some() {
            return;
        }
        kept.fetching = true;
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn("charge", async move {
            let found = bring(&shared, &charge, &providers).await;
            let told = Told::Inputs { run, found };
            let _ = shared.notices.send(Notice::Role(told)).await;
            // Steps need them later, and whoever asked may be gone by then.
            let bases: Vec<TreeId> = charge.bases.iter().map(|base| base.tree).collect();
            if let Err(error) = inputs::fetch_all(&shared, &bases, &[], &providers).await {
                tracing::info!(%error, "the bases of a charge are not all here");
            }
        });
    }

    pub(super) fn on_inputs(&mut self, run: RunId, found: Result<Heads, String>) {
        let Some(kept) = self.roles.kept.get_mut(&run) else {
            return;
        };
        kept.fetching = false;
        match found {
            Ok(heads) => {
                kept.heads = Some(heads);
                if self.roles.engine.holds(run) {
                    self.start_charged(run);
                }
            }
            Err(why) => {
                tracing::warn!(%why, run = %run.fmt_short(), "what a charge names is not here");
                if self.roles.engine.holds(run) {
                    self.role(role::Event::Unable(run));
                }
            }
        }
    }

    /// Runs what this node was charged with, unless it does already.
    pub(super) fn start_charged(&mut self, id: RunId) {
        if self.runs.get(&id).is_some_and(|run| run.policy.is_some()) {
            return;
        }
        let Some(charge) = self.roles.engine.charge(id).cloned() else {
            return;
        };
        if !CHARGEABLE.contains(&charge.role.as_str()) {
            return self.role(role::Event::Unable(id));
        }
        let Some(heads) = self.roles.kept.get(&id).and_then(|kept| kept.heads.clone()) else {
            return self.fetch_inputs(id);
        };
        let reuse = match charge.again {
            true => Reuse::Passed,
            false => Reuse::Any,
        };
        let role = charge.role_id();
        let mut run = Run::new(first_view(&charge), reuse, None);
        run.role = Some(role);
        run.params = charge.params.clone();
        run.place = Place {
            on: charge.on,
            not_on: charge.not_on.clone(),
        };
        self.runs.insert(id, run);
        self.roles.mirrors.remove(&id);
        if !self.host_heads(id, heads) {
            self.role(role::Event::Unable(id));
        }
    }

    /// Hosts the policy of a run of which everything is known. Whether there is one.
    pub(super) fn host_heads(&mut self, id: RunId, heads: Heads) -> bool {
        let Some(run) = self.runs.get_mut(&id) else {
            return false;
        };
        let (role, params, reuse) = (run.view.role.clone(), run.params.clone(), run.reuse);
        let mut factories = self.shared.factories.iter();
        let Some(factory) = factories.find(|factory| factory.role() == role) else {
            return false;
        };
        let policy = factory.start(&params);
        let (inbox, events) = mpsc::channel(host::INBOX_MAX);
        let project = heads.project.clone();
        run.policy = Some(inbox);
        run.given = Some(heads);
        self.host(id, policy, reuse, events);
        self.keep_run(id);
        self.tell(id, Event::Watched(Watched::Project(project)));
        self.publish();
        true
    }

    /// Another holds the run now. What it wanted is the other's to want: nothing is told of its end.
    pub(crate) fn let_go(&mut self, id: RunId) {
        self.roles.viewers.remove(&id);
        let Some(run) = self.runs.get_mut(&id) else {
            return;
        };
        run.policy = None;
        let open: Vec<_> = run.wants.keys().copied().collect();
        if run.view.finished.is_some() {
            return;
        }
        if let (Some(role), Some((node, _))) = (run.role, self.roles.engine.lead(id)) {
            let node = Some(node);
            self.market(caravan_protocol::offer::Event::Holder { role, node });
        }
        for want in open {
            self.unwant(Waiter { run: id, want });
        }
        self.shared.keeping.end_run(id);
        self.changed = true;
    }
}

/// A run of which nothing is known but its charge.
pub(super) fn first_view(charge: &Charge) -> RunView {
    RunView {
        id: charge.run,
        role: charge.role.clone(),
        project: charge.project.clone(),
        branch: charge.subject.branch.clone(),
        commit: charge.subject.commit.clone(),
        title: charge.subject.title.clone(),
        state: State::Running,
        message: None,
        notes: charge.subject.notes.clone(),
        started: charge.issued,
        finished: None,
        executed: 0,
        policy: PolicyView::default(),
        steps: std::collections::BTreeMap::new(),
    }
}

/// Brings what a charge names here and opens it.
async fn bring(
    shared: &Arc<Shared>,
    charge: &Charge,
    providers: &[NodeId],
) -> Result<Heads, String> {
    let (trees, blobs) = needs(charge);
    inputs::fetch_all(shared, &trees, &blobs, providers).await?;
    let (store, charge) = (shared.home.store.clone(), charge.clone());
    let open = move || open(&store, &charge);
    let opened = shared.tasks.blocking(open).await;
    opened.map_err(|_| "reading a charge was given up".to_owned())?
}

fn open(store: &Store, charge: &Charge) -> Result<Heads, String> {
    let files = |tree| TreeFiles::open(store, tree).map_err(|error| chain(&error));
    let subject = charge.subject.clone();
    let mut repositories = Vec::new();
    for repository in &charge.repositories {
        repositories.push(open_repository(store, repository)?);
    }
    Ok(Heads {
        project: ProjectHead {
            project: charge.project.clone(),
            branch: subject.branch,
            commit: subject.commit,
            title: subject.title,
            notes: subject.notes,
            tree: subject.tree,
            files: Arc::new(files(subject.tree)?),
        },
        repositories,
        bases: charge.bases.clone(),
    })
}

/// The repository, the very same as where it was packed.
fn open_repository(store: &Store, repository: &Repository) -> Result<RepositoryHead, String> {
    let name = repository.name.clone();
    let other = || format!("open the opam repository {name}: it is not what its charge says");
    let state = repository.state;
    let files: Arc<dyn caravan_protocol::files::Files> = match repository.content {
        Content::Tree(tree) if tree.blob() != state => return Err(other()),
        Content::Tree(tree) => {
            Arc::new(TreeFiles::open(store, tree).map_err(|error| chain(&error))?)
        }
        Content::Packed(blob) => {
            let file = store.open_blob(blob).map_err(|error| chain(&error))?;
            let opened = archive::open_packed(file);
            let (files, is) =
                opened.map_err(|error| format!("open the opam repository {name}: {error}"))?;
            if is != state {
                return Err(other());
            }
            Arc::new(files)
        }
    };
    Ok(RepositoryHead { name, state, files })
}
