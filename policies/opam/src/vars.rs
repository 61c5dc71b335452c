//! Variables that filters ask for: those of the platform, and those of one package in one phase.
//!
//! A variable may be undefined, which is a third truth value in filters and never an error.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::package::Package;

/// The value of a variable.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VarValue {
    /// A boolean.
    Bool(bool),
    /// A string.
    String(Arc<str>),
}

impl VarValue {
    /// The value as a boolean; the strings `true` and `false` are booleans too.
    #[must_use]
    pub fn truth(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            Self::String(text) => text.parse().ok(),
        }
    }
}

impl fmt::Display for VarValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::String(text) => f.write_str(text),
        }
    }
}

impl From<bool> for VarValue {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&str> for VarValue {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for VarValue {
    fn from(text: String) -> Self {
        Self::String(text.into())
    }
}

/// Where filters look variables up.
pub trait Vars {
    /// The value of `name`, which is `package:variable` for a variable of another package and
    /// `_:variable` for one of the package at hand; `None` where it is undefined.
    fn get(&self, name: &str) -> Option<VarValue>;
}

/// The variables of a platform.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash, PartialOrd, Ord)]
pub struct Env {
    values: BTreeMap<Box<str>, VarValue>,
}

impl Env {
    /// No variable is defined.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A Linux of the given distribution, with the variables that opam itself would find there.
    /// `arch` is opam's word (`x86_64`, `x86_32`, `arm64`, `arm32`, `ppc64`, `s390x`, `riscv64`).
    #[must_use]
    pub fn linux(arch: &str, family: &str, distribution: &str, os_version: &str) -> Self {
        let mut env = Self::new();
        env.set("arch", arch)
            .set("os", "linux")
            .set("os-family", family)
            .set("os-distribution", distribution)
            .set("os-version", os_version)
            .set("make", "make")
            .set("exe", "")
            .set("ocaml:native", true);
        env
    }

    /// A Debian of the given version (`12`) with the given opam.
    #[must_use]
    pub fn debian(arch: &str, os_version: &str, opam_version: &str) -> Self {
        let mut env = Self::linux(arch, "debian", "debian", os_version);
        env.set("opam-version", opam_version);
        env
    }

    /// Defines a variable.
    pub fn set(&mut self, name: &str, value: impl Into<VarValue>) -> &mut Self {
        self.values.insert(name.into(), value.into());
        self
    }

    /// Makes a variable undefined.
    pub fn unset(&mut self, name: &str) -> &mut Self {
        self.values.remove(name);
        self
    }

    /// Every defined variable, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &VarValue)> {
        self.values.iter().map(|(name, value)| (&**name, value))
    }
}

impl Vars for Env {
    fn get(&self, name: &str) -> Option<VarValue> {
        self.values.get(name).cloned()
    }
}

/// What a dependency formula is asked for: the variables that exist only inside one.
///
/// Each is an independent variable of the format, not a state of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Phase {
    /// `build`: dependencies of the build count. Always so while solving.
    pub build: bool,
    /// `post`: dependencies that only have to be there in the end count.
    pub post: bool,
    /// `with-test`
    pub with_test: bool,
    /// `with-doc`
    pub with_doc: bool,
    /// `with-dev-setup`
    pub with_dev_setup: bool,
    /// `dev`: the package is pinned to a working tree.
    pub dev: bool,
}

impl Phase {
    /// What a solve asks of a released package that is only a dependency.
    pub const SOLVE: Self = Self {
        build: true,
        post: true,
        with_test: false,
        with_doc: false,
        with_dev_setup: false,
        dev: false,
    };

    /// What must be there before the package is built: everything but `post`.
    #[must_use]
    pub fn before_build(self) -> Self {
        Self {
            post: false,
            ..self
        }
    }

    fn get(self, name: &str) -> Option<bool> {
        Some(match name {
            "build" => self.build,
            "post" => self.post,
            "with-test" => self.with_test,
            "with-doc" => self.with_doc,
            "with-dev-setup" => self.with_dev_setup,
            "dev" => self.dev,
            _ => return None,
        })
    }
}

/// The variables of one package: its own name and version, those of the phase where there is one
/// (they are undefined elsewhere, as in `available`), and those of the platform.
#[derive(Debug, Clone, Copy)]
pub struct PackageVars<'a> {
    /// The platform.
    pub env: &'a Env,
    /// The package.
    pub package: &'a Package,
    /// The phase.
    pub phase: Option<Phase>,
}

impl Vars for PackageVars<'_> {
    fn get(&self, name: &str) -> Option<VarValue> {
        let own = match name.split_once(':') {
            None => Some(name),
            Some((scope, variable)) if scope == "_" || scope == self.package.name.as_str() => {
                Some(variable)
            }
            Some(_) => None,
        };
        match own {
            Some("name") => return Some(self.package.name.as_str().into()),
            Some("version") => return Some(self.package.version.as_str().into()),
            _ => {}
        }
        if let Some(value) = self.phase.and_then(|phase| phase.get(name)) {
            return Some(VarValue::Bool(value));
        }
        self.env.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_knows_itself_its_phase_and_its_platform() {
        let env = Env::debian("x86_64", "12", "2.1.2");
        let package: Package = "fmt.0.9.0".parse().unwrap();
        let vars = PackageVars {
            env: &env,
            package: &package,
            phase: Some(Phase::SOLVE),
        };
        assert_eq!(vars.get("version"), Some("0.9.0".into()));
        assert_eq!(vars.get("_:name"), Some("fmt".into()));
        assert_eq!(vars.get("fmt:version"), Some("0.9.0".into()));
        assert_eq!(vars.get("with-test"), Some(false.into()));
        assert_eq!(vars.get("os-family"), Some("debian".into()));
        assert_eq!(vars.get("lwt:version"), None);
        let available = PackageVars {
            phase: None,
            ..vars
        };
        assert_eq!(available.get("with-test"), None);
    }
}
