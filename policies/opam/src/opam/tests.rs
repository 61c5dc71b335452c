use proptest::prelude::*;

use super::*;

const FULL: &str = r#"
opam-version: "2.0"
name: "demo"
synopsis: "A demo"
maintainer: ["someone"]
depends: ["ocaml" {>= "4.08"} "dune" {build} "alcotest" {with-test}]
depopts: ["lwt" "async"]
conflicts: ["old" {< "2"}]
conflict-class: "demo-class"
available: os != "win32" & ?opam-version
flags: [avoid-version conf odd]
build: [
  ["dune" "build" "-p" name "-j" jobs "@install" "@runtest" {with-test}]
  [make "%{name}%"] {os = "linux"}
]
install: ["make" "install"]
remove: [["rm"]]
patches: ["a.patch" {os = "linux"} "b.patch"]
extra-files: [["a.patch" "md5=d41d8cd98f00b204e9800998ecf8427e"]]
setenv: [[CAML_LD_LIBRARY_PATH += "%{lib}%/stublibs"] [OCAMLPATH = "%{lib}%"]]
pin-depends: [["other.dev" "git+https://example.org/other.git"]]
depexts: [["libgmp-dev"] {os-family = "debian"} ["gmp" "gmp-dev"] {os-distribution = "alpine"}]
x-debian-source: "demo bookworm"
x-commit-hash: "abc"
url {
  src: "https://example.org/demo.tbz"
  checksum: [
    "sha256=E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855"
    "md5=d41d8cd98f00b204e9800998ecf8427e"
  ]
  mirrors: "https://example.net/demo.tbz"
}
extra-source "b.patch" { src: "https://example.org/b.patch" checksum: "d41d8cd98f00b204e9800998ecf8427e" }
"#;

fn parse(text: &str) -> Result<OpamFile, OpamError> {
    OpamFile::parse(text.as_bytes(), "demo.opam")
}

fn package() -> Package {
    "demo.1.0".parse().unwrap()
}

#[test]
fn every_field_is_read() {
    let opam = parse(FULL).unwrap();
    assert_eq!(opam.name.as_ref().unwrap().as_str(), "demo");
    assert_eq!(opam.depopts.to_string(), "\"lwt\" | \"async\"");
    assert_eq!(opam.conflict_class[0].as_str(), "demo-class");
    assert!(opam.is_avoided() && opam.has_flag(&Flag::Conf));
    assert_eq!(opam.url.as_ref().unwrap().checksums.len(), 2);
    assert_eq!(opam.extra_sources[0].source.checksums[0].algorithm(), "md5");
    assert_eq!(opam.setenv[1].change, Change::Set);
    assert_eq!(opam.pin_depends[0].package.to_string(), "other.dev");
    assert_eq!(opam.text("x-debian-source"), Some("demo bookworm"));
    assert_eq!(opam.patches.len(), 2);
    assert_eq!(opam.install.len(), 1);
}

#[test]
fn commands_are_expanded_on_a_platform() {
    let opam = parse(FULL).unwrap();
    let mut env = Env::debian("x86_64", "12", "2.1.2");
    env.set("jobs", "2");
    let package = package();
    let vars = PackageVars {
        env: &env,
        package: &package,
        phase: Some(Phase::SOLVE),
    };
    assert_eq!(
        Command::expand_all(&opam.build, &vars),
        [
            vec!["dune", "build", "-p", "demo", "-j", "2", "@install"],
            vec!["make", "demo"],
        ]
    );
    assert!(opam.has_tests(&package, &env));
    assert!(opam.is_available(&package, &env));
    assert!(!opam.is_available(&package, &Env::new()));
}

#[test]
fn a_flag_that_is_no_word_stays_one_flag() {
    for flag in ["", "true", "a b", "x] build: [\\\"rm\\\"", "_"] {
        let text = format!("opam-version: \"2.0\"\nflags: \"{flag}\"\n");
        let effective = parse(&text).unwrap().effective();
        let again = parse(&effective).unwrap();
        assert_eq!(again.flags.len(), 1, "{effective}");
        assert!(again.build.is_empty(), "{effective}");
        assert_eq!(again.effective(), effective);
    }
}

