//! Images: from OCI registries, OCI layouts, archives and directories of root file systems to one
//! tree, and from trees to OCI layouts.
//!
//! It knows trees and bytes, and neither the store nor the mesh: contents go to a [`Sink`] and come
//! from [`Contents`], which somebody else owns. Nothing of an image is ever unpacked to a path:
//! layers are read as streams and laid over each other in memory. Every byte that arrives is
//! hashed, counted and bounded before anything is made of it, and an import that fails has made
//! nothing, as long as its sink is committed only afterwards. Calls block.
#![warn(missing_docs)]

mod archive;
mod beneath;
mod choose;
mod digest;
mod directory;
mod document;
#[doc(hidden)]
pub mod doors;
mod error;
mod export;
mod facts;
mod import;
mod layer;
mod layout;
pub mod limits;
mod merge;
mod meter;
mod platform;
mod registry;
mod source;
mod unpack;

pub use digest::{Algorithm, Digest, ParseDigestError};
pub use error::{Cause, ImageError, Result};
pub use export::{Compression, Contents, Export, Exported, export};
pub use import::{Imported, Options, import, platform_text};
pub use layer::Sink;
pub use meter::{Observer, Unobserved};
pub use platform::parse as parse_platform;
pub use source::{Reference, Source, is_tag};
