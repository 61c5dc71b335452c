//! The driver: the one task that owns a node's state. It hosts policies, asks the market engine
//! where work goes, has attempts done here, believes or refuses what others send back, and
//! publishes snapshots. Everybody else holds a [`Handle`] and bounded channels.
//!
//! It never blocks: policies compute on threads of their own, and files, programs and peers are
//! waited for in tasks that report back as notices.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use caravan_mesh::Event as MeshEvent;
use caravan_protocol::{
    facts::Facts,
    identity::{NodeCert, Signed},
    ids::{ActionKey, NodeId, RunId},
    offer::{self, AttemptId},
    policy::{Base, Factory},
    time::{Stamp, Time},
    view::{Counters, NodeView, Snapshot},
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    build::{Builder, Built},
    clock,
    config::Config,
    control::{CiRequest, Reply},
    home::{Home, Membership},
    task::Tasks,
};

mod attempt;
mod bases;
mod builds;
mod certs;
mod council;
pub(crate) mod doors;
pub(crate) mod drain;
mod flights;
pub(crate) mod following;
mod handle;
mod host;
mod images;
mod inputs;
mod invites;
mod jobs;
mod keeping;
mod market;
mod members;
mod outcome;
mod placing;
mod publish;
mod questions;
mod runs;
mod standing;
mod subject;
mod weigh;

pub use builds::Refusal;
pub use handle::Handle;
pub(crate) use inputs::StoreSource;
pub(crate) use keeping::Keeping;
pub(crate) use subject::RepositoryCache;
pub(crate) use weigh::Opened;

/// Requests and notices that may wait for the driver.
pub(crate) const INBOX_MAX: usize = 1024;
/// Runs that are kept in memory and shown.
pub(crate) const RUNS_MAX: usize = 200;

/// What a handle asks of the driver.
pub(crate) enum Ask {
    Ci {
        request: CiRequest,
        reply: oneshot::Sender<Result<RunId, String>>,
    },
    Build {
        prepared: builds::Prepared,
        reply: oneshot::Sender<Result<RunId, String>>,
    },
    Cancel {
        run: RunId,
        reply: oneshot::Sender<Result<(), String>>,
    },
    Invite {
        ask: crate::invites::InviteAsk,
        reply: oneshot::Sender<Result<String, String>>,
    },
    Invites {
        reply: oneshot::Sender<Result<Vec<crate::invites::InviteView>, String>>,
    },
    Withdraw {
        what: String,
        reply: oneshot::Sender<Result<(), String>>,
    },
    Revoke {
        node: NodeId,
        reply: oneshot::Sender<Result<(), String>>,
    },
    Pause {
        why: String,
        reply: oneshot::Sender<Result<Option<String>, String>>,
    },
    Resume {
        reply: oneshot::Sender<Result<Option<String>, String>>,
    },
    Drain {
        leave: bool,
        wait: bool,
        listener: drain::Listener,
    },
    Cordon {
        node: NodeId,
        on: bool,
        why: String,
        reply: oneshot::Sender<Result<(), String>>,
    },
    Renew {
        reply: certs::Asker,
    },
    ImportBase {
        name: String,
        progress: mpsc::Sender<Reply>,
        reply: oneshot::Sender<Result<Reply, String>>,
    },
}