#[test]
fn effective_text_ignores_what_no_build_can_see() {
    let opam = parse(FULL).unwrap().identified(&package());
    let text = opam.effective();
    for (from, to) in [
        ("A demo", "Another demo"),
        ("someone", "someone else"),
        ("available: os != \"win32\"", "available: os != \"macos\""),
        ("avoid-version ", ""),
        ("\"abc\"", "\"def\""),
        ("example.net", "example.com"),
        ("demo-class", "other-class"),
        ("\"old\" {< \"2\"}", "\"old\" {< \"3\"}"),
        ("[[\"rm\"]]", "[[\"rm\" \"-r\"]]"),
        ("depends: [\"ocaml\"", "# a comment\ndepends: [ \"ocaml\""),
        ("name: \"demo\"\n", ""),
    ] {
        let other = FULL.replace(from, to);
        assert_ne!(other, FULL, "{from}");
        assert_eq!(
            parse(&other).unwrap().identified(&package()).effective(),
            text,
            "{from}"
        );
    }
    for (from, to) in [
        ("\"@install\"", "\"@all\""),
        ("{>= \"4.08\"}", "{>= \"4.09\"}"),
        ("demo bookworm", "demo trixie"),
        ("\"b.patch\"]", "]"),
        ("flags: [avoid-version conf", "flags: [avoid-version"),
        ("md5=d41d8", "md5=041d8"),
        ("%{lib}%/stublibs", "%{lib}%/other"),
    ] {
        let other = parse(&FULL.replace(from, to))
            .unwrap()
            .identified(&package());
        assert_ne!(other.effective(), text, "{from}");
    }
    let renamed = parse(FULL)
        .unwrap()
        .identified(&"demo.1.1".parse().unwrap());
    assert_ne!(renamed.effective(), text);
}

#[test]
fn effective_text_is_an_opam_file_with_itself_as_effective_text() {
    let text = parse(FULL).unwrap().identified(&package()).effective();
    assert!(
        text.starts_with("opam-version: \"2.0\"\nname: \"demo\"\nversion: \"1.0\"\n"),
        "{text}"
    );
    assert_eq!(parse(&text).unwrap().effective(), text);
}

#[test]
fn a_field_of_the_wrong_kind_is_named_with_its_place() {
    for (text, message) in [
        (
            "depends: 3",
            "read demo.opam:1:10: field depends: expected a package name or formula, found an integer 3",
        ),
        (
            "build: [[\"a\" [1]]]",
            "read demo.opam:1:14: field build: expected a string or variable, found a list [1]",
        ),
        (
            "opam-version: \"1.2\"",
            "read demo.opam:1:15: field opam-version: expected opam-version: \"2.0\", found a string \"1.2\"",
        ),
        (
            "version: \"a b\"",
            "read demo.opam:1:10: field version: expected a version, found a string \"a b\"",
        ),
        (
            "url { src: \"u\" checksum: \"sha1=0\" }",
            "read demo.opam:1:26: field url: expected md5=, sha256= or sha512= and as many digits as it has, found a string \"sha1=0\"",
        ),
        (
            "build: []\nbuild: []",
            "read demo.opam:2:8: field build: expected a field that is given only once, found a list []",
        ),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), message);
    }
}

#[test]
fn unknown_fields_and_sections_are_kept() {
    let opam = parse("whatever: [1 2]\nodd { a: 1 }").unwrap();
    assert!(opam.field("whatever").is_some());
    assert!(opam.effective().contains("odd {\n  a: 1\n}"));
}

proptest! {
    #[test]
    fn any_values_give_a_file_with_stable_effective_text_or_an_error(
        fields in prop::collection::vec(
            (
                prop::sample::select(vec![
                    "depends:", "conflicts:", "build:", "setenv:", "depexts:", "flags:", "patches:",
                    "available:", "url", "extra-source \"x\"", "extra-files:", "version:", "x-a:",
                ]),
                prop::collection::vec(prop::sample::select(vec![
                    "[", "]", "{", "}", "(", ")", "\"s\"", "\"md5=d41d8cd98f00b204e9800998ecf8427e\"",
                    "&", "|", "!", ">=", "id", "a+b:c", "A += \"b\"", "1", "true", "src:", "checksum:",
                ]), 0..12),
            ), 1..4),
    ) {
        let text: String =
            fields.iter().map(|(name, value)| format!("{name} {}\n", value.join(" "))).collect();
        if let Ok(opam) = parse(&text) {
            let effective = opam.effective();
            prop_assert_eq!(parse(&effective).map(|opam| opam.effective()), Ok(effective));
        }
    }
}
