//! One overlay over linked layers, by the newer mount calls or by the older.
//!
//! The newer take each layer by a call of its own. The older take all of them as one page of
//! options, and know nothing of data-only layers, in which an image has the bytes of its files.
//! Paths are relative to the directory of links, so that none is too long or has a byte that the
//! kernel would take for an option.

use std::{ffi::CString, os::fd::OwnedFd, path::Path};

use rustix::{
    fs::{Mode, OFlags, open},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, fsconfig_create, fsconfig_set_flag,
        fsconfig_set_string, fsmount, fsopen, mount,
    },
    process::chdir,
};

use super::{Problem, failed, files::attach, places::as_job_root};
use crate::spec::{Mounts, Spec};

/// Everything that could make the upper directory depend on something else is off: it holds
/// plain files, 0:0 character devices for what was deleted, and the mark of an opaque directory.
const OPTIONS: [(&str, &str); 4] = [
    ("index", "off"),
    ("metacopy", "off"),
    ("nfs_export", "off"),
    ("xino", "on"),
];
/// Where marks are `trusted.overlay.*`, which is for root of the host alone.
const ROOT: (&str, &str) = ("redirect_dir", "off");
/// Where they are `user.overlay.*`, which the overlay hides from whoever is inside.
const ROOTLESS: (&str, &str) = ("redirect_dir", "nofollow");
const USER_MARKS: &str = "userxattr";
/// Nothing waits for the disk; who keeps the upper directory syncs it.
const VOLATILE: &str = "volatile";
/// What the kernel is heard to say about a mount, bytes.
const SAID_MAX: usize = 512;

/// An overlay to be.
pub(super) struct Overlay<'a> {
    /// The layers, the top one first.
    pub(super) lowers: &'a [String],
    /// Where an image among the layers, the lowest then, has the bytes of its files.
    pub(super) data: Option<&'a str>,
    /// What takes the changes.
    pub(super) upper: &'a str,
    /// The overlay's own work directory.
    pub(super) work: &'a str,
    /// Whether set-user-id programs have no effect.
    pub(super) nosuid: bool,
}

impl Overlay<'_> {
    /// Mounts it on `on`; all its paths are relative to `links`.
    pub(super) fn mount(&self, links: &Path, on: &Path, spec: &Spec) -> Result<(), Problem> {
        chdir(links).map_err(failed("enter the stage"))?;
        let newer = match spec.mounts {
            Mounts::Best | Mounts::Layers => self.newer(spec)?,
            Mounts::OptionPage => None,
        };
        match newer {
            Some(made) => {
                let target = open(on, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
                target
                    .and_then(|target| attach(made, target))
                    .map_err(failed("attach an overlay"))
            }
            None if self.data.is_some() => Err(Problem::Failed(
                "mount an image: the kernel cannot".to_owned(),
            )),
            None => self.older(on, spec),
        }
    }

    /// The overlay, attached nowhere; `None` where the kernel has no such calls.
    fn newer(&self, spec: &Spec) -> Result<Option<OwnedFd>, Problem> {
        let mut said = String::new();
        let made = as_job_root(&self.what(), spec, || {
            let fs = match fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) {
                Err(Errno::NOSYS) => return Ok(None),
                other => other?,
            };
            let made = self.configure(&fs, spec);
            if made.is_err() {
                said = what_it_said(&fs);
            }
            made
        });
        made.map_err(|problem| match problem {
            Problem::Failed(why) => Problem::Failed(why + &said),
            refused => refused,
        })
    }

    fn configure(&self, fs: &OwnedFd, spec: &Spec) -> rustix::io::Result<Option<OwnedFd>> {
        for (index, lower) in self.lowers.iter().enumerate() {
            match fsconfig_set_string(fs, "lowerdir+", lower.as_str()) {
                // Known since 6.8.
                Err(Errno::INVAL) if index == 0 => return Ok(None),
                other => other?,
            }
        }
        if let Some(data) = self.data {
            fsconfig_set_string(fs, "datadir+", data)?;
        }
        fsconfig_set_string(fs, "upperdir", self.upper)?;
        fsconfig_set_string(fs, "workdir", self.work)?;
        for (key, value) in OPTIONS.into_iter().chain([redirects(spec)]) {
            fsconfig_set_string(fs, key, value)?;
        }
        if spec.rootless {
            fsconfig_set_flag(fs, USER_MARKS)?;
        }
        fsconfig_set_flag(fs, VOLATILE)?;
        fsconfig_create(fs)?;
        let nosuid = if self.nosuid {
            MountAttrFlags::MOUNT_ATTR_NOSUID
        } else {
            MountAttrFlags::empty()
        };
        let flags = nosuid | MountAttrFlags::MOUNT_ATTR_NODEV;
        fsmount(fs, FsMountFlags::FSMOUNT_CLOEXEC, flags).map(Some)
    }

    fn older(&self, on: &Path, spec: &Spec) -> Result<(), Problem> {
        let mut options = format!(
            "lowerdir={},upperdir={},workdir={},{VOLATILE}",
            self.lowers.join(":"),
            self.upper,
            self.work
        );
        for (key, value) in OPTIONS.into_iter().chain([redirects(spec)]) {
            options.push_str(&format!(",{key}={value}"));
        }
        if spec.rootless {
            options.push_str(&format!(",{USER_MARKS}"));
        }
        let options = CString::new(options).map_err(failed("name the layers"))?;
        let nosuid = if self.nosuid {
            MountFlags::NOSUID
        } else {
            MountFlags::empty()
        };
        let flags = nosuid | MountFlags::NODEV;
        as_job_root(&self.what(), spec, || {
            mount("overlay", on, "overlay", flags, &*options)
        })
    }

    fn what(&self) -> String {
        format!("mount {} layers as overlay", self.lowers.len())
    }
}

fn redirects(spec: &Spec) -> (&'static str, &'static str) {
    if spec.rootless { ROOTLESS } else { ROOT }
}

/// The kernel's own words about a mount that failed, if it has any.
fn what_it_said(fs: &OwnedFd) -> String {
    let mut words = [0; SAID_MAX];
    match rustix::io::read(fs, &mut words) {
        Ok(count) => format!(" ({})", String::from_utf8_lossy(&words[..count]).trim()),
        Err(_) => String::new(),
    }
}
