//! The promises of membership in numbers: how long what is wrong may last. Each counts from the
//! moment at which the machines concerned run at full speed in a whole network.

/// A live node is not held to be dead for longer, milliseconds.
pub const FALSE_DEATH_MS: u64 = 60_000;
/// A node that crashed is known to be dead after this.
pub const DEATH_MS: u64 = 60_000;
/// A revocation is known everywhere after this where messages are not lost.
pub const REVOKED_MS: u64 = 10_000;
/// The same where they are.
pub const REVOKED_LOSSY_MS: u64 = 120_000;
/// All members see the same mesh after all faults.
pub const HEAL_MS: u64 = 180_000;
/// So long it must then stay as it is.
pub const QUIET_MS: u64 = 30_000;
/// So long a member's own word may be on its way to all others when nothing goes wrong.
pub const NEWS_MS: u64 = 5_000;
/// A newcomer has read the whole view after this.
pub const JOIN_MS: u64 = 60_000;
/// An expired certificate is known to be one this long after all clocks say so.
pub const EXPIRY_MS: u64 = 10_000;
/// Messages that an honest node sends in a minute of the worst storm.
pub const SENT_PER_MINUTE: u64 = 3000;
/// Largest message that was needed, bytes.
pub const MESSAGE_BYTES: usize = caravan_protocol::member::MEMBER_BYTES_MAX;
