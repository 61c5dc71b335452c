//! The provider's side of a bulk stream: questions are read ahead and answered one after the other,
//! and in between the asker is told what more there is of what it watches.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
};

use caravan_protocol::{
    ids::{BlobId, NodeId},
    limits::BLOB_BYTES_MAX,
};
use futures::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, io::WriteHalf};
use libp2p::{PeerId, Stream};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};

use super::{
    BlobSource,
    answer::{Whole, piece_of},
    flow::{Flow, Terms, bounded},
    groups::Shape,
    shelf::{Growing, Shelf},
    words::{self, Ask, BUSY, SERVED, Standing, Tell},
};
use crate::{
    counters::Tally,
    limits::{BULK_ASKED_MAX, BULK_MAX, BULK_PER_PEER_MAX, HAVE_MAX, HAVE_PAUSE, WATCHED_MAX},
};

/// How many streams are being served, and for whom. Only the actor has one.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    by_peer: HashMap<PeerId, usize>,
    all: usize,
}

impl Slots {
    /// Whether there is a slot for `peer`; it is taken.
    pub(crate) fn take(&mut self, peer: PeerId) -> bool {
        let of_peer = self.by_peer.entry(peer).or_default();
        let free = *of_peer < BULK_PER_PEER_MAX && self.all < BULK_MAX;
        if free {
            *of_peer += 1;
            self.all += 1;
        } else if *of_peer == 0 {
            self.by_peer.remove(&peer);
        }
        free
    }

    pub(crate) fn give_back(&mut self, peer: PeerId) {
        self.all = self.all.saturating_sub(1);
        if let Some(of_peer) = self.by_peer.get_mut(&peer) {
            *of_peer = of_peer.saturating_sub(1);
            if *of_peer == 0 {
                self.by_peer.remove(&peer);
            }
        }
    }
}

/// Turns a stream away.
pub(crate) async fn turn_away(mut stream: Stream, terms: Terms) {
    let _ = bounded(&terms, async {
        stream.write_all(&[BUSY]).await?;
        stream.close().await
    })
    .await;
}

/// What a stream is served with.
#[derive(Clone)]
pub(crate) struct Shop {
    pub(crate) source: Arc<dyn BlobSource>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) terms: Terms,
    /// Serves in its place.
    #[cfg(any(test, feature = "rogue"))]
    pub(crate) liar: Option<crate::rogue::bulk::Liar>,
}

/// Questions that are not wanted any more.
type Cancelled = Arc<Mutex<BTreeSet<u32>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves one stream until the asker closes it or is silent for long.
pub(crate) async fn serve(
    stream: Stream,
    asker: NodeId,
    moved: Arc<AtomicU64>,
    shop: Shop,
) -> io::Result<()> {
    let (reader, writer) = stream.split();
    let (asks, asked) = mpsc::channel(BULK_ASKED_MAX);
    let cancelled = Cancelled::default();
    let reading = listen(reader, shop.terms.clone(), asks, Arc::clone(&cancelled));
    let mut server = Server {
        out: Flow::new(writer, shop.terms.clone(), moved),
        shop,
        asker,
        watched: Vec::new(),
        cancelled,
    };
    futures::future::try_join(reading, server.run(asked))
        .await
        .map(|_| ())
}

/// Reads what is asked.
async fn listen(
    mut reader: impl AsyncRead + Unpin,
    terms: Terms,
    asks: mpsc::Sender<Ask>,
    cancelled: Cancelled,
) -> io::Result<()> {
    // A watcher may have nothing to ask for a while, but not for ever: others want the slot.
    let patience = Terms {
        idle: terms.idle * 4,
        cancel: terms.cancel,
    };
    loop {
        let ask = match bounded(&patience, words::read::<Ask>(&mut reader)).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        };
        if !ask.is_good() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it asks for nothing, or for too much at once",
            ));
        }
        if let Ask::Cancel { number } = ask {
            let mut all = lock(&cancelled);
            if all.len() < BULK_ASKED_MAX {
                all.insert(number);
            }
            continue;
        }
        if asks.send(ask).await.is_err() {
            return Ok(());
        }
    }
}

