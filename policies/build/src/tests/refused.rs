//! Specs that read well and cannot be run here: each names what is at fault.

use super::{Plan, Problem, parse, plan, problem};

#[test]
fn what_a_linux_sandbox_has_not_is_refused_by_name() {
    for (ops, words) in [
        ("(run (network nat) (shell x))", "no network [\"nat\"]"),
        (
            "(run (network host host) (shell x))",
            "no network [\"host\", \"host\"]",
        ),
        ("(user (name opam)) (run (shell x))", "\"opam\" is a name"),
        (
            "(user (name opam)) (copy (src a) (dst b))",
            "\"opam\" is a name",
        ),
        ("(user (uid 65536) (gid 0)) (run (shell x))", "65536:0"),
        (
            "(user (uid 0) (gid 70000)) (copy (src a) (dst b))",
            "0:70000",
        ),
        ("(workdir C:/src)", "\"C:/src\" is no path"),
        ("(env \"\" x)", "\"\" is no name"),
        ("(env A=B x)", "\"A=B\" is no name"),
        (
            "(run (cache (c (target data))) (shell x))",
            "the cache \"c\" is to be at \"data\"",
        ),
        (
            "(run (cache (c (target /))) (shell x))",
            "the cache \"c\" is to be at \"/\"",
        ),
        (
            "(run (secrets (s (target /a/../b))) (shell x))",
            "the secret \"s\" is to be at",
        ),
        (
            "(copy (src ../a) (dst b))",
            "\"../a\": a path may not have `..`",
        ),
        (
            "(copy (src a) (dst ../b))",
            "\"../b\": a path may not have `..`",
        ),
        ("(copy (src) (dst b/))", "nothing to copy"),
        (
            "(copy (src a b) (dst c))",
            "let the destination end with `/`",
        ),
        ("(shell) (run (shell \"\"))", "no command"),
    ] {
        let said = problem(ops).to_string();
        assert!(said.contains(words), "{ops}: {said}");
    }
}

#[test]
fn an_error_names_the_step_as_a_log_would() {
    let spec =
        parse("((build dev ((from a) (workdir /w) (run (network nat) (shell x)))) (from b))");
    let error = Plan::of(&spec).expect_err("no such network").to_string();
    assert!(
        error.starts_with("/w: (run (network nat) (shell x)) cannot be done: "),
        "{error}"
    );
}

#[test]
fn a_user_that_nothing_is_done_as_is_no_trouble() {
    assert_eq!(plan("((from base) (user (name opam)))").steps().count(), 0);
}

#[test]
fn a_build_has_no_more_steps_than_layers_are_stacked() {
    let steps = |count: usize| "(run (shell x))".repeat(count);
    assert_eq!(
        plan(&format!("((from base) {})", steps(400)))
            .steps()
            .count(),
        400
    );
    assert!(matches!(
        problem(&steps(401)),
        Problem::TooMany { count: 401, .. }
    ));
}

#[test]
fn a_workdir_grows_to_its_bound_only() {
    assert_eq!(
        problem(&"(workdir 0123456789)".repeat(500)),
        Problem::LongPath
    );
}
