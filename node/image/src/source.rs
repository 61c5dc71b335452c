//! Where an image comes from, as a person writes it.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::{
    digest::Digest,
    error::{ImageError, Result},
};

/// Longest name of a repository.
const REPOSITORY_BYTES_MAX: usize = 255;
/// Longest tag.
const TAG_BYTES_MAX: usize = 128;

/// A place that an image may come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An OCI layout: a directory, or a tar archive of one. Of several images the one of that name.
    Layout {
        /// Where it is.
        path: PathBuf,
        /// The image's name in it.
        tag: Option<String>,
    },
    /// A file or directory of which looking at it tells what it is.
    Path(PathBuf),
    /// An image of a registry.
    Registry(Reference),
}

/// An image of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Host, with the port where there is one.
    pub host: String,
    /// Repository.
    pub repository: String,
    /// Tag; only for words where there is a digest.
    pub tag: Option<String>,
    /// What must come, whatever the tag says.
    pub digest: Option<Digest>,
}

impl FromStr for Source {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |reason: &str| ImageError::Source {
            text: text.chars().take(300).collect(),
            reason: reason.to_owned(),
        };
        if text.is_empty() || text.contains('\0') {
            return Err(refuse("it is empty or holds a NUL byte"));
        }
        for scheme in ["docker://", "registry://", "registry:"] {
            if let Some(rest) = text.strip_prefix(scheme) {
                return rest.parse().map(Self::Registry);
            }
        }
        for scheme in ["oci:", "oci-archive:"] {
            if let Some(rest) = text.strip_prefix(scheme) {
                let (path, tag) = layout(rest);
                if path.as_os_str().is_empty() {
                    return Err(refuse("it names no directory"));
                }
                return Ok(Self::Layout { path, tag });
            }
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(refuse(&format!(
                "{scheme:?} is not known: give docker://HOST/REPOSITORY:TAG, oci:DIR[:TAG], or the \
                 path of a directory or archive"
            )));
        }
        Ok(Self::Path(text.into()))
    }
}

impl Source {
    /// The same source for somebody in another directory.
    #[must_use]
    pub fn absolute(self, here: &Path) -> Self {
        match self {
            Self::Layout { path, tag } => Self::Layout {
                path: here.join(path),
                tag,
            },
            Self::Path(path) => Self::Path(here.join(path)),
            other => other,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout { path, tag } => {
                write!(f, "oci:{}", path.display())?;
                tag.iter().try_for_each(|tag| write!(f, ":{tag}"))
            }
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Registry(reference) => write!(f, "docker://{reference}"),
        }
    }
}

/// A path with a colon in it is that path if it is there.
fn layout(text: &str) -> (PathBuf, Option<String>) {
    if !Path::new(text).exists()
        && let Some((path, tag)) = text.rsplit_once(':')
        && !tag.contains('/')
        && !tag.is_empty()
    {
        return (path.into(), Some(tag.to_owned()));
    }
    (text.into(), None)
}

impl FromStr for Reference {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |reason: &str| ImageError::Source {
            text: text.chars().take(300).collect(),
            reason: reason.to_owned(),
        };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest.parse::<Digest>();
                (
                    rest,
                    Some(digest.map_err(|error| refuse(&error.to_string()))?),
                )
            }
            None => (text, None),
        };
        let (host, rest) = rest
            .split_once('/')
            .filter(|(host, _)| host.contains(['.', ':', '[']) || *host == "localhost")
            .ok_or_else(|| refuse("it begins with no host: want HOST/REPOSITORY[:TAG][@DIGEST]"))?;
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag.to_owned())),
            None => (rest, None),
        };
        let repository = match repository.contains('/') || host != "docker.io" {
            true => repository.to_owned(),
            // Docker's own name for what its project publishes.
            false => format!("library/{repository}"),
        };
        if !is_host(host) {
            return Err(refuse("its host is none"));
        }
        if !is_repository(&repository) {
            return Err(refuse(
                "its repository is none: lower-case words, `/` between them",
            ));
        }
        if tag.as_deref().is_some_and(|tag| !is_tag(tag)) {
            return Err(refuse("its tag is none"));
        }
        let tag = match (tag, &digest) {
            (None, None) => Some("latest".to_owned()),
            (tag, _) => tag,
        };
        Ok(Self {
            host: host.to_owned(),
            repository,
            tag,
            digest,
        })
    }
}

impl Reference {
    /// What the registry is asked for: the digest where there is one.
    #[must_use]
    pub fn wanted(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// Whether the host is this machine, with which nobody needs encryption.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let name = match self.host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => &self.host,
        };
        ["localhost", "127.0.0.1", "[::1]"].contains(&name)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest
            .iter()
            .try_for_each(|digest| write!(f, "@{digest}"))
    }
}

fn is_host(host: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b);
    !host.is_empty() && host.len() <= REPOSITORY_BYTES_MAX && host.bytes().all(plain)
}

fn is_repository(name: &str) -> bool {
    let word = |word: &str| {
        let plain =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
        let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
        word.bytes().all(plain)
            && ends(word.bytes().next())
            && ends(word.bytes().last())
            && !word.contains("..")
    };
    name.len() <= REPOSITORY_BYTES_MAX && name.split('/').all(word)
}

/// Whether a text may be the tag of an image.
#[must_use]
pub fn is_tag(tag: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    !tag.is_empty()
        && tag.len() <= TAG_BYTES_MAX
        && tag.bytes().all(plain)
        && !tag.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_round_trip() {
        let hex = "a".repeat(64);
        for (text, shown) in [
            ("localhost:5000/a/b:1.0", "localhost:5000/a/b:1.0"),
            ("docker.io/debian", "docker.io/library/debian:latest"),
            ("[::1]:5000/x", "[::1]:5000/x:latest"),
            (
                &format!("h.example/x:t@sha256:{hex}"),
                &format!("h.example/x:t@sha256:{hex}"),
            ),
            (
                &format!("h.example/x@sha256:{hex}"),
                &format!("h.example/x@sha256:{hex}"),
            ),
        ] {
            let source: Source = format!("docker://{text}").parse().expect("good");
            assert_eq!(source.to_string(), format!("docker://{shown}"));
            let again: Source = format!("registry:{text}").parse().expect("good");
            assert_eq!(again, source);
        }
        let local = |text: &str| text.parse::<Reference>().expect("good").is_local();
        assert!(local("localhost/x") && local("127.0.0.1:9/x") && local("[::1]:9/x"));
        assert!(!local("localhost.evil.example/x") && !local("127.0.0.1.evil.example:80/x"));
    }

    #[test]
    fn odd_references_are_refused() {
        for bad in [
            "docker://debian",
            "docker://h.example/",
            "docker://h.example/UPPER",
            "docker://h.example/../../etc",
            "docker://h.example/a?b",
            "docker://h.example/a@b/c",
            "docker://user:secret@h.example/a",
            "docker://h.example/a:",
            "docker://h.example/a:-x",
            "docker://h.example/a@sha256:12",
            "ftp://h.example/x",
            "oci:",
            "",
        ] {
            assert!(bad.parse::<Source>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_layout_has_a_path_and_perhaps_a_name() {
        let source: Source = "oci:/no/where:v1".parse().expect("good");
        let (path, tag) = (PathBuf::from("/no/where"), Some("v1".to_owned()));
        assert_eq!(source, Source::Layout { path, tag });
        let source: Source = "oci:dir".parse().expect("good");
        assert_eq!(source.absolute(Path::new("/x")).to_string(), "oci:/x/dir");
    }
}
