//! The other side: agents of serf, each with an address of its own. What they know of each other is
//! read from their logs as they write them, which costs them less than being asked.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::{
    Failure,
    fleet::{Fleet, LOOK, end, inside},
};

const START_MAX: Duration = Duration::from_secs(10);
const PORT: u16 = 7946;

/// How an agent is tuned.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Profile {
    /// For one machine: quick to notice deaths, sparing with repetitions.
    Local,
    /// What people run.
    Lan,
}

/// Agents `n0` and so on.
pub(crate) struct Agents {
    profile: Profile,
    program: PathBuf,
    namespaces: Option<String>,
    agents: Vec<Agent>,
}

#[derive(Default)]
struct Agent {
    child: Option<Child>,
    view: Arc<Mutex<View>>,
}

#[derive(Default)]
struct View {
    alive: BTreeMap<usize, bool>,
    deaths: u64,
}

impl Agents {
    pub(crate) fn new(
        dir: &Path,
        count: usize,
        profile: Profile,
        namespaces: Option<String>,
    ) -> Result<Self, Failure> {
        fs::create_dir_all(dir)?;
        Ok(Self {
            profile,
            program: "serf".into(),
            namespaces,
            agents: (0..count).map(|_| Agent::default()).collect(),
        })
    }

    fn address(&self, number: usize) -> String {
        let last = number + 1;
        match self.namespaces {
            Some(_) => format!("192.0.2.{last}"),
            None => format!("127.77.1.{last}"),
        }
    }

    /// The first has to listen before others can join it.
    fn await_first(&self) -> Result<(), Failure> {
        if self.namespaces.is_some() {
            thread::sleep(Duration::from_secs(1));
            return Ok(());
        }
        let address: SocketAddr = format!("{}:{PORT}", self.address(0)).parse()?;
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            if begun.elapsed() > START_MAX {
                return Err("the first agent of serf does not listen".into());
            }
            thread::sleep(LOOK / 4);
        }
        Ok(())
    }
}

impl Fleet for Agents {
    fn side(&self) -> &'static str {
        "theirs"
    }

    fn kind(&self) -> &'static str {
        match self.profile {
            Profile::Local => "",
            Profile::Lan => "_lan",
        }
    }

    fn count(&self) -> usize {
        self.agents.len()
    }

    fn start(&mut self, number: usize) -> Result<(), Failure> {
        let namespace = self
            .namespaces
            .as_ref()
            .map(|prefix| format!("{prefix}{number}"));
        let address = self.address(number);
        let profile = match self.profile {
            Profile::Local => "local",
            Profile::Lan => "lan",
        };
        let mut command = inside(namespace.as_deref(), &self.program);
        command
            .args(["agent", "-profile", profile, "-node", &format!("n{number}")])
            .args(["-bind", &format!("{address}:{PORT}")])
            .args(["-rpc-addr", &format!("{address}:7373")]);
        if number > 0 {
            command.args(["-join", &format!("{}:{PORT}", self.address(0))]);
        }
        let pipe = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = pipe.spawn()?;
        let words = child.stdout.take().expect("piped");
        let agent = &mut self.agents[number];
        agent.view = Arc::default();
        let view = Arc::clone(&agent.view);
        thread::spawn(move || follow(words, &view));
        agent.child = Some(child);
        if number == 0 {
            self.await_first()?;
        }
        Ok(())
    }

    fn kill(&mut self, number: usize) {
        end(&mut self.agents[number].child);
    }

    fn process(&self, number: usize) -> Option<u32> {
        self.agents[number].child.as_ref().map(Child::id)
    }

    fn alive(&self, viewer: usize) -> Result<Vec<bool>, Failure> {
        let view = lock(&self.agents[viewer].view);
        let alive = |number: usize| view.alive.get(&number).copied().unwrap_or(false);
        Ok((0..self.agents.len()).map(alive).collect())
    }

    fn deaths(&self) -> Result<u64, Failure> {
        Ok(self
            .agents
            .iter()
            .map(|agent| lock(&agent.view).deaths)
            .sum())
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        for agent in &mut self.agents {
            end(&mut agent.child);
        }
    }
}

fn lock(view: &Mutex<View>) -> MutexGuard<'_, View> {
    view.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads what an agent says of others until it ends.
fn follow(words: impl Read, view: &Mutex<View>) {
    for line in BufReader::new(words).lines().map_while(Result::ok) {
        let Some((_, event)) = line.split_once("serf: EventMember") else {
            continue;
        };
        let mut parts = event.split([':', ' ']).filter(|part| !part.is_empty());
        let (Some(kind), Some(name)) = (parts.next(), parts.next()) else {
            continue;
        };
        let Some(number) = name
            .strip_prefix('n')
            .and_then(|digits| digits.parse().ok())
        else {
            continue;
        };
        let mut view = lock(view);
        match kind {
            "Join" | "Update" => view.alive.insert(number, true),
            "Failed" => {
                view.deaths += 1;
                view.alive.insert(number, false)
            }
            "Leave" | "Reap" => view.alive.insert(number, false),
            _ => None,
        };
    }
}
