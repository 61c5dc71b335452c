//! How init has an OCI runtime start the command of its job.
//!
//! Init builds the root as always but stays outside of it, as root of the host in mounts of its own,
//! and calls the runtime twice: once to make the container, whose first process waits, and once to
//! let it go. No process of the runtime is left when the command runs; the command is init's child
//! then, because whoever made it has ended.

use std::{
    fmt, fs,
    io::{self, Read as _},
    os::{
        fd::{AsFd as _, AsRawFd, OwnedFd},
        unix::{fs::PermissionsExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Access, FileType, Gid, Mode, OFlags, Uid, access, open},
    io::Errno,
    process::{Pid, PidfdFlags, chdir, chroot, fchdir, pidfd_open},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};
use serde::Deserialize;

use super::{
    Problem, Seed, command, failed,
    files::{Links, PLAIN, attach, find, new_mount},
    places::place,
    privileges, root,
};
use crate::{
    limits::RUNTIME_LOG_MAX,
    oci::{
        Dialect, Program,
        bundle::{Bundle, CONTAINER, Dirs},
        groups,
    },
    spec::Spec,
    sys,
    wire::{self, Request, Word},
};

/// How long a runtime may take to make a container, and to let its command go.
const RUNTIME_START: Timespec = Timespec {
    tv_sec: 60,
    tv_nsec: 0,
};

/// Builds the root, makes the container and starts the command.
pub(super) fn begin(
    seed: &Seed<'_>,
    program: &Program,
    output: &OwnedFd,
    mut request: Request,
) -> Result<Pid, Problem> {
    // Its own tools are to be bound too.
    super::await_limits(seed)?;
    // Before the stage covers the directory that it may be in.
    let executable = open(&program.path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed(format!("open {}", program.path.display())))?;
    let (root, stage) = root::lay_out(&request.spec, seed.users, None, seed.guards.without)?;
    // They are where the job finds them, and in no memory that comes from here.
    request.spec.secrets.clear();
    let spec = &request.spec;
    make_cwd(&root, spec);
    // Making files as root of the job undid both.
    super::die_with_supervisor()?;
    super::hide()?;
    refuse_proc(&root, spec)?;
    let nowhere = new_mount("tmpfs", &[("size", "4k"), ("mode", "700")], PLAIN)?;
    // Where the command cannot start, runtimes say so in words of their own and end in other ways.
    let rehearsal = sys::fork(|| rehearse(seed, &root, spec, None)).map_err(failed("fork"))?;
    let (status, _) = sys::wait(rehearsal).map_err(failed("wait for a rehearsal"))?;
    let container = if status == 0 {
        let tool = Tool::prepare(seed, (program, executable), spec, &stage)?;
        let input = open_null(&root)?;
        Some((tool.create(input, output)?, tool))
    } else {
        None
    };
    let pid = match &container {
        Some((pid, tool)) => {
            tool.start()?;
            *pid
        }
        None => {
            let tell = || rehearse(seed, &root, spec, Some(output));
            sys::fork(tell).map_err(failed("fork"))?
        }
    };
    // Its mounts are seen in /proc/1.
    forget_host(&nowhere, &stage)?;
    wire::send(&mut &*seed.socket, &Word::Running).map_err(failed("report"))?;
    Ok(pid)
}

/// Leaves init an empty root: those of the command are others.
fn forget_host(nowhere: &OwnedFd, stage: &root::Stage) -> Result<(), Problem> {
    open(&stage.dir, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .and_then(|on| attach(nowhere, on))
        .map_err(failed("mount an empty root"))?;
    root::enter(nowhere)
}

/// A runtime changes to the working directory with descriptors of the host open, which have names in
/// `/proc`. Links that only a process can follow are left to the rehearsal, which has none of them.
fn refuse_proc(root: &OwnedFd, spec: &Spec) -> Result<(), Problem> {
    let inside = spec.cwd.strip_prefix("/").unwrap_or(&spec.cwd);
    let found = match inside == Path::new("") {
        true => return Ok(()),
        false => find(root, inside, Links::Inside),
    };
    let is_proc = |found: OwnedFd| {
        rustix::fs::fstatfs(found).is_ok_and(|at| at.f_type == rustix::fs::PROC_SUPER_MAGIC)
    };
    if inside.starts_with("proc") || found.is_ok_and(is_proc) {
        let what = format!(
            "enter the working directory {}: it is in /proc, where no command of an OCI runtime may begin",
            spec.cwd.display()
        );
        return Err(Problem::Refused(what));
    }
    Ok(())
}

/// Makes a missing working directory as root of the job, as the launcher does. What stops it is told
/// when the command cannot enter it.
fn make_cwd(root: &OwnedFd, spec: &Spec) {
    let inside = spec.cwd.strip_prefix("/").unwrap_or(&spec.cwd);
    if inside != Path::new("") {
        let _ = place(root, inside, true, Links::Inside, spec);
    }
}

/// Goes the way of the command up to its own program, as its user, in a child of init: nothing of
/// the job runs. Gives 0 if all is well, or else the code that the launcher's commands end with, and
/// says why on the output, if there is one.
fn rehearse(seed: &Seed<'_>, root: &OwnedFd, spec: &Spec, output: Option<&OwnedFd>) -> i32 {
    let tell = |what: &str, error: io::Error, code: i32| match output {
        Some(output) if rustix::stdio::dup2_stderr(output).is_ok() => {
            command::complain(what, &error, code)
        }
        _ => code,
    };
    if let Err(problem) = become_user(seed, root, spec) {
        let error = io::Error::other(problem.to_string());
        return tell("prepare the command", error, command::EXIT_NOT_STARTED);
    }
    // Nothing of the host must be a way to the working directory.
    let keep: Vec<_> = output.iter().map(|output| output.as_fd()).collect();
    if let Err(error) = sys::close_all_but(&keep) {
        return tell("close what is open", error, command::EXIT_NOT_STARTED);
    }
    if let Err(error) = chdir(&spec.cwd) {
        let what = format!("enter the working directory {}", spec.cwd.display());
        return tell(&what, error.into(), command::EXIT_NOT_STARTED);
    }
    match find_program(spec) {
        Ok(()) => 0,
        Err(error) => {
            let code = match error {
                Errno::NOENT => command::EXIT_NOT_FOUND,
                _ => command::EXIT_NOT_STARTED,
            };
            tell(&format!("run {}", spec.argv[0]), error.into(), code)
        }
    }
}

fn become_user(seed: &Seed<'_>, root: &OwnedFd, spec: &Spec) -> Result<(), Problem> {
    fchdir(root)
        .and_then(|()| chroot("."))
        .map_err(failed("enter the root"))?;
    privileges::enter(seed.users)?;
    let (uid, gid) = (Uid::from_raw(spec.uid), Gid::from_raw(spec.gid));
    set_thread_groups(&[gid])
        .and_then(|()| set_thread_res_gid(gid, gid, gid))
        .and_then(|()| set_thread_res_uid(uid, uid, uid))
        .map_err(failed("change the user"))
}

/// As a shell looks for programs: the first that may be started; a refusal weighs more than an
/// absence.
fn find_program(spec: &Spec) -> Result<(), Errno> {
    let name = Path::new(&spec.argv[0]);
    let path = spec.env.iter().find(|(key, _)| key == "PATH");
    let path = path.map_or("", |(_, value)| value);
    let dirs = path.split(':').filter(|dir| !dir.is_empty());
    let candidates: Vec<PathBuf> = if spec.argv[0].contains('/') {
        vec![name.to_owned()]
    } else {
        dirs.map(|dir| Path::new(dir).join(name)).collect()
    };
    let mut worst = Errno::NOENT;
    for candidate in candidates {
        let kind = rustix::fs::stat(&candidate).map(|stat| FileType::from_raw_mode(stat.st_mode));
        match kind.and_then(|kind| access(&candidate, Access::EXEC_OK).map(|()| kind)) {
            Ok(kind) if kind.is_file() => return Ok(()),
            Ok(_) => worst = Errno::ACCESS,
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(error) => worst = error,
        }
    }
    Err(worst)
}

/// The job's own, so that nothing of the host's `/dev` is open inside.
fn open_null(root: &OwnedFd) -> Result<OwnedFd, Problem> {
    let null = find(root, Path::new("dev/null"), Links::Refused)
        .map_err(failed("find /dev/null in the root"))?;
    let path = format!("/proc/self/fd/{}", null.as_raw_fd());
    open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("open /dev/null inside"))
}

fn ends_in_time(child: &Child) -> io::Result<bool> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
    let fd = pidfd_open(pid, PidfdFlags::empty())?;
    loop {
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&RUNTIME_START)) {
            Err(Errno::INTR) => {}
            done => return Ok(done? > 0),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Refused(what) | Self::Failed(what)) = self;
        f.write_str(what)
    }
}

