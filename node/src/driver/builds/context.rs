//! Reading the directory that comes with a spec: only what its copies name, never through a link,
//! nothing but directories, files and links, and within bounds. The directory is its user's and may
//! change while it is read; a file is what was read of it.

use std::{
    collections::BTreeMap,
    ffi::{CStr, OsStr},
    fs::File,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use caravan_protocol::{
    ids::{BlobId, TreeId},
    limits::{BLOB_BYTES_MAX, PATH_BYTES_MAX},
    spec::{Copy, LeadsOut},
    tree::{Entry, Tree, TreeError},
};
use caravan_store::{Batch, Store, StoreError};
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, readlinkat, statat},
    io::Errno,
};

/// Most files, links and directories that the copies of one spec read.
const ENTRIES_MAX: usize = 500_000;
/// Most bytes that the copies of one spec read.
const BYTES_MAX: u64 = BLOB_BYTES_MAX;
/// Deepest directory below the one that comes with a spec.
const DEPTH_MAX: usize = 256;

/// Why a directory could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContextError {
    /// A path with `..`.
    #[error(transparent)]
    LeadsOut(#[from] LeadsOut),
    /// Nothing is there.
    #[error("copy {src:?}: there is no {path:?} in {dir}")]
    Missing {
        /// The source as the spec has it.
        src: String,
        /// What is not there.
        path: PathBuf,
        /// The directory.
        dir: PathBuf,
    },
    /// Something else than a directory is on the way.
    #[error("copy {src:?}: {path:?} is {kind} and no directory")]
    NoDirectory {
        /// The source as the spec has it.
        src: String,
        /// What is in the way.
        path: PathBuf,
        /// Of which kind it is.
        kind: &'static str,
    },
    /// A file that cannot be copied.
    #[error("copy {path:?}: it is {kind}; only files, directories and symbolic links are copied")]
    Special {
        /// Which.
        path: PathBuf,
        /// Of which kind it is.
        kind: &'static str,
    },
    /// More than a node reads.
    #[error(
        "read what is copied from {dir}: it has more than {max} {what}; leave some out with (exclude ...)"
    )]
    TooMuch {
        /// The directory.
        dir: PathBuf,
        /// Of what.
        what: &'static str,
        /// The limit.
        max: u64,
    },
    /// The system's words.
    #[error("read {path:?}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It changed its kind while it was read.
    #[error("read {path:?}: it changed meanwhile")]
    Changed {
        /// Which.
        path: PathBuf,
    },
    /// Nobody waits for it any more.
    #[error("read {dir}: it was given up")]
    Stopped {
        /// The directory.
        dir: PathBuf,
    },
    /// The store's trouble.
    #[error("keep what is copied")]
    Store(#[from] StoreError),
    /// A listing that cannot be.
    #[error("list what is copied")]
    Tree(#[from] TreeError),
}

impl ContextError {
    /// Whether the node is at fault, and not what was asked.
    pub(crate) const fn is_nodes(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Stopped { .. })
    }
}

/// Reads for each copy what it names, and keeps all of it at once. The trees have modes and owners
/// as a copy gives them, so that what does not matter is in no key.
pub(crate) fn read(
    store: &Store,
    dir: &Path,
    copies: &[&Copy],
    stopped: &dyn Fn() -> bool,
) -> Result<Vec<TreeId>, ContextError> {
    if copies.is_empty() {
        return Ok(Vec::new());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(dir, flags, Mode::empty());
    let mut reading = Reading {
        dir,
        root: root.map_err(|errno| io_error(dir, errno))?,
        batch: store.batch(),
        files: BTreeMap::new(),
        entries: 0,
        bytes: 0,
        stopped,
    };
    let mut trees = Vec::new();
    for copy in copies {
        let mut tree = BTreeMap::new();
        for src in copy.sources()? {
            reading.source(&src, &copy.exclude, &mut tree)?;
        }
        let tree = Tree::new(tree.into_values().collect())?;
        trees.push(reading.batch.put_tree(&tree)?);
    }
    reading.batch.commit()?;
    Ok(trees)
}

/// Entries by path.
type Listing = BTreeMap<Vec<u8>, Entry>;

/// A directory being read.
struct Reading<'a> {
    dir: &'a Path,
    root: OwnedFd,
    batch: Batch,
    /// Files that were read already, for another copy.
    files: BTreeMap<Vec<u8>, Entry>,
    entries: usize,
    bytes: u64,
    stopped: &'a dyn Fn() -> bool,
}

