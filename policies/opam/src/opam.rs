//! Opam files with their meaning: typed fields, and the part that can change a build.

mod checksum;
mod command;
mod effective;
mod environment;
mod error;
mod fields;
mod flag;
mod source;

pub use self::{
    checksum::{Checksum, ChecksumError},
    command::{Argument, Command, Word},
    environment::{Change, EnvUpdate},
    error::{Mismatch, OpamError},
    flag::Flag,
    source::{ExtraFile, ExtraSource, PinDepend, Source},
};
use crate::{
    dependency::Dependencies,
    file::{File, Value},
    filter::Filter,
    name::Name,
    package::Package,
    vars::{Env, PackageVars, Phase},
    version::Version,
};

/// Something that a filter may switch off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filtered<T> {
    /// The thing.
    pub value: T,
    /// When it counts; always where there is none.
    pub filter: Option<Filter>,
}

/// The fields of an opam file that are asked for here. What is not named is kept in the file, and
/// unknown fields are never an error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpamFile {
    file: File,
    /// `name`
    pub name: Option<Name>,
    /// `version`
    pub version: Option<Version>,
    /// `depends`
    pub depends: Dependencies,
    /// `depopts`: packages that are used where they are there, and never asked for.
    pub depopts: Dependencies,
    /// `conflicts`: the package cannot be with whatever makes this hold.
    pub conflicts: Dependencies,
    /// `conflict-class`
    pub conflict_class: Vec<Name>,
    /// `available`
    pub available: Option<Filter>,
    /// `flags`
    pub flags: Vec<Flag>,
    /// `build`
    pub build: Vec<Command>,
    /// `install`
    pub install: Vec<Command>,
    /// `run-test`
    pub run_test: Vec<Command>,
    /// `remove`
    pub remove: Vec<Command>,
    /// `url`
    pub url: Option<Source>,
    /// `extra-source`
    pub extra_sources: Vec<ExtraSource>,
    /// `extra-files`
    pub extra_files: Vec<ExtraFile>,
    /// `patches`
    pub patches: Vec<Filtered<Box<str>>>,
    /// `substs`
    pub substs: Vec<Filtered<Box<str>>>,
    /// `setenv`
    pub setenv: Vec<EnvUpdate>,
    /// `build-env`
    pub build_env: Vec<EnvUpdate>,
    /// `pin-depends`
    pub pin_depends: Vec<PinDepend>,
    /// `depexts`
    pub depexts: Vec<Filtered<Vec<Box<str>>>>,
}

impl OpamFile {
    /// Reads an opam file; `path` is only used in errors.
    pub fn parse(bytes: &[u8], path: &str) -> Result<Self, OpamError> {
        let file = File::parse(bytes, path)?;
        fields::read(file).map_err(|(field, mismatch)| mismatch.in_field(path, field))
    }

    /// The same file as that of `package`, whatever its own `name` and `version` say: in a
    /// repository the path decides.
    #[must_use]
    pub fn identified(mut self, package: &Package) -> Self {
        self.name = Some(package.name.clone());
        self.version = Some(package.version.clone());
        self
    }

    /// The value of any field outside sections, as `x-debian-source`.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.file.field(name)
    }

    /// The text of a field that is one string.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.field(name).and_then(fields::as_string)
    }

    /// The file as it was parsed.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Whether the file has this flag.
    #[must_use]
    pub fn has_flag(&self, flag: &Flag) -> bool {
        self.flags.contains(flag)
    }

    /// Whether a solver should take this version only where no other will do.
    #[must_use]
    pub fn is_avoided(&self) -> bool {
        self.has_flag(&Flag::AvoidVersion) || self.has_flag(&Flag::Deprecated)
    }

    /// Whether `available` is true on this platform; undefined is not.
    #[must_use]
    pub fn is_available(&self, package: &Package, env: &Env) -> bool {
        let vars = PackageVars {
            env,
            package,
            phase: None,
        };
        self.available
            .as_ref()
            .is_none_or(|filter| filter.holds(&vars))
    }

    /// Canonical text of what can change a build of this package. Files that build the same give
    /// the same text, and opam reads the text as an opam file.
    #[must_use]
    pub fn effective(&self) -> String {
        effective::text(self)
    }

    /// Whether the file has a way to run tests: `run-test`, or a build step or argument that is
    /// there for tests only. "Tests passed" and "had no tests" must be told apart.
    #[must_use]
    pub fn has_tests(&self, package: &Package, env: &Env) -> bool {
        let commands = |with_test| {
            let phase = Phase {
                with_test,
                ..Phase::SOLVE
            };
            let vars = PackageVars {
                env,
                package,
                phase: Some(phase),
            };
            Command::expand_all(&self.build, &vars)
        };
        !self.run_test.is_empty() || commands(true) != commands(false)
    }
}

#[cfg(test)]
mod tests;
