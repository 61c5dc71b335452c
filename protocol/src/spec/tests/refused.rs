//! What is no spec, and where and how that is said.

use super::{Position, error};

#[track_caller]
fn refused(text: &str, line: u32, column: u32, message: &str) {
    let error = error(text);
    assert_eq!(error.at, Some(Position { line, column }), "{error}");
    let expected = format!("read the spec at line {line}, column {column}: {message}");
    assert_eq!(error.to_string(), expected);
}

#[track_caller]
fn op_refused(op: &str, column: u32, message: &str) {
    refused(&format!("((from x)\n {op})"), 2, column + 1, message);
}

#[test]
fn shape_of_the_whole_is_checked() {
    refused("x", 1, 1, "expected a spec: ((from IMAGE) OP...), found x");
    refused(
        " ()",
        1,
        2,
        "missing field \"from\" in the spec: expected (from IMAGE) before the ops",
    );
    refused(
        "((run (shell x)) (from y))",
        1,
        2,
        "expected (build NAME SPEC) or (from IMAGE), found (run (shell x))",
    );
    refused(
        "((from x) (from y))",
        1,
        11,
        "expected an op: builds and (from IMAGE) come first, found (from y)",
    );
    refused(
        "((from x) (build y ((from z))))",
        1,
        11,
        "expected an op: builds and (from IMAGE) come first, found (build y ((from z)))",
    );
    refused(
        "((from x))\n((from y))",
        2,
        1,
        "expected the end after the closing parenthesis, found ((from y))",
    );
    refused("((from \"\"))", 1, 8, "the name of an image is empty");
    assert_eq!(
        error(" ; nothing").to_string(),
        "read the spec: expected a spec: ((from IMAGE) OP...), found nothing"
    );
}

#[test]
fn unknown_op_is_named_with_a_guess() {
    op_refused(
        "(rnu (shell x))",
        1,
        "unknown op \"rnu\", did you mean \"run\"?",
    );
    op_refused(
        "(entrypoint x)",
        1,
        "unknown op \"entrypoint\", the ops here are \"comment\", \"copy\", \"env\", \"run\", \
         \"shell\", \"user\" and \"workdir\"",
    );
    op_refused(
        "(RUN (shell x))",
        1,
        "unknown op \"RUN\", the ops here are \"comment\", \
        \"copy\", \"env\", \"run\", \"shell\", \"user\" and \"workdir\"",
    );
    op_refused("run", 1, "expected an op: (NAME ...), found run");
    op_refused("()", 1, "expected an op: (NAME ...), found ()");
}

#[test]
fn arguments_of_each_op_are_counted() {
    op_refused("(comment)", 1, "expected (comment TEXT), found (comment)");
    op_refused(
        "(comment a b)",
        1,
        "expected (comment TEXT), found (comment a b)",
    );
    op_refused("(workdir (a))", 10, "expected an atom, found (a)");
    op_refused("(env A)", 1, "expected (env NAME VALUE), found (env A)");
    op_refused(
        "(env (A B))",
        1,
        "expected (env NAME VALUE), found (env (A B))",
    );
    op_refused("(Env A B)", 1, "unknown op \"Env\", did you mean \"env\"?");
    op_refused("(shell a (b))", 10, "expected an atom, found (b)");
}

#[test]
fn fields_are_checked_one_by_one() {
    op_refused(
        "(run (shell x) (netwrok host))",
        16,
        "unknown field \"netwrok\" in (run ...), did you mean \"network\"?",
    );
    refused(
        "((from x)\n (run (shell x)\n      (shell y)))",
        3,
        7,
        "duplicate field \"shell\" in (run ...), given first at line 2, column 7",
    );
}

#[test]
fn missing_fields_are_named() {
    op_refused(
        "(run (network host))",
        1,
        "missing field \"shell\" in (run ...): expected (shell COMMAND)",
    );
    op_refused(
        "(copy (src a))",
        1,
        "missing field \"dst\" in (copy ...): expected (dst PATH)",
    );
    op_refused(
        "(copy (dst a))",
        1,
        "missing field \"src\" in (copy ...): expected (src PATH...)",
    );
    op_refused(
        "(run (secrets (token)) (shell x))",
        15,
        "missing field \"target\" in a secret: expected (target PATH)",
    );
}

