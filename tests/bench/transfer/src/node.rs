//! Members of one mesh, each with a runtime of its own.

use std::{
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use caravan_mesh::{
    Config, Event, FetchError, Fetched, Handle, Mesh, Wanted,
    rogue::bulk::{Liar, Lie},
};
use caravan_protocol::{
    identity::{Genesis, Key, NodeCert, Roster, Signed, Tier},
    ids::NodeId,
    platform::Platform,
    time::Stamp,
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
};

use crate::{
    Failure,
    lan::{self, Lan},
    stock::Stock,
};

const MEET_MAX: Duration = Duration::from_secs(60);

pub(crate) struct Kit {
    founder: Key,
    genesis: Genesis,
}

pub(crate) struct Member {
    pub(crate) id: NodeId,
    pub(crate) handle: Handle,
    pub(crate) address: String,
    stock: Arc<Stock>,
    runtime: Arc<Runtime>,
}

impl Kit {
    pub(crate) fn new() -> Self {
        let founder = Key::from_secret(&[1; 32]);
        let genesis = Genesis {
            founder: founder.node(),
            created: Stamp::from_ms(0),
            nonce: [9; 32],
        };
        Self { founder, genesis }
    }

    fn config(&self, at: usize, stock: &Arc<Stock>) -> Result<(Key, Config), Failure> {
        let mut secret = [3; 32];
        secret[..8].copy_from_slice(&(at as u64 + 1).to_le_bytes());
        let key = Key::from_secret(&secret);
        let roster = Roster::new(self.genesis.clone())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let now = u64::try_from(now)?;
        let cert = NodeCert {
            mesh: roster.mesh(),
            node: key.node(),
            operator: format!("operator-{at}"),
            tier: Tier::Donor,
            platforms: vec![Platform::here()],
            not_before: Stamp::from_ms(now - 60_000),
            expires: Stamp::from_ms(now + 3_600_000),
        };
        let cert = Signed::sign(&self.founder, &cert)?;
        let config = Config::new(&key, cert, roster, Arc::clone(stock) as _);
        Ok((key, config))
    }

    /// Starts a member, on a host if there are any, that knows one other; perhaps it lies.
    pub(crate) fn start(
        &self,
        lan: Option<&Lan>,
        at: usize,
        stock: Arc<Stock>,
        seed: Option<String>,
        lie: Option<(Lie, Vec<u8>)>,
    ) -> Result<Member, Failure> {
        let (key, mut config) = self.config(at, &stock)?;
        let ip = lan.map_or_else(|| "127.0.0.1".to_owned(), |_| lan::address(at));
        config.listen = vec![format!("/ip4/{ip}/udp/0/quic-v1")];
        config.seeds = seed.into_iter().collect();
        config.liar = lie.map(|(lie, bytes)| Liar::new(lie, [bytes]));
        let started = std::thread::scope(|scope| {
            let starting = scope.spawn(|| -> Result<_, Failure> {
                if let Some(lan) = lan {
                    lan.enter(at)?;
                }
                let runtime = Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build()?;
                let (handle, events) = runtime.block_on(Mesh::start(config))?;
                runtime.spawn(listen(events));
                Ok((handle, Arc::new(runtime)))
            });
            starting.join().map_err(|_| "a node did not start")
        });
        let (handle, runtime) = started??;
        let address = handle.listen_addresses().first().cloned();
        Ok(Member {
            id: key.node(),
            address: address.ok_or("a node listens nowhere")?,
            handle,
            stock,
            runtime,
        })
    }
}

async fn listen(mut events: mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        if let Event::Misbehaved { node, reason } = event {
            eprintln!("{} is blamed: {reason}", node.fmt_short());
        }
    }
}

impl Member {
    /// Waits until it is connected with all others.
    pub(crate) fn meets(&self, nodes: usize) -> Result<(), Failure> {
        let began = Instant::now();
        while self.handle.connected().len() + 1 < nodes {
            if began.elapsed() > MEET_MAX {
                let met = self.handle.connected().len() + 1;
                return Err(format!("only {met} of {nodes} nodes have met").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Begins to fetch.
    pub(crate) fn fetch(
        &self,
        providers: Vec<NodeId>,
        wanted: Vec<Wanted>,
    ) -> JoinHandle<Result<Fetched, FetchError>> {
        let (handle, runtime) = (self.handle.clone(), Arc::clone(&self.runtime));
        let sink = Arc::clone(&self.stock);
        std::thread::spawn(move || runtime.block_on(handle.fetch(&providers, wanted, sink)))
    }
}
