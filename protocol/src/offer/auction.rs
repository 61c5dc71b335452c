//! The owner's offers: a job that begins to wait is offered once to a few candidates, and the lowest
//! estimate wins, this node's own among them.
//!
//! No candidate keeps a slot for an offer. Should one win that has what is below the job and no slot
//! yet, the job is kept for it, until somebody would have it done sooner. Who has said that it is
//! full is not asked again before it shows that it has room; what nobody took is named in digests.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    Engine, JobId, Message, Offer, Reluctance,
    alarms::Alarm,
    bargain::weight,
    engine::Turn,
    jobs::{Bid, Job, State},
};
use crate::{action::Limits, ids::NodeId, limits, time::Time};

/// What goes on about a job that waits and may leave.
#[derive(Debug)]
pub(super) enum Auction {
    /// Candidates were asked; these have not answered.
    Asking {
        asked: BTreeSet<NodeId>,
        /// Whether the time for better bids is over: the first that comes wins.
        late: bool,
    },
    /// It is kept for that node, which would have done it by then.
    Kept { node: NodeId, due: Time },
    /// All were asked: who has room will say so.
    Parked,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Auctions {
    all: BTreeMap<JobId, Auction>,
    /// How many of them are not over.
    open: usize,
    kept: BTreeMap<NodeId, BTreeSet<JobId>>,
}

impl Auctions {
    pub(super) fn get(&self, job: JobId) -> Option<&Auction> {
        self.all.get(&job)
    }

    fn set(&mut self, job: JobId, auction: Auction) {
        self.end(job);
        match &auction {
            Auction::Kept { node, .. } => _ = self.kept.entry(*node).or_default().insert(job),
            Auction::Asking { .. } => self.open += 1,
            Auction::Parked => {}
        }
        self.all.insert(job, auction);
    }

    pub(super) fn end(&mut self, job: JobId) {
        match self.all.remove(&job) {
            Some(Auction::Kept { node, .. }) => {
                if let Some(jobs) = self.kept.get_mut(&node) {
                    jobs.remove(&job);
                    if jobs.is_empty() {
                        self.kept.remove(&node);
                    }
                }
            }
            Some(Auction::Asking { .. }) => self.open -= 1,
            Some(Auction::Parked) | None => {}
        }
    }

    /// What is kept for a node.
    pub(super) fn kept(&self, node: NodeId) -> impl Iterator<Item = JobId> {
        self.kept.get(&node).into_iter().flatten().copied()
    }

    pub(super) fn kept_len(&self, node: NodeId) -> usize {
        self.kept.get(&node).map_or(0, BTreeSet::len)
    }

    #[cfg(any(debug_assertions, test))]
    pub(super) fn iter(&self) -> impl Iterator<Item = (&JobId, &Auction)> {
        self.all.iter()
    }
}

fn ms(now: Time, then: Time) -> u64 {
    u64::try_from(now.since(then).as_millis()).unwrap_or(u64::MAX)
}

impl Engine {
    /// Offers what waits, as long as there is somebody to ask.
    pub(super) fn offer_waiting(&mut self, turn: &mut Turn<'_>) {
        while self.auctions.open < limits::AUCTIONS_MAX
            && let Some(id) = self.first_open()
        {
            self.ask(turn, id);
        }
    }

    fn first_open(&self) -> Option<JobId> {
        let platforms = self.jobs.platforms();
        let asked = platforms.filter(|platform| self.crowd.any_ready(platform));
        asked
            .filter_map(|platform| self.jobs.first_open(platform))
            .min()
            .map(|rank| rank.job)
    }

    fn ask(&mut self, turn: &mut Turn<'_>, id: JobId) {
        self.jobs.shelve(id);
        // It has become urgent meanwhile.
        if self.auctions.get(id).is_some() {
            return;
        }
        let candidates = self.candidates(id, turn.now);
        let Some(job) = self.jobs.get(id) else {
            return;
        };
        let own = usize::from(self.fits_here(job));
        let want = &job.want;
        let offer = Offer {
            job: id,
            platform: want.platform.clone(),
            priority: want.priority,
            cost_ms: want.cost_ms,
            needs: want.needs,
            lineage: want.lineage.clone(),
            candidates: u8::try_from(candidates.len() + own).unwrap_or(u8::MAX),
        };
        for node in &candidates {
            turn.send(*node, Message::Offer(Box::new(offer.clone())));
        }
        if candidates.is_empty() {
            self.say_if_news(turn, id);
            return self.auctions.set(id, Auction::Parked);
        }
        let asked = candidates.into_iter().collect();
        let auction = Auction::Asking { asked, late: false };
        self.auctions.set(id, auction);
        let by = turn.now + Duration::from_millis(limits::BID_MS);
        self.alarms.set(Alarm::Bids(id), by);
    }

