//! `[sandbox]` of a node's configuration: what starts the commands of its jobs, and which defences its
//! operator does without.

use std::{fmt, str::FromStr};

use caravan_sandbox::{Defence, Defences, Promises};

/// What starts the commands of jobs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Runtime {
    /// The node itself.
    #[default]
    Own,
    /// An OCI runtime of the host: its name or its absolute path.
    Oci(String),
}

impl FromStr for Runtime {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "own" => Self::Own,
            other => Self::Oci(other.to_owned()),
        })
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("own"),
            Self::Oci(name) => f.write_str(name),
        }
    }
}

/// A name that no operator can accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// A name of nothing.
    #[error("accept {0:?}: there is no defence of that name; those that can be done without are {list}", list = optional())]
    Unknown(String),
    /// A defence without which no job runs.
    #[error("accept \"{0}\": no job runs without it; those that can be done without are {list}", list = optional())]
    Required(Defence),
}

fn optional() -> String {
    let names: Vec<&str> = Promises::OPTIONAL
        .iter()
        .map(|defence| defence.name())
        .collect();
    names.join(", ")
}

/// The defences that are named, if all of them can be done without.
///
/// # Errors
/// For the first that cannot.
pub fn accepted<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Defences, AcceptError> {
    let one = |name: &str| {
        let defence: Defence = name
            .parse()
            .map_err(|_| AcceptError::Unknown(name.chars().take(64).collect()))?;
        if Promises::OPTIONAL.contains(&defence) {
            Ok(defence)
        } else {
            Err(AcceptError::Required(defence))
        }
    };
    names.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_what_can_be_done_without_are_accepted() {
        let both = accepted(["landlock", "memory-limit"]);
        let wanted = Defences::only(Defence::Landlock).with(Defence::MemoryLimit);
        assert_eq!(both, Ok(wanted));
        assert_eq!(accepted([]), Ok(Defences::NONE));
        let refused = accepted(["landlock", "user-namespace"]).unwrap_err();
        assert_eq!(refused, AcceptError::Required(Defence::UserNamespace));
        let told = accepted(["all"]).unwrap_err().to_string();
        assert!(
            told.contains("\"all\"") && told.contains("process-count-limit"),
            "{told}"
        );
    }

    #[test]
    fn a_runtime_is_shown_as_it_is_written() {
        for text in ["own", "runc", "/opt/bin/crun"] {
            assert_eq!(text.parse::<Runtime>().unwrap().to_string(), text);
        }
        assert_eq!("own".parse(), Ok(Runtime::default()));
    }
}
