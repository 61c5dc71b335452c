//! The asking side of bulk: one stream per request, read by a thread that hands each blob to the
//! sink. What one provider lacks or spoils is asked of the next.

use std::{
    collections::HashSet,
    io::{self, BufReader, Read},
    sync::{Arc, atomic::AtomicU64},
};

use caravan_protocol::ids::{BlobId, NodeId};
use futures::AsyncWriteExt as _;
use libp2p::{PeerId, Stream, StreamProtocol};

use super::{
    BlobSink, FetchError, Fetched, Wanted,
    pipe::{Pipe, Terms, bounded},
    serve::{ABSENT, BUSY, PRESENT, SERVED},
};
use crate::{
    counters::Tally,
    limits::{BLOBS_PER_REQUEST_MAX, BULK_CHUNK, BUSY_PAUSE, BUSY_TRIES_MAX},
    streams::Control,
    wire::BLOBS,
};

/// What is left to fetch and what came so far.
pub(crate) struct Fetch {
    pub(crate) terms: Terms,
    pub(crate) sink: Arc<dyn BlobSink>,
    pub(crate) tally: Arc<Tally>,
    /// Bytes that came in, wanted or not.
    moved: Arc<AtomicU64>,
    left: Vec<Wanted>,
    fetched: Fetched,
}

/// Why a provider did not deliver.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It broke the rules.
    Broke(String),
    /// The connection or its patience ended.
    Lost(String),
}

/// How a request ended before all its blobs were through.
enum Stop {
    Busy,
    Peer(Failure),
    Fatal(FetchError),
}

/// What one request brought, however it ended.
struct Yield {
    taken: Vec<BlobId>,
    bytes: u64,
    stop: Option<Stop>,
}

impl Fetch {
    pub(crate) fn new(
        wanted: Vec<Wanted>,
        sink: Arc<dyn BlobSink>,
        terms: Terms,
        tally: Arc<Tally>,
    ) -> Self {
        let mut seen = HashSet::new();
        let left = wanted
            .into_iter()
            .filter(|wanted| seen.insert(wanted.id))
            .collect();
        Self {
            terms,
            sink,
            tally,
            moved: Arc::default(),
            left,
            fetched: Fetched::default(),
        }
    }

    pub(crate) fn moved(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.moved)
    }

    pub(crate) const fn is_done(&self) -> bool {
        self.left.is_empty()
    }

    pub(crate) fn failed(&mut self, provider: NodeId, reason: String) {
        self.fetched.failures.push((provider, reason));
    }

    pub(crate) fn finish(mut self) -> Fetched {
        self.fetched.missing = self.left.iter().map(|wanted| wanted.id).collect();
        self.fetched
    }

    /// Asks one provider for everything that is left.
    pub(crate) async fn ask(
        &mut self,
        control: &mut Control,
        peer: PeerId,
    ) -> Result<Option<Failure>, FetchError> {
        let mut tries = 0;
        let mut at = 0;
        while at < self.left.len() {
            let end = self.left.len().min(at + BLOBS_PER_REQUEST_MAX);
            let asked = self.left[at..end].to_vec();
            let yielded = self.request(control, peer, asked).await;
            let taken: HashSet<BlobId> = yielded.taken.into_iter().collect();
            self.fetched.blobs += u64::try_from(taken.len()).unwrap_or(u64::MAX);
            self.fetched.bytes += yielded.bytes;
            self.left.retain(|wanted| !taken.contains(&wanted.id));
            match yielded.stop {
                // What the provider lacks stays in the list and is passed over.
                None => at = end - taken.len(),
                Some(Stop::Busy) if tries < BUSY_TRIES_MAX => {
                    tries += 1;
                    let pause = BUSY_PAUSE.saturating_mul(1 << tries);
                    let nap = async {
                        tokio::time::sleep(pause).await;
                        Ok(())
                    };
                    if bounded(&self.terms, nap).await.is_err() && self.terms.cancel.is_cancelled()
                    {
                        return Err(FetchError::Closed);
                    }
                }
                Some(Stop::Busy) => return Ok(Some(Failure::Lost("it is busy".to_owned()))),
                Some(Stop::Peer(failure)) => return Ok(Some(failure)),
                Some(Stop::Fatal(error)) => return Err(error),
            }
        }
        Ok(None)
    }

    async fn request(&self, control: &mut Control, peer: PeerId, asked: Vec<Wanted>) -> Yield {
        let stopped = |stop| Yield {
            taken: Vec::new(),
            bytes: 0,
            stop: Some(stop),
        };
        let opened = bounded(&self.terms, async {
            let opened = control.open_stream(peer, StreamProtocol::new(BLOBS)).await;
            opened.map_err(|error| io::Error::other(error.to_string()))
        })
        .await;
        if self.terms.cancel.is_cancelled() {
            return stopped(Stop::Fatal(FetchError::Closed));
        }
        let mut stream = match opened {
            Ok(stream) => stream,
            Err(error) => return stopped(Stop::Peer(Failure::Lost(error.to_string()))),
        };
        if let Err(error) = bounded(&self.terms, send_request(&mut stream, &asked)).await {
            return stopped(turned_away(&error));
        }
        // Whoever stops waiting for the fetch stops its thread, too.
        let terms = Terms {
            idle: self.terms.idle,
            cancel: self.terms.cancel.child_token(),
        };
        let _guard = terms.cancel.clone().drop_guard();
        let pipe = Pipe::new(stream, terms, Arc::clone(&self.moved));
        let (sink, tally) = (Arc::clone(&self.sink), Arc::clone(&self.tally));
        let receive = move || receive_all(pipe, &asked, sink.as_ref(), &tally);
        match tokio::task::spawn_blocking(receive).await {
            Ok(yielded) => yielded,
            Err(_) => stopped(Stop::Fatal(FetchError::Closed)),
        }
    }
}