    /// A candidate answers an offer with an estimate.
    pub(super) fn quoted(&mut self, turn: &mut Turn<'_>, id: JobId, bid: Bid) {
        let Some(late) = self.answered(id, bid.node) else {
            return;
        };
        if bid.wait_ms == 0 {
            self.shows_room(bid.node);
            if let Some(kept) = self.first_kept(&bid, turn.now) {
                self.award(turn, kept, bid);
                return self.choose_if_all(turn, id, false);
            }
        }
        let is_good = self.jobs.get(id).is_some_and(|job| {
            self.may_award(job, bid.node, turn.now) && job.want.needs.within(&bid.most).is_ok()
        });
        if is_good && let Some(bids) = self.jobs.get_mut(id).and_then(Job::bids_mut) {
            bids.push(bid);
        }
        self.choose_if_all(turn, id, late && is_good);
    }

    /// A candidate does not want what it was offered.
    pub(super) fn passed(
        &mut self,
        turn: &mut Turn<'_>,
        from: NodeId,
        id: JobId,
        (why, most): (Reluctance, Limits),
    ) {
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.most = Some(most);
        }
        if self.second_passed(turn, id, from) {
            return;
        }
        // Else it would have a say in who else is asked.
        if self.answered(id, from).is_none() {
            return;
        }
        match why {
            Reluctance::Busy => self.rest(turn.now, from),
            Reluctance::Unfit => {
                let until = turn.now + Duration::from_millis(limits::EXCLUDE_MS);
                if let Some(job) = self.jobs.get_mut(id) {
                    job.excluded.insert(from, until);
                }
            }
        }
        self.choose_if_all(turn, id, false);
    }

    /// Notes that a candidate has answered; whether it is late with it.
    pub(super) fn answered(&mut self, id: JobId, from: NodeId) -> Option<bool> {
        match self.auctions.all.get_mut(&id) {
            Some(Auction::Asking { asked, late }) => asked.remove(&from).then_some(*late),
            _ => None,
        }
    }

    fn choose_if_all(&mut self, turn: &mut Turn<'_>, id: JobId, at_once: bool) {
        if at_once || self.all_answered(id) {
            self.choose(turn, id);
        }
    }

    /// Whether nobody is asked any more who has not answered.
    pub(super) fn all_answered(&self, id: JobId) -> bool {
        matches!(
            self.auctions.get(id),
            Some(Auction::Asking { asked, .. }) if asked.is_empty()
        )
    }

    /// A node has no room: it is not asked for a while.
    pub(super) fn rest(&mut self, now: Time, node: NodeId) {
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        let rest_ms = (limits::PASS_MS << peer.passes.min(8)).min(limits::PASS_MS_MAX);
        peer.passes += 1;
        self.crowd.rest(node);
        let until = now + Duration::from_millis(rest_ms);
        self.alarms.set(Alarm::Peer(node), until);
    }

    /// A node may have room again.
    pub(super) fn rested(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.get(&node) {
            self.crowd.wake(node, &peer.platforms);
        }
        self.alarms.clear(&Alarm::Peer(node));
    }

