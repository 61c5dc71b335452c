//! Checking everything: each object is hashed again and each layer compared with its tree. What is
//! damaged can be forgotten, with the layers that use it; it is then fetched or made again, because
//! no claim is used before its content is found complete.

use std::collections::{BTreeMap, BTreeSet};

use caravan_protocol::{
    ids::TreeId,
    tree::{Entry, Kind, MTIME_S, Tree},
};
use rustix::{
    fd::AsFd,
    fs::{FileType, Stat},
};

use crate::{
    beneath,
    caches::Shelf,
    commit,
    error::{Doing, Result},
    limits::FINDINGS_MAX,
    object::Key,
    orphans, owner,
    parallel::{self, Load},
    store::{Inner, Store},
    walk::{self, Item, What},
    xattrs::{self, Xattrs},
};

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Objects and layers looked at.
    pub checked: u64,
    /// What is not as it should be, at most [`FINDINGS_MAX`] of them.
    pub findings: Vec<Finding>,
    /// How many there are in all.
    pub found: u64,
    /// Objects and layers that the store has forgotten, and files without owner that it has
    /// removed.
    pub forgotten: u64,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing.
    pub kind: FindingKind,
    /// Where, below the store's directory.
    pub path: String,
    /// What is wrong, in words.
    pub reason: String,
}

/// Kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingKind {
    /// An object's bytes, mode, owner or time have changed.
    DamagedObject,
    /// An object's file is gone.
    MissingObject,
    /// A layer is not what its tree says, or cannot be compared with it.
    DamagedLayer,
    /// A pack's file is gone or its bytes have changed.
    DamagedPack,
    /// A pack cannot be read just now. It stays: that says nothing about what it holds.
    UnreadPack,
    /// An image of a stack is not what was written.
    DamagedImage,
    /// A cache cannot be read, or holds what none does.
    DamagedCache,
    /// A file that nothing names. Harmless: a process was killed before it could name or remove it.
    Orphan,
    /// The index itself had to be repaired, or is beyond it.
    Index,
}

impl Report {
    /// Whether everything that the store names is whole. Orphans do no harm.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.found == 0 || self.findings.iter().all(|f| f.kind == FindingKind::Orphan)
    }

    fn add_all(&mut self, (checked, findings): (u64, Vec<Finding>), heal: bool) {
        self.checked += checked;
        let stays = |finding: &&Finding| finding.kind == FindingKind::UnreadPack;
        let gone = findings.len() - findings.iter().filter(stays).count();
        self.forgotten += if heal { gone as u64 } else { 0 };
        for Finding { kind, path, reason } in findings {
            self.add(kind, path, reason);
        }
    }

    /// Adds objects that are not as they should be, but for those collected meanwhile.
    fn add_objects(
        &mut self,
        inner: &Inner,
        bad: Vec<(Key, FindingKind, String)>,
    ) -> Result<Vec<Key>> {
        let mut still = Vec::new();
        for (key, kind, why) in bad {
            let named = inner.index.named(key.blob)?;
            if named.iter().any(|(known, _)| *known == key) {
                self.add(kind, format!("objects/{}", key.path()), why);
                still.push(key);
            }
        }
        Ok(still)
    }

    fn add(&mut self, kind: FindingKind, path: String, reason: impl Into<String>) {
        self.found += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding {
                kind,
                path,
                reason: reason.into(),
            });
        }
    }
}

/// What an object turned out to be.
enum Object {
    Good { inode: u64 },
    Damaged(String),
    Missing,
}

impl Store {
    /// Checks the whole store, with its packs, images and caches, and, if `heal`, forgets what is damaged. `progress` is told how many
    /// of all objects and layers are done. Layers in use by a running step may be forgotten too.
    pub fn check(&self, heal: bool, progress: &mut dyn FnMut(u64, u64)) -> Result<Report> {
        let inner = &self.inner;
        let mut report = Report::default();
        let path = "index.redb".to_owned();
        match inner.index.verify() {
            Ok(true) => {}
            Ok(false) => report.add(FindingKind::Index, path, "it had to be repaired"),
            Err(error) => {
                // Nothing else can be judged without it.
                let reason = std::error::Error::source(&error)
                    .map_or_else(|| error.to_string(), ToString::to_string);
                report.add(FindingKind::Index, path, reason);
                return Ok(report);
            }
        }
        let (objects, layers) = inner.index.everything()?;
        let packs = crate::cold::all(inner)?.len();
        let total = (objects.len() + layers.len() + packs) as u64;
        progress(0, total);
        let (sound, bad_objects) = self.check_objects(&objects, total, &mut report, progress)?;
        let mut bad_layers = Vec::new();
        for tree in layers {
            if let Err(why) = check_layer(self, tree, &sound)?
                && !has_changed(self, tree, &objects)?
            {
                bad_layers.push(tree);
                report.add(FindingKind::DamagedLayer, format!("layers/{tree}"), why);
            }
            report.checked += 1;
            progress(report.checked, total);
        }
        if heal {
            report.forgotten += (bad_objects.len() + bad_layers.len()) as u64;
            commit::forget(inner, bad_objects, bad_layers)?;
        }
        self.check_others(heal, total, &mut report, progress)?;
        Ok(report)
    }

