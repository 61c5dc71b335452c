//! The network between nodes: who is connected, what they say to each other, and blobs on their
//! way. One task, the actor, owns the swarm and every table about peers; the rest of the program
//! holds a [`Handle`] and reads [`Event`]s. It decides only who may speak (by the rules of
//! `protocol::identity`), never what is said: messages are bytes to it. No type of the network
//! library leaves this crate.
#![warn(missing_docs)]

mod actor;
mod backlog;
mod behaviour;
mod book;
mod bucket;
mod bulk;
mod config;
mod counters;
mod doorman;
#[doc(hidden)]
pub mod doors;
mod event;
mod frames;
mod gate;
mod handle;
mod join;
mod limits;
mod links;
mod members;
mod membership;
mod names;
mod outbox;
mod purse;
mod replay;
#[cfg(any(test, feature = "rogue"))]
#[doc(hidden)]
pub mod rogue;
mod start;
mod streams;
mod traffic;
mod wire;

pub use bulk::{BlobSink, BlobSource, FetchError, Fetched, Order, Place, ReadAt, Size, Wanted};
pub use config::{Config, Relay, Timing};
pub use counters::Counters;
pub use event::{Contact, Event, Refusal, Welcome};
pub use handle::{AskError, Handle, SendError};
pub use join::{JoinError, Joined, join};
pub use members::{Member, Members};
pub use names::{AddressError, address_with_node, check_address};
pub use start::{Mesh, MeshError};
pub use traffic::Moved;

#[cfg(test)]
mod tests;
