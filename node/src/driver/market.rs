//! Between the market engine and the world: what it asks for is done here, what happens is told to
//! it.

use caravan_mesh::Event as MeshEvent;
use caravan_protocol::{
    claim::Verdict,
    ids::{ActionKey, NodeId},
    offer::{AttemptId, Command, Digest, Event, GaveUp, Loss, Message, ProjectKey},
    platform::Platform,
    role,
};

use super::Driver;
use crate::{build::Built, clock};

/// Jobs given to other nodes whose late results are still taken.
const PLACED_MAX: usize = 4096;

impl Driver {
    /// Tells the engine something and does what it asks for.
    pub(crate) fn market(&mut self, event: Event) {
        let mut commands = Vec::new();
        let ended = self.note_event(&event);
        self.engine.handle(clock::now(), event, &mut commands);
        for command in &commands {
            self.note_command(command);
        }
        self.note_settled(ended);
        for command in commands {
            self.obey(command);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Run {
                attempt,
                action,
                holders,
            } => {
                self.note_holders(&action, &holders);
                self.start_attempt(attempt, action);
            }
            Command::Stop { attempt } => self.stop_attempt(attempt),
            Command::Send { to, message } => self.send(to, &message),
            Command::Gossip { platform, digest } => self.gossip(&platform, &digest),
            Command::WakeAt(at) => self.wake = Some(at),
            Command::Appraise { appraisal, lineage } => self.appraise(appraisal, lineage),
            Command::Placed { attempt, node } => {
                self.note_placed(attempt.job.action(), node);
                self.show_standing(attempt.job.action());
            }
            Command::Progress { attempt, .. } => {
                self.show_standing(attempt.job.action());
            }
            Command::Waiting { job, reason } => self.note_trouble(job.action(), reason.to_string()),
            Command::Lost {
                attempt,
                node,
                loss,
                outcome,
            } => self.on_lost(attempt, node, loss, &outcome),
            Command::Done {
                attempt,
                node,
                verdict: _,
                outcome,
            } => {
                self.on_done(attempt.job.action(), node, &outcome);
            }
            Command::GaveUp {
                job,
                reason: reason @ GaveUp::TooMuch(_),
            } => {
                let hint = "ask for less, or raise it under [limits] in the node's config.toml";
                self.close_undone(job.action(), format!("refused: {reason}; {hint}"));
            }
            Command::GaveUp { job, reason } => self.close_infra(job.action(), &reason.to_string()),
            Command::Late {
                attempt,
                node,
                verdict,
                outcome,
            } => {
                self.on_late(attempt.job.action(), node, verdict, &outcome);
            }
            Command::Reject { from, reason } => {
                tracing::debug!(peer = %from.fmt_short(), %reason, "refused what a member said");
            }
        }
    }

    fn note_placed(&mut self, key: ActionKey, node: NodeId) {
        self.placed.retain(|placed| *placed != (key, node));
        self.placed.push_back((key, node));
        if self.placed.len() > PLACED_MAX {
            self.placed.pop_front();
        }
    }

    fn send(&self, to: NodeId, message: &Message) {
        let Some(mesh) = &self.shared.mesh else {
            return;
        };
        match message.encode() {
            Ok(bytes) => {
                if let Err(error) = mesh.send(to, bytes) {
                    // The engine says everything again that matters.
                    tracing::debug!(peer = %to.fmt_short(), %error, "could not send");
                }
            }
            Err(error) => tracing::warn!(%error, "could not encode a message"),
        }
    }

    fn gossip(&self, platform: &Platform, digest: &Digest) {
        let Some(mesh) = &self.shared.mesh else {
            return;
        };
        match digest.encode() {
            Ok(bytes) => {
                if let Err(error) = mesh.gossip(platform.clone(), bytes) {
                    tracing::debug!(%error, "could not gossip");
                }
            }
            Err(error) => tracing::warn!(%error, "could not encode a digest"),
        }
    }

