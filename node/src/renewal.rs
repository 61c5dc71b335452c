//! When a member asks for its next certificate: from half of the present one's life on, again and
//! again until it has it, so that the council may be away for days. Pure; the driver asks.

use std::time::Duration;

use caravan_protocol::{
    identity::NodeCert,
    limits,
    time::{Stamp, Time},
};

/// First wait after a question that came to nothing; it doubles.
const RETRY: Duration = Duration::from_secs(30);
/// Longest wait between two questions.
const RETRY_MAX: Duration = Duration::from_secs(3600);
/// Shortest, for certificates that live for seconds.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// However it stands with the waits, so many questions fit into what is left of a certificate.
const TRIES_LEFT: u32 = 8;
/// How far neighbours' clocks may be behind without a new certificate being too new for them.
const SLACK: Duration = Duration::from_secs(120);
/// A certificate of which less than one part of so many is over is not replaced.
const FRESH_PART: u64 = 4;

/// From when to when a certificate is valid that is signed now and lives for `life`, which is never
/// more than certificates may.
pub(crate) fn dates(now: Stamp, life: Duration) -> (Stamp, Stamp) {
    let life = life.min(Duration::from_millis(limits::CERT_LIFE_MS));
    let slack = SLACK.min(life / 8);
    let slack_ms = u64::try_from(slack.as_millis()).unwrap_or(0);
    let not_before = Stamp::from_ms(now.as_ms().saturating_sub(slack_ms));
    (not_before, now.after(life - slack))
}

/// Milliseconds of a certificate's life that are over, and all of them.
fn life(cert: &NodeCert, now: Stamp) -> (u64, u64) {
    let (from, to) = (cert.not_before.as_ms(), cert.expires.as_ms());
    (now.as_ms().saturating_sub(from), to.saturating_sub(from))
}

/// Whether half of a certificate's life is over, or it is one from the future.
pub(crate) fn is_due(cert: &NodeCert, now: Stamp) -> bool {
    let (over, all) = life(cert, now);
    is_early(cert, now) || over >= all / 2
}

/// Whether a certificate is from the future: made while its signer's clock was ahead.
fn is_early(cert: &NodeCert, now: Stamp) -> bool {
    now < cert.not_before
}

/// Whether one that is valid now and until `expires` is worth more than the one that is held.
pub(crate) fn outlives(expires: Stamp, held: &NodeCert, now: Stamp) -> bool {
    is_early(held, now) || expires > held.expires
}

/// Whether a certificate is too new to be replaced by another.
pub(crate) fn is_fresh(cert: &NodeCert, now: Stamp) -> bool {
    let (over, all) = life(cert, now);
    now >= cert.not_before && over < all / FRESH_PART
}

/// A member's questions for its next certificate.
#[derive(Debug, Default)]
pub(crate) struct Renewal {
    tries: u32,
    next: Time,
    asked: bool,
    trouble: Option<String>,
}

impl Renewal {
    /// Whether it is time to ask.
    pub(crate) fn is_due(&self, cert: &NodeCert, now: Stamp, time: Time) -> bool {
        !self.asked && is_due(cert, now) && time >= self.next
    }

    /// A question is on its way.
    pub(crate) const fn ask(&mut self) {
        self.asked = true;
    }

    /// Whether one is.
    pub(crate) const fn is_asked(&self) -> bool {
        self.asked
    }

    /// The next certificate is here.
    pub(crate) fn done(&mut self) {
        *self = Self::default();
    }

    /// The question came to nothing. `salt` spreads members that ask at once.
    pub(crate) fn failed(&mut self, why: String, cert: &NodeCert, at: (Stamp, Time), salt: u8) {
        let (now, time) = at;
        let (over, all) = life(cert, now);
        let left = Duration::from_millis(all.saturating_sub(over));
        let wait = RETRY
            .saturating_mul(1 << self.tries.min(16))
            .min(RETRY_MAX)
            .min(left / TRIES_LEFT)
            .max(RETRY_MIN);
        self.next = time + wait.mul_f64(1.0 - f64::from(salt) / 1024.0);
        self.tries = self.tries.saturating_add(1);
        self.asked = false;
        self.trouble = Some(why);
    }

