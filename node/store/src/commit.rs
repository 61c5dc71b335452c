//! The one way in and out: files and layers enter `objects/` and `layers/` here, together with the
//! index, or not at all.
//!
//! Order: the bytes are made durable where they are, in the work directory; then, one commit at a
//! time, they are linked and moved into place, the directories are made durable, and the index
//! names them. A process killed before that last step leaves only rubbish, which the next start
//! removes.

use std::{
    collections::BTreeSet,
    sync::{MutexGuard, PoisonError},
};

use caravan_protocol::{
    ids::TreeId,
    tree::{Entry, Kind, Tree},
};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, RenameFlags},
    io::Errno,
};

use crate::{
    beneath::{self, Parents},
    crash,
    error::{Doing, Result, StoreError},
    index::{Change, LayerFacts},
    limits,
    object::Key,
    parallel::{self, Load},
    store::Inner,
};

/// A file that becomes an object.
pub(crate) struct NewObject {
    pub(crate) key: Key,
    pub(crate) size: u64,
    pub(crate) source: Source,
}

/// Where a new object's file is now.
pub(crate) enum Source {
    /// A name in the work directory.
    Work(String),
    /// A path in the staged layer.
    Staged(Vec<u8>),
}

/// A directory that becomes a layer.
pub(crate) struct Staged<'a> {
    pub(crate) id: TreeId,
    pub(crate) tree: &'a Tree,
    /// Its name in the work directory.
    pub(crate) name: String,
    /// The same, open.
    pub(crate) root: BorrowedFd<'a>,
}

impl Staged<'_> {
    /// Sum of its file sizes and number of its files.
    fn facts(&self) -> LayerFacts {
        (self.tree.size(), self.files().count() as u64)
    }

    fn files(&self) -> impl Iterator<Item = &Entry> {
        let is_file = |entry: &&Entry| matches!(entry.kind, Kind::File { .. });
        self.tree.entries().iter().filter(is_file)
    }

    /// The paths that can be opened and synced. Links and whiteouts go with their directories.
    fn listing(&self) -> impl Iterator<Item = &[u8]> {
        let opens = |entry: &&Entry| matches!(entry.kind, Kind::File { .. } | Kind::Dir { .. });
        let entries = self.tree.entries().iter().filter(opens);
        entries.map(|entry| entry.path.as_slice())
    }
}

/// What was put in place and would have to leave again.
#[derive(Default)]
struct Placed {
    objects: Vec<Key>,
    layer: bool,
}

/// Makes objects and a layer part of the store, durably and all at once.
pub(crate) fn commit(inner: &Inner, new: &[NewObject], staged: Option<&Staged<'_>>) -> Result<()> {
    sync(inner, new, staged)?;
    crash::point();
    let guard = lock(inner);
    let mut placed = Placed::default();
    let result = place_and_index(inner, new, staged, &mut placed);
    if result.is_err() {
        withdraw(inner, staged, &placed);
    }
    drop(guard);
    result
}

/// Waits until no commit is under way, and keeps others out.
pub(crate) fn lock(inner: &Inner) -> MutexGuard<'_, ()> {
    inner.commit.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes durable what is new, where it is now.
