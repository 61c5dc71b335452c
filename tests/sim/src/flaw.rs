//! What can be wrong with a machine's program: hostile ones for storms, broken ones to show that
//! each invariant can fail. An honest, whole program has none.

use std::hash::{BuildHasher, Hasher, RandomState};

use caravan_protocol::member::{Batch, Kind, Message};

/// What is wrong with a machine's program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing.
    None,
    /// It is a member and tries to do harm, whenever the plan says so.
    Hostile,
    /// It never takes in records of this kind from others.
    Deaf(Kind),
    /// It believes records that their signer may not sign.
    Gullible,
    /// It sends everything many times.
    Chatty,
    /// It accuses those who said farewell.
    Rude,
    /// It loses messages in a way that no seed decides.
    Moody,
}

impl Flaw {
    /// How often a message is sent.
    #[must_use]
    pub fn copies(self) -> u32 {
        match self {
            Self::Chatty => 40,
            Self::Moody => u32::from(!RandomState::new().build_hasher().finish().is_multiple_of(4)),
            _ => 1,
        }
    }

    /// A message as the program takes it in.
    #[must_use]
    pub fn hear(self, message: Message) -> Message {
        let Self::Deaf(kind) = self else {
            return message;
        };
        let hear = |batch: &Batch| {
            let records = batch.0.iter().filter(|record| record.kind != kind);
            Batch(records.cloned().collect())
        };
        match message {
            Message::Records(batch) => Message::Records(hear(&batch)),
            Message::Page(mut page) => {
                page.records = hear(&page.records);
                Message::Page(page)
            }
            other => other,
        }
    }
}
