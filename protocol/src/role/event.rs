//! What the engine is told, and what it asks for.

use super::{Charge, Message};
use crate::{
    identity::{Signed, Tier},
    ids::{NodeId, RunId},
    time::{Stamp, Time},
};

/// A node as the engine knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// What it may do.
    pub tier: Tier,
    /// Whether it takes work: neither paused, nor cordoned, nor going.
    pub open: bool,
}

/// What the engine is told.
#[derive(Debug, Clone)]
pub enum Event {
    /// A node is live and so, or not live any more. This node is one, too.
    Member {
        /// The node.
        node: NodeId,
        /// How it stands; nothing if it is gone.
        seat: Option<Seat>,
    },
    /// This node asks for a run.
    Charged {
        /// What is to be run, signed here.
        charge: Box<Signed<Charge>>,
        /// Whether it runs here already.
        running: bool,
    },
    /// A member said something. Charges were looked at before: their signers are members.
    Message {
        /// Who.
        from: NodeId,
        /// What.
        message: Message,
    },
    /// This node cannot run what it was to start.
    Unable(RunId),
    /// What runs here has come to its end, and those who should have its view.
    Settled(RunId),
    /// A run that was asked for here is not wanted any more.
    Cancelled(RunId),
    /// The time of [`Command::WakeAt`] has come.
    Tick,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its holder has brought it to its end.
    Settled,
    /// Its requester gave it up.
    Cancelled,
    /// Its charge has expired.
    Expired,
}

/// What the engine asks for. To be done in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Say this.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// A charge is kept here from now on: have what it names.
    Keep(RunId),
    /// Run it here, if it does not already.
    Start(RunId),
    /// Do not run it here any more: another holds it, or it is over. What it wanted is not given up
    /// for that.
    Stop(RunId),
    /// A run has this holder now.
    Holder {
        /// The run.
        run: RunId,
        /// Who; nothing while there is none.
        holder: Option<NodeId>,
        /// Since when, by the holder's clock.
        since: Stamp,
    },
    /// A run is over. It may still be told.
    Ended {
        /// The run.
        run: RunId,
        /// How.
        end: End,
    },
    /// Nothing of the run is kept any more.
    Forget(RunId),
    /// Tell [`Event::Tick`] at this time.
    WakeAt(Time),
    /// What a member said is not taken.
    Reject {
        /// Who.
        from: NodeId,
        /// Why.
        reason: String,
    },
}
