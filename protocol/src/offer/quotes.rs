//! The worker's estimates: what it is offered, and what it says that would take.
//!
//! A node that has no slot bids only for what it would not have to fetch: for anything else its
//! owner finds a node that has one.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Command, Engine, JobId, Message, Offer, Reluctance, alarms::Alarm, engine::Turn, load::Spends,
    queue::Queue, resources::Takes,
};
use crate::{ids::NodeId, limits, time::Time};

/// An offer on its way to a start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quote {
    owner: NodeId,
    job: JobId,
    takes: Takes,
    spends: Spends,
    /// Whether there was a slot for it.
    has_room: bool,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// What it would have to fetch is being counted.
    Counting,
    /// The estimate was given.
    Given,
}

/// All of them, by the number of their bid.
#[derive(Debug, Default)]
pub(super) struct Quotes {
    all: BTreeMap<u64, Quote>,
    owners: BTreeMap<NodeId, usize>,
}

impl Quotes {
    fn insert(&mut self, nonce: u64, quote: Quote) {
        *self.owners.entry(quote.owner).or_default() += 1;
        self.all.insert(nonce, quote);
    }

    /// Takes an offer out.
    pub(super) fn remove(&mut self, nonce: u64) -> Option<Quote> {
        let quote = self.all.remove(&nonce)?;
        if let Some(count) = self.owners.get_mut(&quote.owner) {
            *count -= 1;
            if *count == 0 {
                self.owners.remove(&quote.owner);
            }
        }
        Some(quote)
    }

    pub(super) fn contains(&self, nonce: u64) -> bool {
        self.all.contains_key(&nonce)
    }

    /// Whose bid has this number.
    pub(super) fn owner(&self, nonce: u64) -> Option<NodeId> {
        self.all.get(&nonce).map(|quote| quote.owner)
    }

    /// Whether as many estimates are out as there are slots to be had: each may be taken at its
    /// word.
    fn are_given(&self, slots: u32) -> bool {
        let given = self.all.values().filter(|quote| quote.has_room);
        given.count() >= usize::try_from(slots).unwrap_or(usize::MAX)
    }

    fn is_full(&self, owner: NodeId) -> bool {
        let of_it = self.owners.get(&owner).copied().unwrap_or(0);
        of_it >= limits::QUOTES_PER_PEER_MAX || self.all.len() >= limits::QUOTES_MAX
    }

    fn of(&self, owner: NodeId) -> Vec<u64> {
        let all = self.all.iter();
        all.filter(|(_, quote)| quote.owner == owner)
            .map(|(nonce, _)| *nonce)
            .collect()
    }

    #[cfg(any(debug_assertions, test))]
    pub(super) fn check(&self) {
        assert_eq!(self.owners.values().sum::<usize>(), self.all.len());
        assert!(self.all.len() <= limits::QUOTES_MAX);
    }
}

impl Quote {
    pub(super) const fn spends(&self) -> Spends {
        self.spends
    }
}

impl Engine {
    /// An owner asks what one of its jobs would take here.
    pub(super) fn offered(&mut self, turn: &mut Turn<'_>, owner: NodeId, offer: Offer) {
        let job = offer.job;
        // It was restarted, or has lost what was said: it hears what it forgot.
        if self.work.is_leased(owner, job) {
            return self.beat(turn, owner);
        }
        let is_fit = self.lending
            && self.platforms.contains(&offer.platform)
            && offer.needs.within(&self.lent).is_ok();
        if !is_fit {
            return self.pass(turn, owner, job, Reluctance::Unfit);
        }
        let takes = Takes::of(&offer.needs);
        let has_room = self.has_spare(takes) && !self.quotes.are_given(self.free());
        let is_busy = !has_room && (offer.lineage.is_empty() || self.is_busy(turn.now, takes));
        if is_busy || self.quotes.is_full(owner) {
            return self.pass(turn, owner, job, Reluctance::Busy);
        }
        let cost_ms = self.cost_here_ms(&offer.platform, offer.cost_ms);
        let cost_ms = cost_ms.min(limits::ATTEMPT_MS_MAX);
        let quote = Quote {
            owner,
            job,
            takes,
            spends: Spends {
                cost_ms,
                fetch_ms: 0,
            },
            has_room,
            stage: Stage::Counting,
        };
        let nonce = self.work.take_nonce();
        self.quotes.insert(nonce, quote);
        let until = turn.now + Duration::from_millis(limits::RESERVE_MS);
        self.alarms.set(Alarm::Bid(nonce), until);
        if offer.lineage.is_empty() {
            self.quote(turn, nonce, 0);
        } else {
            turn.push(Command::Appraise {
                appraisal: nonce,
                lineage: offer.lineage,
            });
        }
    }

    fn pass(&self, turn: &mut Turn<'_>, owner: NodeId, job: JobId, why: Reluctance) {
        let most = self.lent;
        turn.send(owner, Message::Pass { job, why, most });
    }

    /// Whether no wait here is worth anything: own work waits, or there is enough for a good while.
    fn is_busy(&self, now: Time, takes: Takes) -> bool {
        let waits = |platform| self.jobs.queue(platform).is_some_and(Queue::is_wanted_here);
        self.paused
            || self.slots == 0
            || self.platforms.iter().any(waits)
            || self.wait_ms(now, takes) > limits::WAIT_MS_MAX
    }

    /// What an offer would have to fetch is counted.
    pub(super) fn appraised(
        &mut self,
        turn: &mut Turn<'_>,
        appraisal: u64,
        (missing_bytes, bytes_per_s): (u64, u64),
    ) {
        self.load.measured(bytes_per_s);
        self.hint_appraised(appraisal, missing_bytes);
        let is_open = self.quotes.all.get(&appraisal);
        if is_open.is_some_and(|quote| quote.stage == Stage::Counting) {
            self.quote(turn, appraisal, missing_bytes);
        }
    }

    fn quote(&mut self, turn: &mut Turn<'_>, nonce: u64, missing_bytes: u64) {
        let Some(quote) = self.quotes.remove(nonce) else {
            return;
        };
        if !quote.has_room && missing_bytes > 0 {
            self.alarms.clear(&Alarm::Bid(nonce));
            return self.pass(turn, quote.owner, quote.job, Reluctance::Busy);
        }
        let wait_ms = match quote.has_room {
            true => 0,
            false => {
                let others_ms = self.wanted_here_ms(turn.now, quote.owner);
                let wait_ms = self.wait_ms(turn.now, quote.takes);
                wait_ms.saturating_add(others_ms).max(1)
            }
        };
        let fetch_ms = self.load.fetch_ms(missing_bytes);
        let fetch_ms = fetch_ms.min(limits::ATTEMPT_MS_MAX);
        let (owner, job) = (quote.owner, quote.job);
        let cost_ms = quote.spends.cost_ms;
        let spends = Spends { cost_ms, fetch_ms };
        let quote = Quote {
            spends,
            stage: Stage::Given,
            ..quote
        };
        self.quotes.insert(nonce, quote);
        let bid = Message::Bid {
            nonce,
            job,
            eta_ms: wait_ms.saturating_add(spends.all_ms()),
            wait_ms,
            most: self.lent,
            offered: true,
        };
        turn.send(owner, bid);
    }

    /// An owner is gone: what it offered is of no interest.
    pub(super) fn forget_offers(&mut self, owner: NodeId) {
        for nonce in self.quotes.of(owner) {
            self.quotes.remove(nonce);
            self.alarms.clear(&Alarm::Bid(nonce));
        }
    }
}
