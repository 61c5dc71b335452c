//! Who holds a run: what members say of it, what their silence says, and what follows.

use super::{
    Command, End, Engine, Message,
    engine::{Here, told},
    limits,
};
use crate::{
    ids::{NodeId, RunId},
    member::Now,
    time::Stamp,
};

impl Engine {
    pub(super) fn attend_all(&mut self, now: Now, out: &mut Vec<Command>) {
        let open: Vec<RunId> = self.runs.keys().copied().collect();
        for id in open {
            self.attend(now, id, out);
        }
    }

    /// Sees to it that a run has a holder, as far as this node has a say in it.
    pub(super) fn attend(&mut self, now: Now, id: RunId, out: &mut Vec<Command>) {
        let first = self.next(id);
        let me = self.me;
        let Some(run) = self.runs.get_mut(&id).filter(|run| run.over.is_none()) else {
            return;
        };
        let stays = |node: NodeId| {
            let fallback = node == run.charge.requester && first.is_none_or(|first| first == node);
            !run.out.contains(&node)
                && (self.ranks.is_open(node) || (fallback && self.ranks.is_live(node)))
        };
        if run.is_here() {
            if stays(me) {
                run.here = Here::Holds;
                return;
            }
            // Others go on here until another does: work that stands still helps nobody.
            let to = first.filter(|first| *first != me);
            let here = to.map_or(Here::Holds, Here::Yields);
            if let Here::Yields(to) = here
                && run.here != here
            {
                run.here = here;
                run.keeper(me, to, false);
                self.send_keep(id, to, out);
                out.push(Command::Send {
                    to,
                    message: Message::Yield { run: id },
                });
            } else {
                run.here = here;
            }
            return;
        }
        if run.lead.is_some_and(stays) {
            return;
        }
        let before = run.lead;
        match first {
            Some(first) if first == me => return self.start(now, id, out),
            first => {
                (run.lead, run.heard, run.missed) = (first, false, 0);
                if before != first {
                    self.tell_holder(id, out);
                }
            }
        }
        if let Some(first) = first {
            self.send_keep(id, first, out);
        }
    }

    /// Who is to hold a run that has no holder: the first of its role's rank that is not known to be
    /// of no use, then whoever asked for it.
    fn next(&mut self, id: RunId) -> Option<NodeId> {
        let run = self.runs.get(&id)?;
        let ranked = self.ranks.first(run.role).iter().copied();
        let first = ranked.into_iter().find(|node| !run.out.contains(node));
        first.or_else(|| {
            let requester = run.charge.requester;
            let able = self.ranks.is_live(requester) && !run.out.contains(&requester);
            able.then_some(requester)
        })
    }

    fn start(&mut self, now: Now, id: RunId, out: &mut Vec<Command>) {
        let Some(run) = self.runs.get_mut(&id) else {
            return;
        };
        (run.lead, run.here, run.since) = (Some(self.me), Here::Holds, now.stamp);
        (run.heard, run.missed) = (true, 0);
        out.push(Command::Start(id));
        self.tell_holder(id, out);
        self.top_up(id, out);
        self.announce(id, out);
    }

    /// This node does not hold the run any more.
    fn stop(&mut self, id: RunId, lead: Option<NodeId>, out: &mut Vec<Command>) {
        let Some(run) = self.runs.get_mut(&id) else {
            return;
        };
        if run.is_here() {
            out.push(Command::Stop(id));
        }
        run.here = Here::Kept;
        (run.lead, run.heard, run.missed) = (lead, lead.is_some(), 0);
        self.tell_holder(id, out);
    }

    pub(super) fn tell_holder(&self, id: RunId, out: &mut Vec<Command>) {
        if let Some(run) = self.runs.get(&id) {
            out.push(Command::Holder {
                run: id,
                holder: run.lead,
                since: run.since,
            });
        }
    }

    pub(super) fn send_keep(&mut self, id: RunId, to: NodeId, out: &mut Vec<Command>) {
        let me = self.me;
        let Some(run) = self.runs.get_mut(&id).filter(|_| to != me) else {
            return;
        };
        run.keeper(me, to, false);
        if run.keepers.get(&to) == Some(&false) && self.ranks.is_live(to) {
            let (charge, lead) = (run.signed.clone(), run.lead);
            out.push(Command::Send {
                to,
                message: Message::Keep { charge, lead },
            });
        }
    }

