//! Root file systems of this host's own programs, for tests that run real steps and fetch nothing.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use crate::host::text;

/// Puts these programs of the host, with the libraries that they need, below `dir`: the programs in
/// `usr/bin`, with the link `bin`.
///
/// # Panics
///
/// Where the host has no such program, or `dir` cannot be written.
pub fn of_host(dir: &Path, programs: &[&str]) {
    let mut libraries = BTreeSet::new();
    for program in programs {
        let found = ["/usr/bin", "/bin"].map(|dir| Path::new(dir).join(program));
        let path = found.into_iter().find(|path| path.exists());
        let path = path.unwrap_or_else(|| panic!("this host has no {program}"));
        let listed = Command::new("ldd").arg(&path).output().expect("ldd runs");
        let words = text(&listed.stdout);
        let paths = words.split_whitespace();
        libraries.extend(
            paths
                .filter(|word| word.starts_with('/'))
                .map(PathBuf::from),
        );
        copy(&path, &dir.join("usr/bin").join(program));
    }
    for library in libraries {
        let inside = library.strip_prefix("/").expect("absolute");
        copy(&library, &dir.join(inside));
    }
    symlink("usr/bin", dir.join("bin")).expect("a link");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().expect("below a root")).expect("a directory");
    fs::copy(from, to).unwrap_or_else(|error| panic!("copy {}: {error}", from.display()));
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).expect("ours");
}
