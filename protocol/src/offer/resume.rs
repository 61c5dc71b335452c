//! Attempts that outlive their owner. What is run in the name of a role goes on when the role goes
//! to another node: its worker tells the new holder of it, which takes over what it wants and has
//! given to nobody, under a number of its own. So no word to one owner is ever about an attempt of
//! the other's, on whichever side of a broken network they are.

use std::{collections::BTreeMap, time::Duration};

use super::{
    AttemptId, Command, Engine, JobId, Message, Phase, Rejection,
    alarms::Alarm,
    engine::Turn,
    jobs::{Job, Lease, State},
    runs::Stage,
};
use crate::{
    ids::{NodeId, RoleId},
    limits,
    time::Time,
};

/// How often an attempt is given the time of a whole lease to find its role's holder.
const MOVES_MAX: u8 = 3;

/// An attempt that runs or ran here in the name of a role.
#[derive(Debug, Clone, Copy)]
struct Home {
    role: RoleId,
    /// Holders that were told of it, and how many of them gave it time.
    told: Option<NodeId>,
    moves: u8,
}

/// What a worker says that it has of a job which nobody wants here yet.
#[derive(Debug, Clone, Copy)]
struct Returned {
    node: NodeId,
    of: AttemptId,
    role: RoleId,
    at: Time,
}

/// Roles, as far as attempts are concerned.
#[derive(Debug, Default)]
pub(super) struct Homes {
    holders: BTreeMap<RoleId, NodeId>,
    homes: BTreeMap<AttemptId, Home>,
    /// By what name the driver knows attempts that have another now.
    begun: BTreeMap<AttemptId, AttemptId>,
    now: BTreeMap<AttemptId, AttemptId>,
    returned: BTreeMap<JobId, Returned>,
    /// The earlier names of own attempts that were taken over.
    adopted: BTreeMap<(JobId, u32), AttemptId>,
}

impl Homes {
    /// The name under which an attempt was started here.
    pub(super) fn begun(&self, attempt: AttemptId) -> AttemptId {
        self.begun.get(&attempt).copied().unwrap_or(attempt)
    }

    /// The name that an attempt has now which was started under another.
    pub(super) fn current(&self, begun: AttemptId) -> AttemptId {
        self.now.get(&begun).copied().unwrap_or(begun)
    }

    fn rename(&mut self, of: AttemptId, to: AttemptId) {
        if let Some(home) = self.homes.remove(&of) {
            self.homes.insert(to, home);
        }
        let begun = self.begun.remove(&of).unwrap_or(of);
        self.begun.insert(to, begun);
        self.now.insert(begun, to);
    }

    /// An attempt is over for this node.
    fn forget(&mut self, attempt: AttemptId) {
        self.homes.remove(&attempt);
        if let Some(begun) = self.begun.remove(&attempt) {
            self.now.remove(&begun);
        }
    }

    /// Whether a role is held by another node than this.
    pub(super) fn is_elsewhere(&self, role: Option<RoleId>, me: NodeId) -> bool {
        let holder = role.and_then(|role| self.holders.get(&role));
        holder.is_some_and(|holder| *holder != me)
    }
}

impl Engine {
    /// An attempt begins here in the name of a role.
    pub(super) fn run_for(&mut self, attempt: AttemptId, role: Option<RoleId>) {
        let Some(role) = role else {
            return;
        };
        if self.homes.homes.len() >= limits::HOMES_MAX {
            let work = &self.work;
            let is_over = |id: &AttemptId| !work.runs.contains_key(id) && !work.is_reported(*id);
            let all = self.homes.homes.keys().copied();
            let over: Vec<AttemptId> = all.filter(is_over).collect();
            over.into_iter().for_each(|id| self.homes.forget(id));
        }
        let (told, moves) = (None, 0);
        self.homes.homes.insert(attempt, Home { role, told, moves });
    }

    /// A role is held by that node from now on.
    pub(super) fn role_held(&mut self, turn: &mut Turn<'_>, role: RoleId, node: Option<NodeId>) {
        let Some(node) = node else {
            self.homes.holders.remove(&role);
            return;
        };
        let known = self.homes.holders.len();
        if known < limits::ROLES_MAX || self.homes.holders.contains_key(&role) {
            self.homes.holders.insert(role, node);
            self.go_home(turn, role);
        }
    }

