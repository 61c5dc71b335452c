//! What became of jobs: for the last of them who was asked, what they said, where each attempt ran,
//! what it was at when, and how it ended. Pure: it is told what the market is told and what that
//! asks for, and never asks anything itself. What it does not remember any more is gone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use caravan_protocol::{
    claim::Verdict,
    ids::{ActionKey, NodeId},
    offer::{AttemptId, Command, Event, Message, Phase, Priority, Reluctance, Want},
    platform::Platform,
    time::Stamp,
    view::{BidView, PassView, PhaseTime, PhaseView, State, Why},
};

/// Jobs that are remembered.
pub(crate) const JOBS_MAX: usize = 1024;
/// Attempts at each of them.
pub(crate) const ATTEMPTS_MAX: usize = 16;
/// Bids, and passes, that are remembered of each attempt.
pub(crate) const BIDS_MAX: usize = 8;
/// Bids, and passes, that are held until an attempt is placed.
const HELD_MAX: usize = 64;
/// Phases of each attempt.
const PHASES_MAX: usize = 8;
/// Longest words about the end of an attempt, characters.
const WORDS_MAX: usize = 400;

/// An own job that is open.
#[derive(Debug, Clone)]
pub(crate) struct Open {
    pub(crate) wanted: Stamp,
    pub(crate) cost_ms: u64,
    pub(crate) platform: Platform,
    pub(crate) urgent: bool,
    /// Whether only one node may run it.
    only: bool,
}

/// An attempt.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) id: AttemptId,
    pub(crate) node: NodeId,
    pub(crate) placed: Stamp,
    pub(crate) why: Why,
    pub(crate) bids: Vec<BidView>,
    pub(crate) passes: Vec<PassView>,
    pub(crate) phases: Vec<PhaseTime>,
    pub(crate) estimate_ms: Option<u64>,
    pub(crate) ended: Option<Stamp>,
    pub(crate) end: Option<String>,
    pub(crate) won: bool,
}

impl Attempt {
    /// What it is at, and since when.
    pub(crate) fn phase(&self) -> PhaseTime {
        let placed = PhaseTime {
            phase: PhaseView::Placed,
            began: self.placed,
        };
        self.phases.last().copied().unwrap_or(placed)
    }
}

/// A job.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    /// When it was last heard of: its place among all.
    touched: u64,
    pub(crate) label: String,
    pub(crate) project: String,
    pub(crate) platform: Option<Platform>,
    pub(crate) cost_ms: Option<u64>,
    pub(crate) wanted: Option<Stamp>,
    pub(crate) attempts: VecDeque<Attempt>,
    /// Attempts that are not remembered any more.
    pub(crate) forgotten: u32,
    /// How it ended, if it is not open.
    pub(crate) end: Option<(State, String)>,
    /// What was said since the last attempt was placed.
    bids: BTreeMap<NodeId, BidView>,
    passes: BTreeMap<NodeId, Reluctance>,
    asked: bool,
    /// Who was sent an award since.
    awarded: Option<NodeId>,
}

/// What is remembered of all jobs.
#[derive(Debug, Default)]
pub(crate) struct History {
    open: BTreeMap<ActionKey, Open>,
    jobs: BTreeMap<ActionKey, Record>,
    /// Keys of `jobs` by when they were touched.
    order: BTreeMap<u64, ActionKey>,
    turn: u64,
    /// Attempts that have not ended.
    live: BTreeSet<AttemptId>,
    /// Own open jobs whose last attempt came to nothing.
    lost: BTreeSet<ActionKey>,
}

impl History {
    /// The market is about to be told this.
    pub(crate) fn heard(&mut self, me: NodeId, at: Stamp, event: &Event) {
        match event {
            Event::Want(want) => self.wanted(at, want),
            Event::Unwant(job) if self.open.remove(&job.action()).is_some() => {
                self.ended(job.action(), State::Cancelled, "nobody wants it any more");
            }
            Event::Message { from, message } => self.message(*from, message),
            Event::Progress { attempt, phase } => self.progress(at, *attempt, *phase),
            Event::Finished {
                attempt, verdict, ..
            } if attempt.owner != me => self.close(at, *attempt, verdict_words(*verdict), true),
            _ => {}
        }
    }

