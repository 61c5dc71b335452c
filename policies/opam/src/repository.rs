//! Packages of several opam repositories laid over each other.
//!
//! From outside a repository is a value: the same bytes give the same answers. Inside it keeps what
//! it has parsed, per name, for as long as it lives. It never writes and never fetches; a file that
//! cannot be read spoils its own version only.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use caravan_protocol::files::Files;
use thiserror::Error;

use crate::{
    limits::EXTRA_FILES_MAX,
    name::Name,
    opam::{OpamError, OpamFile},
    package::Package,
    version::Version,
};

/// Why a package cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RepositoryError {
    /// No repository has this version.
    #[error("find {0} in the opam repositories")]
    Unknown(Package),
    /// Its opam file is broken.
    #[error("use {package}: {source}")]
    Broken {
        /// The package.
        package: Package,
        /// What is wrong.
        source: Arc<OpamError>,
    },
}

/// Several repositories, the earlier ones first: the first that has a version of a package decides
/// what it is.
pub struct Repository {
    layers: Vec<Arc<dyn Files>>,
    flat: OnceLock<Flat>,
    names: Mutex<BTreeMap<Name, Arc<Versions>>>,
}

/// The packages without a directory for their name, `packages/NAME.VERSION`.
#[derive(Default)]
struct Flat {
    names: BTreeSet<Name>,
    places: BTreeMap<Name, BTreeMap<Version, Place>>,
}

/// Where a package is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    layer: usize,
    directory: String,
}

/// The versions of one name.
type Versions = BTreeMap<Version, Entry>;

struct Entry {
    place: Place,
    opam: OnceLock<Result<Arc<OpamFile>, RepositoryError>>,
}

const ROOT: &str = "packages";

impl Repository {
    /// Lays the repositories over each other, the strongest first.
    #[must_use]
    pub fn new(layers: Vec<Arc<dyn Files>>) -> Self {
        Self {
            layers,
            flat: OnceLock::new(),
            names: Mutex::default(),
        }
    }

    /// Every name that has a version, in order.
    #[must_use]
    pub fn names(&self) -> Vec<Name> {
        self.flat().names.iter().cloned().collect()
    }

    /// The versions of a name, oldest first; none for a name that is not known.
    #[must_use]
    pub fn versions(&self, name: &Name) -> Vec<Version> {
        self.entries(name).keys().cloned().collect()
    }

    /// The opam file of a package, with the name and version of its path.
    pub fn get(&self, package: &Package) -> Result<Arc<OpamFile>, RepositoryError> {
        let entries = self.entries(&package.name);
        let Some(entry) = entries.get(&package.version) else {
            return Err(RepositoryError::Unknown(package.clone()));
        };
        entry
            .opam
            .get_or_init(|| self.parse(package, &entry.place))
            .clone()
    }

    /// The bytes of the opam file of a package, as they stand in the repository.
    #[must_use]
    pub fn raw(&self, package: &Package) -> Option<Arc<[u8]>> {
        let entries = self.entries(&package.name);
        let place = &entries.get(&package.version)?.place;
        self.layers[place.layer].read(&format!("{}/opam", place.directory))
    }

    /// The files in `files/` beside the opam file of a package, by their path below it; at most
    /// [`EXTRA_FILES_MAX`] of them.
    #[must_use]
    pub fn extra_files(&self, package: &Package) -> BTreeMap<String, Arc<[u8]>> {
        let mut found = BTreeMap::new();
        let entries = self.entries(&package.name);
        let Some(entry) = entries.get(&package.version) else {
            return found;
        };
        let layer = &self.layers[entry.place.layer];
        let root = format!("{}/files", entry.place.directory);
        let mut open = layer.list(&root);
        open.reverse();
        while let Some(path) = open.pop() {
            let full = format!("{root}/{path}");
            match layer.read(&full) {
                Some(bytes) => {
                    found.insert(path, bytes);
                }
                None => open.extend(
                    layer
                        .list(&full)
                        .iter()
                        .map(|name| format!("{path}/{name}")),
                ),
            }
            if found.len() + open.len() > EXTRA_FILES_MAX {
                break;
            }
        }
        found
    }

    fn parse(&self, package: &Package, place: &Place) -> Result<Arc<OpamFile>, RepositoryError> {
        let path = format!("{}/opam", place.directory);
        let bytes = self.layers[place.layer]
            .read(&path)
            .ok_or_else(|| RepositoryError::Unknown(package.clone()))?;
        OpamFile::parse(&bytes, &path)
            .map(|opam| Arc::new(opam.identified(package)))
            .map_err(|error| RepositoryError::Broken {
                package: package.clone(),
                source: Arc::new(error),
            })
    }

