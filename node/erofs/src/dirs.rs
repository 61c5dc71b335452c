//! The content of directories: blocks of entries in byte order, each block with its own names.

use crate::inode::BLOCK;

/// Bytes of one entry without its name.
const ENTRY: usize = 12;

/// A name in a directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Name<'a> {
    pub(crate) name: &'a [u8],
    /// Index of the node that it names.
    pub(crate) node: usize,
}

/// Where each block of a directory's content ends in its list of names, and the bytes of the last
/// block that are in use.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    pub(crate) ends: Vec<usize>,
    pub(crate) tail: usize,
}

impl Blocks {
    /// Splits sorted names into blocks.
    pub(crate) fn of(names: &[Name<'_>]) -> Self {
        let mut blocks = Self::default();
        for (at, name) in names.iter().enumerate() {
            let need = ENTRY + name.name.len();
            if blocks.tail + need > BLOCK {
                blocks.ends.push(at);
                blocks.tail = 0;
            }
            blocks.tail += need;
        }
        blocks.ends.push(names.len());
        blocks
    }

    /// Length of the directory's content, bytes.
    pub(crate) fn size(&self) -> u64 {
        ((self.ends.len() - 1) * BLOCK + self.tail) as u64
    }
}

/// Appends one block of entries; `of` gives each node's number and the code of its kind.
pub(crate) fn fill(out: &mut Vec<u8>, names: &[Name<'_>], of: impl Fn(usize) -> (u64, u8)) {
    let mut name_at = names.len() * ENTRY;
    for name in names {
        let (number, kind) = of(name.node);
        out.extend_from_slice(&number.to_le_bytes());
        let at = u16::try_from(name_at).expect("a block is shorter than 64 KiB");
        out.extend_from_slice(&at.to_le_bytes());
        out.extend_from_slice(&[kind, 0]);
        name_at += name.name.len();
    }
    for name in names {
        out.extend_from_slice(name.name);
    }
}
