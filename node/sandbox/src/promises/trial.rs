//! A trial at the start: one job, really mounted and really run, in a few milliseconds.
//!
//! What the host's files say and what it does are two things: a store on a file system that cannot map
//! owners, a container that refuses a mount, a filter that stops a call. The program of the job is
//! made here, a dozen instructions, so that no base is needed and nothing of the host is run inside.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use crate::{
    probe::Missing,
    sandbox::{Sandbox, Status},
    spec::{Limits, Root, Spec},
};

/// What the program ends with.
const CODE: u8 = 42;
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
    let tried = attempt(sandbox, dir).map_err(|what| Missing::Trial {
        what,
        dir: dir.to_owned(),
    });
    let removed = remove(dir);
    tried?;
    removed.map_err(|error| Missing::Trial {
        what: format!("it left what cannot be removed: {error}"),
        dir: dir.to_owned(),
    })
}

fn attempt(sandbox: &dyn Sandbox, dir: &Path) -> Result<(), String> {
    let Some(program) = program() else {
        return Err(format!("there is no trial for {}", std::env::consts::ARCH));
    };
    let laid = lay_out(dir, &program).map_err(|error| format!("lay it out: {error}"));
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

/// Ends with [`CODE`]: the number of `exit` and its argument, and the call.
fn instructions() -> Option<(u16, Vec<u8>)> {
    let words = |words: [u32; 3]| words.map(u32::to_le_bytes).concat();
    match std::env::consts::ARCH {
        "x86_64" => {
            let code = [0xb8, 60, 0, 0, 0, 0xbf, CODE, 0, 0, 0, 0x0f, 0x05];
            Some((62, code.to_vec()))
        }
        "aarch64" => {
            let argument = 0xd280_0000 | u32::from(CODE) << 5;
            Some((183, words([argument, 0xd280_0ba8, 0xd400_0001])))
        }
        "riscv64" => {
            let argument = 0x0000_0513 | u32::from(CODE) << 20;
            Some((243, words([argument, 0x05d0_0893, 0x0000_0073])))
        }
        _ => None,
    }
}

/// A whole program for this processor: the two headers that the kernel reads, and the instructions.
fn program() -> Option<Vec<u8>> {
    const START: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let (machine, code) = instructions()?;
    let size = HEADERS + code.len() as u64;
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half = |bytes: &mut Vec<u8>, value: u16| bytes.extend(value.to_le_bytes());
    let word = |bytes: &mut Vec<u8>, value: u32| bytes.extend(value.to_le_bytes());
    let long = |bytes: &mut Vec<u8>, value: u64| bytes.extend(value.to_le_bytes());
    // An executable file, for this machine, of the one version.
    half(&mut bytes, 2);
    half(&mut bytes, machine);
    word(&mut bytes, 1);
    // Where it starts; where the second header is; no table of sections; no flags.
    long(&mut bytes, START + HEADERS);
    long(&mut bytes, 64);
    long(&mut bytes, 0);
    word(&mut bytes, 0);
    // The headers' sizes, and that there is one of the second kind.
    for value in [64, 56, 1, 64, 0, 0] {
        half(&mut bytes, value);
    }
    // To be loaded, readable and executable: all of the file.
    word(&mut bytes, 1);
    word(&mut bytes, 5);
    for value in [0, START, START, size, size, 0x1000] {
        long(&mut bytes, value);
    }
    bytes.extend(code);
    Some(bytes)
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
    fn the_program_runs_on_this_machine() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("try");
        fs::write(&path, program().unwrap()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let status = std::process::Command::new(path).status().unwrap();
        assert_eq!(status.code(), Some(CODE.into()));
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
