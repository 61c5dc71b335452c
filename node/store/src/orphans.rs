//! What the index does not name: left by a process that was killed before it could name or remove
//! it. Harmless, and removed.

use rustix::fd::BorrowedFd;

use crate::{
    beneath, commit,
    error::{Doing, Result},
    index::Objects,
    object::Key,
    store::Inner,
};

/// Paths below the store's directory of objects that the index does not name.
pub(crate) fn objects(inner: &Inner) -> Result<Vec<Vec<u8>>> {
    let guard = commit::lock(inner);
    let root = inner.home.objects();
    let found = inner.index.objects(|objects| {
        let mut found = Vec::new();
        for name in names(root)? {
            let Ok(dir) = beneath::open_dir(root, &name) else {
                found.push([b"objects/", name.as_slice()].concat());
                continue;
            };
            for file in names(rustix::fd::AsFd::as_fd(&dir))? {
                if !is_object(objects, &name, &file)? {
                    found.push([b"objects/", name.as_slice(), b"/", file.as_slice()].concat());
                }
            }
        }
        Ok(found)
    });
    drop(guard);
    found
}

/// Paths below the store's directory of layers that the index does not name.
pub(crate) fn layers(inner: &Inner) -> Result<Vec<Vec<u8>>> {
    let guard = commit::lock(inner);
    let mut found = Vec::new();
    for name in names(inner.home.layers())? {
        if !is_layer(inner, &name)? {
            found.push([b"layers/", name.as_slice()].concat());
        }
    }
    drop(guard);
    Ok(found)
}

/// Removes what one of the above has found, unless the index names it meanwhile.
pub(crate) fn remove(inner: &Inner, path: &[u8]) -> Result<()> {
    let guard = commit::lock(inner);
    if let Some(name) = path.strip_prefix(b"layers/") {
        if !is_layer(inner, name)? {
            inner.home.remove(inner.home.layers(), name)?;
        }
    } else if let Some(rest) = path.strip_prefix(b"objects/") {
        let (dir, name) = beneath::split(rest);
        if !inner
            .index
            .objects(|objects| is_object(objects, dir, name))?
        {
            let parent = beneath::open_dir(inner.home.objects(), dir)
                .doing(|| "open a directory of objects".to_owned())?;
            inner.home.remove(&parent, name)?;
        }
    }
    drop(guard);
    Ok(())
}

fn names(dir: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>> {
    let names = beneath::names(dir).doing(|| "list the files of the store".to_owned())?;
    Ok(names.into_iter().map(|(name, _)| name).collect())
}

fn is_object(objects: &Objects<'_>, dir: &[u8], name: &[u8]) -> Result<bool> {
    let key = match (std::str::from_utf8(dir), std::str::from_utf8(name)) {
        (Ok(dir), Ok(name)) => Key::at(dir, name),
        _ => None,
    };
    key.map_or(Ok(false), |key| objects.has(&key))
}

fn is_layer(inner: &Inner, name: &[u8]) -> Result<bool> {
    match std::str::from_utf8(name)
        .ok()
        .and_then(|name| name.parse().ok())
    {
        Some(id) => Ok(inner.index.layer(id)?.is_some()),
        None => Ok(false),
    }
}
