//! Revocations: the council's word that a node is out for good, which every node checks for itself.

use serde::{Deserialize, Serialize};

use super::{Ends, Record, Refused, Roster, Signed};
use crate::{
    ids::{MeshId, NodeId},
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
        Ends::Never
    }
}

impl Roster {
    /// Checks a revocation and strikes its node out.
    pub fn revoked_by(&mut self, signed: &Signed<Revocation>) -> Result<Revocation, Refused> {
        if signed.signer() != self.genesis.founder {
            return Err(Refused::NotCouncil {
                signer: signed.signer(),
            });
        }
        let revocation = signed.open(self.mesh)?;
        if revocation.node == self.genesis.founder {
            return Err(Refused::NotCouncil {
                signer: signed.signer(),
            });
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
