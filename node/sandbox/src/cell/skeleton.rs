//! Every mount point of a root, in a layer below all others: a layer that has the directory wins.
//!
//! So nothing has to be made in the upper directory. Works on directories of the stage only, which no
//! job has seen yet.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
};

use crate::spec::Spec;

/// Mount points that every root has.
const DIRS: [&str; 6] = ["dev", "proc", "sys", "tmp", "var/tmp", "run"];
/// Those among them that anybody may write to, where nothing is mounted on them.
const OPEN: [&str; 2] = ["tmp", "var/tmp"];
/// Files of which every root has one of its own.
const FILES: [&str; 2] = ["etc/hostname", "etc/hosts"];

/// The mount points that every job has.
pub(super) fn fixed(top: &Path, id_base: u32) -> io::Result<()> {
    give(top, id_base)?;
    for dir in DIRS {
        make_dirs(top, Path::new(dir), id_base)?;
    }
    for dir in OPEN {
        fs::set_permissions(top.join(dir), fs::Permissions::from_mode(0o1777))?;
    }
    for file in FILES {
        make_file(top, Path::new(file), id_base)?;
    }
    Ok(())
}

/// Those of this one, whose binds are paths inside and whether they are directories.
pub(super) fn own(top: &Path, spec: &Spec, binds: &[(&Path, bool)]) -> io::Result<()> {
    let inside = |path| Path::strip_prefix(path, "/").unwrap_or(path);
    let dirs = spec.layered.iter().map(|layered| inside(&layered.target));
    let dirs = dirs.chain(
        binds
            .iter()
            .filter(|(_, is_dir)| *is_dir)
            .map(|bind| bind.0),
    );
    for dir in dirs {
        make_dirs(top, dir, spec.id_base)?;
    }
    let files = spec.secrets.iter().map(|secret| inside(&secret.target));
    let files = files.chain(
        binds
            .iter()
            .filter(|(_, is_dir)| !is_dir)
            .map(|bind| bind.0),
    );
    for file in files {
        make_file(top, file, spec.id_base)?;
    }
    Ok(())
}

/// Gives something to root of the job, with a mode that shows it to everybody.
pub(super) fn give(path: &Path, id_base: u32) -> io::Result<()> {
    let mode = if path.is_dir() { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    chown(path, Some(id_base), Some(id_base))
}

fn make_file(top: &Path, file: &Path, id_base: u32) -> io::Result<()> {
    make_dirs(top, file.parent().unwrap_or(Path::new("")), id_base)?;
    let path = top.join(file);
    // Refused by name when it is mounted.
    if path.is_dir() {
        return Ok(());
    }
    fs::write(&path, [])?;
    give(&path, id_base)
}

fn make_dirs(top: &Path, inside: &Path, id_base: u32) -> io::Result<()> {
    let mut dir = top.to_owned();
    for part in inside.components() {
        dir.push(part);
        match fs::create_dir(&dir) {
            Ok(()) => give(&dir, id_base)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                let what = format!("/{}: {error}", inside.display());
                return Err(io::Error::new(error.kind(), what));
            }
        }
    }
    Ok(())
}
