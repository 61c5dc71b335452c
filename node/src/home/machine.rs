//! On which machine a node's directory was made. A copy of it on a second machine would be a second
//! node with the same key; it is told so before it says a word.

use std::{fs, io, path::Path};

use caravan_protocol::ids::BlobId;

use super::HomeError;

/// File that says which machine it is.
pub(super) const NAME: &str = "machine";
/// Where a machine's own id is.
const SOURCES: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

/// Refuses a directory that was made on another machine; notes this one in a new directory.
pub(super) fn check(data: &Path) -> Result<(), HomeError> {
    let found = SOURCES
        .iter()
        .find_map(|path| id_of(&fs::read_to_string(path).ok()?));
    check_as(data, found.as_deref())
}

/// What stands for a machine: not its id itself, which is nobody else's business.
fn id_of(text: &str) -> Option<String> {
    let id = text.trim();
    let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| BlobId::of(format!("caravan/machine/1\0{id}").as_bytes()).to_string())
}

/// A machine that has no id, as many containers have none, is not told apart from others.
fn check_as(data: &Path, id: Option<&str>) -> Result<(), HomeError> {
    let Some(id) = id else { return Ok(()) };
    let path = data.join(NAME);
    let io_error = |source| HomeError::Io {
        path: path.clone(),
        source,
    };
    match fs::read_to_string(&path) {
        Ok(text) if text.trim() == id => Ok(()),
        Ok(_) => Err(HomeError::Copied {
            path: data.to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            super::ids::note(&path, &format!("{id}\n")).map_err(io_error)
        }
        Err(error) => Err(io_error(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_copied_directory_is_told_from_the_one_that_it_was_made_of() {
        let dir = tempfile::tempdir().expect("writable");
        let here = id_of(HERE).expect("an id");
        let there = id_of(&HERE.replace('0', "f")).expect("an id");
        check_as(dir.path(), Some(&here)).expect("new");
        check_as(dir.path(), Some(&here)).expect("the same machine");
        let error = check_as(dir.path(), Some(&there)).expect_err("another machine");
        let told = format!("failed to {error}");
        assert!(
            told.contains("another machine") && told.contains("/machine"),
            "{told}"
        );
        // The way out that it tells of.
        fs::remove_file(dir.path().join(NAME)).expect("there");
        check_as(dir.path(), Some(&there)).expect("it was moved");
        check_as(dir.path(), Some(&here)).expect_err("and is a copy back there");
    }

    #[test]
    fn a_machine_without_an_id_is_not_judged() {
        let dir = tempfile::tempdir().expect("writable");
        check_as(dir.path(), None).expect("nothing is known");
        assert!(!dir.path().join(NAME).exists());
        for odd in ["", "uninitialized\n", "0123", &"g".repeat(32)] {
            assert_eq!(id_of(odd), None, "{odd:?}");
        }
        let id = id_of(&format!("{HERE}\n")).expect("an id");
        assert!(!id.contains(HERE));
    }
}
