//! What is to be solved.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::{
    name::Name,
    opam::OpamFile,
    package::Package,
    vars::{Env, Phase},
    version::{Version, Versions},
};

/// A package that must be in the solution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The package.
    pub name: Name,
    /// The versions that will do.
    pub versions: Versions,
}

impl Root {
    /// Any version of a package.
    #[must_use]
    pub fn any(name: Name) -> Self {
        Self {
            name,
            versions: Versions::any(),
        }
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        if self.versions.is_empty() {
            Ok(())
        } else {
            write!(f, " {{{}}}", self.versions)
        }
    }
}

/// A package whose only version is given with the request: one of the project itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Its version; `dev` where it has none.
    pub version: Version,
    /// Its opam file.
    pub opam: Arc<OpamFile>,
}

impl Pin {
    /// The opam file of a project as the package that it is pinned to.
    #[must_use]
    pub fn new(package: &Package, opam: OpamFile) -> Self {
        Self {
            version: package.version.clone(),
            opam: Arc::new(opam.identified(package)),
        }
    }
}

/// A request to a solver.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// What must be in the solution, the most important first.
    pub roots: Vec<Root>,
    /// Packages with one given version, whatever repositories have. They may be roots or not, and
    /// their variable `dev` is true.
    pub pins: BTreeMap<Name, Pin>,
    /// Bounds on packages that nobody is made to install, as a compiler's version.
    pub constraints: BTreeMap<Name, Versions>,
    /// The platform.
    pub env: Env,
    /// Whether dependencies of tests count, for the roots.
    pub with_test: bool,
    /// Whether dependencies of documentation count, for the roots.
    pub with_doc: bool,
    /// Whether dependencies of development tools count, for the roots.
    pub with_dev_setup: bool,
    /// Oldest versions first instead of newest first.
    pub lower_bounds: bool,
}

impl Request {
    /// A request for any versions of these packages.
    #[must_use]
    pub fn new(env: Env, roots: impl IntoIterator<Item = Name>) -> Self {
        let roots = roots.into_iter().map(Root::any).collect();
        Self {
            env,
            roots,
            ..Self::default()
        }
    }

    /// Adds a pinned root.
    pub fn pin_root(&mut self, name: Name, pin: Pin) -> &mut Self {
        self.roots.push(Root::any(name.clone()));
        self.pins.insert(name, pin);
        self
    }

    /// Bounds a package without asking for it.
    pub fn constrain(&mut self, name: Name, versions: Versions) -> &mut Self {
        self.constraints.insert(name, versions);
        self
    }

    /// What dependency formulas of a package are asked for while solving.
    #[must_use]
    pub fn phase(&self, package: &Package) -> Phase {
        let is_root = self.roots.iter().any(|root| root.name == package.name);
        Phase {
            with_test: is_root && self.with_test,
            with_doc: is_root && self.with_doc,
            with_dev_setup: is_root && self.with_dev_setup,
            dev: self.pins.contains_key(&package.name) || package.version.as_str() == "dev",
            ..Phase::SOLVE
        }
    }

    /// The roots as text, for errors.
    pub(super) fn describe_roots(&self) -> String {
        let roots: Vec<String> = self.roots.iter().map(ToString::to_string).collect();
        roots.join(", ")
    }
}
