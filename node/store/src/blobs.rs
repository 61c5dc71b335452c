//! Blobs: bytes by their hash. They are hashed on their way in, and bytes that are not what they
//! were said to be are not kept.

use std::{collections::BTreeSet, fs::File, io::Read, path::Path, sync::Arc};

use caravan_protocol::{
    ids::{BlobId, TreeId},
    limits::{BLOB_BYTES_MAX, TREE_BYTES_MAX, TREE_ENTRIES_MAX},
    tree::Tree,
};

use crate::{
    cold,
    commit::{self, NewObject, Source},
    error::{Doing, Result, StoreError},
    leases::Lease,
    object::Key,
    store::{Inner, Store},
    temp::Temp,
};

/// Blobs that become part of the store together: one wait for the disk instead of one for each.
/// Dropped without [`Batch::commit`] it leaves nothing.
pub struct Batch {
    inner: Arc<Inner>,
    temps: Vec<Temp>,
    new: Vec<NewObject>,
    seen: BTreeSet<BlobId>,
    /// What it counts on although others have brought it.
    lease: Lease,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Batch({} new blobs)", self.new.len())
    }
}

impl Batch {
    /// Adds bytes.
    pub fn put_blob(&mut self, bytes: &[u8]) -> Result<BlobId> {
        let blob = BlobId::of(bytes);
        self.lease.add_blob(blob);
        if !self.seen.contains(&blob) && find(&self.inner, blob)?.is_none() {
            self.put_reader(&mut &*bytes, Some(blob), bytes.len() as u64)?;
        }
        Ok(blob)
    }

    /// Adds what `reader` gives: at most `max` bytes, and exactly the blob `expected` if given.
    /// Says what came and how long it is.
    pub fn put_reader(
        &mut self,
        reader: &mut dyn Read,
        expected: Option<BlobId>,
        max: u64,
    ) -> Result<(BlobId, u64)> {
        if self.new.len() >= TREE_ENTRIES_MAX {
            return Err(StoreError::TooMany {
                what: "blob of one batch".to_owned(),
                max: TREE_ENTRIES_MAX as u64,
            });
        }
        let (temp, blob, size) = Temp::fill(&self.inner, reader, max.min(BLOB_BYTES_MAX))?;
        if let Some(expected) = expected
            && expected != blob
        {
            return Err(StoreError::WrongBytes {
                expected,
                found: blob,
            });
        }
        crate::crash::point();
        self.lease.add_blob(blob);
        if self.seen.insert(blob) && find(&self.inner, blob)?.is_none() {
            self.new.push(NewObject {
                key: Key::plain(blob),
                size,
                source: Source::Work(temp.name().to_owned()),
            });
            self.temps.push(temp);
        }
        Ok((blob, size))
    }

    /// Adds a finished file that was hashed where it is: it moves into the store.
    pub(crate) fn take_file(&mut self, from: &Path, blob: BlobId, size: u64) -> Result<()> {
        let temp = Temp::adopt(&self.inner, from)?;
        crate::crash::point();
        self.lease.add_blob(blob);
        if self.seen.insert(blob) && find(&self.inner, blob)?.is_none() {
            self.new.push(NewObject {
                key: Key::plain(blob),
                size,
                source: Source::Work(temp.name().to_owned()),
            });
            self.temps.push(temp);
        }
        Ok(())
    }

    /// Adds a tree's encoding. Its blobs are added apart, before or after.
    pub fn put_tree(&mut self, tree: &Tree) -> Result<TreeId> {
        let (id, bytes) = tree.seal()?;
        self.put_blob(&bytes)?;
        Ok(id)
    }

    /// Makes all of it part of the store, or nothing.
    pub fn commit(self) -> Result<()> {
        commit::commit(&self.inner, &self.new, None)
    }
}

impl Store {
    /// Begins a batch of blobs.
    #[must_use]
    pub fn batch(&self) -> Batch {
        Batch {
            inner: Arc::clone(&self.inner),
            temps: Vec::new(),
            new: Vec::new(),
            seen: BTreeSet::new(),
            lease: self.inner.guards.lease(),
        }
    }

