//! Looking after a store: what `caravan store` asks, answered alike by a running node and, where
//! none runs, by the program itself. It blocks on the disk and owns nothing.

use std::io::{self, Read, Write};

use caravan_protocol::{
    ids::{BlobId, TreeId},
    limits,
    tree::{Entry, Kind},
};
pub use caravan_store::{
    Amount, Collected, Disk, Held, Idle, Marks, Pin, Pinned, Row, Store, Used, Victim, Went,
};
use caravan_store::{Collect, Freeze, PackOptions, Stage, Stat, StoreError};
pub use cold::{Froze, FrozeTree, Thawed};
use serde::{Deserialize, Serialize};

use crate::{build::chain, clock, control::Reply};

mod cold;

/// Most files of a tree in one answer.
pub const ENTRIES_MAX: usize = 100_000;
/// How strongly a collection compresses what it freezes: a tenth larger than the strongest, for a
/// tenth of the time.
const FREEZE_LEVEL: i32 = 9;
/// Bytes of a file or an archive in one answer.
const PIECE_BYTES: usize = 256 * 1024;

/// What is asked of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoreAsk {
    /// How much is kept. Answer: [`StoreTold::Stat`].
    Stat,
    /// Layers, trees and loose blobs. Answer: [`StoreTold::Rows`].
    Rows,
    /// The files of a tree at a path. Answer: [`StoreTold::Entries`].
    Entries {
        /// The tree, as a person names it.
        what: String,
        /// The path in it; empty for its root.
        path: String,
    },
    /// The bytes of a blob, or of a file of a tree. Answers: [`Reply::Bytes`], then [`Reply::Done`].
    Cat {
        /// The blob or tree, as a person names it.
        what: String,
        /// The path in the tree.
        path: Option<String>,
    },
    /// A tree as a tar archive. Answers: [`Reply::Bytes`], then [`Reply::Done`].
    Export {
        /// The tree, as a person names it.
        what: String,
    },
    /// All pins. Answer: [`StoreTold::Pins`].
    Pins,
    /// Pin something. Answer: [`StoreTold::Pins`] with the new one.
    Pin {
        /// The tree or blob, as a person names it.
        what: String,
        /// The pin's name; the thing's own short id where none is given.
        name: Option<String>,
        /// Why.
        why: String,
    },
    /// Take a pin away. Answer: [`Reply::Done`].
    Unpin {
        /// Its name.
        name: String,
    },
    /// Make room. Answers: [`Reply::Progress`], then [`StoreTold::Collected`].
    Collect {
        /// What the store may hold afterwards; its low water mark where nothing is given.
        to: Option<Amount>,
        /// Whether it is only said what would go.
        dry_run: bool,
    },
    /// Put trees into packs, and give their mountable form up. Answers: [`Reply::Progress`], then
    /// [`StoreTold::Froze`].
    Freeze {
        /// The trees, as a person names them.
        what: Vec<String>,
        /// Besides, all that were not used for so long, seconds.
        idle_s: Option<u64>,
        /// Whether it is only said what would be frozen.
        dry_run: bool,
    },
    /// Make trees mountable again. Answers: [`Reply::Progress`], then [`StoreTold::Thawed`].
    Thaw {
        /// The trees, as a person names them.
        what: Vec<String>,
    },
}

/// What a store answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoreTold {
    /// How much is kept.
    Stat(Kept),
    /// Layers, trees and loose blobs, the last used first.
    Rows(Vec<Row>),
    /// Files of a tree, and how many there are in all.
    Entries(Vec<Listed>, u64),
    /// Pins.
    Pins(Vec<Pin>),
    /// What a collection did.
    Collected(Collected),
    /// What freezing came to.
    Froze(Froze),
    /// Trees that are mountable again.
    Thawed(Vec<Thawed>),
}

/// How much a store keeps.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Kept {
    /// Distinct blobs.
    pub blobs: u64,
    /// Bytes of the distinct blobs.
    pub bytes: u64,
    /// Inodes that hold them.
    pub objects: u64,
    /// Layers that can be mounted.
    pub layers: u64,
    /// Packs, the cold form.
    pub packs: u64,
    /// Trees that packs have wholly.
    pub frozen: u64,
    /// Caches.
    pub caches: u64,
    /// What all of it takes up on the disk, by what it is.
    pub held: Held,
    /// Claims.
    pub claims: u64,
    /// Pins.
    pub pins: u64,
    /// Trees and blobs that are pinned, or that something which runs now needs.
    pub guarded: u64,
    /// The file system that it is on.
    pub disk: Disk,
    /// What stays free on it, bytes.
    pub reserve: u64,
}

/// A file of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its path, lossily.
    pub path: String,
    /// What it is: `dir`, `file`, `link` or `hidden`.
    pub kind: String,
    /// Permission bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of a file.
    pub size: u64,
    /// A file's content.
    pub blob: Option<BlobId>,
    /// Where a link points, lossily.
    pub target: Option<String>,
}

/// Is handed every answer but the last, and says whether to go on.
pub type Tell<'a> = dyn FnMut(Reply) -> bool + 'a;

