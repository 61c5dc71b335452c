//! The provider's side of bulk. Request: how many ids, then the ids. Answer: one byte that says
//! whether the request is served at all, then for each id either "not here" or its size and bytes.

use std::{
    collections::HashMap,
    io::{self, BufWriter, Read, Write},
    sync::{Arc, atomic::AtomicU64},
};

use caravan_protocol::{ids::BlobId, limits::BLOB_BYTES_MAX};
use futures::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use libp2p::{PeerId, Stream};

use super::{
    BlobSource,
    pipe::{Pipe, Terms, bounded},
};
use crate::{
    counters::Tally,
    limits::{BLOBS_PER_REQUEST_MAX, BULK_CHUNK, BULK_MAX, BULK_PER_PEER_MAX},
};

pub(super) const SERVED: u8 = 1;
pub(super) const BUSY: u8 = 2;
pub(super) const ABSENT: u8 = 0;
pub(super) const PRESENT: u8 = 1;

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

/// Turns a request away.
pub(crate) async fn turn_away(mut stream: Stream, terms: Terms) {
    let _ = bounded(&terms, async {
        stream.write_all(&[BUSY]).await?;
        stream.close().await
    })
    .await;
}

/// Serves one request.
pub(crate) async fn serve(
    mut stream: Stream,
    terms: Terms,
    moved: Arc<AtomicU64>,
    source: Arc<dyn BlobSource>,
    tally: Arc<Tally>,
) -> io::Result<()> {
    let ids = bounded(&terms, read_request(&mut stream)).await?;
    let pipe = Pipe::new(stream, terms, moved);
    tokio::task::spawn_blocking(move || send_all(pipe, &ids, source.as_ref(), &tally))
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Reads which blobs are asked for.
pub(crate) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<BlobId>> {
    let mut count = [0; 4];
    stream.read_exact(&mut count).await?;
    let count = usize::try_from(u32::from_be_bytes(count)).unwrap_or(usize::MAX);
    if count == 0 || count > BLOBS_PER_REQUEST_MAX {
        let words = format!("serve {count} blobs: at most {BLOBS_PER_REQUEST_MAX} at once");
        return Err(io::Error::new(io::ErrorKind::InvalidData, words));
    }
    let mut bytes = vec![0; count * 32];
    stream.read_exact(&mut bytes).await?;
    let (ids, _) = bytes.as_chunks::<32>();
    Ok(ids.iter().copied().map(BlobId::from_bytes).collect())
}

fn send_all(
    pipe: Pipe<Stream>,
    ids: &[BlobId],
    source: &dyn BlobSource,
    tally: &Tally,
) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(BULK_CHUNK, pipe);
    out.write_all(&[SERVED])?;
    for id in ids {
        // A blob that cannot be read is as good as not here; others may have it.
        let opened = source.open(*id).unwrap_or_else(|error| {
            tracing::warn!(blob = %id, %error, "a blob could not be opened");
            None
        });
        let Some((size, mut reader)) = opened.filter(|(size, _)| *size <= BLOB_BYTES_MAX) else {
            out.write_all(&[ABSENT])?;
            continue;
        };
        out.write_all(&[PRESENT])?;
        out.write_all(&size.to_be_bytes())?;
        copy_exactly(&mut reader, size, &mut out)?;
        tally.blobs_out.add(1);
        tally
            .bulk_out_bytes
            .add(usize::try_from(size).unwrap_or(usize::MAX));
    }
    out.flush()?;
    out.get_mut().close()
}

fn copy_exactly(from: &mut dyn Read, size: u64, to: &mut impl Write) -> io::Result<()> {
    let mut left = size;
    let mut chunk = vec![0; BULK_CHUNK.min(usize::try_from(size).unwrap_or(BULK_CHUNK))];
    while left > 0 {
        let most = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = from.read(&mut chunk[..most])?;
        if read == 0 {
            // The promise of a size cannot be taken back: the stream ends here.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.write_all(&chunk[..read])?;
        left -= u64::try_from(read).unwrap_or(u64::MAX);
    }
    Ok(())
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
