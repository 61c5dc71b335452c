//! The files of an image while its layers are laid over each other, all in memory: no path of a
//! layer ever reaches a disk.
//!
//! A layer's whiteouts hide what lower layers have and never what the layer itself brings, in
//! whichever order they come. So the files of the layer being read are kept apart from the lower
//! ones until it ends.

use std::collections::{BTreeMap, VecDeque};

use caravan_protocol::{
    limits::{NAME_BYTES_MAX, PATH_BYTES_MAX, TREE_BYTES_MAX, TREE_ENTRIES_MAX},
    tree::{Entry, Kind, Tree},
};

use crate::{error::Result, limits};

/// Bytes that the listing of one file takes at least.
const ENTRY_BYTES: usize = 64;

type Files = BTreeMap<Vec<u8>, Entry>;

/// What is wrong with a file of a layer.
pub(crate) type Refusal = String;

/// The files of an image so far.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    lower: Files,
    upper: Files,
    /// Bytes of the listing, about; what is replaced stays counted.
    listing: usize,
}

impl Merged {
    /// Ends a layer: its files become lower ones. Directories that are only implied by what is in
    /// them are made here, as `root:root 0755`.
    pub(crate) fn end_layer(&mut self) -> std::result::Result<(), Refusal> {
        let upper = std::mem::take(&mut self.upper);
        let mut implied = Vec::new();
        for path in upper.keys() {
            let mut dir = path.as_slice();
            while !dir.is_empty() {
                dir = parent(dir);
                if upper.contains_key(dir) || self.lower.contains_key(dir) {
                    break;
                }
                implied.push(dir.to_vec());
            }
        }
        self.lower.extend(upper);
        for dir in implied {
            if !self.lower.contains_key(&dir) {
                let entry = Entry::dir(b"", 0o755);
                self.count(&dir, &entry)?;
                self.lower.insert(dir, entry);
            }
        }
        Ok(())
    }

    /// The tree of all layers that have ended.
    pub(crate) fn into_tree(self) -> Result<Tree> {
        let entries = self.lower.into_iter().map(|(path, mut entry)| {
            entry.path = path;
            entry
        });
        Ok(Tree::new(entries.collect())?)
    }

    /// What is at a path now.
    pub(crate) fn get(&self, path: &[u8]) -> Option<&Entry> {
        self.upper.get(path).or_else(|| self.lower.get(path))
    }

    /// Where a file of this path really is: its directory is looked for through symbolic links,
    /// within the image as a container would see them.
    pub(crate) fn locate(&self, path: &[u8]) -> std::result::Result<Vec<u8>, Refusal> {
        let Some(name) = path.rsplit(|&b| b == b'/').next().filter(|n| !n.is_empty()) else {
            return Ok(Vec::new());
        };
        let mut found = self.resolve(parent(path))?;
        push(&mut found, name);
        Ok(found)
    }

    /// The directory that a path leads to.
    fn resolve(&self, dir: &[u8]) -> std::result::Result<Vec<u8>, Refusal> {
        let mut found = Vec::new();
        let mut left: VecDeque<&[u8]> = dir.split(|&b| b == b'/').collect();
        let mut links = 0;
        while let Some(name) = left.pop_front() {
            match name {
                b"" | b"." => continue,
                // Above the root is the root.
                b".." => {
                    found.truncate(parent(&found).len());
                    continue;
                }
                _ => push(&mut found, name),
            }
            match self.get(&found).map(|entry| &entry.kind) {
                Some(Kind::Symlink { target }) => {
                    links += 1;
                    if links > limits::SYMLINKS_MAX {
                        return Err("there are too many symbolic links on the way".to_owned());
                    }
                    found.truncate(match target.first() {
                        Some(b'/') => 0,
                        _ => parent(&found).len(),
                    });
                    for name in target.rsplit(|&b| b == b'/') {
                        left.push_front(name);
                    }
                }
                Some(Kind::File { .. }) => {
                    let file = String::from_utf8_lossy(&found).into_owned();
                    return Err(format!("it would be below {file:?}, which is a file"));
                }
                _ => {}
            }
            if found.len() > PATH_BYTES_MAX {
                return Err("it is longer than PATH_MAX".to_owned());
            }
        }
        Ok(found)
    }

