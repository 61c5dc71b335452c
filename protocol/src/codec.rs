//! The only place that knows the wire and disk encoding: bincode 2 with the standard
//! configuration, always with a limit, always consuming the whole input. Ids and signatures are
//! over bytes as received; nothing is ever re-encoded to check a signature.
//!
//! **Rules for types that pass here:** no recursive types (a decoder's stack is not bounded by a
//! byte limit), and enum variants are only ever appended.

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use serde::{Serialize, de::DeserializeOwned};

/// Why bytes were not taken or a value was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Input or output is larger than the caller allows.
    #[error("handle {bytes} bytes where at most {max} are allowed")]
    TooLarge {
        /// Size at hand.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// Bytes follow the value.
    #[error("decode a value: {extra} bytes follow it")]
    Trailing {
        /// How many.
        extra: usize,
    },
    /// Not an encoding of the wanted type.
    #[error("decode a value: {reason}")]
    Malformed {
        /// The decoder's words.
        reason: String,
    },
    /// The value has no encoding.
    #[error("encode a value: {reason}")]
    Unencodable {
        /// The encoder's words.
        reason: String,
    },
}

// Fixed-width integers: one value has one encoding, so equal values give equal bytes and ids.
type Bounded<const N: usize> = Configuration<LittleEndian, Fixint, Limit<N>>;

fn config<const N: usize>() -> Bounded<N> {
    bincode::config::standard()
        .with_little_endian()
        .with_fixed_int_encoding()
        .with_limit::<N>()
}

/// Encodes `value` into at most `N` bytes.
pub fn encode<const N: usize>(value: &impl Serialize) -> Result<Vec<u8>, CodecError> {
    let bytes = bincode::serde::encode_to_vec(value, config::<N>()).map_err(|error| {
        CodecError::Unencodable {
            reason: error.to_string(),
        }
    })?;
    if bytes.len() > N {
        return Err(CodecError::TooLarge {
            bytes: bytes.len(),
            max: N,
        });
    }
    Ok(bytes)
}

/// Decodes a value that takes up all of `bytes`, which are at most `N`.
pub fn decode<const N: usize, T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    if bytes.len() > N {
        return Err(CodecError::TooLarge {
            bytes: bytes.len(),
            max: N,
        });
    }
    let (value, used) =
        bincode::serde::decode_from_slice(bytes, config::<N>()).map_err(|error| {
            CodecError::Malformed {
                reason: error.to_string(),
            }
        })?;
    if used != bytes.len() {
        return Err(CodecError::Trailing {
            extra: bytes.len() - used,
        });
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_length_beyond_the_limit_is_refused_without_allocating_it() {
        // A vector that says it holds 2^40 bytes.
        let mut bytes = (1u64 << 40).to_le_bytes().to_vec();
        bytes.extend_from_slice(b"abc");
        let decoded: Result<Vec<u8>, _> = decode::<1024, _>(&bytes);
        assert!(
            matches!(decoded, Err(CodecError::Malformed { .. })),
            "{decoded:?}"
        );
    }

    #[test]
    fn trailing_bytes_and_oversized_input_are_refused() {
        let mut bytes = encode::<64>(&7u32).expect("four bytes");
        bytes.push(0);
        assert_eq!(
            decode::<64, u32>(&bytes),
            Err(CodecError::Trailing { extra: 1 })
        );
        assert!(matches!(
            decode::<2, u32>(&bytes),
            Err(CodecError::TooLarge { .. })
        ));
        assert!(encode::<2>(&7u32).is_err());
    }

    #[test]
    fn golden_bytes_of_the_encoding_stay_the_same() {
        let value = (1u8, Some(300u32), vec!["ab".to_owned()], [7u8; 2]);
        let bytes = encode::<64>(&value).expect("small");
        let golden = [
            1, 1, 44, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 97, 98, 7, 7,
        ];
        assert_eq!(bytes, golden);
        assert_eq!(
            decode::<64, (u8, Option<u32>, Vec<String>, [u8; 2])>(&golden),
            Ok(value)
        );
    }
}
