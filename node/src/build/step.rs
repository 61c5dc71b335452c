//! One command in the sandbox: mounted layers in, an exit and an upper directory out.

use std::{
    collections::BTreeMap,
    fs::{File, Metadata},
    io::Read,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use caravan_protocol::{
    action::{Action, Network, Profile, Run},
    claim::Verdict,
    ids::{BlobId, TreeId},
    limits,
};
use caravan_sandbox::{
    Bind, Error, Exit, Image, Killer, Limit, Limits, Meter, Root, Running, Spec, Status,
};
use caravan_store::{StoreError, Workspace};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{
    Builder, Built, Secrets, chain,
    gate::Gate,
    lent::{Lent, inside},
    printed::Printed,
    words,
};

/// Free room below which a failed step proves nothing, bytes.
const ROOM_LEAST_BYTES: u64 = 64 * 1024 * 1024;
/// Free room below which a step that says that the disk is full is believed, bytes.
const ROOM_DOUBT_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// Most open files of a step.
const OPEN_FILES_MAX: u64 = 16_384;

/// A step about to run.
pub(super) struct Step<'a> {
    pub(super) builder: &'a Builder,
    pub(super) action: &'a Action,
    pub(super) run: &'a Run,
    pub(super) name: &'a str,
    pub(super) secrets: &'a Secrets,
}

/// A step's end with the log that tells of it.
struct Ended {
    exit: Exit,
    log: BlobId,
    tail: String,
    /// It was killed for the bytes that it moved over the network.
    spent: Option<String>,
}

