//! Golden prints: what OBuilder prints for the same specs, byte by byte.

use super::{op, parse};

#[track_caller]
fn prints(text: &str, expected: &str) {
    let spec = parse(text);
    assert_eq!(spec.to_string(), expected);
    assert_eq!(parse(expected), spec);
}

#[test]
fn one_op_stands_on_one_line() {
    prints(
        r#"((build tools ((from base) (run (shell "make tools"))))
            (from base) (comment "Just a remark") (workdir /src) (run (shell "one command"))
            (run (secrets (key (target /run/secrets/key)) (other (target /o))) (network host)
                 (cache (downloads (target /data))
                        (objects (target /srv) (buildkit_options ((sharing locked) (mode 0755)))))
                 (shell "this command is so long that it goes beyond the edge of the page"))
            (copy (dst c) (src a b))
            (copy (from (build tools)) (src binary) (dst /usr/local/bin/))
            (env DEBUG 1) (env EMPTY "") (shell) (shell /bin/sh -c)
            (user (uid 0x1) (gid 2)) (user (name opam)))"#,
        r#"((build tools
        ((from base)
         (run (shell "make tools"))))
 (from base)
 (comment "Just a remark")
 (workdir /src)
 (run (shell "one command"))
 (run (cache (downloads (target /data)) (objects (target /srv) (buildkit_options ((sharing locked) (mode 0755)))))
      (network host)
      (secrets (key (target /run/secrets/key)) (other (target /o)))
      (shell "this command is so long that it goes beyond the edge of the page"))
 (copy (src a b) (dst c))
 (copy (from (build tools)) (src binary) (dst /usr/local/bin/))
 (env DEBUG 1)
 (env EMPTY "")
 (shell)
 (shell /bin/sh -c)
 (user (uid 1) (gid 2))
 (user (name opam))
)"#,
    );
}

#[test]
fn copy_that_reaches_the_edge_is_broken_up() {
    let words = "(src aaaaaaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbbbbbbbbbbbbbb)";
    prints(
        &format!("((from x) (copy {words} (dst cccccccc)))"),
        &format!("((from x)\n (copy {words} (dst cccccccc))\n)"),
    );
    prints(
        &format!("((from x) (copy {words} (dst ccccccccc)))"),
        &format!("((from x)\n (copy {words}\n       (dst ccccccccc))\n)"),
    );
}

#[test]
fn text_of_several_lines_keeps_them() {
    prints(
        r#"((from x) (run (shell "set -e\nmake\n  make \"install\"\n")) (run (shell "one line\n")))"#,
        r#"((from x)
 (run (shell  "set -e\
             \nmake\
             \n  make \"install\"\
             \n"))
 (run (shell "one line\n"))
)"#,
    );
}

#[test]
fn words_are_quoted_only_where_they_must_be() {
    prints(
        r##"((from x) (comment "quote \" back \\ tab \t bell \x07 del \127 accent \195\169")
            (shell "plain" "a#b" "#" "||" "#|" "x|#" "a;b" "(" "it's"))"##,
        r##"((from x)
 (comment "quote \" back \\ tab \t bell \007 del \127 accent \195\169")
 (shell plain a#b # || "#|" "x|#" "a;b" "(" it's)
)"##,
    );
}

#[test]
fn deep_builds_do_not_run_off_the_page() {
    let mut text =
        "((from x) (copy (src a) (dst b)) (run (shell \"a\\nb\") (network host)))".to_owned();
    for name in ["g", "f", "e", "d", "c", "b", "a"] {
        let copy = if name == "g" {
            " (copy (src a) (dst b))"
        } else {
            ""
        };
        text = format!("((build {name} {text}) (from x){copy})");
    }
    let printed = parse(&text).to_string();
    // No line begins beyond column 68.
    let odd = "
                                                         (copy (src a)
                                                               (dst b))
                                                         (run (network host)
                                                              (shell  \"a\\
                                                                    \\nb\"))))
                                                 (from x)
                                                 (copy (src a) (dst b))))
";
    assert!(printed.contains(odd), "{printed}");
    assert_eq!(parse(&printed).to_string(), printed);
}

#[test]
fn boxes_do_not_open_at_the_right_edge() {
    let mut text = "((from x) (copy (src a) (dst b)))".to_owned();
    for name in ["j", "i", "h", "g", "f", "e", "d", "c", "b", "a"] {
        text = format!("((build {name} {text}) (from x))");
    }
    let printed = parse(&text).to_string();
    let indent = " ".repeat(64);
    let odd = [
        "((build ",
        " i",
        " ((build ",
        "  j",
        "  ((from x)",
        "   (copy ",
        "   (src a)",
        "   (dst b))))",
        "  (from x)))",
        " (from x)))",
    ];
    let odd = odd.map(|line| format!("{indent}{line}\n")).concat();
    assert!(printed.contains(&odd), "{printed}");
    assert_eq!(parse(&printed).to_string(), printed);
}

#[test]
fn ops_are_printed_alone_too() {
    assert_eq!(
        op("(run (shell \"a b\"))").to_string(),
        "(run (shell \"a b\"))"
    );
    assert_eq!(
        op("(run (network host) (shell x))").to_string(),
        "(run (network host)\n     (shell x))"
    );
}
