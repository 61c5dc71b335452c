//! How a charge is made: what a run is about is found out where it was asked for, by that node's
//! names for things, and put into a form in which any node finds the same.

use std::{io, sync::Arc};

use caravan_effects::archive;
use caravan_protocol::{
    identity::Signed,
    ids::{BlobId, RoleId, RunId, TreeId},
    offer::{Place, Priority},
    policy::{Base, Command, Event, Factory, Params, ProjectHead, RepositoryHead, Watched},
    role::{self, Charge, Content, Repository, Subject, limits},
};
use caravan_store::Store;

use super::{
    super::{Driver, Notice, Shared, bases, subject, weigh::Reuse},
    Heads, Told,
    hold::Kept,
};
use crate::{build::chain, clock, control::CiRequest};

/// What is known of a run that runs here and is to be charged.
#[derive(Default)]
pub(super) struct Draft {
    params: Params,
    stepped: bool,
    head: Option<ProjectHead>,
    /// What was asked for and is there.
    repositories: Asked<RepositoryHead>,
    bases: Asked<Base>,
    packing: bool,
}

/// Something that a policy may have asked for.
#[derive(Default)]
enum Asked<T> {
    #[default]
    Not,
    Open,
    Found(Vec<T>),
}

impl<T: Clone> Asked<T> {
    fn found(&self) -> Option<Vec<T>> {
        match self {
            Self::Not => Some(Vec::new()),
            Self::Open => None,
            Self::Found(found) => Some(found.clone()),
        }
    }
}

impl Draft {
    fn heads(&self) -> Option<Heads> {
        let head = self.head.clone().filter(|_| self.stepped)?;
        Some(Heads {
            project: head,
            repositories: self.repositories.found()?,
            bases: self.bases.found()?,
        })
    }
}

/// What a run that is another's to hold is about.
pub(crate) struct Drafted {
    pub(super) heads: Heads,
    pub(super) repositories: Vec<Repository>,
}

impl Driver {
    /// Whether another node would hold a run that is asked for here now.
    pub(crate) fn is_held_elsewhere(&mut self, role: &str, project: &str) -> bool {
        let me = self.shared.home.key.node();
        let role = RoleId::of(role, project);
        self.shared.mesh.is_some()
            && self
                .roles
                .engine
                .elected(role)
                .is_some_and(|node| node != me)
    }

    /// A run that runs here is to be charged once it is known what it is about.
    pub(crate) fn draft(&mut self, run: RunId, params: Params) {
        let draft = Draft {
            params,
            ..Draft::default()
        };
        self.roles.drafts.insert(run, draft);
        let has_others = !self.told.is_empty();
        if let Some(run) = self.runs.get_mut(&run).filter(|_| has_others) {
            let (role, project) = (&run.view.role, &run.view.project);
            run.role = Some(RoleId::of(role, project));
        }
    }

    /// Notes what a run's policy asks for.
    pub(crate) fn draft_asked(&mut self, run: RunId, command: &Command) {
        let Some(draft) = self.roles.drafts.get_mut(&run) else {
            return;
        };
        match command {
            Command::WatchRepositories(_) => draft.repositories = Asked::Open,
            Command::WatchBases => draft.bases = Asked::Open,
            _ => {}
        }
    }

    /// Notes what was found for a run.
    pub(crate) fn draft_found(&mut self, run: RunId, watched: &Watched) {
        let Some(draft) = self.roles.drafts.get_mut(&run) else {
            return;
        };
        match watched {
            Watched::Project(head) => draft.head = Some(head.clone()),
            Watched::Repositories(heads) => draft.repositories = Asked::Found(heads.clone()),
            Watched::Bases(found) => draft.bases = Asked::Found(found.clone()),
            // What could not be had here is not left to others.
            Watched::Unavailable(_) => drop(self.roles.drafts.remove(&run)),
            Watched::Spec(_) => {}
        }
        self.charge_draft(run);
    }

    /// A run's policy has said what it wants of what it was told.
    pub(crate) fn draft_stepped(&mut self, run: RunId) {
        if let Some(draft) = self.roles.drafts.get_mut(&run) {
            draft.stepped |= draft.head.is_some();
            self.charge_draft(run);
        }
    }

    /// A run that is not charged has ended.
    pub(crate) fn draft_ended(&mut self, run: RunId) {
        self.roles.drafts.remove(&run);
    }

