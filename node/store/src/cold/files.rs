//! The files of packs: made in the work directory, placed under `packs/`, opened when something of
//! them is wanted, and removed.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, OpenOptions},
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use caravan_pack::{Pack, PackId};
use caravan_protocol::ids::BlobId;

use super::{Going, OpenPack, PackFacts, Packs, Plan, failed, table};
use crate::{
    commit, crash,
    error::{Doing, Result, StoreError},
    gc,
    limits::OPEN_PACKS_MAX,
    store::{Inner, Store},
};

pub(super) const PACKS: &str = "packs";

/// The packs that were used last, open.
#[derive(Default)]
pub(crate) struct Open(Mutex<Vec<(PackId, OpenPack)>>);

impl Open {
    fn get(&self, pack: PackId) -> Option<OpenPack> {
        let mut open = self.lock();
        let at = open.iter().position(|(known, _)| *known == pack)?;
        let found = open.remove(at);
        let result = Arc::clone(&found.1);
        open.push(found);
        Some(result)
    }

    fn add(&self, pack: PackId, file: &OpenPack) {
        let mut open = self.lock();
        if open.len() >= OPEN_PACKS_MAX {
            open.remove(0);
        }
        open.push((pack, Arc::clone(file)));
    }

    fn remove(&self, pack: PackId) {
        self.lock().retain(|(known, _)| *known != pack);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(PackId, OpenPack)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pack being written in the work directory; removed unless it is placed.
pub(super) struct Unplaced {
    path: PathBuf,
    file: File,
}

impl Unplaced {
    pub(super) fn create(inner: &Inner) -> Result<Self> {
        let path = inner.home.work_path(&format!("p{}", inner.home.number()));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .doing(|| format!("make {}", path.display()))?;
        Ok(Self { path, file })
    }

    pub(super) const fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for Unplaced {
    fn drop(&mut self) {
        // Gone already if it was placed; otherwise the next start would remove it.
        let _ = fs::remove_file(&self.path);
    }
}

fn dir(inner: &Inner) -> PathBuf {
    inner.home.dir().join(PACKS)
}

pub(super) fn path(inner: &Inner, pack: PackId) -> PathBuf {
    dir(inner).join(pack.to_string())
}

fn sync_dir(path: &std::path::Path) -> Result<()> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .doing(|| format!("write {} to the disk", path.display()))
}

/// Reads all of a pack that was written, and what it leans on, and compares it with its names.
pub(super) fn verify(inner: &Inner, temp: &Unplaced) -> Result<()> {
    let pack = Pack::open(temp.file()).map_err(failed)?;
    match pack.verify(&Packs(inner)).pop() {
        Some(flaw) => Err(failed(flaw.error)),
        None => Ok(()),
    }
}

/// The packs on which others rely are there; to be asked by who keeps other commits out.
fn are_there(inner: &Inner, packs: impl IntoIterator<Item = BlobId>) -> Result<()> {
    for blob in packs {
        // It may have been dropped since it was looked up.
        if !table::has(inner, PackId::from(blob))? {
            return Err(StoreError::NoBlob { blob });
        }
    }
    Ok(())
}

/// The same of those that a plan names, with what they lean on.
fn are_whole(inner: &Inner, plan: &Plan<'_>) -> Result<()> {
    let relied = plan.relied();
    let lame = table::lame(inner)?;
    if let Some(blob) = relied.intersection(&lame).next() {
        return Err(StoreError::NoBlob { blob: *blob });
    }
    are_there(inner, relied)
}

/// Notes that trees are wholly in packs, where nothing new is to be written.
pub(super) fn know(inner: &Inner, plan: &Plan<'_>) -> Result<()> {
    let guard = commit::lock(inner);
    are_whole(inner, plan)?;
    crash::point();
    let known = inner
        .index
        .write(|txn| table::add_frozen(txn, &plan.frozen));
    drop(guard);
    known
}

/// Makes a written pack part of the store, durably, or not at all.
pub(super) fn place(inner: &Inner, temp: &Unplaced, id: PackId, plan: &Plan<'_>) -> Result<()> {
    crash::point();
    let what = || format!("keep pack {id}");
    temp.file.sync_all().doing(what)?;
    crash::point();
    let pack = Pack::open(temp.file.try_clone().doing(what)?).map_err(failed)?;
    let units: BTreeSet<BlobId> = pack.units().collect();
    let blobs: Vec<_> = pack
        .blobs()
        .map(|(blob, bytes)| (blob, bytes, units.contains(&blob)))
        .collect();
    let facts = PackFacts {
        bytes: temp.file.metadata().doing(what)?.len(),
        blobs: blobs.len() as u64,
        leans_on: pack.leans_on().iter().map(|pack| pack.blob()).collect(),
    };
    let guard = commit::lock(inner);
    are_there(inner, pack.leans_on().iter().map(|pack| pack.blob()))?;
    are_whole(inner, plan)?;
    let frozen = plan.frozen_in(id);
    match DirBuilder::new().mode(0o700).create(dir(inner)) {
        Ok(()) => sync_dir(inner.home.dir())?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).doing(what),
    }
    crash::point();
    fs::rename(&temp.path, path(inner, id)).doing(what)?;
    crash::point();
    let named = sync_dir(&dir(inner)).and_then(|()| table::add(inner, id, &facts, &blobs, &frozen));
    if named.is_ok() {
        // The same may have been dropped while a sweep that still lasts went on.
        inner.guards.reprieve_packs(&[id.blob()]);
    } else if !table::has(inner, id).unwrap_or(true) {
        let _ = fs::remove_file(path(inner, id));
    }
    drop(guard);
    named
}

/// A pack of the store, open. One whose file is gone or is no pack is forgotten, and that is said
/// as `NoBlob`.
pub(super) fn open(inner: &Inner, id: PackId) -> Result<OpenPack> {
    if let Some(open) = inner.cold.get(id) {
        return Ok(open);
    }
    let opened = match File::open(path(inner, id)) {
        Ok(file) => Pack::open(file).map_err(failed),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(StoreError::NoBlob { blob: id.blob() })
        }
        Err(error) => Err(error).doing(|| format!("open pack {id}")),
    };
    match opened {
        Ok(pack) => {
            let pack = Arc::new(pack);
            inner.cold.add(id, &pack);
            Ok(pack)
        }
        Err(error @ (StoreError::Pack { .. } | StoreError::NoBlob { .. })) => {
            tracing::warn!(pack = %id, %error, "a pack is gone or damaged; it is forgotten");
            forget(inner, id)?;
            Err(StoreError::NoBlob { blob: id.blob() })
        }
        Err(error) => Err(error),
    }
}

