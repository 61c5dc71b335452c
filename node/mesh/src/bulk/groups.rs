//! What a blob is made of, so that each part of it can be checked by itself: groups of 16 KiB, and
//! pieces of 16 groups, both complete subtrees of BLAKE3's tree but for the last. A blob's id is the
//! root. Its outline is the list of its pieces' hashes, and a piece comes with the list of its
//! groups' hashes: a list is checked against what is above it, and bytes against their group's hash,
//! so that nothing is taken on trust and wrong bytes are found in the group that has them.
//!
//! No outside crate: `blake3::hazmat` has all that is needed, and one level of lists makes do with
//! no proof beside each range.

use blake3::{
    Hasher,
    hazmat::{HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root},
};
use caravan_protocol::ids::BlobId;

/// Bytes of a group.
pub(crate) const GROUP: u64 = 16 * 1024;
/// Groups of a piece.
pub(crate) const GROUPS: u32 = 16;
/// Bytes of a piece.
pub(crate) const PIECE: u64 = GROUP * GROUPS as u64;

/// Hash of a subtree.
pub(crate) type Hash = [u8; 32];

/// Which groups of a piece.
pub(crate) type Mask = u16;

/// How a blob of some size is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    size: u64,
}

impl Shape {
    pub(crate) const fn of(size: u64) -> Self {
        Self { size }
    }

    pub(crate) const fn size(self) -> u64 {
        self.size
    }

    /// How many pieces it has; an empty blob has one.
    pub(crate) fn pieces(self) -> u32 {
        u32::try_from(self.size.div_ceil(PIECE).max(1)).unwrap_or(u32::MAX)
    }

    /// Where a piece begins.
    pub(crate) fn at(self, piece: u32) -> u64 {
        u64::from(piece) * PIECE
    }

    /// Bytes of a piece.
    pub(crate) fn len(self, piece: u32) -> usize {
        let len = self.size.saturating_sub(self.at(piece)).min(PIECE);
        usize::try_from(len).unwrap_or_default()
    }

    /// How many groups a piece has; an empty one has one.
    pub(crate) fn groups(self, piece: u32) -> u32 {
        let groups = self.len(piece).div_ceil(GROUP as usize).max(1);
        u32::try_from(groups).unwrap_or(GROUPS)
    }

    /// All groups of a piece.
    pub(crate) fn all(self, piece: u32) -> Mask {
        Mask::MAX >> (GROUPS - self.groups(piece)).min(GROUPS - 1)
    }

    /// Where a group begins in its piece, and where it ends.
    pub(crate) fn group(self, piece: u32, group: u32) -> std::ops::Range<usize> {
        let at = group as usize * GROUP as usize;
        let len = self.len(piece);
        at.min(len)..(at + GROUP as usize).min(len)
    }

    /// Whether the piece is all there is, so that its hash is the blob's id.
    fn is_root(self) -> bool {
        self.pieces() == 1
    }

    /// Whether the list of a piece's groups goes before them: one group needs none.
    pub(crate) fn has_list(self, piece: u32) -> bool {
        self.groups(piece) > 1
    }

    /// Hash of one group of a piece.
    pub(crate) fn hash_group(self, piece: u32, group: u32, bytes: &[u8]) -> Hash {
        if self.is_root() && self.groups(piece) == 1 {
            return *blake3::hash(bytes).as_bytes();
        }
        let at = self.at(piece) + u64::from(group) * GROUP;
        let mut hasher = Hasher::new();
        hasher.set_input_offset(at).update(bytes);
        hasher.finalize_non_root()
    }

    /// Hashes of all groups of a piece.
    pub(crate) fn list(self, piece: u32, bytes: &[u8]) -> Vec<Hash> {
        let groups = 0..self.groups(piece);
        let hash = |group| self.hash_group(piece, group, &bytes[self.group(piece, group)]);
        groups.map(hash).collect()
    }

    /// What a piece's list comes to: the hash that is in the outline, or the id.
    pub(crate) fn fold(self, list: &[Hash]) -> Hash {
        merge(list, self.is_root())
    }

