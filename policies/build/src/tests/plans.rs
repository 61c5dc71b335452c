//! What specs mean, as plans.

use super::{CopyTo, Line, Plan, plan};
use crate::Work;

/// A spec with its plan.
macro_rules! sample {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../../../samples/spec/", $name, ".spec")),
            include_str!(concat!("../../../../samples/spec/", $name, ".plan")),
        )
    };
}

/// The specs of `samples/spec`, each with the plan that is kept beside it.
const SAMPLES: [(&str, &str, &str); 5] = [
    sample!("hello"),
    sample!("multi-stage"),
    sample!("project"),
    sample!("cache-and-secret"),
    sample!("every-op"),
];

#[test]
fn samples_mean_what_is_written_beside_them() {
    for (name, spec, kept) in SAMPLES {
        assert_eq!(plan(spec).text(), kept, "the plan of {name} is another");
    }
}

/// The only copy's destination.
fn destination(workdir: &str, dst: &str) -> CopyTo {
    let plan = plan(&format!(
        "((from base) (workdir {workdir}) (copy (src a) (dst {dst})))"
    ));
    match &plan.steps().next().expect("a step").work {
        Work::Copy { dst, .. } => dst.clone(),
        Work::Run { .. } => panic!("no copy"),
    }
}

#[test]
fn a_destination_that_ends_in_a_slash_is_copied_into() {
    let into = |path: &str| CopyTo::Into(path.to_owned());
    let named = |path: &str| CopyTo::As(path.to_owned());
    for (workdir, dst, means) in [
        ("/", "a/", into("/a")),
        ("/", "a", named("/a")),
        ("/src", "./", into("/src")),
        ("/src", ".", named("/src")),
        ("/src", "\"\"", into("/src")),
        ("/src/", "a//b/./", into("/src/a/b")),
        ("/src", "/", into("/")),
        ("/src/../other", "a", named("/other/a")),
    ] {
        assert_eq!(destination(workdir, dst), means, "{dst} in {workdir}");
    }
}

/// The working directories of the runs, as they are given to the sandbox.
fn workdirs(ops: &str) -> Vec<String> {
    let plan = plan(&format!("((from base) {ops})"));
    let dirs = plan.steps().filter_map(|step| match &step.work {
        Work::Run { workdir, .. } => Some(workdir.clone()),
        Work::Copy { .. } => None,
    });
    dirs.collect()
}

#[test]
fn a_relative_workdir_joins_the_one_before() {
    let dirs = workdirs(
        "(run (shell x)) (workdir a) (run (shell x)) (workdir b/) (run (shell x))
         (workdir ../c) (run (shell x)) (workdir /d) (run (shell x)) (workdir ../../..) (run (shell x))",
    );
    assert_eq!(dirs, ["/", "/a", "/a/b", "/a/c", "/d", "/"]);
}

#[test]
fn headings_keep_the_workdir_as_it_was_written() {
    let plan = plan("((from base) (workdir a/./) (workdir ../b) (run (shell x)))");
    let headings: Vec<&str> = plan
        .lines
        .iter()
        .filter_map(|line| match line {
            Line::Heading(text) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(
        headings,
        [
            "/: (workdir a/./)",
            "/a/./: (workdir ../b)",
            "/a/./../b: (run (shell x))"
        ]
    );
}

#[test]
fn a_shell_counts_from_where_it_stands() {
    let plan = plan(
        "((from base) (run (shell a)) (shell /bin/sh -c) (run (shell b)) (shell) (run (shell c)))",
    );
    let argv: Vec<Vec<String>> = plan
        .steps()
        .filter_map(|step| match &step.work {
            Work::Run { shell, command, .. } => {
                Some(shell.iter().chain([command]).cloned().collect())
            }
            Work::Copy { .. } => None,
        })
        .collect();
    assert_eq!(argv[0], ["/usr/bin/env", "bash", "-c", "a"]);
    assert_eq!(argv[1], ["/bin/sh", "-c", "b"]);
    assert_eq!(argv[2], ["c"]);
}

#[test]
fn comments_change_nothing_but_the_log() {
    let steps = |spec: &str| Plan::text(&plan(spec));
    assert_eq!(
        steps("((from base) (comment \"hi\") (run (shell x)))"),
        steps("((from base) (run (shell x)))")
    );
}

#[test]
fn a_nested_build_begins_afresh() {
    let text = "
((build dev ((from a) (workdir /w) (env A 1) (user (uid 5) (gid 6)) (shell sh -c) (run (shell x))))
 (from b) (run (shell y)))";
    let plan = plan(text);
    let own = plan.builds.last().expect("its own");
    assert_eq!(
        (own.name.as_str(), own.steps[0].user, own.steps[0].env),
        ("(build)", (0, 0), 0)
    );
    assert_eq!(plan.builds[0].steps[0].user, (5, 6));
    assert_eq!(workdirs("(workdir /w) (run (shell x))"), ["/w"]);
}

#[test]
fn the_later_of_two_builds_of_one_name_counts() {
    let text = "
((build a ((from one) (run (shell x)))) (build a ((from two) (run (shell x))))
 (build \"a b/c\" ((from three) (copy (from (build a)) (src /x) (dst /y))))
 (from four) (copy (from (build a)) (src /x) (dst /y)))";
    let plan = plan(text);
    let names: Vec<&str> = plan.builds.iter().map(|made| made.name.as_str()).collect();
    assert_eq!(names, ["a", "a-2", "a_b_c", "(build)"]);
    for at in [2, 3] {
        let Work::Copy { from, .. } = plan.builds[at].steps[0].work else {
            panic!("no copy")
        };
        assert_eq!(from, crate::From::Build(1));
    }
}
