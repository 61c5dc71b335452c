//! Secrets do not get into logs: every stretch of a step's output that is one becomes `***`, however
//! the output is cut into pieces. Besides the value itself, its lines, its base64 and its URL
//! encoding are looked for (`forms`).
//!
//! Each longest run of bytes that belong to an occurrence of any secret becomes one mark, so
//! secrets that overlap do not give parts of each other away. A step that is determined to print a
//! secret can always disguise it; this is for accidents. Named outputs and layers are what the step
//! made of them and are left alone.
//!
//! The redactor owns its copy of the values and wipes it. It never shows one: not in an error, not
//! in its debug form.

use std::{collections::VecDeque, ops::Range};

use caravan_protocol::limits::SECRETS_MAX;
use zeroize::Zeroizing;

use self::automaton::Automaton;

mod automaton;
mod forms;

/// What a secret becomes. It is shorter than any secret, so output never grows.
const MARK: &[u8] = b"***";
/// Shortest secret that can be redacted, bytes: a shorter one is in every log by chance.
pub(crate) const SECRET_BYTES_MIN: usize = 4;
/// Largest secret, bytes.
pub(crate) const SECRET_BYTES_MAX: usize = 512 * 1024;
/// Most bytes of all forms of all secrets of one step, where common beginnings count once. Each
/// takes 24 bytes of memory; a secret of ordinary text has about twenty for each of its own.
const FORMS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why secrets cannot be redacted. A step that would be given them must not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RedactError {
    /// It would be found everywhere.
    #[error(
        "redact secret {id:?}: it has fewer than {SECRET_BYTES_MIN} bytes besides white space, so it \
         would be found everywhere; use a longer one"
    )]
    Short {
        /// The secret's name.
        id: String,
    },
    /// It is not a secret but a file.
    #[error("redact secret {id:?}: it has {found} bytes and may have {SECRET_BYTES_MAX}")]
    Long {
        /// The secret's name.
        id: String,
        /// Its length.
        found: usize,
    },
    /// There are more than a step can have.
    #[error("redact {found} secrets: a step may have {SECRETS_MAX}")]
    TooMany {
        /// How many.
        found: usize,
    },
    /// All together are more than can be looked for.
    #[error(
        "redact secret {id:?}: with it the step's secrets are too large in all; use shorter ones"
    )]
    TooMuch {
        /// The first secret that did not fit.
        id: String,
    },
}

/// Takes the secrets out of one step's output as it passes.
pub(crate) struct Redactor {
    automaton: Automaton,
    /// Where in the automaton the bytes so far have led.
    state: u32,
    /// Bytes seen.
    at: u64,
    /// The last bytes seen, from `head` on: those that may yet turn out to be part of a secret.
    held: Zeroizing<Vec<u8>>,
    head: usize,
    /// Which of them, or of those before, are known to be secret; apart from each other, in order.
    secret: VecDeque<Range<u64>>,
    /// Where the last secret ended of which a mark has been given out.
    marked: Option<u64>,
}

impl Redactor {
    /// For these secrets: names and values.
    pub(crate) fn new(secrets: &[(&str, &[u8])]) -> Result<Self, RedactError> {
        let found = secrets.len();
        if found > SECRETS_MAX {
            return Err(RedactError::TooMany { found });
        }
        let mut all: Vec<Zeroizing<Vec<u8>>> = Vec::new();
        for (id, value) in secrets {
            let id = || (*id).to_owned();
            let found = value.len();
            if value.trim_ascii().len() < SECRET_BYTES_MIN {
                return Err(RedactError::Short { id: id() });
            }
            if found > SECRET_BYTES_MAX {
                return Err(RedactError::Long { id: id(), found });
            }
            all.extend(forms::of(value));
            all.sort_by(|a, b| a.as_slice().cmp(b));
            all.dedup_by(|a, b| a.as_slice() == b.as_slice());
            if automaton::size(&all) > FORMS_BYTES_MAX {
                return Err(RedactError::TooMuch { id: id() });
            }
        }
        let automaton = Automaton::new(&all);
        let longest = all.iter().map(|form| form.len()).max().unwrap_or(0);
        Ok(Self {
            automaton,
            state: 0,
            at: 0,
            // Never grown, so that no copy of what it holds stays behind.
            held: Zeroizing::new(Vec::with_capacity(2 * longest + 1)),
            head: 0,
            secret: VecDeque::new(),
            marked: None,
        })
    }

    /// Appends to `out` what can be said of `bytes` and of what was held back before. Held back are
    /// fewer bytes than the longest form of a secret has.
    pub(crate) fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.state == 0 {
                // Nothing is held: go to where the next secret could begin.
                let may_begin = |byte: &u8| self.automaton.begins(*byte);
                let plain = rest.iter().position(may_begin).unwrap_or(rest.len());
                out.extend_from_slice(&rest[..plain]);
                self.at += plain as u64;
                rest = &rest[plain..];
            }
            if let Some((byte, after)) = rest.split_first() {
                rest = after;
                self.step(*byte, out);
            }
        }
    }

    /// Appends what was held back: the output is at its end.
    pub(crate) fn end(&mut self, out: &mut Vec<u8>) {
        self.release(self.at, out);
        self.state = 0;
    }

    fn step(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.hold(byte);
        self.state = self.automaton.step(self.state, byte);
        let found = self.automaton.longest(self.state);
        if found > 0 {
            self.found(self.at - u64::from(found)..self.at);
        }
        let hold = u64::from(self.automaton.hold(self.state));
        self.release(self.at - hold, out);
    }

    fn hold(&mut self, byte: u8) {
        if self.held.len() == self.held.capacity() {
            let held = self.held.len() - self.head;
            self.held.copy_within(self.head.., 0);
            self.held.truncate(held);
            self.head = 0;
        }
        self.held.push(byte);
        self.at += 1;
    }

    /// Takes note of an occurrence of a secret that ends where all others end or before.
    fn found(&mut self, mut range: Range<u64>) {
        while let Some(last) = self.secret.back()
            && last.end >= range.start
        {
            range.start = range.start.min(last.start);
            self.secret.pop_back();
        }
        self.secret.push_back(range);
    }

    /// Gives out what is held before `limit`; no secret that is yet to be found begins there.
    fn release(&mut self, limit: u64, out: &mut Vec<u8>) {
        let mut from = self.at - (self.held.len() - self.head) as u64;
        while from < limit {
            let to = match self.secret.front() {
                Some(secret) if secret.start <= from => {
                    let to = secret.end.min(limit);
                    if secret.end <= limit {
                        self.secret.pop_front();
                    }
                    if self.marked != Some(from) {
                        out.extend_from_slice(MARK);
                    }
                    self.marked = Some(to);
                    self.head += length(to - from);
                    to
                }
                next => {
                    let to = next.map_or(limit, |secret| secret.start.min(limit));
                    let plain = self.head..self.head + length(to - from);
                    out.extend_from_slice(&self.held[plain.clone()]);
                    self.head = plain.end;
                    to
                }
            };
            from = to;
        }
        if self.head == self.held.len() {
            self.held.clear();
            self.head = 0;
        }
    }
}

fn length(held: u64) -> usize {
    usize::try_from(held).expect("what is held is in memory")
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor(after {} bytes)", self.at)
    }
}

#[cfg(test)]
mod tests;
