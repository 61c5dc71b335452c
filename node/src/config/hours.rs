//! The hours of the day in which a node takes work, by the clock on its wall.
//!
//! Written as `22:00-06:00`, or several such with commas between. A span may go over midnight; its
//! end is the first minute that is no part of it, and `24:00` is the end of the day.

use std::{fmt, str::FromStr};

/// Minutes of a day.
pub const DAY_MIN: u16 = 24 * 60;
/// Most spans.
const SPANS_MAX: usize = 8;
/// Longest text.
const TEXT_MAX: usize = 200;

/// Why a text says no hours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "read {text:?} as hours of the day: {reason}; want such as 22:00-06:00, or several with commas"
)]
pub struct HoursError {
    text: String,
    reason: &'static str,
}

/// Spans of the day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours(Vec<Span>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: u16,
    to: u16,
}

impl Span {
    const fn has(self, minute: u16) -> bool {
        if self.from < self.to {
            self.from <= minute && minute < self.to
        } else {
            self.from <= minute || minute < self.to
        }
    }
}

impl Hours {
    /// Whether work is taken in this minute of the day, counted from midnight.
    #[must_use]
    pub fn allows(&self, minute: u16) -> bool {
        let minute = minute % DAY_MIN;
        self.0.iter().any(|span| span.has(minute))
    }

    /// The next minute of the day in which that changes; this one if it never does.
    #[must_use]
    pub fn next_change(&self, minute: u16) -> u16 {
        let now = self.allows(minute);
        let next = (1..DAY_MIN).map(|later| (minute % DAY_MIN + later) % DAY_MIN);
        let mut next = next.skip_while(|minute| self.allows(*minute) == now);
        next.next().unwrap_or(minute % DAY_MIN)
    }
}

impl FromStr for Hours {
    type Err = HoursError;

    fn from_str(text: &str) -> Result<Self, HoursError> {
        let bad = |reason| HoursError {
            text: text.chars().take(TEXT_MAX).collect(),
            reason,
        };
        if text.len() > TEXT_MAX {
            return Err(bad("it is too long"));
        }
        let mut spans = Vec::new();
        for part in text.split(',') {
            let (from, to) = part.trim().split_once('-').ok_or(bad("a span has no -"))?;
            let (from, to) = (minute(from).map_err(bad)?, minute(to).map_err(bad)?);
            if from == DAY_MIN {
                return Err(bad("the day begins at 00:00"));
            }
            if from == to {
                return Err(bad(
                    "a span is empty; leave the hours out for the whole day",
                ));
            }
            spans.push(Span { from, to });
        }
        if spans.len() > SPANS_MAX {
            return Err(bad("there are too many spans"));
        }
        Ok(Self(spans))
    }
}

/// `7:30` or `07:30`.
fn minute(text: &str) -> Result<u16, &'static str> {
    let digits = |text: &str, count: std::ops::RangeInclusive<usize>| {
        let plain = count.contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
        plain.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hours, minutes) = text.trim().split_once(':').ok_or("a time is HH:MM")?;
    let time = digits(hours, 1..=2).zip(digits(minutes, 2..=2));
    let (hours, minutes) = time.ok_or("a time is HH:MM")?;
    match (hours, minutes) {
        (0..24, 0..60) | (24, 0) => Ok(hours * 60 + minutes),
        _ => Err("there is no such time of day"),
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Span { from, to }) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            let (a, b, c, d) = (from / 60, from % 60, to / 60, to % 60);
            write!(f, "{a:02}:{b:02}-{c:02}:{d:02}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(text: &str) -> Hours {
        text.parse().expect("good hours")
    }

    #[test]
    fn a_night_goes_over_midnight() {
        let night = hours("22:00-6:00");
        for (minute, wanted) in [
            (0, true),
            (359, true),
            (360, false),
            (1319, false),
            (1320, true),
        ] {
            assert_eq!(night.allows(minute), wanted, "{minute}");
        }
        assert_eq!(night.next_change(0), 360);
        assert_eq!(night.next_change(360), 1320);
        assert_eq!(night.next_change(1439), 360);
        assert_eq!(night.to_string(), "22:00-06:00");
    }

    #[test]
    fn several_spans_add_up() {
        let both = hours("00:00-08:30, 18:00-24:00");
        assert!(both.allows(509) && !both.allows(510) && both.allows(1080) && both.allows(1439));
        assert_eq!(both.to_string().parse(), Ok(both));
        let all = hours("00:00-12:00,12:00-24:00");
        assert_eq!(all.next_change(700), 700);
    }

    #[test]
    fn what_is_no_span_is_refused_with_its_words() {
        for (bad, reason) in [
            ("", "no -"),
            ("22:00", "no -"),
            ("22-6", "HH:MM"),
            ("22:00-25:00", "no such time"),
            ("24:00-06:00", "begins"),
            ("24:01-06:00", "no such time"),
            ("10:00-10:00", "empty"),
            ("1:5-2:00", "HH:MM"),
            ("+1:00-2:00", "HH:MM"),
            ("1:00-2:00,", "no -"),
            (&["1:00-2:00"; 9].join(","), "too many"),
            (&"1".repeat(300), "too long"),
        ] {
            let refused = bad.parse::<Hours>().expect_err(bad).to_string();
            assert!(refused.contains(reason), "{bad:?}: {refused}");
        }
    }
}
