//! What is asked and told about invites. The driver of the founding node makes and keeps them;
//! nothing here does.

use caravan_protocol::{identity::Tier, ids::NodeId, limits::OPERATOR_BYTES_MAX, time::Stamp};
use serde::{Deserialize, Serialize};

/// An invite that is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteAsk {
    /// Who will run the node.
    pub operator: String,
    /// What it may do.
    pub tier: Tier,
    /// For how long it may be used, milliseconds.
    pub life_ms: u64,
    /// Where the new node finds this one, if it cannot know that itself.
    pub addresses: Vec<String>,
}

/// An invite that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteView {
    /// What it is called. It is not the secret and does not tell it.
    pub id: String,
    /// Who will run, or runs, the node; nothing where that is not known any more.
    pub operator: String,
    /// What the node may do.
    pub tier: Option<Tier>,
    /// Until when it may be used; nothing if it was used.
    pub expires: Option<Stamp>,
    /// The node that has used it.
    pub used_by: Option<NodeId>,
}

/// Whether certificates may name such an operator; what to do if not.
pub fn check_operator(operator: &str) -> Result<(), String> {
    let good = |c: char| c.is_alphanumeric() || "-_.@".contains(c);
    let fits = !operator.is_empty() && operator.len() <= OPERATOR_BYTES_MAX;
    if fits && operator.chars().all(good) {
        return Ok(());
    }
    Err(format!(
        "use another operator name than {operator:?}: letters, digits, - _ . @"
    ))
}
