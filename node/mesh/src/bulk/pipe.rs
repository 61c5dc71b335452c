//! The blocking side of a bulk stream: reading and writing from a thread that may block, with an
//! idle bound in both directions and an end when the mesh is shut down. A peer that moves a byte
//! now and then is as good as silent.

use std::{
    io::{self, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::runtime;
use tokio_util::sync::CancellationToken;

use crate::limits::BULK_PROGRESS_MIN;

/// Bounds of one stream.
#[derive(Clone)]
pub(crate) struct Terms {
    pub(crate) idle: Duration,
    pub(crate) cancel: CancellationToken,
}

/// A stream as a thread sees it.
pub(crate) struct Pipe<S> {
    stream: S,
    terms: Terms,
    runtime: runtime::Handle,
    /// Time spent waiting for the peer, and what it moved, since progress was last enough. Time
    /// that the store takes is not the peer's.
    waited: Duration,
    moved: u64,
    /// Whether an error came from the stream and not from whoever reads it.
    failed: bool,
    /// All that ever moved, for others to see.
    progress: Arc<AtomicU64>,
}

impl<S> Pipe<S> {
    /// Called inside the runtime; what it gives is then used where blocking is allowed.
    pub(crate) fn new(stream: S, terms: Terms, progress: Arc<AtomicU64>) -> Self {
        Self {
            stream,
            terms,
            runtime: runtime::Handle::current(),
            waited: Duration::ZERO,
            moved: 0,
            failed: false,
            progress,
        }
    }

    pub(crate) const fn has_failed(&self) -> bool {
        self.failed
    }

    fn moved(&mut self, bytes: io::Result<usize>, began: Instant) -> io::Result<usize> {
        let result = bytes.and_then(|bytes| {
            self.waited += began.elapsed();
            let bytes_moved = u64::try_from(bytes).unwrap_or(u64::MAX);
            self.moved += bytes_moved;
            self.progress.fetch_add(bytes_moved, Ordering::Relaxed);
            if self.moved >= BULK_PROGRESS_MIN {
                self.waited = Duration::ZERO;
                self.moved = 0;
            }
            if self.waited > self.terms.idle {
                return Err(stalled());
            }
            Ok(bytes)
        });
        self.failed |= result.is_err();
        result
    }
}

fn stalled() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the peer stalls")
}

/// `work`, unless it takes too long or the mesh is shut down.
pub(crate) async fn bounded<T>(
    terms: &Terms,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    tokio::select! {
        () = terms.cancel.cancelled() => {
            Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the transfer was given up"))
        }
        result = tokio::time::timeout(terms.idle, work) => result.unwrap_or_else(|_| Err(stalled())),
    }
}

impl<S: AsyncRead + Unpin> Read for Pipe<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let began = Instant::now();
        let work = bounded(&self.terms, self.stream.read(buffer));
        let read = self.runtime.block_on(work);
        self.moved(read, began)
    }
}

impl<S: AsyncWrite + Unpin> Write for Pipe<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let began = Instant::now();
        let work = bounded(&self.terms, self.stream.write(bytes));
        let written = self.runtime.block_on(work);
        self.moved(written, began)
    }

    fn flush(&mut self) -> io::Result<()> {
        let work = bounded(&self.terms, self.stream.flush());
        let flushed = self.runtime.block_on(work);
        self.failed |= flushed.is_err();
        flushed
    }
}

impl<S: AsyncWrite + Unpin> Pipe<S> {
    /// Says that nothing more comes.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        let work = bounded(&self.terms, self.stream.close());
        self.runtime.block_on(work)
    }
}
