//! The layer that a copy makes: OBuilder's `copy` over listings, without a disk.
//!
//! It depends on what is copied, never on what it is laid over. So the directories on the way to
//! the destination, which a layer must have, are `0755` and the user's, as are those that OBuilder
//! sends ahead of the files; where the base has a link on that way, the directory replaces it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Entry, Kind, Tree, TreeError, view::View};
use crate::{
    action::{Copy, CopyTo},
    limits,
};

/// Why nothing was copied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// A source is not there.
    #[error("copy {path:?}: there is no such file in the source")]
    Missing {
        /// The source as it was named.
        path: String,
    },
    /// A source that would lead out.
    #[error("copy {path:?}: a path may not have \"..\" in it")]
    Up {
        /// The source as it was named.
        path: String,
    },
    /// Something on the way to a source is a link.
    #[error(
        "copy {path:?}: {link:?} is a symbolic link to {target:?}, and links on the way are not \
         followed; name the file by its real path"
    )]
    Link {
        /// The source as it was named.
        path: String,
        /// Where the link is.
        link: String,
        /// Where it points.
        target: String,
    },
    /// Something on the way to a source is a file.
    #[error("copy {path:?}: {file:?} is a file and not a directory")]
    NotDirectory {
        /// The source as it was named.
        path: String,
        /// What is in the way.
        file: String,
    },
    /// Several sources have one place at the destination, and are not equal.
    #[error("copy {path:?}: the destination has another {place:?} from an earlier source")]
    Twice {
        /// The later source as it was named.
        path: String,
        /// Where both would be.
        place: String,
    },
    /// A file cannot take the place of the root.
    #[error("copy {path:?}: it is not a directory, and the destination is the root")]
    Root {
        /// The source as it was named.
        path: String,
    },
    /// More files than a tree may have.
    #[error("copy {path:?}: there are more than {max} files to copy")]
    TooMany {
        /// The source that was one too many.
        path: String,
        /// How many may be.
        max: usize,
    },
    /// What is copied is no tree at its destination, such as for a path that is too long.
    #[error("copy files")]
    Tree(#[from] TreeError),
}

/// The layer that `what` makes of what `view` shows. `what` is one that
/// [`crate::action::Action::key`] has checked.
pub fn layer(view: &View<'_>, what: &Copy) -> Result<Tree, CopyError> {
    let exclude: BTreeSet<&[u8]> = what.exclude.iter().map(String::as_bytes).collect();
    let mut copying = Copying {
        view,
        exclude,
        user: what.user,
        made: BTreeMap::new(),
        seen: 0,
    };
    let (to, into) = match &what.dst {
        CopyTo::Into(path) => (plain(path), true),
        CopyTo::As(path) => (plain(path), false),
    };
    let mut done = BTreeSet::new();
    for source in &what.src {
        let from = copying.find(source)?;
        // Named twice is copied once.
        if !done.insert(from.path.as_slice()) {
            continue;
        }
        let to = match base_name(&from.path) {
            Some(name) if into => joined(&to, name),
            _ => to.clone(),
        };
        copying.item(source, from, &to)?;
    }
    copying.ancestors(&to, into);
    Ok(Tree::new(copying.made.into_values().collect())?)
}

struct Copying<'a> {
    view: &'a View<'a>,
    exclude: BTreeSet<&'a [u8]>,
    user: (u32, u32),
    made: BTreeMap<Vec<u8>, Entry>,
    seen: usize,
}