impl Step<'_> {
    /// Runs it to its end. The killer is put where the canceller finds it.
    pub(super) fn run(&self, killer: &Mutex<Option<Killer>>, cancel: &CancellationToken) -> Built {
        match self.try_run(killer, cancel) {
            Ok(built) => built,
            Err(why) => Built::infra(why),
        }
    }

    fn try_run(
        &self,
        killer: &Mutex<Option<Killer>>,
        cancel: &CancellationToken,
    ) -> Result<Built, String> {
        let store = &self.builder.store;
        let (secrets, redactor) = self.secrets.of(self.run).map_err(|error| chain(&error))?;
        // Until the last process is dead, whatever is collected meanwhile.
        let _lease = store.lease(&self.trees());
        let workspace = store.workspace().map_err(|error| chain(&error))?;
        let lent = Lent::take(&self.builder.caches, self.action, self.run.user)?;
        let mut spec = self.spec(&workspace)?;
        spec.layered = lent.layered(store.dir())?;
        spec.secrets = secrets;
        let log = store
            .log_writer(self.name, limits::LOG_BYTES_MAX)
            .map_err(|error| chain(&error))?;
        let mut running = self
            .builder
            .sandbox
            .start(&spec)
            .map_err(|error| chain(&error))?;
        drop(spec);
        *killer.lock().unwrap_or_else(PoisonError::into_inner) = Some(running.killer());
        if cancel.is_cancelled() {
            running.kill();
        }
        let gate = Gate::open(self.builder, (self.action, self.run), &mut running)?;
        self.make_images();
        let printed = Printed::new(log, self.action.limits.log_bytes, redactor);
        let ended = follow(&mut running, printed, gate)?;
        if !lent.is_empty() {
            // What was lent is somebody's again at once, so nobody may have it mounted.
            running.wait().map_err(|error| chain(&error))?;
        }
        lent.give_back();
        if cancel.is_cancelled() {
            return Ok(Built::infra("the attempt was cancelled"));
        }
        // While the step's mounts go.
        self.collect(workspace, &ended)
    }

    /// Beside the step, makes what the next one over the same layers will have use of.
    fn make_images(&self) {
        if !self.builder.store.wants_images() {
            return;
        }
        let store = self.builder.store.clone();
        let make = move || {
            if let Err(error) = store.make_images() {
                tracing::debug!(error = chain(&error), "an image of layers was not made");
            }
        };
        if tokio::runtime::Handle::try_current().is_ok() {
            self.builder.tasks.blocking(make);
        }
    }

    /// All that it is mounted from.
    fn trees(&self) -> Vec<TreeId> {
        let inputs = self.run.inputs.iter().map(|input| input.tree);
        let below = [self.run.base].into_iter().chain(inputs);
        below.chain(self.run.layers.iter().copied()).collect()
    }

    fn spec(&self, workspace: &Workspace) -> Result<Spec, String> {
        let store = &self.builder.store;
        let dir = store.dir();
        let inside = |path: PathBuf| inside(dir, &path);
        let mount = |tree: TreeId| store.materialise(tree).map_err(|error| chain(&error));
        let stack = store
            .stack(self.run.base, &self.run.layers)
            .map_err(|error| chain(&error))?;
        let lowers: Result<_, String> = stack.lowers.into_iter().map(inside).collect();
        let root = Root {
            store: dir.to_owned(),
            lowers: lowers?,
            upper: inside(workspace.upper())?,
            work: inside(workspace.work())?,
        };
        let bad = |error: caravan_sandbox::SpecError| error.to_string();
        let job = self.builder.job(self.name).map_err(bad)?;
        let mut spec = Spec::new(job, root, self.run.argv.clone());
        if let Some(image) = stack.image {
            spec.image = Some(Image {
                file: inside(image.file)?,
                files: inside(image.files)?,
                covers: image.covers,
            });
        }
        for input in &self.run.inputs {
            let source = mount(input.tree)?;
            spec.binds.push(Bind {
                source,
                target: PathBuf::from(&input.target),
                read_only: true,
            });
        }
        spec.env.clone_from(&self.run.env);
        spec.cwd = PathBuf::from(&self.run.workdir);
        (spec.uid, spec.gid) = self.run.user;
        spec.setuid_inside = self.run.profile == Profile::Spec;
        spec.scratch = self.run.profile == Profile::Strict;
        spec.network = match &self.run.network {
            Network::None => caravan_sandbox::Network::None,
            Network::Host | Network::Fetch(_) => caravan_sandbox::Network::Gate,
        };
        self.lead_to_gate(&mut spec, workspace)?;
        spec.limits = Limits {
            memory_bytes: self.action.limits.memory_bytes,
            pids: u64::from(self.action.limits.pids),
            wall_ms: self.action.limits.wall_ms,
            output_bytes: self.action.limits.log_bytes,
            cpu_millis: self.builder.cpu_millis,
            cpu_ms: Some(self.action.limits.cpu_ms.max(1)),
            nofile: OPEN_FILES_MAX,
            disk_bytes: self.action.limits.disk_bytes,
            inodes: self.action.limits.inodes,
        };
        Ok(spec)
    }

    /// Lets the step's programs find its gate, if it has one.
    fn lead_to_gate(&self, spec: &mut Spec, workspace: &Workspace) -> Result<(), String> {
        if self.run.network == Network::None {
            return Ok(());
        }
        for (name, value) in caravan_egress::variables(caravan_sandbox::GATE_PORT) {
            // What the step says itself stands.
            if spec.env.iter().all(|(own, _)| *own != name) {
                spec.env.push((name, value));
            }
        }
        if spec.setuid_inside {
            let source = workspace.path().join("sudoers");
            let failed = |error: std::io::Error| format!("write {}: {error}", source.display());
            std::fs::write(&source, caravan_egress::SUDOERS).map_err(failed)?;
            let mode = std::fs::Permissions::from_mode(0o440);
            std::fs::set_permissions(&source, mode).map_err(failed)?;
            spec.binds.push(Bind {
                source,
                target: PathBuf::from("/etc/sudoers.d/caravan-proxy"),
                read_only: true,
            });
        }
        Ok(())
    }

    /// What an ended step left: its named outputs in any case, its layer if it passed.
    fn collect(&self, workspace: Workspace, ended: &Ended) -> Result<Built, String> {
        let outputs = self.outputs(&workspace)?;
        let well = ended.exit.status == Status::Code(0) && ended.exit.limit.is_none();
        let passed = well && ended.spent.is_none();
        if !passed
            && ended.spent.is_none()
            && let Some(why) = self.hosts_fault(ended)
        {
            return Err(why);
        }
        let kept = match passed && self.run.keep_layer {
            true => Some(workspace.ingest()),
            false => None,
        };
        let (output, unfit) = match kept {
            None => (None, None),
            Some(Ok(layer)) => (Some(layer.tree), None),
            // What cannot be part of a layer cannot be so on any node: the step's own failure.
            Some(Err(error @ StoreError::Refused { .. })) => (None, Some(ingest_failure(&error))),
            Some(Err(error)) => return Err(ingest_failure(&error)),
        };
        let passed = passed && unfit.is_none();
        Ok(Built {
            verdict: if passed { Verdict::Pass } else { Verdict::Fail },
            output,
            outputs,
            log: Some(ended.log),
            wall_ms: ended.exit.wall_ms,
            cpu_ms: ended.exit.cpu_ms,
            message: (!passed).then(|| unfit.unwrap_or_else(|| failure(ended, self.action))),
            claim: None,
        })
    }

    /// Why a failure is this machine's and not the step's, if it is.
    fn hosts_fault(&self, ended: &Ended) -> Option<String> {
        let full =
            || "the disk that holds the store is full; make room and run it again".to_owned();
        match ended.exit.limit {
            // It has met its own bound before the host's.
            Some(Limit::Disk | Limit::Inodes) => return None,
            Some(Limit::Room) => return Some(full()),
            _ => {}
        }
        let disk = rustix::fs::statvfs(self.builder.store.dir()).ok()?;
        let room = disk.f_bavail.saturating_mul(disk.f_frsize);
        // A step may have made some room again as it cleaned up. Its words alone prove nothing: it can
        // print what it likes, and a small file system of its own can be full too.
        let says_so = ended.tail.contains("No space left on device");
        if room < ROOM_LEAST_BYTES || (says_so && room < ROOM_DOUBT_BYTES) {
            return Some(full());
        }
        let killed = ended.exit.status == Status::Signal(9) && ended.exit.limit.is_none();
        killed
            .then(|| "something outside killed the step; the host may be out of memory".to_owned())
    }

    fn outputs(&self, workspace: &Workspace) -> Result<BTreeMap<String, BlobId>, String> {
        let mut outputs = BTreeMap::new();
        for output in &self.run.outputs {
            if let Some(bytes) = read_beneath(&workspace.upper(), &output.path)? {
                let blob = self
                    .builder
                    .store
                    .put_blob(&bytes)
                    .map_err(|error| chain(&error))?;
                outputs.insert(output.name.clone(), blob);
            }
        }
        Ok(outputs)
    }
}

