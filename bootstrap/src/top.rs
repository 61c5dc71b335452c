//! The screen of `caravan top`: what is shown of one overview, what keys change of it, and the
//! terminal that it is on. Drawing is a pure function; nothing here waits for the node.

pub(crate) mod draw;
pub(crate) mod feed;
mod panels;
pub(crate) mod screen;
pub(crate) mod state;

#[cfg(test)]
mod tests;
