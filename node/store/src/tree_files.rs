//! A tree of the store as policies read files: by path, following nothing.

use std::sync::Arc;

use caravan_protocol::{
    files::Files,
    ids::TreeId,
    tree::{Kind, Tree},
};

use crate::{error::Result, leases::Lease, limits::TREE_FILE_BYTES_MAX, store::Store};

/// The regular files of one tree, each of at most [`TREE_FILE_BYTES_MAX`] bytes. Links, whiteouts
/// and larger files are not shown, and neither are names that are not UTF-8.
pub struct TreeFiles {
    store: Store,
    id: TreeId,
    tree: Tree,
    /// It is not collected while somebody reads it.
    _lease: Lease,
}

impl TreeFiles {
    /// The files of the tree `id`, whose encoding must be in the store.
    pub fn open(store: &Store, id: TreeId) -> Result<Self> {
        Ok(Self {
            _lease: store.lease(&[id]),
            tree: store.tree(id)?,
            store: store.clone(),
            id,
        })
    }

    /// The tree.
    #[must_use]
    pub const fn tree(&self) -> &Tree {
        &self.tree
    }
}

impl std::fmt::Debug for TreeFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TreeFiles({})", self.id.fmt_short())
    }
}

impl Files for TreeFiles {
    fn read(&self, path: &str) -> Option<Arc<[u8]>> {
        match self.tree.get(path.as_bytes())?.kind {
            Kind::File { blob, size } if size <= TREE_FILE_BYTES_MAX => {
                match self.store.read_blob(blob, size) {
                    Ok(bytes) => Some(bytes.into()),
                    Err(error) => {
                        tracing::warn!(tree = %self.id, path, %error, "a tree's file is not there");
                        None
                    }
                }
            }
            _ => None,
        }
    }

    fn list(&self, dir: &str) -> Vec<String> {
        let prefix = match dir {
            "" => Vec::new(),
            dir => [dir.as_bytes(), b"/"].concat(),
        };
        let entries = self.tree.entries();
        let mut names = Vec::new();
        let mut at = entries.partition_point(|entry| entry.path < prefix);
        while let Some(entry) = entries.get(at) {
            let Some(rest) = entry.path.strip_prefix(prefix.as_slice()) else {
                break;
            };
            if let Some(slash) = rest.iter().position(|&b| b == b'/') {
                // Inside a child: on to what sorts after everything below it.
                let mut after = [&prefix, &rest[..slash]].concat();
                after.push(b'/' + 1);
                at += entries[at..].partition_point(|entry| entry.path < after);
                continue;
            }
            at += 1;
            let shown = match entry.kind {
                Kind::Dir { .. } => !rest.is_empty(),
                Kind::File { size, .. } => size <= TREE_FILE_BYTES_MAX,
                Kind::Symlink { .. } | Kind::Whiteout => false,
            };
            if shown && let Ok(name) = std::str::from_utf8(rest) {
                names.push(name.to_owned());
            }
        }
        names
    }
}
