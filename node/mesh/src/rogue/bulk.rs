//! A member that serves blobs and lies about them, each time in its own way. It hands out what it was
//! made with; nothing of the store is ever touched by it.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use caravan_protocol::ids::BlobId;
use futures::AsyncWriteExt as _;
use libp2p::Stream;

use crate::bulk::{
    groups::{self, Hash, Shape},
    words::{self, Ask, PRESENT, SERVED, Standing, Tell},
};

/// How it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// One byte of the last group of each piece is another.
    Group,
    /// One hash of each list is another.
    List,
    /// One hash of the outline is another.
    Outline,
    /// It says that blobs are longer by one byte.
    Size,
    /// It stops in the middle of a piece and closes the stream.
    Short,
    /// It sends one byte of a piece now and then.
    Slow,
    /// It says that it has all and gives nothing.
    Nothing,
    /// It says that it fetches the blob itself and has all but the last piece, and gives nothing.
    Part,
    /// It never answers.
    Silent,
    /// It tells for ever what it has, and gives nothing.
    Babble,
    /// It sends a word that is too long.
    Long,
    /// It sends what is no word.
    Garbage,
    /// It answers what was not asked.
    Unasked,
    /// It tells of more pieces than there are.
    Bits,
}

/// A provider that lies about these blobs.
#[derive(Debug, Clone)]
pub struct Liar {
    lie: Lie,
    blobs: Arc<BTreeMap<BlobId, Vec<u8>>>,
}

impl Liar {
    /// One that lies in this way about these blobs.
    #[must_use]
    pub fn new(lie: Lie, blobs: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let blobs = blobs.into_iter().map(|bytes| (BlobId::of(&bytes), bytes));
        Self {
            lie,
            blobs: Arc::new(blobs.collect()),
        }
    }

    /// Serves a stream until it ends, which for some lies it does not.
    pub(crate) async fn serve(self, mut stream: Stream) -> io::Result<()> {
        stream.write_all(&[SERVED]).await?;
        stream.flush().await?;
        loop {
            let ask: Ask = words::read(&mut stream).await?;
            self.answer(&mut stream, ask).await?;
            stream.flush().await?;
        }
    }

    async fn answer(&self, stream: &mut Stream, ask: Ask) -> io::Result<()> {
        match ask {
            Ask::Watch { number, blob } => {
                let standing = self.standing(blob);
                say(stream, &Tell::Standing { number, standing }).await?;
                if self.lie == Lie::Babble {
                    return babble(stream, number).await;
                }
                Ok(())
            }
            Ask::Cancel { .. } => Ok(()),
            _ if self.lie == Lie::Silent => Ok(()),
            Ask::Outline { number, blob } => {
                let Some(bytes) = self.blobs.get(&blob) else {
                    return say(stream, &Tell::No { number }).await;
                };
                let mut outline = outline_of(bytes);
                if self.lie == Lie::Outline {
                    outline[0][0] ^= 1;
                }
                say(stream, &Tell::Outline { number }).await?;
                stream.write_all(outline.as_flattened()).await
            }
            Ask::Piece {
                number,
                blob,
                piece,
                ..
            } => {
                let bytes = self.blobs.get(&blob);
                match bytes.filter(|_| !matches!(self.lie, Lie::Nothing | Lie::Part)) {
                    None => say(stream, &Tell::No { number }).await,
                    Some(bytes) => {
                        if !self.odd(stream).await? {
                            say(stream, &Tell::Piece { number }).await?;
                        }
                        self.piece(stream, bytes, piece).await
                    }
                }
            }
            Ask::Blobs { number, blobs } => {
                if self.lie == Lie::Nothing {
                    return say(stream, &Tell::No { number }).await;
                }
                if !self.odd(stream).await? {
                    say(stream, &Tell::Blobs { number }).await?;
                }
                for bytes in blobs.iter().filter_map(|blob| self.blobs.get(blob)) {
                    self.blob(stream, bytes).await?;
                }
                Ok(())
            }
        }
    }

