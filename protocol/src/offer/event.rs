//! What an engine is told and what it asks for.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    AttemptId, Digest, GaveUp, JobId, Loss, Message, Missing, Phase, Place, Priority, ProjectKey,
    Rate, Rejection, Resources,
};
use crate::{
    action::Limits,
    claim::Verdict,
    ids::{NodeId, RoleId, TreeId},
    platform::Platform,
    time::Time,
};

/// A job as its owner's driver asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// The job.
    pub job: JobId,
    /// What it runs on.
    pub platform: Platform,
    /// Which jobs it goes before.
    pub priority: Priority,
    /// In whose name it waits: the queue is shared fairly between these.
    pub project: ProjectKey,
    /// What part of the queue that one is due.
    pub rate: Rate,
    /// Whether a second attempt is let go on after the first has a result: for who wants two
    /// operators to agree.
    pub both: bool,
    /// How long it is thought to take, milliseconds.
    pub cost_ms: u64,
    /// Whether another node may run it.
    pub remote_ok: bool,
    /// What it asks for of the node that runs it.
    pub needs: Limits,
    /// Where it may run of all the nodes that could take it.
    pub place: Place,
    /// What it runs on top of, the layer that was made last at the end: at most
    /// [`LINEAGE_MAX`](crate::limits::LINEAGE_MAX) of them, the last ones.
    pub lineage: Vec<Layer>,
    /// Bytes of these that are not on this node.
    pub missing_bytes: u64,
    /// Nodes that are thought to have all of them, the best first: at most
    /// [`HOLDERS_MAX`](crate::limits::HOLDERS_MAX).
    pub holders: Vec<NodeId>,
    /// In whose name it is wanted: should that role go to another node, attempts go on for it.
    pub role: Option<RoleId>,
    /// The encoded action: opaque here.
    pub action: Vec<u8>,
}

/// One layer below a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Layer {
    /// The layer.
    pub tree: TreeId,
    /// Its size, bytes; 0 where the owner does not know it.
    pub bytes: u64,
}

/// What the engine is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Have this job done. Wanted again while it is open, at most its priority rises.
    Want(Want),
    /// The job's result is no longer of interest.
    Unwant(JobId),
    /// A member can be reached, or what it builds for has changed.
    PeerUp {
        /// The member.
        node: NodeId,
        /// Who runs it: no job is tried on two nodes of one operator at the same time.
        operator: String,
        /// What it may build for; nothing while it takes no work.
        platforms: BTreeSet<Platform>,
        /// Those of them that it only emulates.
        emulated: BTreeSet<Platform>,
    },
    /// A member can no longer be reached.
    PeerDown(NodeId),
    /// A digest was gossiped.
    Heard {
        /// Who signed it.
        from: NodeId,
        /// The platform on whose topic it came.
        platform: Platform,
        /// What it says.
        digest: Digest,
    },
    /// A message came from a member that is up.
    Message {
        /// Who sent it.
        from: NodeId,
        /// What it says.
        message: Message,
    },
    /// An attempt that [`Command::Run`] started, whether stopped since or not, has ended and left
    /// nothing running. Exactly one follows each `Run`.
    Finished {
        /// Which.
        attempt: AttemptId,
        /// How it ended.
        verdict: Verdict,
        /// The signed claim: opaque here.
        outcome: Vec<u8>,
    },
    /// How far an attempt is that runs here.
    Progress {
        /// Which.
        attempt: AttemptId,
        /// What it is at.
        phase: Phase,
    },
    /// The answer to [`Command::Appraise`].
    Appraised {
        /// Which question.
        appraisal: u64,
        /// Bytes that would have to be fetched.
        missing_bytes: u64,
        /// How fast this node fetches, as measured; 0 where it was not yet.
        bytes_per_s: u64,
    },
    /// The role is held by this node now, or by nobody that is known.
    Holder {
        /// The role.
        role: RoleId,
        /// Who holds it.
        node: Option<NodeId>,
    },
    /// This node has so much for jobs from now on; those that run are not stopped.
    Capacity(Resources),
    /// This node runs so many usual jobs at once from now on; those that run are not stopped.
    Slots(u32),
    /// Whether this node starts no attempts; those that run are not stopped.
    Pause(bool),
    /// Whether this node takes jobs of others; those that run are not stopped.
    Lend(bool),
    /// The time asked for by [`Command::WakeAt`] has come.
    Tick,
}

/// What the engine asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Run this action here and report [`Event::Finished`]. Never asked twice for one attempt that
    /// has not finished.
    Run {
        /// Which; its owner may be this node or another.
        attempt: AttemptId,
        /// The encoded action.
        action: Vec<u8>,
        /// Nodes that are thought to have what is below it.
        holders: Vec<NodeId>,
    },
    /// Say how much of this would have to be fetched to run a job on it here:
    /// [`Event::Appraised`] is due, the sooner the better.
    Appraise {
        /// Names the question in the answer.
        appraisal: u64,
        /// What the job runs on top of.
        lineage: Vec<Layer>,
    },
    /// Stop an attempt that runs here. [`Event::Finished`] is still due, with any verdict.
    Stop {
        /// Which.
        attempt: AttemptId,
    },
    /// Send a message to a member that is up.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Gossip a digest on the platform's topic.
    Gossip {
        /// The platform.
        platform: Platform,
        /// The digest.
        digest: Digest,
    },
    /// Give [`Event::Tick`] at this time. A later `WakeAt` replaces an earlier one.
    WakeAt(Time),
    /// An own job was given to another node.
    Placed {
        /// The attempt.
        attempt: AttemptId,
        /// Who runs it.
        node: NodeId,
    },
    /// An own job's attempt on another node is further than it was.
    Progress {
        /// The attempt.
        attempt: AttemptId,
        /// Who runs it.
        node: NodeId,
        /// What it is at.
        phase: Phase,
    },
    /// An own job waits for more than a free slot. Said once per reason.
    Waiting {
        /// The job.
        job: JobId,
        /// What is missing.
        reason: Missing,
    },
    /// An own job's attempt came to nothing; the job goes on.
    Lost {
        /// The attempt.
        attempt: AttemptId,
        /// Who ran it.
        node: NodeId,
        /// What happened.
        loss: Loss,
        /// What the node says about it; empty where it said nothing.
        outcome: Vec<u8>,
    },
    /// An own job has ended. Said once per wanted job, and nothing follows about it but `Late`.
    Done {
        /// The attempt that ended it.
        attempt: AttemptId,
        /// Who ran it.
        node: NodeId,
        /// `Pass` or `Fail`.
        verdict: Verdict,
        /// The signed claim, not yet believed.
        outcome: Vec<u8>,
    },
    /// An own job was given up. Said instead of `Done`.
    GaveUp {
        /// The job.
        job: JobId,
        /// Why.
        reason: GaveUp,
    },
    /// A result came that closes nothing: its claim may be of use all the same.
    Late {
        /// The attempt as its sender names it.
        attempt: AttemptId,
        /// Who sent it.
        node: NodeId,
        /// What it says.
        verdict: Verdict,
        /// The signed claim, not yet believed.
        outcome: Vec<u8>,
    },
    /// A member said something that no honest member says. Nothing was changed by it.
    Reject {
        /// Who.
        from: NodeId,
        /// What was wrong.
        reason: Rejection,
    },
}
