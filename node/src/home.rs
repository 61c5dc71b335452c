//! What a node keeps between its lives: its key, the mesh that it belongs to and the records of
//! membership. The key is a file that only its owner can read; the rest is in the store's index.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use caravan_protocol::{
    codec,
    identity::{
        Genesis, Key, NodeCert, Refused, Roster, Seat, Signed, Tier, revocation::Revocation,
    },
    ids::{MeshId, NodeId},
    platform::Platform,
    time::Stamp,
    view::StoreView,
};
use caravan_store::{Edit, Store};
use serde::{Serialize, de::DeserializeOwned};

use crate::renewal;

mod error;
mod ids;
mod machine;

pub use error::HomeError;

const RECORD_BYTES_MAX: usize = 64 * 1024;
/// Kinds of records that are about a membership and go with it.
const MEMBERSHIP: [&str; 10] = [
    "genesis",
    "cert",
    "seat",
    "revoked",
    "revocation",
    "cordon",
    "addresses",
    "invite",
    "used",
    "mode",
];

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
    /// The certificates that others were admitted by: never of more nodes than the roster has.
    pub certs: BTreeMap<NodeId, Signed<NodeCert>>,
    /// The council's words about those who are out.
    pub revocations: Vec<Signed<Revocation>>,
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
        machine::check(data)?;
        let store = Store::open(&data.join("store"))?;
        let key = open_key(&data.join("identity"))?;
        Ok(Self {
            data: data.to_owned(),
            store,
            key,
        })
    }

    /// The node's membership; founds a mesh of one where it has none.
    /// `life` is that of certificates that it signs.
    pub fn membership(
        &self,
        operator: &str,
        life: Duration,
        now: Stamp,
    ) -> Result<Membership, HomeError> {
        let genesis = match self.load::<Genesis>("genesis", "mesh")? {
            Some(genesis) => genesis,
            None => self.found(now)?,
        };
        let mut roster = Roster::new(genesis.clone())?;
        let own = self.key.node();
        if genesis.founder == own && !self.is_certified(&roster, (operator, life), now)? {
            self.renew(&roster, (operator, life), now)?;
        }
        // First, so that a revoked node's certificate is not taken, kept or handed on again.
        let revocations = self.revocations(&mut roster, now)?;
        let mut certs = BTreeMap::new();
        let mut cert = None;
        for (_, bytes) in self.store.records("cert")? {
            let signed: Signed<NodeCert> = codec::decode::<RECORD_BYTES_MAX, _>(&bytes)?;
            match roster.admit(&signed, now) {
                Ok(admitted) if admitted.node == own => cert = Some(signed),
                Ok(admitted) => drop(certs.insert(admitted.node, signed)),
                Err(refused) => {
                    tracing::debug!(%refused, "a kept certificate is no longer good");
                    // What its node said before still counts.
                    let _ = roster.recall(&signed);
                }
            }
        }
        let cert = cert.ok_or_else(|| error::no_cert(&roster, own, now))?;
        let mut seats = Vec::new();
        for (_, bytes) in self.store.records("seat")? {
            let signed: Signed<Seat> = codec::decode::<RECORD_BYTES_MAX, _>(&bytes)?;
            match roster.seated_by(&signed, now) {
                Ok(seat) => seats.push(seat),
                Err(refused) => tracing::debug!(%refused, "a kept seat does not count"),
            }
        }
        Ok(Membership {
            roster: Arc::new(roster),
            cert,
            certs,
            revocations,
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
        // All of it or none: half a membership is no membership.
        let mut edits = Vec::new();
        for cert in certs {
            match roster.admit(cert, now) {
                Ok(admitted) => edits.push(cert_edit(&admitted, cert)?),
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
        edits.push(put("genesis", "mesh", genesis)?);
        Ok(self.store.edit_records(&edits)?)
    }

    /// Keeps a certificate.
    pub fn keep_cert(&self, cert: &NodeCert, signed: &Signed<NodeCert>) -> Result<(), HomeError> {
        Ok(self.store.edit_records(&[cert_edit(cert, signed)?])?)
    }

    /// Keeps the certificate of a member that was let in here, for which it has spent an invite: both
    /// or neither.
    pub fn keep_admitted(
        &self,
        cert: &NodeCert,
        signed: &Signed<NodeCert>,
        invite: &str,
    ) -> Result<(), HomeError> {
        let spent = Edit::Remove {
            kind: "invite".to_owned(),
            key: invite.to_owned(),
        };
        let edits = [
            put("used", invite, &cert.node)?,
            spent,
            cert_edit(cert, signed)?,
        ];
        Ok(self.store.edit_records(&edits)?)
    }

    /// Keeps where members are and what they were admitted by, for the next start. Nothing waits for
    /// the disk: whoever lacks it is told again.
    pub fn keep_contacts<'a>(
        &self,
        contacts: impl IntoIterator<Item = (NodeId, &'a Signed<NodeCert>, &'a [String])>,
    ) -> Result<(), HomeError> {
        let mut edits = Vec::new();
        for (node, cert, addresses) in contacts {
            let name = node.to_string();
            edits.push(put("cert", &name, cert)?);
            edits.push(put("addresses", &name, &addresses)?);
        }
        Ok(self.store.edit_records_soon(&edits)?)
    }

    /// Reads a record.
    pub fn load<T: Serialize + DeserializeOwned>(
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
        Ok(self.store.edit_records(&[put(kind, name, value)?])?)
    }

    /// Founds a mesh of one, of which this node is the council.
    pub fn init(&self, operator: &str, now: Stamp) -> Result<MeshId, HomeError> {
        if self.is_member()? {
            return Err(HomeError::Member {
                path: self.data.clone(),
            });
        }
        let life = Duration::from_millis(caravan_protocol::limits::CERT_LIFE_MS);
        Ok(self.membership(operator, life, now)?.roster.mesh())
    }

    /// Takes the membership away, so that the directory can join again. What the store has besides
    /// stays, and so does the key, unless it was struck out: then no mesh of that council would
    /// take it again.
    pub fn leave(&self) -> Result<(), HomeError> {
        let own = self.key.node().to_string();
        let revoked = self.store.record("revocation", &own)?.is_some();
        let mut edits = Vec::new();
        for kind in MEMBERSHIP {
            for (key, _) in self.store.records(kind)? {
                let kind = kind.to_owned();
                edits.push(Edit::Remove { kind, key });
            }
        }
        self.store.edit_records(&edits)?;
        let names: &[&str] = match revoked {
            true => &["joined", "identity"],
            false => &["joined"],
        };
        for name in names {
            let path = self.data.join(name);
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(HomeError::Io { path, source });
                }
                _ => {}
            }
        }
        Ok(())
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
        let seat = put("seat", &seat.role, &Signed::sign(&self.key, &seat)?)?;
        // They are on disk with the founder's own certificate, without which they are of no use.
        self.store
            .edit_records_soon(&[seat, put("genesis", "mesh", &genesis)?])?;
        tracing::info!(mesh = %mesh.fmt_short(), "founded a mesh of one");
        Ok(genesis)
    }

    /// Who is out. The founding node's words of earlier versions, which it had not signed, it signs.
    fn revocations(
        &self,
        roster: &mut Roster,
        now: Stamp,
    ) -> Result<Vec<Signed<Revocation>>, HomeError> {
        let own = self.key.node();
        for (name, _) in self.store.records("revoked")? {
            let Ok(node) = name.parse() else { continue };
            let known = self.store.record("revocation", &name)?.is_some();
            if roster.genesis().founder == own && node != own && !known {
                let mesh = roster.mesh();
                let revocation = Revocation {
                    mesh,
                    node,
                    at: now,
                };
                let signed = Signed::sign(&self.key, &revocation)?;
                self.save("revocation", &name, &signed)?;
            }
            roster.revoke(node, now);
        }
        let mut revocations = Vec::new();
        for (_, bytes) in self.store.records("revocation")? {
            let signed: Signed<Revocation> = codec::decode::<RECORD_BYTES_MAX, _>(&bytes)?;
            let revocation = roster.revoked_by(&signed)?;
            if revocation.node == own {
                return Err(HomeError::Revoked { at: revocation.at });
            }
            revocations.push(signed);
        }
        Ok(revocations)
    }

    /// Whether the founding node has a certificate of its own that says what one would say now, and
    /// is too new to be replaced.
    fn is_certified(
        &self,
        roster: &Roster,
        (operator, life): (&str, Duration),
        now: Stamp,
    ) -> Result<bool, HomeError> {
        let kept = self.load::<Signed<NodeCert>>("cert", &self.key.node().to_string())?;
        let Some(cert) = kept.and_then(|kept| roster.check(&kept, now).ok()) else {
            return Ok(false);
        };
        let (not_before, expires) = renewal::dates(now, life);
        let lives = |from: Stamp, to: Stamp| to.as_ms().saturating_sub(from.as_ms());
        Ok(cert.operator == operator
            && cert.platforms == [Platform::here()]
            && lives(cert.not_before, cert.expires) == lives(not_before, expires)
            && renewal::is_fresh(&cert, now))
    }

    /// The founding node certifies itself: at its first start, and again before a certificate ends.
    pub fn renew(
        &self,
        roster: &Roster,
        (operator, life): (&str, Duration),
        now: Stamp,
    ) -> Result<Signed<NodeCert>, HomeError> {
        // Neighbours' clocks may be a little behind.
        let (not_before, expires) = renewal::dates(now, life);
        let cert = NodeCert {
            mesh: roster.mesh(),
            node: self.key.node(),
            operator: operator.to_owned(),
            tier: Tier::Council,
            platforms: vec![Platform::here()],
            not_before,
            expires,
        };
        let signed = Signed::sign(&self.key, &cert)?;
        self.keep_cert(&cert, &signed)?;
        Ok(signed)
    }
}

fn put(kind: &str, name: &str, value: &impl Serialize) -> Result<Edit, HomeError> {
    Ok(Edit::Put {
        kind: kind.to_owned(),
        key: name.to_owned(),
        bytes: codec::encode::<RECORD_BYTES_MAX>(value)?,
    })
}

fn cert_edit(cert: &NodeCert, signed: &Signed<NodeCert>) -> Result<Edit, HomeError> {
    put("cert", &cert.node.to_string(), signed)
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
