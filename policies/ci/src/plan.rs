//! The plan: a pure function of a commit's definitions, opam repositories and a base. It says which
//! packages are built on which, and names everything that goes into each by content.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use caravan_opam::{
    Chosen, Env, Name, OpamFile, Package, Repository, ResolvoSolver, Root, Solution, Solver,
    Version, Versions,
    solver::{Pin, Request},
    vars::PackageVars,
};
use caravan_protocol::{
    action::{Checksum, Declared, Source},
    limits,
    policy::Base,
};

use crate::analysis::Definitions;

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The dependencies do not fit together.
    #[error("{0}")]
    NoSolution(String),
    /// The base lacks something.
    #[error(
        "plan for {base}: it does not say which {what} it has; import it anew with `caravan base import {base}`"
    )]
    Base {
        /// Which.
        base: String,
        /// What is missing.
        what: &'static str,
    },
    /// A package's source cannot be had by content.
    #[error("plan {package}: {reason}")]
    Source {
        /// Which.
        package: Package,
        /// Why.
        reason: String,
    },
    /// There are too many packages.
    #[error("plan {count} packages: at most {max} are allowed")]
    TooMany {
        /// How many.
        count: usize,
        /// The bound.
        max: usize,
    },
}

/// A file of a package's source: what it must be, and where it may be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// What it must be.
    pub declared: Declared,
    /// Where it may be had.
    pub sources: Vec<Source>,
}

/// One package to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackagePlan {
    /// The package.
    pub package: Package,
    /// What it is built on, by place in [`Plan::packages`], dependencies first: its whole closure.
    pub closure: Vec<usize>,
    /// Packages of the solution outside of the closure that only have to be there in the end.
    pub post: Vec<Package>,
    /// Its effective opam file.
    pub opam: String,
    /// The files beside it.
    pub extra: BTreeMap<String, Arc<[u8]>>,
    /// Its source, if it has one.
    pub files: Vec<SourceFile>,
}

/// What is to be done on one base.
#[derive(Clone, PartialEq, Eq)]
pub struct Plan {
    /// Packages of the repositories, dependencies first.
    pub packages: Vec<PackagePlan>,
    /// The project's own packages, dependencies first.
    pub own: Vec<Name>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, plan) in self.packages.iter().enumerate() {
            let below: Vec<String> = plan.closure.iter().map(ToString::to_string).collect();
            writeln!(f, "{at} {} on [{}]", plan.package, below.join(" "))?;
        }
        let own: Vec<&str> = self.own.iter().map(Name::as_str).collect();
        write!(f, "project {}", own.join(" "))
    }
}

/// Plans a project on a base.
pub fn plan(
    definitions: &Definitions,
    repository: &Repository,
    base: &Base,
) -> Result<Plan, PlanError> {
    let request = request(definitions, base)?;
    let solution = ResolvoSolver
        .solve(repository, &request)
        .map_err(|error| PlanError::NoSolution(error.to_string()))?;
    let count = solution.packages().len();
    if count > limits::PACKAGES_MAX {
        return Err(PlanError::TooMany {
            count,
            max: limits::PACKAGES_MAX,
        });
    }
    let own = |chosen: &&Chosen| definitions.packages.contains_key(&chosen.package.name);
    let others: Vec<&Chosen> = solution
        .packages()
        .iter()
        .filter(|chosen| !own(chosen))
        .collect();
    let places: BTreeMap<&Package, usize> = others
        .iter()
        .enumerate()
        .map(|(place, chosen)| (&chosen.package, place))
        .collect();
    let maker = Maker {
        repository,
        request: &request,
        solution: &solution,
        places: &places,
    };
    let packages = others
        .iter()
        .map(|chosen| maker.package(chosen))
        .collect::<Result<_, _>>()?;
    let own = solution
        .packages()
        .iter()
        .filter(own)
        .map(|chosen| chosen.package.name.clone())
        .collect();
    Ok(Plan { packages, own })
}

fn request(definitions: &Definitions, base: &Base) -> Result<Request, PlanError> {
    let fact = |what: &'static str| {
        let missing = || PlanError::Base {
            base: base.name.clone(),
            what,
        };
        base.facts.get(what).ok_or_else(missing)
    };
    let (ocaml, opam) = (fact("ocaml")?, fact("opam")?);
    let (family, distribution, version) = (
        fact("os-family")?,
        fact("os-distribution")?,
        fact("os-version")?,
    );
    let mut env = Env::linux(base.platform.arch(), family, distribution, version);
    env.set("opam-version", opam.as_str())
        .set("sys-ocaml-version", ocaml.as_str());
    let bad = |_| PlanError::Base {
        base: base.name.clone(),
        what: "ocaml",
    };
    let compiler: Version = ocaml.parse().map_err(bad)?;
    let exactly = Versions::exactly(compiler);
    let mut request = Request::new(env, []);
    request.with_test = true;
    let system: Name = "ocaml-system".parse().expect("a good package name");
    request.roots.push(Root {
        name: system,
        versions: exactly.clone(),
    });
    request.constrain("ocaml".parse().expect("a good package name"), exactly);
    for (name, opam) in &definitions.packages {
        let version = opam
            .version
            .clone()
            .unwrap_or_else(|| "dev".parse().expect("a good version"));
        request.pin_root(
            name.clone(),
            Pin {
                version,
                opam: Arc::clone(opam),
            },
        );
    }
    Ok(request)
}

