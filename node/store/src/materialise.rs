//! Laying a tree out as a directory: the opposite of ingesting one. Its files are links to objects
//! where they can be shared and copies where they cannot; the directory appears whole or not at
//! all. The tree may come from anywhere: nothing it names leads out of the new directory.

use std::{collections::BTreeMap, fs::File, os::fd::OwnedFd, path::PathBuf};

use caravan_protocol::{
    ids::{BlobId, TreeId},
    limits,
    tree::{Entry, Kind, Tree},
};
use rustix::{
    fd::{AsFd, BorrowedFd},
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid},
    io::Errno,
};

use crate::{
    beneath::{self, Parents, TIMES},
    blobs,
    commit::{self, Source, Staged},
    crash,
    error::{Doing, Result, StoreError},
    ingest::Sharing,
    object::Key,
    store::Store,
    temp::{self, Workspace},
    work::Work,
    xattrs,
};

impl Store {
    /// The directory that holds the layer `tree`, to be mounted as a lower directory and never
    /// written to. It is laid out if it is not there yet, for which all its blobs must be here.
    /// Several callers may ask for one layer at once.
    pub fn materialise(&self, tree: TreeId) -> Result<PathBuf> {
        if let Some(path) = self.layer(tree)? {
            return Ok(path);
        }
        // Thawing may take long, and no collection waits for what is leased.
        let _lease = self.lease(&[tree]);
        let listing = match self.tree(tree) {
            Err(StoreError::NoBlob { .. }) => {
                return Err(StoreError::Incomplete { tree, missing: 1 });
            }
            other => other?,
        };
        let missing = self.missing_of(&listing)?.len();
        if missing > 0 {
            return Err(StoreError::Incomplete { tree, missing });
        }
        self.thaw_listing(tree, &listing, &Work::default())?;
        let _flight = self.inner.guards.flight();
        let workspace = self.workspace()?;
        self.lay_out(tree, &listing, &workspace)?;
        Ok(self.inner.home.layer_path(&tree.to_string()))
    }

    fn lay_out(&self, id: TreeId, tree: &Tree, workspace: &Workspace) -> Result<()> {
        let what = || format!("open {}", workspace.upper().display());
        let name = workspace.upper_name();
        let root = beneath::open_dir(self.inner.home.work(), name.as_bytes()).doing(what)?;
        let mut layout = Layout {
            store: self,
            root: root.as_fd(),
            parents: Parents::new(root.as_fd()),
            sharing: Sharing::new(&self.inner, root.as_fd()),
            fresh: BTreeMap::new(),
        };
        for entry in tree.entries() {
            layout.make(entry)?;
        }
        // Innermost first: a directory's mode and times are final once nothing in it changes.
        for entry in tree.entries().iter().rev() {
            layout.finish_dir(entry)?;
        }

        let Sharing { new, temps, .. } = layout.sharing;
        let staged = Staged {
            id,
            tree,
            name,
            root: root.as_fd(),
        };
        commit::commit(&self.inner, &new, Some(&staged))?;
        drop(temps);
        Ok(())
    }
}

/// A layer being laid out.
struct Layout<'a> {
    store: &'a Store,
    root: BorrowedFd<'a>,
    parents: Parents<'a>,
    sharing: Sharing<'a>,
    /// Files made anew that others of this layer can link to, by where the first is.
    fresh: BTreeMap<Key, Vec<u8>>,
}

