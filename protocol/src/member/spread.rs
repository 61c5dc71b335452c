//! Passing news on along the rings: at once where all has been quiet, together where it has not,
//! and never back to where it came from. What is lost on the way is found by comparison.

use std::time::Duration;

use super::{
    BATCH_BYTES, Batch, Engine, Kind, Message, RECORDS_MAX, Sealed, Slot,
    engine::{NEVER, Turn},
};
use crate::time::Time;

/// Most records that wait to be passed on; the rest is left to comparison.
const WAITING_MAX: usize = 4096;
/// Neighbours remembered to know a record already.
const KNOWN_MAX: usize = 4;

/// When a revocation is passed on once more after it came: what is lost of it is not left to a
/// comparison, which may come half a minute later.
const AGAIN: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(6)];
/// Most records that are to be passed on once more.
const AGAIN_MAX: usize = 256;

/// A record that waits.
#[derive(Debug, Clone)]
struct News {
    record: Sealed,
    known_to: [Option<Slot>; KNOWN_MAX],
}

/// What waits to be passed on.
#[derive(Debug, Clone)]
pub(super) struct Spread {
    waiting: Vec<News>,
    /// What is passed on once more, and when.
    again: Vec<(Time, Sealed)>,
    /// When to pass it on.
    pub(super) flush_at: Time,
    /// Not before this.
    quiet_until: Time,
}

impl Default for Spread {
    fn default() -> Self {
        Self {
            waiting: Vec::new(),
            again: Vec::new(),
            flush_at: NEVER,
            quiet_until: Time::default(),
        }
    }
}

impl Spread {
    /// A record is new here; `from` knows it.
    pub(super) fn add(&mut self, record: &Sealed, from: Option<Slot>, now: Time) {
        let news = News {
            record: record.clone(),
            known_to: [from, None, None, None],
        };
        // Of a member's words only the last is passed on: whoever speaks without end is no louder for it.
        let replaced = |waiting: &&mut News| {
            record.kind == Kind::Presence
                && waiting.record.kind == record.kind
                && waiting.record.subject == record.subject
        };
        if let Some(waiting) = self.waiting.iter_mut().find(replaced) {
            *waiting = news;
        } else if self.waiting.len() < WAITING_MAX {
            self.waiting.push(news);
        } else {
            return;
        }
        self.flush_at = self.quiet_until.max(now);
    }

    /// A record that everybody must have, and soon: it goes out some more times.
    pub(super) fn repeat(&mut self, record: &Sealed, now: Time) {
        if self.again.len() + AGAIN.len() <= AGAIN_MAX {
            let times = AGAIN.map(|pause| (now + pause, record.clone()));
            self.again.extend(times);
            self.flush_at = self.flush_at.min(self.next_again());
        }
    }

    fn next_again(&self) -> Time {
        let times = self.again.iter().map(|(when, _)| *when);
        times.min().unwrap_or(NEVER)
    }

    /// Has what is due once more among what waits.
    fn recall(&mut self, now: Time) {
        for (_, record) in self.again.extract_if(.., |(when, _)| *when <= now) {
            self.waiting.push(News {
                record,
                known_to: [None; KNOWN_MAX],
            });
        }
    }

    /// A record that is no news came from `from`: it need not be told.
    pub(super) fn also_known(&mut self, record: &Sealed, from: Option<Slot>) {
        let same = |news: &&mut News| {
            let waiting = &news.record;
            waiting.kind == record.kind
                && waiting.version == record.version
                && waiting.subject == record.subject
        };
        if let Some(news) = self.waiting.iter_mut().find(same)
            && let Some(free) = news.known_to.iter_mut().find(|known| known.is_none())
        {
            *free = from;
        }
    }
}

impl Engine {
    /// Sends each neighbour what waits and it is not known to know.
    pub(super) fn flush(&mut self, turn: &mut Turn<'_>) {
        self.spread.recall(turn.now.time);
        let waiting = std::mem::take(&mut self.spread.waiting);
        self.spread.flush_at = self.spread.next_again();
        self.spread.quiet_until = turn.now.time + self.setup.tuning.batch;
        // Most often all of it is new to all but one, so that one batch serves them all.
        let mut last = (0_u64, Vec::new());
        for waiting in waiting.chunks(u64::BITS as usize) {
            for slot in self.watch.slots() {
                let mask = waiting.iter().zip(0..).fold(0, |mask, (news, at)| {
                    let known = news.known_to.contains(&Some(*slot));
                    mask | u64::from(!known) << at
                });
                if last.0 != mask {
                    let new = waiting
                        .iter()
                        .zip(0..)
                        .filter(|(_, at)| mask >> at & 1 == 1);
                    last = (mask, batches(new.map(|(news, _)| &news.record)));
                }
                if mask != 0 {
                    for batch in &last.1 {
                        turn.send(*slot, Message::Records(batch.clone()));
                    }
                }
            }
            last = (0, Vec::new());
        }
    }
}

/// Records in as few messages as their bounds allow.
pub(super) fn batches<'a>(records: impl Iterator<Item = &'a Sealed>) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut batch: Vec<Sealed> = Vec::new();
    let mut bytes = 0;
    for record in records {
        let size = weight(record);
        if !batch.is_empty() && (bytes + size > BATCH_BYTES || batch.len() >= RECORDS_MAX) {
            batches.push(Batch(std::mem::take(&mut batch).into()));
            bytes = 0;
        }
        bytes += size;
        batch.push(record.clone());
    }
    if !batch.is_empty() {
        batches.push(Batch(batch.into()));
    }
    batches
}

/// What a record takes up in a message.
pub(super) fn weight(record: &Sealed) -> usize {
    record.bytes.len() + 64
}
