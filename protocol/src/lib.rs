//! What all nodes must agree on: names, limits, encodings, signed records and the state machines
//! that bargain over work. Everything here decides and nothing here does: no clock, no IO, no
//! threads. Time is an argument, randomness is seeded by the caller, effects leave as commands.
#![warn(missing_docs)]

pub mod action;
pub mod claim;
pub mod codec;
pub mod facts;
pub mod files;
pub mod identity;
pub mod ids;
pub mod index;
pub mod level;
pub mod limits;
pub mod member;
pub mod offer;
pub mod platform;
pub mod policy;
pub mod rendezvous;
pub mod role;
pub mod spec;
pub mod time;
pub mod tree;
pub mod view;
