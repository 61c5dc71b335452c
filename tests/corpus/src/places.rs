//! The places in which the same attempts are made: our sandbox with any of its defences, a plain chroot,
//! runc with OBuilder's bundle, bubblewrap as a packager runs it. All inside of the pretend host.

use std::{
    fmt, fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    str::FromStr,
};

use caravan_sandbox::{Bind, Defence, Defences, Launcher, Root, Running, Sandbox as _, Spec};

use crate::{
    Failure,
    attempt::Verdict,
    host::{FILES, Host, STORE},
};

mod bundle;
pub mod roots;

/// Where a job that is to wait says so.
const READY_BYTES: usize = 256;

/// Where attempts are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Our sandbox as nodes run it.
    Ours,
    /// Our sandbox with no defence at all.
    Bare,
    /// With this defence alone.
    Only(Defence),
    /// With all but this one.
    Without(Defence),
    /// A directory and `chroot`.
    Chroot,
    /// runc with OBuilder's bundle.
    Runc,
    /// The same with the host's network, as OBuilder runs every step that names one.
    RuncHost,
    /// bubblewrap with all namespaces.
    Bubblewrap,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours => f.write_str("ours"),
            Self::Bare => f.write_str("bare"),
            Self::Only(defence) => write!(f, "only:{defence}"),
            Self::Without(defence) => write!(f, "without:{defence}"),
            Self::Chroot => f.write_str("chroot"),
            Self::Runc => f.write_str("runc"),
            Self::RuncHost => f.write_str("runc-host"),
            Self::Bubblewrap => f.write_str("bubblewrap"),
        }
    }
}

impl FromStr for Place {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let plain = [
            Self::Ours,
            Self::Bare,
            Self::Chroot,
            Self::Runc,
            Self::RuncHost,
            Self::Bubblewrap,
        ];
        if let Some(place) = plain.into_iter().find(|place| place.to_string() == text) {
            return Ok(place);
        }
        match text.split_once(':') {
            Some(("only", name)) => Ok(Self::Only(name.parse()?)),
            Some(("without", name)) => Ok(Self::Without(name.parse()?)),
            _ => Err(format!("find the place {text:?}").into()),
        }
    }
}

impl Place {
    /// What our helper leaves out here; `None` where it is not our sandbox.
    pub fn left_out(self) -> Option<Defences> {
        match self {
            Self::Ours => Some(Defences::NONE),
            Self::Bare => Some(Defences::all()),
            Self::Only(defence) => Some(Defences::all_but(defence)),
            Self::Without(defence) => Some(Defences::only(defence)),
            Self::Chroot | Self::Runc | Self::RuncHost | Self::Bubblewrap => None,
        }
    }

    /// The program that it needs, if it is not ours.
    pub fn needs(self) -> Option<&'static str> {
        match self {
            Self::Runc | Self::RuncHost => Some("runc"),
            Self::Bubblewrap => Some("bwrap"),
            _ => None,
        }
    }

    /// Whether the host has what it needs.
    pub fn is_there(self) -> bool {
        let dirs = [
            "/usr/bin",
            "/usr/sbin",
            "/bin",
            "/sbin",
            "/usr/local/bin",
            "/usr/local/sbin",
        ];
        self.needs().is_none_or(|program| {
            dirs.iter()
                .any(|dir| Path::new(dir).join(program).is_file())
        })
    }

    /// Makes all attempts whose id begins with `prefix` here, beside a neighbour; their verdicts.
    ///
    /// # Errors
    /// If they could not be begun.
    pub fn run(self, host: &Host, prefix: &str) -> Result<Vec<(String, Verdict)>, Failure> {
        let about = host.ground.to_string();
        let attack = ["/bin/attempts", "run", &about, prefix];
        let neighbour = ["/bin/attempts", "neighbour", &about];
        let text = match self.left_out() {
            Some(without) => ours(without, &neighbour, &attack)?,
            None => self.theirs(&neighbour, &attack)?,
        };
        Ok(verdicts(&text))
    }

    fn theirs(self, neighbour: &[&str], attack: &[&str]) -> Result<String, Failure> {
        let mut other = Guest::start(self, "neighbour", neighbour)?;
        other.await_ready()?;
        let mut guest = Guest::start(self, "attack", attack)?;
        let mut text = String::new();
        let mut out = guest.process.stdout.take().ok_or("hear the attempts")?;
        out.read_to_string(&mut text)?;
        guest.process.wait()?;
        Ok(text)
    }
}

