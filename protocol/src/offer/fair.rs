//! Whose turn it is: start-time fair queueing between the projects of one queue. Each job starts
//! where the last one of its project ends, in a time in which a project's work takes its cost by its
//! rate; the least start goes first. Who was idle begins at the queue's present, so that nobody
//! saves turns up, and who wants much waits behind itself and not before others.

use std::collections::{BTreeMap, BTreeSet};

use super::{ProjectKey, Rate};
use crate::limits;

/// Units of a queue's time in a millisecond of work at the usual rate.
const UNITS: u64 = 1_000_000;

/// What a job of this cost moves its project on.
pub(super) fn charge(cost_ms: u64, rate: Rate) -> u64 {
    // At least one, so that jobs that cost nothing have their turns too.
    let cost_ms = cost_ms.clamp(1, limits::ATTEMPT_MS_MAX);
    cost_ms * UNITS / u64::from(rate.millis()) * 1000
}

/// A project in a queue.
#[derive(Debug)]
struct Account {
    /// Where its next job starts.
    next: u64,
    /// Jobs of it that wait and could be done.
    waiting: u32,
    rate: Rate,
}

/// The time of one queue.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// What everybody who always had jobs has had by now. It moves with the work that is taken out,
    /// by all rates of those who wait together: a job that is taken out of its turn, or is stuck in
    /// front, moves it by no more than its share.
    present: u64,
    /// The rates of all projects with jobs that wait, thousandths.
    rates: u64,
    accounts: BTreeMap<ProjectKey, Account>,
    /// Those without such jobs that are ahead of the present, by how far.
    idle: BTreeSet<(u64, ProjectKey)>,
}

impl Clock {
    /// A job of a project comes: where it starts.
    pub(super) fn arrive(&mut self, project: ProjectKey, rate: Rate, charge: u64) -> u64 {
        let present = self.present;
        let account = self.enter(project, rate);
        let start = account.next.max(present);
        account.next = start.saturating_add(charge);
        start
    }

    /// A job comes back that has had its turn: it starts no later than the present.
    pub(super) fn come_back(&mut self, project: ProjectKey, rate: Rate) -> u64 {
        self.enter(project, rate);
        self.present
    }

    fn enter(&mut self, project: ProjectKey, rate: Rate) -> &mut Account {
        let account = self.accounts.entry(project).or_insert(Account {
            next: self.present,
            waiting: 0,
            rate,
        });
        if account.waiting == 0 {
            self.idle.remove(&(account.next, project));
        } else {
            self.rates -= u64::from(account.rate.millis());
        }
        account.rate = rate;
        account.waiting += 1;
        self.rates += u64::from(rate.millis());
        account
    }

    /// A job is taken out to be done.
    pub(super) fn serve(&mut self, project: ProjectKey, cost_ms: u64) {
        let cost_ms = cost_ms.clamp(1, limits::ATTEMPT_MS_MAX);
        let moved = u128::from(cost_ms * UNITS) * 1000 / u128::from(self.rates.max(1));
        let moved = u64::try_from(moved).unwrap_or(u64::MAX);
        self.present = self.present.saturating_add(moved);
        self.stand_aside(project);
    }

    /// A job that was never begun is not wanted any more: its project gets its turn back.
    pub(super) fn give_back(&mut self, project: ProjectKey, charge: u64) {
        if let Some(account) = self.accounts.get_mut(&project) {
            account.next = account.next.saturating_sub(charge);
        }
        self.stand_aside(project);
    }

    /// A job does not wait any more, or for something that is not there.
    pub(super) fn stand_aside(&mut self, project: ProjectKey) {
        if let Some(account) = self.accounts.get_mut(&project) {
            account.waiting = account.waiting.saturating_sub(1);
            if account.waiting == 0 {
                self.rates -= u64::from(account.rate.millis());
                self.idle.insert((account.next, project));
            }
        }
        if self.rates == 0
            && let Some((last, _)) = self.idle.last()
        {
            self.present = self.present.max(*last);
        }
        self.forget();
    }

    /// Forgets whom the present has caught up with: they are as good as new.
    fn forget(&mut self) {
        while let Some((next, project)) = self.idle.first().copied() {
            if next > self.present && self.idle.len() <= limits::IDLE_PROJECTS_MAX {
                return;
            }
            self.idle.pop_first();
            self.accounts.remove(&project);
        }
    }

    /// Jobs that are counted as waiting.
    #[cfg(any(debug_assertions, test))]
    pub(super) fn waiting(&self) -> usize {
        let counts = self.accounts.values().map(|account| account.waiting);
        counts.map(|count| count as usize).sum()
    }
}
