//! A package: a name at a version.

use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::{
    name::{Name, NameError},
    version::{Version, VersionError},
};

/// Why a text is no package.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PackageError {
    /// There is no dot between name and version.
    #[error("read package {0:?}: expected NAME.VERSION")]
    NoDot(String),
    /// The part before the first dot is no name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The part after the first dot is no version.
    #[error(transparent)]
    Version(#[from] VersionError),
}

/// A name at a version, written `name.version`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Package {
    /// The name.
    pub name: Name,
    /// The version.
    pub version: Version,
}

impl Package {
    /// A package from its two parts.
    #[must_use]
    pub fn new(name: Name, version: Version) -> Self {
        Self { name, version }
    }
}

impl FromStr for Package {
    type Err = PackageError;

    fn from_str(text: &str) -> Result<Self, PackageError> {
        let (name, version) = text
            .split_once('.')
            .ok_or_else(|| PackageError::NoDot(text.to_owned()))?;
        Ok(Self {
            name: name.parse()?,
            version: version.parse()?,
        })
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.name, self.version)
    }
}

impl fmt::Debug for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_split_at_its_first_dot() {
        let package: Package = "lwt.5.6.1".parse().unwrap();
        assert_eq!(
            (package.name.as_str(), package.version.as_str()),
            ("lwt", "5.6.1")
        );
        assert_eq!(package.to_string(), "lwt.5.6.1");
        assert!("lwt".parse::<Package>().is_err());
        assert!("lwt.".parse::<Package>().is_err());
    }
}