struct Watched {
    number: u32,
    blob: BlobId,
    /// How much of what grows the asker knows; none while nothing of it is here.
    told: Option<usize>,
}

struct Server {
    out: Flow<WriteHalf<Stream>>,
    shop: Shop,
    asker: NodeId,
    watched: Vec<Watched>,
    cancelled: Cancelled,
}

impl Server {
    async fn run(&mut self, mut asked: mpsc::Receiver<Ask>) -> io::Result<()> {
        self.out.write_all(&[SERVED]).await?;
        self.out.flush().await?;
        let mut beat = tokio::time::interval(HAVE_PAUSE);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = Instant::now();
        loop {
            if asked.is_empty() {
                lock(&self.cancelled).clear();
                self.out.flush().await?;
            }
            let ask = {
                let next = pin!(asked.recv());
                tokio::select! {
                    ask = next => ask.map(Some),
                    _ = beat.tick(), if !self.watched.is_empty() => Some(None),
                }
            };
            match ask {
                None => return self.out.close().await,
                Some(None) => {}
                Some(Some(ask)) => self.answer(ask).await?,
            }
            self.out.rest();
            if told.elapsed() >= HAVE_PAUSE {
                told = Instant::now();
                self.tell_more().await?;
            }
        }
    }

    async fn say(&mut self, tell: &Tell) -> io::Result<()> {
        self.out.write_all(&words::frame(tell)?).await
    }

    async fn answer(&mut self, ask: Ask) -> io::Result<()> {
        match ask {
            Ask::Watch { number, blob } => self.watch(number, blob).await,
            Ask::Outline { number, blob } => self.outline(number, blob).await,
            Ask::Piece {
                number,
                blob,
                piece,
                groups,
            } => {
                if lock(&self.cancelled).remove(&number) {
                    return self.say(&Tell::No { number }).await;
                }
                let shop = self.shop.clone();
                let work = move || piece_of(&shop, blob, piece, groups);
                match self.read(blob, work).await? {
                    None => self.say(&Tell::No { number }).await,
                    Some(bytes) => {
                        self.say(&Tell::Piece { number }).await?;
                        self.shop.tally.bulk_out_bytes.add(bytes.len());
                        self.out.write_all(&bytes).await
                    }
                }
            }
            Ask::Blobs { number, blobs } => {
                if lock(&self.cancelled).remove(&number) {
                    return self.say(&Tell::No { number }).await;
                }
                self.blobs(number, blobs).await
            }
            Ask::Cancel { .. } => Ok(()),
        }
    }

