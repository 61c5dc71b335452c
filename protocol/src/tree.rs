//! Trees: canonical listings of files. A *layer* is a tree that is the difference one action made,
//! with whiteouts. The id of a tree is the BLAKE3 hash of its encoding and covers names, kinds,
//! modes, owners, extended attributes, contents and link targets. Modification times are not part
//! of it: every file of the store carries [`MTIME_S`].
//!
//! Hard links are not recorded: files of equal content and metadata may share one inode in a store
//! and become separate files when written to. Device nodes, sockets and FIFOs have no encoding; an
//! action that leaves one fails.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    codec::{self, CodecError},
    ids::{BlobId, TreeId},
    limits,
};

pub mod copy;
pub mod view;

/// Modification time of every file in a store, seconds since 1970: 2000-01-01. Not zero, because
/// tools take zero for "no time known".
pub const MTIME_S: i64 = 946_684_800;

const VERSION: u8 = 1;

/// Why bytes are not a tree, or entries do not make one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// The encoding is damaged or of an unknown version.
    #[error("decode a tree")]
    Codec(#[from] CodecError),
    /// The encoding is of a version that this program does not know.
    #[error("decode a tree: version {0} is not known here; this node may be older than its peer")]
    Version(u8),
    /// A path is not one that a tree may hold.
    #[error("take {path:?} into a tree: {reason}")]
    Path {
        /// The path, lossily.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There are more entries, attributes or bytes than allowed.
    #[error("take a tree with {count} {what}: at most {max} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many may be.
        max: usize,
    },
}

/// What kind of file an entry is, with what only that kind has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A directory. An opaque one hides whatever lower layers have at its path.
    Dir {
        /// Whether lower layers are hidden.
        opaque: bool,
    },
    /// A regular file.
    File {
        /// Its content.
        blob: BlobId,
        /// Its length in bytes.
        size: u64,
    },
    /// A symbolic link, never followed by the store.
    Symlink {
        /// Where it points, any bytes but NUL.
        target: Vec<u8>,
    },
    /// The path is removed from what lower layers show.
    Whiteout,
}

/// One file of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Path below the root, `/`-separated bytes; empty for the root itself.
    pub path: Vec<u8>,
    /// Permission bits (`07777`).
    pub mode: u16,
    /// Owner as seen inside the sandbox.
    pub uid: u32,
    /// Group as seen inside the sandbox.
    pub gid: u32,
    /// Extended attributes by name, without those of overlayfs itself.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The kind, with its content.
    pub kind: Kind,
}

/// A checked canonical listing: entries strictly ascending by path, the root first, every parent a
/// directory that is present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    entries: Vec<Entry>,
}

impl Tree {
    /// A tree of these entries, in any order; a missing root is added as `root:root 0755`.
    pub fn new(mut entries: Vec<Entry>) -> Result<Self, TreeError> {
        if !entries.iter().any(|entry| entry.path.is_empty()) {
            entries.push(Entry::dir(b"", 0o755));
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        check(&entries)?;
        Ok(Self { entries })
    }

    /// A tree of plain files (`0644`, owner root) with the directories that they need.
    pub fn of_files<'a>(
        files: impl IntoIterator<Item = (&'a str, BlobId, u64)>,
    ) -> Result<Self, TreeError> {
        let mut entries = BTreeMap::new();
        for (path, blob, size) in files {
            for (at, _) in path.match_indices('/') {
                let dir = path.as_bytes()[..at].to_vec();
                entries
                    .entry(dir.clone())
                    .or_insert_with(|| Entry::dir(&dir, 0o755));
            }
            entries.insert(
                path.as_bytes().to_vec(),
                Entry::file(path.as_bytes(), 0o644, blob, size),
            );
        }
        Self::new(entries.into_values().collect())
    }

    /// The entries, ascending by path, the root first.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry at `path`, if any.
    #[must_use]
    pub fn get(&self, path: &[u8]) -> Option<&Entry> {
        let at = self
            .entries
            .binary_search_by(|entry| entry.path.as_slice().cmp(path))
            .ok()?;
        Some(&self.entries[at])
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Result<Vec<u8>, TreeError> {
        let body = codec::encode::<{ limits::TREE_BYTES_MAX }>(&self.entries)?;
        let mut bytes = Vec::with_capacity(body.len() + 1);
        bytes.push(VERSION);
        bytes.extend_from_slice(&body);
        Ok(bytes)
    }

    /// Reads and checks canonical bytes, wherever they come from.
    pub fn decode(bytes: &[u8]) -> Result<Self, TreeError> {
        let (&version, body) = bytes.split_first().ok_or(CodecError::Malformed {
            reason: "no bytes at all".to_owned(),
        })?;
        if version != VERSION {
            return Err(TreeError::Version(version));
        }
        let entries: Vec<Entry> = codec::decode::<{ limits::TREE_BYTES_MAX }, _>(body)?;
        check(&entries)?;
        Ok(Self { entries })
    }

    /// The id and the bytes that it names.
    pub fn seal(&self) -> Result<(TreeId, Vec<u8>), TreeError> {
        let bytes = self.encode()?;
        Ok((TreeId::from(BlobId::of(&bytes)), bytes))
    }

    /// The blobs that the files hold, each once, in id order, with their sizes.
    #[must_use]
    pub fn blobs(&self) -> BTreeMap<BlobId, u64> {
        self.entries
            .iter()
            .filter_map(|entry| match entry.kind {
                Kind::File { blob, size } => Some((blob, size)),
                _ => None,
            })
            .collect()
    }

    /// Sum of the file sizes, bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.entries
            .iter()
            .map(|entry| {
                if let Kind::File { size, .. } = entry.kind {
                    size
                } else {
                    0
                }
            })
            .fold(0, u64::saturating_add)
    }
}

impl Entry {
    /// A directory owned by root.
    #[must_use]
    pub fn dir(path: &[u8], mode: u16) -> Self {
        Self::plain(path, mode, Kind::Dir { opaque: false })
    }

