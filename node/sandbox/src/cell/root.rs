//! The job's `/`: an overlay of its layers, with the mounts that every job has.
//!
//! The layers, the upper and the work directory are reached through one clone of the store whose
//! owners are mapped by the job's user namespace. Below all layers lies a skeleton with the
//! mount points, so that nothing has to be made in the upper directory. Runs as root of the host
//! in a mount namespace that the job will live in; never follows a link of a layer out of it.

use std::{
    fs,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::fs::{PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags, open, openat2},
    mount::{MountAttrFlags, UnmountFlags, unmount},
    process::{chdir, fchdir, pivot_root},
};

use super::{
    Birth, Problem,
    devices::Devices,
    failed,
    files::{Links, PLAIN, attach, clone_of, find, mapped_clone, new_mount},
    holes, image, lent,
    overlay::Overlay,
    places::place,
    scratch::Scratch,
    skeleton,
};
use crate::{
    defences::{Defence, Defences},
    spec::{Bind, Image, Mounts, Root, Spec},
    sys,
};

/// Directories of which one exists on every host; our private view covers it.
const STAGES: [&str; 4] = ["/tmp", "/run", "/mnt", "/var"];
/// The one below which no store, no cache and no source of a bind is.
const AHEAD: [&str; 1] = ["/sys"];
/// Bytes of all skeletons, links and generated files of one job.
const STAGE_SIZE: &str = "16m";
/// Directories of the stage.
const PARTS: [&str; 11] = [
    "s",
    "a",
    "l",
    ROOT,
    "skeleton",
    "etc",
    "empty",
    "dev",
    "proc",
    "sys",
    lent::SECRETS,
];
/// Directory of the stage that shows the root.
pub(super) const ROOT: &str = "root";

/// What of a root does not depend on the job, so that it can be made before there is one.
pub(super) struct Ahead {
    stage: Stage,
    devices: Devices,
    scratch: Scratch,
}

impl Ahead {
    /// Made where nothing that a job needs is covered; `None` where the host has no such place.
    pub(super) fn make(birth: Birth) -> Result<Option<Self>, Problem> {
        AHEAD
            .iter()
            .any(|dir| Path::new(dir).is_dir())
            .then(|| Self::on(&AHEAD, birth))
            .transpose()
    }