fn sync(inner: &Inner, new: &[NewObject], staged: Option<&Staged<'_>>) -> Result<()> {
    let what = || "write new files to the disk".to_owned();
    let in_work = new.iter().filter_map(|object| match &object.source {
        Source::Work(name) => Some((inner.home.work(), name.as_bytes())),
        Source::Staged(_) => None,
    });
    let in_layer = staged
        .into_iter()
        .flat_map(|staged| staged.listing().map(|path| (staged.root, path)));
    let files: Vec<(BorrowedFd<'_>, &[u8])> = in_work
        .chain(in_layer)
        .take(limits::SYNC_EACH_MAX + 1)
        .collect();
    if files.len() > limits::SYNC_EACH_MAX {
        return rustix::fs::syncfs(inner.home.work()).doing(what);
    }
    let sync = |index: usize, _: &mut Vec<u8>| {
        let (root, path) = files[index];
        let path = if path.is_empty() { b"." } else { path };
        let file = beneath::open_file(root, path).doing(what)?;
        rustix::fs::fsync(file).doing(what)
    };
    parallel::each(Load::Syncing, files.len(), sync, |_, ()| {})
}

fn place_and_index(
    inner: &Inner,
    new: &[NewObject],
    staged: Option<&Staged<'_>>,
    placed: &mut Placed,
) -> Result<()> {
    let mut change = Change::default();
    let known: BTreeSet<Key> = inner.index.objects(|objects| {
        let mut known = BTreeSet::new();
        for object in new {
            if objects.has(&object.key)? {
                known.insert(object.key);
            }
        }
        Ok(known)
    })?;
    let mut parents = staged.map(|staged| Parents::new(staged.root));
    let mut touched: Vec<OwnedFd> = Vec::new();
    // In key order, so that each directory is opened once and none is left out of the sync below.
    let mut sorted: Vec<&NewObject> = new.iter().collect();
    sorted.sort_by_key(|object| object.key);
    sorted.dedup_by_key(|object| object.key);
    let mut last = None;
    for object in sorted {
        if known.contains(&object.key) && is_whole(inner, object)? {
            continue;
        }
        let first_byte = object.key.blob.as_bytes()[0];
        if last != Some(first_byte) {
            touched.push(inner.home.object_dir(&object.key)?);
            last = Some(first_byte);
        }
        let dir = touched.last().expect("one was just pushed").as_fd();
        link(inner, object, parents.as_mut(), dir)?;
        placed.objects.push(object.key);
        change.add.push((object.key, object.size));
        crash::point();
    }
    for dir in &touched {
        crash::point();
        rustix::fs::fsync(dir).doing(|| "write a directory of objects to the disk".to_owned())?;
    }
    if let Some(staged) = staged
        && move_layer(inner, staged)?
    {
        placed.layer = true;
        change.add_layer = Some((staged.id, staged.facts()));
    }
    if change.add.is_empty() && change.add_layer.is_none() {
        return Ok(());
    }
    crash::point();
    inner.index.apply(&change)
}

/// Whether the file of an object that the index names is there and has its length.
fn is_whole(inner: &Inner, object: &NewObject) -> Result<bool> {
    let Some(file) = inner.home.open_object(&object.key)? else {
        return Ok(false);
    };
    let stat = rustix::fs::fstat(&file).doing(|| "look at an object".to_owned())?;
    Ok(u64::try_from(stat.st_size).is_ok_and(|size| size == object.size))
}

fn link(
    inner: &Inner,
    object: &NewObject,
    parents: Option<&mut Parents<'_>>,
    dir: BorrowedFd<'_>,
) -> Result<()> {
    let (_, name) = object.key.place();
    let what = || format!("link objects/{} into the store", object.key.path());
    let (from, from_name) = match (&object.source, parents) {
        (Source::Work(name), _) => (inner.home.work(), name.as_bytes()),
        (Source::Staged(path), Some(parents)) => parents.of(path).doing(what)?,
        (Source::Staged(path), None) => {
            return Err(StoreError::refused(path, "no layer is staged with it"));
        }
    };
    match rustix::fs::linkat(from, from_name, dir, &name, AtFlags::empty()) {
        Err(Errno::EXIST) => {}
        other => return other.doing(what),
    }
    // A file that the index does not name, or that is not whole, is not to be trusted: replace it.
    let temp = format!("l{}", inner.home.number());
    let work = inner.home.work();
    rustix::fs::linkat(from, from_name, work, &temp, AtFlags::empty()).doing(what)?;
    let renamed = rustix::fs::renameat(work, &temp, dir, &name);
    // Renaming one link of a file onto another does nothing at all.
    let _ = rustix::fs::unlinkat(work, &temp, AtFlags::empty());
    renamed.doing(what)
}

/// Moves a staged layer into place; false if the store has it already.
fn move_layer(inner: &Inner, staged: &Staged<'_>) -> Result<bool> {
    let id = staged.id.to_string();
    let what = || format!("move layers/{id} into the store");
    let layers = inner.home.layers();
    let rename = || {
        let flags = RenameFlags::NOREPLACE;
        rustix::fs::renameat_with(inner.home.work(), &staged.name, layers, &id, flags)
    };
    match rename() {
        Err(Errno::EXIST) if inner.index.layer(staged.id)?.is_some() => return Ok(false),
        Err(Errno::EXIST) => {
            inner.home.remove(layers, id.as_bytes())?;
            rename().doing(what)?;
        }
        other => other.doing(what)?,
    }
    crash::point();
    rustix::fs::fsync(layers).doing(what)?;
    Ok(true)
}

/// Takes back what a failed commit put in place. Whatever cannot be taken back is not named by the
/// index and goes at the next start or check.
fn withdraw(inner: &Inner, staged: Option<&Staged<'_>>, placed: &Placed) {
    // A commit can fail after it has reached the disk: ask the index as it is now.
    let kept = inner.index.objects(|objects| {
        let mut kept = BTreeSet::new();
        for key in &placed.objects {
            if objects.has(key)? {
                kept.insert(*key);
            }
        }
        Ok(kept)
    });
    let Ok(kept) = kept else { return };
    for key in placed.objects.iter().filter(|key| !kept.contains(key)) {
        let _ = unlink(inner, key);
    }
    if let Some(staged) = staged.filter(|_| placed.layer)
        && matches!(inner.index.layer(staged.id), Ok(None))
    {
        let id = staged.id.to_string();
        let _ = inner.home.remove(inner.home.layers(), id.as_bytes());
    }
}

fn unlink(inner: &Inner, key: &Key) -> Result<()> {
    let path = key.path();
    match rustix::fs::unlinkat(inner.home.objects(), &path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        other => other.doing(|| format!("remove objects/{path}")),
    }
}

/// Forgets objects and layers: first the index does, then their files go.
pub(crate) fn forget(inner: &Inner, objects: Vec<Key>, layers: Vec<TreeId>) -> Result<()> {
    if objects.is_empty() && layers.is_empty() {
        return Ok(());
    }
    let guard = lock(inner);
    let change = Change {
        remove: objects,
        remove_layers: layers,
        ..Change::default()
    };
    let applied = inner.index.apply(&change);
    inner.whole.clear();
    applied?;
    crash::point();
    for key in &change.remove {
        unlink(inner, key)?;
    }
    for tree in &change.remove_layers {
        crash::point();
        inner
            .home
            .remove(inner.home.layers(), tree.to_string().as_bytes())?;
    }
    drop(guard);
    Ok(())
}
