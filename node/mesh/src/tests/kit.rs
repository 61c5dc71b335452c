//! A mesh to test in: its founder, its members, blobs in memory.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use caravan_protocol::{
    identity::{Genesis, Key, NodeCert, Roster, Signed, Tier},
    ids::{BlobId, NodeId},
    member::{Revocation, Status, Tuning},
    platform::Platform,
    time::Stamp,
};
use tokio::sync::mpsc;

use crate::{
    BlobSink, BlobSource, Config, Event, Handle, Mesh, Place, ReadAt, Timing, actor::stamp,
};

/// Upper bound of every wait; a loaded machine is slow.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const TCP: &str = "/ip4/127.0.0.1/tcp/0";
pub(super) const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

/// Awaits something that has to happen.
pub(super) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("it has to happen")
}

pub(crate) struct Kit {
    pub(super) founder: Key,
    pub(super) genesis: Genesis,
    pub(super) transport: &'static str,
}

impl Kit {
    pub(crate) fn new(transport: &'static str) -> Self {
        let founder = key(1);
        let genesis = Genesis {
            founder: founder.node(),
            created: Stamp::from_ms(0),
            nonce: [9; 32],
        };
        Self {
            founder,
            genesis,
            transport,
        }
    }

    pub(crate) fn roster(&self) -> Roster {
        Roster::new(self.genesis.clone()).expect("a good genesis")
    }

    /// A certificate that is good from a minute ago to an hour from now.
    pub(crate) fn cert(&self, node: NodeId) -> Signed<NodeCert> {
        let now = stamp().as_ms();
        self.cert_between(&self.founder, node, now - 60_000, now + 3_600_000)
    }

    pub(super) fn cert_between(
        &self,
        signer: &Key,
        node: NodeId,
        from_ms: u64,
        to_ms: u64,
    ) -> Signed<NodeCert> {
        self.cert_of("tester", signer, node, from_ms..to_ms)
    }

    /// A certificate of a node of some operator, good in a time.
    pub(super) fn cert_of(
        &self,
        operator: &str,
        signer: &Key,
        node: NodeId,
        time_ms: std::ops::Range<u64>,
    ) -> Signed<NodeCert> {
        let cert = NodeCert {
            mesh: self.roster().mesh(),
            node,
            operator: operator.to_owned(),
            tier: Tier::Donor,
            platforms: vec![Platform::here()],
            not_before: Stamp::from_ms(time_ms.start),
            expires: Stamp::from_ms(time_ms.end),
        };
        Signed::sign(signer, &cert).expect("a small record")
    }

    /// The council's word that a node is out.
    pub(super) fn revocation(&self, node: NodeId) -> Signed<Revocation> {
        let revocation = Revocation {
            mesh: self.roster().mesh(),
            node,
            at: stamp(),
        };
        Signed::sign(&self.founder, &revocation).expect("a small record")
    }

    /// Members 1 to `count` that all see each other alive, and watch each other quickly.
    pub(super) async fn crowd(&self, count: u8) -> Vec<Node> {
        let mut nodes = vec![self.start_with(1, |config| quick(&mut config.timing)).await];
        let first = nodes[0].address();
        for n in 2..=count {
            let seed = first.clone();
            let node = self.start_with(n, |config| {
                quick(&mut config.timing);
                config.seeds = vec![seed];
            });
            nodes.push(node.await);
        }
        for node in &mut nodes {
            node.sees(usize::from(count)).await;
        }
        nodes
    }

    pub(crate) fn config(&self, key: &Key) -> Config {
        let source = Arc::new(MemBlobs::default());
        let mut config = Config::new(key, self.cert(key.node()), self.roster(), source);
        config.listen = vec![self.transport.to_owned()];
        config
    }

    pub(super) async fn start(&self, n: u8) -> Node {
        self.start_with(n, |_| {}).await
    }

    pub(super) async fn start_with(&self, n: u8, adjust: impl FnOnce(&mut Config)) -> Node {
        let key = key(n);
        let mut config = self.config(&key);
        adjust(&mut config);
        let (handle, events) = Mesh::start(config).await.expect("the mesh starts");
        Node {
            id: key.node(),
            handle,
            events,
        }
    }

    /// Two members that have met.
    pub(super) async fn pair(&self) -> (Node, Node) {
        let mut a = self.start(1).await;
        let mut b = self.start(2).await;
        b.handle.dial(&a.address()).expect("a good address");
        a.up(b.id).await;
        b.up(a.id).await;
        (a, b)
    }
}

/// Ten times as fast as in earnest.
pub(super) fn quick(timing: &mut Timing) {
    timing.tuning = Tuning {
        period: Duration::from_millis(300),
        timeout: Duration::from_millis(500),
        patience: Duration::from_millis(500),
        batch: Duration::from_millis(50),
        compare: Duration::from_secs(2),
        ..Tuning::default()
    };
}

pub(crate) fn key(n: u8) -> Key {
    Key::from_secret(&[n; 32])
}

pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) handle: Handle,
    pub(super) events: mpsc::Receiver<Event>,
}

impl Node {
    pub(super) fn address(&self) -> String {
        self.handle.listen_addresses()[0].clone()
    }

