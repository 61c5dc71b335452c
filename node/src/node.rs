//! Starting and stopping a node: the parts are made here, in order, and taken down in the other.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use caravan_effects::{base::Recipes, fetch::Fetcher};
use caravan_egress::{Egress, Policy, PolicyError, policy::apt};
use caravan_mesh::{Contact, Mesh, MeshError};
use caravan_protocol::{
    facts::Facts,
    identity::Roster,
    ids::BlobId,
    member::Mode,
    policy::Factory,
    view::{Counters, Snapshot, StoreView},
};
use caravan_sandbox::{JobName, Launcher, Sandbox};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};

use crate::{
    build::Builder,
    clock,
    config::Config,
    control::server::Server,
    driver::{Driver, Handle, INBOX_MAX, Inbox, Shared, StoreSource, following::INCARNATION},
    facts, gateway,
    home::{self, Home, HomeError, Membership},
    promise::{self, PromiseError},
    task::Tasks,
};

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Its directory is of no use.
    #[error("start a node in {data}")]
    Home {
        /// The directory.
        data: PathBuf,
        /// Why.
        #[source]
        source: HomeError,
    },
    /// The host cannot run sandboxes, or not as well as the node is to promise.
    #[error("start a node")]
    Promise(#[from] PromiseError),
    /// The rules for the network of steps are none.
    #[error("start a node's proxy for steps")]
    Egress(#[from] PolicyError),
    /// The mesh could not be entered.
    #[error("start a node's part in the mesh")]
    Mesh(#[from] MeshError),
    /// An address is taken.
    #[error("serve pages on {address}: {source}; give another with --http ADDRESS, or --http none")]
    Http {
        /// The address.
        address: std::net::SocketAddr,
        /// The system's words.
        source: io::Error,
    },
    /// The control socket or the recipes could not be made.
    #[error("use {path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
}

/// A running node.
pub struct Node {
    handle: Handle,
    tasks: Tasks,
    http: Option<std::net::SocketAddr>,
}

impl Node {
    /// Starts a node. `launcher` was made before any thread of this process.
    pub async fn start(
        config: Config,
        launcher: Launcher,
        factories: Vec<Arc<dyn Factory>>,
    ) -> Result<Self, NodeError> {
        let io_error = |path: PathBuf| move |source| NodeError::Io { path, source };
        let chosen = promise::choose(&config, launcher)?;
        let home_error = |source| NodeError::Home {
            data: config.data.clone(),
            source,
        };
        let home = Home::open(&config.data).map_err(home_error)?;
        let membership = home
            .membership(&config.operator, config.cert_life, clock::stamp())
            .map_err(home_error)?;

        let tag = tag(&config);
        // The store's lock is ours now, so whatever else carries our tag was left by a dead node.
        let ready = chosen.try_out(&tag, &config.data)?;
        let recipes = recipes(&config)?;
        raise_descriptors(&config);
        let listener = listen(&config).await?;
        let egress = egress(&config, listener.as_ref())?;
        let tasks = Tasks::new();
        let builder = builder(&config, &home, &recipes, ready.sandbox, &tag)
            .with_egress(egress)
            .with_tasks(tasks.clone());
        let facts = facts::probe(&config, &ready.view, &ready.emulated, clock::stamp());
        let (mesh, mesh_events) = enter_mesh(&config, &home, &membership, &facts).await?;
        let server = Server::bind(&config.socket()).map_err(io_error(config.socket()))?;
        let seed = u64::from_le_bytes(home::random().map_err(home_error)?);

        let (notices, heard) = mpsc::channel(INBOX_MAX);
        let (asks, asked) = mpsc::channel(64);
        let shared = Arc::new(Shared {
            config,
            home,
            builder,
            mesh,
            factories,
            recipes,
            tasks: tasks.clone(),
            notices,
            importing: tokio::sync::Mutex::default(),
            repositories: crate::driver::RepositoryCache::default(),
            keeping: crate::driver::Keeping::default(),
            pace: crate::driver::Pace::default(),
            opened: crate::driver::Opened::default(),
            gathered: crate::driver::Gathered::new(membership.roster.mesh()),
            sandbox: ready.view,
            facts,
            unusable: ready.unusable,
        });
        let (snapshots, published) = watch::channel(Arc::new(empty(&shared, &membership)));
        let driver = Driver::new(Arc::clone(&shared), membership, seed, snapshots);
        let inbox = Inbox {
            asks: asked,
            notices: heard,
            mesh: mesh_events,
        };
        tasks.spawn_to_end("driver", driver.drive(inbox));
        let handle = Handle {
            asks,
            snapshots: published,
            shared,
        };
        tasks.spawn("control", server.serve(handle.clone(), tasks.clone()));
        let http = listener.as_ref().and_then(|on| on.local_addr().ok());
        if let Some(listener) = listener {
            gateway::serve(listener, &handle, &tasks);
        }
        Ok(Self {
            handle,
            tasks,
            http,
        })
    }

    /// The node, to ask things of.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Where the pages are served.
    #[must_use]
    pub const fn http(&self) -> Option<std::net::SocketAddr> {
        self.http
    }

    /// Resolves when the node is asked to stop.
    pub async fn stopping(&self) {
        self.tasks.stopping().cancelled().await;
    }

    /// Stops everything and waits until nothing is left running.
    pub async fn shutdown(self) {
        self.tasks.shutdown().await;
        if let Some(mesh) = &self.handle.shared.mesh {
            mesh.shutdown().await;
        }
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({:?})", self.handle)
    }
}

fn recipes(config: &Config) -> Result<Recipes, NodeError> {
    let path = config.data.join("recipes");
    Recipes::install(&path).map_err(|source| NodeError::Io { path, source })
}

fn builder(
    config: &Config,
    home: &Home,
    recipes: &Recipes,
    sandbox: Arc<dyn Sandbox>,
    tag: &JobName,
) -> Builder {
    let mirrors = config.archive_mirrors.clone();
    let fetcher = Fetcher::new(recipes.clone(), config.data.join("fetch"), mirrors);
    let tag = tag.as_str().to_owned();
    Builder::new(home.store.clone(), sandbox, fetcher, tag).with_cpu(config.cpu_millis)
}

/// Room for the connections of all steps beside the node's own files. The usual soft limit of 1024 is
/// there for programs that cannot count further.
fn raise_descriptors(config: &Config) {
    const OWN: u64 = 1024;
    let wanted = OWN + u64::from(config.slots) * caravan_egress::DESCRIPTORS_MAX;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    limit.current = Some(limit.maximum.map_or(wanted, |most| most.min(wanted)));
    let is_enough = setrlimit(Resource::Nofile, limit).is_ok() && limit.current >= Some(wanted);
    if !is_enough {
        tracing::warn!(
            wanted,
            "this node may open fewer files than its steps could take: raise LimitNOFILE"
        );
    }
}

/// What steps may reach of the network: never the node's own ports.
fn egress(config: &Config, http: Option<&TcpListener>) -> Result<Egress, PolicyError> {
    let http = http.and_then(|http| http.local_addr().ok());
    // As in `/ip4/0.0.0.0/udp/4100/quic-v1`.
    let parts = config.listen.iter().flat_map(|address| address.split('/'));
    let ports = parts.filter_map(|part| part.parse().ok());
    let own = ports.chain(http.map(|http| http.port()));
    let packages = apt::hosts(Path::new(apt::DIR));
    let policy = Policy::new(&config.egress, packages, own)?;
    let upstream = config.upstream.clone();
    Ok(Egress::new(policy, config.egress.bytes, upstream))
}

/// The pages' socket: bound first, so that a taken port is told before anything runs.
async fn listen(config: &Config) -> Result<Option<TcpListener>, NodeError> {
    let Some(address) = config.http else {
        return Ok(None);
    };
    let bound = TcpListener::bind(address).await;
    bound
        .map(Some)
        .map_err(|source| NodeError::Http { address, source })
}

/// Marks what belongs to the node of this directory: short, and the same at each start.
pub(crate) fn tag(config: &Config) -> JobName {
    let data = config
        .data
        .canonicalize()
        .unwrap_or_else(|_| config.data.clone());
    let short = BlobId::of(data.as_os_str().as_encoded_bytes()).fmt_short();
    format!("n{short}")
        .parse()
        .expect("a letter and hexadecimal digits make a job name")
}

type Entered = (
    Option<caravan_mesh::Handle>,
    mpsc::Receiver<caravan_mesh::Event>,
);

async fn enter_mesh(
    config: &Config,
    home: &Home,
    membership: &Membership,
    facts: &Facts,
) -> Result<Entered, NodeError> {
    if config.listen.is_empty() && config.peers.is_empty() {
        return Ok((None, mpsc::channel(1).1));
    }
    let source = Arc::new(StoreSource(home.store.clone()));
    let (cert, roster) = (membership.cert.clone(), Roster::clone(&membership.roster));
    let mut mesh = caravan_mesh::Config::new(&home.key, cert, roster, source);
    mesh.listen.clone_from(&config.listen);
    mesh.seeds.clone_from(&config.peers);
    mesh.mdns = config.mdns;
    let platforms = facts.platforms.iter();
    mesh.platforms = platforms.map(|offered| offered.platform.clone()).collect();
    mesh.facts = facts.clone();
    // Until the driver has looked at what is in the way.
    mesh.mode = Mode::Paused;
    mesh.incarnation = incarnation(home)?;
    mesh.revocations.clone_from(&membership.revocations);
    for (node, cert) in &membership.certs {
        let addresses = home.load("addresses", &node.to_string()).ok().flatten();
        mesh.contacts.push(Contact {
            cert: cert.clone(),
            addresses: addresses.unwrap_or_default(),
        });
    }
    let (handle, events) = Mesh::start(mesh).await?;
    Ok((Some(handle), events))
}

/// How often this node spoke for itself in all its lives: never less than what others heard.
fn incarnation(home: &Home) -> Result<u32, NodeError> {
    let (kind, name) = INCARNATION;
    let kept = home.load::<u32>(kind, name);
    let kept = kept.map_err(|source| NodeError::Home {
        data: home.data.clone(),
        source,
    })?;
    Ok(kept.unwrap_or_default())
}

/// What readers see until the driver has published for the first time.
pub(crate) fn empty(shared: &Shared, membership: &Membership) -> Snapshot {
    Snapshot {
        mesh: membership.roster.mesh(),
        node: shared.home.key.node(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started: clock::stamp(),
        nodes: Vec::new(),
        seats: Vec::new(),
        roles: Vec::new(),
        bases: Vec::new(),
        runs: Vec::new(),
        store: StoreView::default(),
        counters: Counters::default(),
        running: 0,
        slots: shared.config.slots,
        sandbox: shared.sandbox.clone(),
        standing: None,
        notices: Vec::new(),
    }
}
