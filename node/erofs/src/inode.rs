//! Inodes: their bytes on disk, with the extended attributes that follow each.

use crate::{Error, Kind, Node, limits};

/// Bytes of a block; the page size of every machine that this runs on is a multiple.
pub(crate) const BLOCK: usize = 4096;
/// Inodes are counted in slots of this size.
pub(crate) const SLOT: usize = 32;

const COMPACT: usize = 32;
const EXTENDED: usize = 64;
const XATTR_HEADER: usize = 12;
const XATTR_ENTRY: usize = 4;

/// Where an inode's content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nowhere: it has none.
    None,
    /// In whole blocks from this one on.
    Blocks(u32),
    /// In whole blocks from this one on, the rest behind the inode.
    Tail(u32),
    /// One hole as long as the file.
    Hole,
}

/// What an inode needs beside its node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) number: u32,
    pub(crate) links: u32,
    pub(crate) size: u64,
    pub(crate) place: Place,
    pub(crate) mtime_s: u64,
}

/// The prefixes of attribute names that have a number.
const PREFIXES: [(&[u8], u8); 3] = [(b"user.", 1), (b"trusted.", 4), (b"security.", 6)];

/// Whether an inode needs the longer form.
fn is_long(node: &Node<'_>, links: u32, size: u64) -> bool {
    let wide = |id: u32| id > u32::from(u16::MAX);
    wide(node.uid) || wide(node.gid) || wide(links) || size > u64::from(u32::MAX)
}

/// Bytes of an inode with its attributes and, for a hole, the note of it.
pub(crate) fn length(node: &Node<'_>, links: u32, size: u64, hole: bool) -> Result<usize, Error> {
    let core = if is_long(node, links, size) {
        EXTENDED
    } else {
        COMPACT
    };
    Ok(core + xattrs_length(node)? + if hole { 4 } else { 0 })
}

fn xattrs_length(node: &Node<'_>) -> Result<usize, Error> {
    if node.xattrs.is_empty() {
        return Ok(0);
    }
    let mut length = XATTR_HEADER;
    for (name, value) in &node.xattrs {
        let (_, rest) = split(name)
            .ok_or_else(|| Error::node(node.path, "the class of an attribute is not known"))?;
        if rest.is_empty() || rest.len() > limits::NAME_BYTES_MAX {
            let reason = "an attribute's name is empty or too long";
            return Err(Error::node(node.path, reason));
        }
        if value.len() > usize::from(u16::MAX) {
            return Err(Error::node(node.path, "an attribute is too large"));
        }
        length += (XATTR_ENTRY + rest.len() + value.len()).next_multiple_of(4);
    }
    if length > limits::XATTRS_BYTES_MAX {
        return Err(Error::node(node.path, "it has too many attributes"));
    }
    Ok(length)
}

fn split(name: &[u8]) -> Option<(u8, &[u8])> {
    let with = |(prefix, index): &(&[u8], u8)| Some((*index, name.strip_prefix(*prefix)?));
    PREFIXES.iter().find_map(with)
}

/// Code of a kind in a directory's entries.
pub(crate) const fn entry_kind(kind: &Kind<'_>) -> u8 {
    match kind {
        Kind::File { .. } => 1,
        Kind::Dir => 2,
        Kind::Whiteout => 3,
        Kind::Symlink { .. } => 7,
    }
}

fn mode(node: &Node<'_>) -> u16 {
    let kind = match node.kind {
        Kind::File { .. } => 0o100_000,
        Kind::Dir => 0o040_000,
        Kind::Whiteout => 0o020_000,
        Kind::Symlink { .. } => 0o120_000,
    };
    kind | node.mode
}

/// Appends an inode with its attributes.
pub(crate) fn fill(out: &mut Vec<u8>, node: &Node<'_>, facts: &Facts) -> Result<(), Error> {
    let long = is_long(node, facts.links, facts.size);
    let (layout, content) = match facts.place {
        Place::None => (0, 0),
        Place::Blocks(first) => (0, first),
        Place::Tail(first) => (2, first),
        Place::Hole => (4, hole_bits(facts.size)),
    };
    let xattrs = xattrs_length(node)?;
    let count = match xattrs {
        0 => 0,
        length => u16::try_from((length - XATTR_HEADER) / 4 + 1)
            .map_err(|_| Error::node(node.path, "it has too many attributes"))?,
    };
    out.extend_from_slice(&(u16::from(long) | layout << 1).to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&mode(node).to_le_bytes());
    if long {
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&facts.size.to_le_bytes());
        out.extend_from_slice(&content.to_le_bytes());
        out.extend_from_slice(&facts.number.to_le_bytes());
        out.extend_from_slice(&node.uid.to_le_bytes());
        out.extend_from_slice(&node.gid.to_le_bytes());
        out.extend_from_slice(&facts.mtime_s.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&facts.links.to_le_bytes());
        out.extend_from_slice(&[0; 16]);
    } else {
        let short = |wide: u32| u16::try_from(wide).expect("the short form was chosen by it");
        let size = u32::try_from(facts.size).expect("the short form was chosen by it");
        out.extend_from_slice(&short(facts.links).to_le_bytes());
        out.extend_from_slice(&size.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&content.to_le_bytes());
        out.extend_from_slice(&facts.number.to_le_bytes());
        out.extend_from_slice(&short(node.uid).to_le_bytes());
        out.extend_from_slice(&short(node.gid).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
    }
    fill_xattrs(out, node)?;
    if facts.place == Place::Hole {
        out.extend_from_slice(&u32::MAX.to_le_bytes());
    }
    Ok(())
}

fn fill_xattrs(out: &mut Vec<u8>, node: &Node<'_>) -> Result<(), Error> {
    if node.xattrs.is_empty() {
        return Ok(());
    }
    out.extend_from_slice(&[0; XATTR_HEADER]);
    for (name, value) in &node.xattrs {
        let (index, rest) = split(name)
            .ok_or_else(|| Error::node(node.path, "the class of an attribute is not known"))?;
        let length = u8::try_from(rest.len())
            .map_err(|_| Error::node(node.path, "an attribute's name is too long"))?;
        let size = u16::try_from(value.len())
            .map_err(|_| Error::node(node.path, "an attribute is too large"))?;
        out.extend_from_slice(&[length, index]);
        out.extend_from_slice(&size.to_le_bytes());
        out.extend_from_slice(rest);
        out.extend_from_slice(value);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    Ok(())
}

/// The power of two, in blocks, of a chunk that covers the whole file.
fn hole_bits(size: u64) -> u32 {
    let blocks = size.div_ceil(BLOCK as u64).max(1);
    blocks.next_power_of_two().trailing_zeros()
}
