//! Signatures that are counted instead of paid. A record that was really signed is written down
//! here and its bytes are the number of the entry with a mark that only the ledger can make, so
//! nobody can forge one. What a real notary checks is checked here, too: signers, dates, bounds
//! and that the label in front is true. It owns all records of a run and never looks at a view.

use std::{collections::BTreeSet, sync::Arc};

use caravan_protocol::{
    identity::{Ends, NodeCert, Record, Refused},
    ids::{MeshId, NodeId},
    member::{ALERTS_MAX, Alert, Crypto, Kind, Opened, Presence, Revocation, Sealed},
    time::Stamp,
};

use crate::dice::mix;

/// What signing and checking would have cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Signatures made.
    pub signed: u64,
    /// Records opened, each of one signature; an obituary of several.
    pub opened: u64,
    /// Records refused.
    pub refused: u64,
}

#[derive(Debug)]
struct Entry {
    kind: Kind,
    subject: NodeId,
    version: u32,
    /// Nothing where the bytes make no sense.
    opened: Option<Arc<Opened>>,
    /// Whether the signer may say such a thing.
    is_allowed: bool,
    signatures: u64,
}

/// All records that were signed in a run.
#[derive(Debug)]
pub struct Ledger {
    mesh: MeshId,
    founder: NodeId,
    secret: u64,
    entries: Vec<Entry>,
    made: Vec<Sealed>,
    /// Whether what is made is kept for those who replay it.
    keeps: bool,
    /// The bill.
    pub counts: Counts,
}

impl Ledger {
    /// An empty one of a mesh. `keeps` whether [`Ledger::made`] is of use to anybody.
    #[must_use]
    pub const fn new(mesh: MeshId, founder: NodeId, seed: u64, keeps: bool) -> Self {
        Self {
            mesh,
            founder,
            secret: mix(seed ^ 0x1ed6e4),
            entries: Vec::new(),
            made: Vec::new(),
            keeps,
            counts: Counts {
                signed: 0,
                opened: 0,
                refused: 0,
            },
        }
    }

    /// The mesh.
    #[must_use]
    pub const fn mesh(&self) -> MeshId {
        self.mesh
    }

    /// Everything that was ever signed, for those who replay it.
    #[must_use]
    pub fn made(&self) -> &[Sealed] {
        &self.made
    }

    fn enter(&mut self, entry: Entry) -> Sealed {
        let number = self.entries.len() as u64;
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        bytes[8..].copy_from_slice(&mix(number ^ self.secret).to_le_bytes());
        let sealed = Sealed {
            kind: entry.kind,
            subject: entry.subject,
            version: entry.version,
            bytes: Arc::from(bytes),
        };
        self.entries.push(entry);
        if self.keeps {
            self.made.push(sealed.clone());
        }
        sealed
    }

    fn sign(&mut self, label: (Kind, NodeId, u32), opened: Opened, is_allowed: bool) -> Sealed {
        self.counts.signed += 1;
        self.enter(Entry {
            kind: label.0,
            subject: label.1,
            version: label.2,
            opened: Some(Arc::new(opened)),
            is_allowed,
            signatures: 1,
        })
    }

    /// A certificate signed by `signer`, who is not always the one that may.
    pub fn cert(&mut self, signer: NodeId, cert: NodeCert) -> Sealed {
        let version = u32::try_from(cert.expires.as_ms() / 1000).unwrap_or(u32::MAX);
        let label = (Kind::Cert, cert.node, version);
        let is_allowed = signer == self.founder && cert.mesh == self.mesh;
        self.sign(label, Opened::Cert(cert), is_allowed)
    }

    /// A revocation signed by `signer`, who is not always the one that may.
    pub fn revocation(&mut self, signer: NodeId, revocation: Revocation) -> Sealed {
        let label = (Kind::Revocation, revocation.node, 0);
        let is_allowed = signer == self.founder && revocation.node != self.founder;
        self.sign(label, Opened::Revocation(revocation), is_allowed)
    }

    /// A presence signed by `signer`, who is not always its node.
    pub fn presence(&mut self, signer: NodeId, presence: Presence) -> Sealed {
        let label = (Kind::Presence, presence.node, presence.incarnation.number());
        let is_allowed = signer == presence.node && presence.is_bounded();
        self.sign(label, Opened::Presence(presence), is_allowed)
    }

    /// An alert signed by `signer`, who is not always its observer.
    pub fn alert(&mut self, signer: NodeId, alert: Alert) -> Sealed {
        let label = (Kind::Alert, alert.subject, alert.incarnation.number());
        let is_allowed = signer == alert.observer && signer != alert.subject;
        self.sign(label, Opened::Alert(alert), is_allowed)
    }

