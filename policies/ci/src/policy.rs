//! The `ci` policy: between the events of a node and the pipeline.

use std::sync::Arc;

use caravan_pipeline::{Fail, Status};
use caravan_protocol::{
    files::Files,
    ids::BlobId,
    policy::{
        Command, DEFAULT_REPOSITORY, Event, Factory, Params, Policy, ProjectHead, RepositoryHead,
        Watched,
    },
    view::PolicyView,
};

use crate::{
    graph::{Graph, Head, Repositories},
    settings::Place,
    show,
};

/// Makes `ci` policies.
#[derive(Debug, Clone, Copy, Default)]
pub struct CiFactory;

impl Factory for CiFactory {
    fn role(&self) -> &'static str {
        "ci"
    }

    fn start(&self, params: &Params) -> Box<dyn Policy> {
        Box::new(Ci::new(params.clone()))
    }
}

/// One project's run.
pub struct Ci {
    params: Params,
    graph: Graph,
    head: Option<ProjectHead>,
    /// Directories of the project that are repositories, in their places; the rest is asked for.
    layers: Vec<Layer>,
    asked: Vec<String>,
    told: bool,
}

/// A place in the list of repositories.
#[derive(Debug, Clone)]
enum Layer {
    /// A directory of the project.
    Own(BlobId, Arc<dyn Files>),
    /// What the node answers for so many names.
    Asked,
}

impl std::fmt::Debug for Ci {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let commit = self.head.as_ref().map(|head| head.commit.as_str());
        f.debug_struct("Ci")
            .field("commit", &commit)
            .finish_non_exhaustive()
    }
}

impl Ci {
    /// A run that knows nothing yet.
    #[must_use]
    pub fn new(params: Params) -> Self {
        let graph = Graph::new();
        Self {
            params,
            graph,
            head: None,
            layers: Vec::new(),
            asked: Vec::new(),
            told: false,
        }
    }

    /// The pipeline as text, for people and tests.
    #[must_use]
    pub fn drawing(&self) -> String {
        self.graph.engine.text()
    }

    fn on_project(&mut self, head: ProjectHead, out: &mut Vec<Command>) {
        self.graph
            .engine
            .set(self.graph.project, Ok(Head(head.clone())));
        self.graph.engine.stabilise();
        let definitions = self.graph.engine.value(self.graph.definitions);
        if definitions.is_some() {
            out.push(Command::WatchBases);
        }
        let places = definitions
            .map(|found| found.repositories.clone())
            .unwrap_or_default();
        self.layers.clear();
        self.asked.clear();
        let overlays = self.params.overlays.iter().cloned();
        self.asked.extend(overlays);
        self.layers
            .extend(self.params.overlays.iter().map(|_| Layer::Asked));
        if self.params.repositories.is_empty() {
            for place in places {
                match place {
                    Place::Project(dir) => {
                        let (state, files) = below(&head, &dir);
                        self.layers.push(Layer::Own(state, files));
                    }
                    Place::Node(name) => self.ask_for(name),
                }
            }
        } else {
            for name in self.params.repositories.clone() {
                self.ask_for(name);
            }
        }
        self.head = Some(head);
        if self.asked.is_empty() {
            self.on_repositories(Vec::new());
        } else {
            out.push(Command::WatchRepositories(self.asked.clone()));
        }
    }

    fn ask_for(&mut self, name: String) {
        self.asked.push(name);
        self.layers.push(Layer::Asked);
    }

    /// The node's answers, in order; a default may stand for several.
    fn on_repositories(&mut self, heads: Vec<RepositoryHead>) {
        let surplus = heads.len().saturating_sub(self.asked.len());
        let mut heads = heads.into_iter().map(|head| (head.state, head.files));
        let mut names = self.asked.iter();
        let mut layers: Vec<(BlobId, Arc<dyn Files>)> = Vec::new();
        for layer in &self.layers {
            match layer {
                Layer::Own(state, files) => layers.push((*state, Arc::clone(files))),
                Layer::Asked => {
                    let all = names.next().is_some_and(|name| name == DEFAULT_REPOSITORY);
                    layers.extend(heads.by_ref().take(if all { surplus + 1 } else { 1 }));
                }
            }
        }
        self.graph
            .engine
            .set(self.graph.repositories, Ok(Repositories::of(layers)));
        self.told = true;
    }
}

impl Policy for Ci {
    fn role(&self) -> &'static str {
        "ci"
    }

    fn handle(&mut self, event: Event, out: &mut Vec<Command>) {
        match event {
            Event::Watched(Watched::Project(head)) => self.on_project(head, out),
            Event::Watched(Watched::Repositories(heads)) => self.on_repositories(heads),
            Event::Watched(Watched::Bases(bases)) => {
                self.graph.engine.set(self.graph.bases, Ok(bases));
            }
            Event::Watched(Watched::Unavailable(why)) => {
                self.graph
                    .engine
                    .set(self.graph.repositories, Err(Fail::new(why)));
                self.told = true;
            }
            // Another role's.
            Event::Watched(Watched::Spec(_)) => {}
            Event::Want { id, state } => self.graph.engine.deliver(id, state),
        }
        self.graph.engine.stabilise();
        out.extend(self.graph.engine.take_commands());
    }

    fn view(&self) -> PolicyView {
        show::view(&self.graph, self.head.as_ref())
    }

    fn is_settled(&self) -> bool {
        let bases = self.graph.engine.value(self.graph.bases_term).is_some();
        let failed = matches!(
            self.graph.engine.status(self.graph.definitions),
            Status::Failed(_)
        );
        (failed || (self.told && bases)) && self.graph.engine.is_settled()
    }
}

/// A directory of the project as a repository; its state is that of the whole project's files
/// below it.
fn below(head: &ProjectHead, dir: &str) -> (BlobId, Arc<dyn Files>) {
    let files = Below {
        dir: dir.to_owned(),
        files: Arc::clone(&head.files),
    };
    // The project's tree names its files, and with the directory these of them.
    let text = format!("{}\0{dir}", head.tree);
    (BlobId::of(text.as_bytes()), Arc::new(files))
}

#[derive(Debug)]
struct Below {
    dir: String,
    files: Arc<dyn Files>,
}

impl Files for Below {
    fn read(&self, path: &str) -> Option<Arc<[u8]>> {
        self.files.read(&format!("{}/{path}", self.dir))
    }

    fn list(&self, dir: &str) -> Vec<String> {
        if dir.is_empty() {
            self.files.list(&self.dir)
        } else {
            self.files.list(&format!("{}/{dir}", self.dir))
        }
    }
}

#[cfg(test)]
mod tests;
