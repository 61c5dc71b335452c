//! Water marks: how much a store may hold, and to what a collection brings it down. Pure.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::idle::Idle;

/// A share of the file system, or a number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Amount {
    /// Bytes.
    Bytes(u64),
    /// Percent of the size of the file system.
    Percent(u8),
}

/// Why a text is no amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "read {text:?} as an amount: want bytes such as 200GiB, 1.5TiB or 800000, or percent such as 70%"
)]
pub struct ParseAmountError {
    text: String,
}

const UNITS: [(&str, u64); 10] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("K", 1 << 10),
    ("M", 1 << 20),
    ("G", 1 << 30),
    ("T", 1 << 40),
    ("B", 1),
    ("", 1),
];

impl FromStr for Amount {
    type Err = ParseAmountError;

    fn from_str(text: &str) -> Result<Self, ParseAmountError> {
        let refuse = || ParseAmountError {
            text: text.chars().take(40).collect(),
        };
        let trimmed = text.trim();
        if let Some(percent) = trimmed.strip_suffix('%') {
            let percent: u8 = percent.trim().parse().map_err(|_| refuse())?;
            return (percent <= 100)
                .then_some(Self::Percent(percent))
                .ok_or_else(refuse);
        }
        let (number, factor) = UNITS
            .iter()
            .find_map(|(unit, factor)| Some((trimmed.strip_suffix(unit)?, *factor)))
            .ok_or_else(refuse)?;
        let (whole, part) = number
            .trim()
            .split_once('.')
            .unwrap_or((number.trim(), "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 3 {
            return Err(refuse());
        }
        let whole: u64 = whole.parse().map_err(|_| refuse())?;
        let thousandths: u64 = format!("{part:0<3}").parse().map_err(|_| refuse())?;
        let bytes =
            u128::from(factor) * (u128::from(whole) * 1000 + u128::from(thousandths)) / 1000;
        u64::try_from(bytes).map(Self::Bytes).map_err(|_| refuse())
    }
}

impl TryFrom<String> for Amount {
    type Error = ParseAmountError;

    fn try_from(text: String) -> Result<Self, ParseAmountError> {
        text.parse()
    }
}

impl From<Amount> for String {
    fn from(amount: Amount) -> Self {
        amount.to_string()
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Bytes(bytes) => {
                let exact = UNITS[..4]
                    .iter()
                    .rev()
                    .find(|(_, factor)| bytes % factor == 0);
                match exact {
                    Some((unit, factor)) if *bytes > 0 => write!(f, "{}{unit}", bytes / factor),
                    _ => write!(f, "{bytes}"),
                }
            }
        }
    }
}

impl Amount {
    /// It in bytes, on a file system of `total` bytes.
    #[must_use]
    pub fn of(self, total: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => share(total, percent),
        }
    }
}

/// The file system of a store and what the store has on it, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Disk {
    /// Size of the file system.
    pub total: u64,
    /// What this user can still write.
    pub free: u64,
    /// What the store holds, in all its forms.
    pub held: u64,
}

/// When a store is collected, and how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    /// Above this a collection begins. Without one only the free room counts.
    pub high: Option<Amount>,
    /// It goes down to this; nine tenths of `high` where nothing is said.
    pub low: Option<Amount>,
    /// What was not used for so long and is dear is frozen before it is forgotten.
    pub freeze_after: Idle,
}

/// A tenth of a file system is kept free, and never more than this.
const RESERVE_MAX: u64 = 10 << 30;
const RESERVE_PERCENT: u8 = 10;
/// What is below the high mark by default, percent of it.
const LOW_PERCENT: u8 = 90;

fn share(total: u64, percent: u8) -> u64 {
    u64::try_from(u128::from(total) * u128::from(percent) / 100).unwrap_or(u64::MAX)
}

impl Marks {
    /// What must stay free on the file system, whatever else is said.
    #[must_use]
    pub fn reserve(disk: &Disk) -> u64 {
        share(disk.total, RESERVE_PERCENT).min(RESERVE_MAX)
    }

    /// Bytes to free if the high mark is reached: down to the low mark, and until half as much
    /// again as the reserve is free. 0 below the mark.
    #[must_use]
    pub fn excess(&self, disk: &Disk) -> u64 {
        let over = self
            .high
            .is_some_and(|high| disk.held > high.of(disk.total));
        if over || disk.free < Self::reserve(disk) {
            self.surplus(disk)
        } else {
            0
        }
    }

    /// Bytes to free to reach the low mark, wherever the high mark is.
    #[must_use]
    pub fn surplus(&self, disk: &Disk) -> u64 {
        let reserve = Self::reserve(disk);
        let room = (reserve + reserve / 2).saturating_sub(disk.free);
        let default = self
            .high
            .map(|high| share(high.of(disk.total), LOW_PERCENT));
        let low = self.low.map(|low| low.of(disk.total)).or(default);
        let held = low.map_or(0, |low| disk.held.saturating_sub(low));
        room.max(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn amounts_are_read_and_printed() {
        for (text, amount) in [
            ("70%", Amount::Percent(70)),
            (" 0% ", Amount::Percent(0)),
            ("200GiB", Amount::Bytes(200 * GIB)),
            ("1.5 TiB", Amount::Bytes(1536 * GIB)),
            ("12", Amount::Bytes(12)),
            ("3M", Amount::Bytes(3 << 20)),
            ("7B", Amount::Bytes(7)),
        ] {
            assert_eq!(text.parse(), Ok(amount), "{text:?}");
            assert_eq!(amount.to_string().parse(), Ok(amount));
        }
        for bad in [
            "",
            "%",
            "101%",
            "-1",
            "1.2345G",
            "GiB",
            "1e3",
            "99999999999TiB",
            "1 0",
            "½",
        ] {
            assert!(bad.parse::<Amount>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_disk_with_room_is_left_alone() {
        let disk = Disk {
            total: 1000 * GIB,
            free: 11 * GIB,
            held: 900 * GIB,
        };
        assert_eq!(Marks::default().excess(&disk), 0);
        let nearly = Disk {
            free: 9 * GIB,
            ..disk
        };
        assert_eq!(
            Marks::default().excess(&nearly),
            6 * GIB,
            "half as much again as the reserve"
        );
        let small = Disk {
            total: 100,
            free: 9,
            held: 50,
        };
        assert_eq!(Marks::default().excess(&small), 6);
    }

    #[test]
    fn a_store_above_its_mark_goes_down_to_the_low_one() {
        let marks = Marks {
            high: Some(Amount::Percent(50)),
            low: Some(Amount::Bytes(30)),
            ..Marks::default()
        };
        let disk = Disk {
            total: 100,
            free: 49,
            held: 51,
        };
        assert_eq!(marks.excess(&disk), 21);
        let below = Disk {
            free: 50,
            held: 50,
            ..disk
        };
        assert_eq!((marks.excess(&below), marks.surplus(&below)), (0, 20));
        let high_only = Marks { low: None, ..marks };
        assert_eq!(high_only.excess(&disk), 6, "nine tenths of the high mark");
    }
}
