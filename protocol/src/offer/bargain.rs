//! The owner's bargaining: digests out, bids in, awards out.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    Command, Digest, Engine, Head, JobId, Loss, Message, Priority, Rejection,
    alarms::Alarm,
    auction::Auction,
    engine::Turn,
    jobs::{Bid, Job, Lease, State},
    owner::back_off,
};
use crate::{ids::NodeId, limits, platform::Platform, time::Time};

/// Waiting jobs that are looked at for a digest.
const LOOKED_AT_MAX: usize = 4 * limits::DIGEST_JOBS_MAX;
/// Bids of one node that are remembered to know a doubled one.
const NONCES_MAX: usize = 64;

/// When a platform's digests were and will be.
#[derive(Debug, Default)]
struct Rounds {
    last: Option<Time>,
    wait_ms: u64,
}

/// What an owner knows about its digests.
#[derive(Debug, Default)]
pub(super) struct Gossip {
    seq: u64,
    rounds: BTreeMap<Platform, Rounds>,
    /// Platforms with news since the last look.
    fresh: BTreeSet<Platform>,
}

impl Gossip {
    /// Somebody should hear of this platform's jobs soon: a job began to wait or a node came up.
    pub(super) fn freshen(&mut self, platform: &Platform) {
        self.fresh.insert(platform.clone());
    }
}

/// Rendezvous weight: each pair of node and job has its own, the same everywhere.
pub(super) fn weight(node: NodeId, job: JobId) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(node.as_bytes());
    hasher.update(job.action().as_bytes());
    let hash = hasher.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(first)
}

impl Engine {
    /// Whether a digest of this platform would be of use to anybody.
    fn is_offered(&self, platform: &Platform) -> bool {
        self.jobs.waiting_remote(platform).next().is_some() && self.crowd.len(platform) > 0
    }

    /// Sees to it that a digest is due where there is news, and none where nothing waits.
    pub(super) fn plan_digests(&mut self, turn: &mut Turn<'_>) {
        let idle: Vec<Platform> = self
            .gossip
            .rounds
            .keys()
            .filter(|platform| !self.is_offered(platform))
            .cloned()
            .collect();
        for platform in idle {
            self.alarms.clear(&Alarm::Digest(platform.clone()));
            // What is forgotten here is only how long ago the last digest was.
            if let Some(rounds) = self.gossip.rounds.get(&platform)
                && rounds.last.is_none_or(|last| {
                    turn.now.since(last) >= Duration::from_millis(limits::DIGEST_MS)
                })
            {
                self.gossip.rounds.remove(&platform);
            }
        }
        for platform in std::mem::take(&mut self.gossip.fresh) {
            if !self.is_offered(&platform) {
                continue;
            }
            let rounds = self.gossip.rounds.entry(platform.clone()).or_default();
            rounds.wait_ms = limits::DIGEST_MS;
            let soon = turn.now + Duration::from_millis(limits::GATHER_MS);
            let allowed = rounds
                .last
                .map(|last| last + Duration::from_millis(limits::DIGEST_MS));
            let at = allowed.map_or(soon, |allowed| allowed.max(soon));
            let alarm = Alarm::Digest(platform);
            if self.alarms.get(&alarm).is_none_or(|set| at < set) {
                self.alarms.set(alarm, at);
            }
        }
    }

    /// A digest is due.
    pub(super) fn digest(&mut self, turn: &mut Turn<'_>, platform: Platform) {
        if !self.is_offered(&platform) {
            return;
        }
        let jobs: Vec<Head> = self
            .jobs
            .waiting_remote(&platform)
            .take(LOOKED_AT_MAX)
            .filter(|job| self.is_unplaced(job))
            .take(limits::DIGEST_JOBS_MAX)
            .map(|job| Head {
                job: job.want.job,
                priority: job.want.priority,
                cost_ms: job.want.cost_ms,
                waited_ms: u64::try_from(turn.now.since(job.since).as_millis()).unwrap_or(u64::MAX),
                needs: job.want.needs,
                top: self.held_top(job, turn.now),
            })
            .collect();
        if jobs.is_empty() {
            let again = turn.now + Duration::from_millis(limits::DIGEST_MS);
            return self.alarms.set(Alarm::Digest(platform), again);
        }
        // The clock outlives the program, so that a restarted owner's digests come after those of
        // its earlier life that are still on their way.
        self.gossip.seq = turn.now.as_ms().max(self.gossip.seq + 1);
        let digest = Digest {
            owner: self.me,
            seq: self.gossip.seq,
            jobs,
        };
        let rounds = self.gossip.rounds.entry(platform.clone()).or_default();
        rounds.last = Some(turn.now);
        let wait = rounds.wait_ms.max(limits::DIGEST_MS);
        rounds.wait_ms = (wait * 2).min(limits::DIGEST_MS_MAX);
        let again = turn.now + Duration::from_millis(wait);
        self.alarms.set(Alarm::Digest(platform.clone()), again);
        turn.push(Command::Gossip { platform, digest });
    }

