//! Turning a directory that a job has filled into a layer: the directory itself becomes the layer,
//! by rename, so nothing is copied. Files that the store has are replaced by links to its own.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use caravan_protocol::{
    ids::{BlobId, TreeId},
    tree::{Entry, Kind, Tree},
};
use rustix::{
    fd::{AsFd, BorrowedFd},
    fs::AtFlags,
    io::Errno,
};

use crate::{
    beneath::{self, Parents, TIMES},
    commit::{self, NewObject, Source, Staged},
    crash,
    error::{Doing, Result, StoreError},
    limits,
    object::Key,
    parallel::{self, Load},
    store::{Inner, Store},
    temp::{Temp, Workspace},
    walk::{self, Item, What},
    xattrs::{self, Xattrs},
};

/// A directory that has become a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ingested {
    /// The layer.
    pub tree: TreeId,
    /// Sum of its file sizes, bytes.
    pub size: u64,
    /// How many regular files it has.
    pub files: u64,
}

impl Store {
    /// A new work directory for one step.
    pub fn workspace(&self) -> Result<Workspace> {
        Workspace::make(&self.inner)
    }

    /// Takes a directory on the store's own file system away from the caller and makes it a
    /// layer. The directory is gone afterwards, whatever the outcome.
    pub fn ingest_dir(&self, path: &Path) -> Result<Ingested> {
        let workspace = self.workspace()?;
        let upper = workspace.upper();
        std::fs::remove_dir(&upper)
            .and_then(|()| std::fs::rename(path, &upper))
            .doing(|| format!("take {} into the store", path.display()))?;
        workspace.ingest()
    }
}

impl Workspace {
    /// Makes the upper directory a layer and removes the rest. No process may use it any more.
    ///
    /// Equal content gives an equal tree whatever the order, times and links with which it was
    /// written. Devices other than overlay whiteouts, sockets, FIFOs, forged overlay attributes
    /// and files beyond the limits are refused by name, and then nothing is kept.
    pub fn ingest(mut self) -> Result<Ingested> {
        let inner = Arc::clone(&self.inner);
        let _flight = inner.guards.flight();
        let what = || format!("open {}", self.upper().display());
        let root =
            beneath::open_dir(inner.home.work(), self.upper_name().as_bytes()).doing(what)?;
        let items = walk::walk(root.as_fd())?;
        let entries = adopt(root.as_fd(), items)?;
        crash::point();
        let tree = Tree::new(entries)?;
        let (id, bytes) = tree.seal()?;
        let files = tree
            .entries()
            .iter()
            .filter(|entry| matches!(entry.kind, Kind::File { .. }))
            .count() as u64;
        let ingested = Ingested {
            tree: id,
            size: tree.size(),
            files,
        };
        let known =
            inner.index.layer(id)?.is_some() && inner.home.layer_path(&id.to_string()).is_dir();
        if known {
            // What an equal layer has taken up of the disk is given back at once, if it is anything.
            self.is_kept = tree.size() == 0;
            return Ok(ingested);
        }
        let mut sharing = Sharing::new(&inner, root.as_fd());
        sharing.share(&tree)?;
        sharing.blob(id.blob(), &mut bytes.as_slice())?;
        clamp_times(root.as_fd(), &tree)?;
        crash::point();
        let Sharing { new, temps, .. } = sharing;
        let staged = Staged {
            id,
            tree: &tree,
            name: self.upper_name(),
            root: root.as_fd(),
        };
        commit::commit(&inner, &new, Some(&staged))?;
        self.is_kept = true;
        drop(temps);
        Ok(ingested)
    }
}

/// Hashes every file and makes each as the store wants its files.
fn adopt(root: BorrowedFd<'_>, items: Vec<Item>) -> Result<Vec<Entry>> {
    let mut contents: Vec<Option<(BlobId, Xattrs)>> = Vec::new();
    contents.resize_with(items.len(), || None);
    parallel::each_with(
        Load::Hashing,
        items.len(),
        || (vec![0; limits::READ_BYTES], Parents::new(root)),
        |index, (buffer, parents)| adopt_one(root, &items[index], buffer, parents),
        |index, content| contents[index] = content,
    )?;
    let entries = items.into_iter().zip(contents);
    Ok(entries
        .map(|(item, content)| item.into_entry(content))
        .collect())
}

fn adopt_one(
    root: BorrowedFd<'_>,
    item: &Item,
    buffer: &mut [u8],
    parents: &mut Parents<'_>,
) -> Result<Option<(BlobId, Xattrs)>> {
    match &item.what {
        What::Dir(found) if !found.dropped.is_empty() => {
            let dir = beneath::open_dir(root, &item.path)
                .doing(|| format!("open {:?}", String::from_utf8_lossy(&item.path)))?;
            xattrs::drop_unwanted(&dir, found, &item.path)?;
            Ok(None)
        }
        What::File => {
            let (file, blob, found) = walk::hash(parents, item, buffer)?;
            crash::point();
            xattrs::drop_unwanted(&file, &found, &item.path)?;
            rustix::fs::futimens(&file, &TIMES)
                .doing(|| format!("set the times of {:?}", String::from_utf8_lossy(&item.path)))?;
            Ok(Some((blob, found)))
        }
        _ => Ok(None),
    }
}

/// Finding for each file of a staged layer the inode that it shares, and the blobs that are new.
pub(crate) struct Sharing<'a> {
    inner: &'a Arc<Inner>,
    root: BorrowedFd<'a>,
    /// What is shared for the first time, by where it is.
    fresh: BTreeMap<Key, Vec<u8>>,
    /// Blobs that `new` brings.
    blobs: std::collections::BTreeSet<BlobId>,
    pub(crate) new: Vec<NewObject>,
    pub(crate) temps: Vec<Temp>,
}

