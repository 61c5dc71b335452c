//! An image's bytes, from its first to its last.

use std::io::Write;

use crate::{
    Error, Kind, Node, dirs,
    inode::{self, BLOCK, Facts, Place},
    plan::{self, FIRST, Plan},
};

const MAGIC: u32 = 0xE0F5_E1E2;
/// Files may be holes.
const CHUNKED_FILES: u32 = 4;
const BLOCK_BITS: u8 = 12;
/// What is gathered before it is handed on.
const PIECE: usize = 1024 * 1024;

/// Writes the image of a listing and returns its length, a multiple of 4096 bytes. The listing
/// begins with the root and has each directory before what is in it; every file of the image has
/// one modification time, in seconds since 1970. Nothing is written if the listing is refused.
pub fn write(nodes: &[Node<'_>], mtime_s: u64, out: &mut impl Write) -> Result<u64, Error> {
    let plan = plan::plan(nodes)?;
    let mut pen = Pen {
        out,
        piece: Vec::with_capacity(PIECE + BLOCK),
        done: 0,
    };
    pen.piece.resize(1024, 0);
    superblock(&mut pen.piece, &plan, nodes.len(), mtime_s);
    for index in 0..nodes.len() {
        inode_with_tail(&mut pen, &plan, nodes, index, mtime_s)?;
    }
    let end = u64::from(plan.inode_blocks) * BLOCK as u64;
    pen.pad_to(end)?;
    for (node, planned) in nodes.iter().zip(&plan.nodes) {
        let blocks = match planned.place {
            Place::Blocks(_) => planned.size.div_ceil(BLOCK as u64),
            Place::Tail(_) => planned.size / BLOCK as u64,
            Place::None | Place::Hole => 0,
        };
        for block in 0..usize::try_from(blocks).unwrap_or(usize::MAX) {
            let from = pen.position();
            content(&mut pen.piece, &plan, nodes, node, planned, block);
            pen.pad_to(from + BLOCK as u64)?;
        }
    }
    pen.flush()?;
    debug_assert_eq!(
        pen.done,
        u64::from(plan.blocks) * BLOCK as u64,
        "as planned"
    );
    Ok(pen.done)
}

/// Bytes on their way out, with their place in the image.
struct Pen<'a, W> {
    out: &'a mut W,
    piece: Vec<u8>,
    done: u64,
}

impl<W: Write> Pen<'_, W> {
    fn position(&self) -> u64 {
        self.done + self.piece.len() as u64
    }

    fn pad_to(&mut self, position: u64) -> Result<(), Error> {
        let missing = position
            .checked_sub(self.position())
            .expect("the plan has room for all that is written");
        let missing = usize::try_from(missing).expect("less than a block");
        self.piece.resize(self.piece.len() + missing, 0);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.out.write_all(&self.piece)?;
        self.done += self.piece.len() as u64;
        self.piece.clear();
        Ok(())
    }
}

fn superblock(out: &mut Vec<u8>, plan: &Plan<'_>, count: usize, mtime_s: u64) {
    let begin = out.len();
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&[BLOCK_BITS, 0]);
    let root = u16::try_from(plan.nodes[0].number()).expect("the root is in the first block");
    out.extend_from_slice(&root.to_le_bytes());
    out.extend_from_slice(&(count as u64).to_le_bytes());
    out.extend_from_slice(&mtime_s.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&plan.blocks.to_le_bytes());
    // Inodes are counted from block 0; there are no shared attributes, identifier or name.
    out.extend_from_slice(&[0; 4 + 4 + 16 + 16]);
    out.extend_from_slice(&CHUNKED_FILES.to_le_bytes());
    out.resize(begin + 128, 0);
}

fn inode_with_tail<W: Write>(
    pen: &mut Pen<'_, W>,
    plan: &Plan<'_>,
    nodes: &[Node<'_>],
    index: usize,
    mtime_s: u64,
) -> Result<(), Error> {
    let (node, planned) = (&nodes[index], &plan.nodes[index]);
    debug_assert!(planned.at >= FIRST, "the superblock is not overwritten");
    pen.pad_to(planned.at)?;
    let facts = Facts {
        number: u32::try_from(index + 1).unwrap_or(u32::MAX),
        links: planned.links,
        size: planned.size,
        place: planned.place,
        mtime_s,
    };
    inode::fill(&mut pen.piece, node, &facts)?;
    if let Place::Tail(_) = planned.place {
        let last = usize::try_from(planned.size / BLOCK as u64).unwrap_or(usize::MAX);
        content(&mut pen.piece, plan, nodes, node, planned, last);
    }
    Ok(())
}

/// Appends one block of the content of a directory or a link.
fn content(
    out: &mut Vec<u8>,
    plan: &Plan<'_>,
    nodes: &[Node<'_>],
    node: &Node<'_>,
    planned: &plan::Planned,
    block: usize,
) {
    if let Some(dir) = planned.dir {
        let (names, blocks) = &plan.dirs[dir];
        let first = if block == 0 {
            0
        } else {
            blocks.ends[block - 1]
        };
        let of = |node: usize| {
            (
                plan.nodes[node].number(),
                inode::entry_kind(&nodes[node].kind),
            )
        };
        dirs::fill(out, &names[first..blocks.ends[block]], of);
    } else if let Kind::Symlink { target } = node.kind {
        // Shorter than a block: it has one.
        out.extend_from_slice(target);
    }
}
