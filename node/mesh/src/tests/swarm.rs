//! Large blobs from several providers, and providers that lie.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use caravan_protocol::ids::{BlobId, NodeId};

use super::{
    bulk::{ids, noise, wanted},
    kit::{Kit, MemBlobs, Node, QUIC, TCP, soon},
};
use crate::{
    BlobSink as _, Event, Order, Wanted,
    rogue::bulk::{Liar, Lie},
};

const MIB: usize = 1024 * 1024;

/// Member 1, which wants, and others that it is connected with.
async fn mesh(
    transport: &'static str,
    others: Vec<(Arc<MemBlobs>, Option<Liar>)>,
) -> (Node, Vec<Node>) {
    let kit = Kit::new(transport);
    let idle = Duration::from_millis(1500);
    let mut asker = kit
        .start_with(1, |config| config.timing.bulk_idle = idle)
        .await;
    let mut providers = Vec::new();
    for (n, (source, liar)) in (2..).zip(others) {
        let start = kit.start_with(n, |config| {
            config.source = source;
            config.liar = liar;
        });
        let mut provider = start.await;
        let address = asker.address();
        provider.handle.dial(&address).expect("a good address");
        asker.up(provider.id).await;
        provider.up(asker.id).await;
        providers.push(provider);
    }
    (asker, providers)
}

async fn blamed(asker: &mut Node) -> (NodeId, String) {
    asker
        .until(|event| match event {
            Event::Misbehaved { node, reason } => Some((node, reason)),
            _ => None,
        })
        .await
}

/// What one liar alone comes to, and that an honest one makes up for it.
async fn a_lie(lie: Lie, sizes: &[usize], is_blamed: bool) {
    let blobs: Vec<Vec<u8>> = (1u64..)
        .zip(sizes)
        .map(|(seed, size)| noise(seed, *size))
        .collect();
    let good = MemBlobs::of(blobs.clone());
    let liar = Liar::new(lie, blobs);
    let empty = Arc::new(MemBlobs::default());
    let (mut asker, providers) = mesh(TCP, vec![(empty, Some(liar)), (good.clone(), None)]).await;
    let sink = Arc::new(MemBlobs::default());
    let all = ids(&providers);
    let alone = asker.handle.fetch(&all[..1], wanted(&good), sink.clone());
    let fetched = soon(alone).await.expect("the sink takes all");
    assert_eq!(fetched.blobs, 0, "{lie:?}: {fetched:?}");
    assert_eq!(fetched.missing.len(), sizes.len(), "{lie:?}: {fetched:?}");
    if lie != Lie::Bits {
        assert_eq!(fetched.failures.len(), 1, "{lie:?}: {fetched:?}");
    }
    if is_blamed {
        let (node, reason) = blamed(&mut asker).await;
        assert_eq!(node, providers[0].id, "{lie:?}: {reason}");
    }
    let both = asker.handle.fetch(&all, wanted(&good), sink.clone());
    let fetched = soon(both).await.expect("the sink takes all");
    assert_eq!(fetched.missing.len(), 0, "{lie:?}: {fetched:?}");
    let equal = *sink.0.lock().expect("not poisoned") == *good.0.lock().expect("not poisoned");
    assert!(equal, "{lie:?}: what came differs");
}

macro_rules! lies {
    ($($name:ident: $lie:ident, $sizes:expr, $blamed:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            a_lie(Lie::$lie, &$sizes, $blamed).await;
        }
    )*};
}

const LARGE: [usize; 1] = [3 * MIB + 5];
const SMALL: [usize; 3] = [1000, 70_000, 600_000];

lies! {
    wrong_byte_of_a_large_blob_is_refused_and_blamed: Group, LARGE, true;
    wrong_byte_of_small_blobs_is_refused_and_blamed: Group, SMALL, true;
    wrong_list_of_a_large_blob_is_refused_and_blamed: List, LARGE, true;
    wrong_list_of_a_small_blob_is_refused_and_blamed: List, [70_000], true;
    wrong_outline_of_a_large_blob_is_refused_and_blamed: Outline, LARGE, true;
    wrong_outline_of_a_small_blob_is_refused_and_blamed: Outline, [600_000], true;
    wrong_size_of_a_large_blob_is_refused_and_blamed: Size, LARGE, true;
    wrong_size_of_a_small_blob_is_refused_and_blamed: Size, [1000], true;
    who_stops_in_the_middle_of_a_large_blob_is_left: Short, LARGE, false;
    who_stops_in_the_middle_of_small_blobs_is_left: Short, SMALL, false;
    who_sends_a_byte_now_and_then_of_a_large_blob_is_left: Slow, LARGE, false;
    who_sends_a_byte_now_and_then_of_small_blobs_is_left: Slow, SMALL, false;
    who_gives_nothing_of_what_it_has_is_left: Nothing, LARGE, false;
    who_gives_nothing_of_what_it_fetches_is_left: Part, LARGE, false;
    who_answers_nothing_about_a_large_blob_is_left: Silent, LARGE, false;
    who_answers_nothing_about_small_blobs_is_left: Silent, SMALL, false;
    who_babbles_about_a_large_blob_is_left: Babble, LARGE, false;
    word_that_is_too_long_is_refused_and_blamed: Long, SMALL, true;
    what_is_no_word_is_refused_and_blamed: Garbage, LARGE, true;
    answer_that_nobody_asked_for_is_refused_and_blamed: Unasked, SMALL, true;
    bits_that_lie_outside_are_not_believed: Bits, LARGE, false;
}