/// Out of the index first, then its file.
pub(super) fn forget(inner: &Inner, id: PackId) -> Result<()> {
    let going = [going(inner, id)];
    let guard = commit::lock(inner);
    let forgotten = leaners(inner, id).and_then(|leaners| forget_locked(inner, &going, &leaners));
    drop(guard);
    forgotten
}

/// A pack that goes, with what it holds where it can be opened.
pub(crate) fn going(inner: &Inner, pack: PackId) -> Going {
    let blobs = peek(inner, pack).map(|open| open.blobs().map(|(blob, _)| blob).collect());
    Going { pack, blobs }
}

/// A pack as it is, whatever that says.
fn peek(inner: &Inner, pack: PackId) -> Option<OpenPack> {
    inner.cold.get(pack).or_else(|| {
        let file = File::open(path(inner, pack)).ok()?;
        Pack::open(file).ok().map(Arc::new)
    })
}

/// The packs that lean on this one, with the files that they cannot give without it.
fn leaners(inner: &Inner, id: PackId) -> Result<Vec<Going>> {
    let mut leaners = Vec::new();
    for (pack, facts) in table::all(inner)? {
        if facts.leans_on.contains(&id.blob()) {
            let open = peek(inner, pack);
            let blobs = open.map(|open| lost_without(inner, &open, id, &facts));
            let blobs = blobs.transpose()?;
            leaners.push(Going { pack, blobs });
        }
    }
    Ok(leaners)
}

/// The files of a pack of which a part may be in `id`: it is in no other pack on which it leans.
fn lost_without(
    inner: &Inner,
    open: &OpenPack,
    id: PackId,
    facts: &PackFacts,
) -> Result<Vec<BlobId>> {
    let own: BTreeSet<BlobId> = open.units().collect();
    table::peek(inner, |packed| {
        let mut lost = Vec::new();
        for (blob, _) in open.blobs().filter(|(blob, _)| !own.contains(blob)) {
            for (unit, _) in open.units_of(blob).filter(|(unit, _)| !own.contains(unit)) {
                let rows = packed.rows(unit)?;
                let is_there = |row: &table::Row| {
                    row.is_unit && row.pack != id && facts.leans_on.contains(&row.pack.blob())
                };
                if rows.iter().any(|row| row.pack == id) || !rows.iter().any(is_there) {
                    lost.push(blob);
                    break;
                }
            }
        }
        Ok(lost)
    })
}

