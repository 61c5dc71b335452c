//! Members as this node sees them: what the mesh has found out of each, for people and for the
//! market. The mesh's word counts, not a connection's: most members are here without one.

use std::collections::{BTreeMap, BTreeSet};

use caravan_mesh::{Event as MeshEvent, Member};
use caravan_protocol::{
    facts::Facts,
    identity::cordon::Cordon,
    ids::NodeId,
    member::{Change, Mode, Status},
    offer,
    platform::Platform,
    time::Stamp,
    view::{ModeView, NodeView, OfferView},
};

use super::Driver;
use crate::{build::chain, mode::CORDONED};

/// Record of how often this node spoke for itself, over all its lives.
pub(crate) const INCARNATION: (&str, &str) = ("mesh", "incarnation");

/// Why a member of which only a certificate is known takes no work.
pub(super) const UNHEARD: &str = "it was not heard here yet";

/// What the market was told of a member that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    platforms: BTreeSet<Platform>,
    emulated: BTreeSet<Platform>,
    /// Names its present life: one that was started anew has forgotten what it ran.
    life: Stamp,
}

/// Members that the market takes for up.
pub(crate) type ToldAll = BTreeMap<NodeId, Told>;

impl Driver {
    /// Something about a member has changed.
    pub(crate) fn follow_member(&mut self, node: NodeId) {
        self.seat_member(node);
        if node == self.shared.home.key.node() {
            return;
        }
        let member = self.shared.mesh.as_ref().and_then(|mesh| mesh.member(node));
        let Some(member) = member.filter(|member| member.status != Status::Revoked) else {
            self.on_gone(node);
            self.peers.remove(&node);
            return;
        };
        let cordon = self.stance.cordons.of(node);
        let view = seen(&member, cordon);
        let word = view.mode.word();
        let before = self.peers.insert(node, view);
        if before.is_none_or(|before| before.mode.word() != word) {
            tracing::info!(node = %node.fmt_short(), mode = word, "a member");
        }
        self.changed = true;
        if !member.is_live() {
            return self.on_gone(node);
        }
        let now = told(&member);
        match self.told.get(&node) {
            Some(before) if *before == now => return,
            Some(before) if before.life != now.life => {
                self.market(offer::Event::PeerDown(node));
            }
            _ => {}
        }
        self.told.insert(node, now.clone());
        self.index_member(node, &member.cert.operator, now.life);
        self.market(offer::Event::PeerUp {
            node,
            operator: member.cert.operator.clone(),
            platforms: now.platforms,
            emulated: now.emulated,
        });
    }

    /// What the mesh tells of members and of this node's own part in it.
    pub(crate) fn on_membership(&mut self, event: MeshEvent) {
        match event {
            MeshEvent::Member { node, change } => {
                if change == Change::Died {
                    // Told even where it was taken back before anybody could look.
                    tracing::info!(node = %node.fmt_short(), "a member died");
                }
                self.follow_member(node);
            }
            MeshEvent::Revoked { revocation, .. } => self.on_revoked(&revocation),
            MeshEvent::Evicted => self.on_evicted(),
            MeshEvent::Renewed { cert } => {
                if let Err(why) = self.take_cert(&cert) {
                    tracing::warn!(%why, "a renewed certificate was not kept");
                }
            }
            MeshEvent::Incarnation(number) => {
                let kept = self.shared.home.save(INCARNATION.0, INCARNATION.1, &number);
                if let Err(error) = kept {
                    let error = chain(&error);
                    tracing::warn!(%error, "could not keep how often this node spoke for itself");
                }
            }
            MeshEvent::Twin { node, addresses } => self.on_twin(node, &addresses),
            MeshEvent::Unwelcome { node, reason } => {
                let node = node.fmt_short();
                tracing::warn!(peer = %node, %reason, "a node does not take this one for a member");
                let words = format!("node {node} does not take this one for a member: {reason}");
                self.stance.trouble(words);
            }
            MeshEvent::OtherVersion {
                address, reason, ..
            } => {
                tracing::warn!(%address, %reason, "a node of another version");
                self.stance.trouble(format!("{address}: {reason}"));
            }
            other => tracing::debug!(event = ?other, "the mesh tells"),
        }
        self.changed = true;
    }

