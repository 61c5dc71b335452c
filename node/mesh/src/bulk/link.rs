//! One provider of a fetch: its stream, what was asked on it, and what comes back, checked before
//! anybody else sees it.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use caravan_protocol::ids::{BlobId, NodeId};
use futures::{
    AsyncReadExt as _, AsyncWriteExt as _,
    io::{ReadHalf, WriteHalf},
};
use libp2p::Stream;
use tokio::sync::mpsc;

use super::{
    BlobSink, FetchError, Wanted,
    flow::{Flow, Terms, bounded},
    groups::{Hash, Mask, Shape},
    shelf::Growing,
    swarm::{Blob, Unit},
    words::{self, BUSY, SERVED, Standing, Tell},
};
use crate::limits::BULK_WORD_BYTES_MAX;

mod asked;
mod whole;

pub(crate) use asked::Job;
use asked::{Shared, lock};

/// What came of it.
pub(crate) enum Note {
    /// The stream is served.
    Up,
    Standing {
        blob: Blob,
        standing: Standing,
    },
    Have {
        blob: Blob,
        pieces: Vec<u32>,
    },
    Outline {
        unit: Unit,
        outline: Vec<Hash>,
    },
    /// These groups were checked and written.
    Piece {
        unit: Unit,
        groups: Mask,
    },
    /// These blobs were checked and taken.
    Blobs {
        unit: Unit,
        taken: Vec<(BlobId, u64)>,
        is_all: bool,
    },
    No {
        unit: Unit,
    },
    /// The link is over.
    Ended(Failure),
    /// A large blob has its place, and what was there from earlier was checked.
    Opened {
        blob: Blob,
        growing: Arc<Growing>,
    },
    /// A large blob is all here.
    Finished {
        blob: Blob,
    },
}

/// The way back to the fetch.
#[derive(Clone)]
pub(crate) struct Teller {
    pub(crate) node: NodeId,
    pub(crate) notes: mpsc::Sender<(NodeId, Note)>,
}

impl Teller {
    pub(crate) async fn tell(&self, note: Note) {
        // Nobody listens any more when the fetch was dropped.
        let _ = self.notes.send((self.node, note)).await;
    }
}

/// Why a provider does not deliver.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It has too much to do.
    Busy,
    /// It broke the rules.
    Broke(String),
    /// The connection or its patience ended.
    Lost(String),
    /// What came could not be kept: nobody's fault but this node's.
    Fatal(FetchError),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::Broke(error.to_string()),
            _ => Self::Lost(error.to_string()),
        }
    }
}

/// What a link works with.
pub(crate) struct Link {
    pub(crate) terms: Terms,
    pub(crate) sink: Arc<dyn BlobSink>,
    /// All bytes that came, wanted or not.
    pub(crate) moved: Arc<AtomicU64>,
    /// Bytes that were checked.
    pub(crate) progress: Arc<AtomicU64>,
    /// Tells the fetch.
    pub(crate) teller: Teller,
}

fn broke<T>(words: String) -> Result<T, Failure> {
    Err(Failure::Broke(words))
}

impl Link {
    /// Speaks with a provider until it fails, or the jobs end.
    pub(crate) async fn run(
        self,
        stream: Stream,
        jobs: mpsc::Receiver<Job>,
    ) -> Result<(), Failure> {
        let (reader, writer) = stream.split();
        let asked = Shared::default();
        let writing = write(writer, self.terms.clone(), jobs, Arc::clone(&asked));
        let mut reader = Reader {
            stream: Flow::new(reader, self.terms.clone(), Arc::clone(&self.moved)),
            link: self,
            asked,
            gave: Instant::now(),
        };
        tokio::select! {
            written = writing => written,
            read = reader.run() => read,
        }
    }
}

async fn write(
    mut writer: WriteHalf<Stream>,
    terms: Terms,
    mut jobs: mpsc::Receiver<Job>,
    asked: Shared,
) -> Result<(), Failure> {
    loop {
        let job = match jobs.try_recv() {
            Ok(job) => Some(job),
            Err(_) => {
                bounded(&terms, writer.flush()).await?;
                jobs.recv().await
            }
        };
        let Some(job) = job else {
            let _ = bounded(&terms, writer.close()).await;
            return Ok(());
        };
        let Some(ask) = lock(&asked).ask(job) else {
            continue;
        };
        let frame = words::frame(&ask)?;
        bounded(&terms, writer.write_all(&frame)).await?;
    }
}