    fn on(dirs: &[&str], birth: Birth) -> Result<Self, Problem> {
        let scratch = Scratch::make(birth.id_base)?;
        let stage = Stage::raise(dirs, birth.id_base)?;
        let dir = open(&stage.dir, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let dir = dir.map_err(failed("open the stage"))?;
        let devices = Devices::make(&dir, birth)?;
        Ok(Self {
            stage,
            devices,
            scratch,
        })
    }
}

/// Builds the root and moves into it.
pub(super) fn build(
    spec: &Spec,
    users: BorrowedFd<'_>,
    ahead: Option<Ahead>,
    without: Defences,
) -> Result<(), Problem> {
    let (root, _) = lay_out(spec, users, ahead, without)?;
    if without.has(Defence::OwnRoot) {
        return holes::enter_by_chroot(&root);
    }
    enter(&root)
}

/// Builds the root on the stage, with everything that a job finds in it.
pub(super) fn lay_out(
    spec: &Spec,
    users: BorrowedFd<'_>,
    ahead: Option<Ahead>,
    without: Defences,
) -> Result<(OwnedFd, Stage), Problem> {
    let host_tmp = without.has(Defence::PrivateScratch).then(holes::host_tmp);
    // Without root there is nobody to map owners, and they are those of the job already.
    let users = (!spec.rootless).then_some(users);
    let areas = Areas::open(&spec.root, users)?;
    let binds = open_binds(spec, users)?;
    // Where nothing is there yet, the stage may cover what was opened above.
    let ahead = match ahead {
        Some(ahead) => ahead,
        None => Ahead::on(
            &STAGES,
            Birth {
                id_base: spec.id_base,
                rootless: spec.rootless,
                without,
            },
        )?,
    };
    let stage = ahead.stage;
    stage.fill(spec, areas, &binds)?;
    let root = stage.overlay(spec, &binds, users)?;
    ahead.devices.attach(&root)?;
    match host_tmp {
        Some(host_tmp) => holes::share_tmp(&root, &host_tmp?)?,
        None if spec.scratch => ahead.scratch.attach(&root, spec)?,
        None => {}
    }
    for bind in &binds {
        attach_bind(&root, bind, spec)?;
    }
    lent::attach_all(&root, spec, &stage)?;
    network_files(&root, spec, &stage)?;
    if without.has(Defence::DeadDeviceFiles) {
        holes::wake_device_files(&root)?;
    }
    Ok((root, stage))
}

/// The parts of the host that the overlay is made of, mapped and detached.
struct Areas {
    store: OwnedFd,
    /// Where upper and work are, if that is not the store.
    aside: Option<OwnedFd>,
    /// Upper and work as seen from the stage.
    upper: PathBuf,
    work: PathBuf,
}

impl Areas {
    fn open(root: &Root, users: Option<BorrowedFd<'_>>) -> Result<Self, Problem> {
        private(&root.store)?;
        let store = mapped_clone(&root.store, users, MountAttrFlags::empty())?;
        let (upper, work) = (root.store.join(&root.upper), root.store.join(&root.work));
        let inside = |path: &Path| path.strip_prefix(&root.store).map(Path::to_owned);
        if let (Ok(upper), Ok(work)) = (inside(&upper), inside(&work)) {
            let s = Path::new("s");
            return Ok(Self {
                store,
                aside: None,
                upper: s.join(upper),
                work: s.join(work),
            });
        }
        let common: PathBuf = upper
            .components()
            .zip(work.components())
            .take_while(|(a, b)| a == b)
            .map(|(a, _)| a)
            .collect();
        private(&common)?;
        let aside = mapped_clone(&common, users, MountAttrFlags::empty())?;
        let seen = |path: &Path| Path::new("a").join(path.strip_prefix(&common).unwrap_or(path));
        Ok(Self {
            store,
            aside: Some(aside),
            upper: seen(&upper),
            work: seen(&work),
        })
    }
}

/// Others must not reach what jobs write: a job may leave set-user-id files of root there.
fn private(dir: &Path) -> Result<(), Problem> {
    for part in dir.ancestors() {
        let found = fs::metadata(part)
            .map_err(|error| Problem::Refused(format!("open {}: {error}", part.display())))?;
        if found.is_dir() && found.permissions().mode() & 0o011 == 0 {
            return Ok(());
        }
    }
    let dir = dir.display();
    Err(Problem::Refused(format!(
        "keep {dir} private: other users can enter it and run what jobs leave there; chmod 700 {dir}"
    )))
}

/// A bind whose source was found before the stage could cover it.
struct Opened<'a> {
    target: &'a Path,
    mount: OwnedFd,
    is_dir: bool,
}

fn open_binds<'a>(
    spec: &'a Spec,
    users: Option<BorrowedFd<'_>>,
) -> Result<Vec<Opened<'a>>, Problem> {
    let open = |bind: &'a Bind| {
        let mount = if bind.read_only {
            read_only_clone(&bind.source, users)?
        } else {
            private(&bind.source)?;
            mapped_clone(&bind.source, users, PLAIN)?
        };
        let is_dir = is_dir(&mount).map_err(failed("look at a bind's source"))?;
        let target = bind.target.strip_prefix("/").unwrap_or(&bind.target);
        Ok(Opened {
            target,
            mount,
            is_dir,
        })
    };
    spec.binds.iter().map(open).collect()
}

/// Where the file system cannot map owners (an overlay, a network share), what may only be read
/// is shown with owners that are nobody inside.
fn read_only_clone(path: &Path, users: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Problem> {
    let flags = PLAIN | MountAttrFlags::MOUNT_ATTR_RDONLY;
    mapped_clone(path, users, flags).or_else(|problem| {
        let Ok(mount) = clone_of(CWD, path) else {
            return Err(problem);
        };
        sys::set_mount(&mount, flags.bits().into(), None)
            .map_err(failed(format!("make {} read-only", path.display())))?;
        Ok(mount)
    })
}

fn is_dir(fd: &OwnedFd) -> rustix::io::Result<bool> {
    rustix::fs::fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode).is_dir())
}