    fn standing(&self, blob: BlobId) -> Standing {
        let Some(bytes) = self.blobs.get(&blob) else {
            return Standing::Absent;
        };
        let size = bytes.len() as u64 + u64::from(self.lie == Lie::Size);
        let pieces = Shape::of(size).pieces();
        match self.lie {
            Lie::Part => {
                let mut have = vec![0xff; pieces.div_ceil(8) as usize];
                // Not the last, and nothing beyond it.
                let last = have.len() - 1;
                have[last] = u8::try_from((1u32 << ((pieces - 1) % 8)) - 1).unwrap_or_default();
                Standing::Part { size, have }
            }
            Lie::Bits => Standing::Part {
                size,
                have: vec![0xff; 8192],
            },
            _ => Standing::Whole { size },
        }
    }

    /// Whether it says something else instead of an answer.
    async fn odd(&self, stream: &mut Stream) -> io::Result<bool> {
        match self.lie {
            Lie::Long => stream.write_all(&u32::MAX.to_be_bytes()).await?,
            Lie::Garbage => stream.write_all(&[0, 0, 0, 5, 9, 9, 9, 9, 9]).await?,
            Lie::Unasked => say(stream, &Tell::Piece { number: 4_000_000 }).await?,
            Lie::Babble => babble(stream, 0).await?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    async fn piece(&self, stream: &mut Stream, bytes: &[u8], piece: u32) -> io::Result<()> {
        let shape = Shape::of(bytes.len() as u64);
        if piece >= shape.pieces() {
            return Ok(());
        }
        let at = usize::try_from(shape.at(piece)).map_err(io::Error::other)?;
        let mut body = bytes[at..at + shape.len(piece)].to_vec();
        let mut list = shape.list(piece, &body);
        match (self.lie, body.last_mut()) {
            (Lie::Group, Some(last)) => *last ^= 1,
            (Lie::List, _) => list[0][0] ^= 1,
            _ => {}
        }
        if shape.has_list(piece) {
            stream.write_all(list.as_flattened()).await?;
        }
        match self.lie {
            Lie::Short => {
                stream.write_all(&body[..body.len() / 2]).await?;
                stream.close().await?;
                Err(io::ErrorKind::BrokenPipe.into())
            }
            Lie::Slow => {
                for byte in body {
                    stream.write_all(&[byte]).await?;
                    stream.flush().await?;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Ok(())
            }
            _ => stream.write_all(&body).await,
        }
    }

    async fn blob(&self, stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
        let shape = Shape::of(bytes.len() as u64);
        let size = shape.size() + u64::from(self.lie == Lie::Size);
        stream.write_all(&[PRESENT]).await?;
        stream.write_all(&size.to_be_bytes()).await?;
        if shape.pieces() > 1 {
            let mut outline = outline_of(bytes);
            if self.lie == Lie::Outline {
                outline[0][0] ^= 1;
            }
            stream.write_all(outline.as_flattened()).await?;
        }
        for piece in 0..shape.pieces() {
            self.piece(stream, bytes, piece).await?;
        }
        Ok(())
    }
}

fn outline_of(bytes: &[u8]) -> Vec<Hash> {
    let shape = Shape::of(bytes.len() as u64);
    let read = |at: u64, into: &mut [u8]| -> io::Result<()> {
        let at = usize::try_from(at).map_err(io::Error::other)?;
        into.copy_from_slice(&bytes[at..at + into.len()]);
        Ok(())
    };
    groups::outline(shape, read).unwrap_or_default()
}

async fn say(stream: &mut Stream, tell: &Tell) -> io::Result<()> {
    stream.write_all(&words::frame(tell)?).await
}

async fn babble(stream: &mut Stream, number: u32) -> io::Result<()> {
    let pieces = vec![0; 100];
    let word = words::frame(&Tell::Have { number, pieces })?;
    loop {
        stream.write_all(&word).await?;
    }
}