    /// Somebody came whom runs can be charged to.
    pub(super) fn charge_drafts(&mut self) {
        let drafts: Vec<RunId> = self.roles.drafts.keys().copied().collect();
        for run in drafts {
            self.charge_draft(run);
        }
    }

    /// Charges a run that runs here, once all is known and there is anybody else.
    fn charge_draft(&mut self, run: RunId) {
        let has_others = !self.told.is_empty();
        let Some(draft) = self.roles.drafts.get_mut(&run) else {
            return;
        };
        let Some(heads) = draft.heads().filter(|_| has_others && !draft.packing) else {
            return;
        };
        draft.packing = true;
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn("pack repositories", async move {
            let found = pack_all(&shared, heads.repositories).await;
            let told = Told::Packed { run, found };
            let _ = shared.notices.send(Notice::Role(told)).await;
        });
    }

    /// Finds out what a run is about that another node is to hold.
    pub(crate) fn draft_elsewhere(&mut self, run: RunId, request: CiRequest) {
        let shared = Arc::clone(&self.shared);
        let trusted = self.trusted();
        let factory = shared.factories.iter().find(|made| made.role() == "ci");
        let Some(factory) = factory.map(Arc::clone) else {
            return;
        };
        self.shared.tasks.spawn("draft", async move {
            let found = async {
                let head = subject::project(&shared, &request).await?;
                let asked = questions(&shared, factory, params(&request), head.clone()).await?;
                let repositories = subject::repositories(&shared, asked.0).await?;
                let names = match (asked.1, request.bases.is_empty()) {
                    (false, _) => Vec::new(),
                    (true, true) => shared.config.bases.clone(),
                    (true, false) => request.bases.clone(),
                };
                let bases = bases::all(&shared, &trusted, names).await?;
                let packed = pack_all(&shared, repositories.clone()).await?;
                Ok(Drafted {
                    heads: Heads {
                        project: head,
                        repositories,
                        bases,
                    },
                    repositories: packed,
                })
            };
            let found = found.await;
            let told = Told::Drafted { run, found };
            let _ = shared.notices.send(Notice::Role(told)).await;
        });
    }

    pub(crate) fn on_role_told(&mut self, told: Told) {
        match told {
            Told::Drafted { run, found } => self.on_drafted(run, found),
            Told::Packed { run, found } => {
                let Some(draft) = self.roles.drafts.remove(&run) else {
                    return;
                };
                match (found, draft.heads()) {
                    (Ok(repositories), Some(heads)) => {
                        let drafted = Drafted {
                            heads,
                            repositories,
                        };
                        self.charge(run, draft.params, drafted);
                    }
                    (Err(why), _) => tracing::warn!(%why, "a run stays here"),
                    (Ok(_), None) => {}
                }
            }
            Told::Inputs { run, found } => self.on_inputs(run, found),
        }
    }

    fn on_drafted(&mut self, id: RunId, found: Result<Drafted, String>) {
        let drafted = match found {
            Ok(drafted) => drafted,
            Err(text) => {
                return self.end_run(id, caravan_protocol::view::State::Failed, Some(text));
            }
        };
        let Some(run) = self.runs.get_mut(&id) else {
            return;
        };
        if run.view.finished.is_some() {
            return;
        }
        let head = &drafted.heads.project;
        let view = run.shown();
        view.branch.clone_from(&head.branch);
        view.commit.clone_from(&head.commit);
        view.title.clone_from(&head.title);
        view.notes.clone_from(&head.notes);
        self.changed = true;
        let params = self.runs.get(&id).map(|run| run.params.clone());
        let heads = drafted.heads.clone();
        if !self.charge(id, params.unwrap_or_default(), drafted) {
            self.host_heads(id, heads);
        }
    }