    /// Whether nobody is being asked about a waiting job.
    fn is_unplaced(&self, job: &Job) -> bool {
        let auction = self.auctions.get(job.want.job);
        !matches!(auction, Some(Auction::Asking { .. }))
    }

    /// Whether a node may be awarded a waiting job now.
    pub(super) fn may_award(&self, job: &Job, node: NodeId, now: Time) -> bool {
        matches!(job.state(), State::Waiting(_))
            && job.want.remote_ok
            && self
                .peers
                .get(&node)
                .is_some_and(|peer| peer.platforms.contains(&job.want.platform))
            && self.jobs.held_len(node) < limits::PEER_ATTEMPTS_MAX
            && self.may_run(job, node, now)
    }

    /// A node would do a job, one that was offered to it or one of a digest.
    pub(super) fn bid_came(&mut self, turn: &mut Turn<'_>, id: JobId, bid: Bid) {
        let Some(peer) = self.peers.get_mut(&bid.node) else {
            return;
        };
        if peer.nonces.contains(&bid.nonce) {
            return;
        }
        if peer.nonces.len() >= NONCES_MAX {
            peer.nonces.pop_front();
        }
        peer.nonces.push_back(bid.nonce);
        if self.second_answered(turn, id, &bid) {
            return;
        }
        let Some(peer) = self.peers.get_mut(&bid.node) else {
            return;
        };
        if let Some(job) = self.jobs.get(id)
            && !peer.platforms.contains(&job.want.platform)
        {
            let platform = job.want.platform.clone();
            let reason = Rejection::OtherPlatform { job: id, platform };
            return turn.reject(bid.node, reason);
        }
        peer.most = Some(bid.most);
        if bid.offered {
            return self.quoted(turn, id, bid);
        }
        if let Some(kept) = self.first_kept(&bid, turn.now) {
            return self.award(turn, kept, bid);
        }
        self.gather_bid(turn, id, bid);
    }

    pub(super) fn may_take(&self, job: &Job, bid: &Bid, now: Time) -> bool {
        self.may_award(job, bid.node, now) && job.want.needs.within(&bid.most).is_ok()
    }

    /// A bid that nobody asked for: with others of its kind, or with those that were.
    fn gather_bid(&mut self, turn: &mut Turn<'_>, id: JobId, bid: Bid) {
        let node = bid.node;
        let wanted = self.jobs.get(id).filter(|job| {
            self.may_take(job, &bid, turn.now)
                && !self.is_kept_from(job, &bid, turn.now)
                && (job.want.priority == Priority::Urgent
                    || self
                        .first_unbid(&bid, turn.now)
                        .is_none_or(|other| other.want.priority == Priority::Normal))
        });
        let Some(enough) = wanted.map(|job| self.bids_enough(job, turn.now)) else {
            return self.loose.push(bid);
        };
        let Some(bids) = self.jobs.get_mut(id).and_then(Job::bids_mut) else {
            return;
        };
        bids.push(bid);
        let count = bids.len();
        // Its answer, if it was asked.
        let asked = self.answered(id, node).is_some();
        self.gather(turn.now, id);
        if count >= enough || (asked && self.all_answered(id)) {
            self.choose(turn, id);
        }
    }

    /// Bids after which waiting for more is of no use.
    fn bids_enough(&self, job: &Job, now: Time) -> usize {
        if let Some(Auction::Asking { asked, .. }) = self.auctions.get(job.want.job)
            && !asked.is_empty()
        {
            return limits::BIDS_MAX;
        }
        self.crowd
            .of(&job.want.platform)
            .filter(|node| self.may_award(job, *node, now))
            .take(limits::BIDS_MAX)
            .count()
    }

    /// A job that a bidder could be given and nobody has bid for: of the first of them, the first for
    /// which it would fetch nothing.
    fn first_unbid(&self, bid: &Bid, now: Time) -> Option<&Job> {
        let platforms = self.peers.get(&bid.node).into_iter();
        platforms
            .flat_map(|peer| &peer.platforms)
            .filter_map(|platform| self.unbid_of(platform, bid, now))
            .min_by_key(|job| job.rank)
    }

    fn unbid_of(&self, platform: &Platform, bid: &Bid, now: Time) -> Option<&Job> {
        let jobs = self.jobs.waiting_remote(platform);
        let open = jobs.take(limits::DIGEST_JOBS_MAX).filter(|job| {
            matches!(job.state(), State::Waiting(bids) if bids.is_empty())
                && self.may_take(job, bid, now)
                && !self.is_kept_from(job, bid, now)
                && self.suits(job, bid.node, now)
        });
        let mut first: Option<&Job> = None;
        for job in open.take(limits::CHOICE_MAX) {
            // Nothing waits for ever because others suit better.
            let is_due = |first: &Job| {
                first.rank.priority < job.rank.priority
                    || now.since(first.since).as_millis() >= u128::from(limits::HOLD_MS_MAX)
            };
            if first.is_some_and(is_due) {
                break;
            }
            if job.want.lineage.is_empty() || self.is_holder(job, bid.node) {
                return Some(job);
            }
            first = first.or(Some(job));
        }
        first
    }