    /// The market has heard that an own attempt has ended here, and what it asked for was told.
    pub(crate) fn settled(&mut self, at: Stamp, attempt: AttemptId) {
        // Whatever ended a job has said so by now.
        let words = "it was stopped: its result was of no use any more";
        self.close(at, attempt, words, false);
    }

    /// The market asks for this. `words` are those of the node about a lost attempt.
    pub(crate) fn told(&mut self, me: NodeId, at: Stamp, command: &Command, words: Option<&str>) {
        match command {
            Command::Send { to, message } => self.said(at, me, *to, message),
            Command::Run { attempt, .. } => self.begin_here(me, at, *attempt),
            Command::Placed { attempt, node } => self.placed(at, *attempt, *node),
            Command::Progress { attempt, phase, .. } => self.progress(at, *attempt, *phase),
            Command::Lost { attempt, loss, .. } => {
                let words = words.map_or_else(|| loss.to_string(), str::to_owned);
                self.close(at, *attempt, &words, false);
                if self.open.contains_key(&attempt.job.action()) {
                    self.lost.insert(attempt.job.action());
                }
            }
            Command::Done {
                attempt, verdict, ..
            } => {
                self.close(at, *attempt, verdict_words(*verdict), true);
                self.open.remove(&attempt.job.action());
                let state = match verdict {
                    Verdict::Pass => State::Ok,
                    Verdict::Fail | Verdict::Infra => State::Failed,
                };
                self.ended(attempt.job.action(), state, "");
            }
            Command::GaveUp { job, reason } => {
                self.open.remove(&job.action());
                self.ended(job.action(), State::Failed, &format!("given up: {reason}"));
            }
            _ => {}
        }
    }

    fn wanted(&mut self, at: Stamp, want: &Want) {
        let key = want.job.action();
        let open = Open {
            wanted: at,
            cost_ms: want.cost_ms,
            platform: want.platform.clone(),
            urgent: want.priority == Priority::Urgent,
            only: want.place.on.is_some(),
        };
        let known = self.open.entry(key).or_insert(open);
        known.urgent |= want.priority == Priority::Urgent;
        if let Some(record) = self.jobs.get_mut(&key) {
            record.end = None;
        }
    }

    fn message(&mut self, from: NodeId, message: &Message) {
        match message {
            Message::Bid {
                job,
                eta_ms,
                wait_ms,
                ..
            } if self.open.contains_key(&job.action()) => {
                let record = self.record(job.action());
                if record.bids.len() < HELD_MAX || record.bids.contains_key(&from) {
                    record.passes.remove(&from);
                    let bid = BidView {
                        node: from,
                        eta_ms: *eta_ms,
                        wait_ms: *wait_ms,
                    };
                    record.bids.insert(from, bid);
                }
            }
            Message::Pass { job, why, .. } if self.open.contains_key(&job.action()) => {
                let record = self.record(job.action());
                if record.passes.len() < HELD_MAX || record.passes.contains_key(&from) {
                    record.passes.insert(from, *why);
                }
            }
            _ => {}
        }
    }

    fn said(&mut self, at: Stamp, me: NodeId, to: NodeId, message: &Message) {
        match message {
            Message::Offer(offer) => self.record(offer.job.action()).asked = true,
            Message::Award { job, number, .. } => {
                let record = self.record(job.action());
                let mut known = record.attempts.iter();
                // One that is said again is no new one.
                if !known.any(|one| one.node == to && one.id.number == *number) {
                    record.awarded = Some(to);
                }
            }
            Message::Cancel { job, number } => {
                let id = AttemptId {
                    owner: me,
                    job: *job,
                    number: *number,
                };
                self.close(
                    at,
                    id,
                    "it was cancelled: its result was of no use any more",
                    false,
                );
            }
            _ => {}
        }
    }