    /// Several alerts as one record, right or wrong.
    pub fn obituary(&mut self, alerts: &[Sealed]) -> Option<Sealed> {
        let first = alerts.first()?;
        let (subject, version) = (first.subject, first.version);
        let opened = self.bundle(alerts, subject, version);
        Some(self.enter(Entry {
            kind: Kind::Obituary,
            subject,
            version,
            is_allowed: opened.is_some(),
            opened: opened.map(|alerts| Arc::new(Opened::Obituary(alerts))),
            signatures: alerts.len() as u64,
        }))
    }

    /// The alerts of an obituary, if they make one.
    fn bundle(&self, alerts: &[Sealed], subject: NodeId, version: u32) -> Option<Vec<Alert>> {
        if alerts.len() > ALERTS_MAX {
            return None;
        }
        let mut read: Vec<Alert> = Vec::new();
        for sealed in alerts {
            let entry = self.entry(sealed).filter(|entry| entry.is_allowed)?;
            let Opened::Alert(alert) = &**entry.opened.as_ref()? else {
                return None;
            };
            let is_double = read.iter().any(|had| had.observer == alert.observer);
            if is_double || alert.subject != subject || alert.incarnation.number() != version {
                return None;
            }
            read.push(alert.clone());
        }
        Some(read)
    }

    /// The entry of a record, if its bytes are from here and its label is true.
    fn entry(&self, record: &Sealed) -> Option<&Entry> {
        let (number, mark) = record.bytes.split_first_chunk()?;
        let number = u64::from_le_bytes(*number);
        if *mark != mix(number ^ self.secret).to_le_bytes() {
            return None;
        }
        let entry = &self.entries[usize::try_from(number).ok()?];
        let label = (record.kind, record.subject, record.version);
        (label == (entry.kind, entry.subject, entry.version)).then_some(entry)
    }

    fn open(&mut self, record: &Sealed, now: Stamp, all: bool) -> Result<Arc<Opened>, Refused> {
        let entry = self.entry(record);
        let (signatures, opened) = entry.map_or((1, None), |entry| {
            let is_believed = all || entry.is_allowed;
            let opened = entry.opened.as_ref().filter(|_| is_believed);
            (entry.signatures, opened.cloned())
        });
        self.counts.opened += signatures;
        let Some(opened) = opened else {
            self.counts.refused += 1;
            let signer = record.subject;
            return Err(Refused::Forged { signer });
        };
        let ends = match &*opened {
            Opened::Cert(_) | Opened::Obituary(_) => Ends::Never,
            Opened::Presence(presence) => presence.ends(),
            Opened::Revocation(revocation) => revocation.ends(),
            Opened::Alert(alert) => alert.ends(),
        };
        if matches!(ends, Ends::At(end) if now >= end) {
            self.counts.refused += 1;
            let (node, reason) = (record.subject, "it was said too long ago");
            return Err(Refused::Expired { node, reason });
        }
        if let Opened::Cert(cert) = &*opened
            && (now < cert.not_before || now >= cert.expires)
        {
            self.counts.refused += 1;
            let node = cert.node;
            let reason = "its certificate is not valid now";
            return Err(Refused::Expired { node, reason });
        }
        Ok(opened)
    }

    /// The certificate in a record, if it is valid now.
    pub fn admits(&mut self, record: &Sealed, now: Stamp) -> Result<NodeId, Refused> {
        match &*self.open(record, now, false)? {
            Opened::Cert(cert) => Ok(cert.node),
            _ => Err(Refused::Forged {
                signer: record.subject,
            }),
        }
    }
}

/// One node's pen and roster: what it signs with and whom it knows to be revoked.
#[derive(Debug)]
pub struct Seal<'a> {
    /// The ledger of the run.
    pub ledger: &'a mut Ledger,
    /// The node.
    pub me: NodeId,
    /// Whom its roster has struck out.
    pub revoked: &'a mut BTreeSet<NodeId>,
    /// Whether it believes whatever is in the ledger, signed by whomever; never an honest node.
    pub is_gullible: bool,
}

impl Crypto for Seal<'_> {
    fn presence(&mut self, presence: &Presence) -> Option<Sealed> {
        let is_mine = presence.is_bounded();
        is_mine.then(|| self.ledger.presence(self.me, presence.clone()))
    }

    fn alert(&mut self, alert: &Alert) -> Option<Sealed> {
        Some(self.ledger.alert(self.me, alert.clone()))
    }

    fn obituary(&mut self, alerts: &[Sealed]) -> Option<Sealed> {
        self.ledger.obituary(alerts)
    }

    fn open(&mut self, record: &Sealed, now: Stamp) -> Result<Arc<Opened>, Refused> {
        let opened = self.ledger.open(record, now, self.is_gullible)?;
        match &*opened {
            Opened::Cert(cert) if self.revoked.contains(&cert.node) => {
                let node = cert.node;
                return Err(Refused::Revoked { node });
            }
            Opened::Revocation(revocation) => {
                self.revoked.insert(revocation.node);
            }
            _ => {}
        }
        Ok(opened)
    }
}
