//! What keeps an ordinary user from running jobs here, and the command that changes it.

use std::{fmt, io, path::Path};

use super::ID_COUNT;
use crate::cgroup::read_small;

/// Settings of a host that keep ordinary users from user namespaces: where, what says no, and the
/// value that says yes.
const SETTINGS: [(&str, &str, &str); 3] = [
    ("user.max_user_namespaces", "0", "65536"),
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
];

/// One thing that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// A program of Debian's `uidmap`.
    Program(&'static str),
    /// Too few subordinate ids.
    Ids {
        /// Whose.
        user: String,
        /// Of groups, not of users.
        groups: bool,
        /// How many there are.
        count: u32,
        /// First of as many as are wanted that nobody has.
        free: u32,
    },
    /// Whoever started this program forbade it, and all that it starts, to gain rights.
    NoNewPrivileges,
    /// No user namespace, and the setting that says so, with the value that says otherwise.
    Namespaces {
        /// The system's words.
        words: String,
        /// Which, if it is known.
        setting: Option<(&'static str, &'static str)>,
    },
    /// The namespace would not do something that a job needs.
    Mount {
        /// What was tried.
        what: &'static str,
        /// The system's words.
        words: String,
        /// What can be done.
        fix: &'static str,
    },
}

impl Lack {
    /// What can be seen before anything is tried.
    pub(super) fn of_this_process() -> Vec<Self> {
        let forbidden = rustix::thread::no_new_privs().unwrap_or(false);
        forbidden
            .then_some(Self::NoNewPrivileges)
            .into_iter()
            .collect()
    }

    /// For a namespace that could not be made.
    pub(super) fn namespaces(error: &io::Error) -> Self {
        Self::Namespaces {
            words: error.to_string(),
            setting: setting(),
        }
    }

    /// What to do about it, for a person to read or to copy.
    #[must_use]
    pub fn fix(&self) -> String {
        match self {
            Self::Program(_) => "as root, run: apt-get install uidmap".to_owned(),
            Self::Ids {
                user, groups, free, ..
            } => {
                let (kind, last) = (if *groups { "gids" } else { "uids" }, free + (ID_COUNT - 1));
                format!("as root, run: usermod --add-sub{kind} {free}-{last} {user}")
            }
            Self::NoNewPrivileges => {
                "start the node from a shell, or from a unit without NoNewPrivileges=yes".to_owned()
            }
            Self::Namespaces {
                setting: Some((name, value)),
                ..
            } => format!("as root, run: sysctl {name}={value}"),
            Self::Namespaces { setting: None, .. } => {
                "run the node as root, or outside of the container that it is in".to_owned()
            }
            Self::Mount { fix, .. } => match setting() {
                Some((name, value)) => format!("as root, run: sysctl {name}={value}"),
                None => (*fix).to_owned(),
            },
        }
    }
}

/// A setting of this host that says no.
fn setting() -> Option<(&'static str, &'static str)> {
    SETTINGS.into_iter().find_map(|(name, no, yes)| {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        let value = read_small(Path::new(&path)).ok()?;
        (value.trim() == no).then_some((name, yes))
    })
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(name) => write!(f, "{name} is not installed"),
            Self::Ids {
                user,
                groups,
                count,
                ..
            } => {
                let (kind, file) = match groups {
                    true => ("group", "/etc/subgid"),
                    false => ("user", "/etc/subuid"),
                };
                write!(
                    f,
                    "{user} has {count} subordinate {kind} ids in {file} and needs {ID_COUNT}"
                )
            }
            Self::NoNewPrivileges => {
                f.write_str("this process may not gain rights (no_new_privs), and newuidmap must")
            }
            Self::Namespaces { words, .. } => {
                write!(
                    f,
                    "the host gives ordinary users no user namespace ({words})"
                )
            }
            Self::Mount { what, words, .. } => {
                write!(f, "the host does not let it {what} ({words})")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lack_says_what_is_missing_and_the_command_that_helps() {
        let ids = |groups| Lack::Ids {
            user: "ann".to_owned(),
            groups,
            count: 9,
            free: 100_000,
        };
        for (lack, missing, fix) in [
            (
                Lack::Program("newuidmap"),
                "newuidmap",
                "apt-get install uidmap",
            ),
            (
                ids(false),
                "/etc/subuid",
                "usermod --add-subuids 100000-165535 ann",
            ),
            (
                ids(true),
                "/etc/subgid",
                "usermod --add-subgids 100000-165535 ann",
            ),
            (Lack::NoNewPrivileges, "no_new_privs", "NoNewPrivileges"),
            (
                Lack::Namespaces {
                    words: "No space left on device".to_owned(),
                    setting: Some(("user.max_user_namespaces", "65536")),
                },
                "No space",
                "sysctl user.max_user_namespaces=65536",
            ),
        ] {
            let words = lack.to_string();
            assert!(words.contains(missing), "{words}");
            let words = lack.fix();
            assert!(words.contains(fix), "{words}");
        }
    }
}