    /// The record of a job, made if there is none: the one that was touched first goes for it.
    fn record(&mut self, key: ActionKey) -> &mut Record {
        self.turn += 1;
        let turn = self.turn;
        if let Some(known) = self.jobs.get(&key) {
            self.order.remove(&known.touched);
        } else if self.jobs.len() >= JOBS_MAX
            && let Some((_, oldest)) = self.order.pop_first()
            && let Some(gone) = self.jobs.remove(&oldest)
        {
            for attempt in &gone.attempts {
                self.live.remove(&attempt.id);
            }
        }
        self.order.insert(turn, key);
        let open = self.open.get(&key);
        let record = self.jobs.entry(key).or_default();
        record.touched = turn;
        if let Some(open) = open {
            record.platform = Some(open.platform.clone());
            record.cost_ms = Some(open.cost_ms);
            record.wanted = Some(open.wanted);
        }
        record
    }

    fn begin_here(&mut self, me: NodeId, at: Stamp, id: AttemptId) {
        let key = id.job.action();
        let only = self.open.get(&key).is_some_and(|open| open.only);
        let record = self.record(key);
        let is_other = |attempt: &Attempt| attempt.ended.is_none() && attempt.id.owner == me;
        let why = if id.owner != me {
            Why::Lent
        } else if record.attempts.iter().any(is_other) {
            Why::Hedge
        } else if only {
            Why::Only
        } else if record.asked {
            Why::Sooner
        } else {
            Why::Here
        };
        let estimate_ms = record.cost_ms.filter(|_| id.owner == me);
        self.begin(at, id, me, why, estimate_ms);
    }

    fn placed(&mut self, at: Stamp, id: AttemptId, node: NodeId) {
        let key = id.job.action();
        let only = self.open.get(&key).is_some_and(|open| open.only);
        let record = self.record(key);
        let known = record.attempts.iter_mut();
        let known = known
            .rev()
            .find(|attempt| attempt.id == id && attempt.node == node);
        if let Some(attempt) = known {
            (attempt.why, attempt.ended, attempt.end) = (Why::Back, None, None);
            self.live.insert(id);
            self.lost.remove(&key);
            return;
        }
        let is_other = |attempt: &Attempt| attempt.ended.is_none() && attempt.id.owner == id.owner;
        let bid = record.bids.get(&node).copied();
        let least = record.bids.values().map(|bid| bid.eta_ms).min();
        let why = if record.attempts.iter().any(is_other) {
            Why::Hedge
        } else if record.awarded != Some(node) {
            Why::Adopted
        } else if only {
            Why::Only
        } else {
            match bid {
                None => Why::Spare,
                Some(bid) if Some(bid.eta_ms) == least => Why::Lowest,
                Some(_) => Why::Believed,
            }
        };
        let estimate_ms = bid.map(|bid| bid.eta_ms).or(record.cost_ms);
        self.begin(at, id, node, why, estimate_ms);
    }

    fn begin(
        &mut self,
        at: Stamp,
        id: AttemptId,
        node: NodeId,
        why: Why,
        estimate_ms: Option<u64>,
    ) {
        self.live.insert(id);
        self.lost.remove(&id.job.action());
        let Some(record) = self.jobs.get_mut(&id.job.action()) else {
            return;
        };
        if record.attempts.len() >= ATTEMPTS_MAX
            && let Some(oldest) = record.attempts.pop_front()
        {
            record.forgotten += 1;
            self.live.remove(&oldest.id);
        }
        let mut bids: Vec<BidView> = std::mem::take(&mut record.bids).into_values().collect();
        // The one that was taken is always among those that are remembered.
        bids.sort_by_key(|bid| (bid.node != node, bid.eta_ms, bid.node));
        bids.truncate(BIDS_MAX);
        bids.sort_by_key(|bid| (bid.eta_ms, bid.node));
        let passes = std::mem::take(&mut record.passes).into_iter();
        let passes = passes.take(BIDS_MAX).map(|(node, why)| PassView {
            node,
            why: reluctance(why).to_owned(),
        });
        (record.asked, record.awarded, record.end) = (false, None, None);
        record.attempts.push_back(Attempt {
            id,
            node,
            placed: at,
            why,
            bids,
            passes: passes.collect(),
            phases: Vec::new(),
            estimate_ms,
            ended: None,
            end: None,
            won: false,
        });
    }

