//! What happens once a second: holders say so, silence is counted, and what was not answered is said
//! again.

use std::collections::BTreeMap;

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
    /// Once a second: holders say so, silence is noted, and what was not answered is said again.
    pub(super) fn tick(&mut self, now: Now, out: &mut Vec<Command>) {
        if !self.is_due(now) {
            return;
        }
        let late = now.time.since(self.beaten).as_millis() > u128::from(limits::LATE_MS);
        self.beaten = now.time;
        let all: Vec<RunId> = self.runs.keys().copied().collect();
        let mut held: BTreeMap<NodeId, Vec<(RunId, Stamp)>> = BTreeMap::new();
        for id in all {
            if self.is_told(id, out) {
                continue;
            }
            let Some(run) = self.runs.get_mut(&id) else {
                continue;
            };
            if run.charge.expires <= now.stamp {
                self.finish(id, End::Expired, false, out);
                continue;
            }
            if late {
                run.missed = 0;
            }
            if !run.is_here() {
                self.watch(now, id, out);
                continue;
            }
            for to in run.keepers.keys().filter(|to| self.ranks.is_live(**to)) {
                held.entry(*to).or_default().push((id, run.since));
            }
            if let Here::Yields(to) = run.here {
                run.missed += 1;
                if run.missed >= limits::BEATS_MISSED_MAX {
                    // Another, then.
                    run.missed = 0;
                    run.leave_out(to);
                } else {
                    self.send_keep(id, to, out);
                    self.reply(to, Message::Yield { run: id }, out);
                }
            }
            self.top_up(id, out);
            self.attend(now, id, out);
        }
        for (to, mut runs) in held {
            runs.truncate(limits::HOLD_MAX);
            self.reply(to, Message::Hold { runs }, out);
        }
    }

    /// Tells the end of a run again; whether it is over.
    fn is_told(&mut self, id: RunId, out: &mut Vec<Command>) -> bool {
        let Some(run) = self.runs.get_mut(&id) else {
            return true;
        };
        let Some(over) = &mut run.over else {
            return false;
        };
        over.beats_left = over.beats_left.saturating_sub(1);
        let (end, left) = (over.end, over.beats_left);
        let open: Vec<NodeId> = over.open.iter().copied().collect();
        if left == 0 || open.is_empty() {
            self.forget(id, out);
            return true;
        }
        for to in open.into_iter().filter(|to| self.ranks.is_live(*to)) {
            out.push(Command::Send {
                to,
                message: told(id, end),
            });
        }
        true
    }

    /// Counts what a holder does not say.
    fn watch(&mut self, now: Now, id: RunId, out: &mut Vec<Command>) {
        let Some(run) = self.runs.get_mut(&id) else {
            return;
        };
        let Some(lead) = run.lead else {
            // All were tried: from the beginning.
            run.out.clear();
            run.hinted = false;
            return self.attend(now, id, out);
        };
        run.missed += 1;
        if run.missed >= limits::BEATS_MISSED_MAX {
            run.leave_out(lead);
            (run.lead, run.heard, run.missed) = (None, false, 0);
            return self.attend(now, id, out);
        }
        if run.missed > 1 {
            // It may have forgotten the charge, or that it has told the end.
            if let Some(kept) = run.keepers.get_mut(&lead) {
                *kept = false;
            }
        }
        if !run.heard || run.missed > 1 {
            self.send_keep(id, lead, out);
        }
    }
}