struct Reader {
    /// When the provider last gave something, or owed nothing.
    gave: Instant,
    stream: Flow<ReadHalf<Stream>>,
    link: Link,
    asked: Shared,
}

impl Reader {
    async fn run(&mut self) -> Result<(), Failure> {
        let mut first = [0];
        match self.stream.read_exact(&mut first).await {
            Ok(()) if first[0] == SERVED => {}
            Ok(()) if first[0] == BUSY => return Err(Failure::Busy),
            Ok(()) => return broke("it does not speak the protocol".to_owned()),
            Err(error) => return Err(turned_away(&error)),
        }
        self.link.teller.tell(Note::Up).await;
        loop {
            let tell = self.word().await?;
            self.take(tell).await?;
        }
    }

    /// The next word. A provider that owes nothing may be silent.
    async fn word(&mut self) -> Result<Tell, Failure> {
        let mut length = [0; 4];
        let mut at = 0;
        while at < length.len() {
            let owes = lock(&self.asked).owes();
            if !owes {
                self.gave = Instant::now();
            } else if self.gave.elapsed() > self.link.terms.idle * 2 {
                return Err(Failure::Lost("it talks and gives nothing".to_owned()));
            }
            if owes || at > 0 {
                self.stream.read_exact(&mut length[at..]).await?;
                break;
            }
            self.stream.rest();
            let idle = tokio::time::timeout(
                self.link.terms.idle / 4,
                self.stream.stream.read(&mut length[..1]),
            );
            match idle.await {
                // Perhaps it owes something by now.
                Err(_) => {}
                Ok(Ok(0)) => return Err(Failure::Lost("it closed the stream".to_owned())),
                Ok(read) => at = read?,
            }
        }
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > BULK_WORD_BYTES_MAX {
            return broke(format!("it sent a word of {length} bytes"));
        }
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).await?;
        Ok(words::decode(&bytes)?)
    }

    fn answered(&mut self, number: u32) -> Result<Job, Failure> {
        self.gave = Instant::now();
        let job = lock(&self.asked).open.remove(&number);
        job.ok_or_else(|| Failure::Broke("it answers what was not asked".to_owned()))
    }

    fn watched(&self, number: u32) -> Result<(Blob, Wanted), Failure> {
        let watched = lock(&self.asked).watched.get(&number).copied();
        watched.ok_or_else(|| Failure::Broke("it tells of what was not asked".to_owned()))
    }

    async fn take(&mut self, tell: Tell) -> Result<(), Failure> {
        let note = match tell {
            Tell::Standing { number, standing } => {
                let (blob, wanted) = self.watched(number)?;
                lock(&self.asked).unheard.remove(&number);
                if let Standing::Whole { size } | Standing::Part { size, .. } = &standing {
                    allowed(wanted, *size)?;
                }
                Note::Standing { blob, standing }
            }
            Tell::Have { number, pieces } => {
                let (blob, _) = self.watched(number)?;
                Note::Have { blob, pieces }
            }
            Tell::No { number } => match self.answered(number)?.unit() {
                Some(unit) => Note::No { unit },
                None => return Ok(()),
            },
            Tell::Outline { number } => match self.answered(number)? {
                Job::Outline { unit, id, shape } => {
                    let outline = self.outline(id, shape).await?;
                    Note::Outline { unit, outline }
                }
                _ => return broke("it gives an outline that was not asked".to_owned()),
            },
            Tell::Piece { number } => match self.answered(number)? {
                Job::Piece {
                    unit,
                    growing,
                    piece,
                    groups,
                } => return self.piece(unit, growing, piece, groups).await,
                _ => return broke("it gives a piece that was not asked".to_owned()),
            },
            Tell::Blobs { number } => match self.answered(number)? {
                Job::Blobs { unit, wanted } => return self.blobs(unit, wanted).await,
                _ => return broke("it gives blobs that were not asked".to_owned()),
            },
        };
        self.link.teller.tell(note).await;
        Ok(())
    }

    async fn hashes(&mut self, count: usize) -> Result<Vec<Hash>, Failure> {
        let mut hashes = vec![[0; 32]; count];
        self.stream.read_exact(hashes.as_flattened_mut()).await?;
        Ok(hashes)
    }

    async fn outline(&mut self, id: BlobId, shape: Shape) -> Result<Vec<Hash>, Failure> {
        let outline = self.hashes(shape.pieces() as usize).await?;
        if !shape.is_outline(id, &outline) {
            return broke(format!("it sent another outline as that of blob {id}"));
        }
        Ok(outline)
    }

    /// Reads groups of a piece into `bytes`, which has the piece's length, and says which were good,
    /// and what ended it before all came.
    async fn groups(
        &mut self,
        (shape, piece): (Shape, u32),
        wanted: Mask,
        hash: Hash,
        bytes: &mut [u8],
    ) -> (Mask, Result<(), Failure>) {
        let mut good = 0;
        let list = if shape.has_list(piece) {
            match self.hashes(shape.groups(piece) as usize).await {
                Ok(list) => list,
                Err(failure) => return (good, Err(failure)),
            }
        } else {
            vec![hash]
        };
        if shape.fold(&list) != hash {
            return (
                good,
                broke(format!("it sent a wrong list of piece {piece}")),
            );
        }
        for group in (0..shape.groups(piece)).filter(|group| wanted & (1 << group) != 0) {
            let bytes = &mut bytes[shape.group(piece, group)];
            if let Err(error) = self.stream.read_exact(bytes).await {
                return (good, Err(error.into()));
            }
            if shape.hash_group(piece, group, bytes) != list[group as usize] {
                let words = format!("it sent other bytes in group {group} of piece {piece}");
                return (good, broke(words));
            }
            good |= 1 << group;
            let length = u64::try_from(bytes.len()).unwrap_or_default();
            self.link.progress.fetch_add(length, Ordering::Relaxed);
        }
        (good, Ok(()))
    }

    async fn piece(
        &mut self,
        unit: Unit,
        growing: Arc<Growing>,
        piece: u32,
        wanted: Mask,
    ) -> Result<(), Failure> {
        let shape = growing.shape;
        let mut bytes = vec![0; shape.len(piece)];
        let hash = growing.outline[piece as usize];
        let (groups, read) = self.groups((shape, piece), wanted, hash, &mut bytes).await;
        let id = growing.id;
        if groups != 0 && !growing.has(piece) {
            let write = move || write_groups(&growing, piece, groups, &bytes);
            blocking(id, write).await?;
        }
        if groups != 0 {
            self.link.teller.tell(Note::Piece { unit, groups }).await;
        }
        match read {
            Err(Failure::Broke(words)) => broke(format!("{words} of blob {id}")),
            other => other,
        }
    }
}

