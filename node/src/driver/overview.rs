//! What this node is at, put together when somebody looks: what waits and why, what runs, what goes
//! over the wire and what the cache has saved.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use caravan_protocol::{
    ids::{ActionKey, NodeId},
    offer::{self, AttemptId, Command, Event, Queued, Waits},
    time::{Stamp, Time},
    view::{
        CacheView, LinkView, ModeView, NodeView, OVERVIEW_LINKS_MAX, OVERVIEW_NODES_MAX,
        OVERVIEW_RUNNING_MAX, OVERVIEW_WAITING_MAX, Overview, RunningView, WaitingView,
    },
};

use super::{
    Driver,
    history::{Attempt, Record},
    outcome::Reported,
};
use crate::clock;

mod job;

/// How long an overview is shown to whoever asks, before the next one is made.
const FRESH: Duration = Duration::from_millis(200);
/// Shortest time between two readings of what went over the wire.
const SAMPLE: Duration = Duration::from_millis(500);
/// Readings from which speeds are told.
const SAMPLES_MAX: usize = 8;
/// Readings older than this tell nothing of now.
const SAMPLE_OLD: Duration = Duration::from_secs(10);

/// What went over the wire until then.
#[derive(Debug, Clone)]
struct Sample {
    at: Time,
    /// Bytes in and out, with all members together and with the busiest of them.
    moved: BTreeMap<Option<NodeId>, (u64, u64)>,
}

/// The newest overview, and how fast bytes move.
#[derive(Debug, Default)]
pub(crate) struct Lookout {
    last: Option<(Time, Arc<Overview>)>,
    samples: VecDeque<Sample>,
}

impl Lookout {
    /// Whether it is time for a reading.
    fn is_due(&self, now: Time) -> bool {
        let is_due = |last: &Sample| now.since(last.at) >= SAMPLE;
        self.samples.back().is_none_or(is_due)
    }

    fn note(&mut self, sample: Sample) {
        let now = sample.at;
        if self.is_due(now) {
            self.samples.push_back(sample);
        }
        let is_old = |first: &Sample| now.since(first.at) > SAMPLE_OLD;
        while self.samples.len() > SAMPLES_MAX || self.samples.front().is_some_and(is_old) {
            self.samples.pop_front();
        }
    }

    /// Bytes a second that came and that went of late.
    fn speed(&self, now: &Sample, with: Option<NodeId>) -> (u64, u64) {
        let (Some(first), Some(then_now)) = (self.samples.front(), now.moved.get(&with)) else {
            return (0, 0);
        };
        let then = first.moved.get(&with).copied().unwrap_or_default();
        let ms = u64::try_from(now.at.since(first.at).as_millis()).unwrap_or(u64::MAX);
        let per_s = |more: u64| more.saturating_mul(1000).checked_div(ms).unwrap_or(0);
        (
            per_s(then_now.0.saturating_sub(then.0)),
            per_s(then_now.1.saturating_sub(then.1)),
        )
    }
}

impl Driver {
    /// The market is about to be told something. Gives the own attempt that it says has ended.
    pub(super) fn note_event(&mut self, event: &Event) -> Option<AttemptId> {
        let me = self.shared.home.key.node();
        self.history.heard(me, clock::stamp(), event);
        match event {
            Event::Finished { attempt, .. } if attempt.owner == me => Some(*attempt),
            _ => None,
        }
    }

    /// The market asks for something.
    pub(super) fn note_command(&mut self, command: &Command) {
        let (me, at) = (self.shared.home.key.node(), clock::stamp());
        let words = match command {
            Command::Lost { outcome, .. } => Reported::decode(outcome).and_then(|said| said.words),
            _ => None,
        };
        self.history.told(me, at, command, words.as_deref());
        let (Command::Run { attempt, .. } | Command::Placed { attempt, .. }) = command else {
            return;
        };
        let key = attempt.job.action();
        if attempt.owner == me
            && let Some((label, project)) = self.called(key)
        {
            self.history.name(key, &label, &project);
        }
    }

    /// The market has taken something in.
    pub(super) fn note_settled(&mut self, ended: Option<AttemptId>) {
        if let Some(attempt) = ended {
            self.history.settled(clock::stamp(), attempt);
        }
    }