    /// An attempt ended here: its claim is signed, kept if it is final, and told to the engine,
    /// which tells the owner.
    pub(crate) fn on_built(&mut self, attempt: AttemptId, action: ActionKey, built: &Built) {
        self.changed = true;
        let landing = self.flights.land(attempt, built.verdict == Verdict::Infra);
        self.headways.end(action);
        if let Some((next, encoded)) = landing.next {
            self.launch(next, encoded);
        }
        if !landing.cancelled && built.claim.is_none() {
            match built.verdict {
                Verdict::Infra => self.counters.infra += 1,
                Verdict::Pass | Verdict::Fail => self.counters.executed += 1,
            }
        }
        let report = self.report(action, built);
        if let Some(report) = &report
            && built.verdict != Verdict::Infra
        {
            self.keep(action, &report.claim, report.words.as_deref());
        }
        let outcome = report.map(|report| report.encode()).unwrap_or_default();
        for told in landing.told {
            self.finished(told, built, outcome.clone());
        }
        self.shared.keeping.end(attempt);
    }

    /// An attempt is over here whose action may go on for others.
    pub(crate) fn on_left(&mut self, attempt: AttemptId, why: String) {
        self.changed = true;
        let built = Built::infra(why);
        let report = self.report(attempt.job.action(), &built);
        let outcome = report.map(|report| report.encode()).unwrap_or_default();
        self.finished(attempt, &built, outcome);
    }

    fn finished(&mut self, attempt: AttemptId, built: &Built, outcome: Vec<u8>) {
        let verdict = built.verdict;
        self.market(Event::Finished {
            attempt,
            verdict,
            outcome,
        });
    }

    fn on_lost(&mut self, attempt: AttemptId, node: NodeId, loss: Loss, outcome: &[u8]) {
        if self.on_lacking(attempt.job.action(), node, outcome) {
            return;
        }
        let words = super::outcome::Reported::decode(outcome).and_then(|report| report.words);
        let trouble = match words {
            Some(words) => format!(
                "attempt {} on {}: {words}",
                attempt.number,
                node.fmt_short()
            ),
            None => format!("attempt {} on {}: {loss}", attempt.number, node.fmt_short()),
        };
        self.note_trouble(attempt.job.action(), trouble);
    }

    /// An own job ended on a node. What ended here is kept already; what ended elsewhere must come.
    fn on_done(&mut self, key: ActionKey, node: NodeId, outcome: &[u8]) {
        if node == self.shared.home.key.node() {
            return match self.scales().ended(key, node) {
                Some(outcome) => self.close(key, &outcome),
                None => self.close_infra(key, "the result could not be kept; see the node's log"),
            };
        }
        self.counters.remote += 1;
        match self.believe(key, node, outcome) {
            Ok((report, claim)) => self.fetch_result(key, node, report, claim),
            Err(why) => {
                tracing::warn!(peer = %node.fmt_short(), %why, "a result was not believed");
                self.again(
                    key,
                    format!("the result of {} was not believed: {why}", node.fmt_short()),
                );
            }
        }
    }

    fn on_late(&mut self, key: ActionKey, node: NodeId, verdict: Verdict, outcome: &[u8]) {
        // A claim that nobody asked for is nobody's evidence: it is taken only from a node that was
        // given this very job.
        if verdict != Verdict::Infra
            && self.placed.contains(&(key, node))
            && let Ok((report, _)) = self.believe(key, node, outcome)
        {
            self.keep(key, &report.claim, report.words.as_deref());
        }
    }

