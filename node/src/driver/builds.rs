//! Builds of specs: what a spec needs from outside is read here, once, before its policy begins.
//! A request that cannot be met makes no run.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use caravan_effects::base;
use caravan_protocol::{
    codec,
    ids::{BlobId, NodeId, RunId, TreeId},
    limits::PATH_BYTES_MAX,
    policy::{Event, Found, Params, SpecHead, Watched},
    spec::{Image, Op, Spec},
    tree::Kind,
    view::State,
};
use caravan_store::{FULL_WORDS, Lease, Store};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Ask, Driver, Handle, Notice, Shared, bases, runs::Opening, weigh::Reuse};
use crate::{
    build::{Redactor, chain},
    control::{BuildRequest, Reply, SECRET_BYTES_MAX, SecretValue},
};

mod context;
#[cfg(test)]
mod tests;

/// Largest `/etc/passwd` of an image that is read, bytes.
const PASSWD_BYTES_MAX: u64 = 1024 * 1024;
/// Most users of an image whose homes are known.
const HOMES_MAX: usize = 4096;
/// Names of images in one error.
const NAMES_SHOWN: usize = 20;
/// Characters of a spec's name that are shown.
const NAME_CHARS_MAX: usize = 200;
/// Replies beside a run that may wait.
const HEARD_MAX: usize = 64;

/// Why a build is not begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// What was asked is wrong.
    #[error("{0}")]
    Asked(String),
    /// The node's trouble.
    #[error("{0}")]
    Node(String),
}

/// A build whose spec and files are read.
pub(crate) struct Prepared {
    request: BuildRequest,
    spec: Arc<Spec>,
    context: Vec<TreeId>,
    /// Keeps the files of the context until the run ends.
    lease: Lease,
    heard: mpsc::Sender<Reply>,
}

impl Handle {
    /// Begins to build a spec. What is heard beside the run, such as images found, comes through
    /// the channel.
    pub async fn build(
        &self,
        request: BuildRequest,
    ) -> Result<(RunId, mpsc::Receiver<Reply>), Refusal> {
        let (heard, hears) = mpsc::channel(HEARD_MAX);
        // Whoever asked may go away while a large directory is read.
        let stop = self.shared.tasks.stopping().child_token();
        let _stops = stop.clone().drop_guard();
        let mut prepared = self.prepare(&request, &heard, &stop).await;
        if matches!(&prepared, Err(Refusal::Node(text)) if text.contains(FULL_WORDS)) {
            // As for a step: room is made, and it is tried once more.
            super::keeping::make_room(&self.shared, true).await;
            prepared = self.prepare(&request, &heard, &stop).await;
        }
        let prepared = prepared?;
        let asked = self.ask(|reply| Ask::Build { prepared, reply });
        let run = asked.await.map_err(Refusal::Node)?;
        Ok((run, hears))
    }
}

impl Handle {
    async fn prepare(
        &self,
        request: &BuildRequest,
        heard: &mpsc::Sender<Reply>,
        stop: &CancellationToken,
    ) -> Result<Prepared, Refusal> {
        let (request, heard, stop) = (request.clone(), heard.clone(), stop.clone());
        let shared = Arc::clone(&self.shared);
        let work = move || prepare(&shared, request, heard, &stop);
        let given_up = |_| Refusal::Node("reading the directory was given up".to_owned());
        self.shared.tasks.blocking(work).await.map_err(given_up)?
    }
}

/// Checks a request and reads all that it names.
fn prepare(
    shared: &Shared,
    mut request: BuildRequest,
    heard: mpsc::Sender<Reply>,
    stop: &CancellationToken,
) -> Result<Prepared, Refusal> {
    let asked = |error: &dyn std::error::Error| Refusal::Asked(chain(error));
    let spec = Spec::parse(request.spec.as_bytes()).map_err(|error| asked(&error))?;
    check_names(&mut request)?;
    check_secrets(&spec, &mut request.secrets)?;
    for image in spec.images() {
        if !is_known(shared, image).map_err(Refusal::Node)? {
            return Err(Refusal::Asked(unknown_image(shared, image)));
        }
    }
    let dir = Path::new(&request.dir);
    let copies = spec.context_copies();
    let _held = shared.home.store.hold();
    let read = context::read(&shared.home.store, dir, &copies, &|| stop.is_cancelled());
    let context = read.map_err(|error| match error.is_nodes() {
        true => Refusal::Node(chain(&error)),
        false => asked(&error),
    })?;
    Ok(Prepared {
        request,
        spec: Arc::new(spec),
        lease: shared.home.store.lease(&context),
        context,
        heard,
    })
}

