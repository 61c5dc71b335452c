//! Package versions in opam's order, and sets of versions described by bounds.

use std::{cmp::Ordering, fmt, str::FromStr, sync::Arc};

use thiserror::Error;

use crate::{formula::Formula, limits::IDENTIFIER_CHARS_MAX, relop::Relop};

/// Why a text is no version.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VersionError {
    /// Versions have at least one character.
    #[error("read a version from an empty text")]
    Empty,
    /// A version is longer than any real one.
    #[error("read a version of {0} characters: at most {IDENTIFIER_CHARS_MAX} are allowed")]
    Long(usize),
    /// A character outside `A-Za-z0-9-_+.~`.
    #[error("read version {text:?}: character {bad:?} is not allowed")]
    Character {
        /// The whole text.
        text: String,
        /// The first character that is not allowed.
        bad: char,
    },
}

/// A package version.
///
/// `Eq` is equality of the text. `Ord` is opam's order (runs of digits count as numbers, `~` sorts
/// before the end of the text, letters before other characters), with the text as the last word
/// where opam calls two texts equal (`1.0` and `1.00`). Bounds use [`Version::order`], without that
/// last word.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Version(Arc<str>);

/// One comparison with a version, as in `>= "1.0"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bound {
    /// The comparison.
    pub relop: Relop,
    /// What is compared with.
    pub version: Version,
}

/// A set of versions; the empty formula holds all of them.
pub type Versions = Formula<Bound>;

impl Version {
    /// The text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// opam's order, in which different texts may be equal.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        if self.0 == other.0 {
            Ordering::Equal
        } else {
            order(&self.0, &other.0)
        }
    }
}

/// Compares two texts in opam's version order, which filters use for any two strings.
#[must_use]
pub fn order(left: &str, right: &str) -> Ordering {
    let (left_head, left_tail) = split_revision(left);
    let (right_head, right_tail) = split_revision(right);
    order_part(left_head, right_head).then_with(|| order_part(left_tail, right_tail))
}

/// Splits at the last `-`: what follows it is compared only where the rest is equal.
fn split_revision(text: &str) -> (&[u8], &[u8]) {
    match text.rfind('-') {
        Some(dash) => (&text.as_bytes()[..dash], &text.as_bytes()[dash + 1..]),
        None => (text.as_bytes(), b""),
    }
}

/// Alternates between runs without digits, compared by [`weight`], and numbers.
fn order_part(mut left: &[u8], mut right: &[u8]) -> Ordering {
    while !left.is_empty() || !right.is_empty() {
        loop {
            let (l, r) = (left.first().copied(), right.first().copied());
            if l.is_none_or(|b| b.is_ascii_digit()) && r.is_none_or(|b| b.is_ascii_digit()) {
                break;
            }
            match weight(l).cmp(&weight(r)) {
                Ordering::Equal => {
                    left = &left[1..];
                    right = &right[1..];
                }
                unequal => return unequal,
            }
        }
        let (left_number, left_rest) = take_number(left);
        let (right_number, right_rest) = take_number(right);
        let numbers = left_number
            .len()
            .cmp(&right_number.len())
            .then_with(|| left_number.cmp(right_number));
        if numbers != Ordering::Equal {
            return numbers;
        }
        (left, right) = (left_rest, right_rest);
    }
    Ordering::Equal
}

/// `~`, then the end of the run (end of text or a digit), then letters, then anything else.
fn weight(byte: Option<u8>) -> u16 {
    match byte {
        Some(b'~') => 0,
        None => 1,
        Some(byte) if byte.is_ascii_digit() => 1,
        Some(byte) if byte.is_ascii_alphabetic() => 2 + u16::from(byte),
        Some(byte) => 0x200 + u16::from(byte),
    }
}