impl<'a> Copying<'a> {
    /// The source itself, through real directories only.
    fn find(&self, source: &str) -> Result<&'a Entry, CopyError> {
        let path = || source.to_owned();
        if source.split('/').any(|name| name == "..") {
            return Err(CopyError::Up { path: path() });
        }
        let whole = plain(source);
        let slashes = whole.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        for (at, _) in slashes {
            let dir = &whole[..at];
            match self.view.get(dir).map(|entry| &entry.kind) {
                Some(Kind::Dir { .. }) => {}
                Some(Kind::Symlink { target }) => {
                    return Err(CopyError::Link {
                        path: path(),
                        link: lossy(dir),
                        target: lossy(target),
                    });
                }
                Some(Kind::File { .. }) => {
                    return Err(CopyError::NotDirectory {
                        path: path(),
                        file: lossy(dir),
                    });
                }
                Some(Kind::Whiteout) | None => return Err(CopyError::Missing { path: path() }),
            }
        }
        let found = self.view.get(&whole);
        found.ok_or_else(|| CopyError::Missing { path: path() })
    }

    /// Copies one source, with all below it, to its place.
    fn item(&mut self, source: &str, from: &'a Entry, to: &[u8]) -> Result<(), CopyError> {
        let is_dir = matches!(from.kind, Kind::Dir { .. });
        if to.is_empty() && !is_dir {
            let path = source.to_owned();
            return Err(CopyError::Root { path });
        }
        // The root stays what every layer's root is.
        if !to.is_empty() {
            self.make(source, from, to.to_vec())?;
        }
        if !is_dir {
            return Ok(());
        }
        for (path, entry) in self.view.below(&from.path) {
            let cut = if from.path.is_empty() {
                0
            } else {
                from.path.len() + 1
            };
            let inside = &path[cut..];
            let left_out = |name: &[u8]| self.exclude.contains(name);
            if !self.exclude.is_empty() && inside.split(|&byte| byte == b'/').any(left_out) {
                continue;
            }
            self.make(source, entry, joined(to, inside))?;
        }
        Ok(())
    }

    fn make(&mut self, source: &str, from: &Entry, to: Vec<u8>) -> Result<(), CopyError> {
        self.seen += 1;
        if self.seen > limits::TREE_ENTRIES_MAX {
            return Err(CopyError::TooMany {
                path: source.to_owned(),
                max: limits::TREE_ENTRIES_MAX,
            });
        }
        let mode = match &from.kind {
            Kind::Dir { .. } => 0o755,
            Kind::File { .. } if from.mode & 0o111 != 0 => 0o755,
            Kind::File { .. } => 0o644,
            Kind::Symlink { .. } | Kind::Whiteout => 0o777,
        };
        let kind = match &from.kind {
            // What it hid in its stack it need not hide where it goes.
            Kind::Dir { .. } => Kind::Dir { opaque: false },
            kind => kind.clone(),
        };
        let entry = self.entry(to, mode, kind);
        match self.made.get(&entry.path) {
            Some(earlier) if *earlier != entry => Err(CopyError::Twice {
                path: source.to_owned(),
                place: lossy(&entry.path),
            }),
            _ => {
                self.made.insert(entry.path.clone(), entry);
                Ok(())
            }
        }
    }

    /// The directories above the destination, and the destination itself if things go into it.
    fn ancestors(&mut self, to: &[u8], with_itself: bool) {
        let ends = to.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let ends = ends
            .map(|(at, _)| at)
            .chain(with_itself.then_some(to.len()));
        for end in ends.filter(|end| *end > 0) {
            let dir = self.entry(to[..end].to_vec(), 0o755, Kind::Dir { opaque: false });
            self.made.entry(dir.path.clone()).or_insert(dir);
        }
    }

    fn entry(&self, path: Vec<u8>, mode: u16, kind: Kind) -> Entry {
        let (uid, gid) = self.user;
        Entry {
            path,
            mode,
            uid,
            gid,
            xattrs: BTreeMap::new(),
            kind,
        }
    }
}

/// A path as trees have it: nothing before the first name, between two, or after the last.
fn plain(path: &str) -> Vec<u8> {
    let names = path.split('/').filter(|name| !matches!(*name, "" | "."));
    names.collect::<Vec<_>>().join("/").into_bytes()
}

fn joined(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() {
        name.to_vec()
    } else {
        [dir, b"/", name].concat()
    }
}

fn base_name(path: &[u8]) -> Option<&[u8]> {
    path.rsplit(|&byte| byte == b'/')
        .next()
        .filter(|name| !name.is_empty())
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

#[cfg(test)]
mod tests;
