//! What a spec needs from outside, and how its parts are announced.

use super::{Image, Name, op, parse};

const NESTED: &str = "
((build outer
   ((build inner ((from a) (copy (src one) (dst ./)) (run (secrets (s (target /s))) (shell x))))
    (from b)
    (copy (from (build inner)) (src /x) (dst /y))
    (copy (src two) (dst ./))))
 (build late ((from a)))
 (from c)
 (run (secrets (t (target /t)) (s (target /u))) (shell y))
 (copy (src three) (dst ./)))";

#[test]
fn nested_builds_come_before_those_that_hold_them() {
    let spec = parse(NESTED);
    let from: Vec<&str> = spec.builds().iter().map(|b| b.from().as_str()).collect();
    assert_eq!(from, ["a", "b", "a", "c"]);
}

#[test]
fn what_is_needed_is_listed_in_the_order_of_the_builds() {
    let spec = parse(NESTED);
    let copies: Vec<&str> = spec
        .context_copies()
        .iter()
        .map(|c| c.src[0].as_str())
        .collect();
    assert_eq!(copies, ["one", "two", "three"]);
    let images: Vec<&str> = spec.images().iter().map(|image| image.as_str()).collect();
    assert_eq!(images, ["a", "b", "c"]);
    assert_eq!(spec.secrets(), ["s", "t"]);
}

#[test]
fn headings_look_as_obuilder_prints_them() {
    assert_eq!(
        op("(run (shell Append))").heading("/"),
        "/: (run (shell Append))"
    );
    assert_eq!(
        op("(run (network host) (shell \"echo hi\"))").heading("/src"),
        "/src: (run (network host)\n           (shell \"echo hi\"))"
    );
    assert_eq!(
        op("(copy (src .) (dst /src/) (exclude .git _build _opam))").heading("/src"),
        "/src: (copy (src .) (dst /src/) (exclude .git _build _opam))"
    );
    assert_eq!(
        Image::new("debian:12").expect("a name").heading(),
        "(from debian:12)"
    );
    assert_eq!(
        Image::new("a b").expect("a name").heading(),
        "(from \"a b\")"
    );
    let name = Name::new("dev").expect("a name");
    assert_eq!(name.heading(), "(build \"dev\" …)");
    assert_eq!(name.ending(), "--> finished \"dev\"");
}

#[test]
fn sources_are_plain_and_stay_below() {
    let sources = |src: &str| {
        let super::Op::Copy(copy) = op(&format!("(copy (src {src}) (dst d/))")) else {
            panic!("no copy")
        };
        copy.sources()
    };
    let plain = sources("./a /b// c/./d . \"\" /").expect("plain");
    assert_eq!(plain, ["a", "b", "c/d", ".", ".", "."]);
    assert_eq!(sources("...").expect("a name"), ["..."]);
    for bad in ["..", "../a", "a/../b", "a/.."] {
        let error = sources(bad).expect_err("leads out");
        assert!(error.to_string().contains(bad), "{error}");
    }
}
