//! Variable references, alone and inside strings: `var`, `pkg:var`, `a+b:var`, `var?yes:no`.

use crate::vars::{VarValue, Vars};

/// The value of a reference, or `None` where it is undefined.
pub(super) fn resolve(reference: &str, vars: &dyn Vars) -> Option<VarValue> {
    let (name, mut choice) = match reference.split_once('?') {
        Some((name, choice)) => (name, Some(choice.split_once(':').unwrap_or((choice, "")))),
        None => (reference, None),
    };
    let value = match name.split_once(':') {
        Some((packages, variable)) => {
            // `enable` is an old spelling of a choice by `installed`.
            let variable = if variable == "enable" && choice.is_none() {
                choice = Some(("enable", "disable"));
                "installed"
            } else {
                variable
            };
            of_packages(packages, variable, vars)
        }
        None => vars.get(name),
    };
    match choice {
        None => value,
        Some((yes, no)) => {
            let chosen = if value.as_ref().and_then(VarValue::truth) == Some(true) {
                yes
            } else {
                no
            };
            Some(chosen.into())
        }
    }
}

/// One package's variable, or whether it is true for every one of several.
fn of_packages(packages: &str, variable: &str, vars: &dyn Vars) -> Option<VarValue> {
    let get = |package: &str| vars.get(&format!("{package}:{variable}"));
    if !packages.contains('+') {
        return get(packages);
    }
    // A name may itself end in or hold `+`; the whole text is tried first.
    if let Some(value) = get(packages) {
        return Some(value);
    }
    let mut all = Some(true);
    for package in packages.split('+') {
        match get(package).as_ref().and_then(VarValue::truth) {
            Some(true) => {}
            Some(false) => return Some(VarValue::Bool(false)),
            None => all = None,
        }
    }
    all.map(VarValue::Bool)
}

/// The text with every `%{reference}%` replaced, an undefined one by nothing, and `%%` by `%`.
/// A reference without an end stays as it is.
#[must_use]
pub fn interpolate(text: &str, vars: &dyn Vars) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(percent) = rest.find('%') {
        out.push_str(&rest[..percent]);
        let from = &rest[percent..];
        if let Some(after) = from.strip_prefix("%%") {
            out.push('%');
            rest = after;
        } else if let Some(reference) = reference(from) {
            if let Some(value) = resolve(reference, vars) {
                out.push_str(&value.to_string());
            }
            rest = &from[reference.len() + 4..];
        } else {
            out.push('%');
            rest = &from[1..];
        }
    }
    out.push_str(rest);
    out
}

/// What stands between `%{` and `}%` at the start of the text, on one line.
fn reference(text: &str) -> Option<&str> {
    let inner = text.strip_prefix("%{")?;
    let end = inner.find("}%")?;
    let reference = &inner[..end];
    (!reference.contains('\n')).then_some(reference)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vars::Env;

    fn expand(text: &str) -> String {
        let mut env = Env::new();
        env.set("name", "fmt")
            .set("base:installed", true)
            .set("conf-g++:installed", true);
        interpolate(text, &env)
    }

    #[test]
    fn references_are_replaced() {
        assert_eq!(expand("a %{name}% b"), "a fmt b");
        assert_eq!(
            expand("%{base:installed?--with:--without}%-base"),
            "--with-base"
        );
        assert_eq!(
            expand("%{nope:installed?--with:--without}%-base"),
            "--without-base"
        );
        assert_eq!(
            expand("--%{base:enable}%-x --%{nope:enable}%-y"),
            "--enable-x --disable-y"
        );
        assert_eq!(expand("%{conf-g++:installed}%"), "true");
        assert_eq!(expand("[%{nope}%]"), "[]");
    }

    #[test]
    fn what_is_no_reference_stays() {
        assert_eq!(expand("100%% %{name 5%"), "100% %{name 5%");
        assert_eq!(expand("%{na\nme}%"), "%{na\nme}%");
        assert_eq!(expand("é%"), "é%");
    }
}
