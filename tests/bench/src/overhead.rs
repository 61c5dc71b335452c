//! What a step costs around its command: complete steps of ours in turns with the raw floor, runc and
//! bubblewrap over the same root, and loops of them side by side.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use caravan_sandbox::{Defence, Defences, Launcher};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::{
    Failure,
    complete::{Field, Parts},
    sample,
    stack::apart,
};

/// Steps before the clock counts, on each side.
const WARM: u64 = 5;
/// Before each step, so that nobody pays for what another has left to be cleaned up or made ready.
const SETTLE: Duration = Duration::from_millis(40);
/// Loops side by side.
const LOOPS: u32 = 4;
/// Where the numbers of the steps of a loop begin, so that no two are the same.
const APART: u64 = 1 << 32;

/// The raw floor, waiting for orders.
struct Floor {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Floor {
    /// `program` is `floor.c`, compiled.
    fn new(program: &Path, dir: &Path, lower: &Path, options: &str) -> Result<Self, Failure> {
        let parts = ["upper", "work", "root"].map(|part| dir.join(part));
        for part in &parts {
            fs::create_dir_all(part)?;
        }
        let mut child = Command::new(program)
            .arg(lower)
            .args(&parts)
            .arg(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("start {}: {error}", program.display()))?;
        Ok(Self {
            orders: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().ok_or("the floor is mute")?),
            child,
        })
    }

    fn step(&mut self) -> Result<Duration, Failure> {
        let orders = self.orders.as_mut().ok_or("the floor is deaf")?;
        orders.write_all(b"s")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let took: u64 = line
            .trim()
            .parse()
            .map_err(|_| "the floor failed; its words are above")?;
        Ok(Duration::from_nanos(took))
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.child.wait();
    }
}

/// A root for programs that make none themselves: an overlay over the base.
struct Mounted(PathBuf);

