//! The part of an opam file that can change a build, as canonical text.
//!
//! Left out, because no build can tell the difference:
//! - what speaks to people: maintainers, descriptions, addresses, licences, tags, messages;
//! - what was decided before the build by the solver or the planner: `available`, `conflicts`,
//!   `conflict-class`, `pin-depends` and the flags that only order versions. The build runs in a
//!   repository that holds nothing but the solution, so nothing is left to choose;
//! - what is run only when a package is removed: `remove`, `light-uninstall`;
//! - further addresses of a source whose bytes are known by checksum: `mirrors`;
//! - `x-` fields, except `x-debian-source` (where our fetch step finds the source) and
//!   `x-env-path-rewrite` (how opam writes paths into the environment).
//!
//! Kept as they are: bounds inside `depends` and `depopts`, because opam tells a build which direct
//! dependencies it has; `depexts`, because they decide what the system offers; and every field and
//! section that is not known here.

use super::{Flag, OpamFile, Source};
use crate::file::{Field, Item, Kind, Position, Section, Value};

/// Fields that no build can see.
const DROPPED: [&str; 20] = [
    "author",
    "authors",
    "available",
    "bug-reports",
    "conflict-class",
    "conflicts",
    "description",
    "dev-repo",
    "doc",
    "homepage",
    "license",
    "maintainer",
    "messages",
    "pin-depends",
    "post-messages",
    "remove",
    "synopsis",
    "tags",
    // Written anew, in canonical form.
    "flags",
    "extra-files",
];

/// Fields that are written first, from the typed values.
const IDENTITY: [&str; 3] = ["opam-version", "name", "version"];

/// The `x-` fields that a build can see.
const KEPT_EXTENSIONS: [&str; 2] = ["x-debian-source", "x-env-path-rewrite"];

/// Fields for which one value alone and a list of one mean the same.
const LISTS: [&str; 7] = [
    "build-env",
    "depends",
    "depexts",
    "depopts",
    "patches",
    "setenv",
    "substs",
];

pub(super) fn text(opam: &OpamFile) -> String {
    let mut out = String::new();
    let mut put = |item: Item| out.push_str(&item.to_string());
    let format = opam.text("opam-version").unwrap_or("2.0");
    put(field("opam-version", string(format)));
    if let Some(name) = &opam.name {
        put(field("name", string(name.as_str())));
    }
    if let Some(version) = &opam.version {
        put(field("version", string(version.as_str())));
    }
    let mut flags: Vec<&Flag> = opam
        .flags
        .iter()
        .filter(|flag| flag.changes_build())
        .collect();
    flags.sort_unstable();
    flags.dedup();
    if !flags.is_empty() {
        let names = flags.iter().map(|flag| word(flag.as_str()));
        put(field("flags", list(names)));
    }
    if !opam.extra_files.is_empty() {
        let mut files: Vec<_> = opam.extra_files.iter().collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let pairs = files
            .iter()
            .map(|file| list([string(&file.name), string(&file.checksum.to_string())].into_iter()));
        put(field("extra-files", list(pairs)));
    }
    kept_fields(opam)
        .into_iter()
        .for_each(|kept| put(Item::Field(kept)));
    sections(opam)
        .into_iter()
        .for_each(|kept| put(Item::Section(kept)));
    out
}

/// Every other field that counts, by name.
fn kept_fields(opam: &OpamFile) -> Vec<Field> {
    let counts = |name: &str| {
        if name.starts_with("x-") {
            KEPT_EXTENSIONS.contains(&name)
        } else {
            !DROPPED.contains(&name) && !IDENTITY.contains(&name)
        }
    };
    let mut fields: Vec<Field> = opam
        .file
        .items
        .iter()
        .filter_map(|item| match item {
            Item::Field(field) if counts(&field.name) => Some(field.clone()),
            _ => None,
        })
        .collect();
    for field in &mut fields {
        let is_list = matches!(field.value.kind, Kind::List(_));
        if LISTS.contains(&&*field.name) && !is_list {
            field.value = list(std::iter::once(field.value.clone()));
        }
    }
    fields.retain(|field| field.value.kind != Kind::List(Vec::new()));
    fields.sort_by(|a, b| a.name.cmp(&b.name));
    fields
}

/// `url`, the extra sources by name, then sections that are not known here.
fn sections(opam: &OpamFile) -> Vec<Section> {
    let mut sections = Vec::new();
    if let Some(source) = &opam.url {
        sections.push(source_section("url", None, source));
    }
    let mut extra: Vec<_> = opam.extra_sources.iter().collect();
    extra.sort_by(|a, b| a.name.cmp(&b.name));
    for one in extra {
        sections.push(source_section(
            "extra-source",
            Some(one.name.clone()),
            &one.source,
        ));
    }
    sections.extend(opam.file.items.iter().filter_map(|item| match item {
        Item::Section(other) if !matches!(&*other.kind, "url" | "extra-source") => {
            Some(other.clone())
        }
        _ => None,
    }));
    sections
}

fn source_section(kind: &str, name: Option<Box<str>>, source: &Source) -> Section {
    let mut items = vec![field("src", string(&source.url))];
    let mut checksums = source.checksums.clone();
    checksums.sort_unstable();
    checksums.dedup();
    if !checksums.is_empty() {
        let texts = checksums
            .iter()
            .map(|checksum| string(&checksum.to_string()));
        items.push(field("checksum", list(texts)));
    }
    if let Some(subpath) = &source.subpath {
        items.push(field("subpath", string(subpath)));
    }
    Section {
        at: Position::default(),
        kind: kind.into(),
        name,
        items,
    }
}

fn field(name: &str, value: Value) -> Item {
    Item::Field(Field {
        at: Position::default(),
        name: name.into(),
        value,
    })
}

fn value(kind: Kind) -> Value {
    Value {
        at: Position::default(),
        kind,
    }
}

/// A flag: a word, or a string where it is none, so that it is read as the one flag that it is.
fn word(name: &str) -> Value {
    let is_word = name.bytes().any(|b| b.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        && !["true", "false"].contains(&name);
    match is_word {
        true => value(Kind::Ident(name.into())),
        false => string(name),
    }
}

fn string(text: &str) -> Value {
    value(Kind::String(text.into()))
}

fn list(values: impl Iterator<Item = Value>) -> Value {
    value(Kind::List(values.collect()))
}
