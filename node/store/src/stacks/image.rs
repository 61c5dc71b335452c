//! Making one image: listings in, a file that appears whole or not at all out.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use caravan_erofs as erofs;
use caravan_protocol::{
    ids::TreeId,
    tree::{Entry, Kind, MTIME_S, Tree},
};

use super::{Id, merged};
use crate::{
    crash,
    error::{Doing, Result, StoreError},
    index::Objects,
    limits::IMAGE_ENTRIES_MAX,
    object::Key,
    store::Store,
};

/// An overlay's words for a file whose bytes are elsewhere, and for where.
const ELSEWHERE: &[u8] = b"trusted.overlay.metacopy";
const WHERE: &[u8] = b"trusted.overlay.redirect";

/// Why there is no image.
pub(super) enum Failed {
    /// These trees never have one.
    Hopeless(String),
    /// The store failed.
    Store(StoreError),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Writes the image of these trees, the lowest first, and says how long it is and what its bytes hash to.
pub(super) fn make(
    store: &Store,
    trees: &[TreeId],
    path: &Path,
) -> std::result::Result<(u64, Id), Failed> {
    crash::point();
    let mut listings: Vec<Tree> = Vec::with_capacity(trees.len());
    let mut entries = 0;
    for tree in trees {
        let listing = store.tree(*tree)?;
        entries += listing.entries().len();
        if entries > IMAGE_ENTRIES_MAX {
            let why = format!("it has more than {IMAGE_ENTRIES_MAX} files");
            return Err(Failed::Hopeless(why));
        }
        listings.push(listing);
    }
    let part = path.with_extension("part");
    let written = write(store, &listings, &part);
    crash::point();
    let renamed = written.and_then(|made| {
        let what = || format!("put {} in its place", path.display());
        fs::rename(&part, path).doing(what)?;
        Ok(made)
    });
    if renamed.is_err() {
        // If it cannot go, the next start removes it.
        let _ = fs::remove_file(&part);
    }
    renamed
}

fn write(store: &Store, listings: &[Tree], part: &Path) -> std::result::Result<(u64, Id), Failed> {
    let shown = merged::merged(listings);
    let places: Vec<Vec<u8>> = store.inner.index.objects(|objects| {
        let places = shown.iter().map(|entry| place(objects, entry));
        places.collect()
    })?;
    let nodes: Vec<erofs::Node<'_>> = shown
        .iter()
        .zip(&places)
        .map(|(entry, place)| node(entry, place))
        .collect();
    let what = || format!("write {}", part.display());
    let mut file = Hashing {
        file: create(part).doing(what)?,
        hasher: blake3::Hasher::new(),
    };
    let mtime_s = u64::try_from(MTIME_S).unwrap_or(0);
    match erofs::write(&nodes, mtime_s, &mut file) {
        Ok(bytes) => Ok((bytes, *file.hasher.finalize().as_bytes())),
        Err(erofs::Error::Write(error)) => Err(StoreError::io(what(), error).into()),
        Err(other) => Err(Failed::Hopeless(other.to_string())),
    }
}

/// A file whose bytes are hashed on their way.
struct Hashing {
    file: File,
    hasher: blake3::Hasher,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// What the bytes of an image hash to.
pub(super) fn hash(path: &Path) -> io::Result<Id> {
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(*hasher.finalize().as_bytes())
}

fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// Where a file's bytes are, below the directory of objects; nothing for what has none. Mode and
/// owner are the image's, so that any object of the content will do.
fn place(objects: &Objects<'_>, entry: &Entry) -> Result<Vec<u8>> {
    let Kind::File { blob, size } = entry.kind else {
        return Ok(Vec::new());
    };
    if size == 0 {
        return Ok(Vec::new());
    }
    let key = match Key::shared(entry) {
        Some(key) if objects.has(&key)? => key,
        _ => objects.any(blob)?.ok_or(StoreError::NoBlob { blob })?.0,
    };
    Ok(format!("/{}", key.path()).into_bytes())
}

fn node<'a>(entry: &'a Entry, place: &'a [u8]) -> erofs::Node<'a> {
    let own = entry.xattrs.iter();
    let mut xattrs: Vec<(&[u8], &[u8])> = own
        .map(|(name, value)| (name.as_slice(), value.as_slice()))
        .collect();
    if !place.is_empty() {
        xattrs.push((ELSEWHERE, b""));
        xattrs.push((WHERE, place));
    }
    erofs::Node {
        path: &entry.path,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        xattrs,
        kind: match &entry.kind {
            Kind::Dir { .. } => erofs::Kind::Dir,
            Kind::File { size, .. } => erofs::Kind::File { size: *size },
            Kind::Symlink { target } => erofs::Kind::Symlink { target },
            // None is left when nothing is below.
            Kind::Whiteout => erofs::Kind::Whiteout,
        },
    }
}
