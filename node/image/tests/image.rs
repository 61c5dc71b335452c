//! Images in and out: every source, everything hostile that we could think of, and other programs
//! that read what we write.

#[path = "image/kit.rs"]
mod kit;

#[path = "image/exports.rs"]
mod exports;
#[path = "image/hostile.rs"]
mod hostile;
#[path = "image/hostile_layouts.rs"]
mod hostile_layouts;
#[path = "image/others.rs"]
mod others;
#[path = "image/registry.rs"]
mod registry;
#[path = "image/roots.rs"]
mod roots;
