//! Prints files and values so that reading them back gives the same. A value that no text can be
//! read into (an operator below one that binds closer) is printed with the parentheses it needs.

use std::fmt::{self, Write};

use super::{
    File,
    value::{Field, Item, Kind, Section, Value},
};

/// How tightly the surroundings of a value bind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    Loose,
    Or,
    And,
    Tight,
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        items(f, &self.items, "")
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        items(f, std::slice::from_ref(self), "")
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        value(f, self, Binding::Loose)
    }
}

fn items(f: &mut fmt::Formatter<'_>, list: &[Item], indent: &str) -> fmt::Result {
    for item in list {
        match item {
            Item::Field(item) => field(f, item, indent)?,
            Item::Section(item) => section(f, item, indent)?,
        }
    }
    Ok(())
}

fn section(f: &mut fmt::Formatter<'_>, section: &Section, indent: &str) -> fmt::Result {
    write!(f, "{indent}{} ", section.kind)?;
    if let Some(name) = &section.name {
        write!(f, "{} ", quoted(name))?;
    }
    f.write_str("{\n")?;
    items(f, &section.items, &format!("{indent}  "))?;
    writeln!(f, "{indent}}}")
}

fn field(f: &mut fmt::Formatter<'_>, field: &Field, indent: &str) -> fmt::Result {
    write!(f, "{indent}{}: ", field.name)?;
    match &field.value.kind {
        Kind::List(values) if values.len() > 1 => {
            f.write_str("[\n")?;
            for item in values {
                write!(f, "{indent}  ")?;
                value(f, item, Binding::Loose)?;
                f.write_char('\n')?;
            }
            writeln!(f, "{indent}]")
        }
        _ => {
            value(f, &field.value, Binding::Loose)?;
            f.write_char('\n')
        }
    }
}

fn value(f: &mut fmt::Formatter<'_>, what: &Value, around: Binding) -> fmt::Result {
    match &what.kind {
        Kind::Bool(flag) => write!(f, "{flag}"),
        Kind::Int(number) => write!(f, "{number}"),
        Kind::String(text) => write!(f, "{}", quoted(text)),
        Kind::Ident(name) => f.write_str(name),
        Kind::List(values) => wrapped(f, "[", values, "]"),
        Kind::Group(values) => wrapped(f, "(", values, ")"),
        Kind::Option(inner, options) => {
            // A prefix binds looser than braces: only groups keep it inside them.
            let prefixed = matches!(inner.kind, Kind::Not(_) | Kind::Defined(_));
            grouped(f, prefixed, |f| value(f, inner, Binding::Tight))?;
            f.write_char(' ')?;
            wrapped(f, "{", options, "}")
        }
        Kind::All(parts) => grouped(f, around >= Binding::And, |f| {
            joined(f, parts, " & ", Binding::And)
        }),
        Kind::Any(parts) => grouped(f, around >= Binding::Or, |f| {
            joined(f, parts, " | ", Binding::Or)
        }),
        Kind::Compare(relop, sides) => {
            value(f, &sides.0, Binding::Tight)?;
            write!(f, " {relop} ")?;
            value(f, &sides.1, Binding::Tight)
        }
        Kind::Prefix(relop, right) => {
            write!(f, "{relop} ")?;
            value(f, right, Binding::Tight)
        }
        Kind::Not(inner) => {
            f.write_char('!')?;
            // `!= x` would be read as one comparison.
            if starts_compared(inner) {
                f.write_char(' ')?;
            }
            value(f, inner, Binding::Tight)
        }
        Kind::Defined(inner) => {
            f.write_char('?')?;
            value(f, inner, Binding::Tight)
        }
        Kind::Update(op, sides) => {
            value(f, &sides.0, Binding::Tight)?;
            write!(f, " {} ", op.as_str())?;
            value(f, &sides.1, Binding::Tight)
        }
    }
}

/// Whether the printed value starts with a comparison sign.
fn starts_compared(value: &Value) -> bool {
    match &value.kind {
        Kind::Prefix(..) => true,
        Kind::Option(inner, _) => starts_compared(inner),
        _ => false,
    }
}

fn grouped(
    f: &mut fmt::Formatter<'_>,
    needed: bool,
    inner: impl FnOnce(&mut fmt::Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    if !needed {
        return inner(f);
    }
    f.write_char('(')?;
    inner(f)?;
    f.write_char(')')
}

fn joined(
    f: &mut fmt::Formatter<'_>,
    parts: &[Value],
    operator: &str,
    binding: Binding,
) -> fmt::Result {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            f.write_str(operator)?;
        }
        value(f, part, binding)?;
    }
    Ok(())
}

fn wrapped(f: &mut fmt::Formatter<'_>, open: &str, values: &[Value], close: &str) -> fmt::Result {
    f.write_str(open)?;
    for (index, item) in values.iter().enumerate() {
        if index > 0 {
            f.write_char(' ')?;
        }
        value(f, item, Binding::Loose)?;
    }
    f.write_str(close)
}

/// A string in quotes, with the escapes that reading it back needs.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_ascii_control() => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\{:03}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
