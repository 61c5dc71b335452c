//! Who is who: keys, signed records, the founding of a mesh, certificates and invites. One
//! function, [`Roster::admit`], decides whether a node belongs, on the founding node and on every
//! other. Until a council of several exists, the founding node's key signs all membership.

use std::{collections::BTreeMap, marker::PhantomData};

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    codec::{self, CodecError},
    ids::{BlobId, MeshId, NodeId},
    limits,
    platform::Platform,
    time::Stamp,
};

pub mod cordon;
pub mod invite;
pub mod revocation;

/// Why a record is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its bytes are not a record of the kind claimed.
    #[error("read a signed record")]
    Codec(#[from] CodecError),
    /// The signature does not hold for these bytes, this kind of record and this mesh.
    #[error("believe a record signed by {signer}: the signature does not hold")]
    Forged {
        /// Who is said to have signed it.
        signer: NodeId,
    },
    /// It is about another mesh.
    #[error("believe a record of mesh {theirs}: this is mesh {ours}")]
    OtherMesh {
        /// The mesh in the record.
        theirs: MeshId,
        /// The mesh here.
        ours: MeshId,
    },
    /// The signer may not sign such a record.
    #[error("believe a record signed by {signer}: only the mesh's council may sign it")]
    NotCouncil {
        /// Who signed.
        signer: NodeId,
    },
    /// The signer has shown no certificate here.
    #[error("believe a record signed by {signer}: it is no member that is known here")]
    Stranger {
        /// Who signed.
        signer: NodeId,
    },
    /// It is not valid yet, or no more, or for too long.
    #[error("believe a record about {node}: {reason}")]
    Expired {
        /// Whom the record is about.
        node: NodeId,
        /// What is wrong with its dates.
        reason: &'static str,
    },
    /// The node was revoked.
    #[error("believe a record about {node}: it was revoked")]
    Revoked {
        /// The revoked node.
        node: NodeId,
    },
}

/// A node's private key. It never leaves the node and prints as nothing.
pub struct Key(SigningKey);

impl Key {
    /// The key made from 32 secret random bytes.
    #[must_use]
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(secret))
    }

    /// The public half, which names the node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        NodeId::from_bytes(self.0.verifying_key().to_bytes())
    }

    /// The secret bytes, for the one file that keeps them and for the swarm's identity.
    #[must_use]
    pub fn secret(&self) -> [u8; 32] {
        self.0.to_bytes()
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key(of {})", self.node().fmt_short())
    }
}

/// When a record stops to count. What it goes by is in the signed bytes: the end itself, or the
/// moment from which a life of [`limits`] is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// At this moment.
    At(Stamp),
    /// When this node has no certificate that is valid.
    WithMember(NodeId),
    /// Never: what was done.
    Never,
}

impl Ends {
    /// What was said at that moment counts for so long.
    #[must_use]
    pub const fn after(said: Stamp, life_ms: u64) -> Self {
        Self::At(Stamp::from_ms(said.as_ms().saturating_add(life_ms)))
    }
}

/// A kind of value that is signed. The domain keeps a signature of one kind from passing for
/// another.
pub trait Record: Serialize + DeserializeOwned {
    /// Name and version of the kind, in the signed bytes.
    const DOMAIN: &'static str;
    /// The mesh that the record is about.
    fn mesh(&self) -> MeshId;
    /// When it stops to count.
    fn ends(&self) -> Ends;
}

/// A record as its signer wrote it. The bytes are kept verbatim; what they say is had only through
/// [`Signed::open`], which checks them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Signed<T> {
    signer: NodeId,
    signature: ([u8; 32], [u8; 32]),
    bytes: Vec<u8>,
    #[serde(skip)]
    kind: PhantomData<fn() -> T>,
}

impl<T: Record> Signed<T> {
    /// Signs `record` with `key`.
    pub fn sign(key: &Key, record: &T) -> Result<Self, CodecError> {
        let bytes = codec::encode::<{ limits::CLAIM_BYTES_MAX }>(record)?;
        let signature = key.0.sign(&message::<T>(&bytes)).to_bytes();
        let (mut r, mut s) = ([0; 32], [0; 32]);
        r.copy_from_slice(&signature[..32]);
        s.copy_from_slice(&signature[32..]);
        Ok(Self {
            signer: key.node(),
            signature: (r, s),
            bytes,
            kind: PhantomData,
        })
    }

