//! The owner's bargaining: digests out, bids in, awards out.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    Command, Digest, Engine, Head, JobId, Loss, Message, Priority, Rejection,
    alarms::Alarm,
    engine::Turn,
    jobs::{Bid, Job, Lease, State},
    owner::back_off,
};
use crate::{ids::NodeId, limits, platform::Platform, time::Time};

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
        self.jobs.waiting_remote(platform).next().is_some()
            && self
                .peers
                .values()
                .any(|peer| peer.platforms.contains(platform))
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
        let jobs = self
            .jobs
            .waiting_remote(&platform)
            .take(limits::DIGEST_JOBS_MAX)
            .map(|job| Head {
                job: job.want.job,
                priority: job.want.priority,
                cost_ms: job.want.cost_ms,
                waited_ms: u64::try_from(turn.now.since(job.since).as_millis()).unwrap_or(u64::MAX),
                needs: job.want.needs,
            })
            .collect();
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
        if let Some(job) = self.jobs.get(id)
            && !peer.platforms.contains(&job.want.platform)
        {
            let platform = job.want.platform.clone();
            let reason = Rejection::OtherPlatform { job: id, platform };
            return turn.reject(bid.node, reason);
        }
        let wanted = self.jobs.get(id).filter(|job| {
            self.may_award(job, bid.node, turn.now)
                && job.want.needs.within(&bid.most).is_ok()
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
        if bids.len() >= enough {
            self.choose(turn, id);
        } else {
            let by = turn.now + Duration::from_millis(limits::BID_MS);
            self.alarms.set_new(Alarm::Bids(id), by);
        }
    }

    /// Bids after which waiting for more is of no use.
    fn bids_enough(&self, job: &Job, now: Time) -> usize {
        self.peers
            .keys()
            .filter(|node| self.may_award(job, **node, now))
            .take(limits::BIDS_MAX)
            .count()
    }

    /// The first job that a bidder could be given and nobody has bid for.
    fn first_unbid(&self, bid: &Bid, now: Time) -> Option<&Job> {
        let node = bid.node;
        let platforms = self.peers.get(&node).into_iter();
        platforms
            .flat_map(|peer| &peer.platforms)
            .filter_map(|platform| {
                self.jobs
                    .waiting_remote(platform)
                    .take(limits::DIGEST_JOBS_MAX)
                    .find(|job| {
                        matches!(job.state(), State::Waiting(bids) if bids.is_empty())
                            && job.want.needs.within(&bid.most).is_ok()
                            && self.may_award(job, node, now)
                    })
            })
            .min_by_key(|job| job.rank)
    }

    /// Gives a job to the best of its bidders. The others may have other jobs.
    pub(super) fn choose(&mut self, turn: &mut Turn<'_>, id: JobId) {
        let Some(bids) = self.jobs.get_mut(id).and_then(Job::bids_mut) else {
            return;
        };
        let mut bids = std::mem::take(bids);
        self.alarms.clear(&Alarm::Bids(id));
        bids.sort_by_key(|bid| (bid.eta_ms, weight(bid.node, id)));
        let mut bids = bids.into_iter();
        if let Some(best) = bids.next() {
            self.award(turn, id, best);
        }
        self.loose.extend(bids);
    }

    /// Answers the bids that got no job: with another job, or with a no.
    pub(super) fn answer_bids(&mut self, turn: &mut Turn<'_>) {
        for bid in std::mem::take(&mut self.loose) {
            if !self.peers.contains_key(&bid.node) {
                continue;
            }
            match self.first_unbid(&bid, turn.now).map(|job| job.want.job) {
                Some(other) => self.award(turn, other, bid),
                None => turn.send(bid.node, Message::Decline { nonce: bid.nonce }),
            }
        }
    }

    fn award(&mut self, turn: &mut Turn<'_>, id: JobId, bid: Bid) {
        let me = self.me;
        let Some(job) = self.jobs.get_mut(id) else {
            return;
        };
        job.attempts += 1;
        let (number, node) = (job.attempts, bid.node);
        let attempt = job.attempt(me, number);
        let lease = Lease {
            number,
            node,
            nonce: bid.nonce,
            started: turn.now,
            until: turn.now + Duration::from_millis(limits::LEASE_MS),
            sends: 0,
            log_bytes: 0,
        };
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
    }

    /// Sends an award, for the first time or because nothing was heard of it yet.
    pub(super) fn award_again(&mut self, turn: &mut Turn<'_>, id: JobId) {
        let Some(job) = self.jobs.get_mut(id) else {
            return;
        };
        let action = job.want.action.clone();
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
                action,
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
            return;
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
        self.queue_again(turn, id);
    }

    /// A node is gone: its bids are void.
    pub(super) fn bidder_down(&mut self, node: NodeId) {
        let with_bids: Vec<JobId> = self
            .jobs
            .iter()
            .filter(|job| {
                matches!(job.state(), State::Waiting(bids) if bids.iter().any(|bid| bid.node == node))
            })
            .map(|job| job.want.job)
            .collect();
        for id in with_bids {
            let Some(bids) = self.jobs.get_mut(id).and_then(Job::bids_mut) else {
                continue;
            };
            bids.retain(|bid| bid.node != node);
            if bids.is_empty() {
                self.alarms.clear(&Alarm::Bids(id));
            }
        }
    }
}
