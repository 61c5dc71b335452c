//! `config.toml` as this program writes it for a new node. A file that a person has written is never
//! touched; one of ours is written anew only if limits are given on the command line.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use super::{bad, load, path};
use crate::error::CliError;

/// First line of a file of ours.
const MARK: &str = "# Written by `caravan` for a new node. It is yours to change; a later `caravan \
                    join` or `init` with limits\n# on its command line writes it anew.\n\n";

/// Whether the file is to be written; an error if there is one that is not ours and the command line
/// says something else, or one that cannot be read.
pub(crate) fn wanted(data: &Path, explicit: bool) -> Result<bool, CliError> {
    load(data)?;
    let text = match fs::read_to_string(path(data)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(bad(data, &error.to_string())),
    };
    match (text.starts_with(MARK), explicit) {
        (_, false) => Ok(false),
        (true, true) => Ok(true),
        (false, true) => {
            let name = path(data).display().to_string();
            let text =
                format!("write {name}: it is there already, and not of this program's making");
            Err(CliError::user(text)
                .hint("say there what you want (operator, listen, [lend]) and leave the flags out")
                .hint("or move it away"))
        }
    }
}

/// Writes the file, whole or not at all.
pub(crate) fn write(data: &Path, body: &str) -> Result<(), CliError> {
    let to = path(data);
    let partial = data.join("config.toml.partial");
    let trouble = |error: io::Error| CliError::user(format!("write {}: {error}", to.display()));
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o644);
    let mut file = file.open(&partial).map_err(trouble)?;
    file.write_all(MARK.as_bytes())
        .and_then(|()| file.write_all(body.as_bytes()))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&partial, &to))
        .map_err(trouble)?;
    load(data).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_persons_file_is_never_touched() {
        let dir = tempfile::tempdir().expect("writable");
        assert!(wanted(dir.path(), false).expect("none yet"));
        write(dir.path(), "[lend]\ncores = 1\n").expect("written");
        assert!(!wanted(dir.path(), false).expect("ours"));
        assert!(wanted(dir.path(), true).expect("ours, and flags"));
        fs::write(dir.path().join("config.toml"), "slots = 3\n").expect("writable");
        assert!(!wanted(dir.path(), false).expect("a person's"));
        let refused = wanted(dir.path(), true).expect_err("a person's, and flags");
        assert!(format!("{refused:?}").contains("[lend]"), "{refused:?}");
        fs::write(dir.path().join("config.toml"), "slots = \n").expect("writable");
        assert!(
            wanted(dir.path(), false).is_err(),
            "a broken file was taken"
        );
    }
}
