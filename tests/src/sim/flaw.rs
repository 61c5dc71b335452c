//! What can be wrong with a machine: owners that do not mean well, for storms, and broken programs,
//! to show that each invariant can fail. An honest, whole machine has neither.

use caravan_protocol::offer::{Command, Message};

/// Whether a machine's owner means well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// It does.
    Honest,
    /// It says that it would be done at once, and is slow.
    Braggart,
    /// It sends results of jobs that it never had.
    Impostor,
}

/// What is wrong with a machine's program, around an engine that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing.
    None,
    /// An owner forgets what it wants.
    Forgetful,
    /// An owner starts afresh again and again without a word to those who work for it.
    Restless,
    /// It runs more at once than its user allows.
    Greedy,
    /// An owner forgets where a job may run.
    Careless,
    /// It hears of no job and says nothing.
    Mute,
    /// It never notices that anybody goes.
    Clinging,
    /// It gossips everything twice.
    Chatty,
    /// It goes on with what it is to stop.
    Stubborn,
    /// It signs as somebody else.
    Masked,
    /// It answers bids that were never made.
    Confused,
    /// It tells its user twice that a job is done.
    Stuttering,
    /// It takes results for others as its own.
    Mixed,
}

impl Flaw {
    /// How often something is done that the engine asks for.
    #[must_use]
    pub const fn times(self, command: &Command) -> u32 {
        match (self, command) {
            (Self::Mute, Command::Send { .. } | Command::Gossip { .. })
            | (Self::Stubborn, Command::Stop { .. }) => 0,
            (Self::Chatty, Command::Gossip { .. }) | (Self::Stuttering, Command::Done { .. }) => 2,
            _ => 1,
        }
    }

    /// A message as it leaves the machine.
    #[must_use]
    pub fn say(self, mut message: Message) -> Message {
        if self == Self::Confused
            && let Message::Decline { nonce } | Message::Award { nonce, .. } = &mut message
        {
            *nonce ^= 1 << 63;
        }
        message
    }
}