/// The same for who keeps other commits out.
fn forget_locked(inner: &Inner, going: &[Going], leaners: &[Going]) -> Result<()> {
    inner.index.write(|txn| {
        table::forget(txn, going)?;
        table::unlean(txn, going, leaners)
    })?;
    inner.whole.clear();
    remove_files(inner, going)
}

/// Removes the files of packs that the index does not name any more.
pub(crate) fn remove_files(inner: &Inner, going: &[Going]) -> Result<()> {
    for Going { pack, .. } in going {
        inner.cold.remove(*pack);
        crash::point();
        unlink(inner, &pack.to_string())?;
    }
    Ok(())
}

pub(super) fn unlink(inner: &Inner, name: &str) -> Result<()> {
    match fs::remove_file(dir(inner).join(name)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).doing(|| format!("remove pack {name}"))
        }
        _ => Ok(()),
    }
}

/// Removes a pack on which no other leans and that nothing needs which is pinned or in use.
pub(super) fn remove(store: &Store, id: PackId) -> Result<()> {
    let inner = &store.inner;
    let going = [going(inner, id)];
    // Before others are kept out: it reads packs, and forgets those that it finds damaged.
    let is_needed = gc::is_needed(store, id)?;
    // Until it is gone no pack that leans on it can come.
    let _guard = commit::lock(inner);
    let all = table::all(inner)?;
    if !all.iter().any(|(known, _)| *known == id) {
        return Err(StoreError::NoBlob { blob: id.blob() });
    }
    if all
        .iter()
        .any(|(_, facts)| facts.leans_on.contains(&id.blob()))
    {
        return Err(StoreError::Leaned { pack: id.blob() });
    }
    if is_needed || inner.guards.is_guarded(id.blob()) {
        return Err(StoreError::Needed { pack: id.blob() });
    }
    forget_locked(inner, &going, &[])
}

/// Files under `packs/` that the index does not name.
pub(super) fn orphans(inner: &Inner) -> Result<Vec<String>> {
    let guard = commit::lock(inner);
    let entries = match fs::read_dir(dir(inner)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).doing(|| "list the packs of the store".to_owned()),
    };
    let known: BTreeSet<String> = table::all(inner)?
        .iter()
        .map(|(pack, _)| pack.to_string())
        .collect();
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.doing(|| "list the packs of the store".to_owned())?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !known.contains(&name) {
            found.push(name);
        }
    }
    drop(guard);
    Ok(found)
}

/// Removes a file that nothing named, unless the index names it meanwhile.
pub(crate) fn remove_orphan(inner: &Inner, name: &str) -> Result<()> {
    let guard = commit::lock(inner);
    let known = table::all(inner)?;
    if !known.iter().any(|(pack, _)| pack.to_string() == name) {
        unlink(inner, name)?;
    }
    drop(guard);
    Ok(())
}

/// Removes what a killed process has left.
pub(crate) fn recover(inner: &Inner) -> Result<()> {
    for name in orphans(inner)? {
        tracing::debug!(pack = %name, "removing what is unfinished");
        remove_orphan(inner, &name)?;
    }
    mend(inner)
}

/// Forgets what an earlier version still counted on of packs that lean on one that is gone.
fn mend(inner: &Inner) -> Result<()> {
    let all = table::all(inner)?;
    let known: BTreeSet<BlobId> = all.iter().map(|(pack, _)| pack.blob()).collect();
    let leant_on = all.iter().flat_map(|(_, facts)| &facts.leans_on);
    let gone: BTreeSet<BlobId> = leant_on.filter(|id| !known.contains(id)).copied().collect();
    for id in gone {
        let pack = PackId::from(id);
        tracing::warn!(%pack, "other packs lean on one that is gone; what needs it is forgotten");
        let guard = commit::lock(inner);
        let leaners = leaners(inner, pack)?;
        forget_locked(inner, &[going(inner, pack)], &leaners)?;
        drop(guard);
    }
    Ok(())
}
