//! This node's part in the index: it tells index nodes of the claims that it keeps, asks them what
//! others have done before anything is run, and answers for its own share. The engine decides; here
//! claims are read, checked and sent. Signatures are checked on other threads than the driver's.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use caravan_protocol::{
    claim::Claim,
    codec,
    identity::Roster,
    ids::{ActionKey, NodeId, TreeId},
    index::{
        ANNOUNCED_MAX, Announced, Answer, BATCH_BYTES, Checked, Command, Engine, Event, Found,
        KNOWN_MAX, Question, check,
    },
    limits,
    time::{Stamp, Time},
};
use tokio::sync::{Semaphore, oneshot};

use super::{Driver, Notice, Shared, questions, weigh::is_here};
use crate::{build::chain, clock};

mod ask;
mod below;
mod gathered;
mod logs;
mod lost;

pub(crate) use ask::look_up;
pub(crate) use gathered::{Gathered, bring, live};
pub(crate) use logs::{bring_log, copy_of};

/// Record of an action of which nobody is told: it was shown a secret.
const QUIET: &str = "quiet";
/// The role whose users want verdicts and logs, and no layers.
const LAZY_ROLE: &str = "ci";

/// What tasks tell the driver of the index.
pub(crate) enum Told {
    /// The time that the engine wished for has come.
    Tick(Time),
    /// A policy's thread looks for these.
    Find {
        keys: Vec<ActionKey>,
        reply: oneshot::Sender<Vec<Found>>,
    },
    /// An index node has answered, or not.
    Heard { number: u64, found: Vec<Found> },
    /// An index node was told, or could not be.
    Said { number: u64, heard: bool },
    /// Somebody has announced claims that stood the check.
    Announced { from: NodeId, claims: Vec<Checked> },
    /// Final claims about these are kept here.
    Kept { keys: Vec<ActionKey> },
    /// A layer that was nowhere to be had was looked for once more.
    Sought {
        tree: TreeId,
        found: Result<u64, String>,
    },
}

/// The index as the driver holds it.
pub(crate) struct Index {
    engine: Engine,
    wake: Option<Time>,
    next: u64,
    replies: BTreeMap<u64, oneshot::Sender<Vec<Found>>>,
    /// Members whose claims are being checked: one announcement each.
    busy: BTreeSet<NodeId>,
    /// One check at a time, whatever is announced.
    checks: Arc<Semaphore>,
    pub(super) lost: lost::Lost,
    sizes: below::Sizes,
}

impl Index {
    pub(crate) fn new(me: NodeId) -> Self {
        Self {
            engine: Engine::new(me),
            wake: None,
            next: 0,
            replies: BTreeMap::new(),
            busy: BTreeSet::new(),
            checks: Arc::new(Semaphore::new(1)),
            lost: lost::Lost::default(),
            sizes: below::Sizes::default(),
        }
    }
}

impl Driver {
    /// At the start: this node is one of the members, and what it kept before is told again.
    pub(crate) fn begin_index(&mut self) {
        if self.shared.mesh.is_none() {
            return;
        }
        let me = self.shared.home.key.node();
        let own = self.membership.roster.vouches(me);
        let operator = own.map_or_else(String::new, |cert| cert.operator.clone());
        self.index_member(me, &operator, self.started);
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn("kept claims", async move {
            let store = shared.home.store.clone();
            let read = move || -> Result<Vec<ActionKey>, caravan_store::StoreError> {
                let quiet = store.records(QUIET)?;
                let quiet: BTreeSet<String> = quiet.into_iter().map(|(key, _)| key).collect();
                let mut keys = store.claimed(KNOWN_MAX)?;
                keys.retain(|key| !quiet.contains(&key.to_string()));
                Ok(keys)
            };
            match shared.tasks.blocking(read).await {
                Ok(Ok(keys)) => {
                    let _ = shared.notices.send(Notice::Index(Told::Kept { keys })).await;
                }
                Ok(Err(error)) => {
                    tracing::warn!(error = %chain(&error), "could not read what is claimed here; the mesh is not told of it");
                }
                Err(_) => {}
            }
        });
    }

    /// A member is here, or has begun another life.
    pub(crate) fn index_member(&mut self, node: NodeId, operator: &str, life: Stamp) {
        let operator = operator.to_owned();
        self.index(Event::Up {
            node,
            operator,
            life,
        });
    }

    /// A member is gone.
    pub(crate) fn index_gone(&mut self, node: NodeId) {
        self.index.busy.remove(&node);
        self.index(Event::Down { node });
    }