    /// What the operator should know of it: from the last quarter of a certificate's life on.
    pub(crate) fn notice(&self, cert: &NodeCert, now: Stamp) -> Option<String> {
        let (over, all) = life(cert, now);
        if over < all / 4 * 3 {
            return None;
        }
        let why = self.trouble.as_deref().unwrap_or("it was not asked yet");
        let left = all.saturating_sub(over) / 60_000;
        Some(match left {
            0 if over >= all => format!(
                "this node's certificate has expired: it is no member until it has a new one ({why})"
            ),
            _ => format!(
                "this node's certificate ends in {} h {} min, and the founding node has not renewed \
                 it: {why}",
                left / 60,
                left % 60
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use caravan_protocol::{
        identity::Tier,
        ids::{MeshId, NodeId},
    };
    use proptest::prelude::*;

    use super::*;

    const DAY_MS: u64 = 24 * 3_600_000;
    const START: Stamp = Stamp::from_ms(1_000_000_000);

    fn cert(now: Stamp, life: Duration) -> NodeCert {
        let (not_before, expires) = dates(now, life);
        NodeCert {
            mesh: MeshId::from_bytes([1; 32]),
            node: NodeId::from_bytes([2; 32]),
            operator: "ann".to_owned(),
            tier: Tier::Donor,
            platforms: Vec::new(),
            not_before,
            expires,
        }
    }

    fn week() -> Duration {
        Duration::from_millis(limits::CERT_LIFE_MS)
    }

    #[test]
    fn no_certificate_lives_longer_than_allowed() {
        for life in [week(), week() * 10, Duration::from_secs(8)] {
            let cert = cert(START, life);
            let lives = cert.expires.as_ms() - cert.not_before.as_ms();
            assert!(lives <= limits::CERT_LIFE_MS && cert.not_before < START);
        }
    }

    #[test]
    fn half_of_a_life_is_the_time_to_ask() {
        let cert = cert(START, week());
        let half = START.after(week() / 2);
        assert!(!is_due(&cert, Stamp::from_ms(half.as_ms() - 300_000)));
        assert!(is_due(&cert, half));
        assert!(is_fresh(&cert, START) && !is_fresh(&cert, half));
    }

    #[test]
    fn trouble_is_told_before_the_end_and_after() {
        let cert = cert(START, week());
        let mut renewal = Renewal::default();
        let at = |days_x10: u64| START.after(Duration::from_millis(DAY_MS / 10 * days_x10));
        renewal.ask();
        renewal.failed(
            "nobody answers".into(),
            &cert,
            (at(40), Time::from_ms(0)),
            0,
        );
        assert_eq!(renewal.notice(&cert, at(40)), None);
        let told = renewal.notice(&cert, at(60)).expect("a quarter is left");
        assert!(
            told.contains("nobody answers") && told.contains("23 h"),
            "{told}"
        );
        let told = renewal.notice(&cert, at(80)).expect("it is over");
        assert!(told.contains("has expired"), "{told}");
    }

    proptest! {
        /// However long the council is away, and whenever: if it is there for two hours before
        /// the end, the member has its next certificate in time.
        #[test]
        fn an_absence_never_makes_a_gap(
            back_ms in 0..(7 * DAY_MS - 2 * 3_600_000),
            salt: u8,
            step_ms in 1_000u64..60_000,
        ) {
            let cert = cert(START, week());
            let mut renewal = Renewal::default();
            let mut at = 0;
            let mut renewed = None;
            while renewed.is_none() && at < 7 * DAY_MS {
                let (now, time) = (START.after(Duration::from_millis(at)), Time::from_ms(at));
                if renewal.is_due(&cert, now, time) {
                    renewal.ask();
                    if at >= back_ms {
                        renewed = Some(now);
                        renewal.done();
                    } else {
                        renewal.failed("away".into(), &cert, (now, time), salt);
                    }
                }
                at += step_ms;
            }
            prop_assert!(renewed.is_some_and(|now| now < cert.expires), "{renewed:?}");
        }

        /// Nor is anybody asked more often than needed.
        #[test]
        fn a_week_of_absence_costs_a_bounded_number_of_questions(salt: u8) {
            let cert = cert(START, week());
            let mut renewal = Renewal::default();
            let mut asked = 0;
            for minute in 0..(7 * 24 * 60) {
                let at = minute * 60_000;
                let (now, time) = (START.after(Duration::from_millis(at)), Time::from_ms(at));
                if renewal.is_due(&cert, now, time) {
                    renewal.ask();
                    asked += 1;
                    renewal.failed("away".into(), &cert, (now, time), salt);
                }
            }
            prop_assert!((60..400).contains(&asked), "{asked}");
        }
    }
}