/// What is shown of a request is short and moves no cursor.
fn check_names(request: &mut BuildRequest) -> Result<(), Refusal> {
    let project = &request.project;
    if project.is_empty() || project.len() > PATH_BYTES_MAX || project.contains(char::is_control) {
        let text = format!(
            "take a project's name: want 1 to {PATH_BYTES_MAX} bytes without control characters"
        );
        return Err(Refusal::Asked(text));
    }
    let plain = request.name.chars().filter(|c| !c.is_control());
    request.name = plain.take(NAME_CHARS_MAX).collect();
    Ok(())
}

/// Every secret that is asked for has one value; others are forgotten.
fn check_secrets(spec: &Spec, values: &mut Vec<SecretValue>) -> Result<(), Refusal> {
    let wanted = spec.secrets();
    values.retain(|value| wanted.contains(&value.id.as_str()));
    for id in wanted {
        let mut found = values.iter().filter(|value| value.id == id);
        let Some(value) = found.next() else {
            let text =
                format!("find a value for the secret {id:?}: give it with --secret {id}:FILE");
            return Err(Refusal::Asked(text));
        };
        if found.next().is_some() {
            let text = format!("take the secret {id:?}: it was given twice");
            return Err(Refusal::Asked(text));
        }
        if value.value.len() > SECRET_BYTES_MAX {
            let text =
                format!("take the secret {id:?}: it is longer than {SECRET_BYTES_MAX} bytes");
            return Err(Refusal::Asked(text));
        }
    }
    // What could not be kept out of a log is known before anything runs.
    for op in spec.builds().into_iter().flat_map(Spec::ops) {
        let Op::Run(run) = op else { continue };
        let named = values.iter().filter(|value| {
            let is_named = run.secrets.iter().any(|secret| secret.id == value.id);
            is_named && !value.value.is_empty()
        });
        let named: Vec<(&str, &[u8])> = named
            .map(|value| (value.id.as_str(), value.value.as_slice()))
            .collect();
        if let Err(why) = Redactor::new(&named) {
            return Err(Refusal::Asked(why.to_string()));
        }
    }
    Ok(())
}

/// Whether an image is pinned here, or can be made when it is needed.
fn is_known(shared: &Shared, image: &Image) -> Result<bool, String> {
    let name = image.as_str();
    let can_be_made = base::importable(name).is_ok_and(|base| base.name == name);
    Ok(can_be_made || bases::known(shared, name)?.is_some())
}

fn unknown_image(shared: &Shared, image: &Image) -> String {
    let pinned = bases::pinned(&shared.home);
    let names = pinned.iter().map(|base| base.name.as_str());
    let importable = base::IMPORTABLE.iter().map(|base| base.name);
    let mut names: Vec<&str> = names.chain(importable).collect();
    names.sort_unstable();
    names.dedup();
    let more = match names.len() > NAMES_SHOWN {
        true => ", ...",
        false => "",
    };
    names.truncate(NAMES_SHOWN);
    format!(
        "find the image {:?}: this node has none of that name; there are {}{more}; bring it with `caravan image import {} SOURCE`",
        image.as_str(),
        names.join(", "),
        image.as_str(),
    )
}

impl Driver {
    pub(crate) fn start_build(&mut self, prepared: Prepared) -> Result<RunId, String> {
        let Prepared {
            request,
            spec,
            context,
            lease,
            heard,
        } = prepared;
        let place = self.place_of(request.on, &request.not_on)?;
        let printed = spec.to_string();
        let id = self.open_run(Opening {
            role: "build",
            project: request.project.clone(),
            branch: request.name,
            commit: BlobId::of(printed.as_bytes()).to_string(),
            title: title(&spec),
            params: Params::default(),
            // What failed is tried again each time.
            reuse: match request.rebuild {
                true => Reuse::Nothing,
                false => Reuse::Passed,
            },
        })?;
        if let Some(run) = self.runs.get_mut(&id) {
            run.place = place;
            run.secrets = request.secrets;
            run.lease = Some(lease);
        }
        let shared = Arc::clone(&self.shared);
        let trusted = self.trusted();
        self.shared.tasks.spawn("images", async move {
            let images = images(&shared, &trusted, &spec, &heard).await;
            let found = images.map(|images| SpecHead {
                project: request.project,
                spec,
                context,
                images,
            });
            let _ = shared.notices.send(Notice::Spec { run: id, found }).await;
        });
        // Whoever asked looks for the run at once.
        self.publish();
        Ok(id)
    }