    /// What the record says, once its signature is found to hold and to be about `mesh`.
    pub fn open(&self, mesh: MeshId) -> Result<T, Refused> {
        let forged = || Refused::Forged {
            signer: self.signer,
        };
        let key = VerifyingKey::from_bytes(self.signer.as_bytes()).map_err(|_| forged())?;
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&self.signature.0);
        signature[32..].copy_from_slice(&self.signature.1);
        let signature = ed25519_dalek::Signature::from_bytes(&signature);
        key.verify_strict(&message::<T>(&self.bytes), &signature)
            .map_err(|_| forged())?;
        let record: T = codec::decode::<{ limits::CLAIM_BYTES_MAX }, T>(&self.bytes)?;
        if record.mesh() != mesh {
            return Err(Refused::OtherMesh {
                theirs: record.mesh(),
                ours: mesh,
            });
        }
        Ok(record)
    }

    /// The same, of a record that may come from anywhere: one that does not count any more at `now` is
    /// refused, however good its signature.
    pub fn open_at(&self, mesh: MeshId, now: Stamp) -> Result<T, Refused> {
        let record = self.open(mesh)?;
        match record.ends() {
            Ends::At(end) if now >= end => Err(Refused::Expired {
                node: self.signer,
                reason: "it was said too long ago to count; compare the two machines' clocks",
            }),
            _ => Ok(record),
        }
    }

    /// Who is said to have signed.
    #[must_use]
    pub const fn signer(&self) -> NodeId {
        self.signer
    }

    /// The id of the signed bytes.
    #[must_use]
    pub fn id(&self) -> BlobId {
        BlobId::of(&self.bytes)
    }
}

impl<T> std::fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Signed({} bytes by {})",
            self.bytes.len(),
            self.signer.fmt_short()
        )
    }
}

fn message<T: Record>(bytes: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(T::DOMAIN.len() + 1 + bytes.len());
    message.extend_from_slice(T::DOMAIN.as_bytes());
    message.push(0);
    message.extend_from_slice(bytes);
    message
}

/// The founding of a mesh. Its hash names the mesh, its founder is the first council.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genesis {
    /// The founding node.
    pub founder: NodeId,
    /// When it was founded.
    pub created: Stamp,
    /// Random, so that one node can found several meshes.
    pub nonce: [u8; 32],
}

impl Genesis {
    /// The name of the mesh founded by this record.
    pub fn mesh(&self) -> Result<MeshId, CodecError> {
        let mut bytes = b"caravan/genesis/1\0".to_vec();
        bytes.extend(codec::encode::<1024>(self)?);
        Ok(MeshId::from_bytes(*blake3::hash(&bytes).as_bytes()))
    }
}

/// What a node may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Builds and caches.
    Donor,
    /// Also audits and re-runs precious work.
    Trusted,
    /// Also votes and holds effectful roles and secrets.
    Council,
}

impl std::fmt::Display for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Donor => "donor",
            Self::Trusted => "trusted",
            Self::Council => "council",
        })
    }
}

/// The right of a node to speak in a mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCert {
    /// The mesh.
    pub mesh: MeshId,
    /// The node.
    pub node: NodeId,
    /// Who runs it; all of an operator's nodes count once in every quorum.
    pub operator: String,
    /// What it may do.
    pub tier: Tier,
    /// What it can build for.
    pub platforms: Vec<Platform>,
    /// From when it is valid.
    pub not_before: Stamp,
    /// Until when: at most [`limits::CERT_LIFE_MS`] later.
    pub expires: Stamp,
}

impl Record for NodeCert {
    const DOMAIN: &'static str = "caravan/node-cert/1";
    fn mesh(&self) -> MeshId {
        self.mesh
    }

    fn ends(&self) -> Ends {
        Ends::At(self.expires)
    }
}

/// A seat's holder, until the council grants seats by vote: signed by the founding node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// The mesh.
    pub mesh: MeshId,
    /// The role, such as `ci`.
    pub role: String,
    /// Who holds it.
    pub holder: NodeId,
    /// Counts the holders of this role; every effect carries it.
    pub epoch: u64,
    /// Since when.
    pub since: Stamp,
}

impl Record for Seat {
    const DOMAIN: &'static str = "caravan/seat/1";
    fn mesh(&self) -> MeshId {
        self.mesh
    }

    fn ends(&self) -> Ends {
        Ends::WithMember(self.holder)
    }
}

/// The members that this node knows, and the rule by which it takes new ones.
#[derive(Debug, Clone)]
pub struct Roster {
    mesh: MeshId,
    genesis: Genesis,
    certs: BTreeMap<NodeId, NodeCert>,
    revoked: BTreeMap<NodeId, Stamp>,
}

