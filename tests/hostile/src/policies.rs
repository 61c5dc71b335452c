//! What projects and package repositories bring: opam files, versions, settings.

use caravan_ci::settings::Settings;
use caravan_opam::{File, Name, OpamFile, Version};
use caravan_protocol::limits::OPAM_FILE_BYTES_MAX;

use crate::{Promise, Target, target};

pub(crate) const TARGETS: [Target; 4] = [
    target(
        "opam_file",
        "project, repository",
        OPAM_FILE_BYTES_MAX,
        Promise::Sound,
        opam_file,
    ),
    target(
        "opam_package",
        "project, repository",
        OPAM_FILE_BYTES_MAX,
        Promise::Sound,
        opam_package,
    ),
    target(
        "opam_version",
        "project, repository",
        1024,
        Promise::Sound,
        opam_version,
    ),
    target("settings", "project", 64 * 1024, Promise::Sound, settings),
];

fn opam_file(bytes: &[u8]) -> Option<Vec<u8>> {
    File::parse(bytes, "opam").ok().map(|_| Vec::new())
}

/// What a file says, written as what counts of it; that is read as the same.
fn opam_package(bytes: &[u8]) -> Option<Vec<u8>> {
    let file = OpamFile::parse(bytes, "opam").ok()?;
    let text = file.effective();
    let again = OpamFile::parse(text.as_bytes(), "opam")
        .unwrap_or_else(|error| panic!("{error}: of {text}"));
    assert_eq!(again.effective(), text, "what counts of it is not stable");
    Some(text.into_bytes())
}

/// Three versions or names, a line each: their order is one.
fn opam_version(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let _ = text.parse::<Name>().map(|name| {
        assert_eq!(name.as_str(), text, "a name is another");
    });
    let mut versions = text.lines().filter_map(|line| line.parse::<Version>().ok());
    let (a, b, c) = (versions.next()?, versions.next()?, versions.next()?);
    assert_eq!(a.cmp(&b), b.cmp(&a).reverse(), "{a} and {b} have no order");
    if a <= b && b <= c {
        assert!(a <= c, "{a}, {b} and {c} have no order");
    }
    Some(Vec::new())
}

fn settings(bytes: &[u8]) -> Option<Vec<u8>> {
    Settings::read(Some(bytes)).ok().map(|_| Vec::new())
}
