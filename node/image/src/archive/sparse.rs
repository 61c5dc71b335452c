//! Sparse files: pieces of data with holes between them.

use std::io;

use super::{bad, pax::decimal};
use crate::limits;

/// The pieces of a sparse file, and how far it is read.
#[derive(Debug)]
pub(crate) struct Pieces {
    list: Vec<(u64, u64)>,
    size: u64,
    piece: usize,
    position: u64,
}

/// What comes next in a sparse file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// So many zeros.
    Hole(usize),
    /// So many bytes of the archive; none at the end.
    Data(usize),
}

impl Pieces {
    /// The pieces in order, which together have `stored` bytes of the `size` that the file has.
    pub(crate) fn new(list: Vec<(u64, u64)>, stored: u64, size: u64) -> io::Result<Self> {
        let (mut end, mut sum) = (0u64, 0u64);
        for &(offset, length) in &list {
            let next = offset.checked_add(length).filter(|next| *next <= size);
            let (true, Some(next)) = (offset >= end, next) else {
                return Err(bad(
                    "the pieces of a sparse file overlap or lie outside of it",
                ));
            };
            (end, sum) = (next, sum + length);
        }
        if sum != stored {
            return Err(bad(format!(
                "the pieces of a sparse file have {sum} bytes, and {stored} are there"
            )));
        }
        Ok(Self {
            list,
            size,
            piece: 0,
            position: 0,
        })
    }

    /// What comes next, at most `max` bytes of it. A hole is passed by asking.
    pub(crate) fn next(&mut self, max: usize) -> Next {
        // Pieces without bytes only mark the end.
        while let Some(&(offset, length)) = self.list.get(self.piece) {
            if self.position < offset + length {
                break;
            }
            self.piece += 1;
        }
        let bounded = |bytes: u64| usize::try_from(bytes).unwrap_or(max).min(max);
        let hole_end = match self.list.get(self.piece) {
            Some(&(offset, length)) if self.position >= offset => {
                return Next::Data(bounded(offset + length - self.position));
            }
            Some(&(offset, _)) => offset,
            None => self.size,
        };
        let hole = bounded(hole_end.saturating_sub(self.position));
        self.position += hole as u64;
        if hole == 0 {
            Next::Data(0)
        } else {
            Next::Hole(hole)
        }
    }

    pub(crate) fn advance(&mut self, read: usize) {
        self.position += read as u64;
    }
}

/// Offsets and lengths in turn.
pub(crate) fn pairs(numbers: &[u64]) -> io::Result<Vec<(u64, u64)>> {
    if !numbers.len().is_multiple_of(2) {
        return Err(bad("the pieces of a sparse file are not in pairs"));
    }
    if numbers.len() / 2 > limits::SPARSE_PIECES_MAX {
        return Err(bad("a sparse file has too many pieces"));
    }
    Ok(numbers
        .chunks_exact(2)
        .map(|pair| (pair[0], pair[1]))
        .collect())
}

/// The list of pieces in decimal lines: how many, then an offset and a length of each.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    line: Vec<u8>,
    numbers: Vec<u64>,
}

impl Lines {
    /// Reads one more block; the list, once it is whole. What is behind it in the block is padding.
    pub(crate) fn add(&mut self, block: &[u8]) -> io::Result<Option<Vec<(u64, u64)>>> {
        for &b in block {
            if b != b'\n' {
                self.line.push(b);
                if self.line.len() > 20 {
                    return Err(bad("the list of a sparse file's pieces is damaged"));
                }
                continue;
            }
            self.numbers.push(decimal(&self.line)?);
            self.line.clear();
            if self.numbers[0] > limits::SPARSE_PIECES_MAX as u64 {
                return Err(bad("a sparse file has too many pieces"));
            }
            if self.numbers.len() as u64 == 1 + 2 * self.numbers[0] {
                return pairs(&self.numbers[1..]).map(Some);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_and_data_come_in_turn() {
        let mut pieces = Pieces::new(vec![(2, 3), (8, 0)], 3, 8).expect("good");
        assert_eq!(pieces.next(100), Next::Hole(2));
        assert_eq!(pieces.next(2), Next::Data(2));
        pieces.advance(2);
        assert_eq!(pieces.next(100), Next::Data(1));
        pieces.advance(1);
        assert_eq!(pieces.next(2), Next::Hole(2));
        assert_eq!(pieces.next(2), Next::Hole(1));
        assert_eq!(pieces.next(2), Next::Data(0));
    }

    #[test]
    fn pieces_that_overlap_or_reach_out_are_refused() {
        for (list, stored, size) in [
            (vec![(0, 4), (2, 4)], 8, 8),
            (vec![(0, 9)], 9, 8),
            (vec![(u64::MAX, 2)], 2, 8),
            (vec![(0, 4)], 3, 8),
        ] {
            assert!(Pieces::new(list.clone(), stored, size).is_err(), "{list:?}");
        }
    }
}
