//! What a node keeps between its lives: its key, the mesh that it belongs to and the records of
//! membership. The key is a file that only its owner can read; the rest is in the store's index.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use caravan_protocol::{
    codec::{self, CodecError},
    identity::{Genesis, Key, NodeCert, Refused, Roster, Seat, Signed, Tier},
    limits,
    platform::Platform,
    time::Stamp,
    view::StoreView,
};
use caravan_store::{Store, StoreError};
use serde::{Serialize, de::DeserializeOwned};

mod ids;

const RECORD_BYTES_MAX: usize = 64 * 1024;

/// Why a node's directory is of no use.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// A file or directory could not be read or written.
    #[error("use {path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// The key file is not one.
    #[error(
        "read the node's key {path}: it is damaged; restore it from a backup, or remove it and join again"
    )]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// Others can read the key.
    #[error(
        "read the node's key {path}: others can read it; `chmod 600 {path}` and consider it stolen"
    )]
    KeyIsPublic {
        /// The file.
        path: PathBuf,
    },
    /// Its files are of no use to this user.
    #[error(
        "use {path}: it belongs to another user; run the node as that user, or give another directory with --data"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// Its files have ids that are others by now.
    #[error(
        "use {path}: its files were made with other subordinate ids ({then}) than those of now ({now}); give them back in /etc/subuid and /etc/subgid, or give another directory with --data"
    )]
    Ids {
        /// The directory.
        path: PathBuf,
        /// Those that its files have.
        then: String,
        /// Those that the user has.
        now: String,
    },
    /// The store says no.
    #[error("open the node's store")]
    Store(#[from] StoreError),
    /// A record is damaged.
    #[error("read the node's membership records")]
    Codec(#[from] CodecError),
    /// The node's own membership does not hold.
    #[error("check the node's own membership")]
    Refused(#[from] Refused),
    /// The directory belongs to a mesh already.
    #[error(
        "join from {path}: its node is a member of a mesh already; leave it, or give another directory with --data"
    )]
    Member {
        /// The directory.
        path: PathBuf,
    },
}

/// An opened node directory.
#[derive(Debug)]
pub struct Home {
    /// Where it is.
    pub data: PathBuf,
    /// Everything kept.
    pub store: Store,
    /// Who this node is.
    pub key: Key,
}

/// A node's place in its mesh.
#[derive(Debug, Clone)]
pub struct Membership {
    /// All members known, and the one check of new ones.
    pub roster: Arc<Roster>,
    /// This node's own certificate.
    pub cert: Signed<NodeCert>,
    /// The certificates that others were admitted by.
    pub certs: Vec<Signed<NodeCert>>,
    /// Who holds which role.
    pub seats: Vec<Seat>,
}

impl Home {
    /// Opens the directory, making it and a key where there is none yet.
    pub fn open(data: &Path) -> Result<Self, HomeError> {
        let io_error = |path: &Path| {
            let path = path.to_owned();
            move |source| HomeError::Io { path, source }
        };
        if !data.exists() {
            let mut builder = fs::DirBuilder::new();
            builder
                .recursive(true)
                .mode(0o755)
                .create(data)
                .map_err(io_error(data))?;
        }
        ids::check(data)?;
        let store = Store::open(&data.join("store"))?;
        let key = open_key(&data.join("identity"))?;
        Ok(Self {
            data: data.to_owned(),
            store,
            key,
        })
    }

    /// The node's membership; founds a mesh of one where it has none.
    pub fn membership(&self, operator: &str, now: Stamp) -> Result<Membership, HomeError> {
        let genesis = match self.load::<Genesis>("genesis", "mesh")? {
            Some(genesis) => genesis,
            None => self.found(now)?,
        };
        let mut roster = Roster::new(genesis.clone())?;
        let own = self.key.node();
        if genesis.founder == own {
            self.renew(&roster, operator, now)?;
        }
        // First, so that a revoked node's certificate is not taken, kept or handed on again.
        for (name, _) in self.store.records("revoked")? {
            if let Ok(node) = name.parse() {
                roster.revoke(node, now);
            }
        }
        let mut certs = Vec::new();
        let mut cert = None;
        for (_, bytes) in self.store.records("cert")? {
            let signed: Signed<NodeCert> = codec::decode::<RECORD_BYTES_MAX, _>(&bytes)?;
            match roster.admit(&signed, now) {
                Ok(admitted) if admitted.node == own => cert = Some(signed),
                Ok(_) => certs.push(signed),
                Err(refused) => {
                    tracing::debug!(%refused, "a kept certificate is no longer good");
                    // What its node said before still counts.
                    let _ = roster.recall(&signed);
                }
            }
        }
        let expired = || Refused::Expired {
            node: own,
            reason: "its certificate has expired; join again",
        };
        let cert = cert.ok_or_else(expired)?;
        let mut seats = Vec::new();
        for (_, bytes) in self.store.records("seat")? {
            let signed: Signed<Seat> = codec::decode::<RECORD_BYTES_MAX, _>(&bytes)?;
            if signed.signer() == genesis.founder {
                seats.push(signed.open(roster.mesh())?);
            }
        }
        Ok(Membership {
            roster: Arc::new(roster),
            cert,
            certs,
            seats,
        })
    }

