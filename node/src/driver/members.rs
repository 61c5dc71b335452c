//! Members: invites, admissions and revocations. The founding node signs; every node checks with
//! the same roster.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use caravan_mesh::{Contact, Refusal, Welcome};
use caravan_protocol::{
    identity::{
        NodeCert, Signed, Tier,
        invite::{Invite, Invited},
    },
    ids::NodeId,
    limits, offer,
    platform::Platform,
    time::Stamp,
    view::NodeView,
};

use super::Driver;
use crate::{build::chain, clock, home};

/// Addresses that one invite names: a token is copied by people.
const ADDRESSES_MAX: usize = 4;

/// The addresses by which another machine may reach this one: loopback only where there is nothing
/// else, and without the node's key, which the invite names anyway.
fn worth_telling(addresses: Vec<String>) -> Vec<String> {
    let bare = |address: String| match address.split_once("/p2p/") {
        Some((address, _)) => address.to_owned(),
        None => address,
    };
    let mut addresses: Vec<String> = addresses.into_iter().map(bare).collect();
    let near = |address: &String| address.contains("/127.0.0.1/") || address.contains("/ip6/::1/");
    if !addresses.iter().all(near) {
        addresses.retain(|address| !near(address));
    }
    addresses.sort_by_key(|address| (!address.contains("/tcp/"), address.clone()));
    addresses.dedup();
    addresses.truncate(ADDRESSES_MAX);
    addresses
}

/// How often the founding node looks after its own certificate.
pub(crate) const RENEWAL: Duration = Duration::from_secs(3600);

impl Driver {
    /// The founding node's certificate begins anew, long before it ends.
    pub(crate) fn renew(&mut self) {
        let home = &self.shared.home;
        if self.membership.roster.genesis().founder != home.key.node() {
            return;
        }
        let now = clock::stamp();
        let renewed = home.renew(&self.membership.roster, &self.shared.config.operator, now);
        match renewed {
            Ok(cert) => {
                if let Err(refused) = Arc::make_mut(&mut self.membership.roster).admit(&cert, now) {
                    tracing::warn!(%refused, "the node's own new certificate is not good");
                }
                if let Some(mesh) = &self.shared.mesh
                    && let Err(error) = mesh.renew(cert.clone())
                {
                    tracing::warn!(%error, "members do not know the node's new certificate yet");
                }
                self.membership.cert = cert;
            }
            Err(error) => tracing::warn!(error = %chain(&error), "could not renew the certificate"),
        }
    }

