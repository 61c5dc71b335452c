//! Taking a node away from its machine again: what a node keeps, mounts and groups, nothing else.
//!
//! Only what a node makes is removed, by name: the directory may hold a person's files, too. It
//! begins with a mark, so that a removal that was cut off is known for one, goes on when it is asked
//! for again, and no node is started in between on what is left. Never here: words to the mesh, and
//! units of the service manager.

use std::{
    fs::{self, File},
    io,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

use caravan_sandbox::Launcher;
use rustix::mount::{UnmountFlags, unmount};

use crate::config::Config;

/// Says that the directory is being taken away.
const MARK: &str = "leaving";
/// What a node makes in its directory. The key goes last but the mark.
const OURS: [&str; 13] = [
    "control.sock",
    "joined",
    "config.toml",
    "config.toml.partial",
    "git",
    "fetch",
    "recipes",
    "trial",
    "identity.partial",
    "subordinate-ids.partial",
    "machine.partial",
    "machine",
    "logs",
];
/// What stays where layers are to stay.
const KEPT: [&str; 3] = ["store", "subordinate-ids", "identity"];
/// Where jobs mount.
const JOBS: [&str; 2] = ["store/work", "trial"];
/// Mounts that are looked for, at most: a loop would be a broken kernel's.
const ROUNDS_MAX: usize = 64;

/// Why something of a node is still there.
#[derive(Debug, thiserror::Error)]
pub enum LeavingError {
    /// A file or directory cannot be removed.
    #[error("remove {path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// A file system is mounted below the directory, and cannot be taken off.
    #[error("remove {path}: something is mounted there, and cannot be unmounted")]
    Mounted {
        /// Where.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// Somebody else has mounted a file system below the directory.
    #[error(
        "remove {path}: a file system is mounted there that no job has mounted; unmount it first"
    )]
    NotOurs {
        /// Where.
        path: PathBuf,
    },
    /// What jobs left cannot be removed.
    #[error("remove what the node's jobs left")]
    Jobs(#[source] caravan_sandbox::Error),
}

fn trouble(path: &Path) -> impl FnOnce(io::Error) -> LeavingError {
    let path = path.to_owned();
    move |source| LeavingError::Io { path, source }
}

/// Whether a removal has begun here and has not come to its end.
#[must_use]
pub fn is_begun(data: &Path) -> bool {
    data.join(MARK).exists()
}

/// Whether there is a node here, or what a removal has left of one. Names that other programs use too
/// make no node: what is there would be removed with it.
#[must_use]
pub fn is_node(data: &Path) -> bool {
    let has_key = data
        .join("identity")
        .symlink_metadata()
        .is_ok_and(|key| key.is_file());
    let has_store = data
        .join("store")
        .symlink_metadata()
        .is_ok_and(|store| store.is_dir());
    is_begun(data) || (has_key && has_store)
}

/// Marks the directory.
pub fn begin(data: &Path) -> Result<(), LeavingError> {
    let path = data.join(MARK);
    File::create(&path)
        .and_then(|file| file.sync_all())
        .map_err(trouble(&path))
}

/// Ends what a dead node's jobs left running, their control groups, and mounts.
pub fn clean(data: &Path, launcher: &Launcher) -> Result<(), LeavingError> {
    let tag = crate::node::tag(&Config::new(data.to_owned()));
    launcher.clean(&tag).map_err(LeavingError::Jobs)?;
    unmount_all(data)
}

/// Removes what the node has made, all or all but its layers and its key, and the directory if
/// nothing else is in it. Tells what else is.
pub fn take_away(data: &Path, keep_store: bool) -> Result<Vec<PathBuf>, LeavingError> {
    if !data.exists() {
        return Ok(Vec::new());
    }
    // Whatever is mounted would be emptied with the rest.
    unmount_all(data)?;
    let kept: &[&str] = if keep_store { &[] } else { &KEPT };
    for name in OURS.iter().chain(kept) {
        remove(&data.join(name))?;
    }
    remove(&data.join(MARK))?;
    let mut others = Vec::new();
    for entry in fs::read_dir(data).map_err(trouble(data))? {
        let entry = entry.map_err(trouble(data))?;
        if !KEPT.iter().any(|kept| entry.file_name() == *kept) || !keep_store {
            others.push(entry.path());
        }
    }
    others.sort();
    if others.is_empty() && !keep_store {
        fs::remove_dir(data).map_err(trouble(data))?;
    }
    Ok(others)
}

fn remove(path: &Path) -> Result<(), LeavingError> {
    let is_dir = match path.symlink_metadata() {
        Ok(found) => found.is_dir(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(trouble(path)(error)),
    };
    // Neither follows a link out of here.
    let removed = if is_dir {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    removed.map_err(trouble(path))
}

/// Takes off what jobs may have left mounted, the last first. What a person has mounted there, the store
/// on a disk of its own above all, is nobody's to take off.
fn unmount_all(data: &Path) -> Result<(), LeavingError> {
    let real = data.canonicalize().unwrap_or_else(|_| data.to_owned());
    let of_jobs = |path: &PathBuf| JOBS.iter().any(|dir| path.starts_with(real.join(dir)));
    if let Some(path) = mounts_below(data).into_iter().find(|path| !of_jobs(path)) {
        return Err(LeavingError::NotOurs { path });
    }
    for _ in 0..ROUNDS_MAX {
        let Some(path) = mounts_below(data).pop() else {
            return Ok(());
        };
        let taken = unmount(&path, UnmountFlags::DETACH);
        taken.map_err(|error| LeavingError::Mounted {
            path,
            source: error.into(),
        })?;
    }
    match mounts_below(data).pop() {
        None => Ok(()),
        Some(path) => Err(LeavingError::Mounted {
            path,
            source: io::ErrorKind::ResourceBusy.into(),
        }),
    }
}

/// Where something is mounted below `data`, in the order in which it was.
fn mounts_below(data: &Path) -> Vec<PathBuf> {
    let data = data.canonicalize().unwrap_or_else(|_| data.to_owned());
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let lines = table.split(|byte| *byte == b'\n');
    let points = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    points
        .map(|point| PathBuf::from(std::ffi::OsString::from_vec(plain(point))))
        .filter(|point| point.starts_with(&data) && *point != data)
        .collect()
}

/// `\040` and its like as the bytes that they stand for.
fn plain(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = (byte == b'\\').then(|| after.get(..3)).flatten();
        let value = octal.and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        match value {
            Some(value) => {
                plain.push(value);
                rest = &after[3..];
            }
            None => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("writable");
        for name in ["store/layers/a", "git/x", "recipes"] {
            fs::create_dir_all(dir.path().join(name)).expect("writable");
        }
        for name in [
            "identity",
            "config.toml",
            "joined",
            "machine",
            "store/index",
        ] {
            fs::write(dir.path().join(name), "x").expect("writable");
        }
        dir
    }

    #[test]
    fn everything_of_a_node_goes_and_its_directory_with_it() {
        let dir = node();
        begin(dir.path()).expect("writable");
        assert!(is_begun(dir.path()) && is_node(dir.path()));
        assert!(take_away(dir.path(), false).expect("removed").is_empty());
        assert!(!dir.path().exists());
    }

    #[test]
    fn a_persons_files_stay_and_are_named() {
        let dir = node();
        fs::write(dir.path().join("thesis.tex"), "x").expect("writable");
        let outside = tempfile::tempdir().expect("writable");
        fs::write(outside.path().join("precious"), "x").expect("writable");
        std::os::unix::fs::symlink(outside.path(), dir.path().join("git/link")).expect("writable");
        let others = take_away(dir.path(), false).expect("removed");
        assert_eq!(others, [dir.path().join("thesis.tex")]);
        assert!(
            outside.path().join("precious").exists(),
            "a link was followed"
        );
        assert!(!is_node(dir.path()));
    }

    #[test]
    fn layers_and_the_key_may_stay() {
        let dir = node();
        begin(dir.path()).expect("writable");
        assert!(take_away(dir.path(), true).expect("removed").is_empty());
        assert!(dir.path().join("store/index").exists() && dir.path().join("identity").exists());
        assert!(!dir.path().join("config.toml").exists() && !is_begun(dir.path()));
    }

    /// A node and a person's directory, which is mounted at `at` of the node; nothing where that
    /// cannot be done.
    fn mounted(at: &str) -> Option<(tempfile::TempDir, tempfile::TempDir)> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: mounting needs root");
            return None;
        }
        let (dir, outside) = (node(), tempfile::tempdir().expect("writable"));
        fs::write(outside.path().join("precious"), "x").expect("writable");
        let at = dir.path().join(at);
        fs::create_dir_all(&at).expect("writable");
        if let Err(error) = rustix::mount::mount_bind(outside.path(), &at) {
            eprintln!("SKIPPED: mounting: {error}");
            return None;
        }
        Some((dir, outside))
    }

    #[test]
    fn what_is_mounted_is_taken_off_and_not_emptied() {
        let Some((dir, outside)) = mounted("store/work/a b") else {
            return;
        };
        assert_eq!(mounts_below(dir.path()).len(), 1);
        take_away(dir.path(), false).expect("removed");
        assert!(
            outside.path().join("precious").exists(),
            "a mount was emptied"
        );
        assert!(!dir.path().exists());
    }

    #[test]
    fn what_a_person_has_mounted_is_left_alone_and_named() {
        let Some((dir, outside)) = mounted("store") else {
            return;
        };
        let refused = take_away(dir.path(), true);
        let is_kept = dir.path().join("config.toml").exists();
        unmount(dir.path().join("store"), UnmountFlags::DETACH).expect("it is ours");
        assert!(matches!(refused, Err(LeavingError::NotOurs { path }) if path.ends_with("store")));
        assert!(is_kept && outside.path().join("precious").exists());
    }

    #[test]
    fn a_persons_directory_is_no_node() {
        let dir = tempfile::tempdir().expect("writable");
        for name in ["git", "logs", "store", "config.toml"] {
            fs::create_dir(dir.path().join(name)).expect("writable");
        }
        assert!(!is_node(dir.path()));
    }

    #[test]
    fn names_with_blanks_are_read_from_the_mount_table() {
        assert_eq!(plain(b"/a\\040b\\011\\"), b"/a b\t\\");
        assert_eq!(plain(b"/a\\999"), b"/a\\999");
    }
}
