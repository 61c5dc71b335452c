//! The membership engine with what a real node gives it: its own directory, its key and roster, and
//! two clocks. The actor tells it what happens and does what it asks for; nothing here touches the
//! network.

use std::time::Instant;

use caravan_protocol::{
    identity::{NodeCert, Refused, Roster, Signed},
    ids::NodeId,
    member::{
        Command, Directory as _, Engine, Event, Message, Notary, Now, Revocation, Sealed, Setup,
        Slot, Table,
    },
    time::Time,
};

use crate::actor::stamp;

pub(crate) struct Membership {
    engine: Engine,
    table: Table,
    notary: Notary,
    began: Instant,
}

impl Membership {
    /// The engine of this node, which knows nobody yet.
    pub(crate) fn new(setup: Setup, notary: Notary) -> Self {
        let mut table = Table::new();
        let engine = Engine::new(setup, &mut table).expect("an empty directory has room for one");
        Self {
            engine,
            table,
            notary,
            began: Instant::now(),
        }
    }

    pub(crate) const fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) const fn table(&self) -> &Table {
        &self.table
    }

    pub(crate) const fn roster(&self) -> &Roster {
        self.notary.roster()
    }

    pub(crate) const fn roster_mut(&mut self) -> &mut Roster {
        self.notary.roster_mut()
    }

    /// Tells the engine what happened; what it asks for goes to the end of `out`.
    pub(crate) fn tell(&mut self, event: Event, out: &mut Vec<Command>) {
        let now = Now {
            time: self.time(Instant::now()),
            stamp: stamp(),
        };
        let parts = (&mut self.table, &mut self.notary);
        self.engine.handle(parts, now, event, out);
    }

    /// What a node has said, if there is room for it.
    pub(crate) fn heard(&mut self, from: NodeId, message: Message, out: &mut Vec<Command>) {
        if let Some(from) = self.table.intern(&from) {
            self.tell(Event::Message { from, message }, out);
        }
    }

    pub(crate) fn slot(&self, node: NodeId) -> Option<Slot> {
        self.table.find(&node)
    }

    pub(crate) fn node(&self, slot: Slot) -> NodeId {
        self.table.place(slot).node
    }

    /// Whether this node and another probe each other.
    pub(crate) fn is_neighbour(&self, node: NodeId) -> bool {
        self.slot(node)
            .is_some_and(|slot| self.engine.neighbours().any(|near| near == slot))
    }

    pub(crate) fn neighbours(&self) -> Vec<NodeId> {
        self.engine
            .neighbours()
            .map(|slot| self.node(slot))
            .collect()
    }

    /// When the engine wants a tick.
    pub(crate) fn wake_at(&self) -> Instant {
        let at = self.engine.wake_at().since(Time::default());
        self.began.checked_add(at).unwrap_or(self.began)
    }

    fn time(&self, now: Instant) -> Time {
        Time::default() + now.saturating_duration_since(self.began)
    }
}

/// A certificate as the engine passes it on.
pub(crate) fn seal_cert(cert: &Signed<NodeCert>, body: &NodeCert) -> Result<Sealed, Refused> {
    Notary::seal_cert(cert, body)
}

/// A revocation as the engine passes it on.
pub(crate) fn seal_revocation(
    revocation: &Signed<Revocation>,
    body: &Revocation,
) -> Result<Sealed, Refused> {
    Notary::seal_revocation(revocation, body)
}