    /// Answers the bids that got no job: with another job, or with a no.
    pub(super) fn answer_bids(&mut self, turn: &mut Turn<'_>) {
        for bid in std::mem::take(&mut self.loose) {
            if !self.peers.contains_key(&bid.node) {
                continue;
            }
            if let Some(other) = self.best_for(&bid, turn.now) {
                self.award(turn, other, bid);
            } else {
                self.shows_room(bid.node);
                turn.send(bid.node, Message::Decline { nonce: bid.nonce });
            }
        }
    }

    fn best_for(&self, bid: &Bid, now: Time) -> Option<JobId> {
        let kept = self.first_kept(bid, now);
        kept.or_else(|| Some(self.first_unbid(bid, now)?.want.job))
    }

    /// By which bid a node got an attempt.
    pub(super) fn nonce_of(&self, node: NodeId, id: JobId, number: u32) -> Option<u64> {
        let of = |lease: &&Lease| (lease.node, lease.number) == (node, number);
        let first = self.jobs.get(id).and_then(Job::lease).filter(of);
        let lease = first.or_else(|| self.hedges.lease(id).filter(of))?;
        (lease.nonce > 0).then_some(lease.nonce)
    }

    /// A node has ended an attempt and keeps its slot for another: it gets one, if there is one.
    pub(super) fn hand_on(&mut self, turn: &mut Turn<'_>, node: NodeId, nonce: Option<u64>) {
        let Some(nonce) = nonce else {
            return;
        };
        let most = self.peers.get(&node).and_then(|peer| peer.most);
        let bid = Bid {
            node,
            nonce,
            // It has said nothing of this one.
            eta_ms: limits::ATTEMPT_MS_MAX,
            wait_ms: 0,
            most: most.unwrap_or_default(),
            offered: true,
        };
        match self.best_for(&bid, turn.now) {
            Some(job) => self.award(turn, job, bid),
            None => self.shows_room(node),
        }
    }

    pub(super) fn award(&mut self, turn: &mut Turn<'_>, id: JobId, bid: Bid) {
        let me = self.me;
        let Some(job) = self.jobs.get_mut(id) else {
            return;
        };
        job.attempts += 1;
        let (number, node) = (job.attempts, bid.node);
        let attempt = job.attempt(me, number);
        let lease = Lease::new(&bid, number, turn.now);
        if let Some(top) = job.want.lineage.last().map(|top| top.tree) {
            self.crowd.settles(node, top);
        }
        self.hold(id, lease);
        self.award_again(turn, id);
        turn.push(Command::Placed { attempt, node });
    }

    /// A job is in the hands of another node.
    pub(super) fn hold(&mut self, id: JobId, lease: Lease) {
        if let Some(State::Waiting(bids)) = self.turn_job(id, State::There(lease)) {
            self.loose.extend(bids);
        }
        self.alarms.set(Alarm::Job(id), lease.until);
        self.plan_second(id);
    }

    /// Sends an award, for the first time or because nothing was heard of it yet.
    pub(super) fn award_again(&mut self, turn: &mut Turn<'_>, id: JobId) {
        let Some(job) = self.jobs.get_mut(id) else {
            return;
        };
        let (action, needs) = (job.want.action.clone(), job.want.needs);
        let (holders, role) = (job.want.holders.clone(), job.want.role);
        let Some(lease) = job.lease_mut() else {
            return;
        };
        let again = turn.now + back_off(lease.sends);
        lease.sends += 1;
        turn.send(
            lease.node,
            Message::Award {
                nonce: lease.nonce,
                job: id,
                number: lease.number,
                lease_ms: limits::LEASE_MS,
                needs,
                action,
                holders,
                role,
            },
        );
        self.alarms.set(Alarm::Award(id), again);
    }

    /// A node has no slot for its award any more: nobody's failure.
    pub(super) fn refused(&mut self, turn: &mut Turn<'_>, from: NodeId, id: JobId, number: u32) {
        let me = self.me;
        let Some(job) = self.jobs.get_mut(id) else {
            return;
        };
        let Some(lease) = job.lease().copied().filter(|held| held.number == number) else {
            return self.second_refused(turn, from, (id, number));
        };
        if lease.node != from {
            return turn.reject(from, Rejection::NotAwarded { job: id, number });
        }
        let barred = turn.now + Duration::from_millis(limits::REFUSED_MS);
        job.excluded.insert(from, barred);
        let attempt = job.attempt(me, number);
        turn.push(Command::Lost {
            attempt,
            node: from,
            loss: Loss::Refused,
            outcome: Vec::new(),
        });
        if !self.promote_second(turn, id) {
            self.queue_again(turn, id);
        }
    }
}