    /// A regular file owned by root.
    #[must_use]
    pub fn file(path: &[u8], mode: u16, blob: BlobId, size: u64) -> Self {
        Self::plain(path, mode, Kind::File { blob, size })
    }

    /// A symbolic link owned by root.
    #[must_use]
    pub fn symlink(path: &[u8], target: &[u8]) -> Self {
        Self::plain(
            path,
            0o777,
            Kind::Symlink {
                target: target.to_vec(),
            },
        )
    }

    fn plain(path: &[u8], mode: u16, kind: Kind) -> Self {
        Self {
            path: path.to_vec(),
            mode,
            uid: 0,
            gid: 0,
            xattrs: BTreeMap::new(),
            kind,
        }
    }
}

fn check(entries: &[Entry]) -> Result<(), TreeError> {
    let max = limits::TREE_ENTRIES_MAX;
    if entries.len() > max {
        return Err(TreeError::TooMany {
            what: "entries",
            count: entries.len(),
            max,
        });
    }
    let refuse = |entry: &Entry, reason| TreeError::Path {
        path: String::from_utf8_lossy(&entry.path).into_owned(),
        reason,
    };
    // The directories open above the current entry, outermost first.
    let mut open: Vec<&[u8]> = Vec::new();
    let mut last: Option<&[u8]> = None;
    for entry in entries {
        if last.is_some_and(|last| last >= entry.path.as_slice()) {
            return Err(refuse(entry, "paths are not strictly ascending"));
        }
        check_entry(entry).map_err(|reason| refuse(entry, reason))?;
        last = Some(&entry.path);
        if entry.path.is_empty() {
            open.push(b"");
            continue;
        }
        let parent = match entry.path.iter().rposition(|&b| b == b'/') {
            Some(at) => &entry.path[..at],
            None => b"".as_slice(),
        };
        // A sibling such as `a.b` sorts between `a` and `a/b`, so look down the whole stack.
        let depth = open.iter().rposition(|dir| *dir == parent);
        let Some(depth) = depth else {
            return Err(refuse(entry, "its parent is not a directory of the tree"));
        };
        while open.len() > depth + 1 && !may_return_to(open[open.len() - 1], &entry.path) {
            open.pop();
        }
        if matches!(entry.kind, Kind::Dir { .. }) {
            open.push(&entry.path);
        }
    }
    if entries.first().is_none_or(|entry| !entry.path.is_empty()) {
        return Err(TreeError::Path {
            path: String::new(),
            reason: "the root is missing",
        });
    }
    Ok(())
}

/// Whether children of `dir` can still follow after `path` in byte order.
fn may_return_to(dir: &[u8], path: &[u8]) -> bool {
    let mut child = dir.to_vec();
    child.push(b'/' + 1);
    path < child.as_slice()
}

fn check_entry(entry: &Entry) -> Result<(), &'static str> {
    if entry.path.len() > limits::PATH_BYTES_MAX {
        return Err("it is longer than PATH_MAX");
    }
    if !entry.path.is_empty() {
        for name in entry.path.split(|&b| b == b'/') {
            match name {
                b"" | b"." | b".." => return Err("a component is empty, `.` or `..`"),
                _ if name.len() > limits::NAME_BYTES_MAX => {
                    return Err("a component is longer than NAME_MAX");
                }
                _ if name.contains(&0) => return Err("a component holds a NUL byte"),
                _ => {}
            }
        }
    } else if !matches!(entry.kind, Kind::Dir { .. }) {
        return Err("the root is not a directory");
    }
    if entry.mode & !0o7777 != 0 {
        return Err("its mode has bits beyond 07777");
    }
    if let Kind::Symlink { target } = &entry.kind
        && (target.is_empty() || target.len() > limits::PATH_BYTES_MAX || target.contains(&0))
    {
        return Err("its link target is empty, too long or holds a NUL byte");
    }
    if let Kind::File { size, .. } = entry.kind
        && size > limits::BLOB_BYTES_MAX
    {
        return Err("its file is larger than a blob may be");
    }
    check_xattrs(&entry.xattrs)
}