    /// How much the store holds.
    pub fn stat(&self) -> Result<StoreView, HomeError> {
        let stat = self.store.stat()?;
        Ok(StoreView {
            blobs: stat.blobs,
            bytes: stat.bytes,
            layers: stat.layers,
            claims: stat.claims,
        })
    }

    /// Whether the node is a member of a mesh, be it a mesh of one.
    pub fn is_member(&self) -> Result<bool, HomeError> {
        Ok(self.load::<Genesis>("genesis", "mesh")?.is_some())
    }

    /// Becomes a member of another mesh: what an invite was answered with.
    pub fn join(
        &self,
        genesis: &Genesis,
        certs: &[Signed<NodeCert>],
        now: Stamp,
    ) -> Result<(), HomeError> {
        if self.load::<Genesis>("genesis", "mesh")?.is_some() {
            return Err(HomeError::Member {
                path: self.data.clone(),
            });
        }
        let mut roster = Roster::new(genesis.clone())?;
        for cert in certs {
            match roster.admit(cert, now) {
                Ok(admitted) => self.keep_cert(&admitted, cert)?,
                // Another member that is gone is no reason not to join.
                Err(refused) => {
                    tracing::debug!(%refused, "an answer held a certificate that is not good")
                }
            }
        }
        if roster.member(self.key.node(), now).is_none() {
            let node = self.key.node();
            return Err(Refused::Expired {
                node,
                reason: "the answer held no certificate for it",
            }
            .into());
        }
        self.save("genesis", "mesh", genesis)
    }

    /// Keeps a member's certificate.
    pub fn keep_cert(&self, cert: &NodeCert, signed: &Signed<NodeCert>) -> Result<(), HomeError> {
        self.save("cert", &cert.node.to_string(), signed)
    }

    /// Reads a record.
    pub fn load<T: DeserializeOwned>(
        &self,
        kind: &str,
        name: &str,
    ) -> Result<Option<T>, HomeError> {
        match self.store.record(kind, name)? {
            Some(bytes) => Ok(Some(codec::decode::<RECORD_BYTES_MAX, T>(&bytes)?)),
            None => Ok(None),
        }
    }

    /// Writes a record.
    pub fn save(&self, kind: &str, name: &str, value: &impl Serialize) -> Result<(), HomeError> {
        Ok(self
            .store
            .put_record(kind, name, &codec::encode::<RECORD_BYTES_MAX>(value)?)?)
    }

    fn found(&self, now: Stamp) -> Result<Genesis, HomeError> {
        let genesis = Genesis {
            founder: self.key.node(),
            created: now,
            nonce: random()?,
        };
        let mesh = genesis.mesh()?;
        let seat = Seat {
            mesh,
            role: "ci".to_owned(),
            holder: self.key.node(),
            epoch: 1,
            since: now,
        };
        self.save("seat", &seat.role, &Signed::sign(&self.key, &seat)?)?;
        self.save("genesis", "mesh", &genesis)?;
        tracing::info!(mesh = %mesh.fmt_short(), "founded a mesh of one");
        Ok(genesis)
    }

    /// The founding node certifies itself: at each start, and again before a certificate ends.
    pub fn renew(
        &self,
        roster: &Roster,
        operator: &str,
        now: Stamp,
    ) -> Result<Signed<NodeCert>, HomeError> {
        let cert = NodeCert {
            mesh: roster.mesh(),
            node: self.key.node(),
            operator: operator.to_owned(),
            tier: Tier::Council,
            platforms: vec![Platform::here()],
            // Neighbours' clocks may be a little behind.
            not_before: Stamp::from_ms(now.as_ms().saturating_sub(120_000)),
            expires: now.after(Duration::from_millis(limits::CERT_LIFE_MS - 120_000)),
        };
        let signed = Signed::sign(&self.key, &cert)?;
        self.keep_cert(&cert, &signed)?;
        Ok(signed)
    }
}

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], HomeError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| HomeError::Io {
        path: "the system's random source".into(),
        source: error.into(),
    })?;
    Ok(bytes)
}

fn open_key(path: &Path) -> Result<Key, HomeError> {
    let io_error = |source| HomeError::Io {
        path: path.to_owned(),
        source,
    };
    match File::open(path) {
        Ok(mut file) => {
            let mode = file.metadata().map_err(io_error)?.permissions().mode();
            if mode & 0o077 != 0 {
                return Err(HomeError::KeyIsPublic {
                    path: path.to_owned(),
                });
            }
            let mut secret = [0; 32];
            let bad = |_| HomeError::Key {
                path: path.to_owned(),
            };
            file.read_exact(&mut secret).map_err(bad)?;
            Ok(Key::from_secret(&secret))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret = random()?;
            let partial = path.with_extension("partial");
            let _ = fs::remove_file(&partial);
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&partial)
                .map_err(io_error)?;
            file.write_all(&secret)
                .and_then(|()| file.sync_all())
                .map_err(io_error)?;
            fs::rename(&partial, path).map_err(io_error)?;
            Ok(Key::from_secret(&secret))
        }
        Err(error) => Err(io_error(error)),
    }
}

#[cfg(test)]
mod tests;
