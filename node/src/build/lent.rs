//! The caches that a step is lent: taken before it starts, given back when its last process is dead,
//! whatever its verdict. They only make steps faster, so giving one back never fails a step.

use std::path::{Path, PathBuf};

use caravan_protocol::action::Action;
use caravan_sandbox::Layered;
use caravan_store::{Caches, LentCache, Released};

use super::chain;

/// The caches of one step. Dropped without being given back, what the step wrote to them is gone.
pub(super) struct Lent {
    caches: Vec<(LentCache, PathBuf)>,
}

impl Lent {
    /// Takes all caches that the action names.
    pub(super) fn take(caches: &Caches, action: &Action, user: (u32, u32)) -> Result<Self, String> {
        let domain = action.domain.to_string();
        let lend = |cache: &caravan_protocol::action::Cache| {
            let lent = caches.lend(&domain, &cache.id, user);
            let lent = lent.map_err(|error| {
                format!("lend the step the cache {:?}: {}", cache.id, chain(&error))
            })?;
            Ok((lent, PathBuf::from(&cache.target)))
        };
        Ok(Self {
            caches: action
                .caches
                .iter()
                .map(lend)
                .collect::<Result<_, String>>()?,
        })
    }

    /// Whether the step was lent nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.caches.is_empty()
    }

    /// Where the sandbox finds them, relative to the store in `dir`.
    pub(super) fn layered(&self, dir: &Path) -> Result<Vec<Layered>, String> {
        let inside = |path: PathBuf| inside(dir, &path);
        let layered = |(cache, target): &(LentCache, PathBuf)| {
            let lowers = cache.lowers().into_iter().map(inside);
            Ok(Layered {
                lowers: lowers.collect::<Result<_, String>>()?,
                upper: inside(cache.upper())?,
                work: inside(cache.work())?,
                target: target.clone(),
            })
        };
        self.caches.iter().map(layered).collect()
    }

    /// Gives them back with what the step wrote.
    pub(super) fn give_back(self) {
        for (cache, target) in self.caches {
            let target = target.display();
            match cache.release() {
                Ok(Released::Kept) => {}
                Ok(Released::Overtaken) => {
                    tracing::debug!(%target, "another step gave this cache back first");
                }
                Ok(Released::Emptied { why }) => {
                    tracing::warn!(%target, why, "a cache begins anew");
                }
                Err(error) => {
                    let error = chain(&error);
                    tracing::warn!(%target, error, "what a step wrote to a cache is not kept");
                }
            }
        }
    }
}

/// A path of the store as the sandbox wants it.
pub(super) fn inside(dir: &Path, path: &Path) -> Result<PathBuf, String> {
    path.strip_prefix(dir)
        .map(Path::to_owned)
        .map_err(|_| format!("{} is outside of the store", path.display()))
}
