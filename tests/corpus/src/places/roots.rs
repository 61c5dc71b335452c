//! Roots that a hostile layer has prepared: what the job will be mounted on is a link out of the root.
//! Whoever makes mount points by path follows it, as root of the host.

use std::{
    fs,
    io::Read as _,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};

use caravan_sandbox::{Launcher, Sandbox as _};

use super::{Place, bubblewrap, bundle, id_of, output, spec};
use crate::{
    Failure,
    attempt::Verdict,
    host::{Host, STORE},
};

/// What must stay empty on the host.
const TRAP: &str = "/canary/trap";

/// One prepared root.
pub struct Prepared {
    /// Its name.
    pub id: &'static str,
    /// What it re-creates.
    pub source: &'static str,
    /// What is a link, for people.
    pub what: &'static str,
    link: &'static str,
    to: &'static str,
}

#[rustfmt::skip]
const fn prepared(id: &'static str, source: &'static str, what: &'static str, link: &'static str, to: &'static str) -> Prepared {
    Prepared { id, source, what, link, to }
}

/// All of them.
#[rustfmt::skip]
pub const ROOTS: &[Prepared] = &[
    prepared("root.proc", "runc CVE-2019-19921, CVE-2023-27561", "/proc is a link to a directory of the host", "proc", TRAP),
    prepared("root.sys", "runc CVE-2023-27561 class", "/sys is a link to a directory of the host", "sys", TRAP),
    prepared("root.dev", "runc CVE-2025-31133, CVE-2025-52565", "/dev is a link to a directory of the host", "dev", TRAP),
    prepared("root.tmp", "runc CVE-2021-30465", "/tmp is a link to a directory of the host", "tmp", TRAP),
    prepared("root.var-tmp", "runc CVE-2021-30465 class", "/var/tmp is a link to a directory of the host", "var/tmp", TRAP),
    prepared("root.run", "runc CVE-2021-30465 class", "/run is a link to a directory of the host", "run", TRAP),
    prepared("root.bind", "BuildKit CVE-2024-23652, runc CVE-2021-30465", "the place of an input is below a link to the host", "mnt", TRAP),
    prepared("root.etc", "docker CVE-2018-15664 class", "/etc, where names are written, is a link to the host", "etc", TRAP),
    prepared("root.workdir", "runc CVE-2024-21626 class", "the working directory is below a link to the host", "work", TRAP),
    prepared("root.dotdot", "runc CVE-2019-14271 class", "the place of an input is a link that climbs out by `..`", "mnt", "../../../../../../../../canary/trap"),
    prepared("root.hosts", "docker CVE-2018-15664 class", "/etc/hosts is a link to a file of the host", "etc/hosts", "/canary/trap/hosts"),
    prepared("root.proc-link", "magic links of /proc", "/mnt is a link through the driver's own root in /proc", "mnt", "/proc/self/root/canary/trap"),
];

/// Starts a job over each prepared root, and looks at the host.
///
/// # Errors
/// If nothing could be tried.
pub fn run(_: &Host, place: Place) -> Result<Vec<(String, Verdict)>, Failure> {
    let launcher = place.left_out().map(Launcher::spawn_without).transpose()?;
    let mut found = Vec::new();
    for root in ROOTS {
        let _ = fs::remove_dir_all(TRAP);
        fs::create_dir(TRAP)?;
        let how = match &launcher {
            Some(launcher) => over_layers(launcher, root)?,
            None => over_copy(place, root)?,
        };
        let caught: Vec<String> = fs::read_dir(TRAP)?
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        let verdict = match caught.is_empty() {
            true => Verdict::Stopped(how),
            false => Verdict::Through(format!("on the host there is now {}", caught.join(", "))),
        };
        found.push((root.id.to_owned(), verdict));
    }
    Ok(found)
}

/// Makes the link in a directory that already has the usual ones.
fn put_link(dir: &Path, root: &Prepared) -> Result<(), Failure> {
    let at = dir.join(root.link);
    if at.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        fs::remove_dir_all(&at)?;
    }
    if let Some(parent) = at.parent() {
        fs::create_dir_all(parent)?;
    }
    Ok(symlink(root.to, at)?)
}

fn over_layers(launcher: &Launcher, root: &Prepared) -> Result<String, Failure> {
    let layer = Path::new(STORE).join("hostile");
    let _ = fs::remove_dir_all(&layer);
    fs::create_dir(&layer)?;
    put_link(&layer, root)?;
    let mut job = spec("prepared", &["/bin/attempts", "whoami", "-"])?;
    job.root.lowers.push("hostile".into());
    job.cwd = "/work/below".into();
    match launcher.start(&job) {
        Err(error) => Ok(format!("refused: {error}")),
        Ok(mut running) => {
            output(&mut running)?.read_to_end(&mut Vec::new())?;
            running.wait()?;
            Ok("it ran, and nothing is outside".to_owned())
        }
    }
}

fn over_copy(place: Place, root: &Prepared) -> Result<String, Failure> {
    let copy = super::copy_of_base("prepared")?;
    put_link(&copy, root)?;
    let argv = ["/bin/attempts", "whoami", "-"];
    let dir = Path::new(STORE).join("prepared.bundle");
    let mut command = match place {
        Place::Runc | Place::RuncHost => {
            bundle::write(&dir, &copy, &argv, place == Place::RuncHost)?;
            let mut command = Command::new("runc");
            command
                .args(["run", "--bundle"])
                .arg(&dir)
                .arg(id_of("prepared"));
            command
        }
        Place::Bubblewrap => bubblewrap(&copy, &argv),
        _ => return by_path(&copy),
    };
    let done = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    Ok(format!(
        "{} {}",
        done.status,
        said.lines().last().unwrap_or_default()
    ))
}

/// What a script round `chroot` does: mount points and names of the machine, by path.
fn by_path(root: &Path) -> Result<String, Failure> {
    for dir in [
        "proc/self",
        "sys/fs",
        "dev/shm",
        "tmp/step",
        "var/tmp/step",
        "run/lock",
        "mnt/bind",
        "work/below",
    ] {
        let _ = fs::create_dir_all(root.join(dir));
    }
    let _ = fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n");
    Ok("nothing is outside".to_owned())
}
