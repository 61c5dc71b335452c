//! Whether this node takes work: the reasons are gathered here, and what follows from them is told
//! to the market, to the mesh and to people. Looked at now and then, and at once when somebody
//! says something.

use std::time::Duration;

use caravan_protocol::{
    facts::Facts,
    identity::cordon::Cordon,
    offer,
    time::{Stamp, Time},
};

use super::{Driver, Shared, certs, council, drain::Drain};
use crate::{
    build::chain,
    clock,
    facts::Disk,
    home::Membership,
    mode::{Going, Paused, Reasons, Standing},
    renewal::Renewal,
};

/// How often it is looked at.
pub(crate) const LOOK: Duration = Duration::from_secs(2);
/// How often the disk is.
const DISK_LOOK: Duration = Duration::from_secs(60);
/// How long a twin that is not heard any more is feared.
const TWIN_MEMORY: Duration = Duration::from_secs(600);
/// How long passing trouble is told.
const TROUBLE_MEMORY: Duration = Duration::from_secs(900);
/// Most passing troubles that are told at once.
const TROUBLES_MAX: usize = 8;
/// Record of its operator's pause.
const PAUSED: (&str, &str) = ("mode", "paused");

/// What a node knows of its own standing.
pub(crate) struct Stance {
    pub(crate) reasons: Reasons,
    pub(crate) standing: Standing,
    /// What others are told.
    pub(crate) facts: Facts,
    /// Whether they were.
    told: bool,
    pub(crate) renewal: Renewal,
    pub(crate) cordons: council::Cordons,
    pub(crate) drain: Option<Drain>,
    /// When another machine was last heard with this node's key.
    twin: Option<Time>,
    disk_seen: Option<Time>,
    /// Trouble that passes, each with the time at which it was last met.
    troubles: Vec<(Time, String)>,
}

impl Stance {
    /// Of a node that has just started.
    pub(crate) fn new(shared: &Shared, membership: &Membership) -> Self {
        let operator = certs::operator(shared, membership);
        let reasons = Reasons {
            unable: unable(shared),
            paused: kept_pause(shared, operator),
            ..Reasons::default()
        };
        Self {
            standing: Reasons::default().standing(),
            reasons,
            facts: shared.facts.clone(),
            told: false,
            renewal: Renewal::default(),
            cordons: council::Cordons::default(),
            drain: None,
            twin: None,
            disk_seen: None,
            troubles: Vec::new(),
        }
    }

    /// Notes trouble for those who look.
    pub(crate) fn trouble(&mut self, words: String) {
        let now = clock::now();
        self.troubles.retain(|(_, known)| *known != words);
        if self.troubles.len() >= TROUBLES_MAX {
            self.troubles.remove(0);
        }
        self.troubles.push((now, words));
    }

    /// Another machine speaks with this node's key.
    pub(crate) fn twin(&mut self) {
        self.twin = Some(clock::now());
        self.reasons.twin = true;
    }
}

/// Why a node runs no job at all, if it runs none.
fn unable(shared: &Shared) -> Option<String> {
    if shared.config.slots > 0 {
        return None;
    }
    let lacking = shared.sandbox.lacking.first();
    Some(match lacking.filter(|_| shared.sandbox.runtime == "none") {
        Some(lacking) => format!("it runs no jobs, and could not: {lacking}"),
        None => "it has no slots: it is to run no jobs".to_owned(),
    })
}

fn kept_pause(shared: &Shared, operator: String) -> Option<(String, Paused)> {
    let (kind, name) = PAUSED;
    match shared.home.load::<Paused>(kind, name) {
        Ok(paused) => paused.map(|paused| (operator, paused)),
        // Better a node that does nothing than one that works though it was told not to.
        Err(error) => {
            tracing::warn!(error = %chain(&error), "the record of a pause is damaged; `caravan node resume` makes it anew");
            let why = "its record of a pause is damaged".to_owned();
            let at = Stamp::default();
            Some((operator, Paused { why, at }))
        }
    }
}

impl Driver {
    /// Everything that only time changes.
    pub(crate) fn look(&mut self) {
        let (now, stamp) = (clock::now(), clock::stamp());
        self.settle();
        let stance = &mut self.stance;
        stance.reasons.closed = self.shared.config.hours.as_ref().and_then(|hours| {
            let minute = clock::minute_of_day(stamp);
            (!hours.allows(minute)).then(|| (hours.clone(), hours.next_change(minute)))
        });
        let is_over = |since: Time, memory| now.since(since) >= memory;
        if stance.twin.is_some_and(|heard| is_over(heard, TWIN_MEMORY)) {
            stance.twin = None;
            stance.reasons.twin = false;
        }
        stance
            .troubles
            .retain(|(since, _)| !is_over(*since, TROUBLE_MEMORY));
        if stance.disk_seen.is_none_or(|seen| is_over(seen, DISK_LOOK)) {
            stance.disk_seen = Some(now);
            let disk = Disk::of(&self.shared.config.data);
            stance.reasons.full = disk.is_low().then_some(disk);
            let told = Disk {
                total: stance.facts.disk_bytes,
                free: stance.facts.disk_free_bytes,
            };
            if disk.is_news(told) {
                (stance.facts.disk_bytes, stance.facts.disk_free_bytes) = (disk.total, disk.free);
                stance.told = false;
            }
        }
        self.look_at_cert();
        self.look_at_cordons();
        self.look_at_drain();
        self.stand();
        self.tell_presence();
    }

