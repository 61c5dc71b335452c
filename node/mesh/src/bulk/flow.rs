//! A bulk stream's bytes with patience: a peer that moves a byte now and then is as good as silent.
//! Time that is not spent waiting for the peer is not held against it.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use crate::limits::BULK_PROGRESS_MIN;

/// Bounds of one stream.
#[derive(Clone)]
pub(crate) struct Terms {
    pub(crate) idle: Duration,
    pub(crate) cancel: CancellationToken,
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

/// One direction of a stream.
pub(crate) struct Flow<S> {
    pub(crate) stream: S,
    terms: Terms,
    /// Time spent waiting for the peer, and what it moved, since progress was last enough.
    waited: Duration,
    moved: u64,
    /// All that ever moved, for others to see.
    progress: Arc<AtomicU64>,
}

impl<S> Flow<S> {
    pub(crate) const fn new(stream: S, terms: Terms, progress: Arc<AtomicU64>) -> Self {
        Self {
            stream,
            terms,
            waited: Duration::ZERO,
            moved: 0,
            progress,
        }
    }

    /// The peer owes nothing at the moment.
    pub(crate) const fn rest(&mut self) {
        self.waited = Duration::ZERO;
        self.moved = 0;
    }

    fn count(&mut self, bytes: usize, began: Instant) -> io::Result<usize> {
        let moved = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.waited += began.elapsed();
        self.moved += moved;
        self.progress.fetch_add(moved, Ordering::Relaxed);
        if self.moved >= BULK_PROGRESS_MIN {
            self.rest();
        }
        if self.waited > self.terms.idle {
            return Err(stalled());
        }
        Ok(bytes)
    }
}

impl<S: AsyncRead + Unpin> Flow<S> {
    pub(crate) async fn read_exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let mut at = 0;
        while at < bytes.len() {
            let began = Instant::now();
            let read = bounded(&self.terms, self.stream.read(&mut bytes[at..])).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            at += self.count(read, began)?;
        }
        Ok(())
    }
}

impl<S: AsyncWrite + Unpin> Flow<S> {
    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut at = 0;
        while at < bytes.len() {
            let began = Instant::now();
            let written = bounded(&self.terms, self.stream.write(&bytes[at..])).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            at += self.count(written, began)?;
        }
        Ok(())
    }

    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        bounded(&self.terms, self.stream.flush()).await
    }

    /// Says that nothing more comes.
    pub(crate) async fn close(&mut self) -> io::Result<()> {
        bounded(&self.terms, self.stream.close()).await
    }
}
