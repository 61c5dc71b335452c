//! `caravan.toml`: what a project may say about its CI. It is optional, and short.

use caravan_protocol::policy::DEFAULT_REPOSITORY;
use serde::Deserialize;

/// Largest `caravan.toml`, bytes.
const BYTES_MAX: usize = 64 * 1024;
/// Most repositories that a project may name.
const REPOSITORIES_MAX: usize = 16;

/// Why a `caravan.toml` is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read caravan.toml: {0}")]
pub struct SettingsError(String);

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A directory of the project itself.
    Project(String),
    /// Somewhere that the node looks up: a URL, or its own default.
    Node(String),
}

/// A project's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// opam repositories, first one first.
    pub repositories: Vec<Place>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    opam: Opam,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Opam {
    repositories: Option<Vec<String>>,
}

impl Settings {
    /// Reads the settings of a project; those of one without the file are the defaults.
    pub fn read(bytes: Option<&[u8]>) -> Result<Self, SettingsError> {
        let default = || vec![DEFAULT_REPOSITORY.to_owned()];
        let Some(bytes) = bytes else {
            return Self::of(default());
        };
        if bytes.len() > BYTES_MAX {
            return Err(SettingsError(format!(
                "it is larger than {BYTES_MAX} bytes"
            )));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| SettingsError(error.to_string()))?;
        let written: Written =
            toml::from_str(text).map_err(|error| SettingsError(error.message().to_owned()))?;
        Self::of(written.opam.repositories.unwrap_or_else(default))
    }

    fn of(names: Vec<String>) -> Result<Self, SettingsError> {
        if names.is_empty() || names.len() > REPOSITORIES_MAX {
            let text = format!(
                "opam.repositories names {} places; want 1 to {REPOSITORIES_MAX}",
                names.len()
            );
            return Err(SettingsError(text));
        }
        let places: Result<_, _> = names.into_iter().map(place).collect();
        Ok(Self {
            repositories: places?,
        })
    }
}

/// A project may name its own directories, URLs and the node's default, never a path of the node.
fn place(name: String) -> Result<Place, SettingsError> {
    let web = name.starts_with("https://") || name.starts_with("http://");
    if name == DEFAULT_REPOSITORY || (web && !name.contains(char::is_control)) {
        return Ok(Place::Node(name));
    }
    // Plain names only: they are printed in recipes that people paste into shells.
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+-/".contains(c);
    let inside = !name.starts_with('-')
        && name.chars().all(plain)
        && !name.split('/').any(|part| matches!(part, "" | "." | ".."));
    if inside {
        Ok(Place::Project(name))
    } else {
        Err(SettingsError(format!(
            "opam.repositories: {name:?} is not a plainly named directory of the project, an http or \
             https URL, or \"default\""
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Place>, String> {
        let settings = Settings::read(Some(text.as_bytes())).map_err(|error| error.to_string())?;
        Ok(settings.repositories)
    }

    #[test]
    fn places_are_told_apart() {
        let default = vec![Place::Node("default".to_owned())];
        assert_eq!(
            Settings::read(None).map(|settings| settings.repositories),
            Ok(default.clone())
        );
        assert_eq!(read(""), Ok(default));
        let two = "[opam]\nrepositories = [\"ci/opam\", \"https://example.org/r.git\"]";
        let project = Place::Project("ci/opam".to_owned());
        assert_eq!(
            read(two),
            Ok(vec![
                project,
                Place::Node("https://example.org/r.git".to_owned())
            ])
        );
    }

    #[test]
    fn a_project_cannot_name_the_nodes_files_and_typos_are_told() {
        for bad in [
            "/etc",
            "../x",
            "a/../../x",
            "",
            "./x",
            "/a:b@c",
            "git@h:x",
            "ssh://h/x",
            "-x",
            "a b",
        ] {
            let text = format!("[opam]\nrepositories = [\"{bad}\"]");
            assert!(read(&text).is_err(), "{bad:?} was taken");
        }
        assert!(
            read("[opam]\nrepository = []")
                .expect_err("a typo")
                .contains("repository")
        );
        assert!(read("[opam]\nrepositories = []").is_err());
        assert!(read("[").is_err());
    }
}
