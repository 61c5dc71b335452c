//! The one way in and out: files and layers enter `objects/` and `layers/` here, together with the
//! index, or not at all.
//!
//! Order: the bytes are made durable where they are, in the work directory; then, one commit at a
//! time, they are linked and moved into place, the directories are made durable, and the index
//! names them. A process killed before that last step leaves only rubbish, which the next start
//! removes. Where little waits to be written on this machine, both waits for the disk are one, just
//! before the index.

use std::{
    collections::BTreeSet,
    sync::{MutexGuard, PoisonError, atomic::Ordering},
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
    unwritten,
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

/// What was put in place, or nearly, and would have to leave again.
#[derive(Default)]
struct Placed {
    /// The index does not name them yet, so any file of theirs is rubbish until it does.
    objects: Vec<Key>,
    layer: bool,
}

/// Makes objects and a layer part of the store, durably and all at once.
pub(crate) fn commit(inner: &Inner, new: &[NewObject], staged: Option<&Staged<'_>>) -> Result<()> {
    crash::point();
    let unsynced = sync(inner, new, staged)?;
    crash::point();
    let guard = lock(inner);
    let mut placed = Placed::default();
    let result = place_and_index(inner, new, staged, unsynced, &mut placed);
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

/// What is still to be made durable once all is in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unsynced {
    /// The directories that files and layers have entered.
    Directories,
    /// These, and the files.
    All,
}

/// Makes durable what is new, where it is now, unless one wait for all at the end is quicker.
fn sync(inner: &Inner, new: &[NewObject], staged: Option<&Staged<'_>>) -> Result<Unsynced> {
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
        sync_all(inner)?;
        return Ok(Unsynced::Directories);
    }
    if files.len() > 1 && unwritten::is_little() {
        return Ok(Unsynced::All);
    }
    let what = || "write new files to the disk".to_owned();
    let sync = |index: usize, _: &mut Vec<u8>| {
        let (root, path) = files[index];
        let path = if path.is_empty() { b"." } else { path };
        let file = beneath::open_file(root, path).doing(what)?;
        rustix::fs::fsync(file).doing(what)
    };
    parallel::each(Load::Syncing, files.len(), sync, |_, ()| {})?;
    Ok(Unsynced::Directories)
}

fn sync_all(inner: &Inner) -> Result<()> {
    let synced = rustix::fs::syncfs(inner.home.work());
    if synced == Err(Errno::IO) {
        // Told once for all that was waiting, whoever wrote it: no commit can rely on it from here.
        inner.is_sick.store(true, Ordering::SeqCst);
    }
    synced.doing(|| "write new files to the disk".to_owned())
}

/// An error once the disk has lost bytes that it had taken.
fn is_well(inner: &Inner) -> Result<()> {
    if !inner.is_sick.load(Ordering::SeqCst) {
        return Ok(());
    }
    Err(Errno::IO).doing(|| {
        "keep anything more: the disk failed to write earlier bytes; look at it, then start the node \
         anew and run `caravan store check`"
            .to_owned()
    })
}

/// Makes durable where files and a layer are now.
fn settle(
    inner: &Inner,
    unsynced: Unsynced,
    touched: &[OwnedFd],
    staged: Option<&Staged<'_>>,
) -> Result<()> {
    let count = touched.len() + usize::from(staged.is_some());
    if unsynced == Unsynced::All || (count > 1 && unwritten::is_little()) {
        return sync_all(inner);
    }
    let what = || "write a directory of the store to the disk".to_owned();
    let layers = inner.home.layers();
    let dirs = touched.iter().map(AsFd::as_fd);
    let dirs: Vec<BorrowedFd<'_>> = dirs.chain(staged.map(|_| layers)).collect();
    let sync = |index: usize, _: &mut Vec<u8>| {
        crash::point();
        rustix::fs::fsync(dirs[index]).doing(what)
    };
    parallel::each(Load::Syncing, dirs.len(), sync, |_, ()| {})
}

fn place_and_index(
    inner: &Inner,
    new: &[NewObject],
    staged: Option<&Staged<'_>>,
    unsynced: Unsynced,
    placed: &mut Placed,
) -> Result<()> {
    // In key order, as the index wants them.
    let mut sorted: Vec<&NewObject> = new.iter().collect();
    sorted.sort_by_key(|object| object.key);
    sorted.dedup_by_key(|object| object.key);
    let sizes = inner.index.objects(|objects| {
        let sizes = sorted.iter().map(|object| objects.size(&object.key));
        sizes.collect::<Result<Vec<_>>>()
    })?;
    let mut absent = Vec::new();
    for (object, known) in sorted.into_iter().zip(sizes) {
        if known.is_none() || !is_whole(inner, object)? {
            absent.push(object);
        }
    }
    placed.objects = absent.iter().map(|object| object.key).collect();
    let mut change = Change {
        add: absent
            .iter()
            .map(|object| (object.key, object.size))
            .collect(),
        ..Change::default()
    };
    let touched = place(inner, &absent, staged)?;
    crash::point();
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
    settle(inner, unsynced, &touched, staged.filter(|_| placed.layer))?;
    crash::point();
    is_well(inner)?;
    inner.index.apply(&change)
}

/// Links new objects, which are in key order, into their directories, and returns these.
fn place(
    inner: &Inner,
    objects: &[&NewObject],
    staged: Option<&Staged<'_>>,
) -> Result<Vec<OwnedFd>> {
    let first_byte = |object: &NewObject| object.key.blob.as_bytes()[0];
    let mut touched: Vec<OwnedFd> = Vec::new();
    let mut targets: Vec<usize> = Vec::new();
    for (at, object) in objects.iter().enumerate() {
        if at == 0 || first_byte(objects[at - 1]) != first_byte(object) {
            touched.push(inner.home.object_dir(&object.key)?);
        }
        targets.push(touched.len() - 1);
    }
    // In the order of their paths, so that each directory of a layer is opened once.
    let mut order: Vec<usize> = (0..objects.len()).collect();
    order.sort_by_key(|&at| match &objects[at].source {
        Source::Work(_) => (0, b"".as_slice()),
        Source::Staged(path) => (1, path.as_slice()),
    });
    let link_one = |index: usize, parents: &mut Option<Parents<'_>>| {
        let object = objects[order[index]];
        let dir = touched[targets[order[index]]].as_fd();
        link(inner, object, parents.as_mut(), dir)?;
        crash::point();
        Ok(())
    };
    let parents = || staged.map(|staged| Parents::new(staged.root));
    parallel::each_with(Load::Hashing, objects.len(), parents, link_one, |_, ()| {})?;
    Ok(touched)
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
        (Source::Work(temp), _) => {
            // Over a file that the index does not name or that is not whole, if there is one.
            return rustix::fs::renameat(inner.home.work(), temp, dir, &name).doing(what);
        }
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
