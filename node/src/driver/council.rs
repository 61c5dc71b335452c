//! The council's word on members: who is out for good, and who takes no work for now. The founding
//! node signs both; every node checks and keeps what it hears.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use caravan_protocol::{
    codec,
    identity::{Ends, Record as _, Signed, cordon::Cordon, revocation::Revocation},
    ids::NodeId,
    limits,
    time::Stamp,
};

use super::{
    Driver, Notice,
    questions::{Answer, Question},
};
use crate::{build::chain, clock};

/// Kinds of records.
const REVOCATION: &str = "revocation";
const CORDON: &str = "cordon";

/// Cordons as the founding node keeps them.
#[derive(Debug, Default)]
pub(crate) struct Cordons {
    said: BTreeMap<NodeId, (Cordon, Signed<Cordon>)>,
    /// Members that have heard what was said last of them.
    heard: BTreeSet<NodeId>,
    /// Members that are being told.
    telling: BTreeSet<NodeId>,
    /// Until when the one that this node obeys counts.
    obeyed_until: Option<Stamp>,
}

impl Cordons {
    /// Why a member is cordoned, and whether it knows.
    pub(crate) fn of(&self, node: NodeId) -> Option<(&Cordon, bool)> {
        let (cordon, _) = self.said.get(&node)?;
        cordon.on.then(|| (cordon, self.heard.contains(&node)))
    }
}

impl Driver {
    /// What was said in earlier lives.
    pub(crate) fn load_cordons(&mut self) {
        let (me, now) = (self.shared.home.key.node(), clock::stamp());
        // What it has said itself it says anew, however long it was away.
        let is_founder = self.is_founder();
        let kept = self.shared.home.store.records(CORDON).unwrap_or_default();
        for (name, bytes) in kept {
            let roster = &self.membership.roster;
            let signed = codec::decode::<{ limits::MESSAGE_BYTES_MAX }, Signed<Cordon>>(&bytes);
            let said = signed
                .map_err(|error| error.to_string())
                .and_then(|signed| {
                    let cordon = match is_founder {
                        true => signed.open(roster.mesh()),
                        false => roster.cordoned_by(&signed, now),
                    };
                    let cordon = cordon.map_err(|refused| refused.to_string())?;
                    Ok((cordon, signed))
                });
            match said {
                Ok((cordon, _)) if cordon.node == me => self.obey_cordon(&cordon),
                Ok((cordon, signed)) => {
                    let said = &mut self.stance.cordons.said;
                    said.insert(cordon.node, (cordon, signed));
                }
                Err(why) => tracing::warn!(%name, %why, "a kept cordon is passed over"),
            }
        }
    }

    /// Strikes a member out, here and everywhere.
    pub(crate) fn revoke(&mut self, node: NodeId) -> Result<(), String> {
        let home = &self.shared.home;
        if node == home.key.node() {
            return Err("revoke another node than this one".to_owned());
        }
        if !self.is_founder() {
            return Err(
                "revoke it on the founding node: only its key strikes members out".to_owned(),
            );
        }
        let revocation = Revocation {
            mesh: self.membership.roster.mesh(),
            node,
            at: clock::stamp(),
        };
        let signed = Signed::sign(&home.key, &revocation).map_err(|error| error.to_string())?;
        self.strike_out(node, &signed)?;
        if let Some(mesh) = &self.shared.mesh
            && let Err(error) = mesh.revoke(signed)
        {
            tracing::warn!(%error, "a revoked node may stay connected until it is looked at again");
        }
        // Whoever asked looks at once.
        self.publish();
        Ok(())
    }

    /// A member was struck out elsewhere; the mesh has checked it, and so does this.
    pub(crate) fn on_revoked(&mut self, signed: &Signed<Revocation>) {
        let read = Arc::make_mut(&mut self.membership.roster).revoked_by(signed);
        let struck = read
            .map_err(|refused| refused.to_string())
            .and_then(|revocation| self.strike_out(revocation.node, signed));
        if let Err(why) = struck {
            tracing::warn!(%why, "a revocation was not kept");
        }
    }

    /// Kept first, so that no later life of this node takes it for a member again.
    fn strike_out(&mut self, node: NodeId, signed: &Signed<Revocation>) -> Result<(), String> {
        let home = &self.shared.home;
        home.save(REVOCATION, &node.to_string(), signed)
            .map_err(|error| chain(&error))?;
        if node == home.key.node() {
            self.on_evicted();
            return Ok(());
        }
        Arc::make_mut(&mut self.membership.roster)
            .revoked_by(signed)
            .map_err(|refused| refused.to_string())?;
        self.membership.certs.remove(&node);
        self.on_gone(node);
        self.peers.remove(&node);
        tracing::info!(node = %node.fmt_short(), "a member was revoked");
        self.changed = true;
        Ok(())
    }

    /// This node itself is out.
    pub(crate) fn on_evicted(&mut self) {
        if !self.stance.reasons.revoked {
            tracing::error!("this node was revoked by the council: it is no member any more");
        }
        self.stance.reasons.revoked = true;
        self.stand();
    }

