//! The cold form: trees whose blobs lie in packs. Freezing writes a pack with all blobs of some
//! trees that no pack has yet; from then on their objects and layers may be forgotten, and come back
//! when they are wanted: small reads are answered from the pack itself, a layer that is laid out has
//! its blobs thawed first. A blob may be an object, in packs, or both; it is missing only when it
//! is neither.
//!
//! Packs are placed as objects are: durable where they are made, renamed, and last named by the
//! index. They are never changed. What a pack turns out not to have is forgotten of it, and is
//! missing like anything else that is lost. A collection drops packs; `docs/PACKS.md` says when.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read},
    sync::Arc,
};

use caravan_pack::{Alone, Elsewhere, Others, Pack, PackError, PackId};
use caravan_protocol::{
    ids::{BlobId, TreeId},
    limits::TREE_BYTES_MAX,
    tree::Tree,
};

use crate::{
    error::{Result, StoreError},
    store::{Inner, Store},
    work::Work,
};

mod check;
mod files;
mod freeze;
mod source;
mod table;
mod thaw;

pub(crate) use check::check;
#[cfg(test)]
pub(crate) use files::remove_orphan;
pub(crate) use files::{Open, going, recover, remove_files};
pub use freeze::Frozen;
pub(crate) use freeze::{Plan, freeze, plan, replace};
pub use table::PackFacts;
pub(crate) use table::{FrozenTree, Going, all, forget, frozen, is_frozen, peek};

impl Store {
    /// The packs of this store, with what is known of them.
    pub fn packs(&self) -> Result<Vec<(PackId, PackFacts)>> {
        table::all(&self.inner)
    }

    /// How many trees are known to be wholly in packs.
    pub fn frozen(&self) -> Result<u64> {
        Ok(table::frozen(&self.inner)?.len() as u64)
    }

    /// Whether this tree is known to be wholly in packs.
    pub fn is_frozen(&self, tree: TreeId) -> Result<bool> {
        table::is_frozen(&self.inner, tree)
    }

    /// Forgets a pack and removes its file. One on which others lean stays, and one that alone has
    /// something which is pinned or in use; that is an error.
    pub fn drop_pack(&self, pack: PackId) -> Result<()> {
        files::remove(self, pack)
    }

    /// Takes a pack that another node made: `reader` gives its bytes, at most `max`. Every blob of
    /// it is read and compared with its name before any is believed.
    pub fn take_pack(&self, reader: &mut dyn Read, expected: PackId, max: u64) -> Result<()> {
        let temp = files::Unplaced::create(&self.inner)?;
        let copied = io::copy(&mut reader.take(max.saturating_add(1)), &mut temp.file());
        if copied.map_err(|error| StoreError::io("take a pack".to_owned(), error))? > max {
            return Err(StoreError::TooLarge {
                what: format!("pack {expected}"),
                max,
            });
        }
        let found = PackId::of(temp.file()).map_err(failed)?;
        if found != expected {
            return Err(StoreError::WrongBytes {
                expected: expected.blob(),
                found: found.blob(),
            });
        }
        files::verify(&self.inner, &temp)?;
        files::place(&self.inner, &temp, expected, &Plan::default())
    }
}

/// Whether some pack is said to have this blob, and its length.
pub(crate) fn size(inner: &Inner, blob: BlobId) -> Result<Option<u64>> {
    table::view(inner, |packed| {
        Ok(packed.rows(blob)?.first().map(|row| row.bytes))
    })
}

/// Those of `blobs` that no pack has.
pub(crate) fn not_packed(inner: &Inner, blobs: Vec<BlobId>) -> Result<Vec<BlobId>> {
    if blobs.is_empty() {
        return Ok(blobs);
    }
    table::view(inner, |packed| {
        let mut left = Vec::new();
        for blob in blobs {
            if !packed.has(blob)? {
                left.push(blob);
            }
        }
        Ok(left)
    })
}

/// The bytes of a blob of at most `max` bytes from some pack, checked.
pub(crate) fn read(inner: &Inner, blob: BlobId, max: u64) -> Result<Option<Vec<u8>>> {
    for row in table::view(inner, |packed| packed.rows(blob))? {
        let pack = match files::open(inner, row.pack) {
            // The file as a whole is lost, with all that it had.
            Err(StoreError::NoBlob { .. }) => continue,
            other => other?,
        };
        match pack.read(blob, max, &Packs(inner)) {
            Ok(bytes) => return Ok(Some(bytes)),
            Err(error @ (PackError::Io { .. } | PackError::TooLarge { .. })) => {
                return Err(failed(error));
            }
            Err(error) => {
                tracing::warn!(%blob, pack = %row.pack, %error, "a pack is damaged; it is not asked for this blob again");
                table::lose(inner, blob, row.pack)?;
            }
        }
    }
    Ok(None)
}