/// What was good of a wrong answer is kept: only the rest is asked again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_wrong_group_is_asked_again() {
    let bytes = noise(1, 2 * MIB);
    let good = MemBlobs::of([bytes.clone()]);
    let liar = Liar::new(Lie::Group, [bytes.clone()]);
    let empty = Arc::new(MemBlobs::default());
    let (asker, providers) = mesh(TCP, vec![(empty, Some(liar)), (good.clone(), None)]).await;
    let sink = Arc::new(MemBlobs::default());
    let progress = Arc::new(AtomicU64::new(0));
    for providers in [&ids(&providers)[..1], &ids(&providers)[1..]] {
        let order = Order {
            providers: providers.to_vec(),
            wanted: wanted(&good),
            sink: sink.clone(),
            progress: Arc::clone(&progress),
        };
        soon(asker.handle.fetch_order(order))
            .await
            .expect("a good sink");
    }
    assert_eq!(sink.ids(), good.ids());
    // All once, and once more the good part of a piece that did not come whole.
    let lost = 15 * 16 * 1024;
    let moved = progress.load(Ordering::Relaxed);
    assert!(moved <= (2 * MIB + lost) as u64, "{moved}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_before_is_checked_and_not_fetched_again() {
    let bytes = noise(1, 4 * MIB + 17);
    let id = BlobId::of(&bytes);
    let good = MemBlobs::of([bytes.clone()]);
    let (asker, providers) = mesh(QUIC, vec![(good.clone(), None)]).await;
    let sink = Arc::new(MemBlobs::default());
    let place = sink.begin(id, bytes.len() as u64).expect("memory");
    // Half of it is here, and one byte of that is another.
    place.write_all_at(&bytes[..2 * MIB], 0).expect("memory");
    place
        .write_all_at(&[!bytes[MIB]], MIB as u64)
        .expect("memory");
    let progress = Arc::new(AtomicU64::new(0));
    let order = Order {
        providers: ids(&providers),
        wanted: wanted(&good),
        sink: sink.clone(),
        progress: Arc::clone(&progress),
    };
    soon(asker.handle.fetch_order(order))
        .await
        .expect("a good sink");
    assert_eq!(sink.ids(), [id]);
    let expected = 2 * MIB + 17 + 256 * 1024;
    assert_eq!(progress.load(Ordering::Relaxed), expected as u64);
}

/// Nodes that want the same give each other what they have: the source gives hardly more than one
/// copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_that_want_the_same_give_it_to_each_other() {
    let kit = Kit::new(TCP);
    let source = MemBlobs::of([noise(7, 16 * MIB)]);
    let seed = kit
        .start_with(1, |config| config.source = source.clone())
        .await;
    let mut nodes = Vec::new();
    for n in 2..=5 {
        let node = kit.start(n).await;
        node.handle.dial(&seed.address()).expect("a good address");
        nodes.push(node);
    }
    for node in &mut nodes {
        node.sees(5).await;
    }
    let all: Vec<NodeId> = std::iter::once(seed.id).chain(ids(&nodes)).collect();
    let sinks: Vec<Arc<MemBlobs>> = nodes.iter().map(|_| Arc::default()).collect();
    let fetches = nodes.iter().zip(&sinks).map(|(node, sink)| {
        let others: Vec<NodeId> = all.iter().copied().filter(|id| *id != node.id).collect();
        let (handle, wanted, sink) = (node.handle.clone(), wanted(&source), sink.clone());
        async move { handle.fetch(&others, wanted, sink).await }
    });
    for fetched in soon(futures::future::join_all(fetches)).await {
        let fetched = fetched.expect("a good sink");
        assert_eq!(
            (fetched.blobs, fetched.missing.len()),
            (1, 0),
            "{fetched:?}"
        );
    }
    for sink in &sinks {
        assert_eq!(sink.ids(), source.ids());
    }
    let given = seed.handle.counters().bulk_out_bytes as f64 / (16 * MIB) as f64;
    assert!(given < 2.0, "the source gave {given:.2} copies");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blob_of_unknown_size_comes_whole() {
    let source = MemBlobs::of([noise(3, 5 * MIB), noise(4, 10)]);
    let (asker, providers) = mesh(QUIC, vec![(source.clone(), None)]).await;
    let sink = Arc::new(MemBlobs::default());
    let wanted = source.ids().into_iter();
    let wanted = wanted
        .map(|id| Wanted::at_most(id, 8 * MIB as u64))
        .collect();
    let providers = ids(&providers);
    let work = asker.handle.fetch(&providers, wanted, sink.clone());
    let fetched = soon(work).await.expect("a good sink");
    assert_eq!(
        (fetched.blobs, fetched.missing.len()),
        (2, 0),
        "{fetched:?}"
    );
    assert_eq!(sink.ids(), source.ids());
}
