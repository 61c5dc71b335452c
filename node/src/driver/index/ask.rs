//! Asking the mesh, from a policy's own thread, for all that it wants at once.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use caravan_mesh::Wanted;
use caravan_protocol::{
    action::{Action, Work},
    claim::Claim,
    ids::{ActionKey, BlobId, NodeId},
    limits,
};
use tokio::sync::oneshot;

use super::{Notice, Shared, Told, live};
use crate::driver::inputs;

/// Longest wait for the named outputs of what was found.
const OUTPUTS_WAIT: Duration = Duration::from_secs(20);

/// Whether a step is shown a secret: nothing about it is told or asked.
pub(super) fn is_secret(action: &Action) -> bool {
    matches!(&action.work, Work::Run(run) if !run.secrets.is_empty())
}

/// Asks the index for these wishes, and brings the named outputs of what is found. Says whether
/// there is anything new. Called where blocking is allowed.
pub(crate) fn look_up(shared: &Arc<Shared>, wishes: &[&Action]) -> bool {
    if shared.mesh.is_none() {
        return false;
    }
    let open = wishes.iter().filter(|action| !is_secret(action));
    let keys: BTreeSet<ActionKey> = open.filter_map(|action| action.key().ok()).collect();
    if keys.is_empty() {
        return false;
    }
    let (reply, answer) = oneshot::channel();
    let keys = keys.into_iter().collect();
    let asked = Notice::Index(Told::Find { keys, reply });
    // The engine answers within its bound, and a driver that is gone has dropped the question.
    if shared.notices.blocking_send(asked).is_err() {
        return false;
    }
    let found = answer.blocking_recv().unwrap_or_default();
    let mut blobs: BTreeSet<BlobId> = BTreeSet::new();
    let mut nodes: BTreeSet<NodeId> = BTreeSet::new();
    for found in &found {
        let said = found.claims.iter();
        let said: Vec<Claim> = said.filter_map(|claim| shared.read_claim(claim)).collect();
        shared.gathered.take(found, &said);
        let outputs = said.iter().flat_map(|claim| claim.outputs.values());
        let mut outputs = outputs.copied().peekable();
        if outputs.peek().is_some() {
            blobs.extend(outputs.take(limits::OUTPUTS_MAX));
            nodes.extend(
                found
                    .claims
                    .iter()
                    .map(caravan_protocol::identity::Signed::signer),
            );
            nodes.extend(&found.holders);
        }
    }
    bring_outputs(shared, &blobs, nodes);
    !found.is_empty()
}

/// Named outputs are small, and come when the claim that names them is used. One that does not come
/// makes its claim of no use, and the step is run.
fn bring_outputs(shared: &Arc<Shared>, blobs: &BTreeSet<BlobId>, nodes: BTreeSet<NodeId>) {
    if blobs.is_empty() {
        return;
    }
    let wanted: Vec<Wanted> = blobs
        .iter()
        .map(|blob| Wanted::at_most(*blob, limits::OUTPUT_BYTES_MAX))
        .collect();
    let providers = live(shared, nodes);
    let fetch = inputs::fetch_all(shared, &[], &wanted, &providers);
    let runtime = tokio::runtime::Handle::current();
    match runtime.block_on(async { tokio::time::timeout(OUTPUTS_WAIT, fetch).await }) {
        Ok(Ok(bytes)) => tracing::debug!(bytes, "named outputs came from members"),
        Ok(Err(why)) => tracing::info!(%why, "named outputs of members did not come"),
        Err(_) => tracing::info!("named outputs of members took too long"),
    }
}
