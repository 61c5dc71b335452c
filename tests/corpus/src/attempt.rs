//! What an attempt is: one forbidden effect on a canary, and what came of it.
//!
//! Owns nothing. An attempt is harmless by construction: what it aims at was put there for it.

use std::{ffi::CStr, fmt, io};

use crate::{
    ground::Ground,
    raw::{self, Arg},
};

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The forbidden effect was achieved, and how that was seen.
    Through(String),
    /// Something refused, with its word.
    Stopped(String),
    /// This kernel has no such thing.
    Absent(String),
}

impl Verdict {
    /// Whether the effect was achieved.
    pub fn is_through(&self) -> bool {
        matches!(self, Self::Through(_))
    }

    /// The word for the verdict, and its reason.
    pub fn words(&self) -> (&'static str, &str) {
        match self {
            Self::Through(how) => ("through", how),
            Self::Stopped(why) => ("stopped", why),
            Self::Absent(what) => ("absent", what),
        }
    }

    /// Reads what [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (word, why) = text.split_once('\t')?;
        let why = why.to_owned();
        match word {
            "through" => Some(Self::Through(why)),
            "stopped" => Some(Self::Stopped(why)),
            "absent" => Some(Self::Absent(why)),
            _ => None,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, why) = self.words();
        let line = why.replace(['\n', '\t', '\0'], " ");
        write!(f, "{word}\t{}", line.chars().take(120).collect::<String>())
    }
}

/// Why an attempt did not get through.
#[derive(Debug)]
pub enum Stop {
    /// A call was refused.
    Error(io::Error),
    /// It went well and still had no effect.
    NoEffect(String),
    /// This kernel has no such thing.
    Absent(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Error(error)
    }
}

impl From<rustix::io::Errno> for Stop {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Error(error.into())
    }
}

/// How it got through, or why not.
pub type Tried = Result<String, Stop>;

/// A stop that is no error of a call.
pub fn no_effect(why: impl Into<String>) -> Stop {
    Stop::NoEffect(why.into())
}

/// A constant argument of a call.
#[derive(Debug, Clone, Copy)]
pub enum Word {
    /// A number.
    N(i64),
    /// A string.
    S(&'static CStr),
    /// So many zero bytes that the kernel may read or write.
    Zeros(usize),
}

/// How an attempt is made.
#[derive(Debug, Clone, Copy)]
pub enum Act {
    /// By a function.
    Do(fn(&Ground) -> Tried),
    /// By one system call, whose arguments are such that a refusal of the right (`EPERM`) differs
    /// from any other end.
    Call(i64, &'static [Word]),
}

/// One attempt.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// Its name, unique in the corpus: `class.name`.
    pub id: &'static str,
    /// What it re-creates: a CVE, or where the trick is known from.
    pub source: &'static str,
    /// What it tries, for people.
    pub what: &'static str,
    /// How.
    pub act: Act,
}

/// An attempt by a function.
pub const fn attempt(
    id: &'static str,
    source: &'static str,
    what: &'static str,
    run: fn(&Ground) -> Tried,
) -> Attempt {
    Attempt {
        id,
        source,
        what,
        act: Act::Do(run),
    }
}

impl Attempt {
    /// The part of the id before the point.
    pub fn class(&self) -> &'static str {
        self.id.split_once('.').map_or(self.id, |(class, _)| class)
    }

    /// Makes it, in this process.
    pub fn run(&self, ground: &Ground) -> Verdict {
        let tried = match self.act {
            Act::Do(run) => run(ground),
            Act::Call(number, words) => by_number(number, words),
        };
        match tried {
            Ok(how) => Verdict::Through(how),
            Err(Stop::Error(error)) => Verdict::Stopped(errno_name(&error)),
            Err(Stop::NoEffect(why)) => Verdict::Stopped(why),
            Err(Stop::Absent(what)) => Verdict::Absent(what),
        }
    }
}

fn by_number(number: i64, words: &[Word]) -> Tried {
    let mut zeros: Vec<Vec<u8>> = words
        .iter()
        .map(|word| match word {
            Word::Zeros(size) => vec![0; *size],
            Word::N(_) | Word::S(_) => Vec::new(),
        })
        .collect();
    let mut args: Vec<Arg<'_>> = words
        .iter()
        .zip(&mut zeros)
        .map(|(word, zeros)| match word {
            Word::N(number) => Arg::N(*number),
            Word::S(text) => Arg::S(text),
            Word::Zeros(_) => Arg::W(zeros),
        })
        .collect();
    past(raw::call(number, &mut args))
}

/// A call counts as through as soon as it is past the filter and the check of rights.
pub fn past(done: io::Result<i64>) -> Tried {
    let refusals = [
        libc::EPERM,
        libc::EACCES,
        libc::ENOSYS,
        libc::EAFNOSUPPORT,
        libc::EPROTONOSUPPORT,
    ];
    match done {
        Ok(got) => Ok(format!("it returned {got}")),
        Err(error) if error.raw_os_error().is_some_and(|e| refusals.contains(&e)) => {
            Err(error.into())
        }
        Err(error) => Ok(format!("past the check: {}", errno_name(&error))),
    }
}

/// The symbol of an error, as in the manual.
pub fn errno_name(error: &io::Error) -> String {
    let names = [
        (libc::EPERM, "EPERM"),
        (libc::ENOENT, "ENOENT"),
        (libc::ESRCH, "ESRCH"),
        (libc::EIO, "EIO"),
        (libc::ENXIO, "ENXIO"),
        (libc::EBADF, "EBADF"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::ENOMEM, "ENOMEM"),
        (libc::EACCES, "EACCES"),
        (libc::EFAULT, "EFAULT"),
        (libc::EBUSY, "EBUSY"),
        (libc::EEXIST, "EEXIST"),
        (libc::EXDEV, "EXDEV"),
        (libc::ENODEV, "ENODEV"),
        (libc::ENOTDIR, "ENOTDIR"),
        (libc::EINVAL, "EINVAL"),
        (libc::ENOTTY, "ENOTTY"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::EROFS, "EROFS"),
        (libc::EMLINK, "EMLINK"),
        (libc::ELOOP, "ELOOP"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::EOPNOTSUPP, "EOPNOTSUPP"),
        (libc::EAFNOSUPPORT, "EAFNOSUPPORT"),
        (libc::EPROTONOSUPPORT, "EPROTONOSUPPORT"),
        (libc::ESOCKTNOSUPPORT, "ESOCKTNOSUPPORT"),
        (libc::EADDRNOTAVAIL, "EADDRNOTAVAIL"),
        (libc::ENETUNREACH, "ENETUNREACH"),
        (libc::EHOSTUNREACH, "EHOSTUNREACH"),
        (libc::ECONNREFUSED, "ECONNREFUSED"),
        (libc::ETIMEDOUT, "ETIMEDOUT"),
        (libc::EDQUOT, "EDQUOT"),
        (libc::ENOKEY, "ENOKEY"),
        (libc::EUSERS, "EUSERS"),
        (libc::EOVERFLOW, "EOVERFLOW"),
        (libc::ENOEXEC, "ENOEXEC"),
        (libc::ETXTBSY, "ETXTBSY"),
        (libc::ECHILD, "ECHILD"),
        (libc::ENAMETOOLONG, "ENAMETOOLONG"),
    ];
    let Some(number) = error.raw_os_error() else {
        return error.to_string();
    };
    let known = names.iter().find(|(known, _)| *known == number);
    known.map_or_else(|| format!("errno {number}"), |(_, name)| (*name).to_owned())
}
