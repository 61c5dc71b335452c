//! Which units lie side by side: what is alike, so that a frame of bounded size holds what repeats.
//! First by what the bytes are, then by name, so that versions of one file meet.

/// What is known of a blob beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint<'a> {
    /// It is the listing of a tree.
    Tree,
    /// A tree has it as the file of this path.
    Path(&'a [u8]),
}

/// What bytes are, by a look at the first of them. Each kind has its own dictionary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Listings of trees.
    Listing,
    /// Text of any sort.
    Text,
    /// Programs, libraries and archives of them.
    Program,
    /// Other bytes that are worth compressing.
    Other,
    /// What is compressed already.
    Dense,
}

/// How many kinds there are.
pub(crate) const KINDS: usize = 5;

impl Kind {
    /// The kind of a file that begins with `head`.
    pub(crate) fn of(head: &[u8]) -> Self {
        const DENSE: [&[u8]; 8] = [
            b"\x1f\x8b",
            b"\xfd7zXZ",
            b"\x28\xb5\x2f\xfd",
            b"BZh",
            b"PK\x03\x04",
            b"\x89PNG",
            b"\xff\xd8\xff",
            b"wOF2",
        ];
        if DENSE.iter().any(|magic| head.starts_with(magic)) {
            Self::Dense
        } else if head.starts_with(b"\x7fELF") || head.starts_with(b"!<arch>") {
            Self::Program
        } else if head[..head.len().min(HEAD_BYTES)].contains(&0) {
            Self::Other
        } else {
            Self::Text
        }
    }

    /// Whether a strong level is wasted on it.
    pub(crate) const fn is_dense(self) -> bool {
        matches!(self, Self::Dense)
    }
}

/// How much of a file is looked at.
const HEAD_BYTES: usize = 512;
/// A longer ending is not taken for a kind of file.
const EXTENSION_BYTES_MAX: usize = 8;

/// Blobs of equal rank are versions of one file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    pub(crate) kind: Kind,
    /// The extension, or the whole name where there is none: all the files `copyright` meet.
    family: Vec<u8>,
    path: Vec<u8>,
}

impl Rank {
    pub(crate) fn of(hint: Hint<'_>, head: &[u8]) -> Self {
        match hint {
            Hint::Tree => Self {
                kind: Kind::Listing,
                family: Vec::new(),
                path: Vec::new(),
            },
            Hint::Path(path) => {
                let name = path.rsplit(|&b| b == b'/').next().unwrap_or(path);
                Self {
                    kind: Kind::of(head),
                    family: extension(name).unwrap_or(name).to_vec(),
                    path: path.to_vec(),
                }
            }
        }
    }
}

fn extension(name: &[u8]) -> Option<&[u8]> {
    let at = name.iter().rposition(|&b| b == b'.').filter(|&at| at > 0)?;
    let extension = &name[at + 1..];
    let is_word = extension.first().is_some_and(u8::is_ascii_alphabetic)
        && extension.iter().all(u8::is_ascii_alphanumeric);
    // `libm.so.6` is of the family `so`.
    match is_word && extension.len() <= EXTENSION_BYTES_MAX {
        true => Some(extension),
        false if extension.iter().all(u8::is_ascii_digit) => self::extension(&name[..at]),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_the_first_bytes() {
        for (head, kind) in [
            (&b"\x7fELF\x02\x01\0"[..], Kind::Program),
            (b"#!/bin/sh\n", Kind::Text),
            (b"", Kind::Text),
            (b"\x1f\x8b\x08", Kind::Dense),
            (b"Caml\0", Kind::Other),
        ] {
            assert_eq!(Kind::of(head), kind, "{head:?}");
        }
    }

    #[test]
    fn families_are_extensions_or_names() {
        for (name, family) in [
            ("a.cmi", Some("cmi")),
            ("libm.so.6", Some("so")),
            ("libm.so.6.1.2", Some("so")),
            ("copyright", None),
            (".bashrc", None),
            ("x.", None),
            ("1.2.3", None),
            ("README.Debian-is-long", None),
        ] {
            let found = extension(name.as_bytes());
            assert_eq!(found, family.map(str::as_bytes), "{name}");
        }
    }
}
