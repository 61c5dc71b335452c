//! What a step prints, on its way into its log: secrets are taken out first, then it is cut at the
//! step's bound, and its end is kept for the words of a failure. Nothing that is a secret is ever
//! in the log, the end or a message.

use caravan_protocol::ids::BlobId;
use caravan_store::{LogWriter, StoreError};

use super::redact::Redactor;

/// Bytes from the end of a step's log in which its words are looked for.
const TAIL_BYTES: usize = 256 * 1024;

/// A step's output as far as it has come.
pub(super) struct Printed {
    log: LogWriter,
    redactor: Option<Redactor>,
    /// Bytes that still fit.
    left: u64,
    tail: Vec<u8>,
    fresh: Vec<u8>,
    /// Whether a line has begun and not ended.
    mid_line: bool,
}

impl Printed {
    /// Goes into `log`, at most `max` bytes.
    pub(super) fn new(log: LogWriter, max: u64, redactor: Option<Redactor>) -> Self {
        Self {
            left: max.min(log.room()),
            log,
            redactor,
            tail: Vec::new(),
            fresh: Vec::new(),
            mid_line: false,
        }
    }

    /// Bytes that still fit.
    pub(super) const fn room(&self) -> u64 {
        self.left
    }

    /// Adds a line of the node's own, looked at for secrets as all others are.
    pub(super) fn say(&mut self, line: &str) -> Result<(), StoreError> {
        let start = if self.mid_line { "\n" } else { "" };
        self.take(format!("{start}caravan: {line}\n").as_bytes())
    }

    /// Takes more of it. What is beyond the bound is left out, but is looked at: a secret that begins
    /// before the bound is a secret, and not the bytes before the bound.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.mid_line = bytes.last().map_or(self.mid_line, |last| *last != b'\n');
        let Some(redactor) = &mut self.redactor else {
            return self.keep(bytes);
        };
        let mut fresh = std::mem::take(&mut self.fresh);
        fresh.clear();
        redactor.pass(bytes, &mut fresh);
        let kept = self.keep(&fresh);
        self.fresh = fresh;
        kept
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX);
        let fits = &bytes[..bytes.len().min(room)];
        self.log.append(fits)?;
        self.left -= fits.len() as u64;
        self.tail.extend_from_slice(fits);
        if self.tail.len() > 2 * TAIL_BYTES {
            self.tail.drain(..self.tail.len() - TAIL_BYTES);
        }
        Ok(())
    }

    /// Ends it, with a line that says why if something cut it short. Gives the log and its end.
    pub(super) fn end(mut self, cut_short: Option<&str>) -> Result<(BlobId, String), StoreError> {
        if let Some(mut redactor) = self.redactor.take() {
            let mut rest = Vec::new();
            redactor.end(&mut rest);
            self.keep(&rest)?;
        }
        if let Some(why) = cut_short {
            self.log.last_words(&format!("caravan: {why}"))?;
        }
        let tail = String::from_utf8_lossy(&self.tail).into_owned();
        Ok((self.log.finish()?, tail))
    }
}

#[cfg(test)]
mod tests;
