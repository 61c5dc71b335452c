//! Where the gateway reads from: a trait that the driver implements, and a fixed implementation for
//! tests and demonstrations. The gateway never writes through it.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use caravan_protocol::{
    ids::RunId,
    policy::WantId,
    view::{Overview, Snapshot},
};
use tokio::sync::watch;

/// A piece of a step's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    /// The bytes from the offset that was asked for; empty at or beyond the end.
    pub bytes: Vec<u8>,
    /// The offset after these bytes: where to go on.
    pub next: u64,
    /// All bytes of the log that exist now.
    pub total: u64,
    /// Whether more may come.
    pub live: bool,
}

/// What the gateway shows. Every method may be called from many threads at once; `log`
/// may wait for a disk and `overview` for the node, the other two may not.
pub trait Source: Send + Sync {
    /// The present state.
    fn snapshot(&self) -> Arc<Snapshot>;

    /// At most `max` bytes of a step's log from `offset`, or nothing where no such log is known.
    /// With a `max` of 0 it only tells the length.
    fn log(&self, run: RunId, want: WantId, offset: u64, max: usize) -> Option<LogChunk>;

    /// What waits, what runs and what goes over the wire now; nothing where the node is stopping.
    fn overview(&self) -> Option<Arc<Overview>>;

    /// Changes its number whenever the snapshot or a log did.
    fn changed(&self) -> watch::Receiver<u64>;
}

#[derive(Debug, Clone)]
struct FixedLog {
    bytes: Vec<u8>,
    live: bool,
}

/// A source of values that were put into it.
#[derive(Debug)]
pub struct FixedSource {
    snapshot: RwLock<Arc<Snapshot>>,
    overview: RwLock<Option<Arc<Overview>>>,
    logs: RwLock<BTreeMap<(RunId, WantId), FixedLog>>,
    revision: watch::Sender<u64>,
}

impl FixedSource {
    /// A source that shows `snapshot` and no logs.
    #[must_use]
    pub fn new(snapshot: Snapshot) -> Self {
        Self {
            snapshot: RwLock::new(Arc::new(snapshot)),
            overview: RwLock::new(None),
            logs: RwLock::new(BTreeMap::new()),
            revision: watch::Sender::new(0),
        }
    }

    /// Shows another snapshot from now on.
    pub fn set_snapshot(&self, snapshot: Snapshot) {
        *self
            .snapshot
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
        self.revision.send_modify(|revision| *revision += 1);
    }

    /// Shows this overview from now on.
    pub fn set_overview(&self, overview: Overview) {
        *self
            .overview
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(overview));
        self.revision.send_modify(|revision| *revision += 1);
    }

    /// Sets a log; `live` says that more will come.
    pub fn set_log(&self, run: RunId, want: WantId, bytes: &[u8], live: bool) {
        let bytes = bytes.to_vec();
        self.logs
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((run, want), FixedLog { bytes, live });
        self.revision.send_modify(|revision| *revision += 1);
    }
}

impl Source for FixedSource {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn log(&self, run: RunId, want: WantId, offset: u64, max: usize) -> Option<LogChunk> {
        let logs = self.logs.read().unwrap_or_else(PoisonError::into_inner);
        let log = logs.get(&(run, want))?;
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(log.bytes.len());
        let end = start.saturating_add(max).min(log.bytes.len());
        Some(LogChunk {
            bytes: log.bytes[start..end].to_vec(),
            next: end as u64,
            total: log.bytes.len() as u64,
            live: log.live,
        })
    }

    fn overview(&self) -> Option<Arc<Overview>> {
        self.overview
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }
}

#[cfg(test)]
mod tests;
