use std::sync::Arc;

use caravan_protocol::files::MemFiles;
use proptest::prelude::*;

use super::*;
use crate::{opam::OpamFile, package::Package, vars::Env, version::Versions};

fn repository(packages: &[(&str, &str)]) -> Repository {
    let mut files = MemFiles::new();
    for (package, text) in packages {
        let (name, _) = package.split_once('.').unwrap();
        files.insert(format!("packages/{name}/{package}/opam"), text.as_bytes());
    }
    Repository::new(vec![Arc::new(files)])
}

fn request(roots: &[&str]) -> Request {
    let env = Env::debian("x86_64", "12", "2.1.2");
    Request::new(env, roots.iter().map(|root| root.parse().unwrap()))
}

fn solved(repository: &Repository, request: &Request) -> Vec<String> {
    let solution = ResolvoSolver
        .solve(repository, request)
        .unwrap_or_else(|error| {
            panic!("{error}\n{error:#?}");
        });
    verify(&solution, request, repository).unwrap();
    solution
        .packages()
        .iter()
        .map(|chosen| chosen.package.to_string())
        .collect()
}

fn unsolved(repository: &Repository, request: &Request) -> String {
    match ResolvoSolver.solve(repository, request) {
        Ok(solution) => panic!("solved: {:?}", solution.packages()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn newest_versions_are_chosen_dependencies_first() {
    let repository = repository(&[
        ("a.1", ""),
        ("a.2", "depends: [\"b\" {>= \"2\"} \"c\" | \"d\"]"),
        ("b.1", ""),
        ("b.2", ""),
        ("b.10", ""),
        ("c.1", "depends: \"b\""),
        ("d.1", ""),
    ]);
    assert_eq!(
        solved(&repository, &request(&["a"])),
        ["b.10", "c.1", "a.2"]
    );
}

#[test]
fn lower_bounds_take_the_oldest_that_fit() {
    let repository = repository(&[
        ("a.1", "depends: \"b\" {>= \"2\"}"),
        ("a.2", ""),
        ("b.1", ""),
        ("b.2", ""),
        ("b.3", ""),
    ]);
    let mut request = request(&["a"]);
    request.lower_bounds = true;
    assert_eq!(solved(&repository, &request), ["b.2", "a.1"]);
}

#[test]
fn tests_are_asked_for_by_roots_only() {
    let repository = repository(&[
        ("a.1", "depends: [\"b\" \"t\" {with-test}]"),
        ("b.1", "depends: \"u\" {with-test}"),
        ("t.1", ""),
        ("u.1", ""),
    ]);
    let mut request = request(&["a"]);
    assert_eq!(solved(&repository, &request), ["b.1", "a.1"]);
    request.with_test = true;
    assert_eq!(solved(&repository, &request), ["b.1", "t.1", "a.1"]);
}

#[test]
fn avoided_and_unavailable_and_broken_versions_come_last_or_never() {
    let repository = repository(&[
        ("a.1", ""),
        ("a.2", "flags: avoid-version"),
        ("a.3", "available: os = \"win32\""),
        ("a.4", "depends: ["),
        ("a.5", "available: undefined-variable"),
    ]);
    let mut request = request(&["a"]);
    assert_eq!(solved(&repository, &request), ["a.1"]);
    request.roots[0].versions = Versions::exactly("2".parse().unwrap());
    assert_eq!(solved(&repository, &request), ["a.2"]);
    request.roots[0].versions = Versions::exactly("4".parse().unwrap());
    assert!(unsolved(&repository, &request).contains("a.4 cannot be used"));
}

#[test]
fn conflicts_and_conflict_classes_are_honoured() {
    let repository = repository(&[
        ("a.1", ""),
        ("a.2", "conflicts: [\"b\" {>= \"2\"} \"zz\"]"),
        ("b.1", "conflicts: \"b\""),
        ("b.2", ""),
        ("x.1", "conflict-class: \"k\""),
        ("y.1", ""),
        ("y.2", "conflict-class: [\"k\" \"l\"]"),
        ("z.1", "conflict-class: \"k\""),
        ("p.1", ""),
        ("p.2", "conflicts: \"q\" {= \"2\"} & \"r\" {= \"2\"}"),
        ("q.1", ""),
        ("q.2", ""),
        ("r.1", ""),
        ("r.2", ""),
    ]);
    assert_eq!(solved(&repository, &request(&["a", "b"])), ["a.2", "b.1"]);
    assert_eq!(solved(&repository, &request(&["x", "y"])), ["x.1", "y.1"]);
    let error = unsolved(&repository, &request(&["x", "z"]));
    assert!(error.contains("conflict class k"), "{error}");
    assert_eq!(
        solved(&repository, &request(&["p", "q", "r"])),
        ["p.2", "q.2", "r.1"]
    );
    let mut newest = request(&["p", "q", "r"]);
    for root in &mut newest.roots {
        root.versions = Versions::exactly("2".parse().unwrap());
    }
    assert!(ResolvoSolver.solve(&repository, &newest).is_err());
    assert_eq!(solved(&repository, &request(&["p", "q"])), ["p.2", "q.2"]);
}

#[test]
fn optional_dependencies_are_used_but_never_asked_for() {
    let repository = repository(&[
        ("a.1", "depopts: [\"b\" \"c\" {< \"2\"} \"d\"]"),
        ("b.1", ""),
        ("c.2", ""),
        ("d.1", ""),
    ]);
    assert_eq!(solved(&repository, &request(&["a"])), ["a.1"]);
    let request = request(&["a", "b", "c"]);
    let solution = ResolvoSolver.solve(&repository, &request).unwrap();
    let deps = &solution.get(&"a".parse().unwrap()).unwrap().deps;
    // An optional dependency outside its bounds counts as absent, as it does for opam.
    assert_eq!(
        deps.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["b.1"]
    );
}

#[test]
fn an_optional_cycle_is_cut_and_a_post_dependency_is_no_cycle() {
    let repository = repository(&[
        ("a.1", "depopts: \"b\""),
        ("b.1", "depends: [\"a\" \"c\" {post}]"),
        ("c.1", "depends: \"b\""),
        ("d.1", "depends: \"e\""),
        ("e.1", "depends: \"d\""),
    ]);
    assert_eq!(solved(&repository, &request(&["b"])), ["a.1", "b.1", "c.1"]);
    let error = unsolved(&repository, &request(&["e"]));
    assert_eq!(error, "order packages that need each other: d -> e");
}

#[test]
fn pins_replace_every_version_and_are_dev() {
    let repository = repository(&[
        ("a.9", "depends: \"x\""),
        ("b.1", ""),
        ("b.2", ""),
        ("t.1", ""),
    ]);
    let opam = OpamFile::parse(
        b"depends: [\"b\" {!= version} \"t\" {dev & with-test} \"ocaml-missing\" {!dev}]",
        "a.opam",
    );
    let pin = Pin {
        version: "dev".parse().unwrap(),
        opam: Arc::new(opam.unwrap()),
    };
    let mut request = request(&[]);
    request.with_test = true;
    request.pin_root("a".parse().unwrap(), pin);
    assert_eq!(solved(&repository, &request), ["b.2", "t.1", "a.dev"]);
    request.constrain(
        "b".parse().unwrap(),
        Versions::exactly("1".parse().unwrap()),
    );
    assert_eq!(solved(&repository, &request), ["b.1", "t.1", "a.dev"]);
}

#[test]
fn closure_is_what_a_package_needs_in_order() {
    let repository = repository(&[
        ("a.1", "depends: [\"b\" \"c\"]"),
        ("b.1", "depends: \"d\""),
        ("c.1", ""),
        ("d.1", ""),
    ]);
    let request = request(&["a"]);
    let solution = ResolvoSolver.solve(&repository, &request).unwrap();
    let names = |package: &str| -> Vec<String> {
        let package: Package = package.parse().unwrap();
        solution
            .closure(&package)
            .iter()
            .map(|chosen| chosen.package.to_string())
            .collect()
    };
    assert_eq!(names("a.1"), ["d.1", "b.1", "c.1"]);
    assert_eq!(names("b.1"), ["d.1"]);
    assert_eq!(names("b.2"), [""; 0]);
}

#[test]
fn the_error_speaks_of_the_best_versions() {
    let repository = repository(&[
        ("a.1", "depends: \"gone\""),
        ("a.2", "depends: \"c\" {>= \"2\"}"),
        ("b.1", "depends: \"c\" {< \"2\"}"),
        ("c.1", ""),
        ("c.2", ""),
    ]);
    assert_eq!(
        unsolved(&repository, &request(&["a", "b"])),
        "solve for a, b: a.2 needs c {>= \"2\"}, but b.1 needs c {< \"2\"}"
    );
}

#[test]
fn the_error_names_the_bound_at_fault() {
    let repository = repository(&[
        ("a.1", "depends: \"fmt\" {>= \"99\"}"),
        ("fmt.0.8.5", ""),
        ("fmt.0.9.0", ""),
        ("b.1", "depends: \"fnt\""),
        ("c.1", "depends: [\"fmt\" {< \"0.9\"} \"d\"]"),
        ("d.1", "depends: \"fmt\" {>= \"0.9\"}"),
        ("e.1", "depends: \"f\""),
        ("f.1", "available: os = \"macos\""),
        ("g.1", "conflicts: \"h\""),
        ("h.1", ""),
    ]);
    assert_eq!(
        unsolved(&repository, &request(&["a"])),
        "solve for a: a.1 needs fmt {>= \"99\"}, but known versions of fmt go from 0.8.5 to 0.9.0"
    );
    assert_eq!(
        unsolved(&repository, &request(&["b"])),
        "solve for b: b.1 needs fnt, but no repository has a package fnt (did you mean fmt?)"
    );
    assert_eq!(
        unsolved(&repository, &request(&["c"])),
        "solve for c: c.1 needs fmt {< \"0.9\"}, but d.1 needs fmt {>= \"0.9\"}"
    );
    assert_eq!(
        unsolved(&repository, &request(&["e"])),
        "solve for e: e.1 needs f, but f.1 cannot be used: not available on this platform: \
         os = \"macos\""
    );
    let error = unsolved(&repository, &request(&["g", "h"]));
    assert!(
        error.contains("g.1 needs the absence of h, but the request needs h"),
        "{error}"
    );
    let mut constrained = request(&["d"]);
    constrained.constrain(
        "fmt".parse().unwrap(),
        Versions::exactly("0.8.5".parse().unwrap()),
    );
    assert!(unsolved(&repository, &constrained).contains("the request wants = \"0.8.5\""));
    assert!(unsolved(&repository, &request(&["nope"])).contains("the request needs nope"));
}

/// A small repository: names a..f at versions 1..3 with random formulas.
fn packages() -> impl Strategy<Value = Vec<(String, String)>> {
    let names = || prop::sample::select(vec!["a", "b", "c", "d", "e", "f"]);
    let bound = prop::sample::select(vec![
        "",
        "{>= \"2\"}",
        "{< \"3\"}",
        "{= \"1\"}",
        "{!= \"2\"}",
        "{with-test}",
        "{post}",
        "{build & >= \"2\"}",
        "{os = \"win32\"}",
        "{= \"1\" | = \"3\"}",
    ]);
    let atom = (names(), bound).prop_map(|(name, bound)| format!("\"{name}\" {bound}"));
    let formula = prop::collection::vec((atom, prop::bool::ANY), 0..3).prop_map(|atoms| {
        let mut text = String::new();
        for (index, (atom, or)) in atoms.iter().enumerate() {
            let joint = if index == 0 {
                ""
            } else if *or {
                " | "
            } else {
                " & "
            };
            text += &format!("{joint}{atom}");
        }
        text
    });
    let extra = prop::sample::select(vec![
        "",
        "",
        "",
        "flags: avoid-version",
        "conflict-class: \"k\"",
        "available: false",
        "conflicts: [\"b\" {= \"2\"} \"c\" {= \"3\"}]",
        "conflicts: \"d\"",
        "depopts: [\"e\" \"f\"]",
        "conflicts: \"e\" & \"f\" {>= \"2\"}",
    ]);
    let package = (names(), 1..4_u8, formula, extra).prop_map(|(name, version, formula, extra)| {
        (
            format!("{name}.{version}"),
            format!("depends: [{formula}]\n{extra}"),
        )
    });
    prop::collection::vec(package, 3..18)
}

/// Whether any choice of versions is a solution, by trying all of them.
fn brute_force(repository: &Repository, request: &Request) -> bool {
    let names = repository.names();
    let choices: Vec<Vec<Option<Package>>> = names
        .iter()
        .map(|name| {
            let versions = repository.versions(name).into_iter();
            let some = versions.map(|version| Some(Package::new(name.clone(), version)));
            std::iter::once(None).chain(some).collect()
        })
        .collect();
    let mut counters = vec![0_usize; choices.len()];
    loop {
        let picked = choices
            .iter()
            .zip(&counters)
            .filter_map(|(list, index)| list[*index].clone());
        let chosen: Vec<_> = picked
            .filter_map(|package| repository.get(&package).ok().map(|opam| (package, opam)))
            .collect();
        // Cycles count as solved here: the search does not look at order.
        match solution::Solution::build(chosen, request) {
            Ok(solution) if verify(&solution, request, repository).is_ok() => return true,
            _ => {}
        }
        let Some(position) =
            (0..counters.len()).find(|index| counters[*index] + 1 < choices[*index].len())
        else {
            return false;
        };
        counters[position] += 1;
        counters[..position].fill(0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn answers_hold_and_no_answer_means_there_is_none(packages in packages(), with_test: bool, lower_bounds: bool) {
        let list: Vec<(&str, &str)> =
            packages.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let repository = repository(&list);
        let mut request = request(&["a", "b"]);
        (request.with_test, request.lower_bounds) = (with_test, lower_bounds);
        match ResolvoSolver.solve(&repository, &request) {
            Ok(solution) => {
                prop_assert_eq!(verify(&solution, &request, &repository), Ok(()));
                let again = ResolvoSolver.solve(&repository, &request);
                prop_assert_eq!(again.as_ref(), Ok(&solution));
            }
            Err(NoSolution::Unsatisfiable { faults, explanation, .. }) => {
                prop_assert!(!brute_force(&repository, &request), "{:?}", packages);
                prop_assert!(!faults.is_empty() || !explanation.is_empty());
            }
            Err(NoSolution::Cycle { .. }) => {}
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}
