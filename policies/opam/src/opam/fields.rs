//! Reads the typed fields out of a parsed file.

use super::{
    Command, EnvUpdate, ExtraFile, ExtraSource, Filtered, Flag, Mismatch, OpamFile, PinDepend,
    Source,
};
use crate::{
    dependency::{Dependencies, Join},
    file::{File, Item, Kind, Section, Value},
    filter::Filter,
    relop::Relop,
};

/// A fault and the field it is in.
type FieldFault = (String, Mismatch);

/// The file with its typed fields.
pub(super) fn read(file: File) -> Result<OpamFile, FieldFault> {
    let mut opam = OpamFile::default();
    let mut seen: Vec<&str> = Vec::new();
    for item in &file.items {
        let (name, result) = match item {
            Item::Field(field) => {
                let name = &*field.name;
                // Twice the same field would mean different things to different readers.
                if seen.contains(&name) && !name.starts_with("x-") {
                    let twice = Mismatch::new(&field.value, "a field that is given only once");
                    return Err((name.to_owned(), twice));
                }
                seen.push(name);
                (name, read_field(&mut opam, name, &field.value))
            }
            Item::Section(section) => (&*section.kind, read_section(&mut opam, section)),
        };
        result.map_err(|mismatch| (name.to_owned(), mismatch))?;
    }
    opam.file = file;
    Ok(opam)
}

fn read_field(opam: &mut OpamFile, name: &str, value: &Value) -> Result<(), Mismatch> {
    match name {
        "opam-version" => return check_format(value),
        "name" => opam.name = Some(parsed(value, "a package name")?),
        "version" => opam.version = Some(parsed(value, "a version")?),
        "depends" => opam.depends = Dependencies::from_value(value, Join::All)?,
        "depopts" => opam.depopts = Dependencies::from_value(value, Join::Any)?,
        "conflicts" => opam.conflicts = Dependencies::from_value(value, Join::Any)?,
        "conflict-class" => {
            opam.conflict_class = each(value, |value| parsed(value, "a class name"))?;
        }
        "available" => opam.available = Some(filter(value)?),
        "flags" => opam.flags = each(value, flag)?,
        "build" => opam.build = Command::list(value)?,
        "install" => opam.install = Command::list(value)?,
        "run-test" => opam.run_test = Command::list(value)?,
        "remove" => opam.remove = Command::list(value)?,
        "extra-files" => opam.extra_files = ExtraFile::list(value)?,
        "patches" => opam.patches = each(value, filtered_string)?,
        "substs" => opam.substs = each(value, filtered_string)?,
        "setenv" => opam.setenv = EnvUpdate::list(value)?,
        "build-env" => opam.build_env = EnvUpdate::list(value)?,
        "pin-depends" => opam.pin_depends = PinDepend::list(value)?,
        "depexts" => opam.depexts = each(value, depext)?,
        _ => {}
    }
    Ok(())
}

fn read_section(opam: &mut OpamFile, section: &Section) -> Result<(), Mismatch> {
    match (&*section.kind, &section.name) {
        ("url", _) => opam.url = Source::from_section(section)?,
        ("extra-source", Some(name)) => {
            if let Some(source) = Source::from_section(section)? {
                opam.extra_sources.push(ExtraSource {
                    name: name.clone(),
                    source,
                });
            }
        }
        _ => {}
    }
    Ok(())
}

/// Only the second format is read; the first had other fields.
fn check_format(value: &Value) -> Result<(), Mismatch> {
    let text = string(value)?;
    if text.split('.').next() == Some("2") {
        Ok(())
    } else {
        Err(Mismatch::new(value, "opam-version: \"2.0\""))
    }
}

/// The text of a string, for fields that need not be one.
pub(super) fn as_string(value: &Value) -> Option<&str> {
    match &value.kind {
        Kind::String(text) => Some(text),
        _ => None,
    }
}

pub(super) fn string(value: &Value) -> Result<Box<str>, Mismatch> {
    as_string(value)
        .map(Into::into)
        .ok_or_else(|| Mismatch::new(value, "a string"))
}

fn parsed<T: std::str::FromStr>(value: &Value, expected: &'static str) -> Result<T, Mismatch> {
    as_string(value)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Mismatch::new(value, expected))
}

/// A list of strings, or one alone.
pub(super) fn strings(value: &Value) -> Result<Vec<Box<str>>, Mismatch> {
    each(value, string)
}

/// Every item of a list, or the one value that stands alone.
fn each<T>(
    value: &Value,
    read: impl Fn(&Value) -> Result<T, Mismatch>,
) -> Result<Vec<T>, Mismatch> {
    match &value.kind {
        Kind::List(values) => values.iter().map(read).collect(),
        _ => Ok(vec![read(value)?]),
    }
}

fn filter(value: &Value) -> Result<Filter, Mismatch> {
    match &value.kind {
        Kind::List(values) | Kind::Group(values) => Filter::from_values(values),
        _ => Filter::from_value(value),
    }
}

/// A value and the filter in braces behind it.
pub(super) fn filtered(value: &Value) -> Result<Filtered<&Value>, Mismatch> {
    match &value.kind {
        Kind::Option(inner, options) => Ok(Filtered {
            value: inner,
            filter: Some(Filter::from_values(options)?),
        }),
        _ => Ok(Filtered {
            value,
            filter: None,
        }),
    }
}

fn filtered_string(value: &Value) -> Result<Filtered<Box<str>>, Mismatch> {
    let Filtered { value, filter } = filtered(value)?;
    Ok(Filtered {
        value: string(value)?,
        filter,
    })
}

/// System packages with their filter, or in the old form: a list of tags that must all name the
/// platform, then the packages.
fn depext(value: &Value) -> Result<Filtered<Vec<Box<str>>>, Mismatch> {
    let is_list = |value: &Value| matches!(value.kind, Kind::List(_));
    if let Kind::List(parts) = &value.kind
        && let [tags, packages] = parts.as_slice()
        && is_list(tags)
        && is_list(packages)
    {
        let tags = strings(tags)?
            .iter()
            .map(|tag| names_platform(tag))
            .collect();
        return Ok(Filtered {
            value: strings(packages)?,
            filter: Some(Filter::All(tags)),
        });
    }
    let Filtered { value, filter } = filtered(value)?;
    Ok(Filtered {
        value: strings(value)?,
        filter,
    })
}

/// Whether any of the platform's variables has this value.
fn names_platform(tag: &str) -> Filter {
    let is = |variable: &str| {
        let sides = (
            Filter::Variable(variable.into()),
            Filter::String(tag.into()),
        );
        Filter::Compare(Relop::Equal, Box::new(sides))
    };
    Filter::Any(
        ["os", "os-family", "os-distribution", "arch"]
            .map(is)
            .into(),
    )
}

fn flag(value: &Value) -> Result<Flag, Mismatch> {
    match &value.kind {
        Kind::Ident(name) | Kind::String(name) => Ok(Flag::named(name)),
        _ => Err(Mismatch::new(value, "a flag")),
    }
}
