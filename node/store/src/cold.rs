//! The cold form: trees whose blobs lie in packs. Freezing writes a pack with all blobs of some
//! trees that no pack has yet; from then on their objects and layers may be forgotten, and come back
//! when they are wanted: small reads are answered from the pack itself, a layer that is laid out has
//! its blobs thawed first. A blob may be an object, in packs, or both; it is missing only when it
//! is neither.
//!
//! Packs are placed as objects are: durable where they are made, renamed, and last named by the
//! index. They are never changed. What a pack turns out not to have is forgotten of it, and is
//! missing like anything else that is lost. Packs are not collected by themselves: whoever freezes
//! also drops.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, BufWriter, Read},
    sync::Arc,
};

use caravan_pack::{Alone, Blobs, Elsewhere, Hint, Others, Pack, PackError, PackId, Reader, Want};
use caravan_protocol::{
    ids::{BlobId, TreeId},
    tree::{Kind, Tree},
};

use crate::{
    blobs::{self, Batch},
    error::{Result, StoreError},
    limits::{FREEZE_TREES_MAX, READ_BYTES},
    store::{Inner, Store},
};

mod files;
mod table;

pub(crate) use files::{Open, check, recover};
pub use table::PackFacts;

/// What freezing did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Frozen {
    /// The new pack; none if packs had everything before.
    pub pack: Option<PackId>,
    /// Length of its file.
    pub bytes: u64,
    /// Blobs that it holds.
    pub blobs: u64,
    /// Sum of their lengths.
    pub blob_bytes: u64,
    /// Blobs of the trees that other packs had before.
    pub known: u64,
}

impl Store {
    /// Writes one pack with every blob of these trees that no pack has. The trees must be complete.
    /// Their objects and layers stay; when this returns, losing them loses nothing.
    pub fn freeze(&self, trees: &[TreeId], how: caravan_pack::Options) -> Result<Frozen> {
        if trees.len() > FREEZE_TREES_MAX {
            return Err(StoreError::TooMany {
                what: "tree of one pack".to_owned(),
                max: FREEZE_TREES_MAX as u64,
            });
        }
        let lease = self.lease(trees);
        let mut listings = Vec::new();
        for &tree in trees {
            let missing = self.missing(tree)?.len();
            if missing > 0 {
                return Err(StoreError::Incomplete { tree, missing });
            }
            listings.push((tree, self.tree(tree)?));
        }
        let (wants, known) = self.wants(&listings)?;
        let mut frozen = Frozen {
            known,
            ..Frozen::default()
        };
        if wants.is_empty() {
            return Ok(frozen);
        }
        let temp = files::Unplaced::create(&self.inner)?;
        let source = Objects(&self.inner);
        let mut to = BufWriter::with_capacity(READ_BYTES, temp.file());
        let written =
            caravan_pack::write(&wants, trees, &source, &Packs(&self.inner), how, &mut to)
                .map_err(failed)?;
        to.into_inner()
            .map_err(|error| StoreError::io("write a pack".to_owned(), error.into_error()))?;
        files::place(&self.inner, &temp, written.id)?;
        drop(lease);
        frozen.pack = Some(written.id);
        frozen.bytes = written.bytes;
        frozen.blobs = written.blobs;
        frozen.blob_bytes = written.blob_bytes;
        Ok(frozen)
    }

