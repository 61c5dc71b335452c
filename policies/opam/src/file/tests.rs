use proptest::prelude::*;

use super::*;
use crate::{limits::NESTING_MAX, relop::Relop};

fn parse(text: &str) -> Result<File, FileError> {
    File::parse(text.as_bytes(), "x/opam")
}

fn value_of(text: &str) -> Value {
    parse_value(text).unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

#[test]
fn every_kind_of_value_is_read() {
    let file = parse(concat!(
        "opam-version: \"2.0\" # comment\n",
        "(* a (* nested *) comment *)\n",
        "a: [true -12 \"x\\\"\\065\\x42\\\n   y\" \"\"\"q \" q\"\"\" ident pkg:var _:name a+b:c]\n",
        "url {\n  src: \"https://e.org/x.tgz\"\n}\n",
        "extra-source \"p.patch\" { checksum: [\"md5=0\"] }\n",
        "setenv: [[PATH += \"x\"] [A =+ \"\"] [B := \"\"] [C =: \"\"] [D = \"\"] [E =+= \"\"]]\n",
    ))
    .unwrap();
    let Kind::List(values) = &file.field("a").unwrap().kind else {
        panic!("a list")
    };
    assert_eq!(values[1].kind, Kind::Int(-12));
    assert_eq!(values[2].kind, Kind::String("x\"ABy".into()));
    assert_eq!(values[3].kind, Kind::String("q \" q".into()));
    assert_eq!(values[5].kind, Kind::Ident("pkg:var".into()));
    assert_eq!(values[7].kind, Kind::Ident("a+b:c".into()));
    assert!(matches!(&file.items[3], Item::Section(s) if s.name.as_deref() == Some("p.patch")));
    assert_eq!(parse(&file.to_string()).unwrap(), file);
}

#[test]
fn and_binds_closer_than_or_and_prefixes_closer_than_both() {
    let Kind::Any(parts) = value_of("a | !b & c = \"1\"").kind else {
        panic!("a disjunction")
    };
    let Kind::All(right) = &parts[1].kind else {
        panic!("a conjunction")
    };
    assert!(matches!(right[0].kind, Kind::Not(_)));
    assert!(matches!(right[1].kind, Kind::Compare(Relop::Equal, _)));
    assert!(matches!(value_of("!a {b}").kind, Kind::Not(_)));
    assert!(matches!(
        value_of("\"a\" {>= \"1\" & < \"2\"} {x}").kind,
        Kind::Option(..)
    ));
}

#[test]
fn a_negated_comparison_is_not_printed_as_another_one() {
    for text in [
        "! = \"1\"",
        "! = \"1\" {x}",
        "!(= \"1\")",
        "!(= \"1\" & !a)",
    ] {
        let value = value_of(text);
        assert_eq!(value_of(&value.to_string()), value, "{text}");
    }
}

#[test]
fn line_ends_of_both_kinds_mean_the_same() {
    assert_eq!(
        parse("a: \"x\r\ny\"\r\nb: 1\r\n"),
        parse("a: \"x\ny\"\nb: 1\n")
    );
}

#[test]
fn errors_name_file_line_column_and_what_was_expected() {
    for (text, message) in [
        (
            "a: [\n  \"x\"\n",
            "read x/opam:3:1: expected a value or ']', found the end of the file",
        ),
        (
            "a \"b\"\n",
            "read x/opam:2:1: expected ':' or '{', found the end of the file",
        ),
        ("a: \"b\n", "read x/opam:1:4: this string has no end"),
        (
            "a: 1\n  \"b\"",
            "read x/opam:2:3: expected a field or section, found a string",
        ),
        ("a: @", "read x/opam:1:4: expected a token, found '@'"),
        (
            "a: \"\\q\"",
            "read x/opam:1:4: illegal escape sequence in this string",
        ),
        ("a: (* x", "read x/opam:1:4: this comment has no end"),
        (
            "a: 99999999999999999999",
            "read x/opam:1:4: expected an integer of at most 64 bits, found 99999999999999999999",
        ),
        ("a: \"\\255\"", "read x/opam:1:4: expected UTF-8 text"),
        ("a: [b & ]", "read x/opam:1:9: expected a value, found ']'"),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), message);
    }
    let bytes = File::parse(b"a: 1\nb: \"\xff\"", "x/opam").unwrap_err();
    assert_eq!(bytes.to_string(), "read x/opam:2:5: expected UTF-8 text");
}