    fn entries(&self, name: &Name) -> Arc<Versions> {
        let lock = || self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entries) = lock().get(name) {
            return entries.clone();
        }
        // Listed without the lock: another thread may do the same, and the first one in stays.
        let entries = Arc::new(self.list_versions(name));
        lock().entry(name.clone()).or_insert(entries).clone()
    }

    fn list_versions(&self, name: &Name) -> Versions {
        let mut places = self.flat().places.get(name).cloned().unwrap_or_default();
        for (layer, files) in self.layers.iter().enumerate() {
            let parent = format!("{ROOT}/{name}");
            for child in files.list(&parent) {
                let Ok(package) = child.parse::<Package>() else {
                    continue;
                };
                let directory = format!("{parent}/{child}");
                if package.name != *name || !has_opam(&**files, &directory) {
                    continue;
                }
                let place = Place { layer, directory };
                match places.get(&package.version) {
                    Some(earlier) if earlier.layer <= layer => {}
                    _ => {
                        places.insert(package.version, place);
                    }
                }
            }
        }
        let entry = |(version, place)| {
            (
                version,
                Entry {
                    place,
                    opam: OnceLock::new(),
                },
            )
        };
        places.into_iter().map(entry).collect()
    }

    fn flat(&self) -> &Flat {
        self.flat.get_or_init(|| {
            let mut flat = Flat::default();
            for (layer, files) in self.layers.iter().enumerate() {
                for child in files.list(ROOT) {
                    let directory = format!("{ROOT}/{child}");
                    if let Ok(name) = child.parse::<Name>() {
                        flat.names.insert(name);
                    } else if let Ok(package) = child.parse::<Package>()
                        && has_opam(&**files, &directory)
                    {
                        flat.names.insert(package.name.clone());
                        let places = flat.places.entry(package.name).or_default();
                        places
                            .entry(package.version)
                            .or_insert(Place { layer, directory });
                    }
                }
            }
            flat
        })
    }
}

fn has_opam(files: &dyn Files, directory: &str) -> bool {
    files.list(directory).iter().any(|name| name == "opam")
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository")
            .field("layers", &self.layers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use caravan_protocol::files::MemFiles;

    use super::*;

    fn layer(files: &[(&str, &str)]) -> Arc<dyn Files> {
        let mut layer = MemFiles::new();
        for (path, text) in files {
            layer.insert(*path, text.as_bytes());
        }
        Arc::new(layer)
    }

    fn package(text: &str) -> Package {
        text.parse().unwrap()
    }

    fn repository() -> Repository {
        Repository::new(vec![
            layer(&[
                ("packages/a/a.1/opam", "synopsis: \"ours\""),
                ("packages/c.3/opam", "name: \"other\""),
                ("packages/b/b.1/files/only", "no opam file here"),
            ]),
            layer(&[
                ("repo", ""),
                ("packages/a/a.1/opam", "synopsis: \"theirs\""),
                ("packages/a/a.1/files/x/y.patch", "p"),
                ("packages/a/a.10/opam", "depends: 3"),
                ("packages/a/a.9/opam", "synopsis: \"nine\""),
                ("packages/a/a.9/files/x/y.patch", "p"),
                ("packages/a/a.9/files/z", "q"),
                ("packages/a/README", ""),
                ("packages/b/b.1/opam", "synopsis: \"b\""),
            ]),
        ])
    }

    #[test]
    fn the_first_repository_that_has_a_version_decides() {
        let repository = repository();
        assert_eq!(
            repository.names(),
            ["a", "b", "c"].map(|name| name.parse().unwrap())
        );
        let versions = repository.versions(&"a".parse().unwrap());
        assert_eq!(
            versions,
            ["1", "9", "10"].map(|version| version.parse().unwrap())
        );
        assert_eq!(
            repository.get(&package("a.1")).unwrap().text("synopsis"),
            Some("ours")
        );
        assert_eq!(
            repository.get(&package("b.1")).unwrap().text("synopsis"),
            Some("b")
        );
        assert!(repository.extra_files(&package("a.1")).is_empty());
        let files: Vec<_> = repository
            .extra_files(&package("a.9"))
            .into_keys()
            .collect();
        assert_eq!(files, ["x/y.patch", "z"]);
        assert_eq!(
            &*repository.raw(&package("a.1")).unwrap(),
            b"synopsis: \"ours\""
        );
    }

    #[test]
    fn the_path_decides_the_name() {
        let opam = repository().get(&package("c.3")).unwrap();
        assert_eq!(opam.name.as_ref().unwrap().as_str(), "c");
    }

    #[test]
    fn a_broken_file_spoils_its_own_version_only() {
        let repository = repository();
        let error = repository.get(&package("a.10")).unwrap_err().to_string();
        assert!(
            error.contains("use a.10: read packages/a/a.10/opam:1:10: field depends"),
            "{error}"
        );
        assert!(repository.get(&package("a.9")).is_ok());
        assert_eq!(
            repository.get(&package("a.11")),
            Err(RepositoryError::Unknown(package("a.11")))
        );
    }
}
