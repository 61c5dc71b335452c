//! Certificates and their renewal. The founding node signs its own and those of members who ask; a
//! member asks from half of its certificate's life on, and keeps what it gets before it uses it.

use std::sync::Arc;

use caravan_protocol::{
    codec,
    identity::{NodeCert, Signed, Tier},
    ids::NodeId,
    limits,
    platform::Platform,
    time::Stamp,
};
use tokio::sync::oneshot;

use super::{
    Driver, Notice, Shared,
    questions::{Answer, Question},
};
use crate::{build::chain, clock, home::Membership, renewal};

/// Most platforms of a certificate.
const PLATFORMS_MAX: usize = 16;
/// Longest words of a refusal that are shown.
const WORDS_MAX: usize = 200;

/// What is told of a renewal that made nothing longer.
const NO_LONGER: &str = "the founding node gives none that lasts longer";

/// Who waits to hear of a renewal that was asked for by hand.
pub(crate) type Asker = oneshot::Sender<Result<Stamp, String>>;

/// Whether a node is the one whose key signs members.
pub(super) fn is_founder(membership: &Membership, node: NodeId) -> bool {
    membership.roster.genesis().founder == node
}

/// Who runs this node, as its certificate says.
pub(super) fn operator(shared: &Shared, membership: &Membership) -> String {
    let cert = membership.roster.vouches(shared.home.key.node());
    cert.map_or_else(
        || shared.config.operator.clone(),
        |cert| cert.operator.clone(),
    )
}

impl Driver {
    /// This node's own certificate, valid or not.
    fn own_cert(&self) -> Option<NodeCert> {
        let roster = &self.membership.roster;
        roster.vouches(self.shared.home.key.node()).cloned()
    }

    /// Sees to it that this node's certificate does not end.
    pub(crate) fn look_at_cert(&mut self) {
        let (now, time) = (clock::stamp(), clock::now());
        let Some(cert) = self.own_cert() else {
            return;
        };
        if self.is_founder() {
            if renewal::is_due(&cert, now)
                && let Err(why) = self.certify_itself()
            {
                tracing::warn!(%why, "could not renew the certificate");
            }
        } else if self.stance.renewal.is_due(&cert, now, time) && self.shared.mesh.is_some() {
            self.ask_for_cert(None);
        }
    }

    /// Renews now, because somebody asks for it.
    pub(crate) fn renew_now(&mut self, asker: Asker) {
        if self.is_founder() {
            drop(asker.send(self.certify_itself()));
        } else if self.stance.renewal.is_asked() {
            drop(asker.send(Err(
                "renew the certificate: that is under way already".to_owned(),
            )));
        } else {
            self.ask_for_cert(Some(asker));
        }
    }

    /// The founding node's certificate begins anew, if that makes it longer.
    fn certify_itself(&mut self) -> Result<Stamp, String> {
        let (home, config) = (&self.shared.home, &self.shared.config);
        let (roster, now) = (&self.membership.roster, clock::stamp());
        let (_, expires) = renewal::dates(now, config.cert_life);
        if let Some(held) = self.own_cert()
            && !renewal::outlives(expires, &held, now)
        {
            return Ok(held.expires);
        }
        let signed = home
            .renew(roster, (&config.operator, config.cert_life), now)
            .map_err(|error| chain(&error))?;
        self.take_cert(&signed)
    }

    /// A certificate for this node: checked, kept, then used and shown.
    pub(crate) fn take_cert(&mut self, signed: &Signed<NodeCert>) -> Result<Stamp, String> {
        let now = clock::stamp();
        let (me, held) = (self.shared.home.key.node(), self.own_cert());
        let roster = &self.membership.roster;
        let cert = roster
            .check(signed, now)
            .map_err(|refused| refused.to_string())?;
        if cert.node != me {
            return Err(format!("use a certificate: it is about {}", cert.node));
        }
        if let Some(held) = held
            && !renewal::outlives(cert.expires, &held, now)
        {
            return Ok(held.expires);
        }
        let home = &self.shared.home;
        home.keep_cert(&cert, signed)
            .map_err(|error| chain(&error))?;
        Arc::make_mut(&mut self.membership.roster)
            .admit(signed, now)
            .map_err(|refused| refused.to_string())?;
        self.membership.cert = signed.clone();
        if let Some(mesh) = &self.shared.mesh
            && let Err(error) = mesh.renew(signed.clone())
        {
            tracing::warn!(%error, "members do not know the node's new certificate yet");
        }
        self.changed = true;
        tracing::info!(expires = %cert.expires, "the certificate was renewed");
        Ok(cert.expires)
    }

    fn ask_for_cert(&mut self, asker: Option<Asker>) {
        self.stance.renewal.ask();
        let founder = self.membership.roster.genesis().founder;
        let members = self.membership.roster.members(clock::stamp());
        let council = members.filter(|cert| cert.tier == Tier::Council && cert.node != founder);
        let mut whom = vec![founder];
        whom.extend(council.map(|cert| cert.node));
        let platforms = self.stance.facts.platforms.iter();
        let platforms = platforms.map(|offered| offered.platform.clone());
        let question = Question::Renew {
            platforms: platforms.take(PLATFORMS_MAX).collect(),
        };
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn("renewal", async move {
            let found = ask(&shared, &whom, &question).await;
            let _ = shared.notices.send(Notice::Renewed { found, asker }).await;
        });
    }