fn check_xattrs(xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<(), &'static str> {
    if xattrs.len() > limits::XATTRS_MAX {
        return Err("it has too many extended attributes");
    }
    for (name, value) in xattrs {
        if name.is_empty() || name.len() > limits::NAME_BYTES_MAX || name.contains(&0) {
            return Err("an extended attribute's name is empty, too long or holds a NUL byte");
        }
        // Forged overlay attributes could point lookups anywhere in lower layers.
        if name.starts_with(b"trusted.") || name.starts_with(b"user.overlay.") {
            return Err("it has an extended attribute that only the kernel's overlay may set");
        }
        if value.len() > limits::XATTR_BYTES_MAX {
            return Err("an extended attribute is too large");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Tree {
        let blob = BlobId::of(b"x");
        Tree::new(vec![
            Entry::dir(b"a", 0o755),
            Entry::file(b"a/b", 0o644, blob, 1),
            Entry::file(b"a.b", 0o4755, blob, 1),
            Entry::symlink(b"a-l", b"../..//etc"),
            Entry {
                kind: Kind::Whiteout,
                ..Entry::dir(b"gone", 0)
            },
        ])
        .expect("a good tree")
    }

    #[test]
    fn encoding_round_trips_and_is_independent_of_the_order_given() {
        let tree = sample();
        let (id, bytes) = tree.seal().expect("small");
        assert_eq!(Tree::decode(&bytes).as_ref(), Ok(&tree));
        let mut entries = tree.entries().to_vec();
        entries.reverse();
        assert_eq!(
            Tree::new(entries)
                .expect("the same")
                .seal()
                .expect("small")
                .0,
            id
        );
    }

    #[test]
    fn golden_id_of_version_1() {
        let (id, bytes) = sample().seal().expect("small");
        assert_eq!(bytes[0], 1);
        assert_eq!(
            id.to_string(),
            "ab77918d6512dfac791464873fd6201926c3987925a9ad42c51a36d36c8b692f"
        );
    }

    #[test]
    fn hostile_paths_are_refused() {
        let blob = BlobId::of(b"x");
        let long = vec![b'n'; 256];
        for path in [
            &b"../x"[..],
            b"a/../b",
            b"/etc",
            b"a//b",
            b"a/",
            b".",
            b"nul\0",
            b"no/parent",
            &long,
        ] {
            let tree = Tree::new(vec![
                Entry::dir(b"a", 0o755),
                Entry::file(path, 0o644, blob, 1),
            ]);
            assert!(
                tree.is_err(),
                "{:?} was taken",
                String::from_utf8_lossy(path)
            );
        }
        let below_a_link = Tree::new(vec![
            Entry::symlink(b"l", b"/"),
            Entry::file(b"l/etc", 0o644, blob, 1),
        ]);
        assert!(
            below_a_link.is_err(),
            "a file below a symbolic link was taken"
        );
        let mut forged = Entry::dir(b"d", 0o755);
        forged
            .xattrs
            .insert(b"trusted.overlay.redirect".to_vec(), b"/etc".to_vec());
        assert!(
            Tree::new(vec![forged]).is_err(),
            "a forged overlay redirect was taken"
        );
        let twice = Tree::new(vec![Entry::dir(b"a", 0o755), Entry::dir(b"a", 0o700)]);
        assert!(twice.is_err(), "one path was taken twice");
    }

    #[test]
    fn unsorted_bytes_from_the_wire_are_refused() {
        let mut entries = sample().entries().to_vec();
        entries.swap(1, 2);
        let mut bytes = vec![VERSION];
        bytes.extend(codec::encode::<4096>(&entries).expect("small"));
        assert!(Tree::decode(&bytes).is_err());
        assert_eq!(Tree::decode(&[9]), Err(TreeError::Version(9)));
        assert!(Tree::decode(&[]).is_err());
    }
}