impl<'a> Sharing<'a> {
    pub(crate) const fn new(inner: &'a Arc<Inner>, root: BorrowedFd<'a>) -> Self {
        Self {
            inner,
            root,
            fresh: BTreeMap::new(),
            blobs: std::collections::BTreeSet::new(),
            new: Vec::new(),
            temps: Vec::new(),
        }
    }

    fn share(&mut self, tree: &Tree) -> Result<()> {
        let inner = Arc::clone(self.inner);
        let mut parents = Parents::new(self.root);
        let mut apart = Vec::new();
        inner.index.objects(|objects| {
            for entry in tree.entries() {
                let Kind::File { blob, size } = entry.kind else {
                    continue;
                };
                let Some(key) = Key::shared(entry) else {
                    if objects.any(blob)?.is_none() {
                        apart.push((blob, entry));
                    }
                    continue;
                };
                if objects.has(&key)? && has_length(&inner, &key, size)? {
                    let from = (inner.home.objects(), key.path().into_bytes());
                    if replace(&inner, (from.0, &from.1), &mut parents, &entry.path)? {
                        continue;
                    }
                }
                self.share_fresh(key, size, &entry.path, &mut parents)?;
            }
            Ok(())
        })?;
        // Last, so that a blob that is shared anyway is not copied for a file that is not.
        for (blob, entry) in apart {
            if !self.blobs.contains(&blob) {
                let mut file = beneath::open_file(self.root, &entry.path)
                    .map(std::fs::File::from)
                    .doing(|| format!("read {:?}", String::from_utf8_lossy(&entry.path)))?;
                self.blob(blob, &mut file)?;
            }
        }
        Ok(())
    }

    /// Shares a file that the store does not have with its like in this layer.
    fn share_fresh(
        &mut self,
        key: Key,
        size: u64,
        path: &[u8],
        parents: &mut Parents<'_>,
    ) -> Result<()> {
        if let Some(first) = self.fresh.get(&key) {
            let mut from = Parents::new(self.root);
            let (dir, name) = from
                .of(first)
                .doing(|| "open a directory of a new layer".to_owned())?;
            replace(self.inner, (dir, name), parents, path)?;
            return Ok(());
        }
        self.fresh.insert(key, path.to_vec());
        self.add(key, size, Source::Staged(path.to_vec()));
        Ok(())
    }

    /// Notes that a file of the staged layer or of the work directory is a new object.
    pub(crate) fn add(&mut self, key: Key, size: u64, source: Source) {
        self.blobs.insert(key.blob);
        self.new.push(NewObject { key, size, source });
    }

    /// Adds a blob that no file of the layer can share, unless the store has it.
    fn blob(&mut self, blob: BlobId, reader: &mut dyn std::io::Read) -> Result<()> {
        let known = self.inner.index.objects(|objects| objects.any(blob))?;
        if known.is_some() || self.blobs.contains(&blob) {
            return Ok(());
        }
        let max = caravan_protocol::limits::BLOB_BYTES_MAX;
        let (temp, found, size) = Temp::fill(self.inner, reader, max)?;
        if found != blob {
            return Err(StoreError::WrongBytes {
                expected: blob,
                found,
            });
        }
        self.add(Key::plain(blob), size, Source::Work(temp.name().to_owned()));
        self.temps.push(temp);
        Ok(())
    }
}

/// Whether the store's file of an object is there with its length: one that was cut short must not
/// take the place of what has just been hashed.
fn has_length(inner: &Inner, key: &Key, size: u64) -> Result<bool> {
    let path = key.path();
    match rustix::fs::statat(inner.home.objects(), &path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(u64::try_from(stat.st_size).is_ok_and(|found| found == size)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error).doing(|| format!("look at objects/{path}")),
    }
}

/// Puts a link to `from` in the place of the file at `path`; false if there is no such file or it
/// has as many links as a file can have.
fn replace(
    inner: &Inner,
    from: (BorrowedFd<'_>, &[u8]),
    parents: &mut Parents<'_>,
    path: &[u8],
) -> Result<bool> {
    let what = || format!("share {:?}", String::from_utf8_lossy(path));
    let temp = format!("l{}", inner.home.number());
    let work = inner.home.work();
    match rustix::fs::linkat(from.0, from.1, work, &temp, AtFlags::empty()) {
        Ok(()) => {}
        Err(Errno::MLINK | Errno::NOENT) => return Ok(false),
        Err(error) => return Err(error).doing(what),
    }
    crash::point();
    let renamed = parents.of(path).and_then(|(dir, name)| {
        rustix::fs::renameat(work, &temp, dir, name).map_err(std::io::Error::from)
    });
    // Gone already, unless the two were one file or the rename failed.
    let _ = rustix::fs::unlinkat(work, &temp, AtFlags::empty());
    renamed.doing(what)?;
    Ok(true)
}

/// Gives the directories and links of a layer the store's times, once nothing in them changes.
fn clamp_times(root: BorrowedFd<'_>, tree: &Tree) -> Result<()> {
    let mut parents = Parents::new(root);
    for entry in tree.entries() {
        if matches!(entry.kind, Kind::Dir { .. } | Kind::Symlink { .. }) {
            parents.clamp_times(&entry.path).doing(|| {
                format!(
                    "set the times of {:?}",
                    String::from_utf8_lossy(&entry.path)
                )
            })?;
        }
    }
    Ok(())
}