    /// The holder has its charge kept by whoever asked and by the first of the rank.
    pub(super) fn top_up(&mut self, id: RunId, out: &mut Vec<Command>) {
        let Some(run) = self.runs.get(&id) else {
            return;
        };
        let (me, requester) = (self.me, run.charge.requester);
        let ranked = self.ranks.first(run.role).iter().copied();
        let ranked = ranked.filter(|node| *node != me).take(limits::KEEPERS);
        let keepers: Vec<NodeId> = std::iter::once(requester).chain(ranked).collect();
        for node in keepers {
            self.send_keep(id, node, out);
        }
    }

    /// Tells all keepers at once who holds a run.
    pub(super) fn announce(&self, id: RunId, out: &mut Vec<Command>) {
        let Some(run) = self.runs.get(&id) else {
            return;
        };
        for to in run.keepers.keys().filter(|to| self.ranks.is_live(**to)) {
            let runs = vec![(id, run.since)];
            out.push(Command::Send {
                to: *to,
                message: Message::Hold { runs },
            });
        }
    }

    pub(super) fn heard(
        &mut self,
        now: Now,
        from: NodeId,
        message: Message,
        out: &mut Vec<Command>,
    ) {
        if from == self.me || !self.ranks.is_live(from) {
            return self.reject(from, "it is no live member here", out);
        }
        match message {
            Message::Keep { charge, lead } => self.on_keep(now, from, (charge, lead), out),
            Message::Kept { run } => {
                let me = self.me;
                if let Some(run) = self.runs.get_mut(&run) {
                    run.keeper(me, from, true);
                }
            }
            Message::Unable { run: id } => {
                let me = self.me;
                if let Some(run) = self.runs.get_mut(&id) {
                    run.keeper(me, from, true);
                    run.leave_out(from);
                    self.attend(now, id, out);
                }
            }
            Message::Hold { runs } => {
                let mut ended = 0;
                for (id, since) in runs {
                    if !self.has_ended(id) {
                        self.on_hold(from, (id, since), out);
                    } else if ended < limits::TOLD_MAX {
                        // No more answers than that to one word; it will be said again.
                        ended += 1;
                        self.reply(from, self.end_of(id), out);
                    }
                }
            }
            Message::Held { run, by } => self.on_held(from, run, by, out),
            Message::Yield { run } => self.on_yield(now, from, run, out),
            Message::Settled { run: id } => {
                if !self.may_end(id, from) {
                    return self.reject(from, "it ends what is not its own", out);
                }
                self.finish(id, End::Settled, false, out);
                self.reply(from, Message::Noted { run: id }, out);
            }
            Message::Cancel { run: id } => {
                let run = self.runs.get(&id);
                if run.is_some_and(|run| run.charge.requester != from) {
                    return self.reject(from, "it cancels what it did not ask for", out);
                }
                self.finish(id, End::Cancelled, false, out);
                self.reply(from, Message::Noted { run: id }, out);
            }
            Message::Noted { run } => {
                if let Some(over) = self.runs.get_mut(&run).and_then(|run| run.over.as_mut()) {
                    over.open.remove(&from);
                }
            }
            // What is shown is the driver's.
            Message::Shown { .. } | Message::Seen { .. } => {}
        }
    }

    /// Whether a member's word ends a run: its holder's, its requester's, or that of one who may have
    /// held it where this node could not see it.
    fn may_end(&mut self, id: RunId, from: NodeId) -> bool {
        let Some(run) = self.runs.get(&id) else {
            return true;
        };
        run.lead == Some(from)
            || run.charge.requester == from
            || self.ranks.first(run.role).contains(&from)
    }

    pub(super) fn reply(&self, to: NodeId, message: Message, out: &mut Vec<Command>) {
        out.push(Command::Send { to, message });
    }

    fn on_keep(
        &mut self,
        now: Now,
        from: NodeId,
        (signed, lead): (crate::identity::Signed<super::Charge>, Option<NodeId>),
        out: &mut Vec<Command>,
    ) {
        let charge = match super::Charge::open(&signed, self.mesh(), now.stamp) {
            Ok(charge) => charge,
            Err(error) => return self.reject(from, error, out),
        };
        let id = charge.run;
        if self.has_ended(id) {
            return self.reply(from, self.end_of(id), out);
        }
        let me = self.me;
        if let Some(run) = self.runs.get_mut(&id) {
            run.keeper(me, from, true);
            let held = run.lead.filter(|by| run.heard || *by == me);
            self.reply(from, Message::Kept { run: id }, out);
            if let Some(by) = held.filter(|by| Some(*by) != lead && *by != from) {
                self.reply(from, Message::Held { run: id, by }, out);
            }
            return self.attend(now, id, out);
        }
        if !self.has_room(charge.requester) {
            return self.reply(from, Message::Unable { run: id }, out);
        }
        let id = match self.take(now, from, signed, lead) {
            Ok(id) => id,
            Err(error) => return self.reject(from, error, out),
        };
        self.reply(from, Message::Kept { run: id }, out);
        if let Some(lead) = lead.filter(|lead| *lead != from && *lead != me) {
            // Its word is waited for: it is to know who waits.
            self.reply(lead, Message::Kept { run: id }, out);
        }
        out.push(Command::Keep(id));
        self.tell_holder(id, out);
        self.attend(now, id, out);
    }