/// Brings one blob back as an object, for those who need a file; false if no pack has it.
pub(crate) fn revive(store: &Store, blob: BlobId) -> Result<bool> {
    for row in table::view(&store.inner, |packed| packed.rows(blob))? {
        let mut batch = store.batch();
        let wanted = vec![(blob, row.bytes)];
        match thaw::from(store, row.pack, wanted, &mut batch, &Work::default()) {
            Ok(_) => {
                batch.commit()?;
                return Ok(true);
            }
            Err(error) if is_loss(&error) => {
                tracing::warn!(%blob, pack = %row.pack, %error, "a pack did not give a blob back");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Whether a pack does not have what it was to have, as opposed to a disk that fails.
fn is_loss(error: &StoreError) -> bool {
    match error {
        StoreError::WrongBytes { .. } | StoreError::NoBlob { .. } | StoreError::TooLarge { .. } => {
            true
        }
        StoreError::Io { source, .. } => source.kind() == io::ErrorKind::InvalidData,
        _ => false,
    }
}

/// A tree whose listing packs have, said to no collection; nothing where it is lost.
pub(crate) fn peek_tree(inner: &Inner, tree: TreeId) -> Result<Option<Tree>> {
    let rows = table::peek(inner, |packed| packed.rows(tree.blob()))?;
    let max = TREE_BYTES_MAX as u64 + 1;
    for row in rows.iter().filter(|row| row.bytes <= max) {
        let Ok(pack) = files::open(inner, row.pack) else {
            continue;
        };
        match pack.read(tree.blob(), max, &Packs(inner)) {
            Ok(bytes) => return Ok(Tree::decode(&bytes).ok()),
            Err(error @ PackError::Io { .. }) => return Err(failed(error)),
            Err(_) => {}
        }
    }
    Ok(None)
}

/// The store's packs, on which others lean.
pub(crate) struct Packs<'a>(&'a Inner);

impl Elsewhere for Packs<'_> {
    fn pack_of(&self, unit: BlobId) -> Option<PackId> {
        // Not to know costs room and nothing else.
        let rows = table::view(self.0, |packed| packed.rows(unit)).ok()?;
        rows.iter().find(|row| row.is_unit).map(|row| row.pack)
    }
}

impl Others for Packs<'_> {
    fn unit(&self, pack: PackId, unit: BlobId) -> caravan_pack::Result<Vec<u8>> {
        let open = files::open(self.0, pack).map_err(|error| match error {
            // Only what is gone or damaged is lost; trouble of the moment is not.
            error @ (StoreError::NoBlob { .. } | StoreError::Pack { .. }) => PackError::Other {
                pack,
                source: Box::new(error),
            },
            error => PackError::Io {
                doing: "open a pack that another leans on",
                source: io::Error::other(error),
            },
        })?;
        open.read(unit, caravan_pack::limits::UNIT_BYTES_MAX.into(), &Alone)
    }
}

/// An open pack of this store.
type OpenPack = Arc<Pack<File>>;

/// What a failure of packing means for the store.
fn failed(error: PackError) -> StoreError {
    match error {
        PackError::Io { doing, source } => StoreError::io(doing.to_owned(), source),
        PackError::Blob { blob, source } => match source.downcast::<StoreError>() {
            Ok(inner) => inner,
            Err(source) => StoreError::io(format!("read blob {blob} to pack it"), source),
        },
        PackError::WrongBlob { expected, found } => StoreError::WrongBytes { expected, found },
        PackError::TooLarge { blob, max, .. } => StoreError::TooLarge {
            what: format!("blob {blob}"),
            max,
        },
        PackError::Absent { blob } => StoreError::NoBlob { blob },
        other => StoreError::Pack {
            source: Box::new(other),
        },
    }
}

/// Bytes of units in these packs that these blobs consist of, and of all units in them; nothing where
/// one of the packs cannot be opened.
pub(crate) fn used(
    inner: &Inner,
    packs: &[PackId],
    blobs: &BTreeSet<BlobId>,
) -> Result<Option<(u64, u64)>> {
    let (mut lives, mut all) = (BTreeMap::new(), 0u64);
    let mut own = BTreeSet::new();
    for id in packs {
        let pack = match files::open(inner, *id) {
            Ok(pack) => pack,
            Err(StoreError::NoBlob { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        all = all.saturating_add(pack.unit_bytes());
        own.extend(pack.units());
        for (blob, _) in pack.blobs().filter(|(blob, _)| blobs.contains(blob)) {
            lives.extend(pack.units_of(blob));
        }
    }
    let lives = lives.iter().filter(|(unit, _)| own.contains(unit));
    let lives = lives.map(|(_, bytes)| u64::from(*bytes)).sum();
    Ok(Some((lives, all)))
}
