//! The store of a node: blobs and trees by content, layers as directories that can be mounted, and
//! the index of all that, with the claims, records and logs of the node.
//!
//! One process owns one store directory, by a lock. Files are read-only from the moment that they
//! are in it; anything that is not named by the index is rubbish and goes. The store never runs
//! anything, never mounts anything, never talks to the network and never follows a path that a job
//! or a peer has chosen out of its directory. It knows neither time nor tasks: its calls block.
//!
//! ```text
//! lock                                     held by the owner, with its process id
//! index.redb                               the truth
//! objects/ab/cdef….644.0.0                 one inode for each content, mode, owner and group
//! layers/<tree id>/                        a layer; its files are links to objects
//! work/                                    what is not finished; emptied at each start
//! ```
#![warn(missing_docs)]

mod beneath;
mod blobs;
mod check;
mod claims;
mod commit;
mod crash;
mod error;
mod home;
mod index;
mod ingest;
pub mod limits;
mod logs;
mod materialise;
mod object;
mod orphans;
mod parallel;
mod records;
mod remove;
mod store;
mod temp;
mod tree_files;
mod walk;
mod xattrs;

#[cfg(test)]
mod tests;

pub use blobs::Batch;
pub use check::{Finding, FindingKind, Report};
pub use error::{Result, StoreError};
pub use ingest::Ingested;
pub use logs::{End, LogReader, LogWriter};
pub use records::Edit;
pub use store::{Stat, Store};
pub use temp::Workspace;
pub use tree_files::TreeFiles;
