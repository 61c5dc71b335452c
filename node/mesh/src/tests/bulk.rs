use std::{
    io::{self, Read},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use caravan_protocol::ids::{BlobId, NodeId};

use super::kit::{Kit, MemBlobs, Node, QUIC, TCP, soon};
use crate::{BlobSink, BlobSource, Event, FetchError, Fetched, Place, ReadAt, Wanted};

/// Bytes that do not compress and differ by `seed`.
pub(super) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

pub(super) fn wanted(blobs: &MemBlobs) -> Vec<Wanted> {
    let blobs = blobs.0.lock().expect("not poisoned");
    let wanted = |(id, bytes): (&BlobId, &Vec<u8>)| Wanted::exactly(*id, bytes.len() as u64);
    blobs.iter().map(wanted).collect()
}

/// A node that wants, and providers that it is connected with.
async fn mesh(
    transport: &'static str,
    sources: Vec<Arc<dyn BlobSource>>,
    idle: Duration,
) -> (Node, Vec<Node>) {
    let kit = Kit::new(transport);
    let mut asker = kit
        .start_with(1, |config| config.timing.bulk_idle = idle)
        .await;
    let mut providers = Vec::new();
    for (n, source) in (2..).zip(sources) {
        let mut provider = kit.start_with(n, |config| config.source = source).await;
        provider
            .handle
            .dial(&asker.address())
            .expect("a good address");
        asker.up(provider.id).await;
        provider.up(asker.id).await;
        providers.push(provider);
    }
    (asker, providers)
}

pub(super) fn ids(providers: &[Node]) -> Vec<NodeId> {
    providers.iter().map(|provider| provider.id).collect()
}

const IDLE: Duration = Duration::from_secs(15);
const IMPATIENT: Duration = Duration::from_millis(1500);

async fn small_and_large_blobs_arrive(transport: &'static str) {
    let small = (0..2000).map(|n| noise(n + 1, usize::try_from(n).expect("small")));
    let source = MemBlobs::of(small.chain([noise(9999, 20 * 1024 * 1024)]));
    let wanted = wanted(&source);
    let bytes: u64 = source
        .0
        .lock()
        .expect("not poisoned")
        .values()
        .map(|b| b.len() as u64)
        .sum();
    let (asker, providers) = mesh(transport, vec![source.clone()], IDLE).await;
    let sink = Arc::new(MemBlobs::default());
    let fetched = soon(asker.handle.fetch(&ids(&providers), wanted, sink.clone())).await;
    let fetched = fetched.expect("the sink takes all");
    assert_eq!(
        fetched,
        Fetched {
            blobs: 2001,
            bytes,
            ..Fetched::default()
        }
    );
    let equal = *sink.0.lock().expect("not poisoned") == *source.0.lock().expect("not poisoned");
    assert!(equal, "what came differs from what was there");
    let counters = asker.handle.counters();
    assert_eq!((counters.blobs_in, counters.bulk_in_bytes), (2001, bytes));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_and_large_blobs_arrive_over_tcp() {
    small_and_large_blobs_arrive(TCP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_and_large_blobs_arrive_over_quic() {
    small_and_large_blobs_arrive(QUIC).await;
}

/// What a bad provider does with a blob.
type Trick = fn(BlobId) -> io::Result<Option<(u64, Box<dyn ReadAt>)>>;

struct Trickster(Trick);

impl BlobSource for Trickster {
    fn open(&self, id: BlobId) -> io::Result<Option<(u64, Box<dyn ReadAt>)>> {
        (self.0)(id)
    }
}

const LEN: u64 = 1000;

fn reader(bytes: Vec<u8>) -> Box<dyn ReadAt> {
    Box::new(bytes)
}

async fn next_provider_makes_up_for(trick: Trick, blamed: bool) {
    next_source_makes_up_for(Arc::new(Trickster(trick)), blamed).await;
}

/// A bad provider is found out, and another makes up for it.
async fn next_source_makes_up_for(bad: Arc<dyn BlobSource>, blamed: bool) {
    let good = MemBlobs::of([noise(1, 1000), noise(2, 1000)]);
    let sources = vec![bad, good.clone() as Arc<dyn BlobSource>];
    let (mut asker, providers) = mesh(TCP, sources, IMPATIENT).await;
    let sink = Arc::new(MemBlobs::default());
    let asked = ids(&providers);
    let alone = asker.handle.fetch(&asked[..1], wanted(&good), sink.clone());
    let fetched = soon(alone).await.expect("the sink takes all");
    assert_eq!(fetched.missing.len(), 2, "{fetched:?}");
    assert_eq!(fetched.failures.len(), 1, "{fetched:?}");
    assert_eq!(fetched.failures[0].0, providers[0].id);
    assert!(sink.ids().is_empty());
    let both = asker.handle.fetch(&asked, wanted(&good), sink.clone());
    let fetched = soon(both).await.expect("the sink takes all");
    assert_eq!(
        (fetched.blobs, fetched.missing.len()),
        (2, 0),
        "{fetched:?}"
    );
    if blamed {
        let misbehaved = asker
            .until(|event| match event {
                Event::Misbehaved { node, .. } => Some(node),
                _ => None,
            })
            .await;
        assert_eq!(misbehaved, providers[0].id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_bytes_are_refused_and_blamed() {
    next_provider_makes_up_for(|_| Ok(Some((LEN, reader(noise(3, 1000))))), true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_size_is_refused_before_it_is_read() {
    let endless = |_| -> io::Result<Option<(u64, Box<dyn ReadAt>)>> {
        Ok(Some((LEN + 1, reader(noise(1, 1001)))))
    };
    next_provider_makes_up_for(endless, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blob_that_ends_early_is_asked_of_the_next() {
    next_provider_makes_up_for(|_| Ok(Some((LEN, reader(noise(1, 10))))), false).await;
}

/// A blob that promises bytes and never gives one, until the test lets go of the other end.
struct Stalling(Mutex<Option<mpsc::Receiver<()>>>);

struct StalledReader(Mutex<mpsc::Receiver<()>>);

impl ReadAt for StalledReader {
    fn read_exact_at(&self, _: &mut [u8], _: u64) -> io::Result<()> {
        let _ = self.0.lock().expect("not poisoned").recv();
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

impl BlobSource for Stalling {
    fn open(&self, _: BlobId) -> io::Result<Option<(u64, Box<dyn ReadAt>)>> {
        let receiver = self.0.lock().expect("not poisoned").take();
        Ok(receiver.map(|receiver| {
            let reader: Box<dyn ReadAt> = Box::new(StalledReader(Mutex::new(receiver)));
            (LEN, reader)
        }))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalling_provider_is_left_for_the_next() {
    let (hold, stall) = mpsc::channel();
    let bad = Arc::new(Stalling(Mutex::new(Some(stall))));
    next_source_makes_up_for(bad, false).await;
    drop(hold);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lacking_blobs_come_from_others_or_are_named() {
    let (one, two) = (noise(1, 10), noise(2, 20));
    let nobody_has = BlobId::of(b"nobody has this");
    let first = MemBlobs::of([one.clone()]);
    let second = MemBlobs::of([two.clone()]);
    let sources: Vec<Arc<dyn BlobSource>> = vec![first, second];
    let (asker, providers) = mesh(QUIC, sources, IDLE).await;
    let wanted = vec![
        Wanted::exactly(BlobId::of(&two), 20),
        Wanted::at_most(nobody_has, 100),
        Wanted::at_most(BlobId::of(&one), 10),
        Wanted::exactly(BlobId::of(&two), 20),
    ];
    let mut providers = ids(&providers);
    let stranger = super::kit::key(88).node();
    providers.insert(0, stranger);
    let sink = Arc::new(MemBlobs::default());
    let fetched = soon(asker.handle.fetch(&providers, wanted, sink))
        .await
        .expect("a good sink");
    assert_eq!((fetched.blobs, fetched.bytes), (2, 30));
    assert_eq!(fetched.missing, [nobody_has]);
    assert_eq!(
        fetched.failures,
        [(stranger, "it is not connected".to_owned())]
    );
}

struct FullSink;

impl BlobSink for FullSink {
    fn accept(&self, _: BlobId, _: u64, _: &mut dyn Read) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn begin(&self, _: BlobId, _: u64) -> io::Result<Arc<dyn Place>> {
        Err(io::ErrorKind::StorageFull.into())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_sink_ends_the_fetch_and_blames_nobody() {
    let source = MemBlobs::of([noise(1, 10)]);
    let (asker, providers) = mesh(TCP, vec![source.clone()], IDLE).await;
    let asked = ids(&providers);
    let work = asker
        .handle
        .fetch(&asked, wanted(&source), Arc::new(FullSink));
    let error = soon(work).await.expect_err("the sink is full");
    assert!(matches!(error, FetchError::Sink { .. }), "{error:?}");
    assert_eq!(asker.handle.connected(), ids(&providers));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_fetches_than_slots_all_succeed() {
    let source = MemBlobs::of((0..16).map(|n| noise(n + 1, 300_000)));
    let all = wanted(&source);
    let (asker, providers) = mesh(TCP, vec![source], IDLE).await;
    let providers = ids(&providers);
    let sink = Arc::new(MemBlobs::default());
    let fetches = all
        .iter()
        .map(|one| asker.handle.fetch(&providers, vec![*one], sink.clone()));
    for fetched in soon(futures::future::join_all(fetches)).await {
        let fetched = fetched.expect("a good sink");
        assert_eq!(
            (fetched.blobs, fetched.missing.len()),
            (1, 0),
            "{fetched:?}"
        );
    }
    assert_eq!(sink.ids().len(), 16);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_ends_a_fetch() {
    let (hold, stall) = mpsc::channel();
    let source: Arc<dyn BlobSource> = Arc::new(Stalling(Mutex::new(Some(stall))));
    let (asker, providers) = mesh(TCP, vec![source], IDLE).await;
    let providers = ids(&providers);
    let wanted = vec![Wanted::exactly(BlobId::of(&noise(1, 1000)), LEN)];
    let sink = Arc::new(MemBlobs::default());
    let work = asker.handle.fetch(&providers, wanted, sink);
    let (fetched, ()) = soon(async { tokio::join!(work, asker.handle.shutdown()) }).await;
    assert!(
        !matches!(&fetched, Ok(fetched) if fetched.missing.is_empty()),
        "{fetched:?}"
    );
    drop(hold);
}