    /// Follows a path to a file or directory, through a link at its end too.
    pub(crate) fn follow(&self, path: &[u8]) -> Option<&Entry> {
        let mut path = path.to_vec();
        for _ in 0..limits::SYMLINKS_MAX {
            path = self.locate(&path).ok()?;
            let entry = self.get(&path)?;
            let Kind::Symlink { target } = &entry.kind else {
                return Some(entry);
            };
            let mut next = match target.first() {
                Some(b'/') => Vec::new(),
                _ => parent(&path).to_vec(),
            };
            // Its directory is resolved next time round, `..` included.
            push(&mut next, target);
            path = next;
        }
        None
    }

    /// Puts a file where [`Merged::locate`] says. What was there goes, with all below it, unless
    /// both are directories.
    pub(crate) fn insert(
        &mut self,
        path: Vec<u8>,
        entry: Entry,
    ) -> std::result::Result<(), Refusal> {
        let is_dir = matches!(entry.kind, Kind::Dir { .. });
        if path.is_empty() && !is_dir {
            return Err("the root is a directory".to_owned());
        }
        self.count(&path, &entry)?;
        if !is_dir {
            remove_below(&mut self.lower, &path);
            remove_below(&mut self.upper, &path);
        }
        self.upper.insert(path, entry);
        Ok(())
    }

    /// Makes another name of an earlier file: an equal file. `target` is as the archive has it.
    pub(crate) fn link(
        &mut self,
        path: Vec<u8>,
        target: &[u8],
    ) -> std::result::Result<(), Refusal> {
        let words = String::from_utf8_lossy(target).into_owned();
        let at = self.locate(target)?;
        let entry = self.get(&at).cloned();
        match entry {
            Some(entry) if !matches!(entry.kind, Kind::Dir { .. }) => self.insert(path, entry),
            Some(_) => Err(format!("it is a hard link to the directory {words:?}")),
            None => Err(format!(
                "it is a hard link to {words:?}, which is no earlier file"
            )),
        }
    }

    /// Hides what lower layers have at a path and below. Says whether that was anything.
    pub(crate) fn whiteout(&mut self, path: &[u8]) -> bool {
        let had = self.lower.remove(path).is_some();
        remove_below(&mut self.lower, path) || had
    }

    /// Hides what lower layers have below a directory.
    pub(crate) fn opaque(&mut self, dir: &[u8]) {
        remove_below(&mut self.lower, dir);
    }

    fn count(&mut self, path: &[u8], entry: &Entry) -> std::result::Result<(), Refusal> {
        let long = path
            .split(|&b| b == b'/')
            .any(|name| name.len() > NAME_BYTES_MAX);
        if path.len() > PATH_BYTES_MAX || long {
            return Err("its name is longer than a file's may be".to_owned());
        }
        let target = match &entry.kind {
            Kind::Symlink { target } => target.len(),
            _ => 0,
        };
        let xattrs = entry.xattrs.iter();
        let xattrs: usize = xattrs.map(|(name, value)| name.len() + value.len()).sum();
        self.listing += ENTRY_BYTES + path.len() + target + xattrs;
        if self.listing > 2 * TREE_BYTES_MAX {
            return Err("the names of the image's files are too long together".to_owned());
        }
        if self.lower.len() + self.upper.len() >= 2 * TREE_ENTRIES_MAX {
            return Err(format!(
                "the image has more files than the {TREE_ENTRIES_MAX} of a tree"
            ));
        }
        Ok(())
    }
}

/// The directory part of a path; of the root the root.
pub(crate) fn parent(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|&b| b == b'/') {
        Some(at) => &path[..at],
        None => b"",
    }
}

