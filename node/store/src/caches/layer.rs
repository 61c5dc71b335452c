//! The names in `caches/`: all that is known about a cache and its layers, so that one rename is one
//! change of all of it.

const WHOLE: &str = "whole";

/// One layer of a cache, as its name tells.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Layer {
    pub(super) number: u64,
    pub(super) bytes: u64,
    pub(super) whole: bool,
    pub(super) name: String,
}

impl Layer {
    pub(super) fn new(number: u64, bytes: u64, whole: bool) -> Self {
        let end = if whole { "-whole" } else { "" };
        let name = format!("{number}-{bytes}{end}");
        Self {
            number,
            bytes,
            whole,
            name,
        }
    }

    pub(super) fn parse(name: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(name).ok()?.split('-');
        let (number, bytes) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let whole = match (parts.next(), parts.next()) {
            (None, None) => false,
            (Some(WHOLE), None) => true,
            _ => return None,
        };
        let layer = Self::new(number, bytes, whole);
        // A name that is spelled in another way is not ours.
        (layer.name.as_bytes() == name).then_some(layer)
    }
}

/// The directory of a cache: no two pairs of domain and name have one.
pub(super) fn name_of(domain: &str, id: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"caravan/cache/1\0");
    hasher.update(&(domain.len() as u64).to_le_bytes());
    hasher.update(domain.as_bytes()).update(id.as_bytes());
    hasher.finalize().to_hex().to_string()
}

/// Whether this may be the directory of a cache.
pub(super) fn is_name(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
