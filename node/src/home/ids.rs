//! Whose directory a node's is. The files of its store have the ids that jobs see, so they can only
//! be read by whoever made them: root, or the same user with the same subordinate ids. Anybody else
//! is told so before a file is touched.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use caravan_sandbox::Rights;

use super::HomeError;

/// File that says which subordinate ids the store was made with.
const NAME: &str = "subordinate-ids";

/// Refuses the directory of another user, or of the same with other ids; notes the ids of a new one.
pub(super) fn check(data: &Path) -> Result<(), HomeError> {
    let io_error = |path: &Path| {
        let path = path.to_owned();
        move |source| HomeError::Io { path, source }
    };
    let store = data.join("store");
    match fs::symlink_metadata(&store) {
        Ok(found) if found.uid() != rustix::process::geteuid().as_raw() => {
            return Err(HomeError::Foreign {
                path: data.to_owned(),
            });
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error(&store)(error)),
    }
    if Rights::own() != Rights::Rootless {
        return Ok(());
    }
    let path = data.join(NAME);
    let now = maps().map_err(io_error(Path::new("/proc/self/uid_map")))?;
    match fs::read_to_string(&path) {
        Ok(then) if then == now => Ok(()),
        Ok(then) => Err(HomeError::Ids {
            path: data.to_owned(),
            then: shown(&then),
            now: shown(&now),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            note(&path, &now).map_err(io_error(&path))
        }
        Err(error) => Err(io_error(&path)(error)),
    }
}

/// Appears whole or not at all.
pub(super) fn note(path: &Path, text: &str) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&partial, path)
}

/// Which ids of the host are which here: a line for each range of users, then of groups.
fn maps() -> io::Result<String> {
    let mut text = String::new();
    for (what, path) in [
        ("user", "/proc/self/uid_map"),
        ("group", "/proc/self/gid_map"),
    ] {
        for line in fs::read_to_string(path)?.lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            text.push_str(&format!("{what} {}\n", fields.join(" ")));
        }
    }
    Ok(text)
}

fn shown(maps: &str) -> String {
    maps.lines().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_of_another_user_is_refused_untouched() {
        let dir = tempfile::tempdir().expect("writable");
        fs::create_dir(dir.path().join("store")).expect("writable");
        check(dir.path()).expect("our own");
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: giving a directory away needs root");
            return;
        }
        std::os::unix::fs::chown(dir.path().join("store"), Some(4_242), None).expect("root may");
        let error = check(dir.path()).expect_err("another's");
        assert!(matches!(error, HomeError::Foreign { .. }), "{error}");
        assert!(!dir.path().join(NAME).exists());
    }

    #[test]
    fn a_map_is_one_line_for_each_range() {
        let maps = maps().expect("there is a /proc");
        assert!(maps.starts_with("user 0 "), "{maps}");
        assert!(maps.contains("group 0 "), "{maps}");
        assert!(!maps.contains("  "), "{maps}");
    }
}
