//! Between the engine of roles and the world: what it asks for is done here, what happens is told
//! to it. It owns the runs that this node was charged with or charges others with, and what is shown
//! of them elsewhere. It decides nothing about who holds what.

use std::collections::BTreeMap;

use caravan_protocol::{
    identity::Tier,
    ids::{NodeId, RoleId, RunId},
    member::{Mode, Now},
    offer,
    role::{self, Command, End, Event, Message, Seat},
    time::{Stamp, Time},
    view::State,
};

use super::Driver;
use crate::clock;

mod draft;
mod hold;
mod mirror;
mod patch;
mod show;

pub(crate) use draft::{Drafted, params};
pub(crate) use hold::Heads;

/// What this node has to do with roles.
pub(crate) struct Roles {
    pub(crate) engine: role::Engine,
    pub(crate) wake: Option<Time>,
    /// Runs that were asked for here and are not charged yet.
    drafts: BTreeMap<RunId, draft::Draft>,
    /// What charged runs are about, as far as it is here.
    kept: BTreeMap<RunId, hold::Kept>,
    /// Who is shown the runs that are held here.
    viewers: BTreeMap<RunId, BTreeMap<NodeId, mirror::Viewer>>,
    /// What has come of runs that are held elsewhere.
    mirrors: BTreeMap<RunId, (NodeId, u64)>,
    /// Runs that have ended here, and until when the others are waited for that are to see it.
    ending: BTreeMap<RunId, Time>,
    /// Roles in whose name other nodes' work runs here: who gave it away, and whose it is.
    served: BTreeMap<RoleId, (NodeId, Option<NodeId>)>,
}

/// What a task reports about a role's run.
pub(crate) enum Told {
    /// What a run that was asked for here is about.
    Drafted {
        run: RunId,
        found: Result<Drafted, String>,
    },
    /// The repositories of a run that runs here can be had by others.
    Packed {
        run: RunId,
        found: Result<Vec<role::Repository>, String>,
    },
    /// What a charge names is here, or not.
    Inputs {
        run: RunId,
        found: Result<Heads, String>,
    },
}

impl Roles {
    pub(crate) fn new(me: NodeId, mesh: caravan_protocol::ids::MeshId) -> Self {
        Self {
            engine: role::Engine::new(me, mesh),
            wake: None,
            drafts: BTreeMap::new(),
            kept: BTreeMap::new(),
            viewers: BTreeMap::new(),
            mirrors: BTreeMap::new(),
            ending: BTreeMap::new(),
            served: BTreeMap::new(),
        }
    }
}

impl Driver {
    /// Tells the engine of roles something and does what it asks for.
    pub(crate) fn role(&mut self, event: Event) {
        let mut commands = Vec::new();
        let now = Now {
            time: clock::now(),
            stamp: clock::stamp(),
        };
        self.roles.engine.handle(now, event, &mut commands);
        for command in commands {
            self.obey_role(command);
        }
    }

    /// The time that the engine of roles asked for has come.
    pub(crate) fn beat_roles(&mut self) {
        self.roles.wake = None;
        self.role(Event::Tick);
        self.show_roles();
        self.look_at_endings();
    }

    fn obey_role(&mut self, command: Command) {
        match command {
            Command::Send { to, message } => self.send_role(to, &message),
            Command::Keep(run) => self.keep_inputs(run),
            Command::Start(run) => self.start_charged(run),
            Command::Stop(run) => self.let_go(run),
            Command::Holder { run, holder, since } => self.on_holder(run, holder, since),
            Command::Ended { run, end } => self.on_role_ended(run, end),
            Command::Forget(run) => {
                self.roles.kept.remove(&run);
                self.roles.viewers.remove(&run);
                self.roles.mirrors.remove(&run);
                self.roles.ending.remove(&run);
                self.changed = true;
            }
            Command::WakeAt(at) => self.roles.wake = Some(at),
            Command::Reject { from, reason } => {
                tracing::debug!(peer = %from.fmt_short(), %reason, "refused what a member said of roles");
            }
        }
    }

    fn send_role(&self, to: NodeId, message: &Message) {
        tracing::trace!(peer = %to.fmt_short(), ?message, "says of roles");
        let Some(mesh) = &self.shared.mesh else {
            return;
        };
        match message.encode() {
            Ok(bytes) => {
                if let Err(error) = mesh.send(to, bytes) {
                    // Everything that matters is said again.
                    tracing::debug!(peer = %to.fmt_short(), %error, "could not send");
                }
            }
            Err(error) => tracing::warn!(%error, "could not encode a message of roles"),
        }
    }