    /// Two machines speak with one key. Neither of them goes on as if nothing was.
    fn on_twin(&mut self, node: NodeId, addresses: &[String]) {
        let seen = addresses.join(", ");
        if node == self.shared.home.key.node() {
            tracing::error!(addresses = %seen, "another machine runs with this node's key: stop one of the two");
            self.stance.twin();
            self.stand();
        } else {
            let node = node.fmt_short();
            tracing::warn!(peer = %node, addresses = %seen, "two machines run with one member's key");
            let words = format!("node {node} runs on two machines with one key ({seen})");
            self.stance.trouble(words);
        }
    }

    /// A member is not here any more.
    pub(crate) fn on_gone(&mut self, node: NodeId) {
        self.changed = true;
        if self.told.remove(&node).is_some() {
            tracing::info!(node = %node.fmt_short(), "a member is gone");
            self.index_gone(node);
            self.market(offer::Event::PeerDown(node));
        }
    }
}

/// What the market is to know of a member that is here: it builds for nothing while it takes no
/// work, and what it was given goes on.
fn told(member: &Member) -> Told {
    let facts = member.presence.as_ref().map(|presence| &presence.facts);
    let open = facts.filter(|facts| member.takes_work() && facts.slots > 0);
    let native: BTreeSet<Platform> = open.into_iter().flat_map(Facts::native).cloned().collect();
    let emulated = open.into_iter().flat_map(Facts::emulated);
    let emulated: BTreeSet<Platform> = emulated
        .filter(|platform| !native.contains(platform))
        .cloned()
        .collect();
    Told {
        platforms: native.union(&emulated).cloned().collect(),
        emulated,
        life: facts.map(|facts| facts.up_since).unwrap_or_default(),
    }
}

/// A member for people.
fn seen(member: &Member, cordon: Option<(&Cordon, bool)>) -> NodeView {
    let mut view = NodeView::of(&member.cert);
    view.connected = match member.status {
        Status::Live => true,
        Status::Unknown | Status::Certified => member.connected,
        Status::Dead | Status::Left | Status::Expired | Status::Revoked => false,
    };
    view.heard = Some(member.since);
    if let Some(presence) = &member.presence {
        show_facts(&mut view, &presence.facts);
    }
    (view.mode, view.why) = standing(member);
    if member.is_live()
        && let Some((cordon, false)) = cordon
    {
        let told = format!("{CORDONED}, of which it has not heard yet: {}", cordon.why);
        (view.mode, view.why) = (ModeView::Cordoned, Some(told));
    }
    view
}

/// What a node says of itself.
pub(super) fn show_facts(view: &mut NodeView, facts: &Facts) {
    let offers = facts.platforms.iter().map(|offered| OfferView {
        platform: offered.platform.clone(),
        variant: match offered.emulated {
            true => String::new(),
            false => facts.variant.clone(),
        },
        emulated: offered.emulated,
    });
    view.offers = offers.collect();
    view.offers.sort_by_key(|offer| offer.emulated);
    let platforms: BTreeSet<&Platform> = view.offers.iter().map(|offer| &offer.platform).collect();
    view.platforms = platforms.into_iter().cloned().collect();
    view.slots = facts.slots;
    view.cores = facts.cores;
    view.memory_bytes = facts.memory_bytes;
    view.disk_bytes = facts.disk_bytes;
    view.disk_free_bytes = facts.disk_free_bytes;
    view.abilities = facts.sandbox.iter().cloned().collect();
    view.labels.clone_from(&facts.labels);
    view.version.clone_from(&facts.version);
    view.since = Some(facts.up_since);
}

fn standing(member: &Member) -> (ModeView, Option<String>) {
    let said = |why: &str| Some(why.to_owned()).filter(|why| !why.is_empty());
    match (member.status, &member.presence) {
        (Status::Live, Some(presence)) => {
            let why = said(&presence.facts.why);
            let mode = match presence.mode {
                Mode::Open => ModeView::Open,
                Mode::Paused if presence.facts.why.starts_with(CORDONED) => ModeView::Cordoned,
                Mode::Paused => ModeView::Paused,
                Mode::Draining => ModeView::Draining,
                Mode::Leaving => ModeView::Leaving,
                Mode::Left => ModeView::Left,
            };
            (mode, why)
        }
        (Status::Live | Status::Unknown | Status::Certified, _) => (ModeView::Away, said(UNHEARD)),
        (Status::Dead, _) => (ModeView::Dead, said("it vanished without a word")),
        (Status::Left, _) => (ModeView::Left, said("it left in order")),
        (Status::Expired, _) => (ModeView::Away, said("its certificate has expired")),
        (Status::Revoked, _) => (ModeView::Revoked, said("revoked by the council")),
    }
}