    /// The council has answered, or nobody has.
    pub(crate) fn on_renewed(
        &mut self,
        found: Result<Signed<NodeCert>, String>,
        asker: Option<Asker>,
    ) {
        let taken = found.and_then(|signed| self.take_cert(&signed));
        let (now, time) = (clock::stamp(), clock::now());
        // One that leaves the next as due as before is no reason to ask again at once.
        let why = match &taken {
            Err(why) => why.as_str(),
            Ok(_) => NO_LONGER,
        };
        let due = self.own_cert();
        match due.filter(|cert| taken.is_err() || renewal::is_due(cert, now)) {
            Some(cert) => {
                tracing::debug!(%why, "the certificate was not renewed; it is tried again");
                let salt = self.shared.home.key.node().as_bytes()[0];
                let renewal = &mut self.stance.renewal;
                renewal.failed(why.to_owned(), &cert, (now, time), salt);
            }
            None => self.stance.renewal.done(),
        }
        self.changed = true;
        if let Some(asker) = asker {
            drop(asker.send(taken));
        }
    }

    /// A member asks for its next certificate. The connection has proved that it is that member.
    pub(crate) fn renew_member(
        &mut self,
        node: NodeId,
        platforms: Vec<Platform>,
    ) -> Result<Signed<NodeCert>, String> {
        if !self.is_founder() {
            return Err("only the founding node's key signs members".to_owned());
        }
        let now = clock::stamp();
        let mesh = self.membership.roster.mesh();
        let held = self.membership.roster.member(node, now);
        let held = held.cloned().ok_or("it is no member any more")?;
        let (not_before, expires) = renewal::dates(now, self.shared.config.cert_life);
        // What is fresh is handed out again: its answer was lost, or somebody asks without end. So is
        // what a new one would not outlive.
        let is_enough = renewal::is_fresh(&held, now) || !renewal::outlives(expires, &held, now);
        if is_enough
            && let Some(signed) = self.membership.certs.get(&node)
            && signed.open(mesh).is_ok_and(|cert| cert == held)
        {
            return Ok(signed.clone());
        }
        let cert = NodeCert {
            platforms: match platforms.is_empty() {
                true => held.platforms.clone(),
                false => platforms.into_iter().take(PLATFORMS_MAX).collect(),
            },
            not_before,
            expires,
            ..held
        };
        let home = &self.shared.home;
        let signed = Signed::sign(&home.key, &cert).map_err(|error| error.to_string())?;
        home.keep_cert(&cert, &signed)
            .map_err(|error| chain(&error))?;
        Arc::make_mut(&mut self.membership.roster)
            .admit(&signed, now)
            .map_err(|refused| refused.to_string())?;
        self.membership.certs.insert(node, signed.clone());
        if let Some(mesh) = &self.shared.mesh
            && let Err(error) = mesh.renew(signed.clone())
        {
            tracing::debug!(%error, "members hear of a renewed certificate from its node");
        }
        tracing::info!(node = %node.fmt_short(), "renewed a member's certificate");
        self.changed = true;
        Ok(signed)
    }

    /// What the operator should know of the certificate.
    pub(crate) fn cert_notice(&self) -> Option<String> {
        let cert = self.own_cert().filter(|_| !self.is_founder())?;
        self.stance.renewal.notice(&cert, clock::stamp())
    }
}

/// The first certificate that one of these nodes gives, or what they said instead.
async fn ask(
    shared: &Shared,
    whom: &[NodeId],
    question: &Question,
) -> Result<Signed<NodeCert>, String> {
    let mesh = shared.mesh.as_ref();
    let mesh = mesh.ok_or("renew the certificate: this node is in no network")?;
    let bytes = codec::encode::<{ limits::MESSAGE_BYTES_MAX }>(question);
    let bytes = bytes.map_err(|error| error.to_string())?;
    let mut told = Vec::new();
    for node in whom {
        let answer = mesh.request(*node, bytes.clone()).await;
        let answer = answer.map_err(|error| error.to_string()).and_then(|bytes| {
            codec::decode::<{ limits::MESSAGE_BYTES_MAX }, Answer>(&bytes)
                .map_err(|error| error.to_string())
        });
        match answer {
            Ok(Answer::Renewed(signed)) => return Ok(signed),
            Ok(Answer::Refused(why)) => {
                let why: String = why.chars().take(WORDS_MAX).collect();
                told.push(format!("{} refuses: {why}", node.fmt_short()));
            }
            Ok(_) => told.push(format!("{} answers something else", node.fmt_short())),
            Err(why) => told.push(why),
        }
    }
    Err(told.join("; "))
}