/// A file that a step left, never through a link and never beyond the bound. Nothing else that it
/// left there is opened.
fn read_beneath(upper: &Path, path: &str) -> Result<Option<Vec<u8>>, String> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let dir = File::open(upper).map_err(|error| error.to_string())?;
    let found = |flags: OFlags| {
        let path = path.trim_start_matches('/');
        let flags = flags | OFlags::CLOEXEC;
        let file = rustix::fs::openat2(&dir, path, flags, Mode::empty(), resolve).ok()?;
        let file = File::from(file);
        let small = |it: &Metadata| it.is_file() && it.len() <= limits::OUTPUT_BYTES_MAX;
        file.metadata().is_ok_and(|it| small(&it)).then_some(file)
    };
    let looked_at = found(OFlags::PATH);
    let Some(file) = looked_at.and_then(|_| found(OFlags::RDONLY | OFlags::NONBLOCK)) else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    file.take(limits::OUTPUT_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    Ok(Some(bytes))
}

fn ingest_failure(error: &StoreError) -> String {
    format!(
        "the step passed and its layer could not be kept: {}",
        chain(error)
    )
}

/// Reads a step's output into its log, with what its gate has to say, and waits for its end.
fn follow(
    running: &mut Running,
    mut printed: Printed,
    gate: Option<Gate>,
) -> Result<Ended, String> {
    let Some(output) = running.take_output() else {
        return Err("the step has no output".to_owned());
    };
    let mut output = File::from(output);
    let max = printed.room();
    let mut meter = Meter::new(max, running.killer());
    // A secret may be in it.
    let mut piece = Zeroizing::new(vec![0; 64 * 1024]);
    loop {
        if let Some(gate) = &gate {
            gate.until(&output, |line| {
                printed.say(line).map_err(|error| chain(&error))
            })?;
        }
        match output.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => {
                meter.pass(count);
                printed.take(&piece[..count]).map_err(|error| {
                    running.kill();
                    chain(&error)
                })?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("read the step's output: {error}")),
        }
    }
    let exit = running.ended().map_err(|error: Error| chain(&error))?;
    let exit = meter.amend(exit);
    let (lines, spent) = gate.map(Gate::close).unwrap_or_default();
    for line in lines {
        printed.say(&line).map_err(|error| chain(&error))?;
    }
    let too_much = (exit.limit == Some(Limit::Output)).then(|| words::printed_too_much(max));
    let cut_short = too_much.map(|why| format!("the step was stopped: {why}"));
    let (log, tail) = printed
        .end(cut_short.as_deref())
        .map_err(|error| chain(&error))?;
    Ok(Ended {
        exit,
        log,
        tail,
        spent,
    })
}

/// What a failed step is said to have failed of.
fn failure(ended: &Ended, action: &Action) -> String {
    if let Some(spent) = &ended.spent {
        return spent.clone();
    }
    let limits = &action.limits;
    let what = match (ended.exit.limit, ended.exit.status) {
        (Some(limit), _) => words::of_limit(limit, limits),
        (None, Status::Signal(signal)) => format!("it was killed by signal {signal}"),
        (None, Status::Code(code)) => format!("it exited with {code}"),
    };
    let words = words::of_failure(&ended.tail);
    if words.is_empty() {
        what
    } else {
        format!("{what}\n{words}")
    }
}

#[cfg(test)]
mod tests;
