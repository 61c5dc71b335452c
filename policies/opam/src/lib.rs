//! What opam knows, without opam: its file format, versions, filters, dependency formulas,
//! repositories and a solver.
//!
//! All of it is pure. Files are read through `caravan_protocol::files::Files`, there is no clock and
//! no randomness, and the same inputs give the same answers on every node. Nothing here runs a
//! build, fetches a source or touches a disk. The only state is a cache of parsed files inside
//! [`Repository`], which no caller can observe.

pub mod dependency;
pub mod depexts;
pub mod file;
pub mod filter;
pub mod formula;
pub mod limits;
pub mod name;
pub mod opam;
pub mod package;
pub mod relop;
pub mod repository;
pub mod solver;
pub mod vars;
pub mod version;

pub use crate::{
    dependency::{Dependencies, Dependency, ResolvedDependencies},
    depexts::depexts,
    file::{File, FileError},
    filter::Filter,
    formula::Formula,
    name::Name,
    opam::{Checksum, OpamError, OpamFile},
    package::Package,
    relop::Relop,
    repository::Repository,
    solver::{
        Chosen, NoSolution, Pin, Request, ResolvoSolver, Root, Solution, Solver, Violation, verify,
    },
    vars::{Env, VarValue},
    version::{Bound, Version, Versions},
};
