//! A trial at the start: one job, really mounted and really run, in a few milliseconds.
//!
//! What the host's files say and what it does are two things: a store on a file system that cannot map
//! owners, a container that refuses a mount, a filter that stops a call. The program of the job is
//! made of a dozen instructions, so that no base is needed and nothing of the host is run inside.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use crate::{
    machine::{CODE, Machine},
    probe::Missing,
    sandbox::{Sandbox, Status},
    spec::{Limits, Root, Spec},
};

/// The directory that the job's init makes through the overlay.
const MADE: &str = "made";
/// Time that the job may take.
const WALL_MS: u64 = 60_000;
/// Memory that it may take: more than any runtime needs to start it.
const MEMORY_BYTES: u64 = 256 << 20;

/// Runs the job in a directory that is to be like the store's: on its file system, and private. The
/// directory is made for it and removed, also if an earlier trial was interrupted.
///
/// # Errors
/// [`Missing::Trial`] with what went wrong.
pub fn trial(sandbox: &dyn Sandbox, dir: &Path) -> Result<(), Missing> {
    let program = Machine::here().map(Machine::program);
    let program =
        program.ok_or_else(|| format!("there is no trial for {}", std::env::consts::ARCH));
    let tried = program.and_then(|program| trial_of(sandbox, dir, &program));
    tried.map_err(|what| Missing::Trial {
        what,
        dir: dir.to_owned(),
    })
}

/// The same with any program that is to end with [`CODE`]; what went wrong, in words.
pub(crate) fn trial_of(sandbox: &dyn Sandbox, dir: &Path, program: &[u8]) -> Result<(), String> {
    let tried = attempt(sandbox, dir, program);
    let removed = remove(dir);
    tried?;
    removed.map_err(|error| format!("it left what cannot be removed: {error}"))
}

fn attempt(sandbox: &dyn Sandbox, dir: &Path, program: &[u8]) -> Result<(), String> {
    let laid = lay_out(dir, program).map_err(|error| format!("lay it out: {error}"));
    let root = laid?;
    let name = "trial".parse().map_err(|_| "it has no name")?;
    let mut spec = Spec::new(name, root, vec!["/try".to_owned()]);
    spec.cwd = Path::new("/").join(MADE);
    spec.limits = Limits {
        wall_ms: WALL_MS,
        memory_bytes: MEMORY_BYTES,
        ..Limits::default()
    };
    let mut running = sandbox.start(&spec).map_err(|error| told(&error))?;
    drop(running.take_gate());
    let exit = running.wait().map_err(|error| told(&error))?;
    if exit.status != Status::Code(CODE.into()) || exit.limit.is_some() {
        return Err(format!("it ended with {:?} {:?}", exit.status, exit.limit));
    }
    let made = dir.join("upper").join(MADE);
    let owner = fs::symlink_metadata(&made).map(|found| found.uid());
    match owner {
        Ok(0) => Ok(()),
        Ok(other) => Err(format!("what its root makes belongs to user {other}")),
        Err(error) => Err(format!("what it made is not there: {error}")),
    }
}

fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn lay_out(dir: &Path, program: &[u8]) -> io::Result<Root> {
    remove(dir)?;
    fs::create_dir(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    for part in ["base", "upper", "work"] {
        fs::create_dir(dir.join(part))?;
        // What jobs know as root, which is not this process where that is an ordinary user's.
        std::os::unix::fs::chown(dir.join(part), Some(0), Some(0))?;
        fs::set_permissions(dir.join(part), fs::Permissions::from_mode(0o755))?;
    }
    let file = dir.join("base/try");
    fs::write(&file, program)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    Ok(Root {
        store: dir.to_owned(),
        lowers: vec!["base".into()],
        upper: "upper".into(),
        work: "work".into(),
    })
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{End, FakeSandbox, Script};

    fn fake(end: End) -> FakeSandbox {
        let fake = FakeSandbox::default();
        let output = Vec::new();
        fake.expect("trial".parse().unwrap(), Script { output, end });
        fake
    }

    fn refused(end: End) -> String {
        let dir = tempfile::tempdir().unwrap();
        let trial_dir = dir.path().join("trial");
        let told = trial(&fake(end), &trial_dir).unwrap_err().to_string();
        assert!(!trial_dir.exists());
        told
    }

    #[test]
    fn a_trial_that_goes_wrong_says_how() {
        let told = refused(End::Setup("mount an overlay: Invalid argument".to_owned()));
        assert!(
            told.contains("mount an overlay: Invalid argument"),
            "{told}"
        );
        let told = refused(End::At(Status::Code(0)));
        assert!(told.contains("Code(0)"), "{told}");
        // It says that it has run and nothing has come of it.
        let told = refused(End::At(Status::Code(CODE.into())));
        assert!(told.contains("is not there"), "{told}");
    }

    #[test]
    fn what_an_interrupted_trial_left_is_in_nobody_s_way() {
        let dir = tempfile::tempdir().unwrap();
        let trial_dir = dir.path().join("trial");
        fs::create_dir_all(trial_dir.join("upper/made/more")).unwrap();
        let told = trial(&fake(End::At(Status::Signal(9))), &trial_dir).unwrap_err();
        assert!(told.to_string().contains("Signal(9)"), "{told}");
        assert!(!trial_dir.exists());
    }
}
