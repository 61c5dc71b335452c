//! Thousands of steps through the store and the sandbox, half of them cancelled at every moment of
//! their lives, and a count before and after of all that they could leave behind.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::Read,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use caravan_protocol::ids::TreeId;
use caravan_sandbox::{Launcher, Root, Sandbox as _, Spec, Status};
use caravan_store::{Store, limits::SPARES_MAX};

use crate::Failure;

/// What the steps run; it needs no library.
const TOOL: &str = "/bin/busybox";
/// Steps at a time.
const SLOTS: u32 = 2;
/// Steps after which all is as it stays: caches filled, cells and threads made.
const WARM_STEPS: u32 = 60;
/// Different layers that passing steps make.
const LAYERS: u32 = 16;
/// Memory that allocators and page tables may move by, bytes.
const MEMORY_SLACK_BYTES: u64 = 16 * 1024 * 1024;
/// How often, and how long apart, the counts are taken until they are what they were: the helper
/// makes the next cell while the last job's end is already told.
const LOOKS: u32 = 200;
const LOOK: Duration = Duration::from_millis(20);

/// What steps could leave.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Count {
    /// By what is counted; each must be as it was.
    exact: BTreeMap<&'static str, usize>,
    /// Of this process and the helper.
    memory_bytes: u64,
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.exact {
            write!(f, "{what} {count}, ")?;
        }
        write!(f, "memory {} KiB", self.memory_bytes / 1024)
    }
}

/// The steps' surroundings.
struct Field {
    store: Store,
    base: TreeId,
    launcher: Launcher,
    tag: String,
}

/// Runs `steps` steps and fails if anything has grown.
pub(crate) fn run(dir: &Path, steps: u32) -> Result<(), Failure> {
    let field = Field::new(dir)?;
    field.steps(0, WARM_STEPS)?;
    let before = field.count()?;
    println!("before: {before}");
    field.steps(WARM_STEPS, steps)?;
    let mut after = field.count()?;
    for _ in 0..LOOKS {
        if after.exact == before.exact {
            break;
        }
        thread::sleep(LOOK);
        after = field.count()?;
    }
    println!("after {steps} steps: {after}");
    let grown = after.memory_bytes > before.memory_bytes + MEMORY_SLACK_BYTES;
    if after.exact != before.exact || grown {
        return Err("something has grown".into());
    }
    let report = field.store.check(false, &mut |_, _| {})?;
    match report.findings.is_empty() {
        true => Ok(()),
        false => Err(format!("the store is damaged: {:?}", report.findings).into()),
    }
}

impl Field {
    fn new(dir: &Path) -> Result<Self, Failure> {
        let launcher = Launcher::spawn()?;
        let store = Store::open(&dir.join("store"))?;
        let workspace = store.workspace()?;
        let bin = workspace.upper().join("bin");
        fs::create_dir(&bin)?;
        fs::copy(TOOL, bin.join("busybox"))
            .map_err(|error| format!("copy {TOOL}: {error}; install busybox-static"))?;
        for name in ["sh", "mkdir", "sleep"] {
            std::os::unix::fs::symlink("busybox", bin.join(name))?;
        }
        let base = workspace.ingest()?.tree;
        Ok(Self {
            store,
            base,
            launcher,
            tag: format!("soak{}", std::process::id()),
        })
    }

    /// Runs the steps from `first` up to `last`, in [`SLOTS`] threads.
    fn steps(&self, first: u32, last: u32) -> Result<(), Failure> {
        let slot = |slot: u32| -> Result<(), String> {
            for number in (first..last).filter(|number| number % SLOTS == slot) {
                self.step(number)
                    .map_err(|error| format!("step {number}: {error}"))?;
            }
            Ok(())
        };
        let slot = &slot;
        thread::scope(|scope| {
            let slots: Vec<_> = (0..SLOTS).map(|n| scope.spawn(move || slot(n))).collect();
            for slot in slots {
                slot.join().map_err(|_| "a thread of steps died")??;
            }
            Ok(())
        })
    }

