//! The only place that knows the wire and disk encoding: bincode 2 with integers of fixed width,
//! always with a limit, always consuming the whole input. Ids and signatures are over bytes as
//! received; nothing is ever re-encoded to check a signature.
//!
//! **One value, one encoding.** What is decoded is written again and compared, without a copy: a map
//! whose keys are out of order or there twice is refused like any other damage. Texts are bytes; they
//! are never normalised.
//!
//! **Bounded memory.** The decoder is our own, for the library's trusts a length before its elements
//! have come. It grows what it makes as bytes arrive, and keeps account: a value that would need more
//! than twice its limit is refused before the memory is taken. (While a list moves to where it has
//! more room, what it has left is there for that moment, too.)
//!
//! **Rules for types that pass here:** no recursive types (a decoder's stack is not bounded by a
//! byte limit), no collection of things that take no bytes, and enum variants are only ever appended.

use bincode::{
    config::{Configuration, Fixint, Limit, LittleEndian},
    enc::write::Writer,
    error::EncodeError,
};
use serde::{Serialize, de::DeserializeOwned};

mod read;

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
    /// The value would take more memory than its bytes are worth.
    #[error("decode a value: it needs more than {max} bytes of memory")]
    TooDense {
        /// The bound.
        max: usize,
    },
    /// The value has another encoding than these bytes.
    #[error("decode a value: it is written in another way than values are")]
    NotCanonical,
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

/// Decodes a value that takes up all of `bytes`, which are at most `N` and the only ones that the
/// value is written as. What is made takes at most twice `N` bytes of memory.
pub fn decode<const N: usize, T: Serialize + DeserializeOwned>(
    bytes: &[u8],
) -> Result<T, CodecError> {
    if bytes.len() > N {
        return Err(CodecError::TooLarge {
            bytes: bytes.len(),
            max: N,
        });
    }
    let mut reader = read::Reader::new(bytes, N.saturating_mul(2));
    let value = T::deserialize(&mut reader)?;
    let extra = reader.left();
    if extra > 0 {
        return Err(CodecError::Trailing { extra });
    }
    let mut same = Same(bytes);
    let written = bincode::serde::encode_into_writer(&value, &mut same, config::<N>());
    if written.is_err() || !same.0.is_empty() {
        return Err(CodecError::NotCanonical);
    }
    Ok(value)
}

/// Takes only the bytes that it was made with.
struct Same<'a>(&'a [u8]);

impl Writer for Same<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        match self.0.split_at_checked(bytes.len()) {
            Some((same, rest)) if same == bytes => {
                self.0 = rest;
                Ok(())
            }
            _ => Err(EncodeError::Other("other bytes")),
        }
    }
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

    #[test]
    fn keys_out_of_order_or_there_twice_are_refused() {
        use std::collections::{BTreeMap, BTreeSet};
        let entry = |key: u8| [key, key + 1];
        let written = |keys: &[u8]| {
            let mut bytes = (keys.len() as u64).to_le_bytes().to_vec();
            bytes.extend(keys.iter().flat_map(|key| entry(*key)));
            bytes
        };
        let read = |keys: &[u8]| decode::<64, BTreeMap<u8, u8>>(&written(keys));
        assert_eq!(read(&[1, 2]), Ok(BTreeMap::from([(1, 2), (2, 3)])));
        assert_eq!(read(&[2, 1]), Err(CodecError::NotCanonical));
        assert_eq!(read(&[1, 1]), Err(CodecError::NotCanonical));
        let mut set = 2u64.to_le_bytes().to_vec();
        set.extend([7, 7]);
        let read = decode::<64, BTreeSet<u8>>(&set);
        assert_eq!(read, Err(CodecError::NotCanonical));
    }

    #[test]
    fn other_bytes_for_a_flag_or_an_option_are_refused() {
        for flag in 2..=255u8 {
            assert!(decode::<8, bool>(&[flag]).is_err(), "{flag} was taken");
            assert!(decode::<8, Option<u8>>(&[flag, 1]).is_err());
        }
        assert_eq!(decode::<8, Option<u8>>(&[1, 7]), Ok(Some(7)));
        assert!(decode::<8, Result<u8, u8>>(&[2, 0, 0, 0, 1]).is_err());
        assert!(decode::<16, String>(&[1, 0, 0, 0, 0, 0, 0, 0, 255]).is_err());
    }

    #[test]
    fn a_value_that_needs_more_memory_than_twice_the_limit_is_refused() {
        // Empty texts: eight bytes each on the wire, three times as many in memory.
        let texts = vec![String::new(); 500];
        let bytes = encode::<4096>(&texts).expect("4008 bytes");
        let refused = decode::<4096, Vec<String>>(&bytes);
        assert_eq!(refused, Err(CodecError::TooDense { max: 8192 }));
        assert_eq!(decode::<16384, Vec<String>>(&bytes), Ok(texts));
    }

    #[test]
    fn elements_that_take_no_bytes_cannot_be_promised() {
        let bytes = u64::MAX.to_le_bytes();
        assert!(decode::<64, Vec<()>>(&bytes).is_err());
        assert!(decode::<64, std::collections::BTreeMap<(), ()>>(&bytes).is_err());
    }

    type Anything = Vec<(
        Option<String>,
        std::collections::BTreeMap<u16, u8>,
        Result<i64, bool>,
        [u32; 2],
    )>;

    fn anything() -> impl proptest::strategy::Strategy<Value = Anything> {
        use proptest::{collection, option, prelude::any, result};
        let map = collection::btree_map(any::<u16>(), any::<u8>(), 0..4);
        let either = result::maybe_ok(any::<i64>(), any::<bool>());
        let one = (option::of("[a-zé]{0,8}"), map, either, any::<[u32; 2]>());
        collection::vec(one, 0..4)
    }

    proptest::proptest! {
        /// The reading half is ours: it reads what the library reads, where that is canonical.
        #[test]
        fn what_is_read_is_what_the_library_reads(
            value in anything(),
            at: proptest::sample::Index,
            byte: u8,
            cut: bool,
        ) {
            let mut bytes = encode::<65536>(&value).expect("small");
            proptest::prop_assert_eq!(decode::<65536, Anything>(&bytes), Ok(value));
            let at = at.index(bytes.len());
            match cut {
                true => bytes.truncate(at),
                false => bytes[at] = byte,
            }
            let theirs = bincode::serde::decode_from_slice::<Anything, _>(&bytes, config::<65536>());
            let theirs = theirs.ok().filter(|(value, _)| {
                encode::<65536>(value).is_ok_and(|again| again == bytes)
            });
            let ours = decode::<65536, Anything>(&bytes);
            proptest::prop_assert_eq!(ours.ok(), theirs.map(|(value, _)| value));
        }
    }
}
