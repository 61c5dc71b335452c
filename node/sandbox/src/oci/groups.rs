//! What a runtime sees of control groups, and what it may leave of them.
//!
//! The job's limits are in groups of ours, which init and all that comes from it are in. A runtime
//! that found those hierarchies would make groups of its own there and take the command out of
//! ours. So it is shown one thing only: the version 1 hierarchy of devices, which runc insists on, or
//! on a host with version 2 alone a view that begins at the job's own group. crun 1.8 refuses
//! hosts with both versions, and is content with the same view.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags, open},
    io::Errno,
    mount::{MountAttrFlags, UnmountFlags, unmount},
};

use crate::{
    cell::files::{attach, clone_of, new_mount},
    cgroup::{DEVICES, read_small},
};

/// Where every program looks.
const SHOWN: &str = "/sys/fs/cgroup";
/// Mounts of control groups that a host is believed to have, one over the other included.
const MOUNTS_MAX: usize = 64;

/// Which hierarchy a runtime is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shown {
    /// That of devices, mounted here.
    Devices(PathBuf),
    /// Version 2.
    Unified,
    Nothing,
}

/// The mount points of control groups in a text of mountinfo, and what of them is shown.
fn choose(mountinfo: &str) -> (Vec<PathBuf>, Shown) {
    let (mut points, mut shown) = (Vec::new(), Shown::Nothing);
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let Some(point) = left.split(' ').nth(4).map(PathBuf::from) else {
            continue;
        };
        let mut right = right.split(' ');
        match right.next() {
            Some("cgroup") => {
                let options = right.nth(1).unwrap_or_default();
                if options.split(',').any(|option| option == DEVICES) {
                    shown = Shown::Devices(point.clone());
                }
            }
            Some("cgroup2") if shown == Shown::Nothing => shown = Shown::Unified,
            Some("cgroup2") => {}
            _ => continue,
        }
        points.push(point);
    }
    points.truncate(MOUNTS_MAX);
    (points, shown)
}

/// In init's own mounts: takes all hierarchies away but the one to be shown.
pub(crate) fn show_little() -> io::Result<()> {
    let (points, shown) = choose(&read_small(Path::new("/proc/self/mountinfo"))?);
    let little = match &shown {
        Shown::Devices(at) => Some(clone_of(rustix::fs::CWD, at)?),
        Shown::Unified | Shown::Nothing => None,
    };
    // The innermost first; what lay on top of another was named twice.
    for point in points
        .iter()
        .rev()
        .map(PathBuf::as_path)
        .chain([Path::new(SHOWN)])
    {
        match unmount(point, UnmountFlags::DETACH) {
            // Gone with another, or never a mount.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID
        .union(MountAttrFlags::MOUNT_ATTR_NODEV)
        .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);
    let mount = |kind: &str, options: &[(&str, &str)]| {
        new_mount(kind, options, flags).map_err(|problem| io::Error::other(problem.to_string()))
    };
    let on = |path: &Path| open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    if shown == Shown::Unified {
        // Begins at the group that init was born in.
        return Ok(attach(mount("cgroup2", &[])?, on(Path::new(SHOWN))?)?);
    }
    let room = mount("tmpfs", &[("size", "16k"), ("mode", "755")])?;
    attach(room, on(Path::new(SHOWN))?)?;
    if let Some(little) = little {
        let dir = Path::new(SHOWN).join(DEVICES);
        fs::create_dir(&dir)?;
        attach(little, on(&dir)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 1 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw
31 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 30 0:29 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices
33 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
34 1 0:31 / /tmp rw - tmpfs tmpfs rw
";

    #[test]
    fn of_many_hierarchies_that_of_devices_is_shown() {
        let (points, shown) = choose(HYBRID);
        assert_eq!(points.len(), 3);
        assert_eq!(shown, Shown::Devices("/sys/fs/cgroup/devices".into()));
    }

    #[test]
    fn version_two_alone_is_shown_and_nothing_is_nothing() {
        let unified = "31 30 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(choose(unified).1, Shown::Unified);
        assert_eq!(choose(""), (Vec::new(), Shown::Nothing));
        assert_eq!(
            choose("strange\n1 - cgroup\n"),
            (Vec::new(), Shown::Nothing)
        );
    }
}