impl Mounted {
    fn new(dir: &Path, lower: &Path) -> Result<Self, Failure> {
        let [upper, work, root] = ["upper", "work", "rootfs"].map(|part| dir.join(part));
        for part in [&upper, &work, &root] {
            fs::create_dir_all(part)?;
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            upper.display(),
            work.display()
        );
        let options = std::ffi::CString::new(options)?;
        mount("overlay", &root, "overlay", MountFlags::empty(), &*options)?;
        Ok(Self(root))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// One run of another program, its output thrown away.
fn time(command: &mut Command) -> Result<Duration, Failure> {
    let began = Instant::now();
    let done = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .map_err(|error| format!("start {:?}: {error}", command.get_program()))?;
    let took = began.elapsed();
    match done.success() {
        true => Ok(took),
        false => Err(format!("{:?} failed: {done}", command.get_program()).into()),
    }
}

fn bubblewrap(root: &Path) -> Command {
    let mut command = Command::new("bwrap");
    command
        .args(["--unshare-all", "--die-with-parent", "--bind"])
        .arg(root)
        .args(["/", "--proc", "/proc", "--dev", "/dev", "--chdir", "/"])
        .args(["/bin/true"]);
    command
}

/// Everything that complete steps are held against.
struct Anchors {
    floor: Floor,
    bundle: PathBuf,
    state: PathBuf,
    mounted: Mounted,
    count: u64,
}

impl Anchors {
    fn new(dir: &Path, floor: &Path, lower: &Path) -> Result<Self, Failure> {
        let bundle = dir.join("bundle");
        let mounted = Mounted::new(&bundle, lower)?;
        fs::write(bundle.join("config.json"), crate::bundle::config())?;
        Ok(Self {
            floor: Floor::new(floor, &dir.join("floor"), lower, "")?,
            state: dir.join("runc"),
            bundle,
            mounted,
            count: 0,
        })
    }

    fn runc(&mut self) -> Result<Duration, Failure> {
        self.count += 1;
        let mut command = Command::new("runc");
        command
            .arg("--root")
            .arg(&self.state)
            .args(["run", "--bundle"])
            .arg(&self.bundle)
            .arg(format!("bench-{}-{}", std::process::id(), self.count));
        time(&mut command)
    }

    fn bubblewrap(&self) -> Result<Duration, Failure> {
        time(&mut bubblewrap(&self.mounted.0))
    }
}

/// What a step would have to do without to be cheaper, and what would still be a sandbox then.
const DEFENCES: [Defence; 5] = [
    Defence::SystemCallFilter,
    Defence::Landlock,
    Defence::Capabilities,
    Defence::CoveredProc,
    Defence::UserNamespace,
];

/// Complete steps and all that they are held against, `rounds` of each, in turns.
pub(crate) fn steps(dir: &Path, floor: &Path, rounds: u64) -> Result<(), Failure> {
    let launcher = Launcher::spawn()?;
    let bare = (DEFENCES.into_iter()).fold(Defences::NONE, Defences::with);
    let bare = Launcher::spawn_without(bare)?;
    // After the helpers, which see the host's mounts as those of a node do.
    apart()?;
    let field = Field::new(dir)?;
    let mut anchors = Anchors::new(dir, floor, &field.base_dir()?)?;
    let mut parts = Parts::default();
    for round in 0..WARM + rounds {
        settle();
        let ours = field.step(&launcher, round, &mut parts)?;
        settle();
        let floor = anchors.floor.step()?;
        settle();
        let bubblewrap = anchors.bubblewrap()?;
        settle();
        let runc = anchors.runc()?;
        settle();
        let bare = field.step(&bare, APART + round, &mut parts)?;
        if round < WARM {
            continue;
        }
        for (figure, theirs) in [
            ("step_vs_runc", runc),
            ("step_vs_floor", floor),
            ("step_vs_bwrap", bubblewrap),
            ("defence_cost", bare),
        ] {
            sample(figure, "ours", ours.as_secs_f64());
            sample(figure, "theirs", theirs.as_secs_f64());
        }
    }
    Ok(())
}

fn settle() {
    thread::sleep(SETTLE);
}

/// Where the time of a step goes: each part's median and least.
pub(crate) fn profile(dir: &Path, rounds: u64) -> Result<(), Failure> {
    let launcher = Launcher::spawn()?;
    let field = Field::new(dir)?;
    for round in 0..WARM {
        field.step(&launcher, round, &mut Parts::default())?;
    }
    let mut parts = Parts::default();
    let mut whole = Vec::new();
    for round in 0..rounds {
        whole.push(field.step(&launcher, WARM + round, &mut parts)?);
    }
    parts.tell();
    let middle = crate::median(&mut whole);
    let least = whole.first().map_or(0.0, Duration::as_secs_f64);
    println!("whole\t{:.3} ms\t{:.3} ms", middle * 1e3, least * 1e3);
    Ok(())
}

/// Steps a second of several loops at once, and of one, in turns.
pub(crate) fn loops(dir: &Path, steps: u64, rounds: u64) -> Result<(), Failure> {
    let launcher = Launcher::spawn()?;
    let field = Field::new(dir)?;
    let mut next = 0;
    for round in 0..=rounds {
        for (side, loops) in [("theirs", 1), ("ours", LOOPS)] {
            next += APART;
            let rate = rate(&field, &launcher, next, (loops, steps))?;
            // The first makes threads, cells and tables.
            if round > 0 {
                sample("parallel_scaling", side, rate);
            }
        }
    }
    Ok(())
}

fn rate(
    field: &Field,
    launcher: &Launcher,
    first: u64,
    (loops, steps): (u32, u64),
) -> Result<f64, Failure> {
    let one = |slot: u32| -> Result<(), String> {
        let begin = first + u64::from(slot) * steps;
        for number in begin..begin + steps {
            field
                .step(launcher, number, &mut Parts::default())
                .map_err(|error| format!("step {number}: {error}"))?;
        }
        Ok(())
    };
    let one = &one;
    let began = Instant::now();
    thread::scope(|scope| {
        let all: Vec<_> = (0..loops)
            .map(|slot| scope.spawn(move || one(slot)))
            .collect();
        for one in all {
            one.join().map_err(|_| "a loop died")??;
        }
        Ok::<(), Failure>(())
    })?;
    Ok((u64::from(loops) * steps) as f64 / began.elapsed().as_secs_f64())
}
