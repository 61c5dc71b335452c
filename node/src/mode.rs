//! Whether a node takes work, and why not: the reasons that hold now, weighed into one standing.
//! Pure; the driver finds the reasons and acts on the standing.

use caravan_protocol::{limits::FACTS_WHY_BYTES_MAX, member::Mode, time::Stamp, view::ModeView};
use serde::{Deserialize, Serialize};

use crate::{config::hours::Hours, facts::Disk};

/// Its operator's word that a node takes no work, kept over restarts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Paused {
    /// Why, for people; it may be empty.
    pub(crate) why: String,
    /// Since when.
    pub(crate) at: Stamp,
}

/// How the reason of a cordoned node begins.
pub(crate) const CORDONED: &str = "cordoned by the council";

/// How far a node that goes away is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Going {
    /// It ends what it has.
    Draining,
    /// It has nothing left.
    Leaving,
    /// It has said farewell.
    Gone,
}

/// All reasons for which a node takes no work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reasons {
    /// It is no member any more.
    pub(crate) revoked: bool,
    /// Another machine speaks with its key.
    pub(crate) twin: bool,
    /// It goes away.
    pub(crate) going: Option<Going>,
    /// Who speaks for the council, and its reason, if it is cordoned.
    pub(crate) cordoned: Option<(String, String)>,
    /// Who runs it, and his reason.
    pub(crate) paused: Option<(String, Paused)>,
    /// Its hours, and the minute of the day in which it opens again, while it is closed.
    pub(crate) closed: Option<(Hours, u16)>,
    /// Its disk, if that is nearly full.
    pub(crate) full: Option<Disk>,
    /// Why it runs no job at all.
    pub(crate) unable: Option<String>,
}

/// What follows from them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    /// What others are told.
    pub(crate) mode: Mode,
    /// What people are told.
    pub(crate) view: ModeView,
    /// Whether it starts attempts at all.
    pub(crate) works: bool,
    /// Whether it takes jobs of others.
    pub(crate) lends: bool,
    /// Why not.
    pub(crate) why: Option<String>,
}

impl Reasons {
    /// The first of them that holds says why; none leaves the node open.
    pub(crate) fn standing(&self) -> Standing {
        let shut = |mode, view, why: String| Standing {
            mode,
            view,
            works: true,
            lends: false,
            why: Some(bounded(&why)),
        };
        if self.revoked {
            let why = "revoked by the council: take its membership away with `caravan node leave`";
            return shut(Mode::Left, ModeView::Revoked, why.to_owned());
        }
        if let Some(going) = self.going {
            return going.standing();
        }
        if self.twin {
            let why = "another machine runs with this node's key: stop one of the two";
            return shut(Mode::Paused, ModeView::Paused, why.to_owned());
        }
        if let Some((by, why)) = &self.cordoned {
            let why = and_why(&format!("{CORDONED} ({by})"), why);
            return shut(Mode::Paused, ModeView::Cordoned, why);
        }
        if let Some((operator, paused)) = &self.paused {
            let why = and_why(&format!("paused by {operator}"), &paused.why);
            let shut = shut(Mode::Paused, ModeView::Paused, why);
            return Standing {
                works: false,
                ..shut
            };
        }
        if let Some((hours, opens)) = &self.closed {
            let (hour, minute) = (opens / 60, opens % 60);
            let why = format!(
                "outside of its hours ({hours}): it takes work again at {hour:02}:{minute:02}"
            );
            let shut = shut(Mode::Paused, ModeView::Paused, why);
            return Standing {
                works: false,
                ..shut
            };
        }
        if let Some(disk) = self.full {
            let (free, least) = (disk.free >> 20, disk.least() >> 20);
            let why =
                format!("its disk is nearly full: {free} MiB are free, {least} MiB are wanted");
            return shut(Mode::Paused, ModeView::Paused, why);
        }
        if let Some(why) = &self.unable {
            return shut(Mode::Paused, ModeView::Paused, why.clone());
        }
        Standing {
            mode: Mode::Open,
            view: ModeView::Open,
            works: true,
            lends: true,
            why: None,
        }
    }
}

