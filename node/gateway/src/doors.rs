//! Doors for tests and fuzzers to this room's decoders of bytes that nobody vouches for. Each takes
//! such bytes, and answers what was read of them as it would be written again, or nothing where they
//! are refused. Nothing else calls them; they keep no state.

use crate::{ansi, slug, text};

/// A job's log as a page shows it: markup of our own and nothing else that a browser would obey.
#[must_use]
pub fn log(bytes: &[u8]) -> Option<Vec<u8>> {
    let options = ansi::Options {
        prefix: "",
        first_line: 1,
        numbered: true,
    };
    Some(ansi::render(bytes, &options).html.into_bytes())
}

/// A name of a project or a branch, in an address and on a page.
#[must_use]
pub fn name(bytes: &[u8]) -> Option<Vec<u8>> {
    let name = std::str::from_utf8(bytes).ok()?;
    let slug = slug::of(name);
    let is_plain = |b: u8| b.is_ascii_graphic() && !b"\"<>&'?#/\\".contains(&b);
    assert!(
        slug.bytes().all(is_plain),
        "{slug:?} is no part of an address"
    );
    let shown = text::escaped(name);
    assert!(!shown.contains(['<', '>', '"']), "{shown:?} is markup");
    Some(slug.into_bytes())
}
