//! The layers that a machine has at hand: of so many lineages, those that it used last.

use std::collections::VecDeque;

/// Lineages, the one that was used last at the end.
#[derive(Debug, Default, Clone)]
pub struct Shelf(VecDeque<u32>);

impl Shelf {
    /// Whether it has a lineage.
    #[must_use]
    pub fn has(&self, lineage: u32) -> bool {
        self.0.contains(&lineage)
    }

    /// Uses a lineage, in place of the one that was not used for longest if there are more than
    /// `most`. Whether it was there.
    pub fn take(&mut self, lineage: u32, most: usize) -> bool {
        let at = self.0.iter().position(|held| *held == lineage);
        if let Some(at) = at {
            self.0.remove(at);
        } else if self.0.len() >= most {
            self.0.pop_front();
        }
        if most > 0 {
            self.0.push_back(lineage);
        }
        at.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes() {
        let mut shelf = Shelf::default();
        assert!(![1, 2].iter().any(|lineage| shelf.take(*lineage, 2)));
        assert!(shelf.take(1, 2) && !shelf.take(3, 2));
        assert!(shelf.has(1) && shelf.has(3) && !shelf.has(2));
    }
}
