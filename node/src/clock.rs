//! The two clocks of a node, read here and handed to pure code as values.

use std::time::{SystemTime, UNIX_EPOCH};

use caravan_protocol::time::{Stamp, Time};
use jiff::{Timestamp, tz::TimeZone};

/// Wall-clock time.
#[must_use]
pub(crate) fn stamp() -> Stamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Stamp::from_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Monotonic time that goes on while the machine sleeps (`CLOCK_BOOTTIME`).
#[must_use]
pub(crate) fn now() -> Time {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanos) = (
        u64::try_from(time.tv_sec).unwrap_or(0),
        u64::try_from(time.tv_nsec).unwrap_or(0),
    );
    Time::from_ms(seconds * 1000 + nanos / 1_000_000)
}

/// The minute of the day on this machine's wall, by the time zone that it is set to.
#[must_use]
pub(crate) fn minute_of_day(at: Stamp) -> u16 {
    let ms = i64::try_from(at.as_ms()).unwrap_or(i64::MAX);
    let at = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
    let at = at.to_zoned(TimeZone::system());
    let minute = i32::from(at.hour()) * 60 + i32::from(at.minute());
    u16::try_from(minute).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_of_the_day_is_one_whatever_the_clock_says() {
        for ms in [0, 1, 1_795_000_000_000, u64::MAX] {
            assert!(minute_of_day(Stamp::from_ms(ms)) < 24 * 60);
        }
        let noon = Stamp::from_ms(1_795_000_000_000);
        let later = noon.after(std::time::Duration::from_secs(61 * 60));
        let apart = (minute_of_day(later) + 1440 - minute_of_day(noon)) % 1440;
        assert!(apart == 61 || apart == 62, "{apart}");
    }
}