    /// Cordons a member, or takes that back.
    pub(crate) fn cordon(&mut self, node: NodeId, on: bool, why: &str) -> Result<(), String> {
        let home = &self.shared.home;
        if !self.is_founder() {
            let text = "cordon it on the founding node: only its key speaks for the council; on the \
                        node itself, `caravan node pause` does the same";
            return Err(text.to_owned());
        }
        if node == home.key.node() {
            return Err("cordon another node than this one; pause this one".to_owned());
        }
        if self.membership.roster.vouches(node).is_none() {
            return Err(format!("cordon {node}: there is no such member"));
        }
        // The latest counts, also where this machine's clock has gone back since the last.
        let last = self.stance.cordons.said.get(&node).map(|(said, _)| said.at);
        let at = last.map_or(Stamp::default(), |last| {
            last.after(Duration::from_millis(1))
        });
        let cordon = Cordon {
            mesh: self.membership.roster.mesh(),
            node,
            on,
            why: Cordon::plain(why),
            at: at.max(clock::stamp()),
        };
        let signed = Signed::sign(&home.key, &cordon).map_err(|error| error.to_string())?;
        home.save(CORDON, &node.to_string(), &signed)
            .map_err(|error| chain(&error))?;
        let cordons = &mut self.stance.cordons;
        cordons.said.insert(node, (cordon, signed));
        cordons.heard.remove(&node);
        cordons.telling.remove(&node);
        self.look_at_cordons();
        self.follow_member(node);
        self.publish();
        Ok(())
    }

    /// Says those cordons anew that would soon not count any more; ends the one that this node obeys
    /// once it does not.
    fn renew_cordons(&mut self) {
        let now = clock::stamp();
        if self.is_founder() {
            let due = (self.stance.cordons.said.iter())
                .filter(|(_, (said, _))| said.on && said.is_due(now))
                .map(|(node, (said, _))| (*node, said.why.clone()));
            for (node, why) in due.collect::<Vec<_>>() {
                if let Err(why) = self.cordon(node, true, &why) {
                    tracing::debug!(node = %node.fmt_short(), %why, "a cordon is not said anew");
                }
            }
        }
        let cordons = &mut self.stance.cordons;
        if cordons.obeyed_until.is_some_and(|until| now >= until) {
            cordons.obeyed_until = None;
            self.stance.reasons.cordoned = None;
        }
    }

    /// Tells those members who are here and have not heard yet.
    pub(crate) fn look_at_cordons(&mut self) {
        self.renew_cordons();
        let Some(mesh) = &self.shared.mesh else {
            return;
        };
        let cordons = &mut self.stance.cordons;
        for (node, (cordon, signed)) in &cordons.said {
            let here = self.peers.get(node).is_some_and(|peer| peer.connected);
            if !here || cordons.heard.contains(node) || !cordons.telling.insert(*node) {
                continue;
            }
            let question = Question::Cordon(signed.clone());
            let Ok(bytes) = codec::encode::<{ limits::MESSAGE_BYTES_MAX }>(&question) else {
                continue;
            };
            let (mesh, notices) = (mesh.clone(), self.shared.notices.clone());
            let (node, at) = (*node, cordon.at);
            self.shared.tasks.spawn("cordon", async move {
                let answer = mesh.request(node, bytes).await;
                let heard = answer.is_ok_and(|bytes| {
                    let answer = codec::decode::<{ limits::MESSAGE_BYTES_MAX }, Answer>(&bytes);
                    matches!(answer, Ok(Answer::Taken))
                });
                let _ = notices.send(Notice::Cordoned { node, at, heard }).await;
            });
        }
    }

    /// A member was told, or could not be; then the next look tries again.
    pub(crate) fn on_cordoned(&mut self, node: NodeId, at: Stamp, heard: bool) {
        let cordons = &mut self.stance.cordons;
        // Another word may have been said meanwhile.
        if cordons
            .said
            .get(&node)
            .is_some_and(|(said, _)| said.at == at)
        {
            cordons.telling.remove(&node);
            if heard {
                cordons.heard.insert(node);
                self.follow_member(node);
            }
        }
    }

    /// The council tells this node whether it takes work.
    pub(super) fn hear_cordon(&mut self, signed: &Signed<Cordon>) -> Answer {
        let refuse = |why: String| Answer::Refused(why);
        let cordon = match self.membership.roster.cordoned_by(signed, clock::stamp()) {
            Ok(cordon) => cordon,
            Err(refused) => return refuse(refused.to_string()),
        };
        let (home, me) = (&self.shared.home, self.shared.home.key.node());
        if cordon.node != me {
            return refuse(format!("it is about {}", cordon.node));
        }
        // One that was overtaken on its way, or is said once more.
        let held = home.load::<Signed<Cordon>>(CORDON, &me.to_string());
        let held = held.ok().flatten();
        let held = held.and_then(|held| held.open(self.membership.roster.mesh()).ok());
        if held.is_some_and(|held| held.at >= cordon.at) {
            return Answer::Taken;
        }
        if let Err(error) = home.save(CORDON, &me.to_string(), signed) {
            return refuse(chain(&error));
        }
        self.obey_cordon(&cordon);
        self.stand();
        Answer::Taken
    }

    fn obey_cordon(&mut self, cordon: &Cordon) {
        let roster = &self.membership.roster;
        let founder = roster.vouches(roster.genesis().founder);
        let by = founder.map_or("the founding node", |cert| cert.operator.as_str());
        self.stance.cordons.obeyed_until = match cordon.ends() {
            Ends::At(end) => Some(end),
            Ends::WithMember(_) | Ends::Never => None,
        };
        self.stance.reasons.cordoned = cordon.on.then(|| (by.to_owned(), cordon.why.clone()));
    }
}
