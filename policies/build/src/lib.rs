//! The `build` role: a spec of OBuilder's language, taken through its steps. A pure function of the
//! spec says which actions there are, each on the layers of those before it; the policy asks for
//! them as layers become known, those of independent nested builds at the same time.
//!
//! ```text
//!   spec --> plan --> build "dev":  from --> run --> copy --> run --+
//!                     the spec's own: from --> run -----------------+--> copy --> run
//! ```
//!
//! It owns nothing but the progress of one run, and touches nothing: images and the files that are
//! copied in are resolved by the node before the policy is told of the spec.

mod actions;
mod lower;
mod plan;
mod policy;
mod problem;
mod show;
#[cfg(test)]
mod tests;

pub use actions::stack;
pub use plan::{From, Line, Made, Plan, Step, Work};
pub use policy::{Build, BuildFactory};
pub use problem::{PlanError, Problem};
