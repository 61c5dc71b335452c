//! What a job is lent: directories that are overlays of their own, and files with secrets.
//!
//! Secrets are written into a file system in memory that only this job has, never onto the stage's
//! tmpfs, whose pages may be swapped out. Each shows as one read-only file of the job's user.

use std::{
    fs,
    os::{
        fd::OwnedFd,
        unix::fs::{PermissionsExt, chown},
    },
    path::Path,
};

use rustix::{
    fs::{CWD, FileType},
    mount::MountAttrFlags,
};

use super::{
    Problem, failed,
    files::{Links, PLAIN, attach, clone_of, new_mount},
    places::place,
    root::Stage,
};
use crate::{
    spec::{Layered, Spec},
    sys,
};

/// Directory of the stage that holds the secrets.
pub(super) const SECRETS: &str = "x";

/// The names of the links that a layered directory's overlay is made of.
pub(super) fn link_name(index: usize, part: impl std::fmt::Display) -> String {
    format!("c{index}-{part}")
}

/// Mounts all of it onto the root.
pub(super) fn attach_all(root: &OwnedFd, spec: &Spec, stage: &Stage) -> Result<(), Problem> {
    for (index, layered) in spec.layered.iter().enumerate() {
        attach_layered(root, spec, stage, index, layered)?;
    }
    attach_secrets(root, spec, stage)
}

fn attach_layered(
    root: &OwnedFd,
    spec: &Spec,
    stage: &Stage,
    index: usize,
    layered: &Layered,
) -> Result<(), Problem> {
    let lowers = (0..layered.lowers.len()).rev();
    let mut lowers: Vec<String> = lowers.map(|layer| link_name(index, layer)).collect();
    if lowers.is_empty() {
        // The kernel wants one.
        lowers.push("../empty".to_owned());
    }
    let (upper, work) = (link_name(index, "u"), link_name(index, "w"));
    let on = stage.dir.join(link_name(index, "on"));
    fs::create_dir(&on).map_err(failed("make a mount point"))?;
    stage.overlay_on(&lowers, (&upper, &work), &on, true, spec)?;
    let mounted = clone_of(CWD, &on).map_err(failed("clone an overlay"))?;
    let target = layered.target.strip_prefix("/").unwrap_or(&layered.target);
    put(root, &mounted, target, true, spec)
}

/// Attaches a mount where the job shall find it.
fn put(
    root: &OwnedFd,
    mount: &OwnedFd,
    target: &Path,
    is_dir: bool,
    spec: &Spec,
) -> Result<(), Problem> {
    let found = place(root, target, is_dir, Links::Inside, spec)?;
    let shown = target.display();
    let kind = rustix::fs::fstat(&found).map(|stat| FileType::from_raw_mode(stat.st_mode));
    if kind.map(|kind| kind.is_dir()) != Ok(is_dir) {
        let what = format!("mount on /{shown}: one is a directory and the other is not");
        return Err(Problem::Refused(what));
    }
    attach(mount, found).map_err(failed(format!("mount on /{shown}")))
}

fn attach_secrets(root: &OwnedFd, spec: &Spec, stage: &Stage) -> Result<(), Problem> {
    if spec.secrets.is_empty() {
        return Ok(());
    }
    // As a tmpfs, but its pages never leave the memory.
    let memory = new_mount("ramfs", &[("mode", "700")], PLAIN)?;
    stage.attach(SECRETS, memory)?;
    let (uid, gid) = (spec.id_base + spec.uid, spec.id_base + spec.gid);
    for (index, secret) in spec.secrets.iter().enumerate() {
        let target = secret.target.strip_prefix("/").unwrap_or(&secret.target);
        let file = stage.dir.join(SECRETS).join(index.to_string());
        fs::write(&file, secret.value.as_bytes())
            .and_then(|()| fs::set_permissions(&file, fs::Permissions::from_mode(0o400)))
            .and_then(|()| chown(&file, Some(uid), Some(gid)))
            .map_err(failed(format!(
                "write the secret for /{}",
                target.display()
            )))?;
        let mount = clone_of(CWD, &file).map_err(failed("clone a secret"))?;
        let flags = PLAIN
            .union(MountAttrFlags::MOUNT_ATTR_NOEXEC)
            .union(MountAttrFlags::MOUNT_ATTR_RDONLY);
        sys::set_mount(&mount, flags.bits().into(), None)
            .map_err(failed("make a secret read-only"))?;
        put(root, &mount, target, false, spec)?;
    }
    Ok(())
}
