//! Input made to hurt: it is refused in time, in a bounded stack, by naming what is wrong.

use super::{Image, Name, Op, Problem, Run, Spec, User, error};
use crate::limits::{
    SPEC_ATOM_BYTES_MAX, SPEC_BUILD_DEPTH_MAX, SPEC_BUILDS_MAX, SPEC_BYTES_MAX,
    SPEC_IMAGE_BYTES_MAX, SPEC_NAME_BYTES_MAX, SPEC_NODES_MAX, SPEC_OPS_MAX, SPEC_PARENS_MAX,
};

/// Builds within builds, so many of them.
fn nested(depth: usize) -> String {
    let mut text = "((from x))".to_owned();
    for _ in 0..depth {
        text = format!("((build b {text}) (from x))");
    }
    text
}

#[track_caller]
fn limit_is(text: &str, wanted: usize) {
    match error(text).problem {
        Problem::TooMany { max, .. } | Problem::TooLong { max, .. } => assert_eq!(max, wanted),
        other => panic!("{other}"),
    }
}

#[test]
fn deep_nesting_is_refused_without_a_deep_stack() {
    limit_is(&"(".repeat(SPEC_BYTES_MAX), SPEC_PARENS_MAX);
    limit_is(&format!("#;{}", "(".repeat(500_000)), SPEC_PARENS_MAX);
    let comments = "#|".repeat(SPEC_BYTES_MAX / 2);
    assert!(matches!(error(&comments).problem, Problem::Unclosed { .. }));
    let ignores = "#;".repeat(SPEC_BYTES_MAX / 2);
    assert!(matches!(error(&ignores).problem, Problem::EmptyComment));
}

#[test]
fn builds_nest_to_the_limit_and_no_deeper() {
    let text = nested(SPEC_BUILD_DEPTH_MAX);
    let spec = Spec::parse(text.as_bytes()).unwrap();
    assert_eq!(Spec::parse(spec.to_string().as_bytes()).unwrap(), spec);
    limit_is(&nested(SPEC_BUILD_DEPTH_MAX + 1), SPEC_BUILD_DEPTH_MAX);
    let name = Name::new("outer").unwrap();
    let error = Spec::new(vec![(name, spec)], Image::new("x").unwrap(), vec![]).unwrap_err();
    assert_eq!(error.at, None);
    assert!(
        error.to_string().contains("builds within each other"),
        "{error}"
    );
}

#[test]
fn builds_ops_and_nodes_are_counted() {
    let builds = |count| format!("({}(from x))", "(build b ((from x)))".repeat(count));
    assert!(Spec::parse(builds(SPEC_BUILDS_MAX).as_bytes()).is_ok());
    limit_is(&builds(SPEC_BUILDS_MAX + 1), SPEC_BUILDS_MAX);
    let ops = |count| format!("((from x){})", "(shell)".repeat(count));
    assert!(Spec::parse(ops(SPEC_OPS_MAX).as_bytes()).is_ok());
    limit_is(&ops(SPEC_OPS_MAX + 1), SPEC_OPS_MAX);
    limit_is(
        &format!("((from x){})", "()".repeat(SPEC_NODES_MAX)),
        SPEC_NODES_MAX,
    );
}

#[test]
fn text_and_atoms_have_a_longest_length() {
    limit_is(&" ".repeat(SPEC_BYTES_MAX + 1), SPEC_BYTES_MAX);
    let spec = |length: usize| format!("((from x) (run (shell {})))", "a".repeat(length));
    assert!(Spec::parse(spec(SPEC_ATOM_BYTES_MAX).as_bytes()).is_ok());
    limit_is(&spec(SPEC_ATOM_BYTES_MAX + 1), SPEC_ATOM_BYTES_MAX);
    let quoted = format!(
        "((from x) (comment \"{}\"))",
        "\\\\".repeat(SPEC_ATOM_BYTES_MAX + 1)
    );
    limit_is(&quoted, SPEC_ATOM_BYTES_MAX);
    limit_is(
        &format!("((from {}))", "a".repeat(SPEC_IMAGE_BYTES_MAX + 1)),
        SPEC_IMAGE_BYTES_MAX,
    );
    let name = "a".repeat(SPEC_NAME_BYTES_MAX + 1);
    limit_is(
        &format!("((build {name} ((from x))) (from x))"),
        SPEC_NAME_BYTES_MAX,
    );
    limit_is(
        &format!("((from x) (run (cache ({name} (target /x))) (shell y)))"),
        SPEC_NAME_BYTES_MAX,
    );
}

#[test]
fn spec_whose_print_is_too_long_to_read_is_refused() {
    // Each of these letters is two bytes here and eight when printed.
    let op = format!("(comment {})", "\u{e9}".repeat(60_000));
    limit_is(&format!("((from x){})", op.repeat(3)), SPEC_BYTES_MAX);
    assert!(Spec::parse(format!("((from x){})", op.repeat(2)).as_bytes()).is_ok());
}

#[test]
fn atoms_that_are_no_text_are_refused() {
    for text in [
        &b"((from x) (comment a\0b))"[..],
        b"((from x) (comment \"\\000\"))",
    ] {
        let error = error(text);
        assert_eq!(error.problem, Problem::Nul);
        assert_eq!(error.at.unwrap().column, 20);
    }
    let latin = error(b"((from x) (comment caf\xe9))");
    assert_eq!(
        latin.to_string(),
        "read the spec at line 1, column 20: expected UTF-8 text, found caf\\xe9"
    );
    assert!(matches!(
        error(b"((from x) (comment \"\\255\"))").problem,
        Problem::NotUtf8 { .. }
    ));
    // Comments are nobody's argument.
    assert!(Spec::parse(b"; caf\xe9 \0\n((from x) #| \xff |#)").is_ok());
}

#[test]
fn error_repeats_little_of_what_it_refuses() {
    let long = "x".repeat(SPEC_ATOM_BYTES_MAX);
    for text in [
        format!("((from x) ({long}))"),
        format!("((from x) (run ({long})))"),
        format!(
            "((from x) (copy (from (build {})) (src a) (dst b)))",
            &long[..200]
        ),
        format!("((from x) (comment {long} {long}))"),
        format!("((from x) \"\\027[31m{long}\")"),
        format!("((from x) (user (uid {long}) (gid 1)))"),
    ] {
        let message = error(&text).to_string();
        assert!(message.len() < 400, "{message}");
        assert!(!message.contains(|c: char| c.is_control()), "{message:?}");
    }
}

#[test]
fn values_that_cannot_be_written_make_no_spec() {
    let new = |op| Spec::new(vec![], Image::new("x").unwrap(), vec![op]);
    let error = new(Op::Run(Run::new("a\0b"))).unwrap_err();
    assert_eq!(error, Problem::Nul.into());
    assert_eq!(
        error.to_string(),
        "read the spec: expected text without NUL bytes"
    );
    let nobody = Op::User(User::Unix {
        uid: u32::MAX,
        gid: 0,
    });
    assert!(matches!(
        new(nobody).unwrap_err().problem,
        Problem::BadId { .. }
    ));
    assert!(new(Op::Comment("a".repeat(SPEC_ATOM_BYTES_MAX + 1))).is_err());
    assert!(Name::new("a\0").is_err() && Image::new("").is_err());
}
