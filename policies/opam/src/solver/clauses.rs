//! Formulas as two levels of junctions, which is the only form that a clause solver takes.

use crate::{
    dependency::{Requirement, ResolvedDependencies},
    formula::Formula,
    limits,
};

/// A junction of junctions of requirements.
pub(super) type Groups<'a> = Vec<Vec<&'a Requirement>>;

/// A formula that is too large once it is spread out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge;

/// All of: any of.
pub(super) fn conjunctive(formula: &ResolvedDependencies) -> Result<Groups<'_>, TooLarge> {
    spread(formula, true)
}

/// Any of: all of.
pub(super) fn disjunctive(formula: &ResolvedDependencies) -> Result<Groups<'_>, TooLarge> {
    spread(formula, false)
}

fn spread(formula: &ResolvedDependencies, outer_is_all: bool) -> Result<Groups<'_>, TooLarge> {
    let (parts, same) = match formula {
        Formula::Empty => return Ok(Vec::new()),
        Formula::Atom(requirement) => return Ok(vec![vec![requirement]]),
        Formula::All(parts) => (parts, outer_is_all),
        Formula::Any(parts) => (parts, !outer_is_all),
    };
    let mut groups: Groups<'_> = if same { Vec::new() } else { vec![Vec::new()] };
    for part in parts {
        let more = spread(part, outer_is_all)?;
        if same {
            groups.extend(more);
        } else {
            groups = product(&groups, &more)?;
        }
        check(&groups)?;
    }
    Ok(groups)
}

/// Every group on the left joined with every group on the right.
fn product<'a>(left: &Groups<'a>, right: &Groups<'a>) -> Result<Groups<'a>, TooLarge> {
    if left.len().saturating_mul(right.len()) > limits::CLAUSES_MAX {
        return Err(TooLarge);
    }
    let joined = left
        .iter()
        .flat_map(|l| right.iter().map(|r| [l.as_slice(), r].concat()));
    Ok(joined.collect())
}

fn check(groups: &Groups<'_>) -> Result<(), TooLarge> {
    let longest = groups.iter().map(Vec::len).max().unwrap_or(0);
    let fits = groups.len() <= limits::CLAUSES_MAX && longest <= limits::CLAUSES_MAX;
    if fits { Ok(()) } else { Err(TooLarge) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dependency::{Dependencies, Join},
        file::parse_value,
        vars::Env,
    };

    fn formula(text: &str) -> ResolvedDependencies {
        let value = parse_value(text).unwrap();
        Dependencies::from_value(&value, Join::All)
            .unwrap()
            .resolve(&Env::new())
    }

    fn show(groups: &Groups<'_>) -> String {
        let show = |group: &Vec<&Requirement>| {
            group
                .iter()
                .map(|r| r.to_string())
                .collect::<Vec<_>>()
                .join("")
        };
        groups.iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn both_normal_forms_keep_the_order_of_preference() {
        let formula = formula(r#"["a" ("b" & "c" | "d")]"#);
        assert_eq!(show(&conjunctive(&formula).unwrap()), "a bd cd");
        assert_eq!(show(&disjunctive(&formula).unwrap()), "abc ad");
    }

    #[test]
    fn a_formula_that_explodes_is_refused() {
        let pair = r#"("a" & "b") | "#.repeat(30);
        assert_eq!(
            conjunctive(&formula(&format!("{pair} \"c\""))),
            Err(TooLarge)
        );
    }
}
