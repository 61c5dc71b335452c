//! Where everything goes: each inode's place, each directory's blocks.
//!
//! Inodes come first, in the order of the listing, so that a directory and what is in it are close
//! together; the whole blocks of directories and of long links follow.

use std::collections::HashMap;

use crate::{
    Error, Kind, Node,
    dirs::{Blocks, Name},
    inode::{self, BLOCK, Place, SLOT},
    limits,
};

/// Where the first inode is: after the superblock.
pub(crate) const FIRST: u64 = 1024 + 128;

/// What is planned for one node.
#[derive(Debug)]
pub(crate) struct Planned {
    /// Where its inode begins.
    pub(crate) at: u64,
    pub(crate) links: u32,
    pub(crate) size: u64,
    pub(crate) place: Place,
    /// Place of its names in the plan, for a directory.
    pub(crate) dir: Option<usize>,
}

/// The plan of an image.
pub(crate) struct Plan<'a> {
    pub(crate) nodes: Vec<Planned>,
    /// Names and blocks of each directory.
    pub(crate) dirs: Vec<(Vec<Name<'a>>, Blocks)>,
    /// Blocks of inodes, the superblock's included.
    pub(crate) inode_blocks: u32,
    /// Blocks in all.
    pub(crate) blocks: u32,
}

impl Planned {
    /// The number by which directories name it.
    pub(crate) const fn number(&self) -> u64 {
        self.at / SLOT as u64
    }
}

/// Plans an image; the listing begins with the root and has each directory before what is in it.
pub(crate) fn plan<'a>(nodes: &[Node<'a>]) -> Result<Plan<'a>, Error> {
    if nodes.len() > limits::NODES_MAX {
        return Err(Error::TooMany {
            count: nodes.len(),
            max: limits::NODES_MAX,
        });
    }
    let is_root = |root: &Node<'_>| root.path.is_empty() && matches!(root.kind, Kind::Dir);
    if !nodes.first().is_some_and(is_root) {
        return Err(Error::node(b"", "the root is not first, or no directory"));
    }
    let (dirs, dir_of) = directories(nodes)?;
    let mut planned = Vec::with_capacity(nodes.len());
    let mut at = FIRST;
    // Whole blocks are counted from the end of the inodes, which is not known yet.
    let mut whole: u64 = 0;
    for (index, node) in nodes.iter().enumerate() {
        let dir = dir_of[index];
        let (size, links) = match (&node.kind, dir) {
            (Kind::Dir, Some(dir)) => {
                let names: &(Vec<Name<'_>>, Blocks) = &dirs[dir];
                let inner = |name: &&Name<'_>| matches!(nodes[name.node].kind, Kind::Dir);
                // A directory has a link of its parent, one of itself and one of each child: all
                // names that lead to directories but that of its own parent.
                let links = names.0.iter().filter(inner).count();
                (names.1.size(), u32::try_from(links).unwrap_or(u32::MAX))
            }
            (Kind::File { size }, _) => (*size, 1),
            (Kind::Symlink { target }, _) => (target.len() as u64, 1),
            _ => (0, 1),
        };
        let hole = matches!(node.kind, Kind::File { size } if size > 0);
        let length = inode::length(node, links, size, hole)?;
        let block = BLOCK as u64;
        let tail = if hole { 0 } else { size % block };
        let fits = tail > 0 && length as u64 + tail <= block;
        if fits && (at + length as u64) / block != (at + length as u64 + tail - 1) / block {
            at = at.next_multiple_of(block);
        }
        let place = match size {
            0 => Place::None,
            _ if hole => Place::Hole,
            _ => {
                let blocks = if fits {
                    size / block
                } else {
                    size.div_ceil(block)
                };
                let first = u32::try_from(whole).unwrap_or(u32::MAX);
                whole += blocks;
                if fits {
                    Place::Tail(first)
                } else {
                    Place::Blocks(first)
                }
            }
        };
        planned.push(Planned {
            at,
            links,
            size,
            place,
            dir,
        });
        at += length as u64 + if fits { tail } else { 0 };
        at = at.next_multiple_of(SLOT as u64);
    }
    finish(planned, dirs, at, whole)
}

fn finish(
    mut nodes: Vec<Planned>,
    dirs: Vec<(Vec<Name<'_>>, Blocks)>,
    end: u64,
    whole: u64,
) -> Result<Plan<'_>, Error> {
    let block = BLOCK as u64;
    let blocks = end.div_ceil(block) + whole;
    if blocks * block > limits::IMAGE_BYTES_MAX {
        return Err(Error::TooLarge {
            bytes: blocks * block,
            max: limits::IMAGE_BYTES_MAX,
        });
    }
    let narrow = |count: u64| u32::try_from(count).expect("an image's bound is below it");
    let inode_blocks = narrow(end.div_ceil(block));
    for node in &mut nodes {
        if let Place::Blocks(first) | Place::Tail(first) = &mut node.place {
            *first += inode_blocks;
        }
    }
    Ok(Plan {
        nodes,
        dirs,
        inode_blocks,
        blocks: narrow(blocks),
    })
}

type Directories<'a> = (Vec<(Vec<Name<'a>>, Blocks)>, Vec<Option<usize>>);

/// Names of each directory, in order, and which of them each node has.
fn directories<'a>(nodes: &[Node<'a>]) -> Result<Directories<'a>, Error> {
    let mut dirs: Vec<Vec<Name<'a>>> = Vec::new();
    let mut dir_of = vec![None; nodes.len()];
    let mut by_path: HashMap<&[u8], usize> = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        let parent = if index == 0 {
            0
        } else {
            let (dir, name) = split(node.path);
            check(node, name)?;
            let parent = by_path.get(dir).copied();
            let parent = parent
                .ok_or_else(|| Error::node(node.path, "its parent is no directory of the list"))?;
            let at: usize = dir_of[parent].expect("only directories are in the map");
            dirs[at].push(Name { name, node: index });
            parent
        };
        if matches!(node.kind, Kind::Dir) {
            by_path.insert(node.path, index);
            dir_of[index] = Some(dirs.len());
            let link = |name: &'static [u8], node| Name { name, node };
            dirs.push(vec![link(b".", index), link(b"..", parent)]);
        }
    }
    let finish = |mut names: Vec<Name<'a>>| {
        names.sort_unstable_by_key(|name| name.name);
        if let Some(pair) = names.windows(2).find(|pair| pair[0].name == pair[1].name) {
            let path = nodes[pair[1].node].path;
            return Err(Error::node(path, "it is in the listing twice"));
        }
        let blocks = Blocks::of(&names);
        Ok((names, blocks))
    };
    let dirs: Result<_, Error> = dirs.into_iter().map(finish).collect();
    Ok((dirs?, dir_of))
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

fn check(node: &Node<'_>, name: &[u8]) -> Result<(), Error> {
    let wrong = match (name, &node.kind) {
        (b"" | b"." | b"..", _) => Some("a name is empty, `.` or `..`"),
        (name, _) if name.len() > limits::NAME_BYTES_MAX => Some("a name is too long"),
        (name, _) if name.contains(&0) => Some("a name holds a NUL byte"),
        (_, Kind::Symlink { target }) if target.is_empty() || target.contains(&0) => {
            Some("its target is empty or holds a NUL byte")
        }
        (_, Kind::Symlink { target }) if target.len() > limits::TARGET_BYTES_MAX => {
            Some("its target is too long")
        }
        _ if node.mode & !0o7777 != 0 => Some("its mode has bits beyond 07777"),
        _ => None,
    };
    wrong.map_or(Ok(()), |reason| Err(Error::node(node.path, reason)))
}
