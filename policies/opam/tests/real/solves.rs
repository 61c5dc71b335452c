//! Solves real requests against all of opam-repository.

use std::time::Instant;

use caravan_opam::{NoSolution, Request, ResolvoSolver, Solution, Solver, Versions, verify};

use crate::data::{name, repository, request, version};

fn solve(request: &Request) -> Option<Solution> {
    let repository = repository()?;
    let start = Instant::now();
    let result = ResolvoSolver.solve(repository, request);
    let cold = start.elapsed();
    let solution = result.unwrap_or_else(|error| panic!("{error}\n{error:#?}"));
    let start = Instant::now();
    assert_eq!(
        ResolvoSolver.solve(repository, request).as_ref(),
        Ok(&solution)
    );
    eprintln!(
        "{:?}: {} packages, {cold:?}, again {:?}",
        request
            .roots
            .iter()
            .map(|root| root.name.as_str())
            .collect::<Vec<_>>(),
        solution.packages().len(),
        start.elapsed()
    );
    assert_eq!(verify(&solution, request, repository), Ok(()));
    Some(solution)
}

fn version_of(solution: &Solution, package: &str) -> String {
    let chosen = solution.get(&name(package));
    chosen
        .map(|chosen| chosen.package.version.to_string())
        .unwrap_or_default()
}

#[test]
fn real_roots_are_solved_and_every_formula_holds() {
    for root in [
        "dune",
        "lwt",
        "alcotest",
        "core",
        "irmin",
        "ocamlformat",
        "mirage",
        "ppxlib",
        "cohttp",
        "odoc",
        "yojson",
        "dream",
        "utop",
        "merlin",
        "menhir",
        "opam-client",
    ] {
        let Some(solution) = solve(&request(&[root], "5.2.0")) else {
            return;
        };
        assert_eq!(version_of(&solution, "ocaml"), "5.2.0", "{root}");
    }
}

#[test]
fn tests_and_lower_bounds_are_solved() {
    for root in ["lwt", "alcotest", "fmt", "cohttp", "ppx_deriving"] {
        let mut with_test = request(&[root], "5.2.0");
        with_test.with_test = true;
        if solve(&with_test).is_none() {
            return;
        }
    }
    for root in ["lwt", "alcotest", "re"] {
        let mut oldest = request(&[root], "4.14.2");
        oldest.lower_bounds = true;
        solve(&oldest);
    }
}

#[test]
fn several_roots_share_one_solution() {
    let roots = [
        "dune",
        "lwt",
        "alcotest",
        "core",
        "irmin",
        "ocamlformat",
        "utop",
    ];
    let Some(solution) = solve(&request(&roots, "5.2.0")) else {
        return;
    };
    let utop = solution.get(&name("utop")).unwrap();
    let closure = solution.closure(&utop.package);
    assert!(
        closure
            .iter()
            .any(|chosen| chosen.package.name == name("ocaml"))
    );
    assert!(closure.len() < solution.packages().len());
}

#[test]
fn a_real_request_without_a_solution_names_the_bound() {
    let Some(repository) = repository() else {
        return;
    };
    let mut old = request(&["ppxlib"], "4.13.1");
    old.roots[0].versions = Versions::exactly(version("0.36.0"));
    old.constrain(
        name("ocaml-compiler-libs"),
        Versions::exactly(version("v0.17.0")),
    );
    let error = ResolvoSolver.solve(repository, &old).unwrap_err();
    let NoSolution::Unsatisfiable { faults, .. } = &error else {
        panic!("{error}")
    };
    assert!(!faults.is_empty());
    assert!(
        error
            .to_string()
            .contains("ocaml-compiler-libs.v0.17.0 needs ocaml"),
        "{error}"
    );
}