impl Going {
    /// What was asked for here is still done here while it drains.
    fn standing(self) -> Standing {
        let (mode, view, why) = match self {
            Self::Draining => (
                Mode::Draining,
                ModeView::Draining,
                "draining: it ends what it has, takes nothing new and leaves",
            ),
            Self::Leaving => (Mode::Leaving, ModeView::Leaving, "leaving"),
            Self::Gone => (Mode::Left, ModeView::Left, "gone"),
        };
        Standing {
            mode,
            view,
            works: true,
            lends: false,
            why: Some(why.to_owned()),
        }
    }
}

fn and_why(what: &str, why: &str) -> String {
    if why.is_empty() {
        what.to_owned()
    } else {
        format!("{what}: {why}")
    }
}

/// One line that fits where others are told.
pub(crate) fn bounded(why: &str) -> String {
    let mut line = String::new();
    for c in why.trim().chars() {
        let c = if c.is_control() { ' ' } else { c };
        if line.len() + c.len_utf8() > FACTS_WHY_BYTES_MAX {
            break;
        }
        line.push(c);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paused(why: &str) -> Option<(String, Paused)> {
        let paused = Paused {
            why: why.to_owned(),
            at: Stamp::from_ms(0),
        };
        Some(("ann".to_owned(), paused))
    }

    #[test]
    fn a_node_without_reasons_is_open() {
        let standing = Reasons::default().standing();
        assert_eq!((standing.mode, standing.why), (Mode::Open, None));
        assert!(standing.works && standing.lends);
    }

    #[test]
    fn each_reason_alone_is_said_and_keeps_work_of_others_away() {
        type Change = fn(&mut Reasons);
        let cases: [(Change, ModeView, &str); 9] = [
            (|r| r.revoked = true, ModeView::Revoked, "node leave"),
            (|r| r.twin = true, ModeView::Paused, "this node's key"),
            (
                |r| r.going = Some(Going::Draining),
                ModeView::Draining,
                "ends what it has",
            ),
            (|r| r.going = Some(Going::Gone), ModeView::Left, "gone"),
            (
                |r| r.cordoned = Some(("ann".to_owned(), "a disk".to_owned())),
                ModeView::Cordoned,
                "cordoned by the council (ann): a disk",
            ),
            (
                |r| r.paused = paused("lunch"),
                ModeView::Paused,
                "paused by ann: lunch",
            ),
            (
                |r| r.closed = Some(("22:00-06:00".parse().expect("hours"), 22 * 60)),
                ModeView::Paused,
                "(22:00-06:00): it takes work again at 22:00",
            ),
            (
                |r| {
                    r.full = Some(Disk {
                        total: 1 << 40,
                        free: 300 << 20,
                    });
                },
                ModeView::Paused,
                "300 MiB are free, 1024 MiB",
            ),
            (
                |r| r.unable = Some("it has no slots".to_owned()),
                ModeView::Paused,
                "no slots",
            ),
        ];
        for (change, view, words) in cases {
            let mut reasons = Reasons::default();
            change(&mut reasons);
            let standing = reasons.standing();
            let why = standing.why.expect("a reason");
            assert_eq!(standing.view, view, "{why}");
            assert!(why.contains(words), "{why}");
            assert!(!standing.lends && !standing.mode.takes_work(), "{why}");
        }
    }

    #[test]
    fn a_pause_stops_own_work_too_and_a_drain_ends_it() {
        let reasons = Reasons {
            paused: paused(""),
            ..Reasons::default()
        };
        assert!(!reasons.standing().works);
        assert_eq!(reasons.standing().why.as_deref(), Some("paused by ann"));
        let reasons = Reasons {
            going: Some(Going::Draining),
            ..reasons
        };
        assert!(reasons.standing().works, "a drain ends what was asked for");
    }

    #[test]
    fn reasons_fit_where_they_are_told() {
        let reasons = Reasons {
            paused: paused(&"é\n".repeat(500)),
            ..Reasons::default()
        };
        let why = reasons.standing().why.expect("a reason");
        assert!(why.len() <= FACTS_WHY_BYTES_MAX && !why.contains('\n'));
        let facts = caravan_protocol::facts::Facts {
            why,
            ..Default::default()
        };
        assert_eq!(facts.check(), Ok(()));
    }
}
