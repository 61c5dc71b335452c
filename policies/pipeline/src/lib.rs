//! The pipeline engine: OCurrent's algebra as values.
//!
//! A policy describes its work once, as a graph of *terms*: values that come from watched inputs,
//! from functions of other terms, and from actions that the world is asked for. The engine keeps
//! each term's state and, when something changes, recomputes what the change reaches and nothing
//! else: a term whose new value equals its old one stops the wave. Everything is deterministic and
//! nothing here touches the world: what is wanted leaves as [`Command`]s, how it fares comes back
//! through [`Engine::deliver`].
//!
//! ```text
//!   set(input)          deliver(want, state)
//!       |                     |
//!       v                     v
//!   +-------+   map   +--------------+  list_map   +-----------+  all   +---------+
//!   | input |-------->| keys         |------------>| action  k |------->| summary |
//!   +-------+         +--------------+   one       | action  l |        +---------+
//!       height 0          height 1    sub-graph    +-----------+
//!                                     for each key    |
//!                                                     v
//!                               Provide, Want, Unwant: take_commands()
//! ```
//!
//! Every term has a *height* above all that it reads and above the function that made it; a round
//! ([`Engine::stabilise`]) works lowest first. So each term is computed at most once in a round,
//! never from a mix of old and new inputs, and sub-graphs of outdated values are gone before they
//! could be computed. States: *blocked* (an input is not there), *ready* and *running* (an action
//! that was asked for), *ok*, *failed* (with the label of the term at which it arose). Terms keep
//! no old value while a new one is on its way; a latch would be one more operation that remembers.
//!
//! ```
//! use caravan_pipeline::{Engine, Fail};
//!
//! let mut engine = Engine::default();
//! let mut root = engine.root();
//! let (head, text) = root.input::<String>("head");
//! let words = root.map(text, "words", |text| {
//!     let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
//!     if words.len() > 9 { Err(Fail::new("too long")) } else { Ok(words) }
//! });
//! let lengths = root.list_map(words, |scope, word| {
//!     let word = word.clone();
//!     let term = scope.ok(word.len());
//!     scope.show(term, &format!("length of {word}"))
//! });
//! let sum = root.map(lengths, "sum", |lengths| Ok(lengths.iter().sum::<usize>()));
//!
//! assert_eq!(engine.text(), "sum [blocked]\n  words [blocked]\n    head [blocked]\n");
//! engine.set(head, Ok("one three".to_owned()));
//! engine.stabilise();
//! assert_eq!(engine.value(sum), Some(&8));
//! assert_eq!(
//!     engine.text(),
//!     "sum [ok]\n  length of one [ok]\n    words [ok]\n      head [ok]\n  \
//!      length of three [ok]\n    words (see above)\n"
//! );
//! ```
#![warn(missing_docs)]

pub use caravan_protocol::policy::{Command, Outcome, WantId, WantState};

pub use crate::{
    engine::{Engine, Stats},
    limits::Limits,
    scope::Scope,
    term::{Input, Term},
    value::{Fail, Status, Value},
    view::colour,
    wish::{Request, WishView},
};

mod dynamic;
mod engine;
mod graph;
pub mod limits;
mod scope;
mod term;
#[cfg(test)]
mod tests;
mod value;
mod view;
mod wish;
