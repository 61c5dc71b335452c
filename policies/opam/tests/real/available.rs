//! The part of opam-repository that can be built from Debian's sources, with our own stand-ins for
//! what it lacks.

use std::{collections::BTreeSet, sync::Arc};

use caravan_opam::{
    Package, Repository, Request, ResolvoSolver, Root, Solution, Solver, Versions, verify,
};
use caravan_protocol::files::MemFiles;

use crate::data::{available, debian, name, version};

/// Stand-ins that only say what they stand for.
const STAND_INS: [(&str, &str); 6] = [
    (
        "ocaml.4.13.1",
        r#"depends: ["ocaml-config" {>= "2"} "ocaml-base-compiler" {>= "4.13.1~" & < "4.13.2~"} |
           "ocaml-system" {>= "4.13.1" & < "4.13.2~"}]"#,
    ),
    (
        "ocaml-config.2",
        r#"depends: ["ocaml-system" {= "4.13.1"}]"#,
    ),
    (
        "ocaml-system.4.13.1",
        r#"depends: ["ocaml" {post}]
           conflict-class: "ocaml-core-compiler"
           available: sys-ocaml-version = "4.13.1"
           flags: compiler"#,
    ),
    ("seq.base", r#"depends: ["ocaml" {>= "4.07.0"}]"#),
    ("stdlib-shims.0.3.0", r#"depends: ["ocaml" {>= "4.02.3"}]"#),
    (
        "ocaml-syntax-shims.1.0.0",
        r#"depends: ["ocaml" {>= "4.02.3"}]"#,
    ),
];

fn repository() -> Option<Repository> {
    let mut overlay = MemFiles::new();
    for (package, text) in STAND_INS {
        let (name, _) = package.split_once('.').unwrap();
        let text = format!("opam-version: \"2.0\"\n{text}\n");
        overlay.insert(format!("packages/{name}/{package}/opam"), text.into_bytes());
    }
    Some(Repository::new(vec![Arc::new(overlay), available()?]))
}

fn solve(root: &str, with_test: bool) -> Option<Solution> {
    let repository = repository()?;
    let mut request = Request::new(debian(), [name(root)]);
    let compiler = Versions::exactly(version("4.13.1"));
    request.roots.push(Root {
        name: name("ocaml-system"),
        versions: compiler,
    });
    request.with_test = with_test;
    let solution = ResolvoSolver.solve(&repository, &request);
    let solution = solution.unwrap_or_else(|error| panic!("{error}\n{error:#?}"));
    assert_eq!(verify(&solution, &request, &repository), Ok(()));
    Some(solution)
}

#[test]
fn alcotest_with_its_tests_is_solved_on_the_system_compiler() {
    let Some(solution) = solve("alcotest", true) else {
        return;
    };
    let names: BTreeSet<&str> = solution
        .packages()
        .iter()
        .map(|chosen| chosen.package.name.as_str())
        .collect();
    for wanted in [
        "alcotest",
        "astring",
        "cmdliner",
        "dune",
        "fmt",
        "ocaml",
        "ocaml-system",
        "ocamlbuild",
        "ocamlfind",
        "ocaml-syntax-shims",
        "re",
        "seq",
        "stdlib-shims",
        "topkg",
        "uutf",
    ] {
        assert!(names.contains(wanted), "{wanted} in {names:?}");
    }
    assert!(!names.contains("ocaml-base-compiler"));
    let alcotest: Package = "alcotest.1.6.0".parse().unwrap();
    let closure = solution.closure(&alcotest);
    assert_eq!(closure.len() + 1, solution.packages().len());
}

#[test]
fn the_reverse_dependencies_that_opam_calls_installable_are_solved() {
    for root in [
        "base",
        "lwt",
        "re",
        "qcheck-core",
        "qcheck-alcotest",
        "zarith",
        "crowbar",
        "dune-site",
    ] {
        if solve(root, false).is_none() {
            return;
        }
    }
}