impl Layout<'_> {
    fn make(&mut self, entry: &Entry) -> Result<()> {
        let what = || format!("make {:?} of a layer", String::from_utf8_lossy(&entry.path));
        if entry.uid == u32::MAX || entry.gid == u32::MAX {
            return Err(StoreError::refused(
                &entry.path,
                "its owner is no owner at all",
            ));
        }
        if entry.path.is_empty() {
            return Ok(());
        }
        crash::point();
        match &entry.kind {
            Kind::Dir { .. } => {
                let (dir, name) = self.parents.of(&entry.path).doing(what)?;
                rustix::fs::mkdirat(dir, name, Mode::RWXU).doing(what)
            }
            Kind::File { blob, size } => self.make_file(entry, *blob, *size),
            Kind::Symlink { .. } | Kind::Whiteout if !entry.xattrs.is_empty() => Err(
                StoreError::refused(&entry.path, "such a file has no extended attributes"),
            ),
            Kind::Symlink { target } => {
                let (dir, name) = self.parents.of(&entry.path).doing(what)?;
                rustix::fs::symlinkat(target, dir, name).doing(what)?;
                let (uid, gid) = owner(entry);
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                rustix::fs::chownat(dir, name, uid, gid, flags).doing(what)?;
                rustix::fs::utimensat(dir, name, &TIMES, flags).doing(what)
            }
            Kind::Whiteout => {
                let (dir, name) = self.parents.of(&entry.path).doing(what)?;
                let kind = FileType::CharacterDevice;
                rustix::fs::mknodat(dir, name, kind, Mode::empty(), 0).doing(what)
            }
        }
    }

    fn make_file(&mut self, entry: &Entry, blob: BlobId, size: u64) -> Result<()> {
        let Some(key) = Key::shared(entry) else {
            return self.copy(entry, blob, size);
        };
        let known = self
            .store
            .inner
            .index
            .objects(|objects| objects.size(&key))?;
        if let Some(known) = known {
            if known != size {
                let reason = "its size is not that of its content";
                return Err(StoreError::refused(&entry.path, reason));
            }
            if self.link(key, entry)? {
                return Ok(());
            }
        }
        if let Some(first) = self.fresh.get(&key).cloned()
            && self.link_within(&first, entry)?
        {
            return Ok(());
        }
        // Made anew with this mode and owner, and from now on an object.
        self.copy(entry, blob, size)?;
        if self.fresh.insert(key, entry.path.clone()).is_none() {
            self.sharing
                .add(key, size, Source::Staged(entry.path.clone()));
        }
        Ok(())
    }

    fn link(&mut self, key: Key, entry: &Entry) -> Result<bool> {
        let objects = self.store.inner.home.objects();
        self.link_from(objects, key.path().as_bytes(), entry)
    }

    fn link_within(&mut self, first: &[u8], entry: &Entry) -> Result<bool> {
        let mut parents = Parents::new(self.root);
        let (dir, name) = parents
            .of(first)
            .doing(|| "open a directory of a new layer".to_owned())?;
        self.link_from(dir, name, entry)
    }

    fn link_from(&mut self, from: BorrowedFd<'_>, from_name: &[u8], entry: &Entry) -> Result<bool> {
        let what = || format!("link {:?} of a layer", String::from_utf8_lossy(&entry.path));
        let (dir, name) = self.parents.of(&entry.path).doing(what)?;
        match rustix::fs::linkat(from, from_name, dir, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::MLINK | Errno::NOENT) => Ok(false),
            Err(error) => Err(error).doing(what),
        }
    }

    fn copy(&mut self, entry: &Entry, blob: BlobId, size: u64) -> Result<()> {
        let what = || {
            format!(
                "write {:?} of a layer",
                String::from_utf8_lossy(&entry.path)
            )
        };
        let Some((mut from, _, _)) = blobs::find(&self.store.inner, blob)? else {
            return Err(StoreError::NoBlob { blob });
        };
        let (dir, name) = self.parents.of(&entry.path).doing(what)?;
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let mut to = rustix::fs::openat(dir, name, flags, mode)
            .map(File::from)
            .doing(what)?;
        let mut buffer = vec![0; crate::limits::READ_BYTES];
        let (found, found_size) =
            temp::copy(&mut from, &mut to, limits::BLOB_BYTES_MAX, &mut buffer)?;
        if (found, found_size) != (blob, size) {
            return Err(StoreError::Damaged {
                what: format!("blob {blob}"),
                reason: format!("its {found_size} bytes hash to {found}"),
            });
        }
        dress(to.as_fd(), entry)
    }

    fn finish_dir(&mut self, entry: &Entry) -> Result<()> {
        if !matches!(entry.kind, Kind::Dir { .. }) {
            return Ok(());
        }
        let dir: OwnedFd = beneath::open_dir(self.root, &entry.path)
            .doing(|| format!("open {:?} of a layer", String::from_utf8_lossy(&entry.path)))?;
        dress(dir.as_fd(), entry)
    }
}

/// Gives a new file or directory everything but its content. The owner comes first, because
/// changing it takes special bits and capabilities away.
fn dress(file: BorrowedFd<'_>, entry: &Entry) -> Result<()> {
    let what = || {
        format!(
            "finish {:?} of a layer",
            String::from_utf8_lossy(&entry.path)
        )
    };
    let (uid, gid) = owner(entry);
    rustix::fs::fchown(file, uid, gid).doing(what)?;
    rustix::fs::fchmod(file, Mode::from_raw_mode(u32::from(entry.mode))).doing(what)?;
    let opaque = matches!(entry.kind, Kind::Dir { opaque: true });
    xattrs::write(file, &entry.xattrs, opaque, &entry.path)?;
    rustix::fs::futimens(file, &TIMES).doing(what)
}

fn owner(entry: &Entry) -> (Option<Uid>, Option<Gid>) {
    (
        Some(Uid::from_raw(entry.uid)),
        Some(Gid::from_raw(entry.gid)),
    )
}