    /// Whether an outline is that of the blob.
    pub(crate) fn is_outline(self, id: BlobId, outline: &[Hash]) -> bool {
        outline.len() == self.pieces() as usize && merge(outline, true) == *id.as_bytes()
    }
}

/// What subtrees of one size, the last perhaps smaller, come to.
fn merge(list: &[Hash], is_root: bool) -> Hash {
    match list {
        [] => [0; 32],
        [one] => *one,
        _ => {
            // The left side is the largest power of two that leaves something to the right.
            let half = list.len().next_power_of_two() / 2;
            let left = merge(&list[..half], false);
            let right = merge(&list[half..], false);
            if is_root {
                *merge_subtrees_root(&left, &right, Mode::Hash).as_bytes()
            } else {
                merge_subtrees_non_root(&left, &right, Mode::Hash)
            }
        }
    }
}

/// The outline of a blob, from its bytes piece by piece.
pub(crate) fn outline<E>(
    shape: Shape,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<Vec<Hash>, E> {
    let mut bytes = vec![0; PIECE as usize];
    let mut outline = Vec::with_capacity(shape.pieces() as usize);
    for piece in 0..shape.pieces() {
        let bytes = &mut bytes[..shape.len(piece)];
        read(shape.at(piece), bytes)?;
        outline.push(hash_piece(shape, piece, bytes));
    }
    Ok(outline)
}

/// Hash of a whole piece.
pub(crate) fn hash_piece(shape: Shape, piece: u32, bytes: &[u8]) -> Hash {
    if shape.is_root() {
        return *blake3::hash(bytes).as_bytes();
    }
    let mut hasher = Hasher::new();
    hasher.set_input_offset(shape.at(piece)).update(bytes);
    hasher.finalize_non_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
    }

    fn outline_of(bytes: &[u8]) -> Vec<Hash> {
        let read = |at: u64, into: &mut [u8]| -> Result<(), std::convert::Infallible> {
            into.copy_from_slice(&bytes[at as usize..at as usize + into.len()]);
            Ok(())
        };
        outline(Shape::of(bytes.len() as u64), read).expect("infallible")
    }

    #[test]
    fn lists_and_outlines_of_every_size_come_to_the_id() {
        let (group, piece) = (GROUP as usize, PIECE as usize);
        let sizes = [
            0,
            1,
            1023,
            1024,
            1025,
            group - 1,
            group,
            group + 1,
            3 * group,
        ];
        let large = [
            piece - 1,
            piece,
            piece + 1,
            2 * piece,
            3 * piece + 5,
            7 * piece + 3 * group,
        ];
        for size in sizes.into_iter().chain(large) {
            let bytes = bytes(size);
            let id = BlobId::of(&bytes);
            let shape = Shape::of(size as u64);
            let outline = outline_of(&bytes);
            assert!(shape.is_outline(id, &outline), "{size}");
            let mut total = 0;
            for at in 0..shape.pieces() {
                let from = shape.at(at) as usize;
                let list = shape.list(at, &bytes[from..from + shape.len(at)]);
                assert_eq!(
                    shape.fold(&list),
                    outline[at as usize],
                    "{size}, piece {at}"
                );
                assert_eq!(shape.all(at).count_ones(), shape.groups(at));
                let groups = (0..shape.groups(at)).map(|group| shape.group(at, group).len());
                total += groups.sum::<usize>();
            }
            assert_eq!(total, size);
        }
    }

    #[test]
    fn another_byte_is_another_hash_in_its_group_alone() {
        let mut bytes = bytes(PIECE as usize + 100);
        let shape = Shape::of(bytes.len() as u64);
        let (list, outline) = (shape.list(0, &bytes[..PIECE as usize]), outline_of(&bytes));
        bytes[5 * GROUP as usize + 3] ^= 1;
        let other = shape.list(0, &bytes[..PIECE as usize]);
        let differ: Vec<usize> = (0..16).filter(|&at| list[at] != other[at]).collect();
        assert_eq!(differ, [5]);
        assert_eq!(outline[1], outline_of(&bytes)[1]);
        assert!(!shape.is_outline(BlobId::of(&bytes), &outline));
        assert!(!shape.is_outline(BlobId::of(&bytes), &[]));
    }
}
