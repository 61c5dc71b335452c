//! Doors for tests and fuzzers to this room's decoders of bytes that nobody vouches for. Each takes
//! such bytes, and answers what was read of them as it would be written again, or nothing where they
//! are refused. Nothing else calls them; they keep no state.

use std::io::Read;

use caravan_protocol::{ids::BlobId, tree::Tree};

use crate::{
    Cause, Reference, Sink, Unobserved,
    archive::Archive,
    digest::Digest,
    document::{Config, Document},
    facts::Facts,
    layer::{self, Gathered, Notes, Whiteouts},
    merge::Merged,
    meter::Meter,
    registry,
    unpack::{Bounded, Magic, Room, unpacked},
};

/// Keeps nothing and says what it was.
struct Forgetful;

impl Sink for Forgetful {
    fn put(&mut self, reader: &mut dyn Read, max: u64) -> Result<(BlobId, u64), Cause> {
        let mut bytes = Vec::new();
        reader.take(max).read_to_end(&mut bytes)?;
        Ok((BlobId::of(&bytes), bytes.len() as u64))
    }
}

/// A layer of an image, packed or not, and the tree that it makes.
#[must_use]
pub fn layer(bytes: &[u8]) -> Option<Vec<u8>> {
    let Magic::Packed(packing) = Magic::of(bytes) else {
        return None;
    };
    let (mut observer, mut sink) = (Unobserved, Forgetful);
    let meter = Meter::new(&mut observer);
    let packed = || bytes.len() as u64;
    let room = Room::new(&meter, &packed);
    let mut gathered = Gathered {
        sink: &mut sink,
        merged: Merged::default(),
        facts: Facts::default(),
        notes: Notes::default(),
    };
    let inner = unpacked(packing, bytes).ok()?;
    let mut archive = Archive::new(Bounded { inner, room: &room });
    layer::read(
        "a layer",
        &mut archive,
        Whiteouts::Hide,
        &room,
        &mut gathered,
    )
    .ok()?;
    let _ = gathered.facts.of(&gathered.merged);
    let tree = gathered.merged.into_tree().ok()?.encode().ok()?;
    assert!(Tree::decode(&tree).is_ok(), "a tree that no tree may be");
    Some(tree)
}

/// An index or a manifest, as a registry calls it or not.
#[must_use]
pub fn document(bytes: &[u8]) -> Option<Vec<u8>> {
    let document = Document::parse("a document", bytes, "").ok()?;
    Some(vec![u8::from(matches!(document, Document::Index(_)))])
}

/// The configuration of an image, whose first byte says how many layers its manifest has.
#[must_use]
pub fn config(bytes: &[u8]) -> Option<Vec<u8>> {
    let (&layers, json) = bytes.split_first()?;
    let config = Config::parse("a configuration", json, layers.into()).ok()?;
    let env = config.env("a configuration").ok()?;
    Some(
        env.into_iter()
            .flat_map(|(name, _)| name.into_bytes())
            .collect(),
    )
}

/// The name of an image in a registry.
#[must_use]
pub fn reference(bytes: &[u8]) -> Option<Vec<u8>> {
    let reference: Reference = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    Some(reference.to_string().into_bytes())
}

/// The digest of a blob in a registry.
#[must_use]
pub fn digest(bytes: &[u8]) -> Option<Vec<u8>> {
    let digest: Digest = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    Some(digest.to_string().into_bytes())
}

/// What a registry says when it wants to know who asks: a challenge, a line's end, and the answer of
/// the server of tokens.
#[must_use]
pub fn access(bytes: &[u8]) -> Option<Vec<u8>> {
    registry::door(bytes).map(String::into_bytes)
}
