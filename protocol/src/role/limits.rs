//! Bounds of roles.

/// Nodes of a role's rank that keep its charges, beside whoever asked.
pub const KEEPERS: usize = 4;
/// Nodes of a role's rank that are looked at.
pub const RANKED_MAX: usize = 8;
/// Nodes that are told of one run.
pub const TOLD_MAX: usize = 16;
/// Runs that a node keeps charges of.
pub const CHARGES_MAX: usize = 1024;
/// Of them, those of one requester.
pub const CHARGES_PER_NODE_MAX: usize = 128;
/// Runs that have ended and are remembered as such.
pub const ENDED_MAX: usize = 4096;
/// Roles without a run that are remembered, for those who look.
pub const ROLES_MAX: usize = 128;
/// Nodes that one run is not left to, having failed at it or fallen silent.
pub const OUT_MAX: usize = 64;
/// Time between two words of a holder to the keepers of its runs.
pub const BEAT_MS: u64 = 1000;
/// Words of a holder that may be missing before the next one takes its runs over: with the kill of
/// a node right after its last word, that is four seconds.
pub const BEATS_MISSED_MAX: u32 = 4;
/// Lateness of the node's own beat after which it trusts no silence that it has noted.
pub const LATE_MS: u64 = 2500;
/// Beats for which the end of a run is told again to those who have not answered.
pub const END_BEATS: u32 = 30;
/// Longest life of a charge.
pub const CHARGE_LIFE_MS: u64 = 24 * 3600 * 1000;
/// Runs named in one beat.
pub const HOLD_MAX: usize = CHARGES_MAX;
/// Largest message of roles, bytes.
pub const MESSAGE_BYTES_MAX: usize = 768 * 1024;
/// Largest piece of what is shown of a run, bytes.
pub const SHOWN_BYTES_MAX: usize = 512 * 1024;
/// Longest role name, bytes.
pub const ROLE_BYTES_MAX: usize = 32;
/// Longest project name, bytes.
pub const PROJECT_BYTES_MAX: usize = 1024;
/// Longest other text of a charge, bytes.
pub const TEXT_BYTES_MAX: usize = 1024;
/// Most notes, repositories, bases, names and excluded nodes of a charge, each.
pub const LIST_MAX: usize = 64;
