//! Freezing and thawing trees as people ask for it.

use caravan_protocol::ids::TreeId;
use caravan_store::{Collect, Idle, PackOptions, Store, StoreError, Used};
use serde::{Deserialize, Serialize};

use super::{Tell, collect, is_unknown, now_s, tree_of};
use crate::{build::chain, control::Reply};

/// Most trees that are frozen or thawed at once.
const TREES_MAX: usize = 100_000;

/// What freezing came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Froze {
    /// The trees, in the order in which they were frozen.
    pub trees: Vec<FrozeTree>,
    /// Packs that were written.
    pub packs: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// Bytes of blobs that were packed, or would be.
    pub blob_bytes: u64,
    /// Bytes that were freed by then.
    pub freed_bytes: u64,
    /// Whether it was stopped before its end. What is told of is done.
    pub stopped: bool,
}

/// A tree that was frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozeTree {
    /// The tree.
    pub tree: TreeId,
    /// Sum of its file sizes.
    pub bytes: u64,
    /// Whether it stays mountable, because it is pinned or in use.
    pub mountable: bool,
    /// A few words about it.
    pub words: String,
}

/// A tree that is mountable again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thawed {
    /// The tree.
    pub tree: TreeId,
    /// Blobs that only packs had.
    pub blobs: u64,
}

/// Which trees are to be frozen.
pub(super) struct Which<'a> {
    pub(super) what: &'a [String],
    /// Those besides that were not used for so long.
    pub(super) idle: Option<Idle>,
    pub(super) dry_run: bool,
}

pub(super) fn freeze(
    store: &Store,
    which: &Which<'_>,
    tell: &mut Tell<'_>,
) -> Result<Froze, String> {
    if is_unknown(store)? {
        return Err("freeze trees: the store was written by an older version, and the node has not looked at it yet; start it once with `caravan node run`".to_owned());
    }
    let words = |error: StoreError| chain(&error);
    let trees = chosen(store, which)?;
    let ids: Vec<TreeId> = trees.iter().map(|tree| tree.tree).collect();
    let _lease = which.dry_run.then(|| store.lease(&ids));
    let mut froze = Froze::default();
    let mut by_id: std::collections::BTreeMap<TreeId, FrozeTree> =
        trees.into_iter().map(|tree| (tree.tree, tree)).collect();
    for group in store.siblings(&ids).map_err(words)? {
        let mut cooled = Vec::new();
        if which.dry_run {
            froze.blob_bytes += store.unfrozen(&group).map_err(words)?.1;
        } else {
            match freeze_group(store, &group, tell, &mut froze) {
                Err(StoreError::Stopped { .. }) => {
                    froze.stopped = true;
                    break;
                }
                other => other.map_err(words)?,
            }
            cooled = store.cool(&group).map_err(words)?;
        }
        for tree in group {
            froze.trees.extend(by_id.remove(&tree).map(|row| FrozeTree {
                mountable: row.mountable && !cooled.contains(&tree),
                ..row
            }));
        }
    }
    if !which.dry_run && !froze.stopped && !froze.trees.is_empty() {
        let ask = Collect {
            now_s: now_s(),
            ..Collect::default()
        };
        froze.freed_bytes = collect(store, &ask, &|| true, tell)
            .map_err(words)?
            .freed_bytes;
    }
    Ok(froze)
}

fn freeze_group(
    store: &Store,
    group: &[TreeId],
    tell: &mut Tell<'_>,
    froze: &mut Froze,
) -> Result<(), StoreError> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut progress = progress("freezing trees", tell);
    let frozen = store.freeze_beside(group, PackOptions::cold(threads), &mut progress)?;
    froze.packs += u64::from(frozen.pack.is_some());
    froze.pack_bytes += frozen.bytes;
    froze.blob_bytes += frozen.blob_bytes;
    Ok(())
}

/// The trees that are meant. Of those that are idle, only what is not frozen yet.
fn chosen(store: &Store, which: &Which<'_>) -> Result<Vec<FrozeTree>, String> {
    let words = |error: StoreError| chain(&error);
    let rows = store.rows().map_err(words)?;
    let mut trees: Vec<FrozeTree> = Vec::new();
    for what in which.what {
        let tree = tree_of(store, what)?;
        let row = rows.iter().find(|row| row.blob == tree.blob());
        trees.push(FrozeTree {
            tree,
            bytes: row.map_or(0, |row| row.bytes),
            mountable: row.is_some_and(|row| row.laid_out),
            words: row.map(|row| row.words.clone()).unwrap_or_default(),
        });
    }
    if let Some(idle) = which.idle.and_then(Idle::seconds) {
        let now_s = now_s();
        for row in rows {
            let is_idle = row.last_s.saturating_add(idle) <= now_s;
            let tree = TreeId::from(row.blob);
            // What is no more here than by name is nobody's to freeze.
            if row.kind == Used::Tree
                && is_idle
                && !row.frozen
                && store.missing(tree).map_err(words)?.is_empty()
            {
                trees.push(FrozeTree {
                    tree,
                    bytes: row.bytes,
                    mountable: row.laid_out,
                    words: row.words,
                });
            }
        }
    }
    trees.sort_by_key(|tree| tree.tree);
    trees.dedup_by_key(|tree| tree.tree);
    if trees.len() > TREES_MAX {
        return Err(format!(
            "freeze {} trees at once: at most {TREES_MAX}; give a longer --idle",
            trees.len()
        ));
    }
    Ok(trees)
}

pub(super) fn thaw(
    store: &Store,
    what: &[String],
    tell: &mut Tell<'_>,
) -> Result<Vec<Thawed>, String> {
    let trees: Result<Vec<TreeId>, String> = what.iter().map(|what| tree_of(store, what)).collect();
    let mut thawed = Vec::new();
    for tree in trees? {
        let blobs = store
            .thaw(tree, &mut progress("thawing trees", tell))
            .map_err(|error| chain(&error))?;
        thawed.push(Thawed { tree, blobs });
    }
    Ok(thawed)
}

/// Passes on how far it is.
fn progress<'a>(what: &'a str, tell: &'a mut Tell<'_>) -> impl FnMut(u64, u64) -> bool + 'a {
    move |done, total| {
        let what = what.to_owned();
        tell(Reply::Progress { what, done, total })
    }
}