/// Answers: pieces and progress by `tell`, the last one by returning it.
pub fn answer(
    store: &Store,
    marks: &Marks,
    ask: &StoreAsk,
    tell: &mut Tell<'_>,
) -> Result<Reply, String> {
    answer_beside(store, marks, ask, &|| true, tell)
}

/// The same beside steps that run. `may_freeze` is asked all the while that a collection freezes:
/// where somebody waits for room, that is made without.
pub(crate) fn answer_beside(
    store: &Store,
    marks: &Marks,
    ask: &StoreAsk,
    may_freeze: &dyn Fn() -> bool,
    tell: &mut Tell<'_>,
) -> Result<Reply, String> {
    let words = |error: StoreError| chain(&error);
    let told = match ask {
        StoreAsk::Stat => StoreTold::Stat(stat(store).map_err(words)?),
        StoreAsk::Rows => StoreTold::Rows(store.rows().map_err(words)?),
        StoreAsk::Entries { what, path } => entries(store, what, path)?,
        StoreAsk::Pins => StoreTold::Pins(store.pins().map_err(words)?),
        StoreAsk::Pin { what, name, why } => {
            let what = store.find(what).map_err(words)?;
            let pin = Pin {
                name: name.clone().unwrap_or_else(|| what.blob().fmt_short()),
                what,
                why: why.clone(),
                since_s: now_s(),
            };
            store.pin(&pin).map_err(words)?;
            StoreTold::Pins(vec![pin])
        }
        StoreAsk::Unpin { name } => {
            return match store.unpin(name).map_err(words)? {
                true => Ok(Reply::Done),
                false => Err(format!(
                    "unpin {name:?}: there is no such pin; `caravan store pin` lists pins"
                )),
            };
        }
        StoreAsk::Cat { what, path } => return cat(store, what, path.as_deref(), tell),
        StoreAsk::Export { what } => {
            let tree = tree_of(store, what)?;
            let mut pieces = Pieces(Vec::new(), tell);
            store.export(tree, &mut pieces).map_err(words)?;
            pieces.flush().map_err(|error| error.to_string())?;
            return Ok(Reply::Done);
        }
        StoreAsk::Collect { to, dry_run } => {
            if is_unknown(store)? {
                return Err("collect the store: it was written by an older version, and the node has not looked at it yet; start it once with `caravan node run`".to_owned());
            }
            let disk = store.disk().map_err(words)?;
            let want_bytes = match to {
                Some(to) => disk.held.saturating_sub(to.of(disk.total)),
                None => marks.surplus(&disk),
            };
            let ask = Collect {
                now_s: now_s(),
                want_bytes,
                dry_run: *dry_run,
                freeze: freezing(marks),
            };
            StoreTold::Collected(collect(store, &ask, may_freeze, tell).map_err(words)?)
        }
        StoreAsk::Freeze {
            what,
            idle_s,
            dry_run,
        } => {
            let which = cold::Which {
                what,
                idle: idle_s.map(Idle::For),
                dry_run: *dry_run,
            };
            StoreTold::Froze(cold::freeze(store, &which, tell)?)
        }
        StoreAsk::Thaw { what } => StoreTold::Thawed(cold::thaw(store, what, tell)?),
    };
    Ok(Reply::Store(Box::new(told)))
}

/// Whether nothing tells yet what of a store is a result, nor are its bases pinned.
fn is_unknown(store: &Store) -> Result<bool, String> {
    let words = |error: StoreError| chain(&error);
    Ok(store.stat().map_err(words)?.claims > 0 && !store.has_uses().map_err(words)?)
}

/// What a collection of the node's own freezes before it forgets: slowly, beside everything else.
pub(crate) fn freezing(marks: &Marks) -> Option<Freeze> {
    let idle_s = marks.freeze_after.seconds()?;
    let how = PackOptions {
        level: FREEZE_LEVEL,
        ..PackOptions::cold(1)
    };
    Some(Freeze { idle_s, how })
}

/// The time as the store is told it.
pub(crate) fn now_s() -> u64 {
    clock::stamp().as_ms() / 1000
}

fn stat(store: &Store) -> Result<Kept, StoreError> {
    let Stat {
        blobs,
        bytes,
        objects,
        layers,
        claims,
        ..
    } = store.stat()?;
    let disk = store.disk()?;
    Ok(Kept {
        packs: store.packs()?.len() as u64,
        frozen: store.frozen()?,
        caches: store.caches()?,
        held: store.held()?,
        blobs,
        bytes,
        objects,
        layers,
        claims,
        pins: store.pins()?.len() as u64,
        guarded: store.leased() as u64,
        disk,
        reserve: Marks::reserve(&disk),
    })
}

fn collect(
    store: &Store,
    ask: &Collect,
    may_freeze: &dyn Fn() -> bool,
    tell: &mut Tell<'_>,
) -> Result<Collected, StoreError> {
    // Often enough for the eye; every step would be too often.
    let mut last = None;
    store.collect(ask, &mut |stage, done, total| {
        if stage == Stage::Freezing && !may_freeze() {
            return false;
        }
        let shown = (stage.words(), done.saturating_mul(100).checked_div(total));
        if last == Some(shown) {
            return true;
        }
        last = Some(shown);
        let what = stage.words().to_owned();
        tell(Reply::Progress { what, done, total })
    })
}

