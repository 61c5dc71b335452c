//! How much a directory takes up, with all of it made durable on the way: a cache that a power cut
//! tore would be worse than none.

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{AtFlags, FileType},
};

use crate::{
    beneath,
    error::{Doing, Result, StoreError},
    limits,
    parallel::{self, Load},
};

/// What one entry counts for beside its content, bytes.
const ENTRY_BYTES: u64 = 512;

/// How much it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Weight {
    pub(super) entries: usize,
    pub(super) bytes: u64,
}

/// Weighs all that is below `root`. No process uses it.
pub(super) fn weigh(root: &OwnedFd) -> Result<Weight> {
    let what = |path: &[u8]| format!("read {:?} of a cache", String::from_utf8_lossy(path));
    let mut weight = Weight::default();
    let mut to_sync: Vec<Vec<u8>> = Vec::new();
    let mut left = vec![Vec::new()];
    while let Some(dir) = left.pop() {
        let fd = beneath::open_dir(root, &dir).doing(|| what(&dir))?;
        note(&mut to_sync, &dir);
        for (name, _) in beneath::names(&fd).doing(|| what(&dir))? {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            let stat = rustix::fs::statat(&fd, name.as_slice(), flags).doing(|| what(&dir))?;
            let path = join(&dir, &name);
            weight.entries += 1;
            if weight.entries > limits::CACHE_ENTRIES_MAX {
                return Err(StoreError::TooMany {
                    what: "file in a cache".to_owned(),
                    max: limits::CACHE_ENTRIES_MAX as u64,
                });
            }
            let held = u64::try_from(stat.st_blocks)
                .unwrap_or(0)
                .saturating_mul(512);
            weight.bytes = weight
                .bytes
                .saturating_add(held)
                .saturating_add(ENTRY_BYTES);
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => left.push(path),
                FileType::RegularFile => note(&mut to_sync, &path),
                _ => {}
            }
        }
    }
    sync(root, &to_sync)?;
    Ok(weight)
}

pub(super) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() {
        name.to_vec()
    } else {
        [dir, b"/", name].concat()
    }
}

fn note(to_sync: &mut Vec<Vec<u8>>, path: &[u8]) {
    if to_sync.len() <= limits::SYNC_EACH_MAX {
        to_sync.push(path.to_vec());
    }
}

fn sync(root: &OwnedFd, paths: &[Vec<u8>]) -> Result<()> {
    let what = || "write a cache to the disk".to_owned();
    if paths.len() > limits::SYNC_EACH_MAX {
        return rustix::fs::syncfs(root).doing(what);
    }
    let one = |index: usize, _: &mut Vec<u8>| {
        let path = &paths[index];
        let path = if path.is_empty() {
            b".".as_slice()
        } else {
            path
        };
        let file = beneath::open_file(root.as_fd(), path).doing(what)?;
        rustix::fs::fsync(file).doing(what)
    };
    parallel::each(Load::Syncing, paths.len(), one, |_, ()| {})
}