/// The leading digits without leading zeros, and what follows them.
fn take_number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text
        .iter()
        .position(|b| !b.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let zeros = digits
        .iter()
        .position(|b| *b != b'0')
        .unwrap_or(digits.len());
    (&digits[zeros..], rest)
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order(other).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        if text.is_empty() {
            return Err(VersionError::Empty);
        }
        if text.len() > IDENTIFIER_CHARS_MAX {
            return Err(VersionError::Long(text.len()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_+.~".contains(c);
        match text.chars().find(|c| !allowed(*c)) {
            Some(bad) => Err(VersionError::Character {
                text: text.to_owned(),
                bad,
            }),
            None => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Bound {
    /// Whether `version` satisfies this comparison.
    #[must_use]
    pub fn contains(&self, version: &Version) -> bool {
        self.relop.holds(version.order(&self.version))
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} \"{}\"", self.relop, self.version)
    }
}

impl Versions {
    /// The set that holds every version.
    #[must_use]
    pub fn any() -> Self {
        Formula::Empty
    }

    /// The versions equal to `version` in opam's order.
    #[must_use]
    pub fn exactly(version: Version) -> Self {
        Formula::Atom(Bound {
            relop: Relop::Equal,
            version,
        })
    }

    /// Whether `version` is in the set.
    #[must_use]
    pub fn contains(&self, version: &Version) -> bool {
        self.holds(&mut |bound| bound.contains(version))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn order_agrees_with_the_examples_of_the_manual() {
        let ascending = [
            "~~", "~", "~beta2", "~beta10", "0.1", "1.0~beta", "1.0", "1.0-test",
        ];
        let rest = ["1.0.1", "1.0.10", "dev", "trunk"];
        let all: Vec<Version> = ascending
            .iter()
            .chain(&rest)
            .map(|text| version(text))
            .collect();
        for pair in all.windows(2) {
            assert!(pair[0] < pair[1], "{} < {}", pair[0], pair[1]);
        }
    }

    #[test]
    fn letters_sort_before_other_characters_and_numbers_by_size() {
        for (small, large) in [
            ("1a", "1+"),
            ("1.9", "1.10"),
            ("5.2.0~alpha1", "5.2.0"),
            ("5.2.0", "5.2.0+trunk"),
            ("v0.15.1", "v0.17.0"),
            ("4.1.9-1", "4.1.9-2"),
            ("1.0", "1.0-1"),
            ("20231231", "100000000000000000000000000000000"),
        ] {
            assert_eq!(
                version(small).order(&version(large)),
                Ordering::Less,
                "{small} {large}"
            );
        }
    }

    #[test]
    fn leading_zeros_are_equal_for_bounds_but_not_for_identity() {
        let (short, long) = (version("1.0"), version("1.00"));
        assert_eq!(short.order(&long), Ordering::Equal);
        assert_ne!(short, long);
        assert!(Versions::exactly(short).contains(&long));
    }

    #[test]
    fn texts_that_are_no_version_are_refused() {
        assert_eq!("".parse::<Version>(), Err(VersionError::Empty));
        assert!(matches!(
            "1 0".parse::<Version>(),
            Err(VersionError::Character { bad: ' ', .. })
        ));
        assert!("a/../b".parse::<Version>().is_err());
        assert_eq!(
            "1".repeat(9999).parse::<Version>(),
            Err(VersionError::Long(9999))
        );
    }

    proptest! {
        #[test]
        fn order_is_total(a in "[a~.0-9-]{1,8}", b in "[a~.0-9-]{1,8}", c in "[a~.0-9-]{1,8}") {
            let (a, b, c) = (version(&a), version(&b), version(&c));
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            prop_assert_eq!(a.cmp(&b) == Ordering::Equal, a == b);
            prop_assert_eq!(a.order(&b), b.order(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c, "{} {} {}", a, b, c);
            }
        }

        #[test]
        fn a_tilde_suffix_sorts_before_and_any_other_letter_after(a in "[a-z.0-9]{1,8}") {
            let (before, after) = (version(&format!("{a}~x")), version(&format!("{a}x")));
            prop_assert!(before < version(&a));
            prop_assert!(after > version(&a));
        }
    }
}