/// Reads what the attempts' program printed; other lines are other programs'.
pub fn verdicts(text: &str) -> Vec<(String, Verdict)> {
    let lines = text.lines().filter_map(|line| line.split_once('\t'));
    lines
        .filter_map(|(id, rest)| Some((id.to_owned(), Verdict::parse(rest)?)))
        .collect()
}

/// A job's specification over the base, with directories of its own.
pub(crate) fn spec(job: &str, argv: &[&str]) -> Result<Spec, Failure> {
    let store = Path::new(STORE);
    for part in ["upper", "work"] {
        let dir = store.join(format!("{job}.{part}"));
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir(&dir)?;
    }
    let root = Root {
        store: store.to_owned(),
        lowers: vec!["base".into()],
        upper: format!("{job}.upper").into(),
        work: format!("{job}.work").into(),
    };
    let argv = argv.iter().map(|arg| (*arg).to_owned()).collect();
    let mut spec = Spec::new(job.parse()?, root, argv);
    spec.limits.nofile = FILES;
    spec.binds.push(Bind {
        source: "/canary/bind".into(),
        target: "/mnt/bind".into(),
        read_only: true,
    });
    Ok(spec)
}

/// Waits until a job has said something.
pub(crate) fn await_word(out: &mut impl std::io::Read) -> Result<String, Failure> {
    let mut said = [0; READY_BYTES];
    let got = out.read(&mut said)?;
    match got {
        0 => Err("hear the neighbour: it ended".into()),
        _ => Ok(String::from_utf8_lossy(&said[..got]).into_owned()),
    }
}

pub(crate) fn output(running: &mut Running) -> Result<fs::File, Failure> {
    Ok(fs::File::from(
        running.take_output().ok_or("the job has no output")?,
    ))
}

fn ours(without: Defences, neighbour: &[&str], attack: &[&str]) -> Result<String, Failure> {
    let launcher = Launcher::spawn_without(without)?;
    let mut other = launcher.start(&spec("neighbour", neighbour)?)?;
    let mut said = output(&mut other)?;
    await_word(&mut said)?;
    let mut running = launcher.start(&spec("attack", attack)?)?;
    let mut text = String::new();
    let mut out = output(&mut running)?;
    out.read_to_string(&mut text)?;
    running.wait()?;
    drop(other);
    Ok(text)
}

/// A process of another sandbox; killed when it is dropped.
struct Guest {
    process: Child,
    name: &'static str,
    place: Place,
}

impl Guest {
    fn start(place: Place, name: &'static str, argv: &[&str]) -> Result<Self, Failure> {
        let root = copy_of_base(name)?;
        let mut command = match place {
            Place::Runc | Place::RuncHost => {
                let dir = Path::new(STORE).join(format!("{name}.bundle"));
                bundle::write(&dir, &root, argv, place == Place::RuncHost)?;
                let mut command = Command::new("runc");
                command.args(["run", "--bundle"]).arg(&dir).arg(id_of(name));
                command
            }
            Place::Bubblewrap => bubblewrap(&root, argv),
            _ => {
                let mut command = Command::new("chroot");
                command.arg(&root).args(argv);
                command
            }
        };
        let process = command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("start {place}: {error}"))?;
        Ok(Self {
            process,
            name,
            place,
        })
    }

    fn await_ready(&mut self) -> Result<(), Failure> {
        let out = self.process.stdout.as_mut().ok_or("hear the neighbour")?;
        await_word(out).map(|_| ())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if matches!(self.place, Place::Runc | Place::RuncHost) {
            let kill = Command::new("runc")
                .args(["delete", "--force"])
                .arg(id_of(self.name))
                .output();
            drop(kill);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn id_of(name: &str) -> String {
    format!("corpus-{name}-{}", std::process::id())
}

fn copy_of_base(name: &str) -> Result<PathBuf, Failure> {
    let root = Path::new(STORE).join(format!("{name}.root"));
    let _ = fs::remove_dir_all(&root);
    let done = Command::new("cp")
        .arg("-a")
        .arg(Path::new(STORE).join("base"))
        .arg(&root)
        .status()?;
    match done.success() {
        true => Ok(root),
        false => Err("copy the base".into()),
    }
}

fn bubblewrap(root: &Path, argv: &[&str]) -> Command {
    let mut command = Command::new("bwrap");
    command
        .args(["--unshare-all", "--die-with-parent", "--bind"])
        .arg(root)
        .arg("/");
    command.args([
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--ro-bind",
        "/canary/bind",
        "/mnt/bind",
        "--",
    ]);
    command.args(argv);
    command
}
