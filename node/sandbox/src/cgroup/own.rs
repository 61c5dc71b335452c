//! Where this program itself is in the hierarchies, and making room there for its jobs.
//!
//! In version 2 a group either holds processes or shares its controllers out to groups below it.
//! A service that systemd has delegated its group to, and a container with a group of its own,
//! start in the first state: then this program moves into a group below, and its jobs get others
//! beside it. Never touches a group that nobody has given to this program.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use super::{CONTROLLERS, read_small, under};

/// The group below its own that a program moves into.
const LEAF: &str = "caravan-node";
/// How systemd marks what it has delegated; the first is for root's eyes.
const DELEGATED: [&str; 2] = ["trusted.delegate", "user.delegate"];

/// This process's own group in the version 1 hierarchy of a controller.
pub(super) fn v1_parent(groups: &str, mounts: &str, name: &str) -> Option<PathBuf> {
    let own = groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let names = parts.next()?;
        names.split(',').any(|n| n == name).then(|| parts.next())?
    })?;
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let is_v1 = right.next() == Some("cgroup");
        let options = right.nth(1)?;
        let has = is_v1 && options.split(',').any(|o| o == name);
        has.then(|| Mount::parse(left)?.place_of(own))?
    })
}

/// This program's group of version 2.
#[derive(Debug)]
pub(super) struct Home {
    dir: PathBuf,
    /// The highest group that is visible here.
    top: PathBuf,
}

impl Home {
    pub(super) fn find(groups: &str, mounts: &str, root: &Path) -> Option<Self> {
        let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
        mounts.lines().find_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mount = right
                .starts_with("cgroup2 ")
                .then(|| Mount::parse(left))??;
            Some(Self {
                dir: under(root, &mount.place_of(own)?),
                top: under(root, mount.point),
            })
        })
    }

    /// For tests: a group as if it were a container's own.
    #[cfg(test)]
    pub(super) fn of(dir: PathBuf) -> Self {
        Self {
            top: dir.clone(),
            dir,
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The group in which jobs can have theirs, and which of our controllers they have there: this
    /// program's own where it can be shared out, or else the nearest above that is.
    pub(super) fn parent(&self) -> Option<(PathBuf, Vec<&'static str>)> {
        let wanted = self.to_share(&names());
        if !wanted.is_empty() {
            let mut on = ours(&self.dir.join("cgroup.subtree_control"));
            on.extend(wanted);
            return Some((self.dir.clone(), on));
        }
        self.dir
            .ancestors()
            .take_while(|dir| dir.starts_with(&self.top))
            .find_map(|dir| {
                let on = ours(&dir.join("cgroup.subtree_control"));
                (!on.is_empty()).then(|| (dir.to_owned(), on))
            })
    }

    /// Shares the group's controllers out to those below it, if it is this program's to share.
    pub(super) fn settle(&self) -> io::Result<()> {
        self.share(&names())
    }

    /// Which of these controllers the group has and may, but does not yet, share out.
    fn to_share(&self, names: &[&'static str]) -> Vec<&'static str> {
        if !self.is_ours() {
            return Vec::new();
        }
        let has = |file: &str| {
            let text = read_small(&self.dir.join(file)).unwrap_or_default();
            move |name: &str| text.split_whitespace().any(|known| known == name)
        };
        let (there, on) = (has("cgroup.controllers"), has("cgroup.subtree_control"));
        let open = names.iter().copied();
        open.filter(|name| there(name) && !on(name)).collect()
    }

    pub(super) fn share(&self, names: &[&'static str]) -> io::Result<()> {
        let wanted = self.to_share(names);
        if wanted.is_empty() {
            return Ok(());
        }
        // The root of all groups may hold processes and share out.
        if !self.is_root() {
            self.move_below()?;
        }
        let wanted: Vec<String> = wanted.iter().map(|name| format!("+{name}")).collect();
        fs::write(self.dir.join("cgroup.subtree_control"), wanted.join(" "))
    }

    /// Moves every process of the group into one below it: this program, what started it, and
    /// what it has started.
    fn move_below(&self) -> io::Result<()> {
        let leaf = self.dir.join(LEAF);
        match fs::create_dir(&leaf) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        for pid in read_small(&self.dir.join("cgroup.procs"))?.lines() {
            match fs::write(leaf.join("cgroup.procs"), pid) {
                // It has ended.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                done => done?,
            }
        }
        Ok(())
    }

    fn is_ours(&self) -> bool {
        let is_marked = |name: &&str| {
            let mut value = [0; 8];
            rustix::fs::getxattr(&self.dir, *name, &mut value)
                .is_ok_and(|len| &value[..len] == b"1")
        };
        // The highest that a container sees is its own, and so is the root for root.
        self.dir == self.top || DELEGATED.iter().any(is_marked)
    }

    /// Only the root of all groups has no events of its own.
    fn is_root(&self) -> bool {
        self.dir == self.top && !self.dir.join("cgroup.events").exists()
    }
}

fn names() -> Vec<&'static str> {
    CONTROLLERS.iter().map(|(_, name)| *name).collect()
}

/// Which of our controllers a file names.
fn ours(file: &Path) -> Vec<&'static str> {
    let text = read_small(file).unwrap_or_default();
    let mut names = names();
    names.retain(|name| text.split_whitespace().any(|on| on == *name));
    names
}

/// A mount of a hierarchy.
struct Mount<'a> {
    /// The group that it begins at.
    root: &'a Path,
    point: &'a Path,
}

impl<'a> Mount<'a> {
    /// `left` is the first half of a line of mountinfo: id, parent, device, root, mount point.
    fn parse(left: &'a str) -> Option<Self> {
        let mut fields = left.split(' ').skip(3).map(Path::new);
        Some(Self {
            root: fields.next()?,
            point: fields.next()?,
        })
    }

    /// Where a group shows. One outside of what is mounted does not: then there is nothing here that
    /// is ours, whatever the mount begins at.
    fn place_of(&self, own: &str) -> Option<PathBuf> {
        let inner = Path::new(own).strip_prefix(self.root).ok()?;
        let is_inside = |part: Component<'_>| matches!(part, Component::Normal(_));
        inner
            .components()
            .all(is_inside)
            .then(|| self.point.join(inner))
    }
}