/// What a task reports to the driver.
pub(crate) enum Notice {
    /// A run's subject was looked up.
    Subject {
        run: RunId,
        found: Result<caravan_protocol::policy::ProjectHead, String>,
    },
    /// A run's repositories were read.
    Repositories {
        run: RunId,
        found: Result<Vec<caravan_protocol::policy::RepositoryHead>, String>,
    },
    /// The bases that a run asked for are there.
    Bases {
        run: RunId,
        found: Result<Vec<Base>, String>,
    },
    /// All that a run's spec needs is there, or not.
    Spec {
        run: RunId,
        found: Result<caravan_protocol::policy::SpecHead, String>,
    },
    /// A policy took an event in.
    Policy { run: RunId, step: host::PolicyStep },
    /// An attempt ended here.
    Built {
        attempt: AttemptId,
        action: ActionKey,
        built: Built,
        fetched_bytes: u64,
    },
    /// An attempt left a run that goes on for others, or may not take part in one.
    Left { attempt: AttemptId, why: String },
    /// What another node made has come here, or not.
    Landed {
        job: ActionKey,
        node: NodeId,
        landed: Result<outcome::Landed, String>,
    },
    /// A base was imported.
    Imported { base: Base },
    /// The council was asked for this node's next certificate.
    Renewed {
        found: Result<Signed<NodeCert>, String>,
        asker: Option<certs::Asker>,
    },
    /// A member was told of what the council said of it at this time, or could not be.
    Cordoned {
        node: NodeId,
        at: Stamp,
        heard: bool,
    },
    /// The others know that this node goes.
    Farewell,
}

/// What every part of a node may use.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) home: Home,
    pub(crate) builder: Builder,
    pub(crate) mesh: Option<caravan_mesh::Handle>,
    pub(crate) factories: Vec<Arc<dyn Factory>>,
    pub(crate) recipes: caravan_effects::base::Recipes,
    pub(crate) tasks: Tasks,
    pub(crate) notices: mpsc::Sender<Notice>,
    pub(crate) importing: tokio::sync::Mutex<()>,
    pub(crate) repositories: subject::RepositoryCache,
    pub(crate) keeping: Keeping,
    pub(crate) opened: Opened,
    /// What this node promises of the jobs that it runs.
    pub(crate) sandbox: caravan_protocol::view::SandboxView,
    /// What this machine was found to be at the start.
    pub(crate) facts: Facts,
    /// What it could do and does not, in words for people.
    pub(crate) unusable: Vec<String>,
}

/// The driver's state.
pub(crate) struct Driver {
    pub(crate) shared: Arc<Shared>,
    pub(crate) membership: Membership,
    pub(crate) engine: offer::Engine,
    pub(crate) wake: Option<Time>,
    pub(crate) runs: BTreeMap<RunId, runs::Run>,
    pub(crate) jobs: BTreeMap<ActionKey, jobs::Job>,
    /// Actions that run here, with the attempts that share each run.
    pub(crate) flights: flights::Flights,
    /// Jobs that other nodes were given, newest last.
    pub(crate) placed: VecDeque<(ActionKey, NodeId)>,
    pub(crate) bases: Vec<Base>,
    pub(crate) peers: BTreeMap<NodeId, NodeView>,
    /// Members that the market takes for up.
    pub(crate) told: following::ToldAll,
    pub(crate) stance: standing::Stance,
    pub(crate) counters: Counters,
    pub(crate) started: caravan_protocol::time::Stamp,
    pub(crate) changed: bool,
    pub(crate) snapshots: watch::Sender<Arc<Snapshot>>,
}

/// The driver's ears.
pub(crate) struct Inbox {
    pub(crate) asks: mpsc::Receiver<Ask>,
    pub(crate) notices: mpsc::Receiver<Notice>,
    pub(crate) mesh: mpsc::Receiver<MeshEvent>,
}

impl Driver {
    /// A driver of a node that has just started.
    pub(crate) fn new(
        shared: Arc<Shared>,
        membership: Membership,
        seed: u64,
        snapshots: watch::Sender<Arc<Snapshot>>,
    ) -> Self {
        let setup = offer::Setup {
            me: shared.home.key.node(),
            platforms: shared
                .facts
                .platforms
                .iter()
                .map(|offered| offered.platform.clone())
                .collect(),
            emulated: shared.facts.emulated().cloned().collect(),
            slots: shared.config.slots,
            most: shared.config.most,
            lent: attempt::lent(&shared.config.most),
            seed,
        };
        let mut driver = Self {
            bases: bases::pinned(&shared.home),
            stance: standing::Stance::new(&shared, &membership),
            shared,
            membership,
            engine: offer::Engine::new(setup),
            wake: None,
            runs: BTreeMap::new(),
            jobs: BTreeMap::new(),
            flights: flights::Flights::default(),
            placed: VecDeque::new(),
            peers: BTreeMap::new(),
            told: BTreeMap::new(),
            counters: Counters::default(),
            started: clock::stamp(),
            changed: true,
            snapshots,
        };
        driver.load_history();
        driver.begin_keeping();
        driver.load_cordons();
        driver.look();
        driver.publish();
        driver
    }