    /// A member said something about roles.
    pub(crate) fn hear_role(&mut self, from: NodeId, bytes: &[u8]) {
        let message = match Message::decode(bytes) {
            Ok(message) => message,
            Err(error) => {
                tracing::debug!(peer = %from.fmt_short(), %error, "bad message");
                return;
            }
        };
        tracing::trace!(peer = %from.fmt_short(), ?message, "hears of roles");
        match message {
            Message::Shown { run, seq, patch } => self.on_shown(from, run, (seq, &patch)),
            Message::Seen { run, seq } => self.on_seen(from, run, seq),
            Message::Keep { charge, lead } => {
                if self.membership.roster.vouches(charge.signer()).is_none() {
                    tracing::debug!(peer = %from.fmt_short(), "a charge that no member signed");
                    return;
                }
                let message = Message::Keep { charge, lead };
                self.role(Event::Message { from, message });
            }
            message => self.role(Event::Message { from, message }),
        }
    }

    /// How a member stands has changed, as far as roles go by it.
    pub(crate) fn seat_member(&mut self, node: NodeId) {
        let me = self.shared.home.key.node();
        if node == me {
            return self.seat_self();
        }
        let member = self.shared.mesh.as_ref().and_then(|mesh| mesh.member(node));
        let live = member.filter(caravan_mesh::Member::is_live);
        let seat = live.map(|member| Seat {
            tier: member.cert.tier,
            open: member.takes_work(),
        });
        self.role(Event::Member { node, seat });
        self.serve_roles();
        if seat.is_some() {
            self.charge_drafts();
        }
    }

    /// How this node stands has changed, as far as roles go by it.
    pub(crate) fn seat_self(&mut self) {
        let node = self.shared.home.key.node();
        let tier = self.membership.roster.vouches(node).map(|cert| cert.tier);
        let seat = Seat {
            tier: tier.unwrap_or(Tier::Donor),
            open: self.stance.standing.mode == Mode::Open,
        };
        let seat = Some(seat);
        self.role(Event::Member { node, seat });
    }

    fn on_holder(&mut self, run: RunId, holder: Option<NodeId>, _since: Stamp) {
        self.changed = true;
        let me = self.shared.home.key.node();
        let Some(charge) = self.roles.engine.charge(run) else {
            return;
        };
        let (role, name) = (charge.role_id(), charge.role.clone());
        let held = holder.map(|node| node.fmt_short());
        tracing::info!(run = %run.fmt_short(), role = name, holder = held, here = holder == Some(me), "a role's run");
        if let Some(served) = self.roles.served.get_mut(&role) {
            served.1 = holder;
        }
        self.market(offer::Event::Holder { role, node: holder });
    }

    /// Work goes on here in the name of a role, given away by `owner`: should that one go, its heir is
    /// told of it.
    pub(crate) fn serve_role(&mut self, role: RoleId, owner: NodeId) {
        while self.roles.served.len() >= role::limits::CHARGES_MAX {
            self.roles.served.pop_first();
        }
        let served = self.roles.served.entry(role).or_insert((owner, None));
        served.0 = owner;
        self.serve_roles();
    }

    /// Tells the market whose the work is that runs here in the name of roles, where that has changed.
    fn serve_roles(&mut self) {
        let mut moved = Vec::new();
        for (role, (owner, known)) in &mut self.roles.served {
            let heir = self.roles.engine.heir(*role, *owner);
            if *known != heir {
                *known = heir;
                moved.push((*role, heir));
            }
        }
        for (role, node) in moved {
            self.market(offer::Event::Holder { role, node });
        }
    }

    fn on_role_ended(&mut self, run: RunId, end: End) {
        self.changed = true;
        let open = self.runs.get(&run);
        if open.is_none_or(|run| run.view.finished.is_some()) {
            return;
        }
        let (state, words) = match end {
            End::Cancelled => (State::Cancelled, "cancelled by request"),
            End::Expired => (
                State::Cancelled,
                "nobody brought it to its end in a day; ask again: finished steps are kept",
            ),
            End::Settled => (
                State::Cancelled,
                "another node brought it to its end, and what that was did not arrive here; ask \
                 again: finished steps are kept",
            ),
        };
        self.end_run(run, state, Some(words.to_owned()));
    }
}