impl Roster {
    /// The roster of the mesh founded by `genesis`, still empty.
    pub fn new(genesis: Genesis) -> Result<Self, CodecError> {
        Ok(Self {
            mesh: genesis.mesh()?,
            genesis,
            certs: BTreeMap::new(),
            revoked: BTreeMap::new(),
        })
    }

    /// The mesh.
    #[must_use]
    pub const fn mesh(&self) -> MeshId {
        self.mesh
    }

    /// The founding record.
    #[must_use]
    pub const fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// Checks a certificate and takes its node in. This is the one check of membership.
    pub fn admit(&mut self, cert: &Signed<NodeCert>, now: Stamp) -> Result<NodeCert, Refused> {
        let cert = self.check(cert, now)?;
        let known = self.certs.get(&cert.node);
        // One from the future was made by a clock that was wrong: it gives way to one of today.
        if known.is_none_or(|known| known.expires <= cert.expires || now < known.not_before) {
            self.certs.insert(cert.node, cert.clone());
        }
        Ok(cert)
    }

    /// Remembers a node that was a member once. It may not speak any more, but what it said while
    /// it might is still its word.
    pub fn recall(&mut self, cert: &Signed<NodeCert>) -> Result<(), Refused> {
        let cert = self.read(cert)?;
        let known = self.certs.get(&cert.node);
        if known.is_none_or(|known| known.expires <= cert.expires) {
            self.certs.insert(cert.node, cert);
        }
        Ok(())
    }

    /// The certificate under which a node's claims count, even if it has expired since. A revoked
    /// node's never do.
    #[must_use]
    pub fn vouches(&self, node: NodeId) -> Option<&NodeCert> {
        self.certs.get(&node)
    }

    /// What [`Roster::admit`] checks, without taking the node in.
    pub fn check(&self, cert: &Signed<NodeCert>, now: Stamp) -> Result<NodeCert, Refused> {
        let cert = self.read(cert)?;
        let expired = |reason| {
            Err(Refused::Expired {
                node: cert.node,
                reason,
            })
        };
        if now < cert.not_before {
            return expired("its certificate is not valid yet; compare the two machines' clocks");
        }
        if now >= cert.expires {
            return expired("its certificate has expired; join again");
        }
        Ok(cert)
    }

    /// A certificate as the council signed it, whatever its dates.
    fn read(&self, cert: &Signed<NodeCert>) -> Result<NodeCert, Refused> {
        if cert.signer() != self.genesis.founder {
            return Err(Refused::NotCouncil {
                signer: cert.signer(),
            });
        }
        let cert = cert.open(self.mesh)?;
        let expired = |reason| {
            Err(Refused::Expired {
                node: cert.node,
                reason,
            })
        };
        if cert.operator.is_empty() || cert.operator.len() > limits::OPERATOR_BYTES_MAX {
            return expired("its operator's name is empty or too long");
        }
        if self.revoked.contains_key(&cert.node) {
            return Err(Refused::Revoked { node: cert.node });
        }
        if cert.expires.as_ms().saturating_sub(cert.not_before.as_ms()) > limits::CERT_LIFE_MS {
            return expired("its certificate is valid for longer than certificates may be");
        }
        Ok(cert)
    }

    /// The certificate of a member that is valid at `now`.
    #[must_use]
    pub fn member(&self, node: NodeId, now: Stamp) -> Option<&NodeCert> {
        self.certs
            .get(&node)
            .filter(|cert| now < cert.expires && !self.revoked.contains_key(&node))
    }

    /// Members whose certificates are valid at `now`, in id order.
    pub fn members(&self, now: Stamp) -> impl Iterator<Item = &NodeCert> {
        self.certs
            .values()
            .filter(move |cert| self.member(cert.node, now).is_some())
    }

    /// What a seat says, if the council signed it and its holder is a member at `now`.
    pub fn seated_by(&self, signed: &Signed<Seat>, now: Stamp) -> Result<Seat, Refused> {
        let signer = signed.signer();
        if signer != self.genesis.founder {
            return Err(Refused::NotCouncil { signer });
        }
        let seat = signed.open(self.mesh)?;
        match self.member(seat.holder, now) {
            Some(_) => Ok(seat),
            None => Err(Refused::Expired {
                node: seat.holder,
                reason: "it holds no certificate that is valid, and its seats go with that",
            }),
        }
    }

    /// Strikes a node out for good.
    pub fn revoke(&mut self, node: NodeId, now: Stamp) {
        self.revoked.entry(node).or_insert(now);
        self.certs.remove(&node);
    }
}

#[cfg(test)]
mod tests;
