//! Claims: what a node signs about an action that it ran.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    identity::{Ends, Record},
    ids::{ActionKey, BlobId, MeshId, TreeId},
    time::Stamp,
};

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The command exited with 0, or the fetched bytes match.
    Pass,
    /// The command failed by itself: a property of the action.
    Fail,
    /// The machine or the network failed. Never final; retried elsewhere.
    Infra,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Infra => "infra",
        })
    }
}

/// Where and with what an action ran.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Environment {
    /// Version of the program.
    pub version: String,
    /// Sandbox profile that was entered.
    pub sandbox: String,
    /// Kernel release of the host.
    pub kernel: String,
}

/// "This action gave that output", as one node says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The mesh in which it is said.
    pub mesh: MeshId,
    /// What was run.
    pub action: ActionKey,
    /// How it ended.
    pub verdict: Verdict,
    /// The layer or tree that it made, if it passed and makes one.
    pub output: Option<TreeId>,
    /// Its named outputs, by name.
    pub outputs: BTreeMap<String, BlobId>,
    /// Its log.
    pub log: Option<BlobId>,
    /// When it began.
    pub started: Stamp,
    /// Wall clock that it took, milliseconds.
    pub wall_ms: u64,
    /// Processor time that it took, milliseconds.
    pub cpu_ms: u64,
    /// Where it ran.
    pub environment: Environment,
}

impl Record for Claim {
    const DOMAIN: &'static str = "caravan/claim/1";
    fn mesh(&self) -> MeshId {
        self.mesh
    }

    fn ends(&self) -> Ends {
        Ends::Never
    }
}