struct Maker<'a> {
    repository: &'a Repository,
    request: &'a Request,
    solution: &'a Solution,
    places: &'a BTreeMap<&'a Package, usize>,
}

impl Maker<'_> {
    fn package(&self, chosen: &Chosen) -> Result<PackagePlan, PlanError> {
        let below = self.below(chosen);
        let mut closure = Vec::with_capacity(below.len());
        for dependency in &below {
            let Some(place) = self.places.get(&dependency.package) else {
                let reason = format!(
                    "it needs {}, which is one of the project's own packages; that is not built as a dependency yet",
                    dependency.package
                );
                return Err(PlanError::Source {
                    package: chosen.package.clone(),
                    reason,
                });
            };
            closure.push(*place);
        }
        Ok(PackagePlan {
            package: chosen.package.clone(),
            closure,
            post: self.post(chosen, &below),
            opam: chosen.opam.effective(),
            extra: self.repository.extra_files(&chosen.package),
            files: files(&chosen.package, &chosen.opam)?,
        })
    }

    /// Everything that a package needs before it is built, dependencies first. The order depends on
    /// those packages alone and not on what else is in the solution: the same package on the same
    /// ones is the same work in every project.
    fn below(&self, chosen: &Chosen) -> Vec<&Chosen> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        // What is still to do, the next last; each package comes again after its dependencies.
        let mut open: Vec<(&Package, bool)> =
            chosen.deps.iter().rev().map(|dep| (dep, false)).collect();
        while let Some((package, is_done)) = open.pop() {
            let Some(found) = self.solution.get(&package.name) else {
                continue;
            };
            if is_done {
                order.push(found);
            } else if seen.insert(package) {
                open.push((package, true));
                open.extend(found.deps.iter().rev().map(|dep| (dep, false)));
            }
        }
        order
    }

    /// Packages that it, or one below it, wants only in the end: opam must be told that they will
    /// be there, or it would want to install them first.
    fn post(&self, chosen: &Chosen, below: &[&Chosen]) -> Vec<Package> {
        let inside: BTreeSet<&Package> = below
            .iter()
            .map(|chosen| &chosen.package)
            .chain([&chosen.package])
            .collect();
        let mut post = BTreeSet::new();
        for from in below.iter().copied().chain([chosen]) {
            let phase = self.request.phase(&from.package);
            let vars = PackageVars {
                env: &self.request.env,
                package: &from.package,
                phase: Some(phase),
            };
            for wanted in from.opam.depends.resolve(&vars).atoms() {
                if let Some(found) = self.solution.get(&wanted.name)
                    && wanted.versions.contains(&found.package.version)
                    && !inside.contains(&found.package)
                    && self.places.contains_key(&found.package)
                {
                    post.insert(found.package.clone());
                }
            }
        }
        post.into_iter().collect()
    }
}

fn files(package: &Package, opam: &OpamFile) -> Result<Vec<SourceFile>, PlanError> {
    let refuse = |reason: String| PlanError::Source {
        package: package.clone(),
        reason,
    };
    let mut files = Vec::new();
    let extra = opam
        .extra_sources
        .iter()
        .map(|extra| (&extra.source, false));
    for (source, main) in opam.url.iter().map(|source| (source, true)).chain(extra) {
        let checksums: Vec<Checksum> = source
            .checksums
            .iter()
            .filter_map(|sum| format!("{}={}", sum.algorithm(), sum.hex()).parse().ok())
            .collect();
        if checksums.is_empty() {
            return Err(refuse(format!("its source {} has no checksum", source.url)));
        }
        let mut sources = Vec::new();
        if main && let Some(text) = opam.text("x-debian-source") {
            sources.push(debian(text).ok_or_else(|| {
                refuse(format!(
                    "its x-debian-source {text:?} is not \"NAME SUITE\""
                ))
            })?);
        }
        let urls = std::iter::once(&source.url).chain(&source.mirrors);
        sources.extend(urls.map(|url| Source::Url(url.to_string())));
        files.push(SourceFile {
            declared: Declared { checksums },
            sources,
        });
    }
    if files.len() > limits::FETCH_FILES_MAX {
        return Err(refuse(format!(
            "its source has {} files, too many",
            files.len()
        )));
    }
    Ok(files)
}

fn debian(text: &str) -> Option<Source> {
    let (package, suite) = text.split_once(' ')?;
    let plain = |word: &str, more: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && word
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || more.contains(c))
    };
    (plain(package, "+-.") && plain(suite, "-")).then(|| Source::Debian {
        package: package.to_owned(),
        suite: suite.to_owned(),
    })
}
