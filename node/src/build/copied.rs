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
    /// The copy's own failure: another try would end the same.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// Makes the layer and lays it out, so that it can be mounted.
pub(super) fn layer(store: &Store, copy: &Copy) -> Result<TreeId, CopyError> {
    let from: Vec<TreeId> = match &copy.from {
        CopyFrom::Tree(tree) => vec![*tree],
        CopyFrom::Root { base, layers } => [*base].into_iter().chain(layers.clone()).collect(),
    };
    let mut trees: Vec<Tree> = Vec::with_capacity(from.len());
    for tree in from {
        trees.push(store.tree(tree)?);
    }
    let made = copy::layer(&View::new(&trees), copy)?;
    let id = store.put_tree(&made, &[])?;
    store.materialise(id)?;
    Ok(id)
}

#[cfg(test)]
mod tests;
