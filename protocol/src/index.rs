//! The cache across the mesh: where claims about an action are told, and where they are asked for.
//!
//! Every action key belongs to a few *index nodes*, drawn by rendezvous from the members that are
//! here, of distinct operators. Who keeps a final claim tells them, and says whether it has what the
//! claim names; who wants an action asks them before it is run. Claims are signed and are checked by
//! whoever takes them, so an index node needs no trust: it can only withhold, and the others are
//! asked as well. That a node holds a layer is its own word; a wrong one costs a vain fetch.
//!
//! One [`Engine`] per node does all of it: it tells, asks, and keeps what others told in a shelf that
//! is bounded by operator. It owns the shelf, in memory, and the queues. It reads no claim of the
//! node's store, opens no signature (that is [`check()`], on any thread) and weighs nothing.

use std::time::Duration;

use crate::time::Time;

mod check;
mod engine;
mod finder;
mod message;
mod places;
mod shelf;
mod teller;

pub use check::{Checked, Unfit, check};
pub use engine::{Command, Engine, Event};
pub use message::{Announced, Answer, Found, IndexError, Question};
pub use places::Places;

/// The domain of the rendezvous by which keys are given to index nodes.
pub const DOMAIN: &str = "caravan/index/1";
/// Index nodes of one action key.
pub const REPLICAS: usize = 3;
/// Parts into which keys are divided; a part has the same index nodes.
pub const PARTS: u16 = 4096;
/// Most claims in one announcement.
pub const ANNOUNCED_MAX: usize = 64;
/// Most keys of one question.
pub const KEYS_MAX: usize = 256;
/// Most claims about one action in the index and in one answer.
pub const CLAIMS_MAX: usize = 16;
/// Most claims about one action of the nodes of one operator.
pub const OPERATOR_CLAIMS_MAX: usize = 2;
/// Most nodes that the index names for what one action made.
pub const HOLDERS_MAX: usize = 12;
/// Most of them that one operator runs.
pub const OPERATOR_HOLDERS_MAX: usize = 4;
/// Largest question and answer, bytes.
pub const INDEX_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of claims after which an announcement or an answer is full.
pub const BATCH_BYTES: usize = 512 * 1024;
/// Bytes of claims that a node keeps for others.
pub const SHELF_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of them that the nodes of one operator have signed.
pub const SHARE_BYTES_MAX: usize = SHELF_BYTES_MAX / 2;
/// Most keys whose claims a node tells again when members change; of more, the first are forgotten.
pub const KNOWN_MAX: usize = 64 * 1024;
/// Most keys that wait to be told.
pub const DUE_MAX: usize = 4 * KNOWN_MAX;
/// Most look-ups at once; one more is answered at once with nothing.
pub const LOOKUPS_MAX: usize = 256;
/// Most keys of one look-up; more are not looked for.
pub const LOOKUP_KEYS_MAX: usize = 4096;
/// How long new claims are gathered before they are told.
pub const GATHER: Duration = Duration::from_millis(50);
/// Least time between two announcements to one node.
pub const PACE: Duration = Duration::from_millis(250);
/// How long after a failed announcement it is tried again.
pub const RETRY: Duration = Duration::from_secs(5);
/// How long an answer is waited for.
pub const PATIENCE: Duration = Duration::from_millis(200);
/// How long more answers are waited for once every key has one.
pub const GRACE: Duration = Duration::from_millis(20);
/// Messages to one node each second over time: a part of what a peer may send.
pub const MESSAGES_PER_S: u32 = 30;
/// Messages to one node at once.
pub const MESSAGES_BURST: u32 = 100;

/// How often one node is spoken to.
#[derive(Debug, Clone, Copy, Default)]
struct Pacer {
    /// When all that was sent is paid for.
    paid: Time,
}

impl Pacer {
    const EACH: Duration = Duration::from_millis(1000 / MESSAGES_PER_S as u64);
    const AHEAD: Duration =
        Duration::from_millis(1000 * (MESSAGES_BURST - 1) as u64 / MESSAGES_PER_S as u64);

    /// When the next message may go.
    fn next(&self) -> Time {
        let ahead = u64::try_from(Self::AHEAD.as_millis()).unwrap_or(u64::MAX);
        Time::from_ms(self.paid.as_ms().saturating_sub(ahead))
    }

    /// Takes the price of a message, if one may go now.
    fn spend(&mut self, now: Time) -> bool {
        let may = self.next() <= now;
        if may {
            self.paid = self.paid.max(now) + Self::EACH;
        }
        may
    }
}

#[cfg(test)]
mod tests;
