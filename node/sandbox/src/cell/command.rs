//! The last steps before the command's own program, in a child of init.
//!
//! What fails here is the command's fault (no such program), so it is told on the command's own
//! output and ends with the codes that a shell uses.

use std::{
    ffi::CString,
    io::{self, Write as _},
    os::fd::AsFd,
    path::Path,
};

use rustix::{
    fs::{Mode, mkdir},
    process::chdir,
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

use super::{Bounds, Standard, privileges};
use crate::{defences::Defence, spec::Spec, sys};

/// The command was found but would not start.
pub(super) const EXIT_NOT_STARTED: i32 = 126;
/// There is no such command.
pub(super) const EXIT_NOT_FOUND: i32 = 127;

/// Makes a missing working directory, as root of the job. What stops it (a file in the way)
/// is told when the command cannot enter it.
pub(super) fn make_cwd(spec: &Spec) {
    let mut ancestors: Vec<&Path> = spec.cwd.ancestors().collect();
    ancestors.reverse();
    for dir in ancestors {
        let _ = mkdir(dir, Mode::from_raw_mode(0o755));
    }
}

/// Becomes the command. Returns an exit code only if that fails.
pub(super) fn run(spec: &Spec, standard: &Standard, bounds: Bounds) -> i32 {
    if let Err(error) = become_user(spec, standard, bounds) {
        return complain("prepare the command", &error, EXIT_NOT_STARTED);
    }
    if let Err(error) = chdir(&spec.cwd) {
        let what = format!("enter the working directory {}", spec.cwd.display());
        return complain(&what, &error.into(), EXIT_NOT_STARTED);
    }
    let Ok((argv, env)) = strings(spec) else {
        return complain(
            "pass the command",
            &io::ErrorKind::InvalidInput.into(),
            EXIT_NOT_STARTED,
        );
    };
    let error = execute(spec, &argv, &env);
    let missing = error.kind() == io::ErrorKind::NotFound;
    let code = if missing {
        EXIT_NOT_FOUND
    } else {
        EXIT_NOT_STARTED
    };
    complain(&format!("run {}", spec.argv[0]), &error, code)
}

fn become_user(spec: &Spec, standard: &Standard, bounds: Bounds) -> io::Result<()> {
    dup2_stdin(standard.input.as_fd())?;
    dup2_stdout(standard.output.as_fd())?;
    dup2_stderr(standard.output.as_fd())?;
    if !bounds.without.has(Defence::ClosedDescriptors) {
        sys::close_all_but(&[])?;
    }
    sys::reset_signals();
    rustix::process::setsid()?;
    privileges::bound_process(&spec.limits, bounds)?;
    let (uid, gid) = (
        rustix::fs::Uid::from_raw(spec.uid),
        rustix::fs::Gid::from_raw(spec.gid),
    );
    set_thread_groups(&[gid])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

type Strings = Vec<CString>;

fn strings(spec: &Spec) -> Result<(Strings, Strings), std::ffi::NulError> {
    let argv = spec.argv.iter().map(|arg| CString::new(arg.as_str()));
    let env = spec
        .env
        .iter()
        .map(|(name, value)| CString::new(format!("{name}={value}")));
    Ok((
        argv.collect::<Result<_, _>>()?,
        env.collect::<Result<_, _>>()?,
    ))
}

/// As a shell looks for programs: the first that starts; a refusal weighs more than an absence.
fn execute(spec: &Spec, argv: &[CString], env: &[CString]) -> io::Error {
    let name = &spec.argv[0];
    if name.contains('/') {
        return sys::execute(&argv[0], argv, env);
    }
    let path = spec
        .env
        .iter()
        .find(|(key, _)| key == "PATH")
        .map_or("", |(_, value)| value);
    let mut worst = io::Error::from_raw_os_error(libc::ENOENT);
    for dir in path.split(':').filter(|dir| !dir.is_empty()) {
        let Ok(program) = CString::new(format!("{dir}/{name}")) else {
            continue;
        };
        let error = sys::execute(&program, argv, env);
        if !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) {
            worst = error;
        }
    }
    worst
}

/// Says why on the command's own output; the code is what it ends with.
pub(super) fn complain(what: &str, error: &io::Error, code: i32) -> i32 {
    // The reader of the output may be gone; the code still tells.
    let _ = writeln!(io::stderr(), "caravan: failed to {what}: {error}");
    code
}
