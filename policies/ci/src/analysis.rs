//! Analysis: what a commit says about itself. The opam files of the root are the packages to build;
//! `caravan.toml` says where their dependencies come from.

use std::{collections::BTreeMap, fmt, sync::Arc};

use caravan_opam::{Name, OpamFile};
use caravan_protocol::{files::Files, limits};

use crate::settings::{Place, Settings};

/// Most packages of one project.
const PACKAGES_MAX: usize = 100;

/// Why a commit cannot be tested.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnalysisError {
    /// There is nothing to build.
    #[error("find opam files: the root of the commit has none; add NAME.opam for each package")]
    NoOpamFile,
    /// An opam file is too large.
    #[error("read {path}: it has {bytes} bytes, and {max} are allowed")]
    TooLarge {
        /// Which.
        path: String,
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// There are too many.
    #[error("find opam files: the root has {count}, and {max} are allowed")]
    TooMany {
        /// How many.
        count: usize,
        /// The bound.
        max: usize,
    },
    /// An opam file is broken, is named badly or asks for what is not done here.
    #[error("{0}")]
    Opam(String),
    /// `caravan.toml` is broken.
    #[error("{0}")]
    Settings(String),
}

/// What a commit says about itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Definitions {
    /// The packages of the root with their opam files.
    pub packages: BTreeMap<Name, Arc<OpamFile>>,
    /// Where repositories are, first one first.
    pub repositories: Vec<Place>,
    /// Whether the root has a `dune-project`.
    pub dune: bool,
}

impl fmt::Debug for Definitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.packages.keys().map(Name::as_str).collect();
        write!(f, "Definitions({})", names.join(" "))
    }
}

/// Reads what the files of a commit say.
pub fn analyse(files: &dyn Files) -> Result<Definitions, AnalysisError> {
    let settings = Settings::read(files.read("caravan.toml").as_deref())
        .map_err(|error| AnalysisError::Settings(error.to_string()))?;
    let names = files.list("");
    let dune = names.iter().any(|name| name == "dune-project");
    let paths: Vec<&String> = names
        .iter()
        .filter(|name| name.ends_with(".opam"))
        .collect();
    if paths.len() > PACKAGES_MAX {
        return Err(AnalysisError::TooMany {
            count: paths.len(),
            max: PACKAGES_MAX,
        });
    }
    let mut packages = BTreeMap::new();
    for path in paths {
        // An empty opam file is how dune projects mark a root without a package of that name.
        let Some(bytes) = files.read(path).filter(|bytes| !bytes.is_empty()) else {
            continue;
        };
        let stem = path.trim_end_matches(".opam");
        let (name, opam) = package(path, stem, &bytes)?;
        packages.insert(name, opam);
    }
    if packages.is_empty() && names.iter().any(|name| name == "opam") {
        let bytes = files.read("opam").unwrap_or_default();
        let opam = OpamFile::parse(&bytes, "opam")
            .map_err(|error| AnalysisError::Opam(error.to_string()))?;
        let Some(name) = opam.name.clone() else {
            return Err(AnalysisError::Opam(
                "read opam: it has no `name`; call it NAME.opam".to_owned(),
            ));
        };
        packages.insert(name, Arc::new(opam));
    }
    if packages.is_empty() {
        return Err(AnalysisError::NoOpamFile);
    }
    for place in &settings.repositories {
        if let Place::Project(dir) = place
            && files.list(&format!("{dir}/packages")).is_empty()
        {
            let text = format!(
                "read caravan.toml: opam.repositories names {dir:?}, and the commit has no {dir}/packages"
            );
            return Err(AnalysisError::Settings(text));
        }
    }
    Ok(Definitions {
        packages,
        repositories: settings.repositories,
        dune,
    })
}

fn package(path: &str, stem: &str, bytes: &[u8]) -> Result<(Name, Arc<OpamFile>), AnalysisError> {
    let max = limits::OPAM_FILE_BYTES_MAX;
    if bytes.len() > max {
        return Err(AnalysisError::TooLarge {
            path: path.to_owned(),
            bytes: bytes.len(),
            max,
        });
    }
    let bad = |text: String| AnalysisError::Opam(text);
    let name: Name = stem
        .parse()
        .map_err(|error| bad(format!("read {path}: {error}")))?;
    let opam = OpamFile::parse(bytes, path).map_err(|error| bad(error.to_string()))?;
    if let Some(pin) = opam.pin_depends.first() {
        let pin = &pin.package;
        return Err(bad(format!(
            "read {path}: its pin-depends ({pin}) are not followed yet; put {pin} into an overlay"
        )));
    }
    Ok((name, Arc::new(opam)))
}

#[cfg(test)]
mod tests {
    use caravan_protocol::files::MemFiles;

    use super::*;

    fn files(all: &[(&str, &str)]) -> MemFiles {
        let mut files = MemFiles::new();
        for (path, text) in all {
            files.insert(*path, text.as_bytes());
        }
        files
    }

    #[test]
    fn opam_files_of_the_root_are_the_packages() {
        let opam = "opam-version: \"2.0\"";
        let all = [
            ("a.opam", opam),
            ("b.opam", opam),
            ("empty.opam", ""),
            ("sub/c.opam", opam),
            ("dune-project", ""),
        ];
        let found = analyse(&files(&all)).expect("good");
        let names: Vec<&str> = found.packages.keys().map(Name::as_str).collect();
        assert_eq!((names, found.dune), (vec!["a", "b"], true));
    }

    #[test]
    fn what_cannot_be_tested_says_why() {
        let text = |all: &[(&str, &str)]| analyse(&files(all)).expect_err("bad").to_string();
        assert!(text(&[("README", "")]).contains("NAME.opam"));
        let broken = text(&[("a.opam", "opam-version: \"2.0\"\ndepends: [\n")]);
        assert!(broken.contains("a.opam"), "{broken}");
        assert!(text(&[("a.opam", "x"), ("caravan.toml", "[")]).contains("caravan.toml"));
        let pinned = "opam-version: \"2.0\"\npin-depends: [\"x.1\" \"git+https://example.org/x\"]";
        assert!(text(&[("a.opam", pinned)]).contains("x.1"));
    }
}
