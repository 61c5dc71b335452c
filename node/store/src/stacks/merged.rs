//! What an overlay of some trees shows, worked out from their listings. Pure.
//!
//! With nothing below the lowest tree, no whiteout and no mark of an opaque directory is left.

use caravan_protocol::tree::{Entry, Kind, Tree};

/// No layer is as high as this.
const NOTHING: usize = usize::MAX;

/// One file of one layer.
#[derive(Debug, Clone, Copy)]
struct Found<'a> {
    layer: usize,
    entry: &'a Entry,
}

/// A directory that is being gone through.
struct Open<'a> {
    path: &'a [u8],
    /// The lowest layer that shows through it.
    floor: usize,
}

/// Merges trees, the lowest first. The root comes first, and each directory before all that is
/// below it.
pub(crate) fn merged(trees: &[Tree]) -> Vec<&Entry> {
    let count = trees.iter().map(|tree| tree.entries().len()).sum();
    let mut all: Vec<Found<'_>> = Vec::with_capacity(count);
    for (layer, tree) in trees.iter().enumerate() {
        all.extend(tree.entries().iter().map(|entry| Found { layer, entry }));
    }
    // Of one path the highest first.
    all.sort_unstable_by(|a, b| {
        in_walk_order(&a.entry.path, &b.entry.path).then(b.layer.cmp(&a.layer))
    });
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut shown = Vec::with_capacity(all.len());
    for same in all.chunk_by(|a, b| a.entry.path == b.entry.path) {
        let top = same[0];
        let path = top.entry.path.as_slice();
        while open.last().is_some_and(|dir| !is_in(path, dir.path)) {
            open.pop();
        }
        let floor = open.last().map_or(0, |dir| dir.floor);
        if top.layer < floor {
            continue;
        }
        match top.entry.kind {
            Kind::Dir { .. } => {
                shown.push(top.entry);
                let floor = floor_of(same, floor);
                open.push(Open { path, floor });
                continue;
            }
            Kind::File { .. } | Kind::Symlink { .. } => shown.push(top.entry),
            Kind::Whiteout => {}
        }
        // What lower layers have below a directory of this name.
        let floor = NOTHING;
        open.push(Open { path, floor });
    }
    shown
}

/// The lowest layer that shows through the directory of all that have this path.
fn floor_of(same: &[Found<'_>], floor: usize) -> usize {
    let root = same[0].entry.path.is_empty();
    for found in same.iter().take_while(|found| found.layer >= floor) {
        match found.entry.kind {
            // An overlay does not look at the mark on its own root.
            Kind::Dir { opaque: true } if !root => return found.layer,
            Kind::Dir { .. } => {}
            // It ends the directory of the layers above it.
            Kind::File { .. } | Kind::Symlink { .. } | Kind::Whiteout => return found.layer + 1,
        }
    }
    floor
}

/// Whether `path` is below the directory `dir`.
fn is_in(path: &[u8], dir: &[u8]) -> bool {
    dir.is_empty() && !path.is_empty()
        || path
            .strip_prefix(dir)
            .is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// Orders paths so that all that is below a directory follows right after it.
fn in_walk_order(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    let differ = a.iter().zip(b).position(|(a, b)| a != b);
    let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
    match differ {
        Some(at) => rank(a[at]).cmp(&rank(b[at])),
        None => a.len().cmp(&b.len()),
    }
}

#[cfg(test)]
mod tests {
    use caravan_protocol::ids::BlobId;

    use super::*;

    fn file(path: &str) -> Entry {
        Entry::file(path.as_bytes(), 0o644, BlobId::of(path.as_bytes()), 1)
    }

    fn dir(path: &str) -> Entry {
        Entry::dir(path.as_bytes(), 0o755)
    }

    fn with(kind: Kind, path: &str) -> Entry {
        Entry { kind, ..dir(path) }
    }

    fn paths(layers: Vec<Vec<Entry>>) -> Vec<String> {
        let trees: Vec<Tree> = layers
            .into_iter()
            .enumerate()
            .map(|(layer, mut entries)| {
                // The owner tells where a file comes from.
                entries.push(dir(""));
                entries
                    .iter_mut()
                    .for_each(|entry| entry.uid = layer as u32);
                Tree::new(entries).expect("a good tree")
            })
            .collect();
        let shown = merged(&trees);
        let line =
            |entry: &&Entry| format!("{}:{}", entry.uid, String::from_utf8_lossy(&entry.path));
        shown.iter().map(line).collect()
    }

    #[test]
    fn the_highest_of_equal_paths_is_shown_and_directories_are_united() {
        let found = paths(vec![
            vec![dir("a"), file("a/x"), file("a/y"), file("a.b")],
            vec![dir("a"), file("a/y"), file("a/z")],
        ]);
        assert_eq!(found, ["1:", "1:a", "0:a/x", "1:a/y", "1:a/z", "0:a.b"]);
    }

    #[test]
    fn whiteouts_opaque_directories_and_other_kinds_hide_what_is_below() {
        let base = || vec![dir("a"), dir("a/b"), file("a/b/x"), file("a/y"), file("z")];
        let whiteout = |path| with(Kind::Whiteout, path);
        assert_eq!(
            paths(vec![base(), vec![whiteout("a"), whiteout("z")]]),
            ["1:"]
        );
        let opaque = with(Kind::Dir { opaque: true }, "a");
        let anew = vec![opaque, file("a/new")];
        assert_eq!(paths(vec![base(), anew]), ["1:", "1:a", "1:a/new", "0:z"]);
        let replaced = vec![file("a"), dir("z"), file("z/in")];
        assert_eq!(
            paths(vec![base(), replaced]),
            ["1:", "1:a", "1:z", "1:z/in"]
        );
        let back = vec![dir("a"), file("a/late")];
        let between = vec![file("a")];
        assert_eq!(
            paths(vec![base(), between, back]),
            ["2:", "2:a", "2:a/late", "0:z"]
        );
    }
}