#[test]
fn values_of_fields_are_checked() {
    op_refused("(run x)", 6, "expected a field: (NAME VALUE...), found x");
    op_refused(
        "(run (shell x y))",
        6,
        "expected (shell COMMAND), found (shell x y)",
    );
    op_refused(
        "(run (cache x) (shell y))",
        13,
        "expected a cache: (ID (target PATH)), found x",
    );
    op_refused(
        "(run (cache (a (target /a) (id b))) (shell y))",
        28,
        "unknown field \"id\" in a cache, the fields here are \"buildkit_options\" and \"target\"",
    );
    op_refused(
        "(run (cache (a (target /a) (buildkit_options ((k))))) (shell y))",
        47,
        "expected (KEY VALUE), found (k)",
    );
    op_refused(
        "(copy (from builds) (src a) (dst b))",
        13,
        "expected (from context) or (from (build NAME)), found builds",
    );
    op_refused(
        "(copy (src (a)) (dst b))",
        12,
        "expected an atom, found (a)",
    );
}

#[test]
fn users_are_two_numbers_in_order_or_a_name() {
    const FORM: &str = "expected (user (uid N) (gid N)) or (user (name NAME)), found";
    for user in [
        "(user)",
        "(user (gid 1) (uid 2))",
        "(user (uid 1))",
        "(user (uid 1) (gid 2) (name x))",
        "(user x)",
    ] {
        op_refused(user, 1, &format!("{FORM} {user}"));
    }
    for (number, found) in [
        ("-1", "-1"),
        ("root", "root"),
        ("4294967295", "4294967295"),
        ("0x", "0x"),
        ("_1", "_1"),
        ("0x_1", "0x_1"),
        ("\"\"", "\"\""),
        ("(1)", "(1)"),
        ("\u{661}", "\"\\217\\161\""),
    ] {
        let text = format!("(user (uid {number}) (gid 0))");
        let message = if found == "(1)" {
            "expected a user id, found (1)".to_owned()
        } else {
            format!("expected a user id from 0 to 4294967294, found {found}")
        };
        op_refused(&text, 12, &message);
    }
}

#[test]
fn copy_from_an_unknown_build_is_refused_with_a_guess() {
    refused(
        "((build tools ((from x)))\n (build web ((from y)))\n (from z)\n (copy (from (build tool)) (src a) (dst b)))",
        4,
        21,
        "unknown build \"tool\" in (copy (from (build tool)) (src a) (dst b)), did you mean \"tools\"?",
    );
    op_refused(
        "(copy (from (build tools)) (src a) (dst b))",
        20,
        "unknown build \"tools\" in (copy (from (build tools)) (src a) (dst b)), there are no builds here",
    );
}

#[test]
fn builds_are_not_in_scope_before_themselves_nor_outside_their_parent() {
    let copy = |name| format!("(copy (from (build {name})) (src a) (dst b))");
    for text in [
        format!("((build a ((from x) {})) (from y))", copy("a")),
        format!(
            "((build a ((from x) {})) (build b ((from y))) (from z))",
            copy("b")
        ),
        format!(
            "((build a ((build in ((from x))) (from y))) (from z) {})",
            copy("in")
        ),
    ] {
        assert!(error(&text).to_string().contains("unknown build"), "{text}");
    }
}

#[test]
fn text_that_is_no_s_expression_is_refused_where_it_goes_wrong() {
    refused(
        "((from x)\n (run",
        2,
        2,
        "the parenthesis is not closed before the end",
    );
    refused(
        "((from x)))",
        1,
        11,
        "there is no open parenthesis to close",
    );
    refused(
        "((from \"x\n))",
        1,
        8,
        "the quoted string is not closed before the end",
    );
    refused(
        "((from \"x\\",
        1,
        8,
        "the quoted string is not closed before the end",
    );
    refused(
        "((from x) #| #| |#",
        1,
        11,
        "the `#|` comment is not closed before the end",
    );
    refused(
        "((from x) #| \" |#",
        1,
        14,
        "the quoted string is not closed before the end",
    );
    refused(
        "((from x) #;)",
        1,
        11,
        "expected something for `#;` to comment out",
    );
    refused(
        "((from x)) #;",
        1,
        12,
        "expected something for `#;` to comment out",
    );
    refused(
        "((from x)\r (run))",
        1,
        10,
        "expected a line feed after a carriage return",
    );
    for atom in ["a#|b", "a|#b", "##|", "|#"] {
        op_refused(
            &format!("(comment {atom})"),
            10,
            "expected an atom without `#|` and `|#`: put it in quotes",
        );
    }
}

#[test]
fn escapes_that_mean_nothing_are_refused_where_they_stand() {
    for escape in ["256", "12", "1x2", "9"] {
        op_refused(
            &format!("(comment \"\u{e9}\\{escape}\")"),
            13,
            "expected three decimal digits of at most 255 after the backslash in a quoted string",
        );
    }
    op_refused(
        "(comment \"\\xg0\")",
        12,
        "expected `x` and two hexadecimal digits after the backslash in a quoted string",
    );
}