    /// What another node made has come here.
    pub(crate) fn on_landed(
        &mut self,
        key: ActionKey,
        node: NodeId,
        landed: Result<super::outcome::Landed, String>,
    ) {
        match landed {
            Ok(landed) => {
                self.counters.fetched_bytes += landed.bytes;
                self.keep(key, &landed.claim, landed.words.as_deref());
                match self.scales().anywhere().ended(key, node) {
                    Some(outcome) => {
                        self.close(key, &outcome);
                        // Wanted anew while it was under way, it need not be run again.
                        self.market(Event::Unwant(key.into()));
                    }
                    None => self.again(key, "its claim names what did not come".to_owned()),
                }
            }
            Err(why) => self.again(
                key,
                format!("what {} made did not arrive: {why}", node.fmt_short()),
            ),
        }
    }

    /// Wants an own job anew after its result turned out to be of no use.
    fn again(&mut self, key: ActionKey, why: String) {
        self.note_trouble(key, why);
        self.want_again(key, false);
    }

    /// Wants an own job anew: here, where it can be done here, or `anywhere`.
    pub(crate) fn want_again(&mut self, key: ActionKey, anywhere: bool) {
        let Some(wanted) = self.jobs.get(&key).map(|job| job.action.clone()) else {
            return;
        };
        let below = self.below(&wanted);
        let (Some(job), Ok(action)) = (self.jobs.get(&key), wanted.encode()) else {
            return;
        };
        let mut runs = job
            .waiters
            .iter()
            .filter_map(|waiter| self.runs.get(&waiter.run));
        let role = runs.find_map(|run| run.role);
        let mut runs = job
            .waiters
            .iter()
            .filter_map(|waiter| self.runs.get(&waiter.run));
        let project = runs.next().map(|run| ProjectKey::of(&run.view.project));
        let project = project.unwrap_or_default();
        let want = caravan_protocol::offer::Want {
            job: key.into(),
            platform: job.action.platform.clone(),
            priority: caravan_protocol::offer::Priority::Urgent,
            project,
            rate: caravan_protocol::offer::Rate::USUAL,
            both: false,
            cost_ms: 60_000,
            // Elsewhere was of no use; here it is certain to be.
            remote_ok: (anywhere && super::jobs::is_lendable(&job.action))
                || job.action.platform != Platform::here(),
            needs: job.action.needs(),
            place: job.place.clone(),
            lineage: below.lineage,
            missing_bytes: below.missing_bytes,
            holders: below.holders,
            role,
            action,
        };
        self.market(Event::Want(want));
    }

    pub(crate) fn on_mesh(&mut self, event: MeshEvent) {
        match event {
            MeshEvent::Up { node, .. } => self.on_up(node),
            MeshEvent::Down { node } => self.on_down(node),
            MeshEvent::Message { from, bytes } if role::Message::is_one(&bytes) => {
                self.hear_role(from, &bytes);
            }
            MeshEvent::Message { from, bytes } => match Message::decode(&bytes) {
                Ok(message) => {
                    if let Message::Award {
                        role: Some(role), ..
                    } = &message
                    {
                        self.serve_role(*role, from);
                    }
                    self.market(Event::Message { from, message });
                }
                Err(error) => tracing::debug!(peer = %from.fmt_short(), %error, "bad message"),
            },
            MeshEvent::Gossip {
                from,
                platform,
                bytes,
            } => match Digest::decode(&bytes) {
                Ok(digest) => self.market(Event::Heard {
                    from,
                    platform,
                    digest,
                }),
                Err(error) => tracing::debug!(peer = %from.fmt_short(), %error, "bad digest"),
            },
            MeshEvent::AdmitAsked {
                node,
                secret,
                platforms,
                reply,
            } => {
                let answer = self.admit(node, &secret, platforms);
                drop(reply.send(answer));
            }
            MeshEvent::Learned { contacts } => self.on_learned(&contacts),
            MeshEvent::Request { from, bytes, reply } => {
                self.on_question(from, &bytes, reply);
            }
            MeshEvent::Misbehaved { node, reason } => {
                tracing::warn!(peer = %node.fmt_short(), %reason, "a member broke the rules");
            }
            other => self.on_membership(other),
        }
    }
}
