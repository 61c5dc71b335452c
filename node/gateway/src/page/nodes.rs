//! `/nodes`: the members of the mesh, the seats, the bases and what this node's store holds.

use askama::Template;
use caravan_protocol::identity::Tier;

use super::{Place, Shell, View, Who};
use crate::{
    limits,
    text::{self, Text, When},
};

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) who: Who,
    pub(crate) tier: Tier,
    pub(crate) connected: bool,
    pub(crate) platforms: Vec<String>,
    pub(crate) seats: Vec<Text>,
    pub(crate) running: u32,
    pub(crate) slots: u32,
    /// Width of the used part of a bar that is 100 wide.
    pub(crate) used: u32,
}

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
    pub(crate) seats: Vec<Seat>,
    pub(crate) bases: Vec<BaseRow>,
    pub(crate) facts: Vec<(&'static str, String)>,
    pub(crate) up: When,
}

const FACTS_MAX: usize = 24;
const PLATFORMS_MAX: usize = 16;

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
            .map(|node| Member {
                id: node.node.to_string(),
                who: view.who(node.node),
                tier: node.tier,
                connected: node.connected,
                platforms: node
                    .platforms
                    .iter()
                    .take(PLATFORMS_MAX)
                    .map(ToString::to_string)
                    .collect(),
                seats: snapshot
                    .seats
                    .iter()
                    .filter(|seat| seat.holder == node.node)
                    .take(PLATFORMS_MAX)
                    .map(|seat| Text::new(&seat.role))
                    .collect(),
                running: node.running,
                slots: node.slots,
                used: used(node.running, node.slots),
            })
            .collect();
        Self {
            shell: view.shell("Nodes", Place::Nodes),
            mesh: snapshot.mesh.to_string(),
            left_out: nodes.len() - members.len(),
            connected: nodes.iter().filter(|node| node.connected).count(),
            members,
            seats: seats(view),
            bases: bases(view),
            facts: facts(view),
            up: When::new(snapshot.started, view.now),
        }
    }
}

fn used(running: u32, slots: u32) -> u32 {
    let part = u64::from(running) * 100 / u64::from(slots.max(1));
    u32::try_from(part).unwrap_or(100).min(100)
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