    pub(crate) fn invite(&mut self, operator: &str, tier: Tier) -> Result<String, String> {
        let shared = &self.shared;
        if self.membership.roster.genesis().founder != shared.home.key.node() {
            return Err(
                "make the invite on the founding node: only its key signs members".to_owned(),
            );
        }
        if tier == Tier::Council {
            return Err(
                "invite a donor or a trusted node: a council of several is not there yet"
                    .to_owned(),
            );
        }
        let good = |c: char| c.is_alphanumeric() || "-_.@".contains(c);
        if operator.is_empty()
            || operator.len() > limits::OPERATOR_BYTES_MAX
            || !operator.chars().all(good)
        {
            return Err(format!(
                "use another operator name than {operator:?}: letters, digits, - _ . @"
            ));
        }
        let mesh = shared.mesh.as_ref().ok_or(
            "invite others: this node does not listen; start it with `caravan node run --port 4100`",
        )?;
        let addresses = worth_telling(mesh.listen_addresses());
        if addresses.is_empty() {
            return Err("this node listens on no address yet; try again in a moment".to_owned());
        }
        let now = clock::stamp();
        let expires = now.after(Duration::from_millis(limits::INVITE_LIFE_MS));
        let secret = home::random::<32>().map_err(|error| chain(&error))?;
        let invited = Invited {
            operator: operator.to_owned(),
            tier,
            expires,
        };
        let name = Invite::secret_hash(&secret).to_string();
        shared
            .home
            .save("invite", &name, &invited)
            .map_err(|error| chain(&error))?;
        let genesis = self.membership.roster.genesis().clone();
        Ok(Invite {
            genesis,
            addresses,
            secret,
            expires,
        }
        .to_string())
    }

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
        let cert = NodeCert {
            mesh: self.membership.roster.mesh(),
            node,
            operator: invited.operator,
            tier: invited.tier,
            platforms: platforms.into_iter().take(8).collect(),
            not_before: Stamp::from_ms(now.as_ms().saturating_sub(120_000)),
            expires: now.after(Duration::from_millis(limits::CERT_LIFE_MS - 120_000)),
        };
        let signed = Signed::sign(&home.key, &cert)
            .map_err(|_| other("the certificate could not be signed"))?;
        // Spent before the certificate is kept: a crash in between costs an invite, never a second
        // member.
        let spent = home
            .save("used", &name, &node)
            .and_then(|()| Ok(home.store.remove_record("invite", &name)?))
            .and_then(|()| home.keep_cert(&cert, &signed));
        if let Err(error) = spent {
            tracing::warn!(error = %chain(&error), "could not admit a node");
            return Err(other(
                "the inviting node could not keep its records; ask for a new invite",
            ));
        }
        Arc::make_mut(&mut self.membership.roster)
            .admit(&signed, now)
            .map_err(|refused| Refusal::Other(refused.to_string()))?;
        tracing::info!(node = %node.fmt_short(), operator = %cert.operator, tier = %cert.tier, "admitted a node");
        self.membership
            .certs
            .retain(|known| known.open(cert.mesh).is_ok_and(|known| known.node != node));
        self.membership.certs.push(signed);
        self.renew_roster();
        self.changed = true;
        self.welcome(node).ok_or(Refusal::Used)
    }

    /// The certificates that an admitted node gets: its own and the others'.
    fn welcome(&self, node: NodeId) -> Option<Welcome> {
        let mesh = self.membership.roster.mesh();
        let of = |cert: &&Signed<NodeCert>| cert.open(mesh).is_ok_and(|cert| cert.node == node);
        let cert = self.membership.certs.iter().find(of)?.clone();
        let own = Contact {
            cert: self.membership.cert.clone(),
            addresses: self
                .shared
                .mesh
                .as_ref()
                .map(caravan_mesh::Handle::listen_addresses)
                .unwrap_or_default(),
        };
        let others = self.membership.certs.iter().filter(|cert| !of(cert));
        let others = others.map(|cert| Contact {
            cert: cert.clone(),
            addresses: Vec::new(),
        });
        Some(Welcome {
            cert,
            contacts: std::iter::once(own).chain(others).collect(),
        })
    }

    pub(crate) fn revoke(&mut self, node: NodeId) -> Result<(), String> {
        let home = &self.shared.home;
        if node == home.key.node() {
            return Err("revoke another node than this one".to_owned());
        }
        home.save("revoked", &node.to_string(), &clock::stamp())
            .map_err(|error| chain(&error))?;
        Arc::make_mut(&mut self.membership.roster).revoke(node, clock::stamp());
        self.membership.certs.retain(|cert| {
            cert.open(self.membership.roster.mesh())
                .is_ok_and(|cert| cert.node != node)
        });
        self.renew_roster();
        if let Some(mesh) = &self.shared.mesh
            && let Err(error) = mesh.ban(node)
        {
            tracing::warn!(%error, "a revoked node may stay connected until it is looked at again");
        }
        self.on_down(node);
        self.peers.remove(&node);
        // Whoever asked looks at once.
        self.publish();
        Ok(())
    }

    pub(crate) fn on_up(&mut self, node: NodeId, admitted: NodeCert) {
        let platforms: BTreeSet<Platform> = admitted.platforms.iter().cloned().collect();
        let view = NodeView {
            node,
            operator: admitted.operator,
            tier: admitted.tier,
            platforms: admitted.platforms,
            here: false,
            connected: true,
            running: 0,
            slots: 0,
        };
        self.peers.insert(node, view);
        self.changed = true;
        tracing::info!(node = %node.fmt_short(), "a member is up");
        self.market(offer::Event::PeerUp { node, platforms });
    }

    pub(crate) fn on_down(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.connected = false;
        }
        self.changed = true;
        tracing::info!(node = %node.fmt_short(), "a member is down");
        self.market(offer::Event::PeerDown(node));
    }

    /// Members that the mesh has heard of: checked once more, then kept for the next start.
    pub(crate) fn on_learned(&mut self, contacts: Vec<Contact>) {
        for contact in contacts {
            let Ok(admitted) =
                Arc::make_mut(&mut self.membership.roster).admit(&contact.cert, clock::stamp())
            else {
                continue;
            };
            let home = &self.shared.home;
            let kept = home.keep_cert(&admitted, &contact.cert).and_then(|()| {
                home.save("addresses", &admitted.node.to_string(), &contact.addresses)
            });
            if let Err(error) = kept {
                tracing::warn!(error = %chain(&error), "could not keep a member's certificate");
            }
        }
        self.changed = true;
    }

    fn renew_roster(&self) {
        let Some(mesh) = &self.shared.mesh else {
            return;
        };
        let contacts = self.membership.certs.iter().cloned();
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
