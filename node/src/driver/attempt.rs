//! Attempts: one try at an action on this node, from its bytes to what was built.

use caravan_mesh::Wanted;
use caravan_protocol::{
    action::{Action, Limits, Network, Work},
    ids::{ActionKey, NodeId, TreeId},
    limits,
    offer::AttemptId,
};

use super::{
    Driver, Notice,
    flights::Left,
    index, inputs, keeping,
    outcome::{Landed, Reported},
    weigh::Reuse,
};
use crate::{
    build::{Built, Secrets},
    clock,
};

/// The most that a node that allows this lends to others.
pub(super) fn lent(most: &Limits) -> Limits {
    Limits {
        wall_ms: most.wall_ms.min(LENT_WALL_MS_MAX),
        ..*most
    }
}

/// Why this node does not do what was sent, if it does not: it must be what was offered, nobody's asks
/// for more than is allowed, and strangers' never reaches out from here. Whoever is not refused may
/// have the result of whatever has the same key.
fn refusal(encoded: &[u8], key: ActionKey, most: &Limits, own: bool) -> Option<String> {
    let action = match Action::decode(encoded) {
        Ok(action) => action,
        Err(error) => return Some(error.to_string()),
    };
    // Else a step with a secret could be had by its key alone, with bytes that ask for nothing.
    if action.key() != Ok(key) {
        return Some("the action is not the one that was offered".to_owned());
    }
    let lent = lent(most);
    let most = if own { most } else { &lent };
    if let Err(too_much) = action.needs().within(most) {
        return Some(too_much.to_string());
    }
    let lendable = match &action.work {
        Work::Run(run) => run.network == Network::None && run.secrets.is_empty(),
        // Those cost less than asking for them.
        Work::Fetch(_) | Work::Copy(_) => false,
    };
    let why = "this node lends its processors and not its network";
    (!own && !lendable).then(|| why.to_owned())
}

/// Longest step that is done for others, milliseconds.
const LENT_WALL_MS_MAX: u64 = 4 * 3_600_000;

impl Driver {
    /// Begins an attempt. Exactly one [`Notice::Built`] or [`Notice::Left`] follows for it or for
    /// the run that it shares. What this node has done before is not done again, and two owners
    /// that want the same at once share one run.
    pub(crate) fn start_attempt(&mut self, attempt: AttemptId, encoded: Vec<u8>) {
        let key = attempt.job.action();
        let own = attempt.owner == self.shared.home.key.node();
        self.changed = true;
        // What an owner may not have done here it may not have from another's run either.
        let most = &self.shared.config.most;
        let why = refusal(&encoded, key, most, own).or_else(|| self.overtaking(attempt, &encoded));
        match why {
            Some(why) => self.tell_left(attempt, why),
            None => {
                if let Some(encoded) = self.flights.join(attempt, encoded) {
                    self.launch(attempt, encoded);
                }
            }
        }
        if own {
            self.show_standing(key);
        }
    }

    /// Why an attempt is not what room was made for, if it is not: its owner said that it takes less.
    fn overtaking(&self, attempt: AttemptId, encoded: &[u8]) -> Option<String> {
        let needs = Action::decode(encoded).ok()?.needs();
        let why = "the action takes other room than its owner said";
        (!self.engine.makes_room(attempt, &needs)).then(|| why.to_owned())
    }

    /// Starts the run of an action of which nothing runs.
    pub(super) fn launch(&mut self, attempt: AttemptId, encoded: Vec<u8>) {
        let action = Action::decode(&encoded);
        let cancel = self.flights.launch(attempt, encoded);
        let shared = std::sync::Arc::clone(&self.shared);
        let key = attempt.job.action();
        let own = attempt.owner == shared.home.key.node();
        // First: what is found done stays until it was told.
        if let Ok(action) = &action {
            shared.keeping.begin(attempt, &shared.home.store, action);
        }
        let done_before = match &action {
            Ok(action) if !own => self.done_before(key, action),
            _ => None,
        };
        let headway = self.headways.begin(key);
        let providers = self.providers(attempt.owner);
        // A secret is for what its own node wants, and nobody else.
        let secrets = match &action {
            Ok(action) if own => self.secrets_of(key, action),
            _ => Secrets::default(),
        };
        self.shared.tasks.spawn_to_end("attempt", async move {
            let mut fetched_bytes = 0;
            let built = match (done_before, action) {
                (Some(built), _) => built,
                (None, Ok(action)) if action.key() == Ok(key) => {
                    let begun = clock::now();
                    let bring = index::bring(&shared, &action, &providers, &cancel);
                    match headway.fetching(bring).await {
                        Ok(bytes) => {
                            fetched_bytes = bytes;
                            shared.pace.note(bytes, clock::now().since(begun));
                            headway.runs();
                            shared
                                .builder
                                .build(&action, &key.to_string(), &secrets, &cancel)
                                .await
                        }
                        Err(lacking) => Built {
                            output: lacking.tree,
                            ..Built::infra(lacking.why)
                        },
                    }
                }
                (None, Ok(_)) => Built::infra("the action is not the one that was offered"),
                (None, Err(error)) => Built::infra(error.to_string()),
            };
            headway.keeps();
            let built = keeping::check_built(&shared, attempt, built).await;
            let notice = Notice::Built {
                attempt,
                action: key,
                built,
                fetched_bytes,
            };
            // The driver is gone only when the node stops, and then nobody waits.
            let _ = shared.notices.send(notice).await;
        });
    }

