//! Specs with the meaning of those in OBuilder's manual and tests, and each op on its own.

use super::{Copy, Image, Mount, Name, Op, Run, Source, Spec, User, op, parse, strings};

#[test]
fn smallest_spec_has_a_base_and_nothing_to_do() {
    let spec = parse("((from scratch))");
    assert_eq!(spec.from().as_str(), "scratch");
    assert!(spec.child_builds().is_empty() && spec.ops().is_empty());
}

#[test]
fn hello_world_is_read() {
    let spec = parse(
        "((from busybox@sha256:0123456789abcdef)\n (shell /bin/sh -c)\n (run (shell \"echo hi\")))\n",
    );
    let ops = vec![
        Op::Shell(strings(&["/bin/sh", "-c"])),
        Op::Run(Run::new("echo hi")),
    ];
    let image = Image::new("busybox@sha256:0123456789abcdef").unwrap();
    assert_eq!(spec, Spec::new(vec![], image, ops).unwrap());
}

#[test]
fn each_op_is_read_with_all_its_fields() {
    assert_eq!(
        op("(comment \"two words\")"),
        Op::Comment("two words".into())
    );
    assert_eq!(op("(workdir /usr/local)"), Op::Workdir("/usr/local".into()));
    assert_eq!(op("(shell)"), Op::Shell(vec![]));
    assert_eq!(
        op("(env FLAGS \"-O2 -g\")"),
        Op::Env("FLAGS".into(), "-O2 -g".into())
    );
    assert_eq!(
        op("(user (uid 1000) (gid 1001))"),
        Op::User(User::Unix {
            uid: 1000,
            gid: 1001
        })
    );
    assert_eq!(
        op("(user (name opam))"),
        Op::User(User::Named("opam".into()))
    );
    let mut cache = Mount::cache("archives", "/home/opam/.opam/download-cache");
    cache.buildkit_options = vec![("sharing".into(), "locked".into())];
    assert_eq!(
        op("(run (cache (archives (buildkit_options ((sharing locked)))
                                  (target /home/opam/.opam/download-cache)))
                 (network host) (secrets (token (target /run/secrets/token)) (k (target /k)))
                 (shell \"opam install utop\"))"),
        Op::Run(Run {
            cache: vec![cache],
            network: strings(&["host"]),
            secrets: vec![Mount::secret("token"), Mount::cache("k", "/k")],
            shell: "opam install utop".into(),
        })
    );
    assert_eq!(
        op("(copy (src .) (dst build/) (exclude .git _build))"),
        Op::Copy(Copy {
            from: Source::Context,
            src: strings(&["."]),
            dst: "build/".into(),
            exclude: strings(&[".git", "_build"]),
        })
    );
}

#[test]
fn fields_come_in_any_order_and_lists_may_be_empty() {
    assert_eq!(
        op("(run (shell x) (secrets) (network) (cache))"),
        Op::Run(Run::new("x"))
    );
    assert_eq!(
        op("(copy (exclude) (dst d) (src) (from context))"),
        Op::Copy(Copy::new(vec![], "d"))
    );
}

#[test]
fn stages_are_read_and_scoped() {
    let spec = parse(
        r#"((build dev
             ((from ocaml/opam:debian-12)
              (user (uid 1000) (gid 1000))
              (workdir /home/opam)
              (run (shell "echo 'print_endline {|hi|}' > main.ml"))
              (run (shell "opam exec -- ocamlopt -ccopt -static -o hi main.ml"))))
            (build late
             ((build inner ((from x) (copy (from (build dev)) (src /a) (dst /b))))
              (from y)
              (copy (from (build inner)) (src /b) (dst /c))))
            (from alpine:3.20)
            (copy (from (build dev)) (src /home/opam/hi) (dst /usr/local/bin/hi))
            (run (shell hi)))"#,
    );
    let names: Vec<_> = spec.child_builds().iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [&Name::new("dev").unwrap(), &Name::new("late").unwrap()]
    );
    assert_eq!(spec.child_builds()[0].1.ops().len(), 4);
    let Op::Copy(copy) = &spec.ops()[0] else {
        panic!("a copy");
    };
    assert_eq!(copy.from, Source::Build(Name::new("dev").unwrap()));
}