    /// A final claim is kept here: others may have it.
    pub(crate) fn index_kept(&mut self, key: ActionKey) {
        if self.shared.mesh.is_none() {
            return;
        }
        if self.saw_a_secret(key) {
            let kept = self
                .shared
                .home
                .store
                .put_record(QUIET, &key.to_string(), &[]);
            if let Err(error) = kept {
                tracing::warn!(error = %chain(&error), "could not note that nobody is told of an action");
            }
            return;
        }
        self.index(Event::Kept { keys: vec![key] });
    }

    /// Whether an own job is shown a secret; others' never are.
    fn saw_a_secret(&self, key: ActionKey) -> bool {
        self.jobs
            .get(&key)
            .is_some_and(|job| ask::is_secret(&job.action))
    }

    /// What of a result has to come here at once beside its log and its named outputs. A run of CI
    /// is about verdicts: its layers stay where they were made, until a step stands on them.
    pub(crate) fn to_bring(&self, key: ActionKey, node: NodeId, claim: &Claim) -> Option<TreeId> {
        let tree = claim.output?;
        self.shared.gathered.holds(tree, key, node);
        let job = self.jobs.get(&key)?;
        let mut runs = job
            .waiters
            .iter()
            .filter_map(|waiter| self.runs.get(&waiter.run));
        runs.any(|run| run.view.role != LAZY_ROLE).then_some(tree)
    }

    /// Takes in what a task tells.
    pub(crate) fn on_index(&mut self, told: Told) {
        match told {
            // Another is under way where an earlier one was wished for since.
            Told::Tick(at) if self.index.wake != Some(at) => {}
            Told::Tick(_) => {
                self.index.wake = None;
                self.index(Event::Tick);
            }
            Told::Find { keys, reply } => {
                self.index.next += 1;
                let id = self.index.next;
                self.index.replies.insert(id, reply);
                self.index(Event::Find { id, keys });
            }
            Told::Heard { number, found } => self.index(Event::Heard { number, found }),
            Told::Said { number, heard } => self.index(Event::Told { number, heard }),
            Told::Announced { from, claims } => {
                self.index.busy.remove(&from);
                self.index(Event::Announced { from, claims });
            }
            Told::Kept { keys } => self.index(Event::Kept { keys }),
            Told::Sought { tree, found } => self.on_sought(tree, found),
        }
    }

    /// Tells the engine something and does what it asks for.
    fn index(&mut self, event: Event) {
        let mut commands = Vec::new();
        self.index.engine.handle(clock::now(), event, &mut commands);
        for command in commands {
            match command {
                Command::Tell { to, number, keys } => self.announce(to, number, keys),
                Command::Ask { to, number, keys } => self.inquire(to, number, keys),
                Command::Found { id, found } => {
                    if let Some(reply) = self.index.replies.remove(&id) {
                        drop(reply.send(found));
                    }
                }
                Command::WakeAt(at) => self.wake_index(at),
            }
        }
    }

    fn wake_index(&mut self, at: Time) {
        if self.index.wake.is_some_and(|known| known <= at) {
            return;
        }
        self.index.wake = Some(at);
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn("index alarm", async move {
            tokio::time::sleep(at.since(clock::now())).await;
            let _ = shared.notices.send(Notice::Index(Told::Tick(at))).await;
        });
    }

    /// Tells an index node of claims; it may be this one.
    fn announce(&self, to: NodeId, number: u64, keys: Vec<ActionKey>) {
        let shared = Arc::clone(&self.shared);
        let roster = Arc::clone(&self.membership.roster);
        let checks = Arc::clone(&self.index.checks);
        self.shared.tasks.spawn("announce", async move {
            let of = Arc::clone(&shared);
            let told = shared.tasks.blocking(move || claims_of(&of, &keys)).await;
            let told = told.unwrap_or_default();
            let heard = if to == shared.home.key.node() {
                let claims = checked(&shared, roster, &checks, told).await;
                let notice = Told::Announced { from: to, claims };
                shared.notices.send(Notice::Index(notice)).await.is_ok()
            } else {
                let answer = exchange(&shared, to, &Question::Announce(told)).await;
                matches!(answer, Some(Answer::Taken))
            };
            let said = Told::Said { number, heard };
            let _ = shared.notices.send(Notice::Index(said)).await;
        });
    }

