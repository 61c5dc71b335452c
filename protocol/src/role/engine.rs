//! The engine of one node: its charges, who holds each, and what that means for this node.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::{Charge, Command, End, Event, Message, Ranks, Unfit, limits};
use crate::{
    identity::Signed,
    ids::{MeshId, NodeId, RoleId, RunId},
    member::Now,
    time::{Stamp, Time},
};

/// What this node has to do with a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Here {
    /// It keeps the charge.
    Kept,
    /// It holds the run.
    Holds,
    /// It holds the run until this one does.
    Yields(NodeId),
}

/// A run that has ended and is told.
#[derive(Debug, Clone)]
pub(super) struct Over {
    pub(super) end: End,
    /// Who has not answered.
    pub(super) open: BTreeSet<NodeId>,
    pub(super) beats_left: u32,
}

/// A run whose charge is here.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) signed: Signed<Charge>,
    pub(super) charge: Charge,
    pub(super) role: RoleId,
    /// Who holds it, or should.
    pub(super) lead: Option<NodeId>,
    /// Since when, by its word.
    pub(super) since: Stamp,
    /// Whether it has said so itself.
    pub(super) heard: bool,
    /// Its words that are missing.
    pub(super) missed: u32,
    /// Whom it is not left to: they could not, or say nothing.
    pub(super) out: BTreeSet<NodeId>,
    /// Who is told of it, each with whether it has the charge.
    pub(super) keepers: BTreeMap<NodeId, bool>,
    pub(super) here: Here,
    pub(super) over: Option<Over>,
    /// Whether another's word on its holder was taken.
    pub(super) hinted: bool,
}

/// A role as people and workers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub role: String,
    /// Its project.
    pub project: String,
    /// A run of it that is open.
    pub run: Option<RunId>,
    /// Who holds the run, or would hold the next one.
    pub holder: Option<NodeId>,
    /// Since when, where there is a run and its holder was heard.
    pub since: Option<Stamp>,
    /// Who follows, first one first.
    pub next: Vec<NodeId>,
}

/// The runs of roles that one node has to do with.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(super) me: NodeId,
    mesh: MeshId,
    pub(super) ranks: Ranks,
    pub(super) runs: BTreeMap<RunId, Run>,
    ended: VecDeque<RunId>,
    ended_set: BTreeSet<RunId>,
    /// Roles without a run now, the latest last.
    known: VecDeque<(String, String)>,
    beat: Option<Time>,
    pub(super) beaten: Time,
}

impl Engine {
    /// The engine of a node that knows nobody yet, not even itself.
    #[must_use]
    pub fn new(me: NodeId, mesh: MeshId) -> Self {
        Self {
            me,
            mesh,
            ranks: Ranks::default(),
            runs: BTreeMap::new(),
            ended: VecDeque::new(),
            ended_set: BTreeSet::new(),
            known: VecDeque::new(),
            beat: None,
            beaten: Time::default(),
        }
    }

    /// Takes an event in and says what to do.
    pub fn handle(&mut self, now: Now, event: Event, out: &mut Vec<Command>) {
        match event {
            Event::Member { node, seat } => {
                if self.ranks.set(node, seat) {
                    self.attend_all(now, out);
                }
            }
            Event::Charged { charge, running } => self.charged(now, *charge, running, out),
            Event::Message { from, message } => self.heard(now, from, message, out),
            Event::Unable(run) => self.unable(now, run, out),
            Event::Settled(run) => {
                if self.runs.get(&run).is_some_and(Run::is_here) {
                    self.finish(run, End::Settled, true, out);
                }
            }
            Event::Cancelled(run) => {
                let own = |run: &Run| run.charge.requester == self.me && run.over.is_none();
                if self.runs.get(&run).is_some_and(own) {
                    self.finish(run, End::Cancelled, true, out);
                }
            }
            Event::Tick => self.tick(now, out),
        }
        self.arm(now, out);
        #[cfg(any(debug_assertions, test))]
        self.check();
    }

    /// Who would hold a new run of a role.
    pub fn elected(&mut self, role: RoleId) -> Option<NodeId> {
        self.ranks.first(role).first().copied()
    }

    /// Whose the work is, that `owner` gave away in the name of a role: its own as long as it is
    /// open, then that of whoever holds the role's run, or would.
    pub fn heir(&mut self, role: RoleId, owner: NodeId) -> Option<NodeId> {
        if self.ranks.is_open(owner) || owner == self.me {
            return Some(owner);
        }
        let mut open = self.runs.values().filter(|run| run.over.is_none());
        let held = open.find_map(|run| run.lead.filter(|_| run.role == role));
        held.or_else(|| self.elected(role))
    }