/// A small file system of our own over some directory of the host, seen by this job only.
pub(super) struct Stage {
    pub(super) dir: PathBuf,
}

impl Stage {
    /// The stage itself, with the mount points of every job.
    fn raise(dirs: &[&str], id_base: u32) -> Result<Self, Problem> {
        let dir = dirs.iter().map(PathBuf::from).find(|dir| dir.is_dir());
        let dir = dir.ok_or_else(|| Problem::Failed("find a directory to build in".to_owned()))?;
        let tmpfs = new_mount("tmpfs", &[("size", STAGE_SIZE), ("mode", "700")], PLAIN)?;
        let on = open(&dir, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        on.and_then(|on| attach(tmpfs, on))
            .map_err(failed("mount the stage"))?;
        let stage = Self { dir };
        for name in PARTS {
            fs::create_dir(stage.dir.join(name)).map_err(failed("fill the stage"))?;
        }
        skeleton::fixed(&stage.dir.join("skeleton"), id_base)
            .map_err(failed("make the mount points"))?;
        Ok(stage)
    }

    /// What this job's root is made of.
    fn fill(&self, spec: &Spec, areas: Areas, binds: &[Opened<'_>]) -> Result<(), Problem> {
        self.attach("s", areas.store)?;
        if let Some(aside) = areas.aside {
            self.attach("a", aside)?;
        }
        self.link_layers(spec, &areas.upper, &areas.work)?;
        skeleton::own(&self.dir.join("skeleton"), spec, &targets(binds))
            .map_err(failed("make the mount points"))
    }

    pub(super) fn attach(&self, name: &str, mount: OwnedFd) -> Result<(), Problem> {
        open(
            self.dir.join(name),
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .and_then(|on| attach(mount, on))
        .map_err(failed("mount the store"))
    }

    /// Short names, so that hundreds of layers fit into one page of mount options, and so that
    /// no byte of a path is taken for an option.
    fn link_layers(&self, spec: &Spec, upper: &Path, work: &Path) -> Result<(), Problem> {
        let root = &spec.root;
        let links = self.dir.join("l");
        let stage = open(&self.dir, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(failed("open the stage"))?;
        let link = |what: &str, name: String, seen: &Path, path: &Path| {
            must_be_directory(&stage, seen, what, path)?;
            symlink(Path::new("..").join(seen), links.join(name)).map_err(failed("link a layer"))
        };
        for (index, lower) in root.lowers.iter().enumerate() {
            link(
                "layer",
                index.to_string(),
                &Path::new("s").join(lower),
                lower,
            )?;
        }
        link("upper directory", "u".to_owned(), upper, &root.upper)?;
        link("work directory", "w".to_owned(), work, &root.work)?;
        for (index, layered) in spec.layered.iter().enumerate() {
            let own = |what: &str, part: &str, path: &Path| {
                link(
                    what,
                    lent::link_name(index, part),
                    &Path::new("s").join(path),
                    path,
                )
            };
            for (layer, lower) in layered.lowers.iter().enumerate() {
                own("layer", &layer.to_string(), lower)?;
            }
            own("upper directory", "u", &layered.upper)?;
            own("work directory", "w", &layered.work)?;
        }
        Ok(())
    }

    fn overlay(
        &self,
        spec: &Spec,
        binds: &[Opened<'_>],
        users: Option<BorrowedFd<'_>>,
    ) -> Result<OwnedFd, Problem> {
        let on = self.dir.join(ROOT);
        let open_root = || {
            open(&on, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .map_err(failed("open the root"))
        };
        // If the kernel cannot, the layers do; if something else is wrong, it is so with them too.
        // Without root it never can: images are for root of the host to mount.
        if spec.mounts == Mounts::Best
            && let (Some(image), Some(users)) = (&spec.image, users)
            && self.overlay_over(image, spec, binds, users).is_ok()
        {
            return open_root();
        }
        if spec.image.is_some() && users.is_some() {
            // A failed mount has left its mark, with which the next would fail.
            let _ = fs::remove_dir_all(self.dir.join("l/w/work"));
        }
        let lowers = (0..spec.root.lowers.len())
            .rev()
            .map(|index| index.to_string());
        let lowers: Vec<String> = lowers.chain(["../skeleton".to_owned()]).collect();
        self.overlay_on(&lowers, ("u", "w"), &on, !spec.setuid_inside, spec)?;
        open_root()
    }

    /// The root with an image in place of its lowest layers.
    fn overlay_over(
        &self,
        image: &Image,
        spec: &Spec,
        binds: &[Opened<'_>],
        users: BorrowedFd<'_>,
    ) -> Result<(), Problem> {
        let shown = image::show(&self.dir, image, users)?;
        let above = self.dir.join(image::ABOVE);
        fs::create_dir(&above)
            .and_then(|()| skeleton::fixed(&above, spec.id_base))
            .and_then(|()| skeleton::own(&above, spec, &targets(binds)))
            .and_then(|()| image::fit(&above, &shown))
            .map_err(failed("make the mount points"))?;
        let layers = (image.covers..spec.root.lowers.len()).rev();
        let lowers: Vec<String> = layers
            .map(|index| index.to_string())
            .chain([image::ABOVE, image::ON].map(|name| format!("../{name}")))
            .collect();
        let data = Path::new("../s").join(&image.files);
        let overlay = Overlay {
            lowers: &lowers,
            data: data.to_str(),
            upper: "u",
            work: "w",
            nosuid: !spec.setuid_inside,
        };
        overlay.mount(&self.dir.join("l"), &self.dir.join(ROOT), spec)
    }

    /// An overlay of linked layers, the top one first.
    pub(super) fn overlay_on(
        &self,
        lowers: &[String],
        (upper, work): (&str, &str),
        on: &Path,
        nosuid: bool,
        spec: &Spec,
    ) -> Result<(), Problem> {
        let overlay = Overlay {
            lowers,
            data: None,
            upper,
            work,
            nosuid,
        };
        overlay.mount(&self.dir.join("l"), on, spec)
    }
}

fn must_be_directory(base: &OwnedFd, path: &Path, what: &str, name: &Path) -> Result<(), Problem> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match openat2(base, path, flags, Mode::empty(), resolve) {
        Ok(_) => Ok(()),
        Err(error) => Err(Problem::Refused(format!(
            "open {what} {}: {error}",
            name.display()
        ))),
    }
}

fn targets<'a>(binds: &[Opened<'a>]) -> Vec<(&'a Path, bool)> {
    binds
        .iter()
        .map(|bind| (bind.target, bind.is_dir))
        .collect()
}

fn attach_bind(root: &OwnedFd, bind: &Opened<'_>, spec: &Spec) -> Result<(), Problem> {
    let shown = bind.target.display();
    let found = place(root, bind.target, bind.is_dir, Links::Refused, spec)?;
    if is_dir(&found).ok() != Some(bind.is_dir) {
        let what = format!("bind on /{shown}: one is a directory and the other is not");
        return Err(Problem::Refused(what));
    }
    attach(&bind.mount, found).map_err(failed(format!("bind on /{shown}")))
}

/// Names of the machine itself.
fn network_files(root: &OwnedFd, spec: &Spec, stage: &Stage) -> Result<(), Problem> {
    let host = &spec.hostname;
    let hosts = format!("127.0.0.1 localhost {host}\n::1 localhost ip6-localhost\n");
    for (name, text) in [("hostname", format!("{host}\n")), ("hosts", hosts)] {
        let path = stage.dir.join("etc").join(name);
        fs::write(&path, text)
            .and_then(|()| skeleton::give(&path, spec.id_base))
            .map_err(failed(format!("write /etc/{name}")))?;
        // A layer that has a directory or a link to nowhere there keeps it.
        let inside = Path::new("etc").join(name);
        let Ok(target) = find(root, &inside, Links::Refused) else {
            continue;
        };
        let source = clone_of(CWD, &path).map_err(failed("clone a file"))?;
        attach(source, target).map_err(failed(format!("mount /etc/{name}")))?;
    }
    Ok(())
}

/// Makes the root `/` and forgets the host.
pub(super) fn enter(root: &OwnedFd) -> Result<(), Problem> {
    fchdir(root)
        .and_then(|()| pivot_root(".", "."))
        .and_then(|()| unmount(".", UnmountFlags::DETACH))
        .and_then(|()| chdir("/"))
        .map_err(failed("enter the root"))
}