    /// What people call an own job that is open, and whose it is.
    fn called(&self, key: ActionKey) -> Option<(String, String)> {
        let mut waiters = self.jobs.get(&key)?.waiters.iter();
        waiters.find_map(|waiter| {
            let run = self.runs.get(&waiter.run)?;
            let step = run.view.steps.get(&waiter.want)?;
            Some((step.label.clone(), run.view.project.clone()))
        })
    }

    fn sample(&self) -> Sample {
        let mut moved = BTreeMap::new();
        if let Some(mesh) = &self.shared.mesh {
            let counters = mesh.counters();
            moved.insert(None, (counters.bulk_in_bytes, counters.bulk_out_bytes));
            let busiest = mesh.traffic().into_iter().take(OVERVIEW_LINKS_MAX - 1);
            moved.extend(busiest.map(|one| (Some(one.node), (one.in_bytes, one.out_bytes))));
        }
        let at = clock::now();
        Sample { at, moved }
    }

    /// Notes what went over the wire so far, so that whoever looks is told how fast it goes.
    pub(super) fn watch_links(&mut self) {
        if self.lookout.is_due(clock::now()) {
            let sample = self.sample();
            self.lookout.note(sample);
        }
    }

    /// What this node is at now.
    pub(super) fn overview(&mut self) -> Arc<Overview> {
        let now = clock::now();
        if let Some((at, last)) = &self.lookout.last
            && now.since(*at) < FRESH
        {
            return Arc::clone(last);
        }
        self.watch_links();
        let overview = Arc::new(self.look_around());
        self.lookout.last = Some((now, Arc::clone(&overview)));
        overview
    }

    fn look_around(&self) -> Overview {
        let at = clock::stamp();
        let running = u32::try_from(self.flights.len()).unwrap_or(u32::MAX);
        let mut nodes: Vec<NodeView> = self.nodes(at, running).into_values().collect();
        nodes.sort_by_cached_key(order);
        let nodes_all = count(nodes.len());
        let operators: BTreeMap<NodeId, String> = nodes
            .iter()
            .map(|node| (node.node, node.operator.clone()))
            .collect();
        nodes.truncate(OVERVIEW_NODES_MAX);
        let (waiting, queue) = self.waiting(&operators, at);
        let mut running: Vec<RunningView> = self
            .history
            .live()
            .map(|(record, attempt)| self.running(record, attempt))
            .collect();
        running.sort_by_key(|run| (run.began, run.job, run.number));
        running.truncate(OVERVIEW_RUNNING_MAX);
        let counters = &self.counters;
        Overview {
            at,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.started,
            nodes,
            nodes_all,
            waiting,
            queue,
            running_all: count(self.history.live_len()),
            running,
            links: self.links(),
            cache: CacheView {
                hits: counters.cached,
                executed: counters.executed,
                remote: counters.remote,
                saved_ms: counters.saved_ms,
                spared_bytes: counters.spared_bytes,
                fetched_bytes: counters.fetched_bytes,
            },
            standing: self.stance.standing.why.clone(),
            notices: self.notices(),
            ..Overview::empty(self.membership.roster.mesh(), self.shared.home.key.node())
        }
    }

    fn links(&self) -> Vec<LinkView> {
        let now = self.sample();
        let mut links: Vec<LinkView> = now
            .moved
            .iter()
            .filter(|(_, (in_bytes, out_bytes))| in_bytes + out_bytes > 0)
            .map(|(node, (in_bytes, out_bytes))| {
                let (in_per_s, out_per_s) = self.lookout.speed(&now, *node);
                LinkView {
                    node: *node,
                    in_bytes: *in_bytes,
                    out_bytes: *out_bytes,
                    in_per_s,
                    out_per_s,
                }
            })
            .collect();
        links.sort_by_key(|link| {
            let per_s = link.in_per_s + link.out_per_s;
            let all = link.in_bytes + link.out_bytes;
            (link.node.is_some(), Reverse((per_s, all)), link.node)
        });
        links
    }

    /// How many own jobs wait, and the first of them with the reason of each.
    fn waiting(&self, operators: &BTreeMap<NodeId, String>, at: Stamp) -> (u64, Vec<WaitingView>) {
        let (all, mut first) = self.engine.queue(OVERVIEW_WAITING_MAX);
        let resting: Vec<Queued> = self
            .history
            .resting()
            .filter_map(|key| self.engine.waits(key.into()))
            .filter(|queued| queued.waits == Waits::Rest)
            .collect();
        let all = all as u64 + resting.len() as u64;
        first.extend(resting);
        first.truncate(OVERVIEW_WAITING_MAX);
        let view = |queued: &Queued| self.waiting_view(queued, operators, at);
        (all, first.iter().filter_map(view).collect())
    }

