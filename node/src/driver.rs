//! The driver: the one task that owns a node's state. It hosts policies, asks the market engine
//! where work goes, has attempts done here, believes or refuses what others send back, and
//! publishes snapshots. Everybody else holds a [`Handle`] and bounded channels.
//!
//! It never blocks: policies compute on threads of their own, and files, programs and peers are
//! waited for in tasks that report back as notices.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
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
    view::{Counters, JobView, NodeView, Overview, Snapshot},
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

mod appraise;
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
mod headway;
mod history;
mod host;
mod images;
mod index;
mod inputs;
mod invites;
mod jobs;
mod keeping;
mod market;
mod members;
mod outcome;
mod overview;
mod placing;
mod publish;
mod questions;
mod roles;
mod runs;
mod standing;
mod subject;
mod weigh;

pub(crate) use appraise::Pace;
pub use builds::Refusal;
pub use handle::Handle;
pub(crate) use index::Gathered;
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
    Overview {
        reply: oneshot::Sender<Result<Arc<Overview>, String>>,
    },
    Job {
        prefix: String,
        reply: oneshot::Sender<Result<JobView, String>>,
    },
    Again {
        run: RunId,
        on: Option<NodeId>,
        not_on: Vec<NodeId>,
        reply: oneshot::Sender<Result<RunId, String>>,
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
    /// What an offered job would have to fetch was counted.
    Appraised { appraisal: u64, missing_bytes: u64 },
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
    /// Something of the index.
    Index(index::Told),
    /// Something about a role's run.
    Role(roles::Told),
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
    pub(crate) pace: Pace,
    pub(crate) opened: Opened,
    /// What index nodes have told.
    pub(crate) gathered: Gathered,
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
    pub(crate) headways: headway::Headways,
    /// Jobs that other nodes were given, newest last.
    pub(crate) placed: VecDeque<(ActionKey, NodeId)>,
    pub(crate) bases: Vec<Base>,
    pub(crate) peers: BTreeMap<NodeId, NodeView>,
    /// Members of whom an address was learnt in this life.
    pub(crate) located: BTreeSet<NodeId>,
    /// Members that the market takes for up.
    pub(crate) told: following::ToldAll,
    pub(crate) stance: standing::Stance,
    /// This node's part in the index.
    pub(crate) index: index::Index,
    pub(crate) roles: roles::Roles,
    pub(crate) counters: Counters,
    /// What became of each job's attempts.
    pub(crate) history: history::History,
    /// The newest overview, and how fast bytes move.
    pub(crate) lookout: overview::Lookout,
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
        let mut engine = offer::Engine::new(setup);
        let room = offer::Event::Capacity(shared.config.resources());
        engine.handle(clock::now(), room, &mut Vec::new());
        let mut driver = Self {
            bases: bases::pinned(&shared.home),
            stance: standing::Stance::new(&shared, &membership),
            index: index::Index::new(shared.home.key.node()),
            roles: roles::Roles::new(shared.home.key.node(), membership.roster.mesh()),
            shared,
            membership,
            engine,
            wake: None,
            runs: BTreeMap::new(),
            jobs: BTreeMap::new(),
            flights: flights::Flights::default(),
            headways: headway::Headways::default(),
            placed: VecDeque::new(),
            peers: BTreeMap::new(),
            located: BTreeSet::new(),
            told: BTreeMap::new(),
            counters: Counters::default(),
            history: history::History::default(),
            lookout: overview::Lookout::default(),
            started: clock::stamp(),
            changed: true,
            snapshots,
        };
        driver.load_history();
        driver.begin_keeping();
        driver.begin_index();
        driver.load_cordons();
        driver.look();
        driver.seat_self();
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
            let beat = self.roles.wake.map(|at| at.since(clock::now()));
            let beat = async move {
                match beat {
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
                () = beat => self.beat_roles(),
                _ = look.tick() => self.look(),
                _ = publish.tick(), if self.changed => self.publish(),
                _ = tick.tick(), if !self.flights.is_empty() || !self.jobs.is_empty() => {
                    self.changed = true;
                    self.tell_headway();
                }
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
            Ask::Overview { reply } => drop(reply.send(Ok(self.overview()))),
            Ask::Job { prefix, reply } => drop(reply.send(self.job_view(&prefix))),
            Ask::Again {
                run,
                on,
                not_on,
                reply,
            } => drop(reply.send(self.run_again(run, on, &not_on))),
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
            Notice::Appraised {
                appraisal,
                missing_bytes,
            } => self.market(offer::Event::Appraised {
                appraisal,
                missing_bytes,
                bytes_per_s: self.shared.pace.bytes_per_s(),
            }),
            Notice::Left { attempt, why } => self.on_left(attempt, why),
            Notice::Landed { job, node, landed } => self.on_landed(job, node, landed),
            Notice::Imported { base } => self.on_imported(base),
            Notice::Renewed { found, asker } => self.on_renewed(found, asker),
            Notice::Cordoned { node, at, heard } => self.on_cordoned(node, at, heard),
            Notice::Farewell => self.on_farewell(),
            Notice::Index(told) => self.on_index(told),
            Notice::Role(told) => self.on_role_told(told),
        }
    }
}

#[cfg(test)]
mod tests;
