//! Names of machines and jobs by their numbers, and jobs as everybody wants them.

use caravan_protocol::{
    action::Limits,
    ids::{ActionKey, NodeId, RoleId, TreeId},
    offer::{JobId, Layer, Place, Priority, ProjectKey, Rate, Want},
};

use super::plan::x86;

fn bytes(number: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (at, chunk) in bytes.chunks_mut(8).enumerate() {
        let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 + at as u64 * 2);
        chunk.copy_from_slice(&mixed.to_be_bytes());
    }
    bytes
}

/// The name of machine `index`.
#[must_use]
pub fn node(index: usize) -> NodeId {
    NodeId::from_bytes(bytes(index as u64))
}

/// The name of job `number`.
#[must_use]
pub fn job(number: u64) -> JobId {
    JobId::from(ActionKey::from_bytes(bytes(1_000_000 + number)))
}

/// The role that machine `founder` held first.
#[must_use]
pub(super) fn role(founder: usize) -> RoleId {
    RoleId::from_bytes(bytes(2_000_000 + founder as u64))
}

/// Bytes that a usual link carries in a millisecond.
pub(super) const BYTES_PER_MS: u64 = 12_500;

/// What the jobs of a lineage run on top of: on a usual link it takes so long to fetch.
#[must_use]
pub(super) fn layer(lineage: u32, fetch_ms: u64) -> Layer {
    let mut tree = bytes(3_000_000 + u64::from(lineage));
    tree[..4].copy_from_slice(&lineage.to_be_bytes());
    let tree = TreeId::from_bytes(tree);
    let bytes = fetch_ms * BYTES_PER_MS;
    Layer { tree, bytes }
}

/// The lineage of a layer.
#[must_use]
pub(super) fn lineage_of(tree: TreeId) -> u32 {
    let [a, b, c, d, ..] = *tree.as_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// A job that everybody may do.
#[must_use]
pub fn want(number: u64, cost_ms: u64) -> Want {
    Want {
        job: job(number),
        platform: x86(),
        priority: Priority::Normal,
        project: ProjectKey::NONE,
        rate: Rate::USUAL,
        both: false,
        cost_ms,
        remote_ok: true,
        needs: Limits::NOTHING,
        place: Place::default(),
        lineage: Vec::new(),
        missing_bytes: 0,
        holders: Vec::new(),
        role: None,
        action: number.to_be_bytes().to_vec(),
    }
}