    fn waiting_view(
        &self,
        queued: &Queued,
        operators: &BTreeMap<NodeId, String>,
        at: Stamp,
    ) -> Option<WaitingView> {
        let key = queued.job.action();
        let (label, project) = self.called(key).unwrap_or_default();
        let open = self.history.open(key)?;
        Some(WaitingView {
            job: key,
            label,
            project,
            platform: open.platform.clone(),
            urgent: queued.priority == offer::Priority::Urgent || open.urgent,
            since: open.wanted.min(at),
            reason: self.reason(queued, operators),
        })
    }

    /// Why a job waits, in words.
    fn reason(&self, queued: &Queued, operators: &BTreeMap<NodeId, String>) -> String {
        let run = self.flights.len();
        let full = match (self.engine.is_paused(), self.engine.slots()) {
            (true, _) => "this node takes no work".to_owned(),
            (false, slots) => format!("{run} of {slots} slots here run"),
        };
        let trouble = self.jobs.get(&queued.job.action());
        let trouble = trouble.and_then(|job| job.trouble.clone());
        match &queued.waits {
            Waits::Rest => match trouble {
                Some(trouble) => format!("{trouble}; it is tried again soon"),
                None => "it is tried again soon".to_owned(),
            },
            Waits::Missing(missing) => missing.to_string(),
            Waits::Asking { open: 0 } => format!("{full}; the answers of others are weighed"),
            Waits::Asking { open: 1 } => format!("{full}; one node was asked and has not answered"),
            Waits::Asking { open } => format!("{full}; {open} nodes were asked"),
            Waits::Kept { node, .. } if *node == self.shared.home.key.node() => {
                format!("{full}; nobody would be done with it sooner than this node")
            }
            Waits::Kept { node, due } => {
                let left = due.since(clock::now()).as_secs();
                let of = operators.get(node).map(|name| format!(" of {name}"));
                let (node, of) = (node.fmt_short(), of.unwrap_or_default());
                format!("kept for node {node}{of}, which thinks to be done in {left} s")
            }
            Waits::Full => format!("{full}, and nobody else has room"),
            Waits::Large => "it needs much room: what becomes free here is kept for it".to_owned(),
            Waits::Turn => format!("{full}; jobs before it are looked after first"),
            Waits::Stays => format!("{full}, and it may not leave this node"),
        }
    }

    fn running(&self, record: &Record, attempt: &Attempt) -> RunningView {
        let phase = attempt.phase();
        RunningView {
            job: attempt.id.job.action(),
            label: record.label.clone(),
            project: record.project.clone(),
            owner: attempt.id.owner,
            number: attempt.id.number,
            node: attempt.node,
            began: attempt.placed,
            phase: phase.phase,
            phase_began: phase.began,
            estimate_ms: attempt.estimate_ms,
            hedge: attempt.why == caravan_protocol::view::Why::Hedge,
        }
    }
}

/// This node first, then those that are here, by operator.
fn order(node: &NodeView) -> (bool, bool, String, NodeId) {
    let gone = matches!(
        node.mode,
        ModeView::Left | ModeView::Dead | ModeView::Away | ModeView::Revoked
    );
    (!node.here, gone, node.operator.clone(), node.node)
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_of_the_last_seconds_and_old_readings_are_none() {
        let sample = |ms, in_bytes, out_bytes| Sample {
            at: Time::from_ms(ms),
            moved: BTreeMap::from([(None, (in_bytes, out_bytes))]),
        };
        let mut lookout = Lookout::default();
        assert_eq!(lookout.speed(&sample(0, 10, 10), None), (0, 0));
        lookout.note(sample(1000, 0, 0));
        lookout.note(sample(1001, 500, 0));
        assert_eq!(lookout.speed(&sample(3000, 4000, 2000), None), (2000, 1000));
        lookout.note(sample(60_000, 4000, 2000));
        assert_eq!(lookout.speed(&sample(61_000, 4000, 2000), None), (0, 0));
        for at in 0..100 {
            lookout.note(sample(60_000 + at * 600, 0, 0));
        }
        assert!(lookout.samples.len() <= SAMPLES_MAX);
    }
}
