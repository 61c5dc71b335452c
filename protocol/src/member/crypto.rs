//! Signing and checking, behind a trait: real nodes pay for it, the simulator counts it.

use std::sync::Arc;

use super::{ALERTS_MAX, Alert, Kind, Obituary, Presence, RECORD_BYTES_MAX, Revocation, Sealed};
use crate::{
    codec,
    identity::{Ends, Key, NodeCert, Record, Refused, Roster, Signed},
    ids::NodeId,
    limits,
    time::Stamp,
};

/// What a sealed record says, once it is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// A certificate, valid now.
    Cert(NodeCert),
    /// A node's word about itself.
    Presence(Presence),
    /// A revocation.
    Revocation(Revocation),
    /// An alert.
    Alert(Alert),
    /// The alerts of one obituary: all of one subject and incarnation, their observers distinct. Those
    /// of observers that are not known here are left out.
    Obituary(Vec<Alert>),
}

/// Signs this node's records and checks everybody's. An implementation checks signatures, signers
/// (the council's for certificates and revocations, the node's own for a presence, the observer's
/// for an alert), the mesh, dates and bounds, and that the label in front says what the bytes say.
pub trait Crypto {
    /// Signs what this node says of itself; `None` if it has no encoding within the bounds.
    fn presence(&mut self, presence: &Presence) -> Option<Sealed>;
    /// Signs what this node found out about another.
    fn alert(&mut self, alert: &Alert) -> Option<Sealed>;
    /// One obituary of several sealed alerts about one subject.
    fn obituary(&mut self, alerts: &[Sealed]) -> Option<Sealed>;
    /// What a record says, or why it is not believed. Never asked twice for a record that the
    /// engine has taken.
    fn open(&mut self, record: &Sealed, now: Stamp) -> Result<Arc<Opened>, Refused>;
}

/// The real one: this node's key and the roster by which it believes others. Certificates and
/// revocations that it opens enter the roster, which stays the one check of membership.
#[derive(Debug)]
pub struct Notary {
    key: Key,
    roster: Roster,
}

impl Notary {
    /// Signs with `key` and believes what `roster` allows.
    #[must_use]
    pub const fn new(key: Key, roster: Roster) -> Self {
        Self { key, roster }
    }

    /// Who is a member, by all certificates and revocations seen so far.
    #[must_use]
    pub const fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The same, for those who check certificates before the engine hears of them.
    pub const fn roster_mut(&mut self) -> &mut Roster {
        &mut self.roster
    }

    /// The label of a certificate and the bytes in which it travels.
    pub fn seal_cert(cert: &Signed<NodeCert>, body: &NodeCert) -> Result<Sealed, Refused> {
        seal(Kind::Cert, body.node, seconds(body.expires), cert)
    }

    /// The label of a revocation and the bytes in which it travels.
    pub fn seal_revocation(
        revocation: &Signed<Revocation>,
        body: &Revocation,
    ) -> Result<Sealed, Refused> {
        seal(Kind::Revocation, body.node, 0, revocation)
    }
}

/// The version of a certificate: the second in which it expires.
pub(super) fn seconds(stamp: Stamp) -> u32 {
    u32::try_from(stamp.as_ms() / 1000).unwrap_or(u32::MAX)
}

fn seal(
    kind: Kind,
    subject: NodeId,
    version: u32,
    record: &impl serde::Serialize,
) -> Result<Sealed, Refused> {
    let bytes = codec::encode::<RECORD_BYTES_MAX>(record)?;
    Ok(Sealed {
        kind,
        subject,
        version,
        bytes: bytes.into(),
    })
}

fn read<T: serde::Serialize + serde::de::DeserializeOwned>(record: &Sealed) -> Result<T, Refused> {
    Ok(codec::decode::<RECORD_BYTES_MAX, T>(&record.bytes)?)
}

impl Notary {
    /// What a node says of itself or of another: neither so old that it does not count any more, nor
    /// by a clock so far ahead that its node's own certificate would have expired on it.
    fn open_word<T: Record>(&self, signed: &Signed<T>, now: Stamp) -> Result<T, Refused> {
        let word = signed.open_at(self.roster.mesh(), now)?;
        let latest = (now.as_ms()).saturating_add(limits::WORD_LIFE_MS + limits::CERT_LIFE_MS);
        match word.ends() {
            Ends::At(end) if end.as_ms() > latest => Err(Refused::Expired {
                node: signed.signer(),
                reason: "it is from the future; compare the two machines' clocks",
            }),
            _ => Ok(word),
        }
    }

