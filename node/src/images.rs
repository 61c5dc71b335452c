//! What is asked and answered about images over the control socket.

use std::collections::BTreeMap;

use caravan_protocol::{ids::TreeId, policy::Base};
use serde::{Deserialize, Serialize};

/// An image to import as a base.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageImport {
    /// What the base is called.
    pub name: String,
    /// Where the image is; paths are absolute.
    pub source: String,
    /// The platform, as images or as Caravan name it; this node's by default.
    pub platform: Option<String>,
    /// Whether a registry may be asked without encryption.
    pub insecure: bool,
    /// File of credentials, as Docker's `config.json`.
    pub auth_file: Option<String>,
    /// File of certificate authorities to believe instead of the system's.
    pub ca_file: Option<String>,
    /// What a person knows about what is in it: `ocaml`, `opam`.
    pub facts: BTreeMap<String, String>,
}

/// A base or trees to export as an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageExport {
    /// The name of a base, or the id of a tree.
    pub what: String,
    /// Layers above it, lowest first.
    pub layers: Vec<TreeId>,
    /// Absolute path of the layout to make: a directory, or an archive if it ends in `.tar`.
    pub to: String,
    /// The image's name in the layout.
    pub tag: String,
    /// Whether layers are compressed with zstd instead of gzip.
    pub zstd: bool,
}

/// What is answered about an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageTold {
    /// It was imported and is pinned.
    Imported {
        /// The base that it became.
        base: Base,
        /// Files of it.
        files: u64,
        /// Bytes of its files.
        bytes: u64,
        /// What a person should know.
        notes: Vec<String>,
    },
    /// It was exported.
    Exported {
        /// The digest of its manifest.
        manifest: String,
        /// Bytes of its layers, compressed.
        bytes: u64,
    },
}
