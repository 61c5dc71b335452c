//! Revocations: the council's word that a node is out for good, which every node checks for itself.

use serde::{Deserialize, Serialize};

use super::{Ends, Record, Refused, Roster, Signed};
use crate::{
    ids::{MeshId, NodeId},
    limits,
    time::Stamp,
};

/// A node is out, whatever certificate it shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// The mesh.
    pub mesh: MeshId,
    /// Who is out.
    pub node: NodeId,
    /// Since when.
    pub at: Stamp,
}

impl Record for Revocation {
    const DOMAIN: &'static str = "caravan/revocation/1";
    fn mesh(&self) -> MeshId {
        self.mesh
    }

    fn ends(&self) -> Ends {
        Ends::after(self.at, limits::REVOCATION_LIFE_MS)
    }
}

impl Roster {
    /// Checks a revocation that was said or kept here, and strikes its node out: for good, since what
    /// is kept here is nobody's replay.
    pub fn revoked_by(&mut self, signed: &Signed<Revocation>) -> Result<Revocation, Refused> {
        self.strike(signed, None)
    }

    /// The same for a revocation that comes from others: one that is so old that its node can have no
    /// certificate any more is refused.
    pub fn told_revoked(
        &mut self,
        signed: &Signed<Revocation>,
        now: Stamp,
    ) -> Result<Revocation, Refused> {
        self.strike(signed, Some(now))
    }

    fn strike(
        &mut self,
        signed: &Signed<Revocation>,
        now: Option<Stamp>,
    ) -> Result<Revocation, Refused> {
        let signer = signed.signer();
        if signer != self.genesis.founder {
            return Err(Refused::NotCouncil { signer });
        }
        let revocation = match now {
            Some(now) => signed.open_at(self.mesh, now)?,
            None => signed.open(self.mesh)?,
        };
        if revocation.node == self.genesis.founder {
            return Err(Refused::NotCouncil { signer });
        }
        self.revoke(revocation.node, revocation.at);
        Ok(revocation)
    }

    /// Whether a node was revoked.
    #[must_use]
    pub fn is_revoked(&self, node: NodeId) -> bool {
        self.revoked.contains_key(&node)
    }
}
