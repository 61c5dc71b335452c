//! How far what runs here is, for its owners: a node that is heard of and does not move loses what
//! it was given.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use caravan_protocol::{
    ids::ActionKey,
    offer::{AttemptId, Event, Phase},
    time::Time,
};

use super::Driver;
use crate::clock;

/// How often the market hears of it: often enough that each beat tells something.
const PERIOD: Duration = Duration::from_secs(5);

tokio::task_local! {
    /// Bytes that this task has fetched.
    static FETCHED: Arc<AtomicU64>;
}

/// The count of bytes that the present task fetches.
pub(super) fn fetched() -> Arc<AtomicU64> {
    FETCHED.try_with(Arc::clone).unwrap_or_default()
}

/// What a run is at.
#[derive(Debug, Default)]
pub(crate) struct Headway {
    stage: AtomicU8,
    fetched: Arc<AtomicU64>,
    spent: Mutex<Spent>,
}

/// Processor time as it is told: it never goes back.
#[derive(Debug, Default, Clone, Copy)]
struct Spent {
    told_ms: u64,
    /// What the host said last.
    host_ms: Option<u64>,
    at: Time,
}

const RUNNING: u8 = 1;
const KEEPING: u8 = 2;

impl Headway {
    /// Counts what this fetches.
    pub(super) async fn fetching<F: Future>(&self, work: F) -> F::Output {
        FETCHED.scope(Arc::clone(&self.fetched), work).await
    }

    /// Its command begins.
    pub(super) fn runs(&self) {
        self.spent().at = clock::now();
        self.stage.store(RUNNING, Ordering::Relaxed);
    }

    /// Its command has ended.
    pub(super) fn keeps(&self) {
        self.stage.store(KEEPING, Ordering::Relaxed);
    }

    fn spent(&self) -> std::sync::MutexGuard<'_, Spent> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it is at now. The host says what processor time its command has used, where it counts;
    /// else all time counts, and the bounds of the step are what ends it.
    fn phase(&self, now: Time, host_ms: impl FnOnce() -> Option<u64>, log_bytes: u64) -> Phase {
        match self.stage.load(Ordering::Relaxed) {
            RUNNING => {
                let mut spent = self.spent();
                let passed = now.since(spent.at).as_millis();
                let host_ms = host_ms();
                spent.told_ms += match (host_ms, spent.host_ms) {
                    (Some(now_ms), before) => now_ms.saturating_sub(before.unwrap_or(0)),
                    (None, _) => u64::try_from(passed).unwrap_or(u64::MAX),
                };
                (spent.host_ms, spent.at) = (host_ms.or(spent.host_ms), now);
                let cpu_ms = spent.told_ms;
                Phase::Running { log_bytes, cpu_ms }
            }
            KEEPING => Phase::Keeping,
            _ => Phase::Fetching {
                bytes: self.fetched.load(Ordering::Relaxed),
            },
        }
    }
}

/// All runs.
#[derive(Debug, Default)]
pub(crate) struct Headways {
    all: BTreeMap<ActionKey, Arc<Headway>>,
    told: Time,
}

impl Headways {
    /// A run begins.
    pub(super) fn begin(&mut self, key: ActionKey) -> Arc<Headway> {
        let headway = Arc::new(Headway::default());
        self.all.insert(key, Arc::clone(&headway));
        headway
    }

    /// A run has ended.
    pub(super) fn end(&mut self, key: ActionKey) {
        self.all.remove(&key);
    }
}

impl Driver {
    /// Tells the market how far everything is that runs here, now and then.
    pub(crate) fn tell_headway(&mut self) {
        let now = clock::now();
        if self.headways.all.is_empty() || now.since(self.headways.told) < PERIOD {
            return;
        }
        self.headways.told = now;
        let running: Vec<AttemptId> = self.engine.running().collect();
        let mut phases: BTreeMap<ActionKey, Phase> = BTreeMap::new();
        for attempt in running {
            let key = attempt.job.action();
            let Some(headway) = self.headways.all.get(&key) else {
                continue;
            };
            let phase = *phases.entry(key).or_insert_with(|| {
                let name = key.to_string();
                let log = self.shared.home.store.log(&name);
                let log_bytes = log.map_or(0, |log| log.size());
                headway.phase(now, || self.shared.builder.cpu_ms(&name), log_bytes)
            });
            self.market(Event::Progress { attempt, phase });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_never_goes_back_whatever_the_host_says() {
        let headway = Headway::default();
        let at = Time::from_ms;
        assert_eq!(
            headway.phase(at(0), || None, 0),
            Phase::Fetching { bytes: 0 }
        );
        headway.fetched.store(9, Ordering::Relaxed);
        assert_eq!(
            headway.phase(at(0), || None, 0),
            Phase::Fetching { bytes: 9 }
        );
        headway.runs();
        headway.spent().at = at(1000);
        let mut told = Vec::new();
        let said = [
            None,
            Some(0),
            Some(700),
            Some(700),
            None,
            Some(900),
            Some(1900),
        ];
        for (now, host_ms) in (3000..).step_by(2000).zip(said) {
            let Phase::Running { cpu_ms, .. } = headway.phase(at(now), || host_ms, 5) else {
                unreachable!("it runs");
            };
            told.push(cpu_ms);
        }
        assert_eq!(told, [2000, 2000, 2700, 2700, 4700, 4900, 5900]);
        headway.keeps();
        assert_eq!(headway.phase(at(0), || None, 0), Phase::Keeping);
    }
}
