//! How long something was not used before it may be frozen, as people write it. Pure.

use std::{fmt, str::FromStr};

/// A time without use, or for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// So many seconds.
    For(u64),
    /// No time is long enough.
    Never,
}

/// Why a text is no such time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read {text:?} as a time: want days such as 7d or 7, hours such as 12h, or never")]
pub struct ParseIdleError {
    text: String,
}

const HOUR_S: u64 = 3600;
const DAY_S: u64 = 24 * HOUR_S;
/// A week.
const DEFAULT_S: u64 = 7 * DAY_S;

impl Default for Idle {
    fn default() -> Self {
        Self::For(DEFAULT_S)
    }
}

impl Idle {
    /// The time in seconds, where there is one.
    #[must_use]
    pub const fn seconds(self) -> Option<u64> {
        match self {
            Self::For(seconds) => Some(seconds),
            Self::Never => None,
        }
    }
}

impl FromStr for Idle {
    type Err = ParseIdleError;

    fn from_str(text: &str) -> Result<Self, ParseIdleError> {
        let refuse = || ParseIdleError {
            text: text.chars().take(40).collect(),
        };
        let trimmed = text.trim();
        if trimmed == "never" {
            return Ok(Self::Never);
        }
        let (number, unit_s) = match trimmed.strip_suffix('h') {
            Some(number) => (number, HOUR_S),
            None => (trimmed.strip_suffix('d').unwrap_or(trimmed), DAY_S),
        };
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refuse());
        }
        let number: u64 = number.parse().map_err(|_| refuse())?;
        number.checked_mul(unit_s).map(Self::For).ok_or_else(refuse)
    }
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::For(seconds) if seconds % DAY_S == 0 => write!(f, "{}d", seconds / DAY_S),
            Self::For(seconds) => write!(f, "{}h", seconds / HOUR_S),
            Self::Never => f.write_str("never"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_printed() {
        for (text, idle) in [
            ("7d", Idle::default()),
            (" 30 ", Idle::For(30 * DAY_S)),
            ("0", Idle::For(0)),
            ("12h", Idle::For(12 * HOUR_S)),
            ("never", Idle::Never),
        ] {
            assert_eq!(text.parse(), Ok(idle), "{text:?}");
            assert_eq!(idle.to_string().parse(), Ok(idle));
        }
        for bad in [
            "",
            "d",
            "-1d",
            "1.5d",
            "+3",
            "7 days",
            "99999999999999999999d",
            "h",
            "½",
        ] {
            assert!(bad.parse::<Idle>().is_err(), "{bad:?} was taken");
        }
    }
}
