//! Damage by a seed: the same bytes on every machine and in every run.

/// A small generator of numbers, for tests only.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The dice of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed ^ 0x9E37_79B9_7F4A_7C15)
    }

    /// A number below `end`; zero where there is none.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let high = usize::try_from(self.0 >> 33).unwrap_or(0);
        high % end.max(1)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap_or(0)
    }
}

/// Numbers that decoders trip over.
const ODD: [u64; 10] = [
    0,
    1,
    0x7f,
    0xff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 40,
    u64::MAX / 2,
    u64::MAX,
];

/// `bytes` with a few things wrong: cut, repeated, swapped with a piece of `other`, lied about.
#[must_use]
pub fn mutated(bytes: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len() + 1);
        match dice.below(9) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, dice.byte()),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 if at < bytes.len() => bytes[at] = dice.byte(),
            4 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            5 => lie(&mut bytes, at, dice),
            6 => {
                let end = at + dice.below(bytes.len() - at + 1).min(256);
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            7 => {
                let from = dice.below(other.len() + 1);
                let end = from + dice.below(other.len() - from + 1).min(256);
                bytes.splice(at..at, other[from..end].iter().copied());
            }
            _ => {
                let end = at + dice.below(bytes.len() - at + 1).min(64);
                drop(bytes.drain(at..end));
            }
        }
    }
    bytes
}

/// Writes a number where a length may be, in a width and order of bytes that somebody may read.
fn lie(bytes: &mut [u8], at: usize, dice: &mut Dice) {
    let number = ODD[dice.below(ODD.len())];
    let width = [2, 4, 8][dice.below(3)];
    let mut written = number.to_le_bytes();
    if dice.below(2) == 0 {
        written[..width].reverse();
    }
    let end = bytes.len().min(at + width);
    bytes[at..end].copy_from_slice(&written[..end - at]);
}