    fn open_alert(&self, signed: &Signed<Alert>, now: Stamp) -> Result<Alert, Refused> {
        // Before the signature is looked at: anybody can make keys, and have them checked for ever.
        if self.roster.vouches(signed.signer()).is_none() {
            return Err(Refused::Stranger {
                signer: signed.signer(),
            });
        }
        let alert = self.open_word(signed, now)?;
        if alert.observer != signed.signer() || alert.observer == alert.subject {
            return Err(Refused::Forged {
                signer: signed.signer(),
            });
        }
        Ok(alert)
    }

    fn open_obituary(&self, record: &Sealed, now: Stamp) -> Result<Opened, Refused> {
        let forged = || Refused::Forged {
            signer: record.subject,
        };
        let obituary: Obituary = read(record)?;
        if obituary.alerts.is_empty() || obituary.alerts.len() > ALERTS_MAX {
            return Err(forged());
        }
        let mut alerts: Vec<Alert> = Vec::with_capacity(obituary.alerts.len());
        let mut passed_over = None;
        for signed in &obituary.alerts {
            let alert = match self.open_alert(signed, now) {
                Ok(alert) => alert,
                // Others may know it, or it counted once; here and now it counts for nothing.
                Err(refused @ (Refused::Stranger { .. } | Refused::Expired { .. })) => {
                    passed_over = Some(refused);
                    continue;
                }
                Err(refused) => return Err(refused),
            };
            let known = alerts.iter().any(|had| had.observer == alert.observer);
            if known
                || alert.subject != record.subject
                || alert.incarnation.number() != record.version
            {
                return Err(forged());
            }
            alerts.push(alert);
        }
        match passed_over {
            Some(refused) if alerts.is_empty() => Err(refused),
            _ => Ok(Opened::Obituary(alerts)),
        }
    }

    fn open_presence(&self, record: &Sealed, now: Stamp) -> Result<Presence, Refused> {
        let signed: Signed<Presence> = read(record)?;
        let presence = self.open_word(&signed, now)?;
        if presence.node != signed.signer() || !presence.is_bounded() {
            return Err(Refused::Forged {
                signer: signed.signer(),
            });
        }
        Ok(presence)
    }
}

impl Crypto for Notary {
    fn presence(&mut self, presence: &Presence) -> Option<Sealed> {
        if !presence.is_bounded() {
            return None;
        }
        let signed = Signed::sign(&self.key, presence).ok()?;
        let version = presence.incarnation.number();
        seal(Kind::Presence, presence.node, version, &signed).ok()
    }

    fn alert(&mut self, alert: &Alert) -> Option<Sealed> {
        let signed = Signed::sign(&self.key, alert).ok()?;
        let version = alert.incarnation.number();
        seal(Kind::Alert, alert.subject, version, &signed).ok()
    }

    fn obituary(&mut self, alerts: &[Sealed]) -> Option<Sealed> {
        let first = alerts.first()?;
        let obituary = Obituary {
            alerts: alerts
                .iter()
                .map(|alert| read::<Signed<Alert>>(alert).ok())
                .collect::<Option<_>>()?,
        };
        seal(Kind::Obituary, first.subject, first.version, &obituary).ok()
    }

    fn open(&mut self, record: &Sealed, now: Stamp) -> Result<Arc<Opened>, Refused> {
        let (opened, subject, version) = match record.kind {
            Kind::Cert => {
                let cert = self.roster.admit(&read(record)?, now)?;
                let label = (cert.node, seconds(cert.expires));
                (Opened::Cert(cert), label.0, label.1)
            }
            Kind::Presence => {
                let presence = self.open_presence(record, now)?;
                let label = (presence.node, presence.incarnation.number());
                (Opened::Presence(presence), label.0, label.1)
            }
            Kind::Revocation => {
                let revocation = self.roster.told_revoked(&read(record)?, now)?;
                let node = revocation.node;
                (Opened::Revocation(revocation), node, 0)
            }
            Kind::Alert => {
                let alert = self.open_alert(&read(record)?, now)?;
                let label = (alert.subject, alert.incarnation.number());
                (Opened::Alert(alert), label.0, label.1)
            }
            Kind::Obituary => {
                let opened = self.open_obituary(record, now)?;
                (opened, record.subject, record.version)
            }
        };
        if subject != record.subject || version != record.version {
            return Err(Refused::Forged {
                signer: record.subject,
            });
        }
        Ok(Arc::new(opened))
    }
}
