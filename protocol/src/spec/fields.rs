//! Reads the fields of an op: `(NAME VALUE...)` in any order, each at most once, none unknown.

use super::{
    error::{Error, Position, Problem},
    hint::hint,
    sexp::Sexp,
};

/// The fields of one op or entry.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    place: &'static str,
    at: Position,
    found: Vec<(&'a str, &'a Sexp, &'a [Sexp])>,
}

impl<'a> Fields<'a> {
    /// Takes the fields of `place`, which starts at `at`, and refuses those that are not `known`.
    pub(super) fn read(
        place: &'static str,
        at: Position,
        sexps: &'a [Sexp],
        known: &[&str],
    ) -> Result<Self, Error> {
        let mut found: Vec<(&'a str, &'a Sexp, &'a [Sexp])> = Vec::new();
        for sexp in sexps {
            let Some((name, values)) = sexp.headed() else {
                return Err(sexp.unexpected("a field: (NAME VALUE...)"));
            };
            if !known.contains(&name) {
                return Err(Problem::UnknownField {
                    name: super::error::shorten(name),
                    place,
                    hint: hint(name, known, "field"),
                }
                .at(sexp.at));
            }
            if let Some((_, first, _)) = found.iter().find(|(other, _, _)| *other == name) {
                return Err(Problem::DuplicateField {
                    name: name.to_owned(),
                    place,
                    first: first.at,
                }
                .at(sexp.at));
            }
            found.push((name, sexp, values));
        }
        Ok(Self { place, at, found })
    }

    /// All values of a field; none where it is not given.
    pub(super) fn many(&self, name: &str) -> &'a [Sexp] {
        self.find(name).map_or(&[], |(_, values)| values)
    }

    /// The one value of a field, where it is given.
    pub(super) fn optional(
        &self,
        name: &str,
        expected: &'static str,
    ) -> Result<Option<&'a Sexp>, Error> {
        match self.find(name) {
            None => Ok(None),
            Some((_, [value])) => Ok(Some(value)),
            Some((field, _)) => Err(field.unexpected(expected)),
        }
    }

    /// The one word of a field that must be given.
    pub(super) fn word(&self, name: &'static str, expected: &'static str) -> Result<String, Error> {
        let value = self
            .optional(name, expected)?
            .ok_or_else(|| self.missing(name, expected))?;
        Ok(value.atom("an atom")?.to_owned())
    }

    /// The words of a field that must be given, if only to say that there are none.
    pub(super) fn words(
        &self,
        name: &'static str,
        expected: &'static str,
    ) -> Result<Vec<String>, Error> {
        let (_, values) = self
            .find(name)
            .ok_or_else(|| self.missing(name, expected))?;
        words(values)
    }

    fn find(&self, name: &str) -> Option<(&'a Sexp, &'a [Sexp])> {
        self.found
            .iter()
            .find(|(other, _, _)| *other == name)
            .map(|&(_, field, values)| (field, values))
    }

    fn missing(&self, name: &'static str, expected: &'static str) -> Error {
        Problem::MissingField {
            name,
            place: self.place,
            expected,
        }
        .at(self.at)
    }
}

/// Atoms and nothing else.
pub(super) fn words(values: &[Sexp]) -> Result<Vec<String>, Error> {
    values
        .iter()
        .map(|value| Ok(value.atom("an atom")?.to_owned()))
        .collect()
}