    fn step(&self, number: u32) -> Result<(), Failure> {
        let workspace = self.store.workspace()?;
        let stack = self.store.stack(self.base, &[])?;
        let dir = self.store.dir();
        let inside = |path: &Path| path.strip_prefix(dir).map(Path::to_owned);
        let lowers: Result<Vec<PathBuf>, _> =
            stack.lowers.iter().map(|path| inside(path)).collect();
        let root = Root {
            store: dir.to_owned(),
            lowers: lowers?,
            upper: inside(&workspace.upper())?,
            work: inside(&workspace.work())?,
        };
        let is_cancelled = number % 2 == 1;
        let mut script = format!(
            "mkdir -p /a/b; echo {} > /a/b/c; echo begun;",
            number % LAYERS
        );
        if is_cancelled {
            script += "sleep 1000 & sleep 1000";
        }
        let argv = ["sh", "-c", &script].map(str::to_owned).to_vec();
        let job = format!("{}-{number}", self.tag).parse()?;
        let spec = Spec::new(job, root, argv);
        let mut log = self
            .store
            .log_writer(&format!("{}-{number}", self.tag), 1 << 20)?;
        let mut running = self.launcher.start(&spec)?;
        let mut output = fs::File::from(running.take_output().ok_or("there is no output")?);
        let mut said = [0; 256];
        match number % 8 {
            // Before it has done anything; once it runs; and dropped without a word.
            1 => running.kill(),
            3 | 5 => {
                let count = output.read(&mut said)?;
                log.append(&said[..count])?;
                running.kill();
            }
            7 => {
                drop(running);
                return Ok(());
            }
            _ => {}
        }
        let mut rest = Vec::new();
        output.read_to_end(&mut rest)?;
        log.append(&rest)?;
        let exit = running.wait()?;
        if is_cancelled {
            return Ok(());
        }
        log.finish()?;
        if exit.status != Status::Code(0) {
            return Err(format!(
                "it ended as {:?}: {}",
                exit.status,
                String::from_utf8_lossy(&rest)
            )
            .into());
        }
        workspace.ingest()?;
        Ok(())
    }

    fn count(&self) -> Result<Count, Failure> {
        let own = std::process::id();
        let family = family(own)?;
        let mut exact = BTreeMap::from([
            ("processes", family.len()),
            ("cgroups", groups(Path::new("/sys/fs/cgroup"), &self.tag)),
            ("temporary files", entries(&self.store.dir().join("work"))?),
            (
                "in the trash",
                // What the store keeps ready there is not left over.
                entries(&self.store.dir().join("work/trash"))?.saturating_sub(SPARES_MAX),
            ),
            ("leases", self.store.leased()),
        ]);
        let mut memory_bytes = 0;
        for id in [own, self.launcher.helper_id()] {
            let proc = PathBuf::from(format!("/proc/{id}"));
            let mounts = fs::read_to_string(proc.join("mountinfo"))?.lines().count();
            *exact.entry("mounts").or_default() += mounts;
            *exact.entry("descriptors").or_default() += entries(&proc.join("fd"))?;
            memory_bytes += memory(&fs::read_to_string(proc.join("status"))?);
        }
        Ok(Count {
            exact,
            memory_bytes,
        })
    }
}

fn entries(dir: &Path) -> Result<usize, Failure> {
    Ok(fs::read_dir(dir)?.count())
}

fn memory(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    number
        .and_then(|number| number.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

/// A process and all that came from it.
fn family(of: u32) -> Result<Vec<u32>, Failure> {
    let mut parents: Vec<(u32, u32)> = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(id) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // One that ends meanwhile is none.
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.split(' ').nth(1));
        parents.extend(
            parent
                .and_then(|parent| parent.parse().ok())
                .map(|parent| (id, parent)),
        );
    }
    let mut found = vec![of];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(id, _)| *id),
        );
        at += 1;
    }
    Ok(found)
}

/// Control groups below `dir` that a job of this tag has.
fn groups(dir: &Path, tag: &str) -> usize {
    let Ok(entries) = fs::read_dir(dir) else {
        return 0;
    };
    let dirs = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    dirs.map(|entry| {
        let own = entry.file_name().to_string_lossy().contains(tag);
        usize::from(own) + groups(&entry.path(), tag)
    })
    .sum()
}
