//! The files that pages refer to, kept in the program.

use std::sync::LazyLock;

use crate::ansi;

/// A file that never changes while the program runs.
#[derive(Debug)]
pub(crate) struct Asset {
    /// Its last path segment.
    pub(crate) name: &'static str,
    /// Its media type.
    pub(crate) kind: &'static str,
    /// Its text.
    pub(crate) body: String,
}

static ASSETS: LazyLock<[Asset; 3]> = LazyLock::new(|| {
    [
        Asset {
            name: "style.css",
            kind: "text/css; charset=utf-8",
            body: include_str!("../../assets/style.css").to_owned() + &ansi::stylesheet(),
        },
        Asset {
            name: "caravan.js",
            kind: "text/javascript; charset=utf-8",
            body: include_str!("../../assets/caravan.js").to_owned(),
        },
        Asset {
            name: "favicon.svg",
            kind: "image/svg+xml",
            body: include_str!("../../assets/favicon.svg").to_owned(),
        },
    ]
});

/// The asset of this name.
pub(crate) fn find(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.name == name)
}
