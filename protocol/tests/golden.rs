//! The bytes that released nodes speak, sign and hash, in files beside this test. They are equal on
//! all machines, whatever the order of bytes there, and never change: another form is another
//! version, with files of its own beside the old ones.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::PathBuf};

#[path = "golden/samples.rs"]
mod samples;

use samples::Kind;

fn dir() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "golden"]
        .iter()
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// What a file of a kind holds.
fn written(kind: &Kind) -> String {
    let mut text = format!("# {}\n", kind.what);
    for (name, bytes) in &kind.values {
        writeln!(text, "{name} {}", hex(bytes)).expect("memory");
    }
    text
}

#[test]
fn every_value_has_the_bytes_that_it_had_when_its_version_was_released() {
    let bless = std::env::var_os("CARAVAN_BLESS").is_some();
    for kind in samples::all() {
        let path = dir().join(format!("{}.hex", kind.file));
        let Ok(golden) = fs::read_to_string(&path) else {
            assert!(
                bless,
                "{} is missing: CARAVAN_BLESS=1 writes it, and only then, never one that is there",
                path.display()
            );
            fs::write(&path, written(&kind)).expect("write golden bytes");
            continue;
        };
        let now = written(&kind);
        for (line, (was, is)) in golden.lines().zip(now.lines()).enumerate() {
            assert_eq!(
                was,
                is,
                "line {} of {}: nodes that were released speak the first. Another form is another \
                 version: give the protocol or record the next number (its file's name follows), \
                 keep the old file and something that reads it, and bless the new one with \
                 CARAVAN_BLESS=1",
                line + 1,
                path.display()
            );
        }
        assert_eq!(
            golden.lines().count(),
            now.lines().count(),
            "{}: a new variant is a new line at the end; add it by hand",
            path.display()
        );
    }
}

#[test]
fn golden_bytes_are_read_as_the_values_that_they_are_written_for() {
    for kind in samples::all() {
        for (name, bytes) in &kind.values {
            let again = (kind.again)(bytes);
            assert_eq!(again.as_ref(), Some(bytes), "{}: {name}", kind.file);
        }
    }
}

#[test]
fn no_golden_bytes_lie_about_unread() {
    let known: BTreeSet<String> = samples::all()
        .iter()
        .map(|kind| format!("{}.hex", kind.file))
        .collect();
    for entry in fs::read_dir(dir()).expect("the directory") {
        let name = entry.expect("an entry").file_name();
        let name = name.into_string().expect("a name");
        assert!(
            name.ends_with(".rs") || known.contains(&name),
            "{name} is read by no test: what was released once must be read for ever"
        );
    }
}