    /// Weighs the reasons anew, and acts where that has changed something.
    pub(crate) fn stand(&mut self) {
        let standing = self.stance.reasons.standing();
        if standing == self.stance.standing {
            return;
        }
        match &standing.why {
            Some(why) => tracing::info!(%why, "this node takes no work of others"),
            None => tracing::info!("this node takes work"),
        }
        self.stance.facts.why = standing.why.clone().unwrap_or_default();
        self.stance.standing = standing;
        self.market(offer::Event::Lend(self.stance.standing.lends));
        self.market(offer::Event::Pause(!self.stance.standing.works));
        self.stance.told = false;
        self.tell_presence();
        self.seat_self();
    }

    /// Tells the mesh what this node is and whether it takes work, if that is news.
    fn tell_presence(&mut self) {
        if self.stance.told {
            return;
        }
        self.changed = true;
        let Some(mesh) = &self.shared.mesh else {
            return;
        };
        let (facts, mode) = (self.stance.facts.clone(), self.stance.standing.mode);
        match mesh.set_presence(facts, mode) {
            Ok(()) => self.stance.told = true,
            // The next look tells it again.
            Err(error) => {
                tracing::warn!(%error, "members do not know this node's standing yet");
            }
        }
    }

    /// Its operator wants no new work here. Says why the node takes none now.
    pub(crate) fn pause(&mut self, why: &str) -> Result<Option<String>, String> {
        let paused = Paused {
            why: Cordon::plain(why),
            at: clock::stamp(),
        };
        let (kind, name) = PAUSED;
        let kept = self.shared.home.save(kind, name, &paused);
        kept.map_err(|error| chain(&error))?;
        let operator = certs::operator(&self.shared, &self.membership);
        self.stance.reasons.paused = Some((operator, paused));
        self.restand()
    }

    /// Its operator wants work again. Says why the node takes none all the same, if it does not.
    pub(crate) fn resume(&mut self) -> Result<Option<String>, String> {
        let (kind, name) = PAUSED;
        let forgotten = self.shared.home.store.remove_record(kind, name);
        forgotten.map_err(|error| chain(&error))?;
        self.stance.reasons.paused = None;
        if self.stance.reasons.going == Some(Going::Draining) {
            self.stop_draining();
        }
        self.restand()
    }

    fn restand(&mut self) -> Result<Option<String>, String> {
        self.stand();
        // Whoever asked looks at once.
        self.publish();
        Ok(self.stance.standing.why.clone())
    }

    /// What its operator should know.
    pub(crate) fn notices(&self) -> Vec<String> {
        let mut notices = Vec::new();
        if self.stance.reasons.revoked || self.stance.reasons.twin {
            notices.extend(self.stance.standing.why.clone());
        }
        if let Some(mesh) = &self.shared.mesh {
            notices.extend(mesh.clock_ahead_ms().map(clock_words));
            notices.extend(mesh.waiting());
        }
        notices.extend(self.cert_notice());
        notices.extend(self.shared.unusable.iter().cloned());
        notices.extend(self.stance.troubles.iter().map(|(_, words)| words.clone()));
        notices
    }

    /// Whether this node is the one whose key signs members.
    pub(crate) fn is_founder(&self) -> bool {
        certs::is_founder(&self.membership, self.shared.home.key.node())
    }
}

/// How far this machine's clock is from the others', in words. A node whose clock is hours off is
/// no member to the others: its certificates are not valid yet, or not any more.
fn clock_words(off_ms: i64) -> String {
    let minutes = off_ms.unsigned_abs() / 60_000;
    let far = match minutes {
        0..120 => format!("{minutes} minutes"),
        _ => format!("{} hours", minutes / 60),
    };
    let way = if off_ms < 0 { "behind" } else { "ahead of" };
    format!(
        "this machine's clock is {far} {way} those of other members: set it (timedatectl set-ntp true), \
         for certificates are judged by it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_told_with_how_far_and_what_to_do() {
        let told = clock_words(-3 * 3_600_000);
        assert!(
            told.contains("3 hours behind") && told.contains("set it"),
            "{told}"
        );
        let told = clock_words(5 * 60_000);
        assert!(told.contains("5 minutes ahead of"), "{told}");
        assert!(!clock_words(i64::MIN).is_empty());
    }
}
