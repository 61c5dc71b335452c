//! What is worth keeping: for each tree and each loose blob when it was last used, what it cost to
//! make, and a few words about it. The store knows neither time nor actions: its caller tells it.
//!
//! Notes are gathered in memory and written together, since each wait for the disk costs more than
//! a note is worth. A kill loses the last few, and with them a little of the order in which things
//! are collected.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use caravan_protocol::{
    codec,
    ids::{BlobId, TreeId},
};
use redb::{ReadableTable, ReadableTableMetadata};
use serde::{Deserialize, Serialize};

use crate::{
    error::Result,
    index::USES,
    limits::{NOTES_MAX, USE_WORDS_BYTES_MAX},
    store::Store,
};

/// What kind of thing is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Used {
    /// A tree with all that it names, laid out as a layer or not.
    Tree,
    /// The log of an action. Old ones go first; young ones stay longest.
    Log,
    /// Another blob, such as a named output.
    Blob,
}

/// What is known of the use of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// What it is.
    pub kind: Used,
    /// When it was last used, seconds since 1970; 0 if nobody has said.
    pub last_s: u64,
    /// What it took to make, milliseconds.
    pub cost_ms: u64,
    /// A few words about it.
    pub words: String,
}

const USE_BYTES_MAX: usize = USE_WORDS_BYTES_MAX + 64;

/// Notes that are not written yet.
#[derive(Default)]
pub(crate) struct Notes(Mutex<BTreeMap<BlobId, Use>>);

impl Notes {
    /// Those of this very thing.
    pub(crate) fn forget(&self, blob: BlobId) {
        self.lock().remove(&blob);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<BlobId, Use>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Notes that a tree was used now.
    pub fn note_use(&self, tree: TreeId, now_s: u64) -> Result<()> {
        self.note(tree.blob(), Used::Tree, now_s, 0, "")
    }

    /// Notes what made a tree: the wall clock that it took, and a few words.
    pub fn note_made(&self, tree: TreeId, now_s: u64, cost_ms: u64, words: &str) -> Result<()> {
        self.note(tree.blob(), Used::Tree, now_s, cost_ms, words)
    }

    /// Notes a blob that no tree names, which otherwise is rubbish to a collection.
    pub fn note_blob(
        &self,
        blob: BlobId,
        kind: Used,
        now_s: u64,
        cost_ms: u64,
        words: &str,
    ) -> Result<()> {
        self.note(blob, kind, now_s, cost_ms, words)
    }

    fn note(&self, blob: BlobId, kind: Used, now_s: u64, cost_ms: u64, words: &str) -> Result<()> {
        let note = Use {
            kind,
            last_s: now_s,
            cost_ms,
            words: clean(words),
        };
        let mut notes = self.inner.notes.lock();
        if notes.len() >= 2 * NOTES_MAX && !notes.contains_key(&blob) {
            // None could be written for long: say why instead of gathering more.
            drop(notes);
            self.flush_notes()?;
            notes = self.inner.notes.lock();
        }
        match notes.get_mut(&blob) {
            Some(known) => merge(known, note),
            None => {
                notes.insert(blob, note);
            }
        }
        let full = notes.len() >= NOTES_MAX;
        drop(notes);
        if full { self.flush_notes() } else { Ok(()) }
    }

    /// Writes the notes down. Called now and then, and by a collection before it looks.
    pub fn flush_notes(&self) -> Result<()> {
        // They count in memory until they are written: the disk may be full now and not later.
        let notes = self.inner.notes.lock().clone();
        if notes.is_empty() {
            return Ok(());
        }
        self.inner.index.write(|txn| {
            let mut uses = txn.open_table(USES)?;
            for (blob, note) in &notes {
                let mut row = note.clone();
                if let Some(known) = uses.get(blob.as_bytes().as_slice())? {
                    let mut known = decode(known.value())?;
                    merge(&mut known, row);
                    row = known;
                }
                let bytes = codec::encode::<USE_BYTES_MAX>(&row)?;
                uses.insert(blob.as_bytes().as_slice(), bytes.as_slice())?;
            }
            Ok(())
        })?;
        let mut waiting = self.inner.notes.lock();
        for (blob, note) in notes {
            if waiting.get(&blob) == Some(&note) {
                waiting.remove(&blob);
            }
        }
        Ok(())
    }

    /// What is known of the use of a tree or blob.
    pub fn usage(&self, blob: BlobId) -> Result<Option<Use>> {
        let written = self.inner.index.read(|txn| {
            let uses = txn.open_table(USES)?;
            let row = ReadableTable::get(&uses, blob.as_bytes().as_slice())?;
            row.map(|row| decode(row.value())).transpose()
        })?;
        let note = self.inner.notes.lock().get(&blob).cloned();
        Ok(match (written, note) {
            (Some(mut known), Some(note)) => {
                merge(&mut known, note);
                Some(known)
            }
            (known, note) => note.or(known),
        })
    }

    /// Whether any use was ever noted.
    pub fn has_uses(&self) -> Result<bool> {
        self.inner
            .index
            .read(|txn| Ok(!txn.open_table(USES)?.is_empty()?))
    }

    /// All that are noted, written down or not, in order of their ids.
    pub(crate) fn uses(&self) -> Result<BTreeMap<BlobId, Use>> {
        // First those in memory: none is missed when they are being written just now.
        let notes = self.inner.notes.lock().clone();
        let mut all = self.inner.index.read(|txn| {
            let uses = txn.open_table(USES)?;
            let mut all = BTreeMap::new();
            for row in uses.iter()? {
                let (key, value) = row?;
                if let Ok(id) = <[u8; 32]>::try_from(key.value()) {
                    all.insert(BlobId::from_bytes(id), decode(value.value())?);
                }
            }
            Ok(all)
        })?;
        for (blob, note) in notes {
            match all.get_mut(&blob) {
                Some(known) => merge(known, note),
                None => {
                    all.insert(blob, note);
                }
            }
        }
        Ok(all)
    }
}

/// What is written about a tree of which nobody has said anything.
pub(crate) fn unknown_tree() -> Result<Vec<u8>> {
    let unknown = Use {
        kind: Used::Tree,
        last_s: 0,
        cost_ms: 0,
        words: String::new(),
    };
    Ok(codec::encode::<USE_BYTES_MAX>(&unknown)?)
}

fn decode(bytes: &[u8]) -> Result<Use> {
    Ok(codec::decode::<USE_BYTES_MAX, Use>(bytes)?)
}

/// The newer note wins where it says something.
fn merge(known: &mut Use, note: Use) {
    // What is a tree to somebody has all of a tree to lose.
    if note.kind == Used::Tree || known.kind != Used::Tree {
        known.kind = note.kind;
    }
    known.last_s = known.last_s.max(note.last_s);
    if note.cost_ms > 0 {
        known.cost_ms = note.cost_ms;
    }
    if !note.words.is_empty() {
        known.words = note.words;
    }
}

/// Words for a table: short, on one line.
fn clean(words: &str) -> String {
    let mut clean = String::new();
    for char in words.chars() {
        let char = if char.is_control() { ' ' } else { char };
        if clean.len() + char.len_utf8() > USE_WORDS_BYTES_MAX {
            break;
        }
        clean.push(char);
    }
    clean
}
