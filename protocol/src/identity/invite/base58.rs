//! Base 58: the densest spelling of bytes in characters that a double click selects as one word and
//! that nobody takes for each other (no `0`, `O`, `I`, `l`). Quadratic in the length, so it is for
//! short things; leading zero bytes are kept as leading `1`s.

const DIGITS: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// Spells `bytes`.
pub(super) fn encode(bytes: &[u8]) -> String {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    // The number's digits, least significant first.
    let mut digits: Vec<u8> = Vec::new();
    for byte in &bytes[zeros..] {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += u32::from(*digit) << 8;
            *digit = low(carry % 58);
            carry /= 58;
        }
        while carry > 0 {
            digits.push(low(carry % 58));
            carry /= 58;
        }
    }
    let zeros = std::iter::repeat_n(0, zeros);
    zeros
        .chain(digits.into_iter().rev())
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

/// The bytes that `text` spells, or the first character that is no digit.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, char> {
    let zeros = text.bytes().take_while(|c| *c == DIGITS[0]).count();
    let mut bytes: Vec<u8> = Vec::new();
    for c in text.chars().skip(zeros) {
        let digit = DIGITS.iter().position(|digit| char::from(*digit) == c);
        let mut carry = u32::try_from(digit.ok_or(c)?).map_err(|_| c)?;
        for byte in &mut bytes {
            carry += u32::from(*byte) * 58;
            *byte = low(carry & 0xff);
            carry >>= 8;
        }
        while carry > 0 {
            bytes.push(low(carry & 0xff));
            carry >>= 8;
        }
    }
    bytes.extend(std::iter::repeat_n(0, zeros));
    bytes.reverse();
    Ok(bytes)
}

fn low(value: u32) -> u8 {
    u8::try_from(value).expect("a remainder below 256")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn well_known_spellings_are_kept() {
        for (bytes, text) in [
            (&b""[..], ""),
            (&[0, 0], "11"),
            (b"Hello World!", "2NEpo7TZRRrLZSi2U"),
            (&[0, 0, 0x28, 0x7f, 0xb4, 0xcd], "11233QC4"),
        ] {
            assert_eq!(encode(bytes), text);
            assert_eq!(decode(text).as_deref(), Ok(bytes));
        }
        assert_eq!(decode("2NEpo0"), Err('0'));
        assert_eq!(decode("äö"), Err('ä'));
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(decode(&encode(&bytes)), Ok(bytes));
        }
    }
}
