//! Roles: which node holds a project's policy, without a server and without a vote. A role's seat
//! goes by rendezvous hashing over the nodes that are live and open; what is to be run is a signed
//! [`Charge`], kept by whoever asked and by the first few in the role's rank. The first of them
//! starts it; when it goes, the next one does, from the charge and from claims.
//!
//! **Rule.** A new run goes to the rank's first. A run stays with its holder as long as that one
//! lives, is open and is heard, whoever comes up meanwhile. When two hold one run, as after a cut
//! in the network, the one that ranks lower yields. Trusted nodes and the council rank before all
//! donors. Where nobody can, the requester runs it itself.
//!
//! The [`Engine`] owns the runs that this node has to do with. It starts nothing and sends nothing:
//! that leaves as commands. Roles here are pure: held twice for a moment, they cost work and no more.

use crate::ids::{BlobId, NodeId, RoleId, RunId};

mod attend;
mod beat;
mod charge;
mod engine;
mod event;
pub mod limits;
mod message;
mod ranks;

pub use charge::{Charge, Content, Repository, Subject, Unfit};
pub use engine::{Engine, Standing};
pub use event::{Command, End, Event, Seat};
pub use message::{Message, MessageError};
pub use ranks::Ranks;

impl RoleId {
    /// The role of this name for this project.
    #[must_use]
    pub fn of(role: &str, project: &str) -> Self {
        let text = format!("caravan/role/1\0{role}\0{project}");
        Self::from_bytes(*BlobId::of(text.as_bytes()).as_bytes())
    }
}

/// The name of a run that `requester` asked for at this moment. Only it can ask for one of that
/// name, for the charge is signed.
#[must_use]
pub fn run_id(requester: NodeId, role: &str, project: &str, issued: crate::time::Stamp) -> RunId {
    let text = format!(
        "caravan/run/2\0{requester}\0{role}\0{project}\0{}",
        issued.as_ms()
    );
    RunId::from_bytes(*BlobId::of(text.as_bytes()).as_bytes())
}

#[cfg(test)]
mod tests;
