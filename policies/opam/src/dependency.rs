//! Dependency formulas as they are written, with filters, and as they are meant on one platform.

use std::fmt;

use crate::{
    file::{Kind, Value},
    filter::Filter,
    formula::Formula,
    name::Name,
    opam::Mismatch,
    relop::Relop,
    vars::Vars,
    version::{Bound, Version, Versions},
};

/// One condition inside the braces behind a package name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Condition {
    /// A comparison with a version, which may itself be a variable.
    Version(Relop, Filter),
    /// A filter, as `with-test`.
    Filter(Filter),
}

/// A package name with its conditions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dependency {
    /// The package.
    pub name: Name,
    /// Its conditions.
    pub conditions: Formula<Condition>,
}

/// A dependency formula as it is written.
pub type Dependencies = Formula<Dependency>;

/// A package name with the versions that will do.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Requirement {
    /// The package.
    pub name: Name,
    /// Its versions.
    pub versions: Versions,
}

/// A dependency formula as it is meant on one platform, in one phase.
pub type ResolvedDependencies = Formula<Requirement>;

/// How the items of a list are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// All of them, as in `depends`.
    All,
    /// Any of them, as in `depopts` and `conflicts`.
    Any,
}

/// What conditions are worth on one platform.
enum Worth {
    True,
    False,
    Versions(Versions),
}

impl Dependencies {
    /// Reads a formula; a list joins its items as the field says.
    pub fn from_value(value: &Value, join: Join) -> Result<Self, Mismatch> {
        match &value.kind {
            Kind::List(values) | Kind::Group(values) => {
                // Only the outermost list has the field's own meaning.
                let outer = matches!(value.kind, Kind::List(_));
                let inner = if outer { join } else { Join::All };
                let parts: Vec<Self> = values
                    .iter()
                    .map(|value| Self::from_value(value, Join::All))
                    .collect::<Result<_, _>>()?;
                Ok(match inner {
                    Join::All => Self::all(parts),
                    Join::Any => Self::any_of(parts),
                })
            }
            Kind::All(values) => parts(values).map(Self::all),
            Kind::Any(values) => parts(values).map(Self::any_of),
            Kind::String(_) => dependency(value, &[]),
            Kind::Option(inner, options) => dependency(inner, options),
            _ => Err(Mismatch::new(value, "a package name or formula")),
        }
    }

    /// The formula on one platform: a package whose filter is not true is left out, and a version
    /// that cannot be told sets no bound.
    #[must_use]
    pub fn resolve(&self, vars: &dyn Vars) -> ResolvedDependencies {
        self.map(&mut |dependency: &Dependency| {
            let name = dependency.name.clone();
            match worth(&dependency.conditions, vars) {
                Worth::False => Formula::Empty,
                Worth::True => Formula::Atom(Requirement {
                    name,
                    versions: Versions::any(),
                }),
                Worth::Versions(versions) => Formula::Atom(Requirement { name, versions }),
            }
        })
    }
}

fn parts(values: &[Value]) -> Result<Vec<Dependencies>, Mismatch> {
    values
        .iter()
        .map(|value| Dependencies::from_value(value, Join::All))
        .collect()
}

fn dependency(name: &Value, options: &[Value]) -> Result<Dependencies, Mismatch> {
    let Kind::String(text) = &name.kind else {
        return Err(Mismatch::new(name, "a package name"));
    };
    let parsed = text
        .parse()
        .map_err(|_| Mismatch::new(name, "a valid package name"))?;
    Ok(Formula::Atom(Dependency {
        name: parsed,
        conditions: conditions(options)?,
    }))
}

fn conditions(values: &[Value]) -> Result<Formula<Condition>, Mismatch> {
    values
        .iter()
        .map(condition)
        .collect::<Result<Vec<_>, _>>()
        .map(Formula::all)
}

fn condition(value: &Value) -> Result<Formula<Condition>, Mismatch> {
    let all = |values: &[Value]| values.iter().map(condition).collect::<Result<Vec<_>, _>>();
    Ok(match &value.kind {
        Kind::Prefix(relop, right) => {
            Formula::Atom(Condition::Version(*relop, Filter::from_value(right)?))
        }
        Kind::Group(values) => conditions(values)?,
        Kind::All(values) => Formula::all(all(values)?),
        Kind::Any(values) => Formula::any_of(all(values)?),
        Kind::Not(inner) => condition(inner)?.negated(&mut |condition| match condition {
            Condition::Version(relop, version) => Condition::Version(relop.negated(), version),
            Condition::Filter(filter) => Condition::Filter(Filter::Not(Box::new(filter))),
        }),
        _ => Formula::Atom(Condition::Filter(Filter::from_value(value)?)),
    })
}