#[cfg(test)]
mod tests {
    use caravan_protocol::{
        facts::Offered,
        identity::{NodeCert, Tier},
        ids::MeshId,
        member::{Incarnation, Presence},
    };

    use super::*;

    fn member(status: Status, mode: Mode, why: &str) -> Member {
        let (mesh, node) = (MeshId::from_bytes([1; 32]), NodeId::from_bytes([2; 32]));
        let offered = |text: &str, emulated| Offered {
            platform: text.parse().expect("a platform"),
            emulated,
        };
        let platforms = [("linux-x86_64", false), ("linux-arm64", true)];
        let facts = Facts {
            platforms: platforms.map(|(text, how)| offered(text, how)).into(),
            cores: 4,
            slots: 2,
            up_since: Stamp::from_ms(7),
            why: why.to_owned(),
            ..Facts::default()
        };
        Member {
            cert: NodeCert {
                mesh,
                node,
                operator: "bob".to_owned(),
                tier: Tier::Donor,
                platforms: Vec::new(),
                not_before: Stamp::from_ms(0),
                expires: Stamp::from_ms(100),
            },
            presence: Some(Presence {
                mesh,
                node,
                incarnation: Incarnation::new(1),
                addresses: Vec::new(),
                facts,
                mode,
                issued: Stamp::from_ms(8),
            }),
            status,
            since: Stamp::from_ms(9),
            connected: false,
            relayed: false,
        }
    }

    #[test]
    fn a_live_member_offers_what_it_says_and_is_here_without_a_connection() {
        let member = member(Status::Live, Mode::Open, "");
        let market = told(&member);
        assert_eq!((market.platforms.len(), market.emulated.len()), (2, 1));
        let view = seen(&member, None);
        assert!(view.connected && view.mode == ModeView::Open && view.why.is_none());
        assert_eq!(view.emulated(), market.emulated);
        assert_eq!(
            (view.cores, view.slots, view.since),
            (4, 2, Some(Stamp::from_ms(7)))
        );
    }

    #[test]
    fn a_member_that_takes_no_work_is_offered_none_and_says_why() {
        for (mode, why, shown) in [
            (Mode::Paused, "paused by bob: lunch", ModeView::Paused),
            (
                Mode::Paused,
                "cordoned by the council (ann): a disk",
                ModeView::Cordoned,
            ),
            (Mode::Draining, "draining", ModeView::Draining),
        ] {
            let member = member(Status::Live, mode, why);
            assert!(told(&member).platforms.is_empty());
            let view = seen(&member, None);
            assert_eq!((view.mode, view.why.as_deref()), (shown, Some(why)));
            assert!(!view.offers.is_empty(), "what it could do is still shown");
        }
    }

    #[test]
    fn a_member_that_is_gone_says_how() {
        for (status, shown, word) in [
            (Status::Dead, ModeView::Dead, "vanished"),
            (Status::Left, ModeView::Left, "left in order"),
            (Status::Expired, ModeView::Away, "expired"),
            (Status::Certified, ModeView::Away, "not heard"),
        ] {
            let view = seen(&member(status, Mode::Open, ""), None);
            assert_eq!(view.mode, shown);
            assert!(view.why.expect("a reason").contains(word));
            assert!(!view.connected);
        }
    }

    #[test]
    fn a_cordon_that_was_not_heard_is_shown_as_such() {
        let cordon = Cordon {
            mesh: MeshId::from_bytes([1; 32]),
            node: NodeId::from_bytes([2; 32]),
            on: true,
            why: "a disk".to_owned(),
            at: Stamp::from_ms(1),
        };
        let live = member(Status::Live, Mode::Open, "");
        let view = seen(&live, Some((&cordon, false)));
        assert_eq!(view.mode, ModeView::Cordoned);
        assert!(view.why.expect("a reason").contains("has not heard"));
        // From then on its own word counts.
        assert_eq!(seen(&live, Some((&cordon, true))).mode, ModeView::Open);
    }

    #[test]
    fn another_life_is_another_member_to_the_market() {
        let first = member(Status::Live, Mode::Open, "");
        let with = |change: fn(&mut Facts)| {
            let mut other = first.clone();
            change(&mut other.presence.as_mut().expect("it spoke").facts);
            told(&other)
        };
        let anew = with(|facts| facts.up_since = Stamp::from_ms(50));
        assert_ne!(told(&first), anew);
        let disk = with(|facts| facts.disk_free_bytes = 5);
        assert_eq!(told(&first), disk, "a disk is no news to it");
    }
}