    /// What of these trees no pack has, in their order, and the number of blobs that packs have.
    fn wants<'a>(&self, listings: &'a [(TreeId, Tree)]) -> Result<(Vec<Want<'a>>, u64)> {
        let mut seen = BTreeSet::new();
        let mut wants = Vec::new();
        table::view(&self.inner, |packed| {
            for (tree, listing) in listings {
                let files = listing
                    .entries()
                    .iter()
                    .filter_map(|entry| match entry.kind {
                        Kind::File { blob, .. } => Some((blob, Hint::Path(&entry.path))),
                        _ => None,
                    });
                for (blob, hint) in [(tree.blob(), Hint::Tree)].into_iter().chain(files) {
                    if seen.insert(blob) && !packed.has(blob)? {
                        wants.push(Want { blob, hint });
                    }
                }
            }
            Ok(())
        })?;
        let known = seen.len() - wants.len();
        Ok((wants, known as u64))
    }

    /// Brings all blobs of this tree that only packs have back as objects, and says how many.
    pub fn thaw(&self, tree: TreeId) -> Result<u64> {
        let listing = self.tree(tree)?;
        self.thaw_listing(tree, &listing)
    }

    pub(crate) fn thaw_listing(&self, tree: TreeId, listing: &Tree) -> Result<u64> {
        if table::view(&self.inner, |packed| Ok(packed.is_none()))? {
            return Ok(0);
        }
        let mut by_pack: BTreeMap<PackId, Vec<(BlobId, u64)>> = BTreeMap::new();
        let blobs = listing.blobs();
        let cold = self.inner.index.objects(|objects| {
            let mut cold = Vec::new();
            for &blob in blobs.keys().chain([&tree.blob()]) {
                if objects.any(blob)?.is_none() {
                    cold.push(blob);
                }
            }
            Ok(cold)
        })?;
        table::view(&self.inner, |packed| {
            for blob in cold {
                if let Some(row) = packed.rows(blob)?.first() {
                    by_pack.entry(row.pack).or_default().push((blob, row.bytes));
                }
            }
            Ok(())
        })?;
        let mut batch = self.batch();
        let mut count = 0;
        for (pack, wanted) in by_pack {
            match self.thaw_from(pack, wanted, &mut batch) {
                Ok(taken) => count += taken,
                // What is lost is now known to be, and can be fetched or made again.
                Err(error) if is_loss(&error) => {
                    tracing::warn!(%tree, %pack, %error, "a pack did not give all of a tree");
                    return Err(StoreError::Incomplete { tree, missing: 1 });
                }
                Err(error) => return Err(error),
            }
        }
        batch.commit()?;
        Ok(count)
    }

    /// Takes blobs of one pack, in the order in which they lie there.
    fn thaw_from(
        &self,
        pack: PackId,
        mut wanted: Vec<(BlobId, u64)>,
        batch: &mut Batch,
    ) -> Result<u64> {
        let open = files::open(&self.inner, pack)?;
        wanted.sort_by_key(|(blob, _)| open.place(*blob));
        let others = Packs(&self.inner);
        let mut reader = Reader::new(&*open, &others);
        for (blob, bytes) in &wanted {
            let mut stream = reader.blob(*blob).map_err(failed)?;
            if let Err(error) = batch.put_reader(&mut stream, Some(*blob), *bytes) {
                if is_loss(&error) {
                    table::lose(&self.inner, *blob, pack)?;
                }
                return Err(error);
            }
        }
        Ok(wanted.len() as u64)
    }

    /// The packs of this store, with what is known of them.
    pub fn packs(&self) -> Result<Vec<(PackId, PackFacts)>> {
        table::all(&self.inner)
    }

    /// Forgets a pack and removes its file. One on which others lean stays, and that is an error.
    pub fn drop_pack(&self, pack: PackId) -> Result<()> {
        files::remove(&self.inner, pack)
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
        let pack = Pack::open(temp.file()).map_err(failed)?;
        if let Some(flaw) = pack.verify(&Packs(&self.inner)).pop() {
            return Err(failed(flaw.error));
        }
        drop(pack);
        files::place(&self.inner, &temp, expected)
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
        match store.thaw_from(row.pack, vec![(blob, row.bytes)], &mut batch) {
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

/// The store's objects, for a new pack.
struct Objects<'a>(&'a Inner);

impl Blobs for Objects<'_> {
    type Blob = File;

    fn open(&self, blob: BlobId) -> io::Result<File> {
        match blobs::find(self.0, blob) {
            Ok(Some((file, _, _))) => Ok(file),
            Ok(None) => Err(io::Error::other(StoreError::NoBlob { blob })),
            Err(error) => Err(io::Error::other(error)),
        }
    }
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