/// The tree that a person names.
fn tree_of(store: &Store, what: &str) -> Result<TreeId, String> {
    match store.find(what).map_err(|error| chain(&error))? {
        Pinned::Tree(tree) => Ok(tree),
        Pinned::Blob(_) => Err(format!("use {what:?} as a tree: it is a single blob")),
    }
}

fn trimmed(path: &str) -> &[u8] {
    let path = path.trim_start_matches("./");
    path.trim_matches('/').as_bytes()
}

fn entries(store: &Store, what: &str, path: &str) -> Result<StoreTold, String> {
    let tree = tree_of(store, what)?;
    let _lease = store.lease(&[tree]);
    let listing = store.tree(tree).map_err(|error| chain(&error))?;
    let at = match trimmed(path) {
        b"." => b"".as_slice(),
        at => at,
    };
    let own = listing
        .get(at)
        .ok_or_else(|| format!("list {path:?} of {what}: there is no such file"))?;
    if !matches!(own.kind, Kind::Dir { .. }) {
        return Ok(StoreTold::Entries(vec![listed(own)], 1));
    }
    let inside = |entry: &&Entry| {
        let rest = match at {
            b"" => Some(entry.path.as_slice()),
            at => entry
                .path
                .strip_prefix(at)
                .and_then(|rest| rest.strip_prefix(b"/")),
        };
        rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(&b'/'))
    };
    let all = listing.entries().iter().filter(inside);
    let count = all.clone().count() as u64;
    Ok(StoreTold::Entries(
        all.take(ENTRIES_MAX).map(listed).collect(),
        count,
    ))
}

fn listed(entry: &Entry) -> Listed {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (kind, size, blob, target) = match &entry.kind {
        Kind::Dir { .. } => ("dir", 0, None, None),
        Kind::File { blob, size } => ("file", *size, Some(*blob), None),
        Kind::Symlink { target } => ("link", 0, None, Some(text(target))),
        Kind::Whiteout => ("hidden", 0, None, None),
    };
    Listed {
        path: text(&entry.path),
        kind: kind.to_owned(),
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        size,
        blob,
        target,
    }
}

fn cat(
    store: &Store,
    what: &str,
    path: Option<&str>,
    tell: &mut Tell<'_>,
) -> Result<Reply, String> {
    let words = |error: StoreError| chain(&error);
    let found = store.find(what).map_err(words)?;
    let mut lease = store.lease(&[]);
    lease.add_blob(found.blob());
    let blob = match (found, path) {
        (Pinned::Blob(blob), None) => blob,
        (Pinned::Blob(_), Some(path)) => {
            return Err(format!(
                "print {path:?} of {what}: it is a single blob and has no files"
            ));
        }
        (Pinned::Tree(_), None) => {
            return Err(format!(
                "print {what}: it is a tree; say which of its files, or list them with `caravan store ls {what}`"
            ));
        }
        (Pinned::Tree(tree), Some(path)) => {
            let listing = store.tree(tree).map_err(words)?;
            match listing.get(trimmed(path)).map(|entry| &entry.kind) {
                Some(Kind::File { blob, .. }) => *blob,
                Some(Kind::Symlink { target }) => {
                    let target = String::from_utf8_lossy(target);
                    return Err(format!(
                        "print {path:?} of {what}: it is a link to {target:?}"
                    ));
                }
                Some(_) => return Err(format!("print {path:?} of {what}: it is no regular file")),
                None => return Err(format!("print {path:?} of {what}: there is no such file")),
            }
        }
    };
    let is_log = store
        .usage(blob)
        .map_err(words)?
        .is_some_and(|used| used.kind == Used::Log);
    if is_log && let Ok(log) = store.open_log(blob, limits::LOG_BYTES_MAX) {
        let mut offset = 0;
        loop {
            let bytes = log
                .read_at(offset, PIECE_BYTES)
                .map_err(|error| chain(&error))?;
            if bytes.is_empty() {
                return Ok(Reply::Done);
            }
            offset += bytes.len() as u64;
            if !tell(Reply::Bytes(bytes)) {
                return Err("nobody reads on".to_owned());
            }
        }
    }
    let mut file = store.open_blob(blob).map_err(words)?;
    let mut pieces = Pieces(Vec::new(), tell);
    let copied =
        io::copy(&mut (&mut file).take(u64::MAX), &mut pieces).and_then(|_| pieces.flush());
    copied.map_err(|error| format!("print {what}: {error}"))?;
    Ok(Reply::Done)
}

/// Bytes on their way to whoever asked.
struct Pieces<'a, 'b>(Vec<u8>, &'a mut Tell<'b>);

impl Write for Pieces<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        if self.0.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.0);
        if piece.is_empty() || (self.1)(Reply::Bytes(piece)) {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads on"))
        }
    }
}

#[cfg(test)]
mod tests;
