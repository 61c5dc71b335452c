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
//! images/<hash>.erofs                      what a stack shows, to mount; emptied at each start
//! packs/<pack id>                          the cold form of trees
//! partial/<blob>.<size>                    large blobs of which parts have come
//! work/                                    what is not finished; emptied at each start
//! ```
#![warn(missing_docs)]

mod beneath;
mod blobs;
mod caches;
mod check;
mod claims;
mod cold;
mod commit;
mod copy_in;
mod crash;
#[doc(hidden)]
pub mod doors;
mod error;
mod export;
mod gc;
mod home;
mod idle;
mod index;
mod ingest;
mod journal;
mod leases;
pub mod limits;
mod listing;
mod logs;
mod marks;
mod materialise;
mod object;
mod orphans;
mod owner;
mod parallel;
mod partial;
mod pins;
mod records;
mod remove;
mod seen;
mod spares;
mod stacks;
mod store;
mod temp;
mod tree_files;
mod unwritten;
mod uses;
mod walk;
mod work;
mod xattrs;

#[cfg(test)]
mod tests;

pub use blobs::Batch;
pub use caches::{Bounds, Caches, LentCache, Released};
pub use caravan_pack::{Options as PackOptions, PackId};
pub use check::{Finding, FindingKind, Report};
pub use cold::{Frozen, PackFacts};
pub use error::{FULL_WORDS, Result, StoreError};
pub use gc::{Collect, Collected, Freeze, Stage, Victim, Went};
pub use idle::{Idle, ParseIdleError};
pub use ingest::Ingested;
pub use leases::{Hold, Lease};
pub use listing::Row;
pub use logs::{
    End, LAST_WORDS_BYTES_MAX, LogError, LogFormatError, LogReader, LogWriter, log_blob_bytes_max,
};
pub use marks::{Amount, Disk, Marks, ParseAmountError};
pub use partial::Partial;
pub use pins::{Pin, Pinned};
pub use records::Edit;
pub use stacks::{Image, Stack};
pub use store::{Held, Stat, Store};
pub use temp::Workspace;
pub use tree_files::TreeFiles;
pub use uses::{Use, Used};
