//! opam repositories as files in memory: from a directory or from an archive (`.tar`, `.tar.zst`,
//! `.tar.gz` is not read). Nothing is unpacked to a disk and no path of an archive is believed.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use caravan_protocol::{
    files::{Files, MemFiles},
    ids::BlobId,
    limits,
};

/// Most bytes that a repository may have in memory.
const BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Most files of a repository.
const FILES_MAX: usize = 500_000;
const DEPTH_MAX: usize = 16;
/// How hard a repository is packed: it is done while somebody waits.
const PACK_LEVEL: i32 = 1;

/// Why a repository could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is not there or not readable.
    #[error("read the opam repository {path}")]
    Io {
        /// Which.
        path: String,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// It is there but is no opam repository.
    #[error("read the opam repository {path}: {reason}")]
    Bad {
        /// Which.
        path: String,
        /// Why.
        reason: &'static str,
    },
}

/// The files of the opam repository at `path`, with a name for their state.
pub fn read(path: &Path) -> Result<(MemFiles, BlobId), ArchiveError> {
    let text = || path.display().to_string();
    let io_error = |source| ArchiveError::Io {
        path: text(),
        source,
    };
    let bad = |reason| ArchiveError::Bad {
        path: text(),
        reason,
    };
    let mut files = MemFiles::new();
    let mut room = Room {
        bytes: BYTES_MAX,
        files: FILES_MAX,
    };
    let kind = fs::metadata(path).map_err(io_error)?;
    let name = path.to_string_lossy();
    if kind.is_dir() {
        for top in ["packages", "repo", "version"] {
            walk(&path.join(top), top, 0, &mut files, &mut room).map_err(io_error)?;
        }
    } else if name.ends_with(".tar.zst") || name.ends_with(".tar") {
        let file = File::open(path).map_err(io_error)?;
        let reader: Box<dyn Read> = if name.ends_with(".zst") {
            Box::new(zstd::Decoder::new(file).map_err(io_error)?)
        } else {
            Box::new(file)
        };
        unpack(reader, &mut files, &mut room).map_err(io_error)?;
    } else {
        return Err(bad("want a directory, a .tar or a .tar.zst"));
    }
    if !files.iter().any(|(path, _)| path.starts_with("packages/")) {
        return Err(bad(
            "it has no packages/ directory; is it an opam repository?",
        ));
    }
    let state = state(&files);
    Ok((files, state))
}

/// The name of a repository's state.
fn state(files: &MemFiles) -> BlobId {
    let mut hash = Vec::new();
    for (path, bytes) in files.iter() {
        hash.extend_from_slice(path.as_bytes());
        hash.push(0);
        hash.extend_from_slice(BlobId::of(bytes).as_bytes());
    }
    BlobId::of(&hash)
}

/// The files of a repository as one archive (`.tar.zst`), for another node.
pub fn pack(files: &dyn Files) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(zstd::Encoder::new(Vec::new(), PACK_LEVEL)?);
    let mut dirs: Vec<String> = vec![String::new()];
    while let Some(dir) = dirs.pop() {
        if dir.split('/').count() > DEPTH_MAX {
            return Err(io::Error::other("its directories are nested too deeply"));
        }
        for name in files.list(&dir) {
            let path = match dir.as_str() {
                "" => name,
                dir => format!("{dir}/{name}"),
            };
            let Some(bytes) = files.read(&path) else {
                dirs.push(path);
                continue;
            };
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, &path, &bytes[..])?;
        }
    }
    tar.into_inner()?.finish()
}

/// What [`pack`] made, with the name of its state. It may come from anybody: who asked for a state
/// compares.
pub fn open_packed(reader: impl Read) -> io::Result<(MemFiles, BlobId)> {
    let files = unpacked(zstd::Decoder::new(reader)?)?;
    let state = state(&files);
    Ok((files, state))
}

struct Room {
    bytes: u64,
    files: usize,
}

impl Room {
    fn take(&mut self, bytes: u64) -> io::Result<()> {
        let left = (self.bytes.checked_sub(bytes), self.files.checked_sub(1));
        let (Some(bytes), Some(files)) = left else {
            return Err(io::Error::other(
                "it is larger than an opam repository may be",
            ));
        };
        (self.bytes, self.files) = (bytes, files);
        Ok(())
    }
}

