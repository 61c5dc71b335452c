//! Sources: `url`, `extra-source`, `extra-files` and `pin-depends`.

use super::{
    Checksum, Mismatch,
    fields::{string, strings},
};
use crate::{
    file::{Kind, Section, Value},
    package::Package,
};

/// Where the source of a package is, and how to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// `src` (or `archive`)
    pub url: Box<str>,
    /// Checksums; none for a version control address.
    pub checksums: Vec<Checksum>,
    /// Further addresses of the same bytes.
    pub mirrors: Vec<Box<str>>,
    /// The part of the source that is the package.
    pub subpath: Option<Box<str>>,
}

/// A further file that is fetched into the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraSource {
    /// The path inside the source.
    pub name: Box<str>,
    /// Where it is.
    pub source: Source,
}

/// A file beside the opam file, in `files/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraFile {
    /// The path below `files/`, and inside the source.
    pub name: Box<str>,
    /// What it must be.
    pub checksum: Checksum,
}

/// A package that a project wants pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinDepend {
    /// The package.
    pub package: Package,
    /// Where its source is.
    pub url: Box<str>,
}

impl Source {
    /// Reads a `url` section; `None` where it names no source.
    pub(super) fn from_section(section: &Section) -> Result<Option<Self>, Mismatch> {
        let Some(url) = section.field("src").or_else(|| section.field("archive")) else {
            return Ok(None);
        };
        let list = |name| section.field(name).map_or(Ok(Vec::new()), strings);
        Ok(Some(Self {
            url: string(url)?,
            checksums: match section.field("checksum") {
                Some(value) => checksums(value)?,
                None => Vec::new(),
            },
            mirrors: list("mirrors")?,
            subpath: section.field("subpath").map(string).transpose()?,
        }))
    }
}

fn checksums(value: &Value) -> Result<Vec<Checksum>, Mismatch> {
    let values = match &value.kind {
        Kind::List(values) => values.as_slice(),
        _ => std::slice::from_ref(value),
    };
    values.iter().map(checksum).collect()
}

fn checksum(value: &Value) -> Result<Checksum, Mismatch> {
    string(value)?.parse().map_err(|_| {
        Mismatch::new(
            value,
            "md5=, sha256= or sha512= and as many digits as it has",
        )
    })
}

impl ExtraFile {
    pub(super) fn list(value: &Value) -> Result<Vec<Self>, Mismatch> {
        pairs(value, |name, sum| {
            Ok(Self {
                name: string(name)?,
                checksum: checksum(sum)?,
            })
        })
    }
}

impl PinDepend {
    pub(super) fn list(value: &Value) -> Result<Vec<Self>, Mismatch> {
        pairs(value, |package, url| {
            let text = string(package)?;
            let parsed = text
                .parse()
                .map_err(|_| Mismatch::new(package, "NAME.VERSION"))?;
            Ok(Self {
                package: parsed,
                url: string(url)?,
            })
        })
    }
}

/// A list of pairs, or one pair alone.
fn pairs<T>(
    value: &Value,
    read: impl Fn(&Value, &Value) -> Result<T, Mismatch>,
) -> Result<Vec<T>, Mismatch> {
    let Kind::List(values) = &value.kind else {
        return Err(Mismatch::new(value, "a list of pairs"));
    };
    if let [left, right] = values.as_slice()
        && !matches!(left.kind, Kind::List(_))
    {
        return Ok(vec![read(left, right)?]);
    }
    values
        .iter()
        .map(|pair| match &pair.kind {
            Kind::List(sides) if sides.len() == 2 => read(&sides[0], &sides[1]),
            _ => Err(Mismatch::new(pair, "a pair")),
        })
        .collect()
}
