//! A small root made of the host's own tools, and the launcher that a test binary shares.

use std::{
    collections::BTreeSet,
    fs,
    io::Read,
    os::unix::fs::{MetadataExt as _, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use caravan_sandbox::{Error, Exit, Launcher, Root, Running, Sandbox, Spec};

/// What the tests run inside, all in every Debian base.
const TOOLS: [&str; 13] = [
    "sh", "cat", "chmod", "chown", "id", "ls", "mkdir", "mv", "rm", "sleep", "stat", "head", "true",
];

/// Whether real sandboxes can run; says so loudly where they cannot.
pub(crate) fn can_run(test: &str) -> bool {
    match caravan_sandbox::probe() {
        Ok(_) => true,
        Err(missing) => {
            println!("SKIPPED: {test}: failed to {missing}");
            false
        }
    }
}

/// Whether the node of these tests is an ordinary user's.
pub(crate) fn is_rootless() -> bool {
    caravan_sandbox::Rights::own() == caravan_sandbox::Rights::Rootless
}

/// How an overlay marks a directory that hides those below it.
pub(crate) fn opaque() -> &'static str {
    if is_rootless() {
        "user.overlay.opaque"
    } else {
        "trusted.overlay.opaque"
    }
}

macro_rules! need_root {
    () => {
        if !$crate::support::can_run(module_path!()) {
            return;
        }
    };
}
pub(crate) use need_root;

pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_caravan-sandbox"))
}

/// What the jobs of a node are marked with before it says so itself.
pub(crate) fn first_tag(node: u32) -> String {
    let numbers = fs::metadata("/proc/self/ns/pid").unwrap().ino();
    format!("p{node}-{numbers}")
}

pub(crate) fn launcher() -> &'static Launcher {
    static LAUNCHER: OnceLock<Launcher> = OnceLock::new();
    LAUNCHER.get_or_init(|| Launcher::spawn_program(program()).unwrap())
}

pub(crate) struct Store {
    pub(crate) dir: tempfile::TempDir,
}

impl Store {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let store = Self { dir };
        let base = store.layer("base");
        for tool in TOOLS {
            install(&base, &find_tool(tool), &format!("bin/{tool}"));
        }
        install(
            &base,
            Path::new(env!("CARGO_BIN_EXE_sandbox-attempts")),
            "bin/attempts",
        );
        install(
            &base,
            Path::new(env!("CARGO_BIN_EXE_sandbox-bombs")),
            "bin/bombs",
        );
        fs::create_dir(base.join("etc")).unwrap();
        fs::write(base.join("etc/old"), "old").unwrap();
        store
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A new directory of the store, as a layer must be.
    pub(crate) fn layer(&self, name: &str) -> PathBuf {
        let dir = self.path(name);
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        dir
    }

    /// A job with directories of its own, over the base.
    pub(crate) fn spec(&self, job: &str, argv: &[&str]) -> Spec {
        self.layer(&format!("{job}.upper"));
        self.layer(&format!("{job}.work"));
        let root = Root {
            store: self.dir.path().to_owned(),
            lowers: vec!["base".into()],
            upper: format!("{job}.upper").into(),
            work: format!("{job}.work").into(),
        };
        let argv = argv.iter().map(|s| (*s).to_owned()).collect();
        Spec::new(job.parse().unwrap(), root, argv)
    }

    pub(crate) fn sh(&self, job: &str, script: &str) -> Spec {
        self.spec(job, &["sh", "-c", script])
    }

    pub(crate) fn upper(&self, job: &str) -> PathBuf {
        self.path(&format!("{job}.upper"))
    }
}

fn find_tool(name: &str) -> PathBuf {
    let dirs = ["/bin", "/usr/bin"].map(Path::new);
    let found = dirs
        .iter()
        .map(|dir| dir.join(name))
        .find(|path| path.is_file());
    fs::canonicalize(found.unwrap_or_else(|| panic!("the host has no {name}"))).unwrap()
}

/// Copies a program and the libraries that it names.
fn install(base: &Path, program: &Path, to: &str) {
    let copy = |from: &Path, to: &Path| {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        if !to.exists() {
            fs::copy(from, to).unwrap();
        }
    };
    copy(program, &base.join(to));
    let listed = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let libraries: BTreeSet<&str> = text
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .collect();
    for library in libraries {
        copy(
            Path::new(library),
            &base.join(library.trim_start_matches('/')),
        );
    }
}

pub(crate) fn output(running: &mut Running) -> String {
    let mut bytes = Vec::new();
    fs::File::from(running.take_output().unwrap())
        .read_to_end(&mut bytes)
        .unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(crate) fn run(spec: &Spec) -> Result<(Exit, String), Error> {
    let mut running = launcher().start(spec)?;
    let text = output(&mut running);
    Ok((running.wait()?, text))
}

/// Runs a job that must end well and gives its output.
pub(crate) fn run_well(spec: &Spec) -> String {
    let (exit, text) = run(spec).unwrap();
    assert_eq!(exit.status, caravan_sandbox::Status::Code(0), "{text}");
    assert_eq!(exit.limit, None, "{text}");
    text
}
