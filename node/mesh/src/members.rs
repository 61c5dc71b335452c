//! Who is here, as the rest of the node reads it: one value, replaced as a whole when something
//! changes, so reading never waits for the actor.

use std::{collections::BTreeMap, ops::Deref, sync::Arc};

use caravan_protocol::{
    identity::NodeCert,
    ids::NodeId,
    member::{Presence, Status},
    time::Stamp,
};

/// What this node knows of one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its certificate, checked.
    pub cert: NodeCert,
    /// Its own word about itself: machine, addresses, whether it takes work.
    pub presence: Option<Presence>,
    /// Where it stands, as its observers agree.
    pub status: Status,
    /// Since when it stands there, by this node's clock.
    pub since: Stamp,
    /// Whether there is a connection with it now.
    pub connected: bool,
    /// Whether there is none but through a relay.
    pub relayed: bool,
}

impl Member {
    /// Whether it is here: alive and not on its way out.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.status == Status::Live
    }

    /// Whether it is here and takes work by its own word.
    #[must_use]
    pub fn takes_work(&self) -> bool {
        self.is_live()
            && self
                .presence
                .as_ref()
                .is_some_and(|presence| presence.mode.takes_work())
    }
}

/// All members that this node knows, itself included, by id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members(pub(crate) BTreeMap<NodeId, Arc<Member>>);

impl Deref for Members {
    type Target = BTreeMap<NodeId, Arc<Member>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Members {
    /// Those that are here.
    pub fn live(&self) -> impl Iterator<Item = (&NodeId, &Arc<Member>)> {
        self.0.iter().filter(|(_, member)| member.is_live())
    }
}
