//! Read-only access to a set of files by path: how pure code is shown an opam repository or the
//! interesting files of a commit without touching a disk. The node maps files; policies read them.

use std::{collections::BTreeMap, fmt, sync::Arc};

/// A finite set of regular files, named by relative `/`-separated paths.
///
/// Promises: the same path always gives the same bytes for the life of the value; `list` is sorted
/// and holds no duplicates. Callers never pass absolute paths or `..`.
pub trait Files: fmt::Debug + Send + Sync {
    /// The bytes of the file at `path`, or `None` where there is no regular file.
    fn read(&self, path: &str) -> Option<Arc<[u8]>>;

    /// The names directly below `dir` (`""` is the root), files and directories alike, sorted.
    fn list(&self, dir: &str) -> Vec<String>;
}

/// Files held in memory: fixtures, inline overlays, unpacked archives.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct MemFiles {
    files: BTreeMap<String, Arc<[u8]>>,
}

impl MemFiles {
    /// No files.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces the file at `path`.
    pub fn insert(&mut self, path: impl Into<String>, bytes: impl Into<Arc<[u8]>>) {
        self.files.insert(path.into(), bytes.into());
    }

    /// Every path with its bytes, in path order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<[u8]>)> {
        self.files
            .iter()
            .map(|(path, bytes)| (path.as_str(), bytes))
    }

    /// Number of files.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is no file at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}

impl fmt::Debug for MemFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemFiles({} files)", self.files.len())
    }
}

impl Files for MemFiles {
    fn read(&self, path: &str) -> Option<Arc<[u8]>> {
        self.files.get(path).cloned()
    }

    fn list(&self, dir: &str) -> Vec<String> {
        let prefix = if dir.is_empty() {
            String::new()
        } else {
            format!("{dir}/")
        };
        let mut names: Vec<String> = Vec::new();
        for path in self.files.range(prefix.clone()..).map(|(path, _)| path) {
            let Some(rest) = path.strip_prefix(&prefix) else {
                break;
            };
            let name = rest.split('/').next().unwrap_or(rest);
            if names.last().is_none_or(|last| last != name) {
                names.push(name.to_owned());
            }
        }
        names.sort();
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_names_each_child_once_and_stays_below_its_directory() {
        let mut files = MemFiles::new();
        for path in ["a/x/1", "a/x/2", "a/x.y", "a/z", "ab", "b/q"] {
            files.insert(path, *b"");
        }
        assert_eq!(files.list("a"), ["x", "x.y", "z"]);
        assert_eq!(files.list(""), ["a", "ab", "b"]);
        assert_eq!(files.list("nowhere"), Vec::<String>::new());
    }
}