    /// A node that holds roles can be reached (again).
    pub(super) fn home_up(&mut self, turn: &mut Turn<'_>, node: NodeId) {
        let held = self.homes.holders.iter().filter(|held| *held.1 == node);
        let roles: Vec<RoleId> = held.map(|(role, _)| *role).collect();
        for role in roles {
            self.go_home(turn, role);
        }
    }

    /// Tells the holder of a role of what an earlier one has started here, and again after a while.
    pub(super) fn go_home(&mut self, turn: &mut Turn<'_>, role: RoleId) {
        self.alarms.clear(&Alarm::Role(role));
        let Some(holder) = self.homes.holders.get(&role).copied() else {
            return;
        };
        if holder == self.me || !self.peers.contains_key(&holder) {
            return;
        }
        let work = &self.work;
        let lives = |id: AttemptId| {
            let stage = work.runs.get(&id).map(|run| run.stage);
            matches!(stage, Some(Stage::Leased { .. })) || work.is_reported(id)
        };
        let of_role = self
            .homes
            .homes
            .iter()
            .filter(|(_, home)| home.role == role);
        let attempts: Vec<AttemptId> = of_role
            .map(|(id, _)| *id)
            .filter(|id| id.owner != holder && lives(*id))
            .take(limits::SLOTS_MAX as usize)
            .collect();
        if attempts.is_empty() {
            return;
        }
        for id in &attempts {
            self.give_time(turn.now, *id, holder);
        }
        turn.send(holder, Message::Resume { role, attempts });
        let again = turn.now + Duration::from_millis(limits::BEAT_MS);
        self.alarms.set(Alarm::Role(role), again);
    }

    /// An attempt has the time of a lease for each new holder, but not for ever.
    fn give_time(&mut self, now: Time, id: AttemptId, holder: NodeId) {
        let Some(home) = self.homes.homes.get_mut(&id) else {
            return;
        };
        if home.told == Some(holder) || home.moves >= MOVES_MAX {
            return;
        }
        (home.told, home.moves) = (Some(holder), home.moves + 1);
        if let Some(Stage::Leased { lease_ms }) = self.work.runs.get(&id).map(|run| run.stage) {
            let until = now + Duration::from_millis(lease_ms);
            self.alarms.set(Alarm::Lease(id), until);
        }
    }

    /// A worker has attempts of an earlier holder of a role.
    pub(super) fn resumed(
        &mut self,
        turn: &mut Turn<'_>,
        from: NodeId,
        role: RoleId,
        attempts: &[AttemptId],
    ) {
        let me = self.me;
        for of in attempts.iter().filter(|of| of.owner != me) {
            let Some(job) = self.jobs.get(of.job) else {
                self.keep_returned(turn.now, from, role, *of);
                continue;
            };
            let adopted = job.lease().filter(|lease| lease.node == from);
            let adopted = adopted.filter(|lease| {
                let earlier = self.homes.adopted.get(&(of.job, lease.number));
                earlier == Some(of)
            });
            if let Some(number) = adopted.map(|lease| lease.number) {
                // It has not heard that yet.
                let (of, lease_ms) = (*of, limits::LEASE_MS);
                turn.send(
                    from,
                    Message::Adopt {
                        of,
                        number,
                        lease_ms,
                    },
                );
            } else if job.want.role == Some(role) && self.may_award(job, from, turn.now) {
                self.adopt(turn, from, *of);
            } else {
                turn.send(from, Message::Release { of: *of });
            }
        }
    }

    /// It may be wanted soon: a new holder has to look first what it has to do.
    fn keep_returned(&mut self, now: Time, node: NodeId, role: RoleId, of: AttemptId) {
        let lease = Duration::from_millis(limits::LEASE_MS);
        let all = &mut self.homes.returned;
        if all.len() >= limits::RETURNED_MAX {
            all.retain(|_, held| now.since(held.at) < lease);
        }
        let is_taken = |held: &Returned| held.node != node && now.since(held.at) < lease;
        if all.len() < limits::RETURNED_MAX && !all.get(&of.job).is_some_and(is_taken) {
            let at = now;
            let returned = Returned { node, of, role, at };
            all.insert(of.job, returned);
        }
    }

    /// A job is wanted that runs already for an earlier holder of its role.
    pub(super) fn reclaim(&mut self, turn: &mut Turn<'_>, id: JobId) {
        let Some(held) = self.homes.returned.remove(&id) else {
            return;
        };
        let is_fresh = turn.now.since(held.at) < Duration::from_millis(limits::LEASE_MS);
        let is_ours = self.jobs.get(id).is_some_and(|job| {
            job.want.role == Some(held.role) && self.may_award(job, held.node, turn.now)
        });
        if is_fresh && is_ours {
            self.adopt(turn, held.node, held.of);
        }
    }