    fn end_of(&self, id: RunId) -> Message {
        let over = self.runs.get(&id).and_then(|run| run.over.as_ref());
        told(id, over.map_or(End::Settled, |over| over.end))
    }

    /// A member says that it holds a run.
    fn on_hold(&mut self, from: NodeId, (id, since): (RunId, Stamp), out: &mut Vec<Command>) {
        let Some(run) = self.runs.get(&id) else {
            return;
        };
        let (me, role, lead) = (self.me, run.role, run.lead);
        let may = self.ranks.is_open(from) || from == run.charge.requester;
        let known = run.lead == Some(from) && !run.is_here();
        if !known && !may {
            return;
        }
        let better = |than: NodeId| self.ranks.is_better(role, from, than);
        let yields = match run.here {
            Here::Yields(_) => true,
            Here::Holds => better(me),
            Here::Kept => false,
        };
        let taken = known
            || (!run.is_here()
                && lead.is_none_or(|lead| !run.heard || !self.ranks.is_open(lead) || better(lead)));
        let here = run.is_here();
        if let Some(run) = self.runs.get_mut(&id) {
            run.keeper(me, from, true);
        }
        if here && yields {
            if let Some(run) = self.runs.get_mut(&id) {
                run.since = since;
                run.out.remove(&from);
            }
            return self.stop(id, Some(from), out);
        }
        if here {
            // It is to yield, and hears so with the next beat: two that each take themselves for the
            // better one would else answer each other without end.
            return;
        }
        let Some(run) = self.runs.get_mut(&id) else {
            return;
        };
        if taken {
            run.out.remove(&from);
            let news = !known || !run.heard || run.since != since;
            (run.lead, run.since, run.heard, run.missed) = (Some(from), since, true, 0);
            if news {
                self.tell_holder(id, out);
            }
        } else if let Some(by) = lead {
            self.reply(from, Message::Held { run: id, by }, out);
        }
    }

    /// Another is said to hold a run: if this node does, the two talk to each other.
    fn on_held(&mut self, from: NodeId, id: RunId, by: NodeId, out: &mut Vec<Command>) {
        let me = self.me;
        if by == me || !self.ranks.is_live(by) {
            return;
        }
        let Some(run) = self.runs.get_mut(&id).filter(|run| run.over.is_none()) else {
            return;
        };
        if run.is_here() {
            run.keeper(me, by, false);
            let runs = vec![(id, run.since)];
            return self.reply(by, Message::Hold { runs }, out);
        }
        // One word of this kind is worth a wait, not more: who says it may be wrong or lie.
        let knows = run.keepers.contains_key(&from) || run.charge.requester == from;
        if knows && !run.heard && !run.hinted && !run.out.contains(&by) && self.ranks.is_open(by) {
            run.hinted = true;
            (run.lead, run.missed) = (Some(by), 0);
            self.tell_holder(id, out);
        }
    }

    /// The holder goes, and takes this node for the next one.
    fn on_yield(&mut self, now: Now, from: NodeId, id: RunId, out: &mut Vec<Command>) {
        let able = self.ranks.is_open(self.me);
        let Some(run) = self.runs.get_mut(&id).filter(|run| run.over.is_none()) else {
            return;
        };
        if run.is_here() {
            return self.announce(id, out);
        }
        if run.lead.is_some_and(|lead| lead != from && run.heard) {
            return;
        }
        if !able && run.charge.requester != self.me {
            return self.reply(from, Message::Unable { run: id }, out);
        }
        if run.lead == Some(from) || run.lead.is_none() || run.lead == Some(self.me) || !run.heard {
            run.leave_out(from);
            run.out.remove(&self.me);
            self.start(now, id, out);
        }
    }

    /// This node cannot run what it was to start.
    pub(super) fn unable(&mut self, now: Now, id: RunId, out: &mut Vec<Command>) {
        let me = self.me;
        let Some(run) = self.runs.get_mut(&id).filter(|run| run.is_here()) else {
            return;
        };
        run.leave_out(me);
        let told: Vec<NodeId> = run.keepers.keys().copied().collect();
        self.stop(id, None, out);
        for to in told {
            self.reply(to, Message::Unable { run: id }, out);
        }
        self.attend(now, id, out);
    }
}
