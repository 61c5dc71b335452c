//! What caches take up, for the store that counts and collects them, and reading them again.

use std::io::Read;

use caravan_protocol::ids::BlobId;
use rustix::fs::{AtFlags, FileType};

use super::{ABOUT, Bounds, CACHES, Found, Graves, Shelf, weigh};
use crate::{
    beneath,
    check::{Finding, FindingKind},
    error::{Doing, Result},
    limits::{CACHE_ENTRIES_MAX, READ_BYTES},
    store::Store,
};

impl Found {
    /// When it was last used, seconds since 1970.
    fn used_s(&self) -> u64 {
        u64::try_from(self.used.0).unwrap_or(0)
    }
}

impl Shelf {
    /// The caches of a store, for whoever borrows none.
    pub(crate) fn of(store: &Store) -> Self {
        Self {
            store: store.clone(),
            bounds: Bounds::default(),
        }
    }

    /// How many caches there are, and their bytes.
    pub(crate) fn held(&self) -> Result<(u64, u64)> {
        if !self.store.dir().join(CACHES).exists() {
            return Ok((0, 0));
        }
        let _guard = self.lock();
        let all = self.all()?;
        let bytes = all.iter().map(|found| found.bytes);
        Ok((all.len() as u64, bytes.fold(0, u64::saturating_add)))
    }

    /// Caches that nobody has: name, bytes, last use in seconds since 1970.
    pub(crate) fn unlent(&self) -> Result<Vec<(BlobId, u64, u64)>> {
        if !self.store.dir().join(CACHES).exists() {
            return Ok(Vec::new());
        }
        let lent = self.lock();
        let free = self
            .all()?
            .into_iter()
            .filter(|found| !lent.contains_key(&found.name));
        let known = free.filter_map(|found| {
            let name = found.name.parse().ok()?;
            Some((name, found.bytes, found.used_s()))
        });
        Ok(known.collect())
    }

    /// Removes a cache, unless somebody has it.
    pub(crate) fn drop_one(&self, name: &str) -> Result<bool> {
        let mut graves = Graves::of(&self.store);
        let lent = self.lock();
        if lent.contains_key(name) {
            return Ok(false);
        }
        self.bury(&self.top()?, name.as_bytes(), &mut graves)?;
        drop(lent);
        Ok(true)
    }

    /// Reads every file of every cache that nobody has. There is nothing to compare their bytes with,
    /// so what is found is what cannot be read, and what a cache should not hold; with `heal` such a
    /// cache goes.
    pub(crate) fn check(&self, heal: bool) -> Result<(u64, Vec<Finding>)> {
        let mut findings = Vec::new();
        let caches = self.unlent()?;
        for (name, ..) in &caches {
            let name = name.to_string();
            if let Err(reason) = self.read_all(&name) {
                // One that is lent, or gone, since then is in use and not damaged.
                if !self.path(&name).exists() || self.lock().contains_key(&name) {
                    continue;
                }
                findings.push(Finding {
                    kind: FindingKind::DamagedCache,
                    path: format!("{CACHES}/{name}"),
                    reason,
                });
                if heal {
                    self.drop_one(&name)?;
                }
            }
        }
        Ok((caches.len() as u64, findings))
    }

    fn read_all(&self, name: &str) -> Result<(), String> {
        let words = |error: crate::StoreError| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
        };
        let cache = self.open(name).map_err(words)?;
        let names = beneath::names(&cache).map_err(|error| error.to_string())?;
        for (found, _) in names.iter().filter(|(found, _)| found != ABOUT.as_bytes()) {
            if super::Layer::parse(found).is_none() {
                return Err(format!("{:?} is no layer", String::from_utf8_lossy(found)));
            }
        }
        for layer in self.layers(&cache).map_err(words)? {
            let root = beneath::open_dir(&cache, layer.name.as_bytes());
            let root = root.map_err(|error| format!("open {}: {error}", layer.name))?;
            read_below(&root).map_err(words)?;
        }
        Ok(())
    }
}

fn read_below(root: &rustix::fd::OwnedFd) -> Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    let mut left = vec![Vec::new()];
    let mut entries = 0;
    while let Some(dir) = left.pop() {
        let what = || format!("read {:?} of a cache", String::from_utf8_lossy(&dir));
        let fd = beneath::open_dir(root, &dir).doing(what)?;
        for (name, _) in beneath::names(&fd).doing(what)? {
            entries += 1;
            if entries > CACHE_ENTRIES_MAX {
                return Err(crate::StoreError::TooMany {
                    what: "file in a cache".to_owned(),
                    max: CACHE_ENTRIES_MAX as u64,
                });
            }
            let path = weigh::join(&dir, &name);
            let what = || format!("read {:?} of a cache", String::from_utf8_lossy(&path));
            let stat = rustix::fs::statat(&fd, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW);
            match FileType::from_raw_mode(stat.doing(what)?.st_mode) {
                FileType::Directory => left.push(path),
                FileType::RegularFile => {
                    let file = beneath::open_file(root, &path).doing(what)?;
                    let mut file = std::fs::File::from(file);
                    while file.read(&mut buffer).doing(what)? > 0 {}
                }
                _ => {}
            }
        }
    }
    Ok(())
}
