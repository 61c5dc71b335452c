//! Doors for tests and fuzzers to this room's decoders of bytes that nobody vouches for. Each takes
//! such bytes, and answers what was read of them as it would be written again, or nothing where they
//! are refused. Nothing else calls them; they keep no state.

use caravan_protocol::codec;

pub use crate::logs::door::log;
use crate::{Pin, Use, cold::FrozenTree};

/// Bound of a row in a table of the store, bytes.
const ROW_BYTES_MAX: usize = 64 * 1024;

/// A row of the store's tables: each kind begins with a byte of its own.
#[must_use]
pub fn row(bytes: &[u8]) -> Option<Vec<u8>> {
    let (&kind, row) = bytes.split_first()?;
    let mut again = vec![kind];
    again.extend(match kind {
        0 => written(&codec::decode::<ROW_BYTES_MAX, Pin>(row).ok()?),
        1 => written(&codec::decode::<ROW_BYTES_MAX, Use>(row).ok()?),
        2 => written(&codec::decode::<ROW_BYTES_MAX, FrozenTree>(row).ok()?),
        _ => return None,
    });
    Some(again)
}

fn written(value: &impl serde::Serialize) -> Vec<u8> {
    codec::encode::<ROW_BYTES_MAX>(value).expect("it was read within the same bound")
}
