//! The files of packs: made in the work directory, placed under `packs/`, opened when something of
//! them is wanted, and removed.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use caravan_pack::{Pack, PackId};
use caravan_protocol::ids::BlobId;

use super::{OpenPack, PackFacts, failed, table};
use crate::{
    check::{Finding, FindingKind},
    commit, crash,
    error::{Doing, Result, StoreError},
    limits::OPEN_PACKS_MAX,
    store::Inner,
};

const PACKS: &str = "packs";

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

fn path(inner: &Inner, pack: PackId) -> PathBuf {
    dir(inner).join(pack.to_string())
}

fn sync_dir(path: &std::path::Path) -> Result<()> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .doing(|| format!("write {} to the disk", path.display()))
}

/// Makes a written pack part of the store, durably, or not at all.
pub(super) fn place(inner: &Inner, temp: &Unplaced, id: PackId) -> Result<()> {
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
    for &base in pack.leans_on() {
        // It may have been dropped since it was looked up.
        if !table::has(inner, base)? {
            return Err(StoreError::NoBlob { blob: base.blob() });
        }
    }
    match DirBuilder::new().mode(0o700).create(dir(inner)) {
        Ok(()) => sync_dir(inner.home.dir())?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).doing(what),
    }
    crash::point();
    fs::rename(&temp.path, path(inner, id)).doing(what)?;
    crash::point();
    let named = sync_dir(&dir(inner)).and_then(|()| table::add(inner, id, &facts, &blobs));
    if named.is_err() && !table::has(inner, id).unwrap_or(true) {
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
fn forget(inner: &Inner, id: PackId) -> Result<()> {
    let guard = commit::lock(inner);
    let forgotten = forget_locked(inner, id);
    drop(guard);
    forgotten
}

/// The same for who keeps other commits out.
fn forget_locked(inner: &Inner, id: PackId) -> Result<()> {
    table::forget(inner, id)?;
    inner.cold.remove(id);
    crash::point();
    unlink(inner, &id.to_string())
}

fn unlink(inner: &Inner, name: &str) -> Result<()> {
    match fs::remove_file(dir(inner).join(name)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).doing(|| format!("remove pack {name}"))
        }
        _ => Ok(()),
    }
}

/// Removes a pack on which no other leans.
pub(super) fn remove(inner: &Inner, id: PackId) -> Result<()> {
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
    forget_locked(inner, id)
}

/// Files under `packs/` that the index does not name.
fn orphans(inner: &Inner) -> Result<Vec<String>> {
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

/// Removes what a killed process has left.
pub(crate) fn recover(inner: &Inner) -> Result<()> {
    for name in orphans(inner)? {
        tracing::debug!(pack = %name, "removing what is unfinished");
        unlink(inner, &name)?;
    }
    Ok(())
}

/// Reads every pack and compares it with its name. Says what is wrong and how many were looked at;
/// with `heal`, damaged packs are forgotten and orphans removed.
pub(crate) fn check(inner: &Inner, heal: bool) -> Result<(u64, Vec<Finding>)> {
    let mut findings = Vec::new();
    let packs = table::all(inner)?;
    for &(id, _) in &packs {
        if let Err(reason) = compare(inner, id) {
            findings.push(Finding {
                kind: FindingKind::DamagedPack,
                path: format!("{PACKS}/{id}"),
                reason,
            });
            if heal {
                forget(inner, id)?;
            }
        }
    }
    for name in orphans(inner)? {
        findings.push(Finding {
            kind: FindingKind::Orphan,
            path: format!("{PACKS}/{name}"),
            reason: "nothing names it".to_owned(),
        });
        if heal {
            unlink(inner, &name)?;
        }
    }
    Ok((packs.len() as u64, findings))
}

/// The hash of the whole says it all: what the pack holds was compared when it was placed.
fn compare(inner: &Inner, id: PackId) -> Result<(), String> {
    let words = |error: io::Error| match error.kind() {
        ErrorKind::NotFound => "the file is gone".to_owned(),
        _ => error.to_string(),
    };
    let file = File::open(path(inner, id)).map_err(words)?;
    let found = PackId::of(&file).map_err(|error| error.to_string())?;
    if found != id {
        return Err(format!("its bytes hash to {found}"));
    }
    Ok(())
}
