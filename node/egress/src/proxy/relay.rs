//! Bytes on their way, each of them counted before it goes on.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::answer::Fault;
use crate::limits::PIECE_BYTES;

/// What a job may still move.
#[derive(Debug)]
pub(crate) struct Budget {
    whole: u64,
    left: AtomicU64,
    spent: CancellationToken,
}

impl Budget {
    pub(crate) fn new(bytes: u64) -> Self {
        Self {
            whole: bytes,
            left: AtomicU64::new(bytes),
            spent: CancellationToken::new(),
        }
    }

    /// Takes this many bytes, or ends it all: what does not fit is not moved, and nothing is after.
    pub(crate) fn take(&self, count: u64) -> bool {
        let less = |left: u64| left.checked_sub(count);
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        if taken.is_err() {
            self.spent.cancel();
        }
        taken.is_ok() && !self.is_spent()
    }

    /// The same for what is answered in words if it does not fit.
    pub(crate) fn charge(&self, count: u64) -> Result<(), Fault> {
        match self.take(count) {
            true => Ok(()),
            false => Err(Fault::Spent(self.whole)),
        }
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.spent.is_cancelled()
    }

    /// Resolves once a byte did not fit.
    pub(crate) async fn spent(&self) {
        self.spent.cancelled().await;
    }

    pub(crate) const fn whole(&self) -> u64 {
        self.whole
    }

    pub(crate) fn used(&self) -> u64 {
        self.whole - self.left.load(Ordering::Relaxed)
    }
}

/// How bytes of one connection flow.
pub(crate) struct Flow<'a> {
    pub(crate) budget: &'a Budget,
    pub(crate) idle: Duration,
    pub(crate) linger: Duration,
}

/// When a byte last moved, in milliseconds of one connection.
struct Beat {
    since: Instant,
    last: AtomicU64,
}

impl Beat {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn strike(&self) {
        self.last.store(self.now(), Ordering::Relaxed);
    }

    /// Resolves when nothing has moved for this long.
    async fn stops(&self, idle: Duration) {
        let idle = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        loop {
            let quiet = self.now() - self.last.load(Ordering::Relaxed).min(self.now());
            if quiet >= idle {
                return;
            }
            sleep(Duration::from_millis(idle - quiet)).await;
        }
    }
}

impl Flow<'_> {
    /// A tunnel: both ways until both ends have ended, or nothing moves any more.
    pub(crate) async fn both(
        &self,
        client: &mut TcpStream,
        server: &mut TcpStream,
    ) -> Result<(), Fault> {
        let beat = Beat::new();
        let (mut client_reads, mut client_writes) = client.split();
        let (mut server_reads, mut server_writes) = server.split();
        let all = async {
            let up = self.pump(&mut client_reads, &mut server_writes, u64::MAX, &beat);
            let down = self.pump(&mut server_reads, &mut client_writes, u64::MAX, &beat);
            tokio::try_join!(up, down).map(|_| ())
        };
        tokio::select! {
            ended = all => ended.map_err(|_| Fault::Cut),
            () = beat.stops(self.idle) => Err(Fault::Cut),
        }
    }

    /// An answer's body, of this length or up to its end. `first` came with the head.
    pub(crate) async fn down(
        &self,
        server: &mut TcpStream,
        client: &mut TcpStream,
        first: &[u8],
        length: Option<u64>,
    ) -> Result<(), Fault> {
        let beat = Beat::new();
        let whole = length.unwrap_or(u64::MAX);
        let (mut reads, mut writes) = client.split();
        let body = async {
            let own = usize::try_from(whole)
                .unwrap_or(usize::MAX)
                .min(first.len());
            self.pass(&first[..own], &mut writes, &beat).await?;
            self.pump(server, &mut writes, whole - own as u64, &beat)
                .await
        };
        // A client that has heard all it wants closes, and the server may not.
        let left = async {
            let mut piece = [0; 1 << 10];
            while reads.read(&mut piece).await.is_ok_and(|count| count > 0) {}
            beat.stops(self.linger).await;
        };
        let moved = tokio::select! {
            moved = body => moved.map_err(|_| Fault::Cut)?,
            () = left => return Err(Fault::Cut),
            () = beat.stops(self.idle) => return Err(Fault::Cut),
        };
        match length {
            // Too short: the client must not take its end for the body's.
            Some(_) if moved + (first.len() as u64).min(whole) < whole => Err(Fault::Cut),
            _ => Ok(()),
        }
    }

    async fn pump(
        &self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        max: u64,
        beat: &Beat,
    ) -> io::Result<u64> {
        let mut piece = vec![0; PIECE_BYTES];
        let mut moved = 0;
        while moved < max {
            let room = usize::try_from(max - moved).unwrap_or(PIECE_BYTES);
            let count = from.read(&mut piece[..room.min(PIECE_BYTES)]).await?;
            if count == 0 {
                break;
            }
            self.pass(&piece[..count], to, beat).await?;
            moved += count as u64;
        }
        if max == u64::MAX {
            // Tells the other end, which may have more to say.
            to.shutdown().await?;
        }
        Ok(moved)
    }

    async fn pass(
        &self,
        bytes: &[u8],
        to: &mut (impl AsyncWrite + Unpin),
        beat: &Beat,
    ) -> io::Result<()> {
        if !self.budget.take(bytes.len() as u64) {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        beat.strike();
        to.write_all(bytes).await?;
        beat.strike();
        Ok(())
    }
}
