//! A real build in the sandbox and in a plain chroot: the same layers, the same command, the same user,
//! in turns. What differs is what the sandbox has around each of the build's processes.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use caravan_sandbox::{Launcher, Root, Sandbox as _, Spec, Status};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::{
    Failure, sample,
    stack::{apart, children_s},
};

/// The user of the build, as in the base.
const USER: u32 = 1000;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Memory of `/tmp` on both sides.
const TMP_OPTIONS: &std::ffi::CStr = c"mode=1777";

/// The layers and the command of a build.
pub(crate) struct Build<'a> {
    /// Directory for what is written.
    pub(crate) dir: &'a Path,
    /// Private directory that all layers are below, and `dir`.
    pub(crate) store: &'a Path,
    /// The layers, lowest first, as paths below it.
    pub(crate) lowers: Vec<&'a str>,
    /// A line for the shell.
    pub(crate) script: &'a str,
}

impl Build<'_> {
    /// Builds `rounds` times on each side, each time from nothing, and prints what it took.
    pub(crate) fn run(
        &self,
        figure: &str,
        launcher: &Launcher,
        rounds: u32,
    ) -> Result<(), Failure> {
        apart()?;
        for round in 0..=rounds {
            let (ours, theirs) = if round % 2 == 0 {
                let ours = self.ours(launcher, round)?;
                (ours, self.theirs(round)?)
            } else {
                let theirs = self.theirs(round)?;
                (self.ours(launcher, round)?, theirs)
            };
            // The first reads the compiler from the disk.
            if round > 0 {
                sample(figure, "ours", ours.as_secs_f64());
                sample(figure, "theirs", theirs.as_secs_f64());
            }
        }
        Ok(())
    }

    /// Fresh directories for one build.
    fn make(&self, side: &str, round: u32) -> Result<[PathBuf; 3], Failure> {
        let dir = self.dir.join(format!("{side}{round}"));
        let parts = ["upper", "work", "root"].map(|part| dir.join(part));
        for part in &parts {
            fs::create_dir_all(part)?;
        }
        Ok(parts)
    }

    fn ours(&self, launcher: &Launcher, round: u32) -> Result<Duration, Failure> {
        let [upper, work, _] = self.make("ours", round)?;
        let began = Instant::now();
        let root = Root {
            store: self.store.to_owned(),
            lowers: self.lowers.iter().map(PathBuf::from).collect(),
            upper: upper.strip_prefix(self.store)?.to_owned(),
            work: work.strip_prefix(self.store)?.to_owned(),
        };
        let argv = ["/bin/sh", "-c", self.script].map(str::to_owned).to_vec();
        let job = format!("real{}-{round}", std::process::id()).parse()?;
        let mut spec = Spec::new(job, root, argv);
        spec.env = vec![("PATH".to_owned(), PATH.to_owned())];
        (spec.uid, spec.gid) = (USER, USER);
        let mut running = launcher.start(&spec)?;
        let mut said = Vec::new();
        fs::File::from(running.take_output().ok_or("there is no output")?)
            .read_to_end(&mut said)?;
        let exit = running.wait()?;
        let took = began.elapsed();
        if exit.status != Status::Code(0) {
            let said = String::from_utf8_lossy(&said);
            return Err(format!("the build ended as {:?}: {said}", exit.status).into());
        }
        tell("ours", exit.cpu_ms as f64 / 1e3);
        Ok(took)
    }

    fn theirs(&self, round: u32) -> Result<Duration, Failure> {
        let [upper, work, root] = self.make("theirs", round)?;
        let processor = children_s()?;
        let began = Instant::now();
        let lowers: Vec<String> = (self.lowers.iter().rev())
            .map(|lower| self.store.join(lower).display().to_string())
            .collect();
        let options = format!(
            "lowerdir={},upperdir={},workdir={},volatile",
            lowers.join(":"),
            upper.display(),
            work.display()
        );
        let options = std::ffi::CString::new(options)?;
        mount("overlay", &root, "overlay", MountFlags::empty(), &*options)?;
        mount("proc", root.join("proc"), "proc", MountFlags::empty(), None)?;
        mount(
            "/dev",
            root.join("dev"),
            "",
            MountFlags::BIND | MountFlags::REC,
            None,
        )?;
        mount(
            "tmpfs",
            root.join("tmp"),
            "tmpfs",
            MountFlags::empty(),
            Some(TMP_OPTIONS),
        )?;
        let done = Command::new("chroot")
            .arg(format!("--userspec={USER}:{USER}"))
            .arg(&root)
            .args(["/bin/sh", "-c", self.script])
            .env_clear()
            .env("PATH", PATH)
            .stdin(Stdio::null())
            .output();
        unmount(&root, UnmountFlags::DETACH)?;
        let took = began.elapsed();
        let done = done?;
        tell("theirs", children_s()? - processor);
        match done.status.success() {
            true => Ok(took),
            false => Err(format!(
                "the build failed in the chroot: {}",
                String::from_utf8_lossy(&done.stderr)
            )
            .into()),
        }
    }
}

/// What the processors did for it, which tells more than the wall on a busy machine.
fn tell(side: &str, processor_s: f64) {
    eprintln!("bench: {side}: processor {processor_s:.3} s");
}
