//! Members: admissions, and what is kept of others for the next start. The founding node signs; every
//! node checks with the same roster.

use std::sync::Arc;

use caravan_mesh::{Contact, Refusal, Welcome};
use caravan_protocol::{
    identity::{
        NodeCert, Signed,
        invite::{Invite, Invited},
    },
    ids::NodeId,
    platform::Platform,
};

use super::Driver;
use crate::{build::chain, clock, renewal};

impl Driver {
    /// A stranger shows a secret: one node, before it expires. The same node may ask again, as its
    /// answer may have been lost.
    pub(crate) fn admit(
        &mut self,
        node: NodeId,
        secret: &[u8; 32],
        platforms: Vec<Platform>,
    ) -> Result<Welcome, Refusal> {
        let home = &self.shared.home;
        let name = Invite::secret_hash(secret).to_string();
        let now = clock::stamp();
        let other = |text: &str| Refusal::Other(text.to_owned());
        let invited = match home.load::<Invited>("invite", &name) {
            Ok(Some(invited)) => invited,
            Ok(None) => match home.load::<NodeId>("used", &name) {
                Ok(Some(user)) if user == node => return self.welcome(node).ok_or(Refusal::Used),
                Ok(Some(_)) => return Err(Refusal::Used),
                _ => return Err(Refusal::Unknown),
            },
            Err(_) => return Err(other("the invite's record is damaged; ask for a new one")),
        };
        if now >= invited.expires {
            return Err(Refusal::Expired);
        }
        let (not_before, expires) = renewal::dates(now, self.shared.config.cert_life);
        let cert = NodeCert {
            mesh: self.membership.roster.mesh(),
            node,
            operator: invited.operator,
            tier: invited.tier,
            platforms: platforms.into_iter().take(8).collect(),
            not_before,
            expires,
        };
        let signed = Signed::sign(&home.key, &cert)
            .map_err(|_| other("the certificate could not be signed"))?;
        if let Err(error) = home.keep_admitted(&cert, &signed, &name) {
            tracing::warn!(error = %chain(&error), "could not admit a node");
            return Err(other(
                "the inviting node could not keep its records; ask for a new invite",
            ));
        }
        Arc::make_mut(&mut self.membership.roster)
            .admit(&signed, now)
            .map_err(|refused| Refusal::Other(refused.to_string()))?;
        tracing::info!(node = %node.fmt_short(), operator = %cert.operator, tier = %cert.tier, "admitted a node");
        self.membership.certs.insert(node, signed);
        self.renew_roster();
        self.changed = true;
        self.welcome(node).ok_or(Refusal::Used)
    }

    /// The certificates that an admitted node gets: its own and the others'.
    fn welcome(&self, node: NodeId) -> Option<Welcome> {
        let certs = &self.membership.certs;
        let cert = certs.get(&node)?.clone();
        let own = Contact {
            cert: self.membership.cert.clone(),
            addresses: self
                .shared
                .mesh
                .as_ref()
                .map(caravan_mesh::Handle::listen_addresses)
                .unwrap_or_default(),
        };
        let others = certs.iter().filter(|(other, _)| **other != node);
        let others = others.map(|(_, cert)| Contact {
            cert: cert.clone(),
            addresses: Vec::new(),
        });
        Some(Welcome {
            genesis: self.membership.roster.genesis().clone(),
            now: clock::stamp(),
            cert,
            contacts: std::iter::once(own).chain(others).collect(),
        })
    }

    /// A connection with a member is there; whether the member is, the mesh says by itself.
    pub(crate) fn on_up(&mut self, node: NodeId) {
        tracing::debug!(node = %node.fmt_short(), "connected");
        self.follow_member(node);
    }

    /// A connection with a member is gone.
    pub(crate) fn on_down(&mut self, node: NodeId) {
        tracing::debug!(node = %node.fmt_short(), "not connected any more");
        self.follow_member(node);
    }

    /// Members that the mesh has heard of: checked once more, then kept for the next start.
    pub(crate) fn on_learned(&mut self, contacts: &[Contact]) {
        let (mut learned, mut is_new) = (Vec::new(), false);
        for contact in contacts {
            let Ok(admitted) =
                Arc::make_mut(&mut self.membership.roster).admit(&contact.cert, clock::stamp())
            else {
                continue;
            };
            let home = &self.shared.home;
            let node = admitted.node;
            if node != home.key.node() && self.membership.roster.vouches(node) == Some(&admitted) {
                let cert = contact.cert.clone();
                self.membership.certs.insert(node, cert);
            }
            is_new |= !contact.addresses.is_empty() && self.located.insert(node);
            learned.push((node, &contact.cert, &contact.addresses[..]));
        }
        if let Err(error) = self.shared.home.keep_contacts(learned) {
            tracing::warn!(error = %chain(&error), "could not keep members' certificates");
        }
        if is_new {
            // Perhaps nobody else could tell this node where they are.
            self.settle();
        }
        self.changed = true;
    }

    /// Puts on disk what was learnt of members, without waiting for it.
    pub(crate) fn settle(&self) {
        let store = self.shared.home.store.clone();
        self.shared.tasks.blocking(move || {
            if let Err(error) = store.settle() {
                tracing::warn!(error = %chain(&error), "could not keep what was learnt of members");
            }
        });
    }

    fn renew_roster(&self) {
        let Some(mesh) = &self.shared.mesh else {
            return;
        };
        let contacts = self.membership.certs.values().cloned();
        let contacts = contacts
            .map(|cert| Contact {
                cert,
                addresses: Vec::new(),
            })
            .collect();
        if let Err(error) = mesh.update_roster(contacts) {
            tracing::warn!(%error, "the mesh does not know the newest members yet");
        }
    }
}