    /// Hashes all objects: what is sound, and what is not.
    fn check_objects(
        &self,
        objects: &[(Key, u64)],
        total: u64,
        report: &mut Report,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Sound, Vec<Key>)> {
        let inner = &self.inner;
        let mut sound = Sound::default();
        let mut bad_objects: Vec<(Key, FindingKind, String)> = Vec::new();
        parallel::each(
            Load::Hashing,
            objects.len(),
            |index, buffer| check_object(inner, objects[index], buffer),
            |index, result| {
                report.checked += 1;
                progress(report.checked, total);
                let (key, _) = objects[index];
                match result {
                    Object::Good { inode } => {
                        sound.inodes.insert(inode);
                        sound.blobs.insert(key.blob);
                    }
                    Object::Damaged(why) => {
                        bad_objects.push((key, FindingKind::DamagedObject, why));
                    }
                    Object::Missing => {
                        let why = "the file is gone".to_owned();
                        bad_objects.push((key, FindingKind::MissingObject, why));
                    }
                }
            },
        )?;
        let bad_objects = report.add_objects(inner, bad_objects)?;
        Ok((sound, bad_objects))
    }

    /// What is neither an object nor a layer.
    fn check_others(
        &self,
        heal: bool,
        total: u64,
        report: &mut Report,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<()> {
        let inner = &self.inner;
        let mut looked = report.checked;
        let mut one_more = || {
            looked += 1;
            progress(looked.min(total), total);
        };
        report.add_all(crate::cold::check(inner, heal, &mut one_more)?, heal);
        report.add_all(self.check_images(heal), heal);
        report.add_all(Shelf::of(self).check(heal)?, heal);
        for path in orphans::layers(inner)?
            .into_iter()
            .chain(orphans::objects(inner)?)
        {
            let shown = String::from_utf8_lossy(&path).into_owned();
            report.add(FindingKind::Orphan, shown, "nothing names it");
            if heal {
                orphans::remove(inner, &path)?;
                report.forgotten += 1;
            }
        }
        Ok(())
    }
}

/// Whether a layer was collected, or made anew, since these objects were listed.
fn has_changed(store: &Store, tree: TreeId, listed: &[(Key, u64)]) -> Result<bool> {
    let index = &store.inner.index;
    if index.layer(tree)?.is_none() {
        return Ok(true);
    }
    let blobs = crate::gc::listing(store, tree.blob())?.map(|tree| tree.blobs());
    for blob in blobs
        .into_iter()
        .flat_map(BTreeMap::into_keys)
        .chain([tree.blob()])
    {
        let known = listed.binary_search_by(|(key, _)| key.blob.cmp(&blob));
        if known.is_err() && !index.named(blob)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What has been found whole.
#[derive(Default)]
struct Sound {
    inodes: BTreeSet<u64>,
    blobs: BTreeSet<caravan_protocol::ids::BlobId>,
}

fn check_object(inner: &Inner, (key, size): (Key, u64), buffer: &mut [u8]) -> Result<Object> {
    let damaged = |why: String| Ok(Object::Damaged(why));
    let file = match inner.home.open_object(&key) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(Object::Missing),
        Err(error) => return damaged(error.to_string()),
    };
    let stat = rustix::fs::fstat(&file).doing(|| format!("look at objects/{}", key.path()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return damaged("it is not a regular file".to_owned());
    }
    if u64::try_from(stat.st_size).ok() != Some(size) {
        return damaged(format!("it has {} bytes and not {size}", stat.st_size));
    }
    if let Some(why) = check_inode(&key, &stat) {
        return damaged(why);
    }
    if !xattrs::read(&file, key.path().as_bytes()).is_ok_and(|found| found == Xattrs::default()) {
        return damaged("it has extended attributes, which objects never have".to_owned());
    }
    match crate::temp::hash(&mut &file, size, buffer, &mut |_| Ok(())) {
        Ok((blob, _)) if blob == key.blob => Ok(Object::Good { inode: stat.st_ino }),
        Ok((blob, _)) => damaged(format!("its bytes hash to {blob}")),
        // A sector that cannot be read is damage, not a reason to stop looking.
        Err(error) => damaged(error.to_string()),
    }
}

fn check_inode(key: &Key, stat: &Stat) -> Option<String> {
    let mode = stat.st_mode & 0o7777;
    if mode != u32::from(key.mode) {
        return Some(format!("its mode is {mode:o} and not {:o}", key.mode));
    }
    if owner::are_kept() && (stat.st_uid, stat.st_gid) != (key.uid, key.gid) {
        return Some(format!(
            "it belongs to {}:{} and not {}:{}",
            stat.st_uid, stat.st_gid, key.uid, key.gid
        ));
    }
    None
}

/// Compares a layer with its tree: `Err` in the result says what is wrong.
fn check_layer(store: &Store, id: TreeId, sound: &Sound) -> Result<Result<(), String>> {
    if !sound.blobs.contains(&id.blob()) {
        return Ok(Err("its listing is no whole object".to_owned()));
    }
    let tree = match store.tree(id) {
        Ok(tree) => tree,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let name = id.to_string();
    let root = match beneath::open_dir(store.inner.home.layers(), name.as_bytes()) {
        Ok(root) => root,
        Err(error) => return Ok(Err(format!("open the directory: {error}"))),
    };
    let items = match walk::walk(root.as_fd()) {
        Ok(items) => items,
        Err(error) => return Ok(Err(error.to_string())),
    };
    if let Err(why) = compare(&tree, &items, sound) {
        return Ok(Err(why));
    }
    let apart: Vec<(&Item, &Entry)> = items
        .iter()
        .filter(|item| matches!(item.what, What::File) && !sound.inodes.contains(&item.inode))
        .filter_map(|item| Some((item, tree.get(&item.path)?)))
        .collect();
    let mut wrong = None;
    parallel::each(
        Load::Hashing,
        apart.len(),
        |index, buffer| {
            let (item, entry) = apart[index];
            Ok(check_apart(
                walk::hash(&mut beneath::Parents::new(root.as_fd()), item, buffer),
                entry,
            ))
        },
        |_, result| {
            if let Err(why) = result {
                wrong.get_or_insert(why);
            }
        },
    )?;
    Ok(wrong.map_or(Ok(()), Err))
}

type Hashed = Result<(std::fs::File, caravan_protocol::ids::BlobId, Xattrs)>;

fn check_apart(hashed: Hashed, entry: &Entry) -> Result<(), String> {
    let path = String::from_utf8_lossy(&entry.path);
    let (_, blob, found) = hashed.map_err(|error| error.to_string())?;
    match entry.kind {
        Kind::File { blob: want, .. } if want != blob => {
            Err(format!("the bytes of {path:?} hash to {blob}"))
        }
        _ if found.kept != entry.xattrs => {
            Err(format!("the extended attributes of {path:?} differ"))
        }
        _ => Ok(()),
    }
}

/// Compares everything but the contents of files.
fn compare(tree: &Tree, items: &[Item], sound: &Sound) -> Result<(), String> {
    let mut found: BTreeMap<&[u8], &Item> = items
        .iter()
        .map(|item| (item.path.as_slice(), item))
        .collect();
    for entry in tree.entries() {
        let path = String::from_utf8_lossy(&entry.path);
        let Some(item) = found.remove(entry.path.as_slice()) else {
            return Err(format!("{path:?} is gone"));
        };
        differs(entry, item).map_or(Ok(()), |what| Err(format!("{what} of {path:?} differs")))?;
        if let Kind::File { blob, .. } = &entry.kind
            && !sound.blobs.contains(blob)
        {
            return Err(format!("the content of {path:?} is no whole object"));
        }
    }
    if let Some(path) = found.keys().next() {
        let path = String::from_utf8_lossy(path);
        return Err(format!("{path:?} is not of the tree"));
    }
    // Last, because every other change of a directory shows here too.
    let untimely = |item: &&Item| item.mtime_s != MTIME_S && !matches!(item.what, What::Whiteout);
    items.iter().find(untimely).map_or(Ok(()), |item| {
        let path = String::from_utf8_lossy(&item.path);
        Err(format!("the time of {path:?} differs"))
    })
}

fn differs(entry: &Entry, item: &Item) -> Option<&'static str> {
    let same_kind = match (&entry.kind, &item.what) {
        (Kind::Whiteout, What::Whiteout) => return None,
        (Kind::Dir { opaque }, What::Dir(found)) => {
            if *opaque != found.opaque || entry.xattrs != found.kept {
                return Some("an extended attribute");
            }
            true
        }
        (Kind::File { size, .. }, What::File) => *size == item.size,
        (Kind::Symlink { target }, What::Symlink(found)) => target == found,
        _ => false,
    };
    if !same_kind {
        return Some("the kind, size or target");
    }
    if entry.mode != item.mode {
        return Some("the mode");
    }
    ((entry.uid, entry.gid) != (item.uid, item.gid)).then_some("the owner")
}
