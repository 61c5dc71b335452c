//! A session: the proxy at one job's gate, from its start to its end.
//!
//! It owns the job's budget, its connections and what its log is told; all of them end with it.

use std::{
    collections::BTreeSet,
    fmt, io,
    net::TcpListener as StdListener,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::{
    fetch::{Files, Offered, Source},
    limits::{CONNECTIONS_MAX, NOTES_MAX, Times},
    policy::Policy,
    proxy::{
        self, Way,
        answer::Fault,
        dial::{Resolve, SystemResolver},
        relay::Budget,
        upstream::Upstream,
    },
};

/// Pause after the host could not give a connection.
const TROUBLE: Duration = Duration::from_millis(100);

/// What a job's log should say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// Something was refused, and why: one line.
    Refused(String),
    /// All bytes are spent, and everything was cut: one line. Said once.
    Spent(String),
}

/// Takes notes. Called from the session's tasks; must not block.
pub type Tell = Arc<dyn Fn(Note) + Send + Sync>;

/// What all sessions of a node share.
pub(crate) struct Inner {
    pub(crate) policy: Policy,
    pub(crate) upstream: Option<Upstream>,
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) times: Times,
    bytes: u64,
}

/// A node's way out for its jobs.
#[derive(Clone)]
pub struct Egress(Arc<Inner>);

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        write!(f, "Egress({} bytes, {:?})", inner.bytes, inner.upstream)
    }
}

impl Egress {
    /// Under this policy, with so many bytes for each job, through the host's own proxy if it has one.
    #[must_use]
    pub fn new(policy: Policy, bytes: u64, upstream: Option<Upstream>) -> Self {
        Self::with(
            policy,
            bytes,
            upstream,
            Arc::new(SystemResolver),
            Times::default(),
        )
    }

    /// The same with a resolver and patience of one's own.
    #[must_use]
    pub fn with(
        policy: Policy,
        bytes: u64,
        upstream: Option<Upstream>,
        resolver: Arc<dyn Resolve>,
        times: Times,
    ) -> Self {
        Self(Arc::new(Inner {
            policy,
            upstream,
            resolver,
            times,
            bytes,
        }))
    }

    /// A way out for one job: whatever the policy admits.
    #[must_use]
    pub fn host(&self, tell: Tell) -> Session {
        self.session(Kind::Host, tell)
    }

    /// The files that one job declared, and nothing else.
    #[must_use]
    pub fn fetch(&self, files: Vec<Offered>, source: Arc<dyn Source>, tell: Tell) -> Session {
        self.session(Kind::Fetch(Files::new(files, source)), tell)
    }

    fn session(&self, kind: Kind, tell: Tell) -> Session {
        Session(Arc::new(Shared {
            egress: Arc::clone(&self.0),
            kind,
            budget: Budget::new(self.0.bytes),
            told: Mutex::default(),
            tell,
        }))
    }
}

enum Kind {
    Host,
    Fetch(Files),
}

struct Shared {
    egress: Arc<Inner>,
    kind: Kind,
    budget: Budget,
    told: Mutex<BTreeSet<String>>,
    tell: Tell,
}

/// The proxy at one job's gate.
pub struct Session(Arc<Shared>);

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({} bytes used)", self.0.budget.used())
    }
}

impl Session {
    /// Serves `gate` until `stop`, then cuts whatever is still open. Gives the bytes that were moved.
    ///
    /// # Errors
    /// If the gate is not a socket that can be served.
    pub async fn serve(self, gate: OwnedFd, stop: CancellationToken) -> io::Result<u64> {
        let gate = StdListener::from(gate);
        gate.set_nonblocking(true)?;
        let port = gate.local_addr()?.port();
        let gate = TcpListener::from_std(gate)?;
        // Dropped with this future, and every connection with it.
        let mut open = JoinSet::new();
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            while open.try_join_next().is_some() {}
            let next = async {
                let permit = Arc::clone(&room).acquire_owned().await;
                (permit, gate.accept().await)
            };
            let (permit, client) = tokio::select! {
                () = stop.cancelled() => return Ok(self.0.budget.used()),
                (permit, accepted) = next => (permit, accepted),
            };
            match client {
                Ok((client, _)) => {
                    let shared = Arc::clone(&self.0);
                    open.spawn(async move {
                        shared.serve(client, port).await;
                        drop(permit);
                    });
                }
                // The host has no descriptor left; others will give some back.
                Err(_) => tokio::select! {
                    () = stop.cancelled() => return Ok(self.0.budget.used()),
                    () = sleep(TROUBLE) => {}
                },
            }
        }
    }
}

impl Shared {
    async fn serve(&self, mut client: TcpStream, port: u16) {
        let times = &self.egress.times;
        let was_spent = self.budget.is_spent();
        let way = Way {
            egress: &self.egress,
            budget: &self.budget,
        };
        let serve = async {
            match &self.kind {
                Kind::Fetch(files) => files.serve(&mut client, &way, port).await,
                Kind::Host => way.serve(&mut client).await,
            }
        };
        let served = tokio::select! {
            served = serve => served,
            () = self.budget.spent(), if !was_spent => Err(Fault::Cut),
        };
        if self.budget.is_spent() {
            self.tell_spent();
        }
        if let Err(fault) = served {
            if fault.is_told() {
                self.tell(&fault);
            }
            if matches!(fault, Fault::Cut | Fault::Gone) {
                return abort(&client);
            }
            proxy::say(&mut client, &fault, times.linger).await;
        }
        proxy::linger(client, times.linger).await;
    }

    fn tell(&self, fault: &Fault) {
        let said = if fault.is_ours() { "refused: " } else { "" };
        let line = format!("network: {said}{}", fault.line());
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < NOTES_MAX && told.insert(line.clone()) {
            (self.tell)(Note::Refused(line));
            if told.len() == NOTES_MAX {
                let line = "network: more was refused, and is not told".to_owned();
                (self.tell)(Note::Refused(line));
            }
        }
    }

    fn tell_spent(&self) {
        let line = format!("network: {}", Fault::Spent(self.budget.whole()).line());
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(line.clone()) {
            (self.tell)(Note::Spent(line));
        }
    }
}

/// Ends a connection in such a way that the other side knows that something is missing.
fn abort(client: &TcpStream) {
    // If it fails the connection is gone already.
    let _ = client.set_zero_linger();
}