    /// A node has just shown that it has room.
    pub(super) fn shows_room(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node)
            && peer.passes > 0
        {
            peer.passes = 0;
            self.rested(node);
        }
    }

    /// Enough waiting: for better bids, for any, or for the node that a job is kept for.
    pub(super) fn auction_due(&mut self, turn: &mut Turn<'_>, id: JobId) {
        let has_bids = self
            .jobs
            .get(id)
            .is_some_and(|job| matches!(job.state(), State::Waiting(bids) if !bids.is_empty()));
        let silent = match self.auctions.all.get_mut(&id) {
            _ if has_bids => return self.choose(turn, id),
            None | Some(Auction::Parked) => return,
            Some(Auction::Kept { .. }) => return self.reopen(id),
            Some(Auction::Asking { late, .. }) if !*late => {
                *late = true;
                let by = turn.now + Duration::from_millis(limits::OFFER_MS);
                return self.alarms.set(Alarm::Bids(id), by);
            }
            Some(Auction::Asking { asked, .. }) => std::mem::take(asked),
        };
        for node in silent {
            self.rest(turn.now, node);
        }
        self.park(turn, id);
    }

    /// Nobody who was asked will have it: it waits until somebody does.
    fn park(&mut self, turn: &mut Turn<'_>, id: JobId) {
        self.say_if_news(turn, id);
        self.alarms.clear(&Alarm::Bids(id));
        self.jobs.shelve(id);
        self.auctions.set(id, Auction::Parked);
        self.sort_again(id);
        if let Some(job) = self.jobs.get(id) {
            self.gossip.freshen(&job.want.platform);
        }
    }

    /// The job can be offered anew.
    pub(super) fn reopen(&mut self, id: JobId) {
        self.auctions.end(id);
        self.alarms.clear(&Alarm::Bids(id));
        self.jobs.unshelve(id);
        self.sort_again(id);
    }

    /// Gives a job to the best of its bidders, or keeps it for it.
    pub(super) fn choose(&mut self, turn: &mut Turn<'_>, id: JobId) {
        let Some(job) = self.jobs.get(id) else {
            return;
        };
        let State::Waiting(bids) = job.state() else {
            return;
        };
        let cost_ms = job.want.cost_ms;
        let waited_ms = ms(turn.now, job.since);
        let worth = |bid: &&Bid| {
            // Whatever it says, it is not done before it begins.
            let said_ms = bid.eta_ms.max(bid.wait_ms.saturating_add(cost_ms / 8));
            let eta_ms = self.crowd.believed_ms(bid.node, said_ms, cost_ms);
            let ahead_ms = match bid.wait_ms {
                0 => 0,
                _ => self.ahead_ms(bid.node, cost_ms).saturating_add(waited_ms),
            };
            (eta_ms.saturating_add(ahead_ms), weight(bid.node, id))
        };
        let best = bids.iter().min_by_key(worth).copied();
        let best_ms = best.map(|bid| worth(&&bid).0);
        let losers: Vec<Bid> = bids
            .iter()
            .copied()
            .filter(|bid| Some(*bid) != best)
            .collect();
        // Nobody waits for an answer to what was asked.
        self.loose
            .extend(losers.into_iter().filter(|bid| !bid.offered));
        let own_ms = self.estimate_here(id, turn.now);
        if let Some(bids) = self.jobs.get_mut(id).and_then(Job::bids_mut) {
            bids.clear();
        }
        let own_wins = own_ms.filter(|own| best_ms.is_some_and(|best| *own <= best));
        match (own_wins, best) {
            (Some(own_ms), Some(best)) => {
                self.loose.extend(Some(best).filter(|bid| !bid.offered));
                self.keep(turn.now, id, (self.me, own_ms), own_ms);
            }
            (_, Some(best)) if best.wait_ms == 0 || !best.offered => self.award(turn, id, best),
            (_, Some(best)) => {
                let ahead_ms = self.ahead_ms(best.node, cost_ms);
                let wait_ms = best.wait_ms.saturating_add(ahead_ms);
                let eta_ms = best.eta_ms.saturating_add(ahead_ms);
                self.keep(turn.now, id, (best.node, eta_ms), wait_ms);
            }
            (_, None) => self.park(turn, id),
        }
    }

    /// How long what is kept for a node takes it before something of this cost.
    fn ahead_ms(&self, node: NodeId, cost_ms: u64) -> u64 {
        let kept = u64::try_from(self.auctions.kept_len(node)).unwrap_or(u64::MAX);
        cost_ms.saturating_mul(kept)
    }

    /// Keeps a job for a node until well after the time that it has named.
    fn keep(&mut self, now: Time, id: JobId, (node, eta_ms): (NodeId, u64), wait_ms: u64) {
        let eta_ms = eta_ms.min(limits::ATTEMPT_MS_MAX);
        let due = now + Duration::from_millis(eta_ms);
        self.jobs.shelve(id);
        self.auctions.set(id, Auction::Kept { node, due });
        self.sort_again(id);
        let wait_ms = wait_ms.min(limits::WAIT_MS_MAX);
        let until = now + Duration::from_millis(wait_ms * 2 + limits::OFFER_MS);
        self.alarms.set(Alarm::Bids(id), until);
    }

    /// The first job that is kept for a bidder.
    pub(super) fn first_kept(&self, bid: &Bid, now: Time) -> Option<JobId> {
        let kept = self.auctions.kept(bid.node);
        let kept = kept.filter_map(|id| self.jobs.get(id));
        let kept = kept.filter(|job| self.may_take(job, bid, now));
        kept.min_by_key(|job| job.rank).map(|job| job.want.job)
    }

    /// Whether a waiting job is kept for a node that will have done it before a bidder would. The
    /// longer it waits, the less that counts.
    pub(super) fn is_kept_from(&self, job: &Job, bid: &Bid, now: Time) -> bool {
        let Some(Auction::Kept { node, due }) = self.auctions.get(job.want.job) else {
            return false;
        };
        // What it would fetch counts in full, but not that it is slow: it has nothing else to do.
        let least_ms = bid.eta_ms.saturating_sub(job.want.cost_ms);
        let waited = now.since(job.since);
        *node != bid.node && now + Duration::from_millis(least_ms) > *due + waited
    }

    /// When this node would have done a waiting job, milliseconds from now, if it can.
    fn estimate_here(&self, id: JobId, now: Time) -> Option<u64> {
        let job = self.jobs.get(id)?;
        let is_able = !self.paused
            && self.platforms.contains(&job.want.platform)
            && !job.want.lineage.is_empty()
            && job.want.missing_bytes == 0
            && self.fits_here(job)
            && self.may_run(job, self.me, now);
        let wait_ms = is_able.then(|| self.wait_ms(now, job.takes()))?;
        let ahead_ms = self.ahead_ms(self.me, job.want.cost_ms) / u64::from(self.slots.max(1));
        let wait_ms = wait_ms.saturating_add(ahead_ms);
        let waited_ms = ms(now, job.since);
        (wait_ms <= limits::WAIT_MS_MAX).then(|| {
            let all_ms = wait_ms.saturating_add(waited_ms);
            all_ms.saturating_add(self.spends_here(job).all_ms())
        })
    }

    /// An attempt elsewhere has ended: how long it took tells what its node's promises are worth.
    pub(super) fn judge_promise(&mut self, now: Time, id: JobId) {
        if let Some(lease) = self.jobs.get(id).and_then(Job::lease)
            && lease.sends > 0
            && lease.eta_ms < limits::ATTEMPT_MS_MAX
        {
            let took_ms = ms(now, lease.started);
            self.crowd.came_true(lease.node, lease.eta_ms, took_ms);
        }
    }

    /// Until when a waiting job is left to others although this node has a slot: it would have to
    /// fetch what they may have, or one of them has promised to be done sooner.
    pub(super) fn left_to_others(&self, job: &Job, now: Time) -> Option<Time> {
        let want = &job.want;
        if !want.remote_ok {
            return None;
        }
        if let Some(Auction::Kept { node, due }) = self.auctions.get(want.job) {
            let here = now + Duration::from_millis(self.spends_here(job).all_ms());
            let is_later = *node != self.me && *due > now && here > *due;
            return is_later.then_some(*due);
        }
        let fetch_ms = self.load.fetch_ms(want.missing_bytes);
        let until = job.since + Duration::from_millis(limits::UNPLACED_MS);
        let is_dear = fetch_ms > limits::BID_MS.max(want.cost_ms / 10);
        let could = is_dear && now < until && self.crowd.any_ready(&want.platform);
        could.then_some(until)
    }

    /// There is somebody new to ask.
    pub(super) fn offer_parked(&mut self) {
        let all = self.auctions.all.iter();
        let parked = all.filter(|(_, auction)| matches!(auction, Auction::Parked));
        let parked: Vec<JobId> = parked.map(|(id, _)| *id).collect();
        for id in parked {
            self.reopen(id);
        }
    }

    /// A node bids for a job unasked: it is gathered with others for a while.
    pub(super) fn gather(&mut self, now: Time, id: JobId) {
        if !matches!(self.auctions.get(id), Some(Auction::Asking { .. })) {
            let (asked, late) = (BTreeSet::new(), false);
            self.jobs.shelve(id);
            let auction = Auction::Asking { asked, late };
            self.auctions.set(id, auction);
            let by = now + Duration::from_millis(limits::BID_MS);
            self.alarms.set(Alarm::Bids(id), by);
        }
    }

    /// A node is gone: its bids are void, and nothing is expected of it.
    pub(super) fn candidate_down(&mut self, turn: &mut Turn<'_>, node: NodeId) {
        let all: Vec<JobId> = self.auctions.all.keys().copied().collect();
        for id in all {
            if let Some(bids) = self.jobs.get_mut(id).and_then(Job::bids_mut) {
                bids.retain(|bid| bid.node != node);
            }
        }
        let concerned = |auction: &Auction| match auction {
            Auction::Asking { asked, .. } => asked.contains(&node),
            Auction::Kept { node: kept, .. } => *kept == node,
            Auction::Parked => false,
        };
        let all = self.auctions.all.iter();
        let of_it: Vec<JobId> = all
            .filter(|(_, auction)| concerned(auction))
            .map(|(id, _)| *id)
            .collect();
        for id in of_it {
            match self.answered(id, node) {
                Some(_) => self.choose_if_all(turn, id, false),
                None => self.reopen(id),
            }
        }
    }
}
