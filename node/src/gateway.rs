//! The node as the read-only pages see it: snapshots and logs, nothing that changes anything.

use std::sync::Arc;

use caravan_gateway::{LogChunk, Source};
use caravan_protocol::{
    ids::RunId,
    policy::WantId,
    view::{Overview, Snapshot},
};
use tokio::{net::TcpListener, sync::watch};

use crate::{driver::Handle, task::Tasks};

struct Pages {
    handle: Handle,
    revision: watch::Receiver<u64>,
}

impl Source for Pages {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.handle.snapshot()
    }

    fn log(&self, run: RunId, want: WantId, offset: u64, max: usize) -> Option<LogChunk> {
        self.handle.log_chunk(run, want, offset, max)
    }

    fn overview(&self) -> Option<Arc<Overview>> {
        self.handle.overview_blocking()
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.revision.clone()
    }
}

/// Serves the pages until the node stops.
pub(crate) fn serve(listener: TcpListener, handle: &Handle, tasks: &Tasks) {
    let (told, revision) = watch::channel(0);
    let mut changes = handle.changes();
    tasks.spawn("page revisions", async move {
        while changes.changed().await.is_ok() {
            told.send_modify(|revision| *revision += 1);
        }
    });
    let pages = Arc::new(Pages {
        handle: handle.clone(),
        revision,
    });
    let stop = tasks.stopping();
    tasks.spawn_to_end("pages", async move {
        let stopped = async move { stop.cancelled().await };
        if let Err(error) = caravan_gateway::serve(listener, pages, stopped).await {
            tracing::warn!(%error, "the pages are no longer served");
        }
    });
}