    /// Runs until the node stops.
    pub(crate) async fn drive(mut self, mut inbox: Inbox) {
        let stop = self.shared.tasks.stopping();
        keeping::watch(&self.shared);
        let mut publish = tokio::time::interval(publish::PERIOD);
        publish.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut look = tokio::time::interval(standing::LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut tick = tokio::time::interval(publish::TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let wake = self.wake.map(|at| at.since(clock::now()));
            let alarm = async move {
                match wake {
                    Some(left) => tokio::time::sleep(left).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // What has ended goes before what begins.
                biased;
                () = stop.cancelled() => break,
                Some(notice) = inbox.notices.recv() => self.on_notice(notice),
                Some(event) = inbox.mesh.recv() => self.on_mesh(event),
                Some(ask) = inbox.asks.recv() => self.on_ask(ask),
                () = alarm => {
                    self.wake = None;
                    self.market(offer::Event::Tick);
                }
                _ = look.tick() => self.look(),
                _ = publish.tick(), if self.changed => self.publish(),
                _ = tick.tick(), if !self.flights.is_empty() || !self.jobs.is_empty() => self.changed = true,
            }
        }
        self.give_up_all();
    }

    fn on_ask(&mut self, ask: Ask) {
        match ask {
            Ask::Ci { request, reply } => drop(reply.send(self.start_run(request))),
            Ask::Build { prepared, reply } => drop(reply.send(self.start_build(prepared))),
            Ask::Cancel { run, reply } => {
                drop(reply.send(self.cancel_run(run, "cancelled by request")))
            }
            Ask::Invite { ask, reply } => drop(reply.send(self.invite(ask))),
            Ask::Invites { reply } => drop(reply.send(self.invites())),
            Ask::Withdraw { what, reply } => drop(reply.send(self.withdraw(&what))),
            Ask::Revoke { node, reply } => drop(reply.send(self.revoke(node))),
            Ask::Pause { why, reply } => drop(reply.send(self.pause(&why))),
            Ask::Resume { reply } => drop(reply.send(self.resume())),
            Ask::Drain {
                leave,
                wait,
                listener,
            } => self.drain(leave, wait, listener),
            Ask::Cordon {
                node,
                on,
                why,
                reply,
            } => drop(reply.send(self.cordon(node, on, &why))),
            Ask::Renew { reply } => self.renew_now(reply),
            Ask::ImportBase {
                name,
                progress,
                reply,
            } => self.import_base(name, progress, reply),
        }
    }

    fn on_notice(&mut self, notice: Notice) {
        match notice {
            Notice::Subject { run, found } => self.on_subject(run, found),
            Notice::Repositories { run, found } => self.on_repositories(run, found),
            Notice::Bases { run, found } => self.on_bases(run, found),
            Notice::Spec { run, found } => self.on_spec(run, found),
            Notice::Policy { run, step } => self.on_policy(run, step),
            Notice::Built {
                attempt,
                action,
                built,
                fetched_bytes,
            } => {
                self.counters.fetched_bytes += fetched_bytes;
                self.on_built(attempt, action, &built);
            }
            Notice::Left { attempt, why } => self.on_left(attempt, why),
            Notice::Landed { job, node, landed } => self.on_landed(job, node, landed),
            Notice::Imported { base } => self.on_imported(base),
            Notice::Renewed { found, asker } => self.on_renewed(found, asker),
            Notice::Cordoned { node, at, heard } => self.on_cordoned(node, at, heard),
            Notice::Farewell => self.on_farewell(),
        }
    }
}

#[cfg(test)]
mod tests;
