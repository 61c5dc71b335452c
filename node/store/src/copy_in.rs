//! Copying a directory of the host into the store, which stays as it is: a base that somebody has
//! unpacked, a checkout. It becomes a tree and its blobs; nothing is laid out until somebody wants
//! to mount it. Each content is written once and only if the store lacks it, and a file that was
//! copied in before and has not changed since is not even read.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{Read, Seek},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use caravan_protocol::{
    ids::BlobId,
    limits::BLOB_BYTES_MAX,
    tree::{Entry, Kind, Tree},
};
use rustix::{
    fd::{AsFd, BorrowedFd},
    fs::{Gid, Mode, Uid},
};

use crate::{
    beneath::{self, Parents, TIMES},
    commit::{self, NewObject, Source},
    crash,
    error::{Doing, Result},
    ingest::Ingested,
    limits,
    object::Key,
    owner,
    parallel::{self, Load},
    seen,
    store::{Inner, Store},
    temp::{self, Temp},
    walk::{self, Item, Version, What},
    xattrs::Xattrs,
};

impl Store {
    /// Keeps a copy of the directory `from`, which nobody may change meanwhile: its tree and the
    /// blobs of that, but no layer yet. The caller trusts whoever can write there: files that seem
    /// not to have changed since they were copied in before are not read again.
    ///
    /// What a layer may not hold is refused by name, and then nothing is kept.
    pub fn copy_in(&self, from: &Path) -> Result<Ingested> {
        let what = || format!("read {}", from.display());
        let root = beneath::open_trusted_dir(from).doing(what)?;
        let _flight = self.inner.guards.flight();
        let now_s = self.now_s()?;
        let items = walk::walk(root.as_fd())?;
        let known = seen::known(&self.inner, &items)?;
        let copying = Copying {
            inner: &self.inner,
            root: root.as_fd(),
            items: &items,
            known: &known,
            taken: Mutex::default(),
        };
        let brought = copying.all()?;
        let mut new = Vec::new();
        let mut temps = Vec::new();
        let mut fresh = Vec::new();
        let mut entries = Vec::with_capacity(items.len());
        for (item, brought) in items.into_iter().zip(brought) {
            let mut content = None;
            if let Some(Brought { blob, found, file }) = brought {
                if let Some((key, temp)) = file {
                    let source = Source::Work(temp.name().to_owned());
                    let size = item.size;
                    new.push(NewObject { key, size, source });
                    temps.push(temp);
                }
                if let Some(version) = plain(&item, found.as_ref()) {
                    fresh.push((version, blob));
                }
                content = Some((blob, found.unwrap_or_default()));
            }
            entries.push(item.into_entry(content));
        }
        let ingested = self.keep_listing(entries, &mut new, &mut temps)?;
        drop(temps);
        if let Err(error) = seen::note(&self.inner, &fresh, now_s) {
            // Only saves reading the files again.
            tracing::debug!(%error, "could not note which files were copied in");
        }
        Ok(ingested)
    }

    /// Commits the tree of these entries with what is new of it.
    fn keep_listing(
        &self,
        entries: Vec<Entry>,
        new: &mut Vec<NewObject>,
        temps: &mut Vec<Temp>,
    ) -> Result<Ingested> {
        let tree = Tree::new(entries)?;
        let (id, bytes) = tree.seal()?;
        let is_file = |entry: &&Entry| matches!(entry.kind, Kind::File { .. });
        let ingested = Ingested {
            tree: id,
            size: tree.size(),
            files: tree.entries().iter().filter(is_file).count() as u64,
        };
        drop(tree);
        let known = self.inner.index.objects(|objects| objects.any(id.blob()))?;
        if known.is_none() {
            let (temp, _, size) =
                Temp::fill(&self.inner, &mut bytes.as_slice(), bytes.len() as u64)?;
            new.push(NewObject {
                key: Key::plain(id.blob()),
                size,
                source: Source::Work(temp.name().to_owned()),
            });
            temps.push(temp);
        }
        crash::point();
        commit::commit(&self.inner, new, None)?;
        Ok(ingested)
    }

    /// The time by the clock that the store's own files get.
    fn now_s(&self) -> Result<i64> {
        let (_temp, file) = Temp::make(&self.inner)?;
        let stat = rustix::fs::fstat(&file).doing(|| "look at a new file".to_owned())?;
        Ok(stat.st_mtime)
    }
}

/// The version of a file by which it may be known again: one of nothing but bytes, since what is
/// noted of it is its blob alone.
fn plain(item: &Item, found: Option<&Xattrs>) -> Option<Version> {
    let found = found?;
    (found.kept.is_empty() && found.dropped.is_empty()).then_some(item.version)
}

/// What a file holds.
struct Brought {
    blob: BlobId,
    /// Its attributes, if it was read; it has none if it was not.
    found: Option<Xattrs>,
    /// Its copy, if the store lacks the blob.
    file: Option<(Key, Temp)>,
}

/// A directory being copied in.
struct Copying<'a> {
    inner: &'a Arc<Inner>,
    root: BorrowedFd<'a>,
    items: &'a [Item],
    known: &'a [Option<BlobId>],
    /// Blobs that one of the threads has already taken on itself.
    taken: Mutex<BTreeSet<BlobId>>,
}