    /// Who holds a run, and whether that one has said so.
    #[must_use]
    pub fn lead(&self, run: RunId) -> Option<(NodeId, bool)> {
        let run = self.runs.get(&run).filter(|run| run.over.is_none())?;
        Some((run.lead?, run.heard || run.lead == Some(self.me)))
    }

    /// Whether a run is held here.
    #[must_use]
    pub fn holds(&self, run: RunId) -> bool {
        self.runs.get(&run).is_some_and(Run::is_here)
    }

    /// What is to be run, where it is not over.
    #[must_use]
    pub fn charge(&self, run: RunId) -> Option<&Charge> {
        let run = self.runs.get(&run).filter(|run| run.over.is_none())?;
        Some(&run.charge)
    }

    /// Who is told of a run that is held here: live members, the requester among them.
    #[must_use]
    pub fn keepers(&self, run: RunId) -> Vec<NodeId> {
        let run = self.runs.get(&run);
        let keepers = run.into_iter().flat_map(|run| run.keepers.keys().copied());
        keepers.filter(|node| self.ranks.is_live(*node)).collect()
    }

    /// Charges of runs that are not over.
    #[must_use]
    pub fn open(&self) -> usize {
        let open = self.runs.values().filter(|run| run.over.is_none());
        open.count()
    }

    /// The roles that this node has to do with: first those with a run.
    pub fn roles(&mut self) -> Vec<Standing> {
        let mut roles = Vec::new();
        let mut seen = BTreeSet::new();
        for (id, run) in &self.runs {
            if run.over.is_some() {
                continue;
            }
            seen.insert(run.role);
            let lead = run.lead;
            let heard = run.heard || lead == Some(self.me);
            let ranked = self.ranks.first(run.role).iter().copied();
            let next = ranked.filter(|node| Some(*node) != lead && !run.out.contains(node));
            roles.push(Standing {
                role: run.charge.role.clone(),
                project: run.charge.project.clone(),
                run: Some(*id),
                holder: lead,
                since: heard.then_some(run.since),
                next: next.collect(),
            });
        }
        for (role, project) in self.known.clone().into_iter().rev() {
            if seen.insert(RoleId::of(&role, &project)) {
                roles.push(self.idle(role, project));
            }
        }
        roles
    }

    /// Who would hold a role that has no run now, and who after that.
    pub fn idle(&mut self, role: String, project: String) -> Standing {
        let mut ranked = self
            .ranks
            .first(RoleId::of(&role, &project))
            .iter()
            .copied();
        Standing {
            run: None,
            holder: ranked.next(),
            since: None,
            next: ranked.collect(),
            role,
            project,
        }
    }

    fn charged(&mut self, now: Now, signed: Signed<Charge>, running: bool, out: &mut Vec<Command>) {
        let charge = match Charge::open(&signed, self.mesh, now.stamp) {
            Ok(charge) if charge.requester == self.me => charge,
            Ok(_) => return self.reject(self.me, "it is another's charge", out),
            Err(error) => return self.reject(self.me, error, out),
        };
        let id = charge.run;
        if self.runs.contains_key(&id) || self.ended_set.contains(&id) {
            return;
        }
        self.note(&charge);
        let mut run = Run::new(signed, charge, now.stamp);
        if running {
            (run.lead, run.here) = (Some(self.me), Here::Holds);
        }
        self.runs.insert(id, run);
        out.push(Command::Keep(id));
        self.attend(now, id, out);
        if running {
            self.tell_holder(id, out);
            self.top_up(id, out);
            self.announce(id, out);
        }
    }

    /// Keeps a charge that another sent, if it is good and there is room.
    pub(super) fn take(
        &mut self,
        now: Now,
        from: NodeId,
        signed: Signed<Charge>,
        lead: Option<NodeId>,
    ) -> Result<RunId, Unfit> {
        let charge = Charge::open(&signed, self.mesh, now.stamp)?;
        let id = charge.run;
        let mut run = Run::new(signed, charge, now.stamp);
        run.keepers.insert(from, true);
        run.lead = lead.filter(|lead| *lead != self.me && self.ranks.is_open(*lead));
        self.note(&run.charge);
        self.runs.insert(id, run);
        Ok(id)
    }

    pub(super) const fn mesh(&self) -> MeshId {
        self.mesh
    }

    /// Whether there is room for another charge of this requester.
    pub(super) fn has_room(&self, requester: NodeId) -> bool {
        let of_it = |run: &&Run| run.charge.requester == requester;
        self.runs.len() < limits::CHARGES_MAX
            && self.runs.values().filter(of_it).count() < limits::CHARGES_PER_NODE_MAX
    }

    fn note(&mut self, charge: &Charge) {
        let role = (charge.role.clone(), charge.project.clone());
        self.known.retain(|known| *known != role);
        self.known.push_back(role);
        if self.known.len() > limits::ROLES_MAX {
            self.known.pop_front();
        }
    }

