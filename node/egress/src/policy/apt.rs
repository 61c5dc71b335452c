//! The hosts of a machine's own package sources: what "package mirrors" means on that machine.
//!
//! An operator whose packages come from a mirror in a private network has said so to apt already; a
//! step that installs packages uses the same.

use std::{fs::File, io::Read, path::Path};

use super::target::Target;
use crate::limits::{APT_BYTES_MAX, APT_FILES_MAX};

/// Where apt keeps its configuration.
pub const DIR: &str = "/etc/apt";

/// A host of package sources.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mirror {
    /// Which one, at which port.
    pub target: Target,
    /// Whether apt asks it over https.
    pub is_tls: bool,
}

/// The hosts in the text of `sources.list` or of a deb822 `.sources` file. What is commented out or
/// not enabled is left out, and so is what is not fetched over http or https.
#[must_use]
pub fn hosts_in(text: &str) -> Vec<Mirror> {
    let mut found = Vec::new();
    for stanza in text.split("\n\n") {
        let lines = || stanza.lines().map(str::trim);
        let is_off = |line: &str| {
            let line = line.to_ascii_lowercase();
            let value = line.strip_prefix("enabled:").map(str::trim);
            matches!(value, Some("no" | "false" | "0"))
        };
        if lines().any(is_off) {
            continue;
        }
        let live = lines().map(|line| line.split('#').next().unwrap_or_default());
        found.extend(live.flat_map(str::split_whitespace).filter_map(host_of));
    }
    found.sort();
    found.dedup();
    found
}

fn host_of(word: &str) -> Option<Mirror> {
    let word = word.strip_prefix("mirror+").unwrap_or(word);
    let (rest, is_tls) = match word.strip_prefix("https://") {
        Some(rest) => (rest, true),
        None => (word.strip_prefix("http://")?, false),
    };
    let port = if is_tls { 443 } else { 80 };
    let authority = rest.split('/').next()?;
    let host = authority.rsplit('@').next()?;
    let target = Target::parse(host, Some(port)).ok()?;
    Some(Mirror { target, is_tls })
}

/// The hosts that the configuration in `dir` names; none where it cannot be read.
#[must_use]
pub fn hosts(dir: &Path) -> Vec<Mirror> {
    let listed = std::fs::read_dir(dir.join("sources.list.d"));
    let listed = listed.into_iter().flatten().flatten();
    let more = listed.map(|entry| entry.path()).filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "list" || extension == "sources")
    });
    let files = [dir.join("sources.list")].into_iter().chain(more);
    let mut found = Vec::new();
    for file in files.take(APT_FILES_MAX) {
        let mut text = Vec::new();
        let read =
            File::open(file).and_then(|file| file.take(APT_BYTES_MAX).read_to_end(&mut text));
        if read.is_ok() {
            found.extend(hosts_in(&String::from_utf8_lossy(&text)));
        }
    }
    found.sort();
    found.dedup();
    found
}