/// A directory in which something is looked for.
struct Place<'a> {
    fd: &'a OwnedFd,
    /// Path below the root, empty for the root itself.
    path: &'a [u8],
    depth: usize,
}

impl Reading<'_> {
    /// One source with everything below it, and the directories above it.
    fn source(
        &mut self,
        src: &str,
        exclude: &[String],
        tree: &mut Listing,
    ) -> Result<(), ContextError> {
        let names: Vec<&str> = src.split('/').filter(|name| *name != ".").collect();
        let mut fd = self.root.try_clone().map_err(|source| ContextError::Io {
            path: self.dir.to_owned(),
            source,
        })?;
        let mut path: Vec<u8> = Vec::new();
        let Some((last, above)) = names.split_last() else {
            return self.directory(&fd, &path, 0, exclude, tree);
        };
        for name in above {
            let place = Place {
                fd: &fd,
                path: &path,
                depth: 0,
            };
            let next = self.step_into(src, &place, name)?;
            path = below(&path, name.as_bytes());
            tree.entry(path.clone())
                .or_insert_with(|| Entry::dir(&path, 0o755));
            fd = next;
        }
        let place = Place {
            fd: &fd,
            path: &path,
            depth: above.len(),
        };
        let is_there = statat(&fd, *last, AtFlags::SYMLINK_NOFOLLOW);
        if matches!(is_there, Err(Errno::NOENT | Errno::NOTDIR)) {
            return Err(self.missing(src, &below(&path, last.as_bytes())));
        }
        self.entry(&place, last.as_bytes(), exclude, tree)
    }

    fn missing(&self, src: &str, path: &[u8]) -> ContextError {
        ContextError::Missing {
            src: src.to_owned(),
            path: shown(path),
            dir: self.dir.to_owned(),
        }
    }

    /// Opens a directory on the way to a source.
    fn step_into(&self, src: &str, place: &Place<'_>, name: &str) -> Result<OwnedFd, ContextError> {
        let path = below(place.path, name.as_bytes());
        let stat = match statat(place.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Err(self.missing(src, &path)),
            Err(errno) => return Err(self.trouble(&path, errno)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => self.open_dir(place.fd, OsStr::new(name), &path),
            kind => Err(ContextError::NoDirectory {
                src: src.to_owned(),
                path: shown(&path),
                kind: word(kind),
            }),
        }
    }

    fn open_dir(&self, fd: &OwnedFd, name: &OsStr, path: &[u8]) -> Result<OwnedFd, ContextError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(fd),
            Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => {
                Err(ContextError::Changed { path: shown(path) })
            }
            Err(errno) => Err(self.trouble(path, errno)),
        }
    }

    /// A directory with everything in it. Recurses as deep as directories may be.
    fn directory(
        &mut self,
        fd: &OwnedFd,
        path: &[u8],
        depth: usize,
        exclude: &[String],
        tree: &mut Listing,
    ) -> Result<(), ContextError> {
        if depth > DEPTH_MAX || path.len() > PATH_BYTES_MAX {
            return Err(self.too_much("directories within each other", DEPTH_MAX as u64));
        }
        tree.entry(path.to_vec())
            .or_insert_with(|| Entry::dir(path, 0o755));
        let listed = Dir::read_from(fd).map_err(|errno| self.trouble(path, errno))?;
        for entry in listed {
            let entry = entry.map_err(|errno| self.trouble(path, errno))?;
            let name: &CStr = entry.file_name();
            let name = name.to_bytes();
            let is_left_out = exclude.iter().any(|left_out| left_out.as_bytes() == name);
            if name == b"." || name == b".." || is_left_out {
                continue;
            }
            self.entry(&Place { fd, path, depth }, name, exclude, tree)?;
        }
        Ok(())
    }

    /// Whatever has this name in a directory.
    fn entry(
        &mut self,
        place: &Place<'_>,
        name: &[u8],
        exclude: &[String],
        tree: &mut Listing,
    ) -> Result<(), ContextError> {
        let path = below(place.path, name);
        self.entries += 1;
        if self.entries > ENTRIES_MAX {
            return Err(self.too_much("files", ENTRIES_MAX as u64));
        }
        if (self.stopped)() {
            return Err(ContextError::Stopped {
                dir: self.dir.to_owned(),
            });
        }
        let name = OsStr::from_bytes(name);
        let stat = statat(place.fd, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| self.trouble(&path, errno))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let fd = self.open_dir(place.fd, name, &path)?;
                return self.directory(&fd, &path, place.depth + 1, exclude, tree);
            }
            FileType::RegularFile => {
                let entry = self.file(place.fd, name, &path)?;
                tree.insert(path, entry);
            }
            FileType::Symlink => {
                let target = readlinkat(place.fd, name, Vec::new())
                    .map_err(|errno| self.trouble(&path, errno))?;
                let entry = Entry::symlink(&path, target.to_bytes());
                tree.insert(path, entry);
            }
            kind => {
                return Err(ContextError::Special {
                    path: shown(&path),
                    kind: word(kind),
                });
            }
        }
        Ok(())
    }

    fn file(&mut self, fd: &OwnedFd, name: &OsStr, path: &[u8]) -> Result<Entry, ContextError> {
        if let Some(entry) = self.files.get(path) {
            return Ok(entry.clone());
        }
        // What takes its place meanwhile is neither followed nor waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file = match openat(fd, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::LOOP | Errno::NOENT | Errno::NXIO) => {
                return Err(ContextError::Changed { path: shown(path) });
            }
            Err(errno) => return Err(self.trouble(path, errno)),
        };
        let io_error = |source| ContextError::Io {
            path: self.dir.join(shown(path)),
            source,
        };
        let metadata = file.metadata().map_err(io_error)?;
        if !metadata.is_file() {
            return Err(ContextError::Changed { path: shown(path) });
        }
        let left = BYTES_MAX - self.bytes;
        if metadata.len() > left {
            return Err(self.too_much("bytes", BYTES_MAX));
        }
        let (blob, size): (BlobId, u64) = self.batch.put_reader(&mut file, None, left)?;
        self.bytes += size;
        let is_program = std::os::unix::fs::MetadataExt::mode(&metadata) & 0o111 != 0;
        let entry = Entry::file(path, if is_program { 0o755 } else { 0o644 }, blob, size);
        self.files.insert(path.to_vec(), entry.clone());
        Ok(entry)
    }

    fn too_much(&self, what: &'static str, max: u64) -> ContextError {
        ContextError::TooMuch {
            dir: self.dir.to_owned(),
            what,
            max,
        }
    }

    fn trouble(&self, path: &[u8], errno: Errno) -> ContextError {
        io_error(&self.dir.join(shown(path)), errno)
    }
}

fn io_error(path: &Path, errno: Errno) -> ContextError {
    ContextError::Io {
        path: path.to_owned(),
        source: errno.into(),
    }
}

fn below(dir: &[u8], name: &[u8]) -> Vec<u8> {
    match dir.is_empty() {
        true => name.to_vec(),
        false => [dir, b"/", name].concat(),
    }
}

fn shown(path: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(path))
}

fn word(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "of no known kind",
    }
}
