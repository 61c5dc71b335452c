//! The two clocks of a node, read here and handed to pure code as values.

use std::time::{SystemTime, UNIX_EPOCH};

use caravan_protocol::time::{Stamp, Time};

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