#[test]
fn a_build_that_only_its_enclosing_spec_makes_whole_is_no_spec() {
    let spec = parse(
        "((build a ((from x))) (build b ((from y) (copy (from (build a)) (src s) (dst d)))) (from z))",
    );
    let (_, inner) = spec.child_builds()[1].clone();
    let error = Spec::parse(inner.to_string().as_bytes()).unwrap_err();
    assert!(error.to_string().contains("unknown build \"a\""), "{error}");
    let image = Image::new("z").unwrap();
    let name = Name::new("b").unwrap();
    assert!(Spec::new(vec![(name.clone(), inner.clone())], image.clone(), vec![]).is_err());
    let (first, a) = spec.child_builds()[0].clone();
    let whole = Spec::new(vec![(first, a), (name, inner)], image, vec![]).unwrap();
    assert_eq!(whole, spec);
}

#[test]
fn a_build_named_twice_is_kept_twice() {
    let spec = parse("((build a ((from x))) (build a ((from y))) (from z))");
    assert_eq!(spec.child_builds().len(), 2);
}

#[test]
fn comments_of_all_kinds_are_skipped() {
    let spec = parse(
        "; a line with \" and (\n((from base) #| a block #| in a block |# \" |# \" |#\n\
         #; (run (shell x)) #;#; a b ; the end\r\n (workdir /x)#;c) #| after |# #;(d) ; last",
    );
    assert_eq!(spec.ops(), [Op::Workdir("/x".into())]);
}

#[test]
fn quoted_strings_undo_escapes_as_ocaml_does() {
    let text = |quoted: &str| match op(&format!("(comment {quoted})")) {
        Op::Comment(text) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(text(r#""\n\t\r\b\\\"\'""#), "\n\t\r\u{8}\\\"'");
    assert_eq!(text(r#""\065\x42\195\169""#), "AB\u{e9}");
    assert_eq!(
        text(r#""mkdir C:\obuilder \( \ ""#),
        r"mkdir C:\obuilder \( \ "
    );
    assert_eq!(
        text("\"cd x \\\n \t && make \\\r\n  all\""),
        "cd x && make all"
    );
    assert_eq!(text("\"a\n  b\rc\""), "a\n  b\rc");
    assert_eq!(text("\"a\\\rb\""), "a\rb");
    assert_eq!(text("\u{e9}\u{4e16}"), "\u{e9}\u{4e16}");
    assert_eq!(text("a#b|c#"), "a#b|c#");
    assert_eq!(text("a#;b\n"), "a#");
}

#[test]
fn numbers_are_read_as_ocaml_does() {
    for (text, uid) in [
        ("0x1F", 31),
        ("0o17", 15),
        ("0b11", 3),
        ("0u12", 12),
        ("1_000", 1000),
        ("+5", 5),
        ("-0", 0),
        ("007", 7),
        ("4294967294", User::ID_MAX),
    ] {
        let op = op(&format!("(user (uid {text}) (gid 0))"));
        assert_eq!(op, Op::User(User::Unix { uid, gid: 0 }), "{text}");
    }
}

#[test]
fn names_of_ocamls_constructors_are_ops_too() {
    assert_eq!(op("(Comment x)"), op("(comment x)"));
    assert_eq!(op("(Shell a b)"), op("(shell a b)"));
    assert_eq!(op("(Run ((shell x)))"), op("(run (shell x))"));
    assert_eq!(op("(Env (A b))"), op("(env A b)"));
    assert_eq!(op("(User ((uid 1) (gid 2)))"), op("(user (uid 1) (gid 2))"));
    assert_eq!(op("(Copy ((src a) (dst b)))"), op("(copy (src a) (dst b))"));
}

#[test]
fn secret_made_by_code_has_the_usual_place() {
    assert_eq!(Mount::secret("token").target, "/run/secrets/token");
}