fn worth(conditions: &Formula<Condition>, vars: &dyn Vars) -> Worth {
    match conditions {
        Formula::Empty => Worth::True,
        Formula::Atom(Condition::Filter(filter)) if filter.holds(vars) => Worth::True,
        Formula::Atom(Condition::Filter(_)) => Worth::False,
        Formula::Atom(Condition::Version(relop, version)) => {
            let version: Option<Version> = version
                .eval(vars)
                .and_then(|value| value.to_string().parse().ok());
            Worth::Versions(version.map_or(Formula::Empty, |version| {
                Formula::Atom(Bound {
                    relop: *relop,
                    version,
                })
            }))
        }
        Formula::All(parts) => {
            let mut bounds = None;
            for part in parts {
                match worth(part, vars) {
                    Worth::False => return Worth::False,
                    Worth::True => {}
                    Worth::Versions(versions) => {
                        bounds.get_or_insert_with(Vec::new).push(versions);
                    }
                }
            }
            bounds.map_or(Worth::True, |bounds| Worth::Versions(Formula::all(bounds)))
        }
        Formula::Any(parts) => {
            let mut bounds = None;
            for part in parts {
                match worth(part, vars) {
                    Worth::True => return Worth::True,
                    Worth::False => {}
                    Worth::Versions(versions) => {
                        bounds.get_or_insert_with(Vec::new).push(versions);
                    }
                }
            }
            bounds.map_or(Worth::False, |bounds| {
                Worth::Versions(Formula::any_of(bounds))
            })
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(relop, version) => write!(f, "{relop} {version}"),
            Self::Filter(filter) => write!(f, "{filter}"),
        }
    }
}

impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.name)?;
        if self.conditions.is_empty() {
            Ok(())
        } else {
            write!(f, " {{{}}}", self.conditions)
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        if self.versions.is_empty() {
            Ok(())
        } else {
            write!(f, " {{{}}}", self.versions)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        file::parse_value,
        package::Package,
        vars::{Env, PackageVars, Phase},
    };

    fn resolved(text: &str, phase: Phase) -> String {
        let env = Env::debian("x86_64", "12", "2.1.2");
        let package: Package = "dune-rpc.3.17.2".parse().unwrap();
        let vars = PackageVars {
            env: &env,
            package: &package,
            phase: Some(phase),
        };
        let formula = Dependencies::from_value(&parse_value(text).unwrap(), Join::All).unwrap();
        formula.resolve(&vars).to_string()
    }

    #[test]
    fn filters_drop_dependencies_and_leave_bounds() {
        let text = r#"[
          "ocaml" {>= "4.08" & < "5.4"}
          "alcotest" {with-test & >= "1.0"}
          "dune" {build & = version | false}
          "stdune" {= version}
          ("a" {os = "win32"} | "b" {!(>= "2")})
          "c" {= unknown-variable}
          "d" {unknown-variable}
        ]"#;
        assert_eq!(
            resolved(text, Phase::SOLVE),
            "ocaml {>= \"4.08\" & < \"5.4\"} & dune {= \"3.17.2\"} & stdune {= \"3.17.2\"} & \
             b {< \"2\"} & c"
        );
        let test = Phase {
            with_test: true,
            ..Phase::SOLVE
        };
        assert!(resolved(text, test).contains("alcotest {>= \"1.0\"}"));
    }

    #[test]
    fn post_dependencies_are_absent_before_the_build() {
        let text = r#"["host-arch" {post} "dune" {build}]"#;
        assert_eq!(resolved(text, Phase::SOLVE), "host-arch & dune");
        assert_eq!(resolved(text, Phase::SOLVE.before_build()), "dune");
    }

    #[test]
    fn an_alternative_with_a_true_filter_sets_no_bound() {
        assert_eq!(resolved(r#""a" {>= "1" | build}"#, Phase::SOLVE), "a");
        assert_eq!(
            resolved(r#""a" {(with-test | dev) & = "1"}"#, Phase::SOLVE),
            ""
        );
    }

    #[test]
    fn what_is_no_package_name_is_refused() {
        for text in ["3", "[ident]", "[\"a/b\"]", "[\"a\" {[1 2]}]", "{}"] {
            let Ok(value) = parse_value(text) else {
                continue;
            };
            assert!(
                Dependencies::from_value(&value, Join::All).is_err(),
                "{text}"
            );
        }
    }
}
