//! Whose rights this process has: root's of the host, or all rights in a user namespace that
//! [`crate::rootless`] has made. Only looks; the kernel's own words about this process decide, and
//! nothing that it could have been told by others.

use std::path::Path;

use rustix::thread::{CapabilitySet, capabilities};

use crate::{cgroup::read_small, limits::ID_COUNT};

/// What an ordinary user is inside of its own user namespace: the first id that is no job's, so
/// that no user of a job is ever the user who runs the node.
pub(crate) const NODE_ID: u32 = ID_COUNT;

/// Whose rights this process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Root of the host.
    Root,
    /// An ordinary user's, with all rights in a user namespace of its own, which has 65,536
    /// subordinate ids: as root, but for what belongs to the host.
    Rootless,
    /// Root of a user namespace that somebody else has made, as in a container.
    Contained,
    /// An ordinary user.
    User(u32),
}

impl Rights {
    /// Those of this process.
    #[must_use]
    pub fn own() -> Self {
        let maps = ["/proc/self/uid_map", "/proc/self/gid_map"]
            .map(|path| read_small(Path::new(path)).unwrap_or_default());
        let held = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
        let all = held.contains(CapabilitySet::SYS_ADMIN);
        Self::of(
            rustix::process::geteuid().as_raw(),
            [&maps[0], &maps[1]],
            all,
        )
    }

    fn of(user: u32, maps: [&str; 2], all: bool) -> Self {
        if all && maps.iter().all(|map| is_ours(map)) {
            return Self::Rootless;
        }
        match user {
            0 if maps.iter().all(|map| is_whole(map)) => Self::Root,
            0 => Self::Contained,
            user => Self::User(user),
        }
    }
}

/// A line of a map: the first id inside, outside, and how many.
fn extents(map: &str) -> impl Iterator<Item = [u32; 3]> {
    map.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().map(str::parse);
        let mut next = || fields.next()?.ok();
        Some([next()?, next()?, next()?])
    })
}

/// Whether every id is itself: the namespace that the host began with.
fn is_whole(map: &str) -> bool {
    extents(map).eq([[0, 0, u32::MAX]])
}

/// Whether all ids of a job are there, and that of a node beside them.
fn is_ours(map: &str) -> bool {
    let mut found: Vec<[u32; 3]> = extents(map).collect();
    found.sort_unstable();
    let Some([NODE_ID, _, 1]) = found.pop() else {
        return false;
    };
    let end = found.iter().try_fold(0u32, |end, [inside, _, count]| {
        (*inside == end).then(|| end.checked_add(*count))?
    });
    end == Some(ID_COUNT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "         0          0 4294967295\n";
    const OURS: &str = "0 100000 65536\n65536 1000 1\n";

    #[test]
    fn root_of_the_host_is_told_from_root_of_a_container() {
        assert_eq!(Rights::of(0, [WHOLE, WHOLE], true), Rights::Root);
        let shifted = "0 100000 65536\n";
        assert_eq!(Rights::of(0, [shifted, shifted], true), Rights::Contained);
        assert_eq!(Rights::of(0, [WHOLE, shifted], true), Rights::Contained);
        assert_eq!(Rights::of(1000, [WHOLE, WHOLE], false), Rights::User(1000));
    }

    #[test]
    fn a_namespace_of_ours_has_all_ids_of_a_job_and_one_more() {
        let rootless = |map: &str| Rights::of(NODE_ID, [map, map], true) == Rights::Rootless;
        assert!(rootless(OURS));
        assert!(rootless(
            "65536 1000 1\n40000 300000 25536\n0 100000 40000\n"
        ));
        for map in [
            "",
            WHOLE,
            "0 100000 65536\n",
            "0 1000 1\n1 100000 65535\n65536 9 1\n65537 9 1",
            "0 100000 65535\n65536 1000 1\n",
            "1 100000 65535\n65536 1000 1\n",
            "0 100000 65536\n65536 1000 2\n",
            "0 100000 4294967295\n4 4 4294967295\n65536 1000 1\n",
        ] {
            assert!(!rootless(map), "{map:?} was taken");
        }
    }

    #[test]
    fn a_namespace_of_ours_without_its_rights_is_of_no_use() {
        let got = Rights::of(NODE_ID, [OURS, OURS], false);
        assert_eq!(got, Rights::User(NODE_ID));
    }
}
