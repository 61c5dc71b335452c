//! What a stack of layers shows: the rules by which an overlay merges directories, over listings.
//! Reads only what is asked for; a deep stack of large layers is never merged as a whole.

use std::{collections::BTreeMap, ops::Bound};

use super::{Entry, Kind, Tree};

/// A stack of trees as a command on it would see them.
#[derive(Debug, Clone)]
pub struct View<'a> {
    /// Lowest first.
    layers: Vec<&'a Tree>,
}

impl<'a> View<'a> {
    /// The view of these layers, lowest first.
    #[must_use]
    pub fn new(layers: impl IntoIterator<Item = &'a Tree>) -> Self {
        Self {
            layers: layers.into_iter().collect(),
        }
    }

    /// What is seen at `path`, if anything; empty for the root. No link is followed.
    #[must_use]
    pub fn get(&self, path: &[u8]) -> Option<&'a Entry> {
        let mut seen = None;
        for layer in &self.layers {
            if hides_below(layer, path) {
                seen = None;
            }
            match layer.get(path) {
                Some(entry) if entry.kind == Kind::Whiteout => seen = None,
                Some(entry) => seen = Some(entry),
                None => {}
            }
        }
        seen
    }

    /// Everything that is seen below the directory `path`, ascending by path; `path` itself is not
    /// among it.
    #[must_use]
    pub fn below(&self, path: &[u8]) -> BTreeMap<&'a [u8], &'a Entry> {
        let mut seen = BTreeMap::new();
        for layer in &self.layers {
            let itself = layer.get(path).filter(|_| !path.is_empty());
            if hides_below(layer, path) || itself.is_some_and(hides) {
                seen.clear();
            }
            for entry in layer.below(path) {
                // What hides comes before all that it hides, so what is inserted here stays.
                if hides(entry) {
                    remove_below(&mut seen, &entry.path);
                }
                if entry.kind == Kind::Whiteout {
                    seen.remove(entry.path.as_slice());
                } else {
                    seen.insert(entry.path.as_slice(), entry);
                }
            }
        }
        seen
    }
}

impl Tree {
    /// The entries below the directory `path`, ascending.
    fn below<'a>(&'a self, path: &[u8]) -> impl Iterator<Item = &'a Entry> {
        let (start, end) = bounds(path);
        let from = self
            .entries
            .partition_point(|entry| entry.path.as_slice() < start.as_slice());
        let to = self
            .entries
            .partition_point(|entry| entry.path.as_slice() < end.as_slice());
        // The whole tree has no end, and its root is not below itself.
        let range = if path.is_empty() {
            1..self.entries.len()
        } else {
            from..to
        };
        self.entries[range].iter()
    }
}

/// The first path that can lie below a directory, and the first that cannot any more.
fn bounds(dir: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let with = |last: u8| [dir, &[last]].concat();
    (with(b'/'), with(b'/' + 1))
}

fn remove_below(seen: &mut BTreeMap<&[u8], &Entry>, dir: &[u8]) {
    let (start, end) = bounds(dir);
    let hidden: Vec<&[u8]> = seen
        .range::<[u8], _>((
            Bound::Included(start.as_slice()),
            Bound::Excluded(end.as_slice()),
        ))
        .map(|(path, _)| *path)
        .collect();
    for path in hidden {
        seen.remove(path);
    }
}

/// Whether lower layers show nothing below this entry.
fn hides(entry: &Entry) -> bool {
    entry.kind != Kind::Dir { opaque: false }
}

/// Whether a directory above `path` hides in this layer whatever lower ones have at `path`. An
/// overlay heeds no mark on the roots of its layers, so the root is left out.
fn hides_below(layer: &Tree, path: &[u8]) -> bool {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let mut above = slashes.map(|(at, _)| &path[..at]);
    above.any(|dir| layer.get(dir).is_some_and(hides))
}
