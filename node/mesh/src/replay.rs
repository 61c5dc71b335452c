//! Which sequence numbers of one author were seen: signed gossip that is sent again by someone
//! else is old news, however long ago it was signed.

/// Numbers below the highest that are still told apart.
const WINDOW: u64 = 128;

#[derive(Debug, Default)]
pub(crate) struct Replay {
    highest: Option<u64>,
    /// Bit `n` is set when `highest - n` was seen.
    seen: u128,
}

impl Replay {
    /// Whether `number` is new; it is remembered.
    pub(crate) fn is_new(&mut self, number: u64) -> bool {
        let Some(highest) = self.highest else {
            self.highest = Some(number);
            self.seen = 1;
            return true;
        };
        if number > highest {
            let up = number - highest;
            self.seen = if up < WINDOW { self.seen << up } else { 0 };
            self.seen |= 1;
            self.highest = Some(number);
            return true;
        }
        let below = highest - number;
        if below >= WINDOW {
            return false;
        }
        let bit = 1u128 << below;
        let new = self.seen & bit == 0;
        self.seen |= bit;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_new_once_and_old_ones_never() {
        let mut replay = Replay::default();
        assert!(replay.is_new(1000));
        assert!(!replay.is_new(1000));
        assert!(replay.is_new(1003));
        assert!(replay.is_new(1001), "gossip may overtake gossip");
        assert!(!replay.is_new(1001));
        assert!(!replay.is_new(1003));
        assert!(!replay.is_new(1003 - 128));
        assert!(replay.is_new(u64::MAX));
        assert!(!replay.is_new(1002));
        assert!(replay.is_new(u64::MAX - 127));
    }
}