impl Copying<'_> {
    fn all(&self) -> Result<Vec<Option<Brought>>> {
        let mut brought = Vec::new();
        brought.resize_with(self.items.len(), || None);
        let state = || (vec![0; limits::READ_BYTES], Parents::new(self.root));
        parallel::each_with(
            Load::Hashing,
            self.items.len(),
            state,
            |index, (buffer, parents)| self.one(index, buffer, parents),
            |index, found| brought[index] = found,
        )?;
        Ok(brought)
    }

    fn one(
        &self,
        index: usize,
        buffer: &mut [u8],
        parents: &mut Parents<'_>,
    ) -> Result<Option<Brought>> {
        let item = &self.items[index];
        if !matches!(item.what, What::File) {
            return Ok(None);
        }
        if let Some(blob) = self.known[index]
            && self.is_here(blob)?
        {
            let (found, file) = (None, None);
            return Ok(Some(Brought { blob, found, file }));
        }
        let (mut file, found) = walk::open(parents, item)?;
        let (blob, copy) = if item.size <= buffer.len() as u64 {
            self.small(item, &mut file, &found, buffer)?
        } else {
            self.large(item, &mut file, &found, buffer)?
        };
        let stat = rustix::fs::fstat(&file)
            .doing(|| format!("look at {:?}", String::from_utf8_lossy(&item.path)))?;
        if Version::of(&stat) != item.version {
            return Err(walk::changed(item));
        }
        crash::point();
        Ok(Some(Brought {
            blob,
            found: Some(found),
            file: copy,
        }))
    }

    /// A file that fits into memory is written only if it has to be.
    fn small(
        &self,
        item: &Item,
        file: &mut File,
        found: &Xattrs,
        buffer: &mut [u8],
    ) -> Result<(BlobId, Option<(Key, Temp)>)> {
        let size = usize::try_from(item.size).map_err(|_| walk::changed(item))?;
        let bytes = &mut buffer[..size];
        match file.read_exact(bytes) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Err(walk::changed(item));
            }
            other => other.doing(|| format!("read {:?}", String::from_utf8_lossy(&item.path)))?,
        }
        let blob = BlobId::of(bytes);
        if self.is_here(blob)? || !self.take(blob) {
            return Ok((blob, None));
        }
        let (temp, mut copy) = Temp::make(self.inner)?;
        std::io::Write::write_all(&mut copy, bytes)
            .doing(|| "write a blob into the store".to_owned())?;
        let key = dress(&copy, item, found, blob)?;
        Ok((blob, Some((key, temp))))
    }

    /// A larger one is read once to learn what it is, and again only if it has to be written; or it
    /// shares its blocks with the original.
    fn large(
        &self,
        item: &Item,
        file: &mut File,
        found: &Xattrs,
        buffer: &mut [u8],
    ) -> Result<(BlobId, Option<(Key, Temp)>)> {
        let (blob, size) = temp::hash(file, BLOB_BYTES_MAX, buffer, &mut |_| Ok(()))?;
        if size != item.size {
            return Err(walk::changed(item));
        }
        if self.is_here(blob)? || !self.take(blob) {
            return Ok((blob, None));
        }
        let (temp, mut copy) = Temp::make(self.inner)?;
        let rewind = |file: &mut File| file.rewind().doing(|| "read a file again".to_owned());
        let written = match rustix::fs::ioctl_ficlone(&copy, &*file) {
            Ok(()) => {
                rewind(&mut copy)?;
                temp::hash(&mut copy, BLOB_BYTES_MAX, buffer, &mut |_| Ok(()))?
            }
            Err(_) => {
                rewind(file)?;
                temp::copy(file, &mut copy, BLOB_BYTES_MAX, buffer)?
            }
        };
        if written != (blob, size) {
            return Err(walk::changed(item));
        }
        let key = dress(&copy, item, found, blob)?;
        Ok((blob, Some((key, temp))))
    }

    fn is_here(&self, blob: BlobId) -> Result<bool> {
        let any = self.inner.index.objects(|objects| objects.any(blob))?;
        Ok(any.is_some())
    }

    /// Whether the caller is the first that comes with this blob.
    fn take(&self, blob: BlobId) -> bool {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.insert(blob)
    }
}

/// Gives a copy the mode, owner and times of the object that it becomes: that of the file itself
/// where layers may share it, so that laying the tree out is nothing but links.
fn dress(copy: &File, item: &Item, found: &Xattrs, blob: BlobId) -> Result<Key> {
    let what = || "finish a new file of the store".to_owned();
    let size = item.size;
    let mut entry = Entry::file(&[], item.mode, blob, size);
    (entry.uid, entry.gid) = (item.uid, item.gid);
    entry.xattrs.clone_from(&found.kept);
    let key = Key::shared(&entry).unwrap_or(Key::plain(blob));
    if (key.uid, key.gid) == (0, 0) {
        owner::to_root(copy).doing(what)?;
    } else {
        let (uid, gid) = (Uid::from_raw(key.uid), Gid::from_raw(key.gid));
        rustix::fs::fchown(copy, Some(uid), Some(gid)).doing(what)?;
    }
    rustix::fs::fchmod(copy, Mode::from_raw_mode(u32::from(key.mode))).doing(what)?;
    rustix::fs::futimens(copy, &TIMES).doing(what)?;
    Ok(key)
}
