//! A complete step: what a node does for one that it has never done, from the action's key to its
//! durable claim, through the store and the sandbox in the same order (`node/src/build/step.rs`, and
//! `keep` of the driver). What a node has around it, its market and its threads, is not here.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use caravan_protocol::{
    action::{self, Action, Profile, Run, TrustDomain, Work},
    claim::{Claim, Environment, Verdict},
    identity::{Key, Signed},
    ids::{ActionKey, MeshId, TreeId},
    limits,
    platform::Platform,
    time::Stamp,
};
use caravan_sandbox::{JobName, Launcher, Limits, Meter, Root, Sandbox as _, Spec, Status};
use caravan_store::Store;

use crate::Failure;

/// What the root is made of; it needs no library.
const TOOL: &str = "/bin/busybox";
/// Most open files of a step, as a node has it.
const OPEN_FILES_MAX: u64 = 16_384;

/// The steps' surroundings.
pub(crate) struct Field {
    store: Store,
    base: TreeId,
    key: Key,
    mesh: MeshId,
}

/// Where the time of steps went, by part; seconds.
#[derive(Debug, Default)]
pub(crate) struct Parts(Vec<(&'static str, Vec<Duration>)>);

impl Parts {
    fn add(&mut self, part: &'static str, since: &mut Instant) {
        let now = Instant::now();
        let took = now - *since;
        *since = now;
        match self.0.iter_mut().find(|(name, _)| *name == part) {
            Some((_, times)) => times.push(took),
            None => self.0.push((part, vec![took])),
        }
    }

    /// One line a part: its median and least.
    pub(crate) fn tell(&mut self) {
        let mut sum = 0.0;
        for (part, times) in &mut self.0 {
            let middle = crate::median(times);
            let least = times.first().map_or(0.0, Duration::as_secs_f64);
            sum += middle;
            println!("{part}\t{:.3} ms\t{:.3} ms", middle * 1e3, least * 1e3);
        }
        println!("sum of medians\t{:.3} ms", sum * 1e3);
    }
}

impl Field {
    /// A store in `dir` with a base that has `/bin/true`.
    pub(crate) fn new(dir: &Path) -> Result<Self, Failure> {
        let store = Store::open(&dir.join("store"))?;
        let workspace = store.workspace()?;
        let bin = workspace.upper().join("bin");
        fs::create_dir(&bin)?;
        fs::copy(TOOL, bin.join("busybox"))
            .map_err(|error| format!("copy {TOOL}: {error}; install busybox-static"))?;
        for name in ["sh", "true"] {
            std::os::unix::fs::symlink("busybox", bin.join(name))?;
        }
        // So that what is compared with finds its mount points without writing to this layer.
        for name in ["dev", "proc", "sys", "tmp", "etc"] {
            fs::create_dir(workspace.upper().join(name))?;
        }
        let base = workspace.ingest()?.tree;
        Ok(Self {
            store,
            base,
            key: Key::from_secret(&[7; 32]),
            mesh: MeshId::from_bytes([1; 32]),
        })
    }

    /// The directory of the base.
    pub(crate) fn base_dir(&self) -> Result<PathBuf, Failure> {
        Ok(self.store.layer(self.base)?.ok_or("the base is gone")?)
    }

    /// A step that nobody has done: its number is part of its environment, and so of its key.
    fn action(&self, number: u64) -> Result<Action, Failure> {
        let run = Run {
            base: self.base,
            layers: Vec::new(),
            inputs: Vec::new(),
            argv: vec!["true".to_owned()],
            env: [("PATH", "/bin".to_owned()), ("STEP", number.to_string())]
                .map(|(name, value)| (name.to_owned(), value))
                .to_vec(),
            user: (0, 0),
            workdir: "/".to_owned(),
            network: action::Network::None,
            keep_layer: true,
            outputs: Vec::new(),
            secrets: Vec::new(),
            profile: Profile::Strict,
        };
        Ok(Action {
            platform: Platform::new("linux", "x86_64")?,
            domain: TrustDomain::packages(),
            work: Work::Run(run),
            limits: action::Limits::default(),
            sources: Vec::new(),
            caches: Vec::new(),
        })
    }

    /// Does step `number` and says how long that took.
    pub(crate) fn step(
        &self,
        launcher: &Launcher,
        number: u64,
        parts: &mut Parts,
    ) -> Result<Duration, Failure> {
        let action = self.action(number)?;
        let began = Instant::now();
        let mut at = began;
        let key = action.key()?;
        if !self.store.claims(key)?.is_empty() {
            return Err(format!("step {number} was done before").into());
        }
        parts.add("key and look-up", &mut at);
        let name = data_name(key);
        let _lease = self.store.lease(&[self.base]);
        let workspace = self.store.workspace()?;
        parts.add("work directory", &mut at);
        let Work::Run(run) = &action.work else {
            return Err("it is no command".into());
        };
        let spec = self.spec(run, &name, (workspace.upper(), workspace.work()))?;
        parts.add("stack", &mut at);
        let mut log = self.store.log_writer(&name, limits::LOG_BYTES_MAX)?;
        parts.add("log", &mut at);
        let mut running = launcher.start(&spec)?;
        parts.add("start: request to running", &mut at);
        drop(spec);
        let mut output = fs::File::from(running.take_output().ok_or("there is no output")?);
        let mut meter = Meter::new(log.room(), running.killer());
        let mut piece = vec![0; 64 * 1024];
        loop {
            let count = output.read(&mut piece)?;
            if count == 0 {
                break;
            }
            meter.pass(count);
            log.append(&piece[..count])?;
        }
        parts.add("command: running to end of output", &mut at);
        let exit = meter.amend(running.ended()?);
        parts.add("burial: end of output to exit", &mut at);
        let log = log.finish()?;
        parts.add("log kept", &mut at);
        if exit.status != Status::Code(0) || exit.limit.is_some() {
            return Err(format!("step {number} ended as {exit:?}").into());
        }
        let output = workspace.ingest()?.tree;
        parts.add("layer kept", &mut at);
        let claim = Claim {
            mesh: self.mesh,
            action: key,
            verdict: Verdict::Pass,
            output: Some(output),
            outputs: BTreeMap::new(),
            log: Some(log),
            started: Stamp::from_ms(number),
            wall_ms: exit.wall_ms,
            cpu_ms: exit.cpu_ms,
            environment: Environment {
                version: "1.2.3".to_owned(),
                sandbox: action::SANDBOX_PROFILE.to_owned(),
                kernel: "6.1.0-18-amd64".to_owned(),
            },
        };
        let claim = Signed::sign(&self.key, &claim)?;
        parts.add("signature", &mut at);
        self.store.put_claim(key, &claim)?;
        parts.add("claim kept", &mut at);
        // Until nothing of it is mounted.
        drop(running);
        parts.add("mounts gone", &mut at);
        Ok(began.elapsed())
    }

    fn spec(
        &self,
        run: &Run,
        name: &str,
        (upper, work): (PathBuf, PathBuf),
    ) -> Result<Spec, Failure> {
        let dir = self.store.dir();
        let inside = |path: &Path| path.strip_prefix(dir).map(Path::to_owned);
        let stack = self.store.stack(run.base, &run.layers)?;
        let lowers: Result<_, _> = stack.lowers.iter().map(|path| inside(path)).collect();
        let root = Root {
            store: dir.to_owned(),
            lowers: lowers?,
            upper: inside(&upper)?,
            work: inside(&work)?,
        };
        let job: JobName = format!("bench{}-{}", std::process::id(), &name[..16]).parse()?;
        let mut spec = Spec::new(job, root, run.argv.clone());
        spec.env.clone_from(&run.env);
        spec.cwd = PathBuf::from(&run.workdir);
        (spec.uid, spec.gid) = run.user;
        let bounds = action::Limits::default();
        spec.limits = Limits {
            memory_bytes: bounds.memory_bytes,
            pids: u64::from(bounds.pids),
            wall_ms: bounds.wall_ms,
            output_bytes: bounds.log_bytes,
            nofile: OPEN_FILES_MAX,
            ..Limits::default()
        };
        Ok(spec)
    }
}

/// A name for a step's log, as a node has it.
fn data_name(key: ActionKey) -> String {
    key.to_string()
}