    /// Reads where blocking is allowed. What cannot be read is as good as not here.
    async fn read<T: Send + 'static>(
        &self,
        blob: BlobId,
        work: impl FnOnce() -> io::Result<Option<T>> + Send + 'static,
    ) -> io::Result<Option<T>> {
        let read = tokio::task::spawn_blocking(work).await;
        Ok(read.map_err(io::Error::other)?.unwrap_or_else(|error| {
            tracing::warn!(%blob, %error, "a blob could not be read");
            None
        }))
    }

    async fn watch(&mut self, number: u32, blob: BlobId) -> io::Result<()> {
        let (standing, told) = self.standing(blob).await?;
        if self.watched.len() < WATCHED_MAX && !matches!(standing, Standing::Whole { .. }) {
            self.watched.push(Watched { number, blob, told });
        }
        self.say(&Tell::Standing { number, standing }).await
    }

    async fn standing(&mut self, blob: BlobId) -> io::Result<(Standing, Option<usize>)> {
        if let Some(growing) = self.shop.shelf.growing(blob) {
            growing.wanted_by(self.asker);
            let (standing, told) = growing.standing();
            return Ok((standing, Some(told)));
        }
        let source = Arc::clone(&self.shop.source);
        let open = move || Ok(source.open(blob)?.map(|(size, _)| size));
        let size = self.read(blob, open).await?;
        let size = size.filter(|size| *size <= BLOB_BYTES_MAX);
        let standing = size.map_or(Standing::Absent, |size| Standing::Whole { size });
        Ok((standing, None))
    }

    /// Tells what there is now of what is watched.
    async fn tell_more(&mut self) -> io::Result<()> {
        let mut at = 0;
        while at < self.watched.len() {
            let (number, blob) = (self.watched[at].number, self.watched[at].blob);
            let growing = self.shop.shelf.growing(blob);
            let mut is_whole = false;
            match (growing, self.watched[at].told) {
                (Some(growing), Some(told)) => {
                    let pieces = growing.since(told, HAVE_MAX);
                    self.watched[at].told = Some(told + pieces.len());
                    is_whole = told + pieces.len() == growing.shape.pieces() as usize;
                    if !pieces.is_empty() {
                        self.say(&Tell::Have { number, pieces }).await?;
                    }
                }
                (Some(_), None) => {
                    let (standing, told) = self.standing(blob).await?;
                    self.watched[at].told = told;
                    is_whole = matches!(standing, Standing::Whole { .. });
                    self.say(&Tell::Standing { number, standing }).await?;
                }
                (None, Some(_)) => {
                    // It was given up, or the store has it by now.
                    let (standing, told) = self.standing(blob).await?;
                    self.watched[at].told = told;
                    self.say(&Tell::Standing { number, standing }).await?;
                }
                (None, None) => {}
            }
            if is_whole {
                self.watched.swap_remove(at);
            } else {
                at += 1;
            }
        }
        self.out.flush().await
    }

    async fn outline(&mut self, number: u32, blob: BlobId) -> io::Result<()> {
        let shop = self.shop.clone();
        let work = move || {
            if let Some(growing) = shop.shelf.growing(blob) {
                return Ok(Some(Arc::clone(&growing.outline)));
            }
            let opened = shop.source.open(blob)?;
            let Some((size, reader)) = opened.filter(|(size, _)| *size <= BLOB_BYTES_MAX) else {
                return Ok(None);
            };
            let outline = shop.shelf.outline(blob, Shape::of(size), reader.as_ref());
            outline.map(Some)
        };
        match self.read(blob, work).await? {
            None => self.say(&Tell::No { number }).await,
            Some(outline) => {
                self.say(&Tell::Outline { number }).await?;
                self.out.write_all(outline.as_flattened()).await
            }
        }
    }

    /// Whole blobs, one after the other.
    async fn blobs(&mut self, number: u32, blobs: Vec<BlobId>) -> io::Result<()> {
        self.say(&Tell::Blobs { number }).await?;
        let mut whole = Whole::new(self.shop.clone(), blobs);
        loop {
            let work = move || {
                let bytes = whole.more()?;
                Ok::<_, io::Error>((whole, bytes))
            };
            let (rest, bytes) = tokio::task::spawn_blocking(work)
                .await
                .map_err(io::Error::other)??;
            if bytes.is_empty() {
                return Ok(());
            }
            self.out.write_all(&bytes).await?;
            whole = rest;
        }
    }
}

/// A blob that grows and has this piece, if there is one.
pub(crate) fn growing_with(shop: &Shop, blob: BlobId, piece: u32) -> Option<Arc<Growing>> {
    let growing = shop.shelf.growing(blob)?;
    growing.has(piece).then_some(growing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_bounded_per_peer_and_in_all() {
        let mut slots = Slots::default();
        let greedy = PeerId::random();
        for _ in 0..BULK_PER_PEER_MAX {
            assert!(slots.take(greedy));
        }
        assert!(!slots.take(greedy));
        let mut taken = BULK_PER_PEER_MAX;
        while slots.take(PeerId::random()) {
            taken += 1;
        }
        assert_eq!(taken, BULK_MAX);
        slots.give_back(greedy);
        assert!(slots.take(greedy));
        assert!(!slots.take(PeerId::random()));
    }
}
