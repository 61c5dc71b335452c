//! Copies: files of one tree, or of what a stack of layers shows, as a layer of their own. Which
//! entries those are is decided over listings; no content is read, and the layer's files are those
//! that the store has.

use caravan_protocol::{
    action::{Copy, CopyFrom},
    ids::TreeId,
    tree::{
        Tree,
        copy::{self, CopyError as Refused},
        view::View,
    },
};
use caravan_store::{Store, StoreError};

/// Why nothing was copied.
#[derive(Debug, thiserror::Error)]
pub(super) enum CopyError {
    /// The store's trouble, not the copy's.
    #[error("copy files")]
    Store(#[from] StoreError),
    /// It was cancelled.
    #[error("copy files: cancelled")]
    Stopped,
    /// The copy's own failure: another try would end the same.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// Makes the layer and lays it out, so that it can be mounted. `stop` is asked between its parts,
/// each of which is bounded by the size of a tree.
pub(super) fn layer(
    store: &Store,
    copy: &Copy,
    stop: &dyn Fn() -> bool,
) -> Result<TreeId, CopyError> {
    let go_on = || match stop() {
        true => Err(CopyError::Stopped),
        false => Ok(()),
    };
    let from: Vec<TreeId> = match &copy.from {
        CopyFrom::Tree(tree) => vec![*tree],
        CopyFrom::Root { base, layers } => [*base].into_iter().chain(layers.clone()).collect(),
    };
    let mut trees: Vec<Tree> = Vec::with_capacity(from.len());
    for tree in from {
        go_on()?;
        trees.push(store.tree(tree)?);
    }
    go_on()?;
    let made = copy::layer(&View::new(&trees), copy)?;
    go_on()?;
    let id = store.put_tree(&made, &[])?;
    go_on()?;
    store.materialise(id)?;
    Ok(id)
}

#[cfg(test)]
mod tests;
