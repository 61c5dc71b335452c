//! Rendezvous hashing: who stands first for a key, the same on every node that knows the same
//! members, with no word between them. A member that comes or goes moves only the keys that it
//! gains or held (Thaler and Ravishankar, 1998).

use std::cmp::Reverse;

use crate::ids::NodeId;

/// The weight of a node for a key: every pair has its own, the same everywhere. `domain` keeps
/// apart what is ranked for different ends, so that nobody who picks a key for one gains another.
#[must_use]
pub fn weight(domain: &str, key: &[u8], node: NodeId) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(
        &u64::try_from(domain.len())
            .unwrap_or(u64::MAX)
            .to_le_bytes(),
    );
    hasher.update(domain.as_bytes());
    hasher.update(node.as_bytes());
    hasher.update(key);
    let hash = hasher.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// The nodes in their order for a key, the holder first. Takes O(n log n).
#[must_use]
pub fn rank(domain: &str, key: &[u8], nodes: impl IntoIterator<Item = NodeId>) -> Vec<NodeId> {
    let mut ranked: Vec<(u64, NodeId)> = nodes
        .into_iter()
        .map(|node| (weight(domain, key, node), node))
        .collect();
    ranked.sort_unstable_by_key(|ranked| Reverse(*ranked));
    ranked.dedup();
    ranked.into_iter().map(|(_, node)| node).collect()
}

/// The first `count` nodes for a key, each of another operator as long as there are any: first the
/// best node of each operator in their order, then the rest in theirs.
#[must_use]
pub fn spread<O: Ord + Clone>(
    domain: &str,
    key: &[u8],
    nodes: impl IntoIterator<Item = (NodeId, O)>,
    count: usize,
) -> Vec<NodeId> {
    let mut ranked: Vec<(u64, NodeId, O)> = nodes
        .into_iter()
        .map(|(node, operator)| (weight(domain, key, node), node, operator))
        .collect();
    ranked.sort_by_key(|(weight, node, _)| Reverse((*weight, *node)));
    ranked.dedup_by_key(|(_, node, _)| *node);
    let mut seen = std::collections::BTreeSet::new();
    let (first, rest): (Vec<_>, Vec<_>) = ranked
        .into_iter()
        .partition(|(_, _, operator)| seen.insert(operator.clone()));
    let ordered = first.into_iter().chain(rest);
    ordered.map(|(_, node, _)| node).take(count).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    proptest! {
        #[test]
        fn a_node_that_goes_moves_only_what_it_held(key: u64, count in 2_u8..40, gone in 0_u8..40) {
            let key = key.to_le_bytes();
            let before = rank("test", &key, (0..count).map(node));
            let after = rank("test", &key, (0..count).filter(|n| *n != gone).map(node));
            let expected: Vec<_> = before.into_iter().filter(|held| *held != node(gone)).collect();
            prop_assert_eq!(after, expected);
        }

        #[test]
        fn order_of_asking_is_of_no_account(key: u64, nodes: Vec<u8>) {
            let key = key.to_le_bytes();
            let forward = rank("test", &key, nodes.iter().copied().map(node));
            let backward = rank("test", &key, nodes.iter().rev().copied().map(node));
            prop_assert_eq!(forward, backward);
        }

        #[test]
        fn operators_differ_as_long_as_there_are_any(
            key: u64,
            operators in prop::collection::vec(0_u8..5, 1..30),
            count in 0_usize..8,
        ) {
            let key = key.to_le_bytes();
            let all = (0_u8..).zip(operators.clone());
            let chosen = spread("test", &key, all.map(|(n, of)| (node(n), of)), count);
            let of = |held: &NodeId| operators[usize::from(held.as_bytes()[0])];
            let mut distinct: Vec<u8> = operators.clone();
            distinct.sort_unstable();
            distinct.dedup();
            let mut chosen_of: Vec<u8> = chosen.iter().map(of).collect();
            chosen_of.sort_unstable();
            chosen_of.dedup();
            prop_assert_eq!(chosen.len(), count.min(operators.len()));
            prop_assert_eq!(chosen_of.len(), distinct.len().min(chosen.len()));
        }
    }

    #[test]
    fn keys_are_spread_evenly() {
        let nodes: Vec<NodeId> = (0..10).map(node).collect();
        let mut held = [0_u32; 10];
        for key in 0_u32..10_000 {
            let first = rank("test", &key.to_le_bytes(), nodes.iter().copied())[0];
            held[usize::from(first.as_bytes()[0])] += 1;
        }
        // Binomial: 1000 in the mean, 30 its deviation.
        assert!(
            held.iter().all(|count| (850..1150).contains(count)),
            "{held:?}"
        );
    }

    #[test]
    fn domains_are_apart() {
        let key = [7; 32];
        assert_ne!(weight("a", &key, node(1)), weight("b", &key, node(1)));
    }
}
