//! Packs: the cold form of a store's content, and its form on the wire. A pack is one file that is
//! written once, from front to back, named by the BLAKE3 hash of all its bytes, and never changed.
//!
//! Files become *units*: a small one is one unit, a large one is cut by its content into several, so
//! that versions of it share what they have in common. Units that are alike lie side by side in
//! *frames*, and a frame is what is compressed and expanded at once. To read a small file takes one
//! frame of bounded size.
//!
//! The crate reads and writes through traits and owns no files: the store places, syncs, names and
//! collects them. It opens no path, never writes but to the writer that it is given, and keeps no
//! state beyond an open pack. What a pack says is never believed: every count is bounded, every
//! frame is expanded into space of a bounded size, and bytes are given only if they hash to their
//! name. docs/PACKS.md describes the format byte by byte.
#![warn(missing_docs)]

mod cut;
#[doc(hidden)]
pub mod doors;
mod error;
mod format;
mod frame;
mod gather;
mod index;
mod io;
pub mod limits;
mod order;
mod read;
mod stream;
mod verify;
mod write;

#[cfg(test)]
mod tests;

pub use error::{PackError, Result};
pub use format::PackId;
pub use gather::{Elsewhere, Nowhere, Want};
pub use io::{Blobs, ReadAt};
pub use order::Hint;
pub use read::{Alone, Others, Pack};
pub use stream::Reader;
pub use verify::Flaw;
pub use write::{Options, Written, write};
