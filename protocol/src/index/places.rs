//! Which members keep the claims about which keys. Keys are divided into parts, and each part's
//! nodes are drawn once for as long as the members are the same: to draw takes time for each member.

use std::collections::{BTreeMap, BTreeSet};

use super::{DOMAIN, PARTS, REPLICAS};
use crate::{
    ids::{ActionKey, NodeId},
    rendezvous,
    time::Stamp,
};

/// A member that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    operator: String,
    /// Names its present life: one that was started anew has forgotten what it was told.
    life: Stamp,
}

/// The nodes of each part.
#[derive(Debug, Clone, Default)]
pub struct Places {
    members: BTreeMap<NodeId, Member>,
    /// Those parts that were asked for since they changed last.
    drawn: BTreeMap<u16, Vec<NodeId>>,
}

/// A part with the nodes that are to be told of it anew.
pub(super) type Moved = (u16, Vec<NodeId>);

/// The part that a key belongs to.
pub(super) fn part_of(key: ActionKey) -> u16 {
    let bytes = key.as_bytes();
    u16::from_be_bytes([bytes[0], bytes[1]]) % PARTS
}

impl Places {
    /// The nodes that keep the claims about `key`, the first of them first.
    pub fn of(&mut self, key: ActionKey) -> &[NodeId] {
        self.of_part(part_of(key))
    }

    pub(super) fn of_part(&mut self, part: u16) -> &[NodeId] {
        if !self.drawn.contains_key(&part) {
            let drawn = self.draw(part);
            self.drawn.insert(part, drawn);
        }
        self.drawn.get(&part).map_or(&[], Vec::as_slice)
    }

    /// Whether a node is here.
    #[must_use]
    pub fn knows(&self, node: NodeId) -> bool {
        self.members.contains_key(&node)
    }

    /// Who runs a node that is here.
    #[must_use]
    pub fn operator(&self, node: NodeId) -> Option<&str> {
        Some(self.members.get(&node)?.operator.as_str())
    }

    fn draw(&self, part: u16) -> Vec<NodeId> {
        let nodes = self.members.iter();
        let nodes = nodes.map(|(node, member)| (*node, member.operator.as_str()));
        rendezvous::spread(DOMAIN, &part.to_be_bytes(), nodes, REPLICAS)
    }

    /// A member is here, or another life of it.
    pub(super) fn up(&mut self, node: NodeId, operator: &str, life: Stamp) -> Vec<Moved> {
        let member = Member {
            operator: operator.to_owned(),
            life,
        };
        let before = self.members.insert(node, member.clone());
        match before {
            Some(before) if before == member => Vec::new(),
            Some(before) if before.operator == member.operator => {
                let parts = self.drawn.iter();
                let its = parts.filter(|(_, nodes)| nodes.contains(&node));
                its.map(|(part, _)| (*part, vec![node])).collect()
            }
            Some(_) => self.redraw(|_, _| true),
            None => {
                let weight =
                    |part: u16, node| rendezvous::weight(DOMAIN, &part.to_be_bytes(), node);
                let operators: BTreeMap<NodeId, String> = self
                    .members
                    .iter()
                    .map(|(node, member)| (*node, member.operator.clone()))
                    .collect();
                self.redraw(|part, nodes| {
                    let of: BTreeSet<_> = nodes.iter().filter_map(|n| operators.get(n)).collect();
                    // Where an operator stands twice, one of another goes before its second.
                    let is_new = of.len() < nodes.len() && !of.iter().any(|of| *of == operator);
                    let least = nodes.iter().map(|held| weight(part, *held)).min();
                    let is_before = least.is_none_or(|least| weight(part, node) >= least);
                    nodes.len() < REPLICAS || is_new || is_before
                })
            }
        }
    }

    /// A member is gone.
    pub(super) fn down(&mut self, node: NodeId) -> Vec<Moved> {
        match self.members.remove(&node) {
            Some(_) => self.redraw(|_, nodes| nodes.contains(&node)),
            None => Vec::new(),
        }
    }

    /// Draws the parts anew that may have changed; says which nodes a part has gained.
    fn redraw(&mut self, may_differ: impl Fn(u16, &[NodeId]) -> bool) -> Vec<Moved> {
        let parts = self.drawn.iter();
        let parts = parts.filter(|(part, nodes)| may_differ(**part, nodes));
        let drawn: Vec<_> = parts.map(|(part, _)| (*part, self.draw(*part))).collect();
        let mut moved = Vec::new();
        for (part, nodes) in drawn {
            let before = self.drawn.insert(part, nodes.clone()).unwrap_or_default();
            let gained: Vec<NodeId> = nodes
                .into_iter()
                .filter(|node| !before.contains(node))
                .collect();
            if !gained.is_empty() {
                moved.push((part, gained));
            }
        }
        moved
    }
}
