//! Compressing and expanding: one frame at a time, with the dictionary of its kind, always into
//! space of a size that was known and bounded before.

use std::sync::{Mutex, PoisonError};

use zstd::{
    bulk::Compressor,
    dict::EncoderDictionary,
    zstd_safe::{CParameter, DCtx, DDict, get_error_name},
};

use crate::{
    error::{PackError, Result},
    limits::{IDLE_DECODERS_MAX, SAMPLE_BYTES_MAX, SAMPLES_PER_DICTIONARY},
};

/// What compressing `bytes` bytes comes to at most.
pub(crate) const fn packed_bytes_max(bytes: usize) -> usize {
    bytes + bytes / 128 + 1024
}

/// Compresses one frame.
pub(crate) fn compress(
    bytes: &[u8],
    level: i32,
    dictionary: Option<&EncoderDictionary<'_>>,
) -> Result<Vec<u8>> {
    let refuse = |error: std::io::Error| PackError::Compress {
        reason: error.to_string(),
    };
    let mut compressor = match dictionary {
        Some(dictionary) => Compressor::with_prepared_dictionary(dictionary),
        None => Compressor::new(level),
    }
    .map_err(refuse)?;
    // Bytes are checked by their BLAKE3 hash, and the index says which dictionary.
    for parameter in [
        CParameter::ChecksumFlag(false),
        CParameter::DictIdFlag(false),
    ] {
        compressor.set_parameter(parameter).map_err(refuse)?;
    }
    compressor.compress(bytes).map_err(refuse)
}

/// Learns a dictionary of at most `bytes` bytes from samples that lie end to end in `all`.
pub(crate) fn learn(all: &[u8], lengths: &[usize], bytes: usize) -> Option<Vec<u8>> {
    if bytes == 0 || all.len() < bytes.saturating_mul(SAMPLES_PER_DICTIONARY) {
        return None;
    }
    debug_assert!(all.len() <= SAMPLE_BYTES_MAX, "samples are bounded");
    // Too few or too equal samples are no failure: there is nothing worth learning.
    zstd::dict::from_continuous(all, lengths, bytes).ok()
}

/// Contexts for expanding, kept because making one costs as much as a small frame.
#[derive(Default)]
pub(crate) struct Decoders(Mutex<Vec<DCtx<'static>>>);

impl Decoders {
    /// Expands one frame to exactly `bytes` bytes.
    pub(crate) fn expand(
        &self,
        packed: &[u8],
        bytes: u32,
        dictionary: Option<&DDict<'static>>,
    ) -> Result<Vec<u8>, &'static str> {
        let idle = self.lock().pop();
        let mut decoder = match idle {
            Some(decoder) => decoder,
            None => DCtx::try_create().ok_or("there is no memory to expand it")?,
        };
        let bytes = bytes as usize;
        let mut expanded = Vec::with_capacity(bytes);
        let result = match dictionary {
            Some(dictionary) => decoder.decompress_using_ddict(&mut expanded, packed, dictionary),
            None => decoder.decompress(&mut expanded, packed),
        };
        let mut idle = self.lock();
        if idle.len() < IDLE_DECODERS_MAX {
            idle.push(decoder);
        }
        drop(idle);
        match result {
            Ok(found) if found == bytes && expanded.len() == bytes => Ok(expanded),
            Ok(_) => Err("it expands to another number of bytes than the index says"),
            Err(code) => Err(get_error_name(code)),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<DCtx<'static>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