async fn send_request(stream: &mut Stream, asked: &[Wanted]) -> io::Result<()> {
    let count = u32::try_from(asked.len()).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(4 + asked.len() * 32);
    bytes.extend_from_slice(&count.to_be_bytes());
    for wanted in asked {
        bytes.extend_from_slice(wanted.id.as_bytes());
    }
    stream.write_all(&bytes).await?;
    stream.flush().await
}

fn receive_all(pipe: Pipe<Stream>, asked: &[Wanted], sink: &dyn BlobSink, tally: &Tally) -> Yield {
    let mut reader = BufReader::with_capacity(BULK_CHUNK, pipe);
    let mut yielded = Yield {
        taken: Vec::new(),
        bytes: 0,
        stop: None,
    };
    if let Err(stop) = begin(&mut reader) {
        yielded.stop = Some(stop);
        return yielded;
    }
    for wanted in asked {
        match receive(&mut reader, *wanted, sink) {
            Ok(None) => {}
            Ok(Some(size)) => {
                tally.blobs_in.add(1);
                tally
                    .bulk_in_bytes
                    .add(usize::try_from(size).unwrap_or(usize::MAX));
                yielded.taken.push(wanted.id);
                yielded.bytes += size;
            }
            Err(stop) => {
                yielded.stop = Some(stop);
                break;
            }
        }
    }
    yielded
}

fn begin(reader: &mut impl Read) -> Result<(), Stop> {
    let mut first = [0];
    match reader.read_exact(&mut first).map(|()| first[0]) {
        Ok(SERVED) => Ok(()),
        Ok(BUSY) => Err(Stop::Busy),
        Err(error) => Err(turned_away(&error)),
        Ok(_) => Err(broke("it does not speak the protocol".to_owned())),
    }
}

/// How a stream ended on which nothing was said. One that the provider had no room for ends so.
fn turned_away(error: &io::Error) -> Stop {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::ConnectionAborted => lost(error),
        _ => Stop::Busy,
    }
}

fn lost(error: &io::Error) -> Stop {
    Stop::Peer(Failure::Lost(error.to_string()))
}

const fn broke(reason: String) -> Stop {
    Stop::Peer(Failure::Broke(reason))
}

/// Reads one blob; its size, or none if the provider lacks it.
fn receive(
    reader: &mut BufReader<Pipe<Stream>>,
    wanted: Wanted,
    sink: &dyn BlobSink,
) -> Result<Option<u64>, Stop> {
    let id = wanted.id;
    let mut tag = [0];
    reader.read_exact(&mut tag).map_err(|error| lost(&error))?;
    match tag[0] {
        ABSENT => return Ok(None),
        PRESENT => {}
        other => return Err(broke(format!("it sent the tag {other}"))),
    }
    let mut size = [0; 8];
    reader.read_exact(&mut size).map_err(|error| lost(&error))?;
    let size = u64::from_be_bytes(size);
    if !wanted.size.allows(size) {
        let wanted = wanted.size;
        return Err(broke(format!(
            "it offers {size} bytes as blob {id}: want {wanted:?}"
        )));
    }
    let mut body = reader.take(size);
    let accepted = sink.accept(id, size, &mut body);
    // What the sink did not need is read all the same: the next blob comes after it.
    let rest = match &accepted {
        Ok(()) => io::copy(&mut body, &mut io::sink()).map(drop),
        Err(_) => Ok(()),
    };
    let short = body.limit() > 0;
    let failed = reader.get_ref().has_failed();
    match (accepted, rest) {
        (Ok(()), Ok(())) if !short => Ok(Some(size)),
        (Ok(()), Ok(())) => Err(lost(&io::ErrorKind::UnexpectedEof.into())),
        (Ok(()), Err(error)) => Err(lost(&error)),
        (Err(error), _) if failed || error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(lost(&error))
        }
        (Err(error), _) if error.kind() == io::ErrorKind::InvalidData => {
            if short && stream_ended(reader) {
                return Err(lost(&io::ErrorKind::UnexpectedEof.into()));
            }
            Err(broke(format!("it sent other bytes as blob {id}: {error}")))
        }
        (Err(source), _) => Err(Stop::Fatal(FetchError::Sink { id, source })),
    }
}

/// Whether the stream is at its end. A sink that found too few bytes cannot tell a provider that
/// lies from one that was cut off.
fn stream_ended(reader: &mut BufReader<Pipe<Stream>>) -> bool {
    let mut next = [0];
    matches!(reader.read(&mut next), Ok(0) | Err(_))
}
