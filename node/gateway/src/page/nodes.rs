//! `/nodes`: the members of the mesh, the seats, the bases and what this node's store holds.

use askama::Template;
use member::Member;

use super::{Place, Shell, View, Who};
use crate::{
    limits,
    text::{self, Text, When},
};

mod member;

#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) role: Text,
    pub(crate) who: Who,
    pub(crate) epoch: u64,
    pub(crate) since: When,
}

#[derive(Debug)]
pub(crate) struct BaseRow {
    pub(crate) name: Text,
    pub(crate) platform: String,
    pub(crate) digest: String,
    pub(crate) facts: Vec<(Text, Text)>,
}

#[derive(Debug, Template)]
#[template(path = "nodes.html")]
pub(crate) struct Page {
    pub(crate) shell: Shell,
    pub(crate) mesh: String,
    pub(crate) members: Vec<Member>,
    pub(crate) left_out: usize,
    pub(crate) connected: usize,
    /// Members that take work.
    pub(crate) open: usize,
    pub(crate) notices: Vec<Text>,
    pub(crate) seats: Vec<Seat>,
    pub(crate) bases: Vec<BaseRow>,
    pub(crate) facts: Vec<(&'static str, String)>,
    pub(crate) up: When,
}

const FACTS_MAX: usize = 24;
const NOTICES_MAX: usize = 8;

impl Page {
    pub(crate) fn new(view: &View) -> Self {
        let snapshot = &view.snapshot;
        let mut nodes: Vec<_> = snapshot.nodes.iter().collect();
        nodes.sort_by_key(|node| {
            (
                !node.here,
                !node.connected,
                node.operator.clone(),
                node.node,
            )
        });
        let members: Vec<Member> = nodes
            .iter()
            .take(limits::ROWS_MAX)
            .map(|node| Member::new(view, node))
            .collect();
        let notices = snapshot.notices.iter().take(NOTICES_MAX);
        Self {
            shell: view.shell("Nodes", Place::Nodes),
            mesh: snapshot.mesh.to_string(),
            left_out: nodes.len() - members.len(),
            connected: nodes.iter().filter(|node| node.connected).count(),
            open: nodes.iter().filter(|node| member::takes_work(node)).count(),
            members,
            notices: notices.map(|notice| Text::line(notice)).collect(),
            seats: seats(view),
            bases: bases(view),
            facts: facts(view),
            up: When::new(snapshot.started, view.now),
        }
    }
}

fn seats(view: &View) -> Vec<Seat> {
    let seat = |seat: &caravan_protocol::view::SeatView| Seat {
        role: Text::new(&seat.role),
        who: view.who(seat.holder),
        epoch: seat.epoch,
        since: When::new(seat.since, view.now),
    };
    view.snapshot
        .seats
        .iter()
        .take(limits::ROWS_MAX)
        .map(seat)
        .collect()
}

fn bases(view: &View) -> Vec<BaseRow> {
    let base = |base: &caravan_protocol::policy::Base| BaseRow {
        name: Text::new(&base.name),
        platform: base.platform.to_string(),
        digest: base.tree.to_string(),
        facts: base
            .facts
            .iter()
            .take(FACTS_MAX)
            .map(|(name, value)| (Text::new(name), Text::new(value)))
            .collect(),
    };
    view.snapshot
        .bases
        .iter()
        .take(limits::ROWS_MAX)
        .map(base)
        .collect()
}

fn facts(view: &View) -> Vec<(&'static str, String)> {
    let (store, counters) = (&view.snapshot.store, &view.snapshot.counters);
    vec![
        ("Store", text::bytes(store.bytes)),
        ("Blobs", text::number(store.blobs)),
        ("Layers", text::number(store.layers)),
        ("Claims", text::number(store.claims)),
        ("Executed here", text::number(counters.executed)),
        ("Answered from claims", text::number(counters.cached)),
        ("Done by other nodes", text::number(counters.remote)),
        ("Infrastructure failures", text::number(counters.infra)),
        (
            "Fetched from other nodes",
            text::bytes(counters.fetched_bytes),
        ),
    ]
}
