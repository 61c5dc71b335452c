//! Base images: a Debian root with opam and an OCaml compiler, made by mmdebstrap from the archive
//! that the host's apt is configured with. This is an import: it runs as root on the host, before
//! and outside any sandbox, and only when a person asks for it or no base is there yet.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::program::{Program, ProgramError};

const IMPORT_BOUND: Duration = Duration::from_secs(3600);

const APT_SOURCES: &str = include_str!("recipe/apt-sources.sh");
const BASE: &str = include_str!("recipe/base.sh");
const DEBIAN_SOURCE: &str = include_str!("recipe/debian-source.sh");

/// Why there is no base.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// Nobody knows such a base.
    #[error("import the base {name:?}: known are {}", known().join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// mmdebstrap or apt failed.
    #[error("import a base of {suite}")]
    Program {
        /// The suite.
        suite: &'static str,
        /// What it said.
        #[source]
        source: ProgramError,
    },
    /// The report of the import is not readable.
    #[error("read the report of a base import")]
    Io(#[from] io::Error),
}

/// A base that can be imported: ocaml-ci's name of the distribution and Debian's of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Importable {
    /// `debian-12`.
    pub name: &'static str,
    /// `bookworm`.
    pub suite: &'static str,
    /// `12`.
    pub version: &'static str,
}

/// The bases that can be imported, the default first.
pub const IMPORTABLE: [Importable; 2] = [
    Importable {
        name: "debian-12",
        suite: "bookworm",
        version: "12",
    },
    Importable {
        name: "debian-13",
        suite: "trixie",
        version: "13",
    },
];

fn known() -> Vec<&'static str> {
    IMPORTABLE.iter().map(|base| base.name).collect()
}

/// The importable base of this name or suite.
pub fn importable(name: &str) -> Result<Importable, BaseError> {
    IMPORTABLE
        .into_iter()
        .find(|base| base.name == name || base.suite == name)
        .ok_or_else(|| BaseError::Unknown {
            name: name.to_owned(),
        })
}

/// The host recipes on disk, where a shell can source them.
#[derive(Debug, Clone)]
pub struct Recipes(PathBuf);

impl Recipes {
    /// Writes the recipes below `dir`, over what an older version left.
    pub fn install(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        for (name, text) in [
            ("apt-sources.sh", APT_SOURCES),
            ("base.sh", BASE),
            ("debian-source.sh", DEBIAN_SOURCE),
        ] {
            fs::write(dir.join(name), text)?;
        }
        Ok(Self(dir.to_owned()))
    }

    /// The shell running the recipe `name`.
    #[must_use]
    pub fn call(&self, name: &str, bound: Duration) -> Program {
        Program::contained("sh", "dash", bound)
            .arg(self.0.join(name))
            .env("CARAVAN_RECIPES", &self.0)
    }
}

/// Makes the base in the directory `out`, which must not exist, and tells what is in it: the facts
/// that opam's variables and people ask for, with the digests of what the archive signed.
pub async fn import(
    recipes: &Recipes,
    base: Importable,
    out: &Path,
) -> Result<BTreeMap<String, String>, BaseError> {
    let report = out.with_extension("report");
    let call = recipes
        .call("base.sh", IMPORT_BOUND)
        .arg(base.suite)
        .args([out, &report]);
    call.run().await.map_err(|source| BaseError::Program {
        suite: base.suite,
        source,
    })?;
    let text = fs::read_to_string(&report)?;
    fs::remove_file(&report)?;
    Ok(facts(base, &text))
}

fn facts(base: Importable, report: &str) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    let mut set = |name: &str, value: &str| facts.insert(name.to_owned(), value.to_owned());
    set("os-distribution", "debian");
    set("os-family", "debian");
    set("os-version", base.version);
    set("suite", base.suite);
    for line in report.lines() {
        let Some((key, value)) = line.split_once(' ') else {
            continue;
        };
        match key {
            // `4.13.1-4` and `1:5.3.0-1` are OCaml 4.13.1 and 5.3.0.
            "package.ocaml" => set("ocaml", upstream(value)),
            "package.opam" => set("opam", upstream(value)),
            _ if key.starts_with("inrelease.") => set(key, value),
            _ => None,
        };
    }
    facts
}

fn upstream(version: &str) -> &str {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    let version = version.rsplit_once('-').map_or(version, |(rest, _)| rest);
    version.split_once('+').map_or(version, |(rest, _)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_hold_upstream_versions_and_digests() {
        let report = "suite bookworm\npackage.ocaml 4.13.1-4\npackage.opam 1:2.1.2-1+b3\ninrelease.bookworm abc\npackage.gcc 12\n";
        let facts = facts(importable("bookworm").expect("known"), report);
        assert_eq!(facts["ocaml"], "4.13.1");
        assert_eq!(facts["opam"], "2.1.2");
        assert_eq!(facts["inrelease.bookworm"], "abc");
        assert_eq!(facts["os-version"], "12");
    }

    #[test]
    fn an_unknown_base_is_refused_with_those_that_are_known() {
        let text = importable("debian-3").expect_err("unknown").to_string();
        assert!(text.contains("debian-12"), "{text}");
    }
}