    /// Signs a run's charge and has it held. Whether that could be done.
    fn charge(&mut self, id: RunId, params: Params, drafted: Drafted) -> bool {
        let Some(run) = self.runs.get(&id) else {
            return false;
        };
        if run.view.finished.is_some() {
            return false;
        }
        let running = run.policy.is_some();
        let head = &drafted.heads.project;
        let Place { on, not_on } = run.place.clone();
        let charge = Charge {
            mesh: self.membership.roster.mesh(),
            run: id,
            role: run.view.role.clone(),
            project: run.view.project.clone(),
            subject: Subject {
                branch: head.branch.clone(),
                commit: head.commit.clone(),
                title: plain(&head.title),
                notes: head.notes.iter().map(|note| plain(note)).collect(),
                tree: head.tree,
            },
            repositories: drafted.repositories,
            bases: drafted.heads.bases.clone(),
            params,
            again: run.reuse == Reuse::Passed,
            on,
            not_on,
            requester: self.shared.home.key.node(),
            priority: Priority::Normal,
            issued: run.view.started,
            expires: run
                .view
                .started
                .after(std::time::Duration::from_millis(limits::CHARGE_LIFE_MS)),
        };
        let signed = match charge.check(clock::stamp()) {
            Ok(()) => Signed::sign(&self.shared.home.key, &charge).map_err(|error| chain(&error)),
            Err(error) => Err(chain(&error)),
        };
        match signed {
            Ok(signed) => {
                let kept = Kept::new(&self.shared.home.store, &charge, Some(drafted.heads));
                self.roles.kept.insert(id, kept);
                let role = charge.role_id();
                if let Some(run) = self.runs.get_mut(&id) {
                    run.role = Some(role);
                }
                let charge = Box::new(signed);
                self.role(role::Event::Charged { charge, running });
                true
            }
            Err(why) => {
                tracing::info!(%why, run = %id.fmt_short(), "a run cannot be charged and stays here");
                false
            }
        }
    }
}

/// What the person who asked said.
pub(crate) fn params(request: &CiRequest) -> Params {
    Params {
        repositories: request.repositories.clone(),
        overlays: request.overlays.clone(),
    }
}

/// A text as a charge may hold it.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars() {
        let c = if c.is_control() { ' ' } else { c };
        if plain.len() + c.len_utf8() > limits::TEXT_BYTES_MAX {
            break;
        }
        plain.push(c);
    }
    plain
}

/// What a policy asks for of this project: repositories by name, and whether bases.
async fn questions(
    shared: &Arc<Shared>,
    factory: Arc<dyn Factory>,
    params: Params,
    head: ProjectHead,
) -> Result<(Vec<String>, bool), String> {
    let ask = move || {
        let mut policy = factory.start(&params);
        let mut said = Vec::new();
        policy.handle(Event::Watched(Watched::Project(head)), &mut said);
        let mut asked = (Vec::new(), false);
        for command in said {
            match command {
                Command::WatchRepositories(names) => asked.0 = names,
                Command::WatchBases => asked.1 = true,
                _ => {}
            }
        }
        asked
    };
    let asked = shared.tasks.blocking(ask).await;
    asked.map_err(|_| "looking at the project was given up".to_owned())
}

async fn pack_all(
    shared: &Arc<Shared>,
    heads: Vec<RepositoryHead>,
) -> Result<Vec<Repository>, String> {
    let store = shared.home.store.clone();
    let work = move || heads.iter().map(|head| pack(&store, head)).collect();
    let packed: Result<Result<_, String>, _> = shared.tasks.blocking(work).await;
    packed.map_err(|_| "packing a repository was given up".to_owned())?
}

/// The form in which another node gets a repository: the tree that it is already, or an archive
/// that is made once for each state.
fn pack(store: &Store, head: &RepositoryHead) -> Result<Repository, String> {
    let made = |content| Repository {
        name: plain(&head.name),
        state: head.state,
        content,
    };
    let tree = TreeId::from(head.state);
    if store.tree(tree).is_ok() {
        return Ok(made(Content::Tree(tree)));
    }
    let name = head.state.to_string();
    let known = store.record(PACKED, &name).ok().flatten();
    let known = known.and_then(|bytes| String::from_utf8(bytes).ok()?.parse::<BlobId>().ok());
    if let Some(blob) = known.filter(|blob| store.has_blob(*blob).unwrap_or(false)) {
        return Ok(made(Content::Packed(blob)));
    }
    let io_words = |error: io::Error| format!("pack the opam repository {}: {error}", head.name);
    let bytes = archive::pack(&*head.files).map_err(io_words)?;
    let mut batch = store.batch();
    let blob = batch.put_blob(&bytes).map_err(|error| chain(&error))?;
    batch.commit().map_err(|error| chain(&error))?;
    // Only saves packing it again.
    let _ = store.put_record(PACKED, &name, blob.to_string().as_bytes());
    Ok(made(Content::Packed(blob)))
}

/// Records of archives of repositories, by their states.
const PACKED: &str = "packed";
