//! Hosts of end-to-end tests: the built program, directories that go away, and network namespaces
//! that a test makes and removes itself.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// Longest that a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// The repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ is in the repository")
        .to_owned()
}

/// Names a program to test instead of one that is built for it.
pub const PROGRAM: &str = "CARAVAN_TEST_PROGRAM";

/// The program, built from the present sources unless [`PROGRAM`] names one.
#[must_use]
pub fn program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(given) = std::env::var_os(PROGRAM) {
            return given.into();
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args([
                "build",
                "--quiet",
                "--locked",
                "-p",
                "caravan",
                "--message-format=json",
            ])
            .current_dir(root())
            .output()
            .expect("cargo runs");
        assert!(
            built.status.success(),
            "the program does not build: {}",
            text(&built.stderr)
        );
        let lines = text(&built.stdout);
        let found = lines.lines().rev().find_map(|line| {
            let at = line.find("\"executable\":\"")? + "\"executable\":\"".len();
            let path = &line[at..];
            Some(PathBuf::from(&path[..path.find('"')?])).filter(|path| path.ends_with("caravan"))
        });
        found.expect("cargo names the program")
    })
}

/// The build directory: the test itself is in it.
fn target() -> PathBuf {
    let itself = std::env::current_exe().expect("a test knows where it is");
    let target = itself.ancestors().nth(3);
    target.expect("target/debug/deps/test").to_owned()
}

/// Why end-to-end tests cannot run here, if they cannot.
#[must_use]
pub fn obstacle() -> Option<&'static str> {
    let id = Command::new("id").arg("-u").output().ok()?;
    if text(&id.stdout).trim() != "0" {
        return Some("it needs root, for sandboxes and bases");
    }
    None
}

/// Output as text.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A directory below the build directory, removed when dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new empty directory; what an earlier, killed test left of this name is removed.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let path = target().join("e2e").join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("the build directory is writable");
        Self(path)
    }

    /// The same outside of this repository, for what must not find it above itself.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn outside(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("caravan-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).expect("the directory for temporary files is writable");
        Self(path)
    }

    /// A path inside.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Two hosts with a cable between them: network namespaces, removed when dropped.
#[derive(Debug)]
pub struct Cable {
    names: [String; 2],
}

impl Cable {
    /// Makes both; their addresses are 192.0.2.1 and 192.0.2.2 (RFC 5737, for documentation).
    #[must_use]
    pub fn new() -> Self {
        let tag = std::process::id();
        let cable = Self {
            names: [format!("cv{tag}a"), format!("cv{tag}b")],
        };
        let [a, b] = &cable.names;
        for name in [a, b] {
            ip(&format!("netns add {name}"));
            ip(&format!("-n {name} link set lo up"));
        }
        ip(&format!(
            "link add eth0 netns {a} type veth peer name eth0 netns {b}"
        ));
        for (name, last) in [(a, 1), (b, 2)] {
            ip(&format!("-n {name} addr add 192.0.2.{last}/24 dev eth0"));
            ip(&format!("-n {name} link set eth0 up"));
        }
        cable
    }

    /// The name of a host's namespace.
    #[must_use]
    pub fn host(&self, number: usize) -> &str {
        &self.names[number]
    }
}

impl Default for Cable {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

fn ip(words: &str) {
    let done = Command::new("ip")
        .args(words.split(' '))
        .output()
        .expect("iproute2 is installed");
    assert!(done.status.success(), "ip {words}: {}", text(&done.stderr));
}

/// A node's directory, and where its program runs.
#[derive(Debug, Clone)]
pub struct Place {
    data: PathBuf,
    namespace: Option<String>,
}

impl Place {
    /// On this host.
    #[must_use]
    pub fn here(data: PathBuf) -> Self {
        Self {
            data,
            namespace: None,
        }
    }

    /// On another.
    #[must_use]
    pub fn on(&self, namespace: &str) -> Self {
        Self {
            data: self.data.clone(),
            namespace: Some(namespace.to_owned()),
        }
    }

    /// The directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// A call of the program.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = match &self.namespace {
            Some(name) => {
                // The network alone is another: `ip netns exec` would cover the control groups.
                let mut command = Command::new("nsenter");
                let network = format!("--net=/run/netns/{name}");
                command.arg(network).arg(program());
                command
            }
            None => Command::new(program()),
        };
        command
            .arg("--data")
            .arg(&self.data)
            .args(args)
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    #[must_use]
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the program starts")
    }

    /// Runs it and wants exit code 0; gives what it printed.
    #[must_use]
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(
            output.status.success(),
            "caravan {args:?} ended with {}:\n{out}\n{err}",
            output.status
        );
        out
    }

    /// Starts a node and waits until it says that it is there.
    #[must_use]
    pub fn node(&self, args: &[&str]) -> NodeProcess {
        let all: Vec<&str> = ["node", "run"].iter().chain(args).copied().collect();
        let child = self
            .command(&all)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut node = NodeProcess { child };
        let out = node.child.stdout.take().expect("piped");
        let mut first = String::new();
        BufReader::new(out)
            .read_line(&mut first)
            .expect("it says something");
        assert!(
            first.starts_with("node "),
            "the node did not start: {first:?}"
        );
        node
    }
}

/// A running node, killed when dropped.
#[derive(Debug)]
pub struct NodeProcess {
    child: Child,
}

impl NodeProcess {
    /// The process to look at. Under `nsenter` it is the program itself.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// As `kill -9` does it.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whether it has ended by itself.
    pub fn ended(&mut self) -> Option<()> {
        self.child.try_wait().ok().flatten().map(drop)
    }

    /// Stops it where it is, as a machine does that is overloaded or suspended.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // A child that was not waited for is still there, dead or alive.
        let _ = id.map(|id| kill_process(id, signal));
    }

    /// As Ctrl-C does it; waits for the end.
    pub fn interrupt(&mut self) {
        self.signal(Signal::INT);
        let _ = self.child.wait();
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Asks until the answer is there.
///
/// # Panics
/// If it is not there within [`PATIENCE`].
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "waited too long: {what}");
    }
}

/// The git program in `dir`; what it prints.
///
/// # Panics
/// If git fails.
pub fn git(dir: &Path, words: &[&str]) -> String {
    let done = Command::new("git")
        .args(["-c", "user.name=T", "-c", "user.email=t@example.org", "-C"])
        .arg(dir)
        .args(words)
        .output()
        .expect("git runs");
    assert!(
        done.status.success(),
        "git {words:?}: {}",
        text(&done.stderr)
    );
    text(&done.stdout).trim().to_owned()
}
