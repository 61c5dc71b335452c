//! The solver on top of the crate of this name.

use resolvo::{Problem, UnsolvableOrCancelled};

use super::{
    Solver,
    explain::explain,
    provider::{Candidate, Provider},
    request::Request,
    solution::Solution,
    unsolved::NoSolution,
};
use crate::{limits::SOLVE_ROUNDS_MAX, repository::Repository};

/// Clause-driven search that tries newest versions first (oldest with `lower_bounds`), earlier
/// alternatives before later ones, and versions to avoid last.
#[derive(Debug, Clone, Copy, Default)]
pub struct ResolvoSolver;

impl Solver for ResolvoSolver {
    fn solve(&self, repository: &Repository, request: &Request) -> Result<Solution, NoSolution> {
        let provider = Provider::new(repository, request);
        let problem = Problem::new().requirements(provider.roots());
        let mut solver = resolvo::Solver::new(provider);
        let chosen = match solver.solve(problem) {
            Ok(chosen) => chosen,
            Err(UnsolvableOrCancelled::Unsolvable(conflict)) => {
                return Err(explain(&solver, &conflict, repository, request));
            }
            Err(UnsolvableOrCancelled::Cancelled(_)) => {
                return Err(NoSolution::Exhausted {
                    roots: request.describe_roots(),
                    rounds: SOLVE_ROUNDS_MAX,
                });
            }
        };
        let packages = chosen
            .into_iter()
            .filter_map(|id| match solver.provider().candidate(id) {
                Candidate::Version {
                    package,
                    opam: Some(opam),
                } => Some((package.clone(), opam.clone())),
                _ => None,
            });
        Solution::build(packages, request)
    }
}
