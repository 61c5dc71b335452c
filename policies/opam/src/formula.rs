//! Formulas without negation over any kind of atom, in the shape that dependency fields have.

use std::fmt;

/// A formula. `Empty` asks for nothing and so holds; inside [`Formula::any`] it is left out, as opam
/// does with an alternative whose filter is false.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Formula<A> {
    /// Nothing is asked for.
    #[default]
    Empty,
    /// One atom.
    Atom(A),
    /// All of at least two formulas.
    All(Vec<Formula<A>>),
    /// One of at least two formulas, the earlier ones preferred.
    Any(Vec<Formula<A>>),
}

impl<A> Formula<A> {
    /// The conjunction, without superfluous layers.
    #[must_use]
    pub fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut flat = Vec::new();
        for part in parts {
            match part {
                Self::Empty => {}
                Self::All(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        Self::collapse(flat, Self::All)
    }

    /// The disjunction of the parts that ask for something, without superfluous layers.
    #[must_use]
    pub fn any_of(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut flat = Vec::new();
        for part in parts {
            match part {
                Self::Empty => {}
                Self::Any(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        Self::collapse(flat, Self::Any)
    }

    fn collapse(mut parts: Vec<Self>, join: impl FnOnce(Vec<Self>) -> Self) -> Self {
        match parts.len() {
            0 => Self::Empty,
            1 => parts.remove(0),
            _ => join(parts),
        }
    }

    /// Whether the formula asks for nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// Whether the formula holds, given which atoms do.
    pub fn holds(&self, atom: &mut impl FnMut(&A) -> bool) -> bool {
        match self {
            Self::Empty => true,
            Self::Atom(a) => atom(a),
            Self::All(parts) => parts.iter().all(|part| part.holds(atom)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(atom)),
        }
    }

    /// The formula with each atom replaced by a formula.
    pub fn map<B>(&self, atom: &mut impl FnMut(&A) -> Formula<B>) -> Formula<B> {
        match self {
            Self::Empty => Formula::Empty,
            Self::Atom(a) => atom(a),
            Self::All(parts) => Formula::all(parts.iter().map(|part| part.map(atom))),
            Self::Any(parts) => Formula::any_of(parts.iter().map(|part| part.map(atom))),
        }
    }

    /// The formula that holds exactly where this one does not; `Empty` stays `Empty`, as in opam.
    #[must_use]
    pub fn negated(self, atom: &mut impl FnMut(A) -> A) -> Self {
        match self {
            Self::Empty => Self::Empty,
            Self::Atom(a) => Self::Atom(atom(a)),
            Self::All(parts) => Self::any_of(parts.into_iter().map(|part| part.negated(atom))),
            Self::Any(parts) => Self::all(parts.into_iter().map(|part| part.negated(atom))),
        }
    }

    /// Every atom, from left to right.
    #[must_use]
    pub fn atoms(&self) -> Vec<&A> {
        let mut atoms = Vec::new();
        self.collect_atoms(&mut atoms);
        atoms
    }

    fn collect_atoms<'a>(&'a self, atoms: &mut Vec<&'a A>) {
        match self {
            Self::Empty => {}
            Self::Atom(a) => atoms.push(a),
            Self::All(parts) | Self::Any(parts) => {
                for part in parts {
                    part.collect_atoms(atoms);
                }
            }
        }
    }
}

impl<A: fmt::Display> fmt::Display for Formula<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, separator) = match self {
            Self::Empty => return Ok(()),
            Self::Atom(a) => return write!(f, "{a}"),
            Self::All(parts) => (parts, " & "),
            Self::Any(parts) => (parts, " | "),
        };
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                f.write_str(separator)?;
            }
            if matches!((self, part), (Self::All(_), Self::Any(_))) {
                write!(f, "({part})")?;
            } else {
                write!(f, "{part}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_parts_vanish_and_layers_collapse() {
        let atom = Formula::Atom;
        assert_eq!(Formula::any_of([Formula::Empty, atom("a")]), atom("a"));
        let nested = Formula::all([
            Formula::all([atom("a"), atom("b")]),
            Formula::Empty,
            atom("c"),
        ]);
        assert_eq!(nested, Formula::All(vec![atom("a"), atom("b"), atom("c")]));
        assert_eq!(Formula::<&str>::all([]), Formula::Empty);
    }

    #[test]
    fn display_keeps_the_precedence() {
        let any = Formula::any_of([Formula::Atom("a"), Formula::Atom("b")]);
        let all = Formula::all([any, Formula::Atom("c")]);
        assert_eq!(all.to_string(), "(a | b) & c");
    }
}