    fn adopt(&mut self, turn: &mut Turn<'_>, node: NodeId, of: AttemptId) {
        let me = self.me;
        let Some(job) = self.jobs.get_mut(of.job) else {
            return;
        };
        job.attempts += 1;
        let number = job.attempts;
        let attempt = job.attempt(me, number);
        let lease_ms = limits::LEASE_MS;
        let lease = Lease {
            number,
            node,
            nonce: 0,
            started: turn.now,
            until: turn.now + Duration::from_millis(lease_ms),
            sends: 0,
            eta_ms: 0,
            phase: Phase::FIRST,
            moved: turn.now,
        };
        if self.homes.adopted.len() >= limits::RETURNED_MAX {
            let jobs = &self.jobs;
            let lives = |id: &(JobId, u32)| jobs.get(id.0).is_some();
            self.homes.adopted.retain(|id, _| lives(id));
        }
        self.homes.adopted.insert((of.job, number), of);
        self.hold(of.job, lease);
        turn.push(Command::Placed { attempt, node });
        turn.send(
            node,
            Message::Adopt {
                of,
                number,
                lease_ms,
            },
        );
    }

    fn is_of_holder(&self, of: AttemptId, from: NodeId) -> bool {
        let home = self.homes.homes.get(&of);
        home.is_some_and(|home| self.homes.holders.get(&home.role) == Some(&from))
    }

    /// The holder of a role takes an attempt over.
    pub(super) fn adopted(
        &mut self,
        turn: &mut Turn<'_>,
        from: NodeId,
        of: AttemptId,
        (number, lease_ms): (u32, u64),
    ) {
        let to = AttemptId {
            owner: from,
            job: of.job,
            number,
        };
        if self.work.runs.contains_key(&to) || self.work.is_reported(to) {
            return self.beat(turn, from);
        }
        if !self.is_of_holder(of, from) {
            return turn.reject(from, Rejection::NotHolder { of });
        }
        if self.work.rename_result(of, to) {
            self.alarms.clear(&Alarm::Result(of));
            self.homes.rename(of, to);
            return self.send_result(turn, to);
        }
        let stage = self.work.runs.get(&of).map(|run| run.stage);
        if !matches!(stage, Some(Stage::Leased { .. })) {
            return;
        }
        let Some(mut run) = self.work.runs.remove(&of) else {
            return;
        };
        let lease_ms = lease_ms.min(limits::LEASE_MS_MAX);
        run.stage = Stage::Leased { lease_ms };
        self.work.runs.insert(to, run);
        self.homes.rename(of, to);
        self.no_longer_leased(of);
        let until = turn.now + Duration::from_millis(lease_ms);
        self.alarms.set(Alarm::Lease(to), until);
        self.beat(turn, from);
    }

    /// The holder of a role has no use for an attempt.
    pub(super) fn released(&mut self, turn: &mut Turn<'_>, from: NodeId, of: AttemptId) {
        if self.is_of_holder(of, from) {
            self.cancelled(turn, of);
            // Its owner, should it come back, hears of a result all the same.
            self.homes.homes.remove(&of);
        }
    }

    /// The name that an attempt has now which has ended here under the one that it began with.
    pub(super) fn ended_here(&mut self, begun: AttemptId) -> AttemptId {
        let now = self.homes.current(begun);
        self.homes.now.remove(&begun);
        self.homes.begun.remove(&now);
        now
    }

    #[cfg(any(debug_assertions, test))]
    pub(super) fn check_homes(&self) {
        let back = self.homes.begun.iter().map(|(now, begun)| (*begun, *now));
        let back: BTreeMap<AttemptId, AttemptId> = back.collect();
        assert_eq!(back, self.homes.now, "an attempt has two names");
        assert!(self.homes.returned.len() <= limits::RETURNED_MAX);
        assert!(self.homes.holders.len() <= limits::ROLES_MAX);
        let waits = |id: &JobId| {
            let state = self.jobs.get(*id).map(Job::state);
            matches!(state, Some(State::Waiting(_)))
        };
        assert!(
            !self.homes.returned.keys().any(waits),
            "it was not reclaimed"
        );
    }
}