    /// The first event that `pick` makes something of; those before it are passed over.
    pub(super) async fn until<T>(&mut self, mut pick: impl FnMut(Event) -> Option<T>) -> T {
        soon(async {
            loop {
                let event = self.events.recv().await.expect("the mesh runs");
                if let Some(picked) = pick(event) {
                    return picked;
                }
            }
        })
        .await
    }

    /// Waits until just so many members are alive in this node's view, itself included.
    pub(super) async fn sees(&mut self, live: usize) {
        soon(async {
            while self.handle.members().live().count() != live {
                self.handle.members_changed().await.expect("the mesh runs");
            }
        })
        .await;
    }

    /// Waits until a member stands like this in this node's view.
    pub(super) async fn sees_as(&mut self, node: NodeId, status: Status) {
        soon(async {
            while self.handle.member(node).map(|member| member.status) != Some(status) {
                self.handle.members_changed().await.expect("the mesh runs");
            }
        })
        .await;
    }

    /// Waits until there is a connection with a member.
    pub(super) async fn meets(&mut self, node: NodeId) {
        soon(async {
            while !self
                .handle
                .member(node)
                .is_some_and(|member| member.connected)
            {
                self.handle.members_changed().await.expect("the mesh runs");
            }
        })
        .await;
    }

    pub(super) async fn up(&mut self, other: NodeId) -> NodeCert {
        self.until(|event| match event {
            Event::Up { node, cert } if node == other => Some(cert),
            _ => None,
        })
        .await
    }

    pub(super) async fn down(&mut self, other: NodeId) {
        self.until(|event| matches!(event, Event::Down { node } if node == other).then_some(()))
            .await;
    }

    pub(super) async fn message(&mut self) -> (NodeId, Vec<u8>) {
        self.until(|event| match event {
            Event::Message { from, bytes } => Some((from, bytes)),
            _ => None,
        })
        .await
    }
}

type Blobs = Arc<Mutex<BTreeMap<BlobId, Vec<u8>>>>;
/// Blobs of which parts have come: the bytes, and where they were written.
type Begun = Arc<Mutex<BTreeMap<BlobId, (Vec<u8>, Vec<Range<u64>>)>>>;

/// Blobs in memory; as a sink it checks ids as the store does.
#[derive(Default)]
pub(super) struct MemBlobs(pub(super) Blobs, pub(super) Begun);

/// A large blob that grows in memory.
struct MemPlace {
    id: BlobId,
    blobs: Blobs,
    begun: Begun,
}

impl ReadAt for MemPlace {
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        if let Some((begun, _)) = self.begun.lock().expect("not poisoned").get(&self.id) {
            return begun.read_exact_at(bytes, at);
        }
        let blobs = self.blobs.lock().expect("not poisoned");
        blobs[&self.id].read_exact_at(bytes, at)
    }
}

impl Place for MemPlace {
    fn held(&self) -> io::Result<Vec<Range<u64>>> {
        let begun = self.begun.lock().expect("not poisoned");
        Ok(begun[&self.id].1.clone())
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut begun = self.begun.lock().expect("not poisoned");
        let (all, written) = begun.get_mut(&self.id).expect("it was begun");
        let range = at as usize..at as usize + bytes.len();
        all[range].copy_from_slice(bytes);
        written.push(at..at + bytes.len() as u64);
        Ok(())
    }

    fn finish(&self) -> io::Result<()> {
        let (bytes, _) = self.begun.lock().expect("not poisoned")[&self.id].clone();
        if BlobId::of(&bytes) != self.id {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.blobs
            .lock()
            .expect("not poisoned")
            .insert(self.id, bytes);
        self.begun.lock().expect("not poisoned").remove(&self.id);
        Ok(())
    }
}

impl MemBlobs {
    pub(super) fn of(blobs: impl IntoIterator<Item = Vec<u8>>) -> Arc<Self> {
        let blobs = blobs.into_iter().map(|bytes| (BlobId::of(&bytes), bytes));
        let blobs = Arc::new(Mutex::new(blobs.collect()));
        Arc::new(Self(blobs, Begun::default()))
    }

    pub(super) fn ids(&self) -> Vec<BlobId> {
        let blobs = self.0.lock().expect("not poisoned");
        blobs.keys().copied().collect()
    }
}

impl BlobSource for MemBlobs {
    fn open(&self, id: BlobId) -> io::Result<Option<(u64, Box<dyn ReadAt>)>> {
        let blobs = self.0.lock().expect("not poisoned");
        Ok(blobs.get(&id).map(|bytes| {
            let reader: Box<dyn ReadAt> = Box::new(bytes.clone());
            (bytes.len() as u64, reader)
        }))
    }
}

impl BlobSink for MemBlobs {
    fn accept(&self, id: BlobId, size: u64, reader: &mut dyn Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        if bytes.len() as u64 != size || BlobId::of(&bytes) != id {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the bytes are not the blob's",
            ));
        }
        self.0.lock().expect("not poisoned").insert(id, bytes);
        Ok(())
    }

    fn begin(&self, id: BlobId, size: u64) -> io::Result<Arc<dyn Place>> {
        let mut begun = self.1.lock().expect("not poisoned");
        let empty = || (vec![0; size as usize], Vec::new());
        begun.entry(id).or_insert_with(empty);
        Ok(Arc::new(MemPlace {
            id,
            blobs: Arc::clone(&self.0),
            begun: Arc::clone(&self.1),
        }))
    }
}