    /// The secrets of the first run that waits for this and has all that it names.
    fn secrets_of(&self, key: ActionKey, action: &Action) -> Secrets {
        let (Work::Run(run), Some(job)) = (&action.work, self.jobs.get(&key)) else {
            return Secrets::default();
        };
        let given = job
            .waiters
            .iter()
            .filter_map(|waiter| self.runs.get(&waiter.run));
        let given = given.map(|run| &run.secrets).find(|given| {
            let mut named = run.secrets.iter();
            named.all(|secret| given.iter().any(|value| value.id == secret.id))
        });
        let values = given.into_iter().flatten();
        let named = values.filter(|value| run.secrets.iter().any(|secret| secret.id == value.id));
        Secrets::new(named.map(|value| (value.id.clone(), value.value.clone())))
    }

    /// What a run of this action by this very node has left, if all of it is still here.
    fn done_before(&self, key: ActionKey, action: &Action) -> Option<Built> {
        let outcome = self.scales().claimed(key, action, Reuse::Passed)?;
        let own = self.shared.home.key.node();
        let mesh = self.membership.roster.mesh();
        let claims = self.shared.home.store.claims(key).ok()?;
        let claim = claims.iter().find(|claim| {
            claim.signer() == own
                && claim
                    .open(mesh)
                    .is_ok_and(|claim| claim.verdict == outcome.verdict)
        })?;
        let said = claim.open(mesh).ok()?;
        (said.output == outcome.output).then(|| Built {
            verdict: said.verdict,
            output: said.output,
            outputs: said.outputs,
            log: said.log,
            wall_ms: said.wall_ms,
            cpu_ms: said.cpu_ms,
            message: None,
            claim: Some(claim.clone()),
        })
    }

    /// Stops an attempt, and its run if nobody else has a part in it.
    pub(crate) fn stop_attempt(&mut self, attempt: AttemptId) {
        if self.flights.leave(attempt) == Left::Ended {
            self.tell_left(attempt, "the attempt was cancelled".to_owned());
        }
    }

    /// Told as a notice: the engine is in the midst of something.
    fn tell_left(&self, attempt: AttemptId, why: String) {
        let shared = std::sync::Arc::clone(&self.shared);
        self.shared.tasks.spawn_to_end("left attempt", async move {
            let _ = shared.notices.send(Notice::Left { attempt, why }).await;
        });
    }

    /// Members to ask for what is not here: the owner of the work first.
    fn providers(&self, owner: NodeId) -> Vec<NodeId> {
        let own = self.shared.home.key.node();
        let connected = self
            .peers
            .values()
            .filter(|peer| peer.connected)
            .map(|peer| peer.node);
        let mut providers: Vec<NodeId> = connected
            .filter(|node| *node != own && *node != owner)
            .collect();
        if owner != own {
            providers.insert(0, owner);
        }
        providers
    }

    /// Brings another node's log and output here before its result is used.
    pub(crate) fn fetch_result(
        &mut self,
        key: caravan_protocol::ids::ActionKey,
        node: NodeId,
        report: Reported,
        claim: caravan_protocol::claim::Claim,
    ) {
        let shared = std::sync::Arc::clone(&self.shared);
        let held = self.shared.home.store.hold();
        let output: Vec<TreeId> = self.to_bring(key, node, &claim).into_iter().collect();
        self.shared.tasks.spawn("fetch result", async move {
            let mut blobs: Vec<Wanted> = claim
                .outputs
                .values()
                .map(|blob| Wanted::at_most(*blob, limits::OUTPUT_BYTES_MAX))
                .collect();
            let log_max = caravan_store::log_blob_bytes_max(limits::LOG_BYTES_MAX);
            blobs.extend(claim.log.map(|log| Wanted::at_most(log, log_max)));
            let fetched = inputs::fetch_all(&shared, &output, &blobs, &[node]).await;
            let landed = fetched.map(|bytes| Landed {
                _held: held,
                claim: report.claim,
                words: report.words,
                bytes,
            });
            let _ = shared
                .notices
                .send(Notice::Landed {
                    job: key,
                    node,
                    landed,
                })
                .await;
        });
    }
}

#[cfg(test)]
mod tests;
