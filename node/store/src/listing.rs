//! What is in the store, for people: rows of layers and trees, and names that they type.

use std::collections::{BTreeMap, BTreeSet};

use caravan_protocol::ids::BlobId;
use serde::{Deserialize, Serialize};

use crate::{
    cold,
    error::{Result, StoreError},
    gc,
    limits::ROWS_MAX,
    pins::Pinned,
    store::Store,
    uses::Used,
};

/// Most ids that are compared with what a person typed.
const FOUND_MAX: usize = 4096;

/// A tree or loose blob of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its id.
    pub blob: BlobId,
    /// What it is.
    pub kind: Used,
    /// Whether it is laid out as a directory.
    pub laid_out: bool,
    /// Whether packs have all of it.
    pub frozen: bool,
    /// Sum of its file sizes.
    pub bytes: u64,
    /// How many files it has.
    pub files: u64,
    /// When it was last used, seconds since 1970; 0 if that is not known.
    pub last_s: u64,
    /// What it took to make, milliseconds.
    pub cost_ms: u64,
    /// Names of its pins.
    pub pins: Vec<String>,
    /// Whether something that runs now needs it.
    pub leased: bool,
    /// A few words about it.
    pub words: String,
}

impl Store {
    /// Every layer, every other tree and loose blob that somebody has noted or pinned, the last used
    /// first; at most [`ROWS_MAX`].
    pub fn rows(&self) -> Result<Vec<Row>> {
        self.flush_notes()?;
        let layers = self.inner.index.layers()?;
        let uses = self.uses()?;
        let mut frozen = cold::frozen(&self.inner)?;
        let mut pins: BTreeMap<BlobId, Vec<String>> = BTreeMap::new();
        for pin in self.pins()? {
            pins.entry(pin.what.blob()).or_default().push(pin.name);
        }
        let ids: BTreeSet<BlobId> = layers
            .keys()
            .map(|tree| tree.blob())
            .chain(uses.keys().copied())
            .chain(pins.keys().copied())
            .collect();
        let mut rows = Vec::new();
        for blob in ids {
            let layer = layers.get(&blob.into()).copied();
            let used = uses.get(&blob);
            let names = pins.remove(&blob).unwrap_or_default();
            let cold = frozen.remove(&blob.into());
            let cold_facts = cold.as_ref().map(|cold| (cold.bytes, cold.files));
            let facts = layer.or(cold_facts).unwrap_or_default();
            rows.push(Row {
                blob,
                kind: match (used, layer, &cold) {
                    (_, Some(_), _) | (_, _, Some(_)) => Used::Tree,
                    (Some(used), ..) => used.kind,
                    (None, ..) => Used::Blob,
                },
                laid_out: layer.is_some(),
                frozen: cold.is_some(),
                bytes: facts.0,
                files: facts.1,
                last_s: used.map_or(0, |used| used.last_s),
                cost_ms: used.map_or(0, |used| used.cost_ms),
                leased: names.is_empty() && self.inner.guards.is_guarded(blob),
                pins: names,
                words: used.map(|used| used.words.clone()).unwrap_or_default(),
            });
        }
        rows.sort_by_key(|row| (std::cmp::Reverse(row.last_s), row.blob));
        rows.truncate(ROWS_MAX);
        for row in rows.iter_mut().filter(|row| !row.laid_out && !row.frozen) {
            self.measure(row)?;
        }
        Ok(rows)
    }

    /// Sizes of what is not laid out.
    fn measure(&self, row: &mut Row) -> Result<()> {
        match gc::listing_anywhere(self, row.blob)? {
            Some(tree) if row.kind == Used::Tree || !row.pins.is_empty() => {
                row.kind = Used::Tree;
                row.bytes = tree.size();
                row.files = tree.blobs().len() as u64;
            }
            _ => {
                let named = self.inner.index.named(row.blob)?;
                row.bytes = named.first().map_or(0, |(_, size)| *size);
                row.files = 1;
            }
        }
        Ok(())
    }

    /// What a person means: the name of a pin, an id, or the first digits of one, at least four.
    pub fn find(&self, text: &str) -> Result<Pinned> {
        let refuse = |reason| StoreError::NotFound {
            text: text.chars().take(80).collect(),
            reason,
        };
        if let Some(pin) = self.pins()?.into_iter().find(|pin| pin.name == text) {
            return Ok(pin.what);
        }
        if text.len() < 4 || text.len() > 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(refuse(
                "it is neither the name of a pin nor the first four or more digits of an id",
            ));
        }
        let text = text.to_ascii_lowercase();
        let digits: Vec<u8> = (0..text.len() / 2)
            .filter_map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok())
            .collect();
        // Of an odd number of digits the last is compared as text: there are sixteen times as many.
        let mut found: BTreeSet<BlobId> = BTreeSet::new();
        found.extend(self.inner.index.blobs_from(&digits, FOUND_MAX)?);
        found.extend(cold::peek(&self.inner, |packed| {
            packed.from(&digits, FOUND_MAX)
        })?);
        let mut found = found
            .into_iter()
            .filter(|blob| blob.to_string().starts_with(&text));
        match (found.next(), found.next()) {
            (None, _) => Err(refuse(
                "nothing has that id; `caravan store ls` lists what is here",
            )),
            (Some(_), Some(_)) => Err(refuse("several begin so; give more digits")),
            (Some(blob), None) if gc::listing_anywhere(self, blob)?.is_some() => {
                Ok(Pinned::Tree(blob.into()))
            }
            (Some(blob), None) => Ok(Pinned::Blob(blob)),
        }
    }
}