/// A runtime with a bundle to work on.
struct Tool<'a> {
    program: &'a Program,
    executable: OwnedFd,
    dirs: Dirs,
}

impl<'a> Tool<'a> {
    fn prepare(
        seed: &Seed<'_>,
        (program, executable): (&'a Program, OwnedFd),
        spec: &Spec,
        stage: &root::Stage,
    ) -> Result<Self, Problem> {
        // Root of the job has no name for its owner, and must pass to find its root.
        let pass = fs::Permissions::from_mode(0o711);
        fs::set_permissions(&stage.dir, pass).map_err(failed("open the stage"))?;
        // The runtime looks up its own processes; the host's numbers mean others.
        let proc = new_mount("proc", &[], PLAIN)?;
        open("/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .and_then(|on| attach(proc, on))
            .map_err(failed("mount /proc"))?;
        groups::show_little().map_err(failed(format!(
            "show {} its control groups",
            program.name()
        )))?;
        let dirs = Dirs::make(&stage.dir).map_err(failed("make a bundle"))?;
        let bundle = Bundle {
            program,
            spec,
            root: &stage.dir.join(root::ROOT),
            group: seed.group,
            unguarded: seed.unguarded,
        };
        bundle
            .write(&dirs.bundle)
            .map_err(failed("write a bundle"))?;
        Ok(Self {
            program,
            executable,
            dirs,
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(format!("/proc/self/fd/{}", self.executable.as_raw_fd()));
        command
            .arg0(self.program.name())
            .env_clear()
            // Each of its threads counts among the job's.
            .env("GOMAXPROCS", "2")
            .current_dir("/")
            .arg("--root")
            .arg(&self.dirs.state)
            .arg("--log")
            .arg(&self.dirs.log)
            .args(["--log-format", "json"]);
        if self.program.dialect == Dialect::Crun {
            command.arg("--cgroup-manager=disabled");
        }
        command
    }

    /// Makes the container; its first process waits and has the job's output.
    fn create(&self, input: OwnedFd, output: &OwnedFd) -> Result<Pid, Problem> {
        let copy = || output.try_clone().map(Stdio::from);
        let copies = copy().and_then(|one| Ok((one, copy()?)));
        let (out, err) = copies.map_err(failed("duplicate the output"))?;
        let mut command = self.command();
        command
            .arg("create")
            .arg("--bundle")
            .arg(&self.dirs.bundle)
            .arg("--pid-file")
            .arg(&self.dirs.pid)
            .arg(CONTAINER)
            .stdin(input)
            .stdout(out)
            .stderr(err);
        self.run("create", command)?;
        let text = fs::read_to_string(&self.dirs.pid).map_err(failed("learn the command's id"))?;
        let pid = text.trim().parse().ok().and_then(Pid::from_raw);
        pid.ok_or_else(|| Problem::Failed(format!("learn the command's id: {text:?}")))
    }

    /// Lets the command go.
    fn start(&self) -> Result<(), Problem> {
        let mut command = self.command();
        command
            .args(["start", CONTAINER])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.run("start", command)
    }

    fn run(&self, verb: &str, mut command: Command) -> Result<(), Problem> {
        let name = self.program.name();
        let mut child = command.spawn().map_err(failed(format!("run {name}")))?;
        if !ends_in_time(&child).map_err(failed(format!("watch {name}")))? {
            // The end of init is the end of everything else that it has begun.
            let _ = child.kill();
            let seconds = RUNTIME_START.tv_sec;
            let what = format!("{name} {verb}: it did not end within {seconds} s");
            return Err(Problem::Failed(what));
        }
        let status = child.wait().map_err(failed(format!("wait for {name}")))?;
        if status.success() {
            return Ok(());
        }
        let said = self
            .said()
            .unwrap_or_else(|| "it does not say why".to_owned());
        Err(Problem::Failed(format!("{name} {verb}: {said} ({status})")))
    }

    /// The last error in the runtime's log.
    fn said(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Line {
            level: String,
            msg: String,
        }
        let mut text = String::new();
        let log = fs::File::open(&self.dirs.log).ok()?;
        log.take(RUNTIME_LOG_MAX).read_to_string(&mut text).ok()?;
        let lines = text.lines().rev();
        let mut lines = lines.filter_map(|line| serde_json::from_str::<Line>(line).ok());
        lines
            .find(|line| line.level == "error")
            .map(|line| line.msg)
    }
}
