//! Objects: the files under `objects/`. One inode holds one content with one mode and owner, and
//! every layer that has such a file links to it.

use caravan_protocol::{
    ids::BlobId,
    tree::{Entry, Kind},
};

/// Permission bits of a blob that no layer has as a file yet.
const PLAIN_MODE: u16 = 0o644;
/// Setuid, setgid and sticky.
const SPECIAL_BITS: u16 = 0o7000;

/// What makes two files one inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) blob: BlobId,
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Length of an encoded key.
pub(crate) const KEY_BYTES: usize = 42;

impl Key {
    /// The object of a blob that is no file of a layer: `root:root 0644`.
    pub(crate) const fn plain(blob: BlobId) -> Self {
        Self {
            blob,
            mode: PLAIN_MODE,
            uid: 0,
            gid: 0,
        }
    }

    /// The object that `entry` may share, if it is a file that may. Empty files are cheaper apart;
    /// special bits and extended attributes stay out of `objects/`.
    pub(crate) fn shared(entry: &Entry) -> Option<Self> {
        match entry.kind {
            Kind::File { blob, size }
                if size > 0 && entry.mode & SPECIAL_BITS == 0 && entry.xattrs.is_empty() =>
            {
                Some(Self {
                    blob,
                    mode: entry.mode,
                    uid: entry.uid,
                    gid: entry.gid,
                })
            }
            _ => None,
        }
    }

    /// The key in the index: objects of one blob are neighbours.
    pub(crate) fn to_bytes(self) -> [u8; KEY_BYTES] {
        let mut bytes = [0; KEY_BYTES];
        bytes[..32].copy_from_slice(self.blob.as_bytes());
        bytes[32..34].copy_from_slice(&self.mode.to_be_bytes());
        bytes[34..38].copy_from_slice(&self.uid.to_be_bytes());
        bytes[38..].copy_from_slice(&self.gid.to_be_bytes());
        bytes
    }

    /// Reads a key of the index.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (blob, rest) = bytes.split_first_chunk::<32>()?;
        let (mode, rest) = rest.split_first_chunk::<2>()?;
        let (uid, rest) = rest.split_first_chunk::<4>()?;
        Some(Self {
            blob: BlobId::from_bytes(*blob),
            mode: u16::from_be_bytes(*mode),
            uid: u32::from_be_bytes(*uid),
            gid: u32::from_be_bytes(rest.try_into().ok()?),
        })
    }

    /// The directory and the file name below `objects/`.
    pub(crate) fn place(&self) -> (String, String) {
        let hex = self.blob.to_string();
        let (dir, rest) = hex.split_at(2);
        let name = format!("{rest}.{:o}.{}.{}", self.mode, self.uid, self.gid);
        (dir.to_owned(), name)
    }

    /// The path below `objects/`.
    pub(crate) fn path(&self) -> String {
        let (dir, name) = self.place();
        format!("{dir}/{name}")
    }

    /// The inverse of [`Key::place`]: `None` for a name that is no object's.
    pub(crate) fn at(dir: &str, name: &str) -> Option<Self> {
        let mut parts = name.split('.');
        let blob = format!("{dir}{}", parts.next()?).parse().ok()?;
        let key = Self {
            blob,
            mode: u16::from_str_radix(parts.next()?, 8).ok()?,
            uid: parts.next()?.parse().ok()?,
            gid: parts.next()?.parse().ok()?,
        };
        (key.place() == (dir.to_owned(), name.to_owned())).then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_from_the_index_and_from_its_place() {
        let key = Key {
            blob: BlobId::of(b"x"),
            mode: 0o755,
            uid: 1000,
            gid: 4_294_967_294,
        };
        assert_eq!(Key::from_bytes(&key.to_bytes()), Some(key));
        assert_eq!(Key::from_bytes(&key.to_bytes()[1..]), None);
        let (dir, name) = key.place();
        assert_eq!(Key::at(&dir, &name), Some(key));
        for name in [
            "",
            "x",
            &name[1..],
            &format!("{name}.1"),
            &name.replace(".755", ".0755"),
        ] {
            assert_eq!(Key::at(&dir, name), None, "{name:?} was taken");
        }
    }
}
