//! Whose files the store makes. Owners on disk are those that a tree names, so what no tree has
//! named yet belongs to user 0; and the mark that an overlay leaves on a directory which hides those
//! below is one that only root of the host may write. A node that is root of nothing but a user
//! namespace of its own has another id than 0 there, and uses the mark that is for everybody.

use std::sync::LazyLock;

use rustix::{
    fd::AsFd,
    fs::{Gid, Uid},
    thread::{CapabilitySet, capabilities},
};

/// Whether this process has root's rights over owners, in a namespace that is not the host's.
static IS_ROOTLESS: LazyLock<bool> = LazyLock::new(|| {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let held = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    is_part(&map) && held.contains(CapabilitySet::CHOWN)
});

/// Whether a map has some of the host's ids and not all of them as they are.
fn is_part(map: &str) -> bool {
    let fields: Vec<&str> = map.split_whitespace().collect();
    !fields.is_empty() && fields != ["0", "0", "4294967295"]
}

pub(crate) fn is_rootless() -> bool {
    *IS_ROOTLESS
}

/// Whether files have the owners that trees name: not those of an ordinary user's store.
pub(crate) fn are_kept() -> bool {
    is_rootless() || rustix::process::geteuid().is_root()
}

/// Gives what this process has made to user 0, if that is not so by itself.
pub(crate) fn to_root(file: impl AsFd) -> rustix::io::Result<()> {
    if !is_rootless() {
        return Ok(());
    }
    rustix::fs::fchown(file, Some(Uid::ROOT), Some(Gid::ROOT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_own_namespace_is_told_from_a_part_of_it() {
        assert!(!is_part("         0          0 4294967295\n"));
        assert!(!is_part(""), "unknown is taken for the host");
        assert!(is_part("0 100000 65536\n65536 1000 1\n"));
        assert!(is_part("0 0 65536\n"));
    }
}