fn walk(
    dir: &Path,
    name: &str,
    depth: usize,
    files: &mut MemFiles,
    room: &mut Room,
) -> io::Result<()> {
    let Ok(kind) = fs::symlink_metadata(dir) else {
        return Ok(());
    };
    if kind.is_file() {
        room.take(kind.len())?;
        files.insert(name, read_capped(File::open(dir)?)?);
    } else if kind.is_dir() {
        if depth > DEPTH_MAX {
            return Err(io::Error::other("its directories are nested too deeply"));
        }
        for item in fs::read_dir(dir)? {
            let item = item?;
            let Some(child) = item.file_name().to_str().map(str::to_owned) else {
                continue;
            };
            walk(
                &item.path(),
                &format!("{name}/{child}"),
                depth + 1,
                files,
                room,
            )?;
        }
    }
    Ok(())
}

/// The files of an archive that is not compressed.
pub(crate) fn unpacked(reader: impl Read) -> io::Result<MemFiles> {
    let mut files = MemFiles::new();
    let mut room = Room {
        bytes: BYTES_MAX,
        files: FILES_MAX,
    };
    unpack(reader, &mut files, &mut room)?;
    Ok(files)
}

fn unpack(reader: impl Read, files: &mut MemFiles, room: &mut Room) -> io::Result<()> {
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries()? {
        let entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        room.take(entry.size())?;
        let path = entry.path()?.into_owned();
        let Some(path) = path.to_str() else { continue };
        let path = path.trim_start_matches("./").to_owned();
        // An archive may hold the repository in one directory, as forges make them.
        let start = match path.find("packages/") {
            Some(at) if at == 0 || path.as_bytes()[at - 1] == b'/' => at,
            _ if path == "repo" || path == "version" => 0,
            _ => continue,
        };
        if path.split('/').any(|part| part == "..") {
            continue;
        }
        files.insert(&path[start..], read_capped(entry)?);
    }
    Ok(())
}

fn read_capped(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader
        .take(16 * limits::OPAM_FILE_BYTES_MAX as u64)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use caravan_protocol::files::Files;

    use super::*;

    const FILE: &str = "packages/a/a.1/opam";

    #[test]
    fn a_directory_and_its_archive_are_the_same_repository() {
        let dir = tempfile::tempdir().expect("writable");
        let root = dir.path().join("r");
        fs::create_dir_all(root.join("packages/a/a.1")).expect("writable");
        fs::write(root.join(FILE), "opam-version: \"2.0\"").expect("writable");
        fs::write(root.join("unrelated"), "x").expect("writable");
        let archive = dir.path().join("r.tar.zst");
        let encoder = zstd::Encoder::new(File::create(&archive).expect("writable"), 1);
        let mut tar = tar::Builder::new(encoder.expect("good").auto_finish());
        tar.append_dir_all("some-1.0", &root).expect("writable");
        tar.into_inner().expect("writable");
        let (files, state) = read(&root).expect("good");
        assert_eq!((files.len(), read(&archive).expect("good").1), (1, state));
        assert!(files.read(FILE).is_some());
    }

    #[test]
    fn a_repository_that_was_packed_is_the_same_elsewhere() {
        let dir = tempfile::tempdir().expect("writable");
        let long = "x".repeat(120);
        for name in ["a.1", "a.2", long.as_str()] {
            let package = dir.path().join("packages/a").join(name);
            fs::create_dir_all(package.join("files")).expect("writable");
            fs::write(package.join("opam"), format!("name: {name}")).expect("writable");
            fs::write(package.join("files/empty.patch"), "").expect("writable");
        }
        fs::write(dir.path().join("repo"), "opam-version: \"2.0\"").expect("writable");
        let (files, state) = read(dir.path()).expect("good");
        let packed = pack(&files).expect("memory");
        assert_eq!(pack(&files).expect("memory"), packed);
        let (again, same) = open_packed(&packed[..]).expect("just made");
        assert_eq!((again, same), (files, state));
        assert!(open_packed(&packed[..packed.len() / 2]).is_err());
    }

    #[test]
    fn what_is_no_repository_says_so() {
        let dir = tempfile::tempdir().expect("writable");
        let text = read(dir.path()).expect_err("empty").to_string();
        assert!(text.contains("packages/"), "{text}");
        assert!(read(&dir.path().join("nowhere")).is_err());
        let file = dir.path().join("x.zip");
        fs::write(&file, "").expect("writable");
        assert!(
            read(&file)
                .expect_err("a zip")
                .to_string()
                .contains(".tar.zst")
        );
    }
}