    /// Asks an index node; what it answers counts where its signatures hold.
    fn inquire(&self, to: NodeId, number: u64, keys: Vec<ActionKey>) {
        let shared = Arc::clone(&self.shared);
        let roster = Arc::clone(&self.membership.roster);
        self.shared.tasks.spawn("index question", async move {
            let answer = exchange(&shared, to, &Question::Find(keys)).await;
            let mut found = match answer {
                Some(Answer::Found(found)) => found,
                _ => Vec::new(),
            };
            let sift = move || {
                let now = clock::stamp();
                for found in &mut found {
                    let action = found.action;
                    found.claims.retain(|claim| {
                        let told = Announced {
                            claim: claim.clone(),
                            holds: false,
                        };
                        check(&roster, now, &told).is_ok_and(|checked| checked.action == action)
                    });
                }
                found.retain(|found| !found.claims.is_empty());
                found
            };
            let found = shared.tasks.blocking(sift).await.unwrap_or_default();
            let heard = Told::Heard { number, found };
            let _ = shared.notices.send(Notice::Index(heard)).await;
        });
    }

    /// Answers a member. No answer is a refusal.
    pub(super) fn serve_index(
        &mut self,
        from: NodeId,
        question: &[u8],
        reply: oneshot::Sender<Vec<u8>>,
    ) {
        let send = |answer: &Answer, reply: oneshot::Sender<Vec<u8>>| {
            if let Some(bytes) = answer.encode().ok().and_then(questions::index_answer) {
                drop(reply.send(bytes));
            }
        };
        match Question::decode(question) {
            Ok(Question::Find(keys)) => {
                send(&Answer::Found(self.index.engine.known(&keys)), reply);
            }
            // Whoever announces without waiting for an answer is not listened to.
            Ok(Question::Announce(told)) if self.index.busy.insert(from) => {
                let shared = Arc::clone(&self.shared);
                let roster = Arc::clone(&self.membership.roster);
                let checks = Arc::clone(&self.index.checks);
                self.shared.tasks.spawn("announced", async move {
                    let claims = checked(&shared, roster, &checks, told).await;
                    let notice = Told::Announced { from, claims };
                    let _ = shared.notices.send(Notice::Index(notice)).await;
                    send(&Answer::Taken, reply);
                });
            }
            Ok(Question::Announce(_)) => {}
            Err(error) => {
                tracing::debug!(peer = %from.fmt_short(), error = %chain(&error), "bad question");
            }
        }
    }
}

/// Asks and reads the answer.
async fn exchange(shared: &Shared, to: NodeId, question: &Question) -> Option<Answer> {
    let mesh = shared.mesh.as_ref()?;
    let bytes = questions::index_question(question.encode().ok()?)?;
    let answer = mesh.request(to, bytes).await.ok()?;
    Answer::decode(&questions::of_index(&answer)?).ok()
}

/// What of it is fit, checked where blocking is allowed, one batch after the other.
async fn checked(
    shared: &Shared,
    roster: Arc<Roster>,
    checks: &Semaphore,
    told: Vec<Announced>,
) -> Vec<Checked> {
    let Ok(_one) = checks.acquire().await else {
        return Vec::new();
    };
    let work = move || {
        let now = clock::stamp();
        let fit = |told: &Announced| {
            check(&roster, now, told)
                .inspect_err(|error| {
                    tracing::debug!(error = %chain(error), "a claim was passed over");
                })
                .ok()
        };
        told.iter().filter_map(fit).collect()
    };
    shared.tasks.blocking(work).await.unwrap_or_default()
}

/// For each action one claim that is kept here: this node's own, else one whose result is here.
fn claims_of(shared: &Shared, keys: &[ActionKey]) -> Vec<Announced> {
    let me = shared.home.key.node();
    let store = &shared.home.store;
    let (mut told, mut bytes) = (Vec::new(), 0);
    for key in keys.iter().take(ANNOUNCED_MAX) {
        let claims = store.claims(*key).unwrap_or_default().into_iter();
        let claims = claims.filter_map(|claim| {
            let said = shared.read_claim(&claim)?;
            Some(((claim.signer() == me, is_here(store, &said)), claim))
        });
        let Some(((_, holds), claim)) = claims.max_by_key(|(rank, _)| *rank) else {
            continue;
        };
        let size = codec::encode::<{ 2 * limits::CLAIM_BYTES_MAX }>(&claim).map_or(0, |c| c.len());
        bytes += size;
        if bytes > BATCH_BYTES {
            break;
        }
        told.push(Announced { claim, holds });
    }
    told
}