fn named(id: BlobId, read: Result<(), Failure>) -> Result<(), Failure> {
    read.map_err(|failure| match failure {
        Failure::Broke(words) => Failure::Broke(format!("{words} of blob {id}")),
        other => other,
    })
}

fn allowed(wanted: Wanted, size: u64) -> Result<(), Failure> {
    if wanted.size.allows(size) {
        return Ok(());
    }
    let Wanted { id, size: want } = wanted;
    broke(format!(
        "it offers {size} bytes as blob {id}: want {want:?}"
    ))
}

fn write_groups(growing: &Growing, piece: u32, groups: Mask, bytes: &[u8]) -> io::Result<()> {
    let (shape, at) = (growing.shape, growing.shape.at(piece));
    if groups == shape.all(piece) {
        return growing.place.write_all_at(bytes, at);
    }
    for group in (0..shape.groups(piece)).filter(|group| groups & (1 << group) != 0) {
        let range = shape.group(piece, group);
        let at = at + range.start as u64;
        growing.place.write_all_at(&bytes[range], at)?;
    }
    Ok(())
}

/// Work on the disk, where blocking is allowed. What fails there ends the fetch.
async fn blocking<R: Send + 'static>(
    id: BlobId,
    work: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> Result<R, Failure> {
    let work = move || work().map_err(|source| Failure::Fatal(FetchError::Sink { id, source }));
    joined(id, work).await
}

async fn joined<R: Send + 'static>(
    id: BlobId,
    work: impl FnOnce() -> Result<R, Failure> + Send + 'static,
) -> Result<R, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            let source = io::Error::other(error);
            Err(Failure::Fatal(FetchError::Sink { id, source }))
        })
}

/// How a stream ended on which nothing was said. One that the provider had no room for ends so.
fn turned_away(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::ConnectionAborted => {
            Failure::Lost(error.to_string())
        }
        _ => Failure::Busy,
    }
}
