//! The `ci` role: a project's head, taken through its matrix. A pure function of the commit, the
//! opam repositories and the bases says which layers are wanted: one for the empty switch, one per
//! opam package, and the project's own step on top. It is written on the pipeline engine and asks
//! the world only for actions; it touches nothing.
//!
//! ```text
//!  project --> definitions --+--> solve --> fetch p --> package p ..--> build + test
//!  repositories -------------+    (for each base, packages in parallel)
//!  bases --------------------+
//! ```

pub mod analysis;
mod graph;
mod plan;
mod policy;
mod recipe;
pub mod settings;
mod show;
mod steps;

pub use plan::{Plan, PlanError, plan};
pub use policy::{Ci, CiFactory};
