//! Filters: expressions over variables that are true, false or undefined.
//!
//! Undefined spreads through comparisons and negation; `&` and `|` are decided where one side alone
//! decides them. What an undefined filter means is the caller's word, as it is in opam.

mod interpolation;

use std::fmt;

pub use self::interpolation::interpolate;
use crate::{
    file::{Kind, Value, quoted},
    opam::Mismatch,
    relop::Relop,
    vars::{VarValue, Vars},
    version,
};

/// A filter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Filter {
    /// A constant.
    Bool(bool),
    /// A string, in which `%{variable}%` is replaced.
    String(Box<str>),
    /// A variable, as `os` or `ocaml:native` or `a+b:installed`.
    Variable(Box<str>),
    /// A comparison in version order.
    Compare(Relop, Box<(Filter, Filter)>),
    /// All of them.
    All(Vec<Filter>),
    /// One of them.
    Any(Vec<Filter>),
    /// `!`
    Not(Box<Filter>),
    /// `?`: whether the inner filter is defined.
    Defined(Box<Filter>),
}

impl Filter {
    /// Reads a filter from a value.
    pub fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let all = |values: &[Value]| {
            values
                .iter()
                .map(Self::from_value)
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(match &value.kind {
            Kind::Bool(flag) => Self::Bool(*flag),
            Kind::Int(number) => Self::String(number.to_string().into()),
            Kind::String(text) => Self::String(text.clone()),
            Kind::Ident(name) => Self::Variable(name.clone()),
            Kind::Group(values) | Kind::List(values) if values.len() == 1 => {
                Self::from_value(&values[0])?
            }
            Kind::All(values) => Self::All(all(values)?),
            Kind::Any(values) => Self::Any(all(values)?),
            Kind::Not(inner) => Self::Not(Box::new(Self::from_value(inner)?)),
            Kind::Defined(inner) => Self::Defined(Box::new(Self::from_value(inner)?)),
            Kind::Compare(relop, sides) => {
                let sides = (Self::from_value(&sides.0)?, Self::from_value(&sides.1)?);
                Self::Compare(*relop, Box::new(sides))
            }
            _ => return Err(Mismatch::new(value, "a filter")),
        })
    }

    /// Reads what stands in braces or brackets: nothing is true, several are all of them.
    pub fn from_values(values: &[Value]) -> Result<Self, Mismatch> {
        match values {
            [] => Ok(Self::Bool(true)),
            [one] => Self::from_value(one),
            many => Ok(Self::All(
                many.iter()
                    .map(Self::from_value)
                    .collect::<Result<_, _>>()?,
            )),
        }
    }

    /// The value, or `None` where it is undefined.
    #[must_use]
    pub fn eval(&self, vars: &dyn Vars) -> Option<VarValue> {
        match self {
            Self::Bool(flag) => Some(VarValue::Bool(*flag)),
            Self::String(text) => Some(VarValue::String(interpolate(text, vars).into())),
            Self::Variable(name) => interpolation::resolve(name, vars),
            Self::Compare(relop, sides) => {
                let (left, right) = (sides.0.eval(vars)?, sides.1.eval(vars)?);
                let ordering = version::order(&left.to_string(), &right.to_string());
                Some(VarValue::Bool(relop.holds(ordering)))
            }
            Self::All(parts) => Self::join(parts, vars, false),
            Self::Any(parts) => Self::join(parts, vars, true),
            Self::Not(inner) => inner.truth(vars).map(|truth| VarValue::Bool(!truth)),
            Self::Defined(inner) => Some(VarValue::Bool(inner.eval(vars).is_some())),
        }
    }

    /// A junction that one part with the value `decisive` decides, else an undefined part.
    fn join(parts: &[Self], vars: &dyn Vars, decisive: bool) -> Option<VarValue> {
        let mut result = Some(VarValue::Bool(!decisive));
        for part in parts {
            match part.truth(vars) {
                Some(truth) if truth == decisive => return Some(VarValue::Bool(decisive)),
                Some(_) => {}
                None => result = None,
            }
        }
        result
    }

    /// The value as a boolean; `None` where it is undefined or no boolean.
    #[must_use]
    pub fn truth(&self, vars: &dyn Vars) -> Option<bool> {
        self.eval(vars)?.truth()
    }

    /// Whether the filter is true; an undefined one is not.
    #[must_use]
    pub fn holds(&self, vars: &dyn Vars) -> bool {
        self.truth(vars).unwrap_or(false)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, separator) = match self {
            Self::Bool(flag) => return write!(f, "{flag}"),
            Self::String(text) => return f.write_str(&quoted(text)),
            Self::Variable(name) => return f.write_str(name),
            Self::Compare(relop, sides) => return write!(f, "{} {relop} {}", sides.0, sides.1),
            Self::Not(inner) => return write!(f, "!({inner})"),
            Self::Defined(inner) => return write!(f, "?({inner})"),
            Self::All(parts) => (parts, " & "),
            Self::Any(parts) => (parts, " | "),
        };
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                f.write_str(separator)?;
            }
            match part {
                Self::All(_) | Self::Any(_) => write!(f, "({part})")?,
                _ => write!(f, "{part}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{file::parse_value, vars::Env};

    fn truth(text: &str) -> Option<bool> {
        let mut env = Env::debian("x86_64", "12", "2.1.2");
        env.set("foo:installed", true)
            .set("bar:installed", false)
            .set("yes", "true");
        Filter::from_value(&parse_value(text).unwrap())
            .unwrap()
            .truth(&env)
    }

    #[test]
    fn comparisons_use_version_order() {
        assert_eq!(
            truth("opam-version >= \"2.0~beta\" & os-version < \"100\""),
            Some(true)
        );
        assert_eq!(truth("os != \"linux\" | arch = \"x86_64\""), Some(true));
        assert_eq!(truth("os = \"%{os}%\""), Some(true));
    }

    #[test]
    fn undefined_spreads_but_never_hides_a_decisive_side() {
        assert_eq!(truth("nope"), None);
        assert_eq!(truth("!nope"), None);
        assert_eq!(truth("nope = \"x\""), None);
        assert_eq!(truth("nope & false"), Some(false));
        assert_eq!(truth("false & nope"), Some(false));
        assert_eq!(truth("nope | true"), Some(true));
        assert_eq!(truth("nope & true"), None);
        assert_eq!(truth("?nope"), Some(false));
        assert_eq!(truth("?os & !(?nope)"), Some(true));
        assert_eq!(truth("os"), None, "a string is no boolean");
        assert_eq!(truth("yes & true"), Some(true));
    }

    #[test]
    fn several_packages_must_all_have_the_variable_true() {
        assert_eq!(truth("foo:installed"), Some(true));
        assert_eq!(truth("foo+bar:installed"), Some(false));
        assert_eq!(truth("foo+nope:installed"), None);
    }
}
