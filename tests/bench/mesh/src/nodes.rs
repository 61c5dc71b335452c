//! Our side: a mesh that was founded and joined before the clock starts, each node with a directory
//! and an address of its own. Without namespaces these are addresses of the loopback interface, so
//! that no port is shared with anything else on the machine.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use caravan_protocol::{
    identity::Key,
    ids::NodeId,
    view::{ModeView, NodeView},
};

use crate::{
    Failure, ask,
    fleet::{Fleet, LOOK, end, inside},
};

const START_MAX: Duration = Duration::from_secs(30);

/// Nodes with directories `0` and so on.
pub(crate) struct Nodes {
    program: PathBuf,
    dir: PathBuf,
    namespaces: Option<String>,
    nodes: Vec<Node>,
}

struct Node {
    id: NodeId,
    child: Option<Child>,
}

/// Founds a mesh in `dir` and lets nodes join it, one after another, by tokens.
pub(crate) fn prepare(dir: &Path, program: &Path, count: usize) -> Result<(), Failure> {
    let _ = fs::remove_dir_all(dir);
    for number in 0..count {
        fs::create_dir_all(dir.join("new").join(number.to_string()))?;
    }
    fs::write(dir.join("program"), program.as_os_str().as_encoded_bytes())?;
    let data = |number: usize| dir.join("new").join(number.to_string());
    let listen = listen(&address(None, 0));
    let mut founder = run(Command::new(program), &data(0), &listen)?;
    let joined = (1..count).try_for_each(|number| {
        let operator = format!("operator{number}");
        let token = invite(|| call(program, &data(0), &["invite", "--operator", &operator]))?;
        call(program, &data(number), &["join", &token]).map(drop)
    });
    let _ = call(program, &data(0), &["node", "stop"]);
    let _ = founder.wait();
    joined
}

/// Runs the program to its end; what it printed.
fn call(program: &Path, data: &Path, words: &[&str]) -> Result<String, Failure> {
    let mut command = Command::new(program);
    let done = command
        .arg("--data")
        .arg(data)
        .args(words)
        .stdin(Stdio::null())
        .output()?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        return Err(format!("caravan {words:?}: {said}").into());
    }
    Ok(String::from_utf8(done.stdout)?.trim().to_owned())
}

/// Asks until there is a token: at first a node does not know its own addresses.
fn invite(ask: impl Fn() -> Result<String, Failure>) -> Result<String, Failure> {
    let begun = Instant::now();
    loop {
        match ask() {
            Err(_) if begun.elapsed() < START_MAX => std::thread::sleep(LOOK),
            done => return done,
        }
    }
}

impl Nodes {
    /// The prepared nodes as they were when they had just joined.
    pub(crate) fn open(
        dir: &Path,
        count: usize,
        namespaces: Option<String>,
    ) -> Result<Self, Failure> {
        let program = fs::read_to_string(dir.join("program"))?.into();
        let _ = fs::remove_dir_all(dir.join("run"));
        let copied = Command::new("cp")
            .arg("-a")
            .args([dir.join("new"), dir.join("run")])
            .status()?;
        if !copied.success() {
            return Err(format!("{} could not be copied", dir.display()).into());
        }
        let mut nodes = Self {
            program,
            dir: dir.join("run"),
            namespaces,
            nodes: Vec::new(),
        };
        for number in 0..count {
            let secret = fs::read(nodes.data(number).join("identity"))?;
            let secret: &[u8; 32] = secret.as_slice().try_into()?;
            let id = Key::from_secret(secret).node();
            nodes.nodes.push(Node { id, child: None });
        }
        Ok(nodes)
    }

    /// A token of the running founder.
    pub(crate) fn invite(&self, operator: &str) -> Result<String, Failure> {
        let words = ["invite", "--operator", operator];
        invite(|| call(&self.program, &self.data(0), &words))
    }

    /// Whether a node still runs and has never panicked.
    pub(crate) fn check_words(&mut self, number: usize) -> Result<(), Failure> {
        let log = fs::read_to_string(self.data(number).join("log"))?;
        if let Some(line) = log.lines().find(|line| line.contains("panicked")) {
            return Err(format!("node {number}: {line}").into());
        }
        let child = self.nodes[number].child.as_mut();
        match child.map(Child::try_wait).transpose()?.flatten() {
            None => Ok(()),
            Some(ended) => Err(format!("node {number} has ended: {ended}").into()),
        }
    }

    fn data(&self, number: usize) -> PathBuf {
        self.dir.join(number.to_string())
    }
}

impl Fleet for Nodes {
    fn side(&self) -> &'static str {
        "ours"
    }

    fn count(&self) -> usize {
        self.nodes.len()
    }

    fn start(&mut self, number: usize) -> Result<(), Failure> {
        let namespace = self
            .namespaces
            .as_ref()
            .map(|prefix| format!("{prefix}{number}"));
        let command = inside(namespace.as_deref(), &self.program);
        let listen = listen(&address(self.namespaces.as_deref(), number));
        // It knows others by the addresses that they had when it joined.
        let founder = format!("/ip4/{}/tcp/{PORT}", address(self.namespaces.as_deref(), 0));
        let mut words = listen.to_vec();
        if number > 0 {
            words.extend(["--peer".to_owned(), founder]);
        }
        self.nodes[number].child = Some(run(command, &self.data(number), &words)?);
        Ok(())
    }

    fn kill(&mut self, number: usize) {
        end(&mut self.nodes[number].child);
    }

    fn process(&self, number: usize) -> Option<u32> {
        self.nodes[number].child.as_ref().map(Child::id)
    }

    fn alive(&self, viewer: usize) -> Result<Vec<bool>, Failure> {
        // It may not be up yet.
        let Ok(snapshot) = ask::status(&self.data(viewer)) else {
            return Ok(Vec::new());
        };
        let lives = |known: &NodeView| {
            use ModeView::{Away, Dead, Left, Revoked};
            !matches!(known.mode, Away | Dead | Left | Revoked)
        };
        let seen = |node: &Node| {
            let mut known = snapshot.nodes.iter();
            known.any(|known| known.node == node.id && lives(known))
        };
        Ok(self.nodes.iter().map(seen).collect())
    }

    fn deaths(&self) -> Result<u64, Failure> {
        let mut deaths = 0;
        for number in 0..self.nodes.len() {
            let log = fs::read_to_string(self.data(number).join("log"))?;
            deaths += log.lines().filter(|line| line.contains(DEATH)).count() as u64;
        }
        Ok(deaths)
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            end(&mut node.child);
        }
    }
}

const PORT: u16 = 4100;
/// What a node logs when it takes another for dead.
const DEATH: &str = "a member died";

/// A node's address: of its namespace, or of the loopback interface.
fn address(namespaces: Option<&str>, number: usize) -> String {
    let last = number + 1;
    match namespaces {
        Some(_) => format!("192.0.2.{last}"),
        None => format!("127.77.0.{last}"),
    }
}

fn listen(address: &str) -> [String; 4] {
    let flag = || "--listen".to_owned();
    let tcp = format!("/ip4/{address}/tcp/{PORT}");
    let quic = format!("/ip4/{address}/udp/{PORT}/quic-v1");
    [flag(), tcp, flag(), quic]
}

/// Starts a node that runs no jobs, its words in a file.
fn run(mut command: Command, data: &Path, words: &[String]) -> Result<Child, Failure> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(data.join("log"))?;
    let child = command
        .arg("--data")
        .arg(data)
        .args(["node", "run", "--slots", "0", "--http", "none"])
        .args(words)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    Ok(child)
}
