//! Whole blobs of one answer, one after the other.

use std::sync::Arc;

use caravan_protocol::ids::BlobId;

use super::{Failure, Note, Reader, allowed, blocking, broke, joined, named};
use crate::{
    bulk::{
        FetchError, Wanted,
        groups::{Hash, Shape},
        swarm::Unit,
        words::{ABSENT, PRESENT},
    },
    limits::{UNIT_BYTES, WHOLE_BYTES_MAX},
};

impl Reader {
    pub(super) async fn blobs(&mut self, unit: Unit, wanted: Vec<Wanted>) -> Result<(), Failure> {
        let mut taken = Vec::new();
        let mut small = Vec::new();
        let mut waiting = 0;
        let mut result = Ok(());
        for wanted in wanted {
            match self.blob(wanted).await {
                Ok(Some((size, Some(bytes)))) => {
                    waiting += size;
                    small.push((wanted.id, bytes));
                }
                Ok(Some((size, None))) => taken.push((wanted.id, size)),
                Ok(None) => {}
                Err(failure) => {
                    result = Err(failure);
                    break;
                }
            }
            if waiting >= UNIT_BYTES {
                waiting = 0;
                self.accept(&mut small, &mut taken).await?;
            }
        }
        self.accept(&mut small, &mut taken).await?;
        let is_all = result.is_ok();
        let note = Note::Blobs {
            unit,
            taken,
            is_all,
        };
        self.link.teller.tell(note).await;
        result
    }

    async fn accept(
        &self,
        small: &mut Vec<(BlobId, Vec<u8>)>,
        taken: &mut Vec<(BlobId, u64)>,
    ) -> Result<(), Failure> {
        let Some((first, _)) = small.first() else {
            return Ok(());
        };
        let (first, small) = (*first, std::mem::take(small));
        let sink = Arc::clone(&self.link.sink);
        let work = move || -> Result<Vec<(BlobId, u64)>, Failure> {
            let mut taken = Vec::with_capacity(small.len());
            for (id, bytes) in small {
                let size = bytes.len() as u64;
                sink.accept(id, size, &mut &*bytes)
                    .map_err(|source| Failure::Fatal(FetchError::Sink { id, source }))?;
                taken.push((id, size));
            }
            Ok(taken)
        };
        taken.extend(joined(first, work).await?);
        Ok(())
    }

    /// Reads one blob: its size, and its bytes if it is small. A large one is put in its place.
    async fn blob(&mut self, wanted: Wanted) -> Result<Option<(u64, Option<Vec<u8>>)>, Failure> {
        let id = wanted.id;
        let mut tag = [0];
        self.stream.read_exact(&mut tag).await?;
        match tag[0] {
            ABSENT => return Ok(None),
            PRESENT => {}
            other => return broke(format!("it sent the tag {other}")),
        }
        let mut size = [0; 8];
        self.stream.read_exact(&mut size).await?;
        let size = u64::from_be_bytes(size);
        allowed(wanted, size)?;
        let shape = Shape::of(size);
        let outline = match shape.pieces() {
            1 => vec![*id.as_bytes()],
            _ => self.outline(id, shape).await?,
        };
        if size > WHOLE_BYTES_MAX {
            self.large(id, shape, &outline).await?;
            return Ok(Some((size, None)));
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        for (piece, hash) in (0..).zip(outline) {
            let at = usize::try_from(shape.at(piece)).unwrap_or_default();
            let bytes = &mut bytes[at..at + shape.len(piece)];
            let read = self.groups((shape, piece), shape.all(piece), hash, bytes);
            named(id, read.await.1)?;
        }
        Ok(Some((size, Some(bytes))))
    }

    async fn large(&mut self, id: BlobId, shape: Shape, outline: &[Hash]) -> Result<(), Failure> {
        let sink = Arc::clone(&self.link.sink);
        let place = blocking(id, move || sink.begin(id, shape.size())).await?;
        for (piece, hash) in (0..).zip(outline) {
            let mut bytes = vec![0; shape.len(piece)];
            let read = self.groups((shape, piece), shape.all(piece), *hash, &mut bytes);
            named(id, read.await.1)?;
            let place = Arc::clone(&place);
            blocking(id, move || place.write_all_at(&bytes, shape.at(piece))).await?;
        }
        blocking(id, move || place.finish()).await
    }
}