    pub(crate) fn on_spec(&mut self, id: RunId, found: Result<SpecHead, String>) {
        let head = match found {
            Ok(head) => head,
            Err(text) => return self.end_run(id, State::Failed, Some(text)),
        };
        if let Some(run) = self.runs.get_mut(&id) {
            let note = |(image, found): (&Image, &Found)| {
                format!("{} is {}", image.heading(), found.base.tree)
            };
            run.shown().notes = head.images.iter().map(note).collect();
        }
        self.tell(id, Event::Watched(Watched::Spec(head)));
    }
}

/// A line about a spec for people.
fn title(spec: &Spec) -> String {
    let ops: usize = spec.builds().iter().map(|build| build.ops().len()).sum();
    let nested = spec.builds().len() - 1;
    match nested {
        0 => format!("{}, {ops} ops", spec.from().heading()),
        _ => format!(
            "{}, {ops} ops, {nested} nested builds",
            spec.from().heading()
        ),
    }
}

/// What the images of a spec stand for; one that can be made here is made when it is missing.
async fn images(
    shared: &Arc<Shared>,
    trusted: &[NodeId],
    spec: &Spec,
    heard: &mpsc::Sender<Reply>,
) -> Result<BTreeMap<Image, Found>, String> {
    let mut images = BTreeMap::new();
    for image in spec.images() {
        let name = image.as_str();
        let known = bases::known(shared, name)?;
        let cached = known.is_some();
        let base = match known {
            Some(base) => base,
            None => {
                let wanted = base::importable(name).map_err(|error| error.to_string())?;
                let what = format!(
                    "making {} from Debian's {}; this takes a few minutes",
                    wanted.name, wanted.suite
                );
                // Progress is for the eye: what finds no room is left out.
                let _ = heard.try_send(Reply::Progress {
                    what,
                    done: 0,
                    total: 0,
                });
                bases::have(shared, trusted, wanted, false).await?
            }
        };
        let reply = Reply::Image {
            name: name.to_owned(),
            tree: base.tree,
            cached,
        };
        // Nobody hears it where nobody follows the run.
        let _ = heard.send(reply).await;
        let homes = match kept_homes(&shared.home.store, base.tree) {
            Some(homes) => homes,
            None => {
                let (store, tree) = (shared.home.store.clone(), base.tree);
                let read = shared.tasks.blocking(move || homes(&store, tree)).await;
                read.map_err(|_| "reading the image was given up".to_owned())??
            }
        };
        images.insert(image.clone(), Found { base, homes });
    }
    Ok(images)
}

/// The homes of an image's users, if they were read before: a tree never changes.
fn kept_homes(store: &Store, tree: TreeId) -> Option<BTreeMap<u32, String>> {
    let kept = store.record("homes", &tree.to_string()).ok().flatten()?;
    codec::decode::<{ HOMES_BYTES_MAX }, _>(&kept).ok()
}

/// Reads the homes of an image's users, and keeps them.
fn homes(store: &Store, tree: TreeId) -> Result<BTreeMap<u32, String>, String> {
    let files = store.tree(tree).map_err(|error| chain(&error))?;
    let homes = match files.get(b"etc/passwd").map(|entry| &entry.kind) {
        Some(Kind::File { blob, size }) if *size <= PASSWD_BYTES_MAX => {
            let text = store.read_blob(*blob, PASSWD_BYTES_MAX);
            passwd(&text.map_err(|error| chain(&error))?)
        }
        // None, a link, or one that is out of bounds: nobody has a home.
        _ => BTreeMap::new(),
    };
    if let Ok(bytes) = codec::encode::<{ HOMES_BYTES_MAX }>(&homes) {
        // Only saves reading the tree again.
        let _ = store.put_record("homes", &tree.to_string(), &bytes);
    }
    Ok(homes)
}

const HOMES_BYTES_MAX: usize = 2 * PASSWD_BYTES_MAX as usize;

/// Homes by user number; the first line about a user counts.
fn passwd(text: &[u8]) -> BTreeMap<u32, String> {
    let mut homes = BTreeMap::new();
    for line in text.split(|byte| *byte == b'\n').take(HOMES_MAX) {
        let Ok(line) = std::str::from_utf8(line) else {
            continue;
        };
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, uid, _, _, home, ..] = fields.as_slice() else {
            continue;
        };
        if let (Ok(uid), true) = (uid.parse(), home.starts_with('/') && !home.contains('\0')) {
            homes.entry(uid).or_insert_with(|| (*home).to_owned());
        }
    }
    homes
}