pub(crate) fn push(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

/// Removes everything below a directory; says whether there was anything. The cost is that of what
/// goes.
fn remove_below(files: &mut Files, dir: &[u8]) -> bool {
    if dir.is_empty() {
        let root = files.remove(b"".as_slice());
        let any = !files.is_empty();
        files.clear();
        files.extend(root.map(|root| (Vec::new(), root)));
        return any;
    }
    let first = [dir, b"/"].concat();
    let mut any = false;
    while let Some(path) = files
        .range(first.clone()..)
        .next()
        .map(|(path, _)| path)
        .filter(|path| path.starts_with(&first))
        .cloned()
    {
        files.remove(&path);
        any = true;
    }
    any
}

#[cfg(test)]
mod tests {
    use caravan_protocol::ids::BlobId;

    use super::*;

    fn file(word: &str) -> Entry {
        Entry::file(b"", 0o644, BlobId::of(word.as_bytes()), word.len() as u64)
    }

    fn put(merged: &mut Merged, path: &str, entry: Entry) {
        let path = merged.locate(path.as_bytes()).expect("a good path");
        merged.insert(path, entry).expect("a good file");
    }

    fn paths(merged: Merged) -> Vec<String> {
        let tree = merged.into_tree().expect("a tree");
        let path = |entry: &Entry| String::from_utf8_lossy(&entry.path).into_owned();
        tree.entries().iter().skip(1).map(path).collect()
    }

    #[test]
    fn whiteouts_hide_lower_files_only_whatever_the_order() {
        for late in [false, true] {
            let mut merged = Merged::default();
            put(&mut merged, "d/old", file("1"));
            put(&mut merged, "e/old", file("1"));
            put(&mut merged, "f", file("1"));
            merged.end_layer().expect("small");
            let hide = |merged: &mut Merged| {
                merged.opaque(b"d");
                merged.whiteout(b"e");
                merged.whiteout(b"f");
            };
            if !late {
                hide(&mut merged);
            }
            put(&mut merged, "d/new", file("2"));
            put(&mut merged, "e/x/new", file("2"));
            put(&mut merged, "f", file("2"));
            if late {
                hide(&mut merged);
            }
            merged.end_layer().expect("small");
            assert_eq!(paths(merged), ["d", "d/new", "e", "e/x", "e/x/new", "f"]);
        }
    }

    #[test]
    fn a_file_in_place_of_a_directory_takes_all_of_it_away() {
        let mut merged = Merged::default();
        put(&mut merged, "d/a/b", file("1"));
        put(&mut merged, "d.x", file("1"));
        merged.end_layer().expect("small");
        put(&mut merged, "d/a/c", file("1"));
        put(&mut merged, "d", file("2"));
        merged.end_layer().expect("small");
        assert_eq!(paths(merged), ["d", "d.x"]);
    }

    #[test]
    fn files_below_links_land_where_a_container_would_see_them() {
        let mut merged = Merged::default();
        put(&mut merged, "usr/bin/sh", file("1"));
        put(&mut merged, "bin", Entry::symlink(b"", b"usr/bin"));
        put(&mut merged, "out", Entry::symlink(b"", b"/../../etc"));
        merged.end_layer().expect("small");
        put(&mut merged, "bin/ls", file("2"));
        put(&mut merged, "out/passwd", file("2"));
        merged.end_layer().expect("small");
        assert_eq!(
            paths(merged),
            [
                "bin",
                "etc",
                "etc/passwd",
                "out",
                "usr",
                "usr/bin",
                "usr/bin/ls",
                "usr/bin/sh"
            ]
        );
    }

    #[test]
    fn links_in_circles_and_files_below_files_are_refused() {
        let mut merged = Merged::default();
        put(&mut merged, "a", Entry::symlink(b"", b"b"));
        put(&mut merged, "b", Entry::symlink(b"", b"a"));
        put(&mut merged, "f", file("1"));
        assert!(merged.locate(b"a/x").is_err() && merged.locate(b"f/x").is_err());
        assert!(merged.follow(b"a").is_none());
        assert!(merged.link(b"h".to_vec(), b"nowhere").is_err());
    }
}