    /// Keeps these bytes.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<BlobId> {
        let mut batch = self.batch();
        let blob = batch.put_blob(bytes)?;
        batch.commit()?;
        Ok(blob)
    }

    /// Keeps what `reader` gives, which is at most `max` bytes and, if `expected` is given, exactly
    /// that blob; anything else is refused and removed.
    pub fn put_reader(
        &self,
        reader: &mut dyn Read,
        expected: Option<BlobId>,
        max: u64,
    ) -> Result<BlobId> {
        let mut batch = self.batch();
        let (blob, _) = batch.put_reader(reader, expected, max)?;
        batch.commit()?;
        Ok(blob)
    }

    /// Whether the index names this blob.
    pub fn has_blob(&self, blob: BlobId) -> Result<bool> {
        Ok(self.blob_size(blob)?.is_some())
    }

    /// Length of a blob, if the index names it.
    pub fn blob_size(&self, blob: BlobId) -> Result<Option<u64>> {
        let any = self.inner.index.objects(|objects| objects.any(blob))?;
        match any {
            Some((_, size)) => Ok(Some(size)),
            None => cold::size(&self.inner, blob),
        }
    }

    /// A blob's file, for reading. Its length has been compared, its bytes have not: readers that
    /// do not check what they read use [`Store::read_blob`].
    pub fn open_blob(&self, blob: BlobId) -> Result<File> {
        match find(&self.inner, blob)? {
            Some((file, _, _)) => Ok(file),
            // Who wants a file gets one, if a pack has it.
            None if cold::revive(self, blob)? => self.open_blob(blob),
            None => Err(StoreError::NoBlob { blob }),
        }
    }

    /// The bytes of a blob of at most `max` bytes, hashed again. Damaged ones are forgotten.
    pub fn read_blob(&self, blob: BlobId, max: u64) -> Result<Vec<u8>> {
        loop {
            let Some((file, key, size)) = find(&self.inner, blob)? else {
                let cold = cold::read(&self.inner, blob, max)?;
                return cold.ok_or(StoreError::NoBlob { blob });
            };
            if size > max {
                return Err(StoreError::TooLarge {
                    what: format!("blob {blob}"),
                    max,
                });
            }
            let mut bytes = Vec::new();
            file.take(size)
                .read_to_end(&mut bytes)
                .doing(|| format!("read blob {blob}"))?;
            if BlobId::of(&bytes) == blob {
                return Ok(bytes);
            }
            tracing::warn!(%blob, "its bytes on disk are damaged; it is forgotten");
            commit::forget(&self.inner, vec![key], Vec::new())?;
        }
    }

    /// Keeps a tree and these blobs of it, without laying it out as a directory.
    pub fn put_tree(&self, tree: &Tree, blobs: &[Vec<u8>]) -> Result<TreeId> {
        let mut batch = self.batch();
        for bytes in blobs {
            batch.put_blob(bytes)?;
        }
        let id = batch.put_tree(tree)?;
        batch.commit()?;
        Ok(id)
    }

    /// The tree of this id.
    pub fn tree(&self, tree: TreeId) -> Result<Tree> {
        let bytes = self.read_blob(tree.blob(), TREE_BYTES_MAX as u64 + 1)?;
        Ok(Tree::decode(&bytes)?)
    }

    /// What is missing to lay out this tree: its own encoding, or else those of its blobs that are
    /// not here. Empty when the tree is complete.
    pub fn missing(&self, tree: TreeId) -> Result<Vec<BlobId>> {
        let (known, moment) = self.inner.whole.has(tree);
        if known {
            return Ok(Vec::new());
        }
        let listing = match self.tree(tree) {
            Ok(listing) => listing,
            Err(StoreError::NoBlob { blob }) => return Ok(vec![blob]),
            Err(error) => return Err(error),
        };
        let missing = self.missing_of(&listing)?;
        if missing.is_empty() {
            self.inner.whole.add(tree, moment);
        }
        Ok(missing)
    }

    pub(crate) fn missing_of(&self, tree: &Tree) -> Result<Vec<BlobId>> {
        let missing = self.inner.index.objects(|objects| {
            let mut missing = Vec::new();
            for blob in tree.blobs().into_keys() {
                if objects.any(blob)?.is_none() {
                    missing.push(blob);
                }
            }
            Ok(missing)
        })?;
        cold::not_packed(&self.inner, missing)
    }
}

/// An object of `blob` whose file is there and has its length, open. Others are forgotten.
pub(crate) fn find(inner: &Inner, blob: BlobId) -> Result<Option<(File, Key, u64)>> {
    for (key, size) in inner.index.variants(blob)? {
        if let Some(file) = inner.home.open_object(&key)? {
            let stat = rustix::fs::fstat(&file).doing(|| format!("look at blob {blob}"))?;
            if u64::try_from(stat.st_size).is_ok_and(|found| found == size) {
                return Ok(Some((file, key, size)));
            }
        }
        tracing::warn!(%blob, "its file is gone or cut short; it is forgotten");
        commit::forget(inner, vec![key], Vec::new())?;
    }
    Ok(None)
}
