//! From wanted packages to a set of versions that fit together.
//!
//! [`Solver`] is what the rest of the mesh knows; [`ResolvoSolver`] is the one behind it. [`verify`]
//! checks any answer against the same request without the solver's own code.

mod clauses;
mod explain;
mod graph;
mod provider;
mod request;
mod resolvo;
mod solution;
mod unsolved;
mod verify;

pub use self::{
    request::{Pin, Request, Root},
    resolvo::ResolvoSolver,
    solution::{Chosen, Solution},
    unsolved::{Demand, Fault, NoSolution, Obstacle},
    verify::{Violation, verify},
};
use crate::repository::Repository;

/// Finds a solution for a request.
pub trait Solver {
    /// The same repository and request give the same answer, on every node.
    fn solve(&self, repository: &Repository, request: &Request) -> Result<Solution, NoSolution>;
}

#[cfg(test)]
mod tests;
