//! Why there is no solution, in words a maintainer can act on.

use std::fmt;

use thiserror::Error;

use crate::{name::Name, package::Package, version::Version};

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoSolution {
    /// No choice of versions satisfies everything.
    #[error("solve for {roots}: {}", list(.faults, .explanation))]
    Unsatisfiable {
        /// What was asked for.
        roots: String,
        /// The bounds at fault, as far as they can be told apart.
        faults: Vec<Fault>,
        /// The solver's own account.
        explanation: String,
    },
    /// The versions fit, but some packages need each other before they are built.
    #[error("order packages that need each other: {}", chain(.names))]
    Cycle {
        /// The packages, each needing the next, the last the first.
        names: Vec<Name>,
    },
    /// The search was given up.
    #[error("solve for {roots} within {rounds} rounds")]
    Exhausted {
        /// What was asked for.
        roots: String,
        /// Rounds that were tried.
        rounds: u64,
    },
}

fn list(faults: &[Fault], explanation: &str) -> String {
    if faults.is_empty() {
        return explanation.to_owned();
    }
    faults
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

fn chain(names: &[Name]) -> String {
    names
        .iter()
        .map(Name::as_str)
        .collect::<Vec<_>>()
        .join(" -> ")
}

/// A bound and who set it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// The package that needs something; `None` for the request itself.
    pub by: Option<Package>,
    /// What it needs, as text.
    pub wanted: String,
}

/// Something that keeps a request from being solved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is needed, and by whom.
    pub demand: Demand,
    /// What stands in the way.
    pub obstacle: Obstacle,
}

/// What stands in the way of a demand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// No repository has the name.
    UnknownName {
        /// The name.
        name: Name,
        /// A known name that differs little.
        similar: Option<Name>,
    },
    /// No version is within the bounds.
    NoVersion {
        /// The name.
        name: Name,
        /// The oldest and newest version that there are.
        known: (Version, Version),
    },
    /// The versions within the bounds cannot be used.
    Rejected {
        /// The newest of them.
        package: Package,
        /// Why.
        reason: String,
        /// How many more there are.
        others: usize,
    },
    /// Something else wants what excludes it.
    Opposed {
        /// The opposite demand.
        demand: Demand,
    },
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.by {
            Some(package) => write!(f, "{package} needs {}", self.wanted),
            None => write!(f, "the request needs {}", self.wanted),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, but {}", self.demand, self.obstacle)
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownName {
                name,
                similar: None,
            } => {
                write!(f, "no repository has a package {name}")
            }
            Self::UnknownName {
                name,
                similar: Some(similar),
            } => {
                write!(
                    f,
                    "no repository has a package {name} (did you mean {similar}?)"
                )
            }
            Self::NoVersion {
                name,
                known: (oldest, newest),
            } if oldest == newest => {
                write!(f, "the only known version of {name} is {newest}")
            }
            Self::NoVersion {
                name,
                known: (oldest, newest),
            } => {
                write!(f, "known versions of {name} go from {oldest} to {newest}")
            }
            Self::Rejected {
                package,
                reason,
                others: 0,
            } => {
                write!(f, "{package} cannot be used: {reason}")
            }
            Self::Rejected {
                package,
                reason,
                others,
            } => {
                write!(
                    f,
                    "{package} cannot be used: {reason} (nor can {others} other versions)"
                )
            }
            Self::Opposed { demand } => write!(f, "{demand}"),
        }
    }
}
