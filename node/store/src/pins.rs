//! Pins: named trees and blobs that are never collected, with who wanted that and why. They survive
//! restarts.

use caravan_protocol::{
    codec,
    ids::{BlobId, TreeId},
};
use redb::{ReadableTable, ReadableTableMetadata};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Result, StoreError},
    index::PINS,
    limits::{PIN_NAME_BYTES_MAX, PIN_WORDS_BYTES_MAX, PINS_MAX},
    store::{Inner, Store},
};

/// What is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pinned {
    /// A tree with all that it names.
    Tree(TreeId),
    /// One blob.
    Blob(BlobId),
}

impl Pinned {
    /// The blob itself, or the tree's listing.
    #[must_use]
    pub const fn blob(self) -> BlobId {
        match self {
            Self::Tree(tree) => tree.blob(),
            Self::Blob(blob) => blob,
        }
    }
}

/// A pin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Its name, as `base/debian-12`. One name pins one thing.
    pub name: String,
    /// What it keeps.
    pub what: Pinned,
    /// Who wanted it, and why.
    pub why: String,
    /// Since when, seconds since 1970.
    pub since_s: u64,
}

const PIN_BYTES_MAX: usize = 2 * (PIN_NAME_BYTES_MAX + PIN_WORDS_BYTES_MAX);

impl Store {
    /// Pins something that is here whole, in the place of what this name has pinned before.
    pub fn pin(&self, pin: &Pin) -> Result<()> {
        check(pin)?;
        let guards = &self.inner.guards;
        // First keep it, then look, then say so for good.
        guards.take(pin.what.blob());
        let kept = self.keep_pin(pin);
        match &kept {
            Ok(Some(before)) => guards.give_back(before.blob()),
            Ok(None) => {}
            Err(_) => guards.give_back(pin.what.blob()),
        }
        kept.map(|_| ())
    }

    fn keep_pin(&self, pin: &Pin) -> Result<Option<Pinned>> {
        match pin.what {
            Pinned::Blob(blob) if !self.has_blob(blob)? => {
                return Err(StoreError::NoBlob { blob });
            }
            Pinned::Tree(tree) => {
                let missing = self.missing(tree)?.len();
                if missing > 0 {
                    return Err(StoreError::Incomplete { tree, missing });
                }
            }
            Pinned::Blob(_) => {}
        }
        let bytes = codec::encode::<PIN_BYTES_MAX>(pin)?;
        self.inner.index.write(|txn| {
            let mut pins = txn.open_table(PINS)?;
            let before = pins.insert(pin.name.as_str(), bytes.as_slice())?;
            let before = before.map(|row| decode(row.value())).transpose()?;
            if before.is_none() && pins.len()? > PINS_MAX {
                return Err(StoreError::TooMany {
                    what: "pin".to_owned(),
                    max: PINS_MAX,
                });
            }
            Ok(before.map(|pin| pin.what))
        })
    }

    /// Takes a pin away; false if there is none of this name. What it kept may be collected then,
    /// and is here until it is.
    pub fn unpin(&self, name: &str) -> Result<bool> {
        let before = self.inner.index.write(|txn| {
            let mut pins = txn.open_table(PINS)?;
            let before = pins.remove(name)?;
            before.map(|row| decode(row.value())).transpose()
        })?;
        if let Some(pin) = &before {
            self.inner.guards.give_back(pin.what.blob());
        }
        Ok(before.is_some())
    }

    /// All pins, by name.
    pub fn pins(&self) -> Result<Vec<Pin>> {
        self.inner.pins()
    }
}

impl Inner {
    fn pins(&self) -> Result<Vec<Pin>> {
        self.index.read(|txn| {
            let pins = txn.open_table(PINS)?;
            pins.iter()?.map(|row| decode(row?.1.value())).collect()
        })
    }

    /// Lets the pins of earlier lives count.
    pub(crate) fn load_pins(&self) -> Result<()> {
        for pin in self.pins()? {
            self.guards.take(pin.what.blob());
        }
        Ok(())
    }
}

fn decode(bytes: &[u8]) -> Result<Pin> {
    Ok(codec::decode::<PIN_BYTES_MAX, Pin>(bytes)?)
}

fn check(pin: &Pin) -> Result<()> {
    let unfit = |reason| StoreError::Unfit {
        what: "pin",
        reason,
    };
    if pin.name.is_empty() || pin.name.len() > PIN_NAME_BYTES_MAX {
        return Err(unfit("its name is empty or too long"));
    }
    if pin
        .name
        .chars()
        .any(|char| char.is_control() || char.is_whitespace())
    {
        return Err(unfit("its name holds white space or control characters"));
    }
    if pin.why.len() > PIN_WORDS_BYTES_MAX || pin.why.chars().any(char::is_control) {
        return Err(unfit("its reason is too long or holds control characters"));
    }
    Ok(())
}