    fn attempt(&mut self, id: AttemptId) -> Option<&mut Attempt> {
        let record = self.jobs.get_mut(&id.job.action())?;
        let attempts = record.attempts.iter_mut();
        attempts.rev().find(|attempt| attempt.id == id)
    }

    fn progress(&mut self, at: Stamp, id: AttemptId, phase: Phase) {
        let Some(attempt) = self.attempt(id).filter(|attempt| attempt.ended.is_none()) else {
            return;
        };
        let phase = seen(phase);
        let known = attempt.phases.len();
        match attempt.phases.last_mut() {
            Some(last) if last.phase.word() == phase.word() => last.phase = phase,
            _ if known >= PHASES_MAX => {}
            _ => attempt.phases.push(PhaseTime { phase, began: at }),
        }
    }

    /// An attempt has ended, if it had not.
    fn close(&mut self, at: Stamp, id: AttemptId, words: &str, won: bool) {
        if !self.live.remove(&id) {
            return;
        }
        if let Some(attempt) = self.attempt(id) {
            attempt.ended = Some(at);
            let line = words.lines().next().unwrap_or_default();
            attempt.end = Some(line.chars().take(WORDS_MAX).collect());
            attempt.won = won;
        }
    }

    fn ended(&mut self, key: ActionKey, state: State, words: &str) {
        self.lost.remove(&key);
        if let Some(record) = self.jobs.get_mut(&key) {
            record.end = Some((state, words.to_owned()));
            record.bids.clear();
            record.passes.clear();
        }
    }

    /// Notes what people call a job.
    pub(crate) fn name(&mut self, key: ActionKey, label: &str, project: &str) {
        if let Some(record) = self.jobs.get_mut(&key) {
            label.clone_into(&mut record.label);
            project.clone_into(&mut record.project);
        }
    }

    /// What is known of an own job that is open.
    pub(crate) fn open(&self, key: ActionKey) -> Option<&Open> {
        self.open.get(&key)
    }

    /// Own open jobs that may rest before they are tried again.
    pub(crate) fn resting(&self) -> impl Iterator<Item = ActionKey> {
        self.lost.iter().copied()
    }

    /// What is remembered of a job.
    pub(crate) fn get(&self, key: ActionKey) -> Option<&Record> {
        self.jobs.get(&key)
    }

    /// The jobs whose keys begin so, of those that are open or remembered; at most two.
    pub(crate) fn find(&self, prefix: &str) -> BTreeSet<ActionKey> {
        let keys = self.jobs.keys().chain(self.open.keys());
        let mut found = BTreeSet::new();
        for key in keys {
            if key.to_string().starts_with(prefix) {
                found.insert(*key);
                if found.len() > 1 {
                    break;
                }
            }
        }
        found
    }

    /// Attempts that have not ended, in order of their owners and jobs.
    pub(crate) fn live(&self) -> impl Iterator<Item = (&Record, &Attempt)> {
        self.live.iter().filter_map(|id| {
            let record = self.jobs.get(&id.job.action())?;
            let attempts = record.attempts.iter().rev();
            let attempt = attempts.clone().find(|attempt| attempt.id == *id)?;
            Some((record, attempt))
        })
    }

    /// How many have not ended.
    pub(crate) fn live_len(&self) -> usize {
        self.live.len()
    }
}

const fn verdict_words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "it passed",
        Verdict::Fail => "it failed by itself",
        Verdict::Infra => "the infrastructure failed",
    }
}

const fn reluctance(why: Reluctance) -> &'static str {
    match why {
        Reluctance::Busy => "it has too much to do now",
        Reluctance::Unfit => "it does not do such jobs",
    }
}

fn seen(phase: Phase) -> PhaseView {
    match phase {
        Phase::Fetching { bytes } => PhaseView::Fetching { bytes, of_bytes: 0 },
        Phase::Running { log_bytes, cpu_ms } => PhaseView::Running { log_bytes, cpu_ms },
        Phase::Keeping => PhaseView::Keeping,
    }
}

#[cfg(test)]
mod tests;