    /// A run is over here. With `tell`, all who have to do with it hear it from here.
    pub(super) fn finish(&mut self, id: RunId, end: End, tell: bool, out: &mut Vec<Command>) {
        let Some(run) = self.runs.get_mut(&id).filter(|run| run.over.is_none()) else {
            return;
        };
        if run.is_here() {
            out.push(Command::Stop(id));
        }
        run.here = Here::Kept;
        let open: BTreeSet<NodeId> = match tell && end != End::Expired {
            true => run.keepers.keys().copied().collect(),
            false => BTreeSet::new(),
        };
        for to in &open {
            let message = told(id, end);
            out.push(Command::Send { to: *to, message });
        }
        run.over = Some(Over {
            end,
            open,
            beats_left: limits::END_BEATS,
        });
        out.push(Command::Ended { run: id, end });
        if !tell {
            self.forget(id, out);
        }
    }

    pub(super) fn forget(&mut self, id: RunId, out: &mut Vec<Command>) {
        self.runs.remove(&id);
        if self.ended_set.insert(id) {
            self.ended.push_back(id);
        }
        if self.ended.len() > limits::ENDED_MAX
            && let Some(oldest) = self.ended.pop_front()
        {
            self.ended_set.remove(&oldest);
        }
        out.push(Command::Forget(id));
    }

    pub(super) fn has_ended(&self, id: RunId) -> bool {
        self.ended_set.contains(&id) || self.runs.get(&id).is_some_and(|run| run.over.is_some())
    }

    pub(super) fn reject(
        &self,
        from: NodeId,
        reason: impl std::fmt::Display,
        out: &mut Vec<Command>,
    ) {
        let reason = reason.to_string();
        out.push(Command::Reject { from, reason });
    }

    fn arm(&mut self, now: Now, out: &mut Vec<Command>) {
        if self.runs.is_empty() {
            self.beat = None;
            return;
        }
        if self.beat.is_some_and(|beat| beat > now.time) {
            return;
        }
        if self.beat.is_none() {
            self.beaten = now.time;
        }
        let beat = now.time + Duration::from_millis(limits::BEAT_MS);
        self.beat = Some(beat);
        out.push(Command::WakeAt(beat));
    }

    /// Whether the time of a beat has come.
    pub(super) fn is_due(&self, now: Now) -> bool {
        self.beat.is_none_or(|beat| beat <= now.time)
    }

    #[cfg(any(debug_assertions, test))]
    fn check(&self) {
        assert!(self.runs.len() <= limits::CHARGES_MAX + limits::CHARGES_PER_NODE_MAX);
        assert_eq!(self.ended.len(), self.ended_set.len());
        assert!(self.known.len() <= limits::ROLES_MAX);
        for (id, run) in &self.runs {
            assert_eq!(*id, run.charge.run);
            assert!(run.keepers.len() <= limits::TOLD_MAX && run.out.len() <= limits::OUT_MAX);
            assert!(!run.keepers.contains_key(&self.me));
            assert!(run.over.is_none() || run.here == Here::Kept);
            match run.here {
                Here::Holds => assert_eq!(run.lead, Some(self.me)),
                Here::Yields(to) => assert_ne!(to, self.me),
                Here::Kept => assert!(run.over.is_some() || run.lead != Some(self.me)),
            }
        }
        assert!(self.runs.is_empty() || self.beat.is_some());
    }
}

impl Run {
    fn new(signed: Signed<Charge>, charge: Charge, since: Stamp) -> Self {
        Self {
            signed,
            role: charge.role_id(),
            charge,
            lead: None,
            since,
            heard: false,
            missed: 0,
            out: BTreeSet::new(),
            keepers: BTreeMap::new(),
            here: Here::Kept,
            over: None,
            hinted: false,
        }
    }

    /// Whether it runs here.
    pub(super) fn is_here(&self) -> bool {
        self.here != Here::Kept
    }

    /// Notes somebody who is to hear of it, as far as there is room.
    pub(super) fn keeper(&mut self, me: NodeId, node: NodeId, kept: bool) {
        if node == me {
            return;
        }
        let has_room = self.keepers.len() < limits::TOLD_MAX;
        match self.keepers.get_mut(&node) {
            Some(known) => *known |= kept,
            None if has_room => {
                self.keepers.insert(node, kept);
            }
            None => {}
        }
    }

    /// It is not left to this node for now.
    pub(super) fn leave_out(&mut self, node: NodeId) {
        if self.out.len() >= limits::OUT_MAX {
            self.out.clear();
        }
        self.out.insert(node);
    }
}

/// The word that a run has ended so.
pub(super) fn told(run: RunId, end: End) -> Message {
    match end {
        End::Settled | End::Expired => Message::Settled { run },
        End::Cancelled => Message::Cancel { run },
    }
}