#[test]
fn hostile_nesting_is_an_error_and_long_chains_are_flat() {
    for text in [
        format!("a: {}", "[".repeat(100_000)),
        format!("a: {}", "(".repeat(100_000)),
        format!("a: {}b", "!".repeat(100_000)),
        format!("a: b{}", "{x}".repeat(100_000)),
        format!("a: {}", "b{".repeat(100_000)),
        "a {".repeat(100_000),
    ] {
        assert_eq!(parse(&text).unwrap_err().syntax, Syntax::Deep);
    }
    let unended = format!("a: {}", "(*".repeat(100_000));
    assert_eq!(
        parse(&unended).unwrap_err().syntax,
        Syntax::Unterminated("comment")
    );
    let chain = parse(&format!("a: b{}", " & b".repeat(100_000))).unwrap();
    assert_eq!(parse(&chain.to_string()).unwrap(), chain);
    let deep = format!("a: {}b{}", "(".repeat(NESTING_MAX), ")".repeat(NESTING_MAX));
    assert!(parse(&deep).is_ok());
    let large = vec![b' '; crate::limits::FILE_BYTES_MAX + 1];
    assert!(matches!(
        File::parse(&large, "x").unwrap_err().syntax,
        Syntax::Large(_)
    ));
}

fn atom() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Kind::Bool),
        any::<i64>().prop_map(Kind::Int),
        any::<String>().prop_map(|text| Kind::String(text.into())),
        "[a-z][a-z0-9-]{0,5}x(:[a-z]{1,4})?".prop_map(|text| Kind::Ident(text.into())),
    ]
    .prop_map(plain)
}

fn plain(kind: Kind) -> Value {
    Value {
        at: Position::default(),
        kind,
    }
}

/// Puts what binds looser than a prefix or braces into a group, as any readable text has it.
fn closed(value: Value) -> Value {
    match value.kind {
        Kind::All(_) | Kind::Any(_) | Kind::Not(_) | Kind::Defined(_) => {
            plain(Kind::Group(vec![value]))
        }
        _ => value,
    }
}

fn value() -> impl Strategy<Value = Value> {
    let relop = prop_oneof![
        Just(Relop::AtLeast),
        Just(Relop::NotEqual),
        Just(Relop::Equal)
    ];
    let op = prop_oneof![
        Just(EnvOp::Prepend),
        Just(EnvOp::AppendColon),
        Just(EnvOp::Replace)
    ];
    let leaf = prop_oneof![
        atom(),
        (relop.clone(), atom(), atom())
            .prop_map(|(relop, l, r)| plain(Kind::Compare(relop, Box::new((l, r))))),
        (relop, atom()).prop_map(|(relop, r)| plain(Kind::Prefix(relop, Box::new(r)))),
        (op, atom(), atom()).prop_map(|(op, l, r)| plain(Kind::Update(op, Box::new((l, r))))),
    ];
    leaf.prop_recursive(4, 40, 4, |inner| {
        let many = prop::collection::vec(inner.clone(), 0..4);
        let parts = prop::collection::vec(inner.clone().prop_map(closed), 2..4);
        prop_oneof![
            many.clone()
                .prop_map(|values| plain(Kind::List(spaced(values)))),
            many.clone()
                .prop_map(|values| plain(Kind::Group(spaced(values)))),
            (inner.clone(), many)
                .prop_map(|(v, o)| plain(Kind::Option(Box::new(closed(v)), spaced(o)))),
            parts.clone().prop_map(|parts| plain(Kind::All(parts))),
            parts.prop_map(|parts| plain(Kind::Any(parts))),
            inner
                .clone()
                .prop_map(|v| plain(Kind::Not(Box::new(closed(v))))),
            inner.prop_map(|v| plain(Kind::Defined(Box::new(closed(v))))),
        ]
    })
}

/// Groups what starts with a comparison without left side: behind a plain value it would become the
/// right side of one.
fn spaced(values: Vec<Value>) -> Vec<Value> {
    values
        .into_iter()
        .map(|value| {
            if starts_compared(&value) {
                plain(Kind::Group(vec![value]))
            } else {
                value
            }
        })
        .collect()
}

fn starts_compared(value: &Value) -> bool {
    match &value.kind {
        Kind::Prefix(..) => true,
        Kind::Option(inner, _) => starts_compared(inner),
        Kind::All(parts) | Kind::Any(parts) => starts_compared(&parts[0]),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn printed_values_are_read_back(value in value()) {
        let text = value.to_string();
        prop_assert_eq!(parse_value(&text), Ok(value), "{}", text);
    }

    #[test]
    fn any_text_gives_a_file_or_an_error(text in any::<String>()) {
        let _ = parse(&text);
    }

    #[test]
    fn any_tokens_give_a_file_that_reads_back_or_an_error(
        parts in prop::collection::vec(prop::sample::select(vec![
            "a", ":", "b:", "[", "]", "{", "}", "(", ")", "\"s\"", "&", "|", "!", "?", "=", ">=",
            "+=", "1", "true", "\n", "# c\n", "(*", "*)", "\"", "\\", "_", "-",
        ]), 0..24),
    ) {
        if let Ok(file) = parse(&parts.join(" ")) {
            prop_assert_eq!(parse(&file.to_string()), Ok(file));
        }
    }
}
