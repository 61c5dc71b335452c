//! The plan of a spec: its builds with their steps, and the lines that tell of them. It is the same
//! wherever it is made, so whoever holds the spec knows which wish is which step.

use std::{fmt::Write as _, sync::Arc};

use caravan_protocol::{
    action::{Cache, CopyTo, Network, Secret},
    policy::WantId,
    spec::{Image, Spec},
};

use crate::{lower, problem::PlanError};

/// Everything that is to be done for a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its builds, each nested one before the one that holds it; the last is the spec's own.
    pub builds: Vec<Made>,
    /// What a log of it says, in order.
    pub lines: Vec<Line>,
}

/// One build: what it starts from, and its steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// What it is called in tables: plain, and no two alike.
    pub name: String,
    /// What it starts from.
    pub image: Image,
    /// Its steps, in order.
    pub steps: Vec<Step>,
    /// The variables that it sets, in order; a step sees the first [`Step::env`] of them.
    pub env: Vec<(String, String)>,
}

/// A step: what makes one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The wish for it.
    pub want: WantId,
    /// A few words for people.
    pub label: String,
    /// How many of its build's variables it sees.
    pub env: usize,
    /// Who runs it, or owns what it copies: user and group.
    pub user: (u32, u32),
    /// What it does.
    pub work: Work,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Runs a command.
    Run {
        /// The program with its first arguments.
        shell: Arc<[String]>,
        /// Its last argument.
        command: String,
        /// Where.
        workdir: String,
        /// What it sees of the network.
        network: Network,
        /// Files with secrets.
        secrets: Vec<Secret>,
        /// Directories that outlive it.
        caches: Vec<Cache>,
    },
    /// Copies files.
    Copy {
        /// Where they are.
        from: From,
        /// Which, as plain paths.
        src: Vec<String>,
        /// Where they go.
        dst: CopyTo,
        /// Names that are left out.
        exclude: Vec<String>,
    },
}

/// Where a copy copies from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The directory that came with the spec: which of [`Spec::context_copies`] this is.
    Context(usize),
    /// A build: its place in [`Plan::builds`].
    Build(usize),
}

/// A line of a log, or where a step's own log belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// An op or a nested build begins.
    Heading(String),
    /// What a build starts from is found.
    Image(Image),
    /// A step's log, and its layer.
    Step(WantId),
    /// A nested build has ended.
    Ending(String),
}

impl Plan {
    /// The plan of a spec, or which step of it cannot be done.
    pub fn of(spec: &Spec) -> Result<Self, PlanError> {
        lower::plan(spec)
    }

    /// The steps of all builds, in the order of their wishes.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.builds.iter().flat_map(|made| &made.steps)
    }

    /// The plan as text, the same wherever it is made.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        for made in &self.builds {
            // Writing to a text never fails.
            let _ = writeln!(out, "build {}\n  {}", made.name, made.image.heading());
            for step in &made.steps {
                self.step_text(&mut out, made, step);
            }
        }
        out
    }

    fn step_text(&self, out: &mut String, made: &Made, step: &Step) {
        let (number, (uid, gid)) = (step.want.0, step.user);
        let _ = match &step.work {
            Work::Run {
                shell,
                command,
                workdir,
                network,
                secrets,
                caches,
            } => {
                let argv: Vec<&String> = shell.iter().chain([command]).collect();
                let _ = writeln!(
                    out,
                    "  {number} run {argv:?}\n      as {uid}:{gid} in {workdir}"
                );
                for (name, value) in env_of(&[], &made.env[..step.env]) {
                    let _ = writeln!(out, "      env {name}={value:?}");
                }
                if *network == Network::Host {
                    let _ = writeln!(out, "      network host");
                }
                for secret in secrets {
                    let _ = writeln!(out, "      secret {:?} at {}", secret.id, secret.target);
                }
                for cache in caches {
                    let _ = writeln!(out, "      cache {:?} at {}", cache.id, cache.target);
                }
                Ok(())
            }
            Work::Copy {
                from,
                src,
                dst,
                exclude,
            } => {
                let from = match from {
                    From::Context(_) => "the context".to_owned(),
                    From::Build(at) => format!("build {}", self.builds[*at].name),
                };
                let (word, dst) = match dst {
                    CopyTo::Into(dst) => ("into", dst),
                    CopyTo::As(dst) => ("as", dst),
                };
                let _ = writeln!(out, "  {number} copy {src:?} of {from}");
                let _ = writeln!(out, "      {word} {dst} owned by {uid}:{gid}");
                match exclude.is_empty() {
                    true => Ok(()),
                    false => writeln!(out, "      without {exclude:?}"),
                }
            }
        };
    }
}

/// An environment: what the image brings, then what the spec sets, the newest first as OBuilder
/// has it.
pub(crate) fn env_of(
    image: &[(String, String)],
    set: &[(String, String)],
) -> Vec<(String, String)> {
    let mut env = image.to_vec();
    for (name, value) in set {
        if let Some(at) = env.iter().position(|(known, _)| known == name) {
            env.remove(at);
        }
        env.insert(0, (name.clone(), value.clone()));
    }
    env
}
