//! Order among packages that depend on each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::{name::Name, solver::unsolved::NoSolution};

/// Which names each name needs before it.
pub(super) type Edges = BTreeMap<Name, BTreeSet<Name>>;

/// The names with those they need first, otherwise by name; or the names of a cycle.
pub(super) fn order(edges: &Edges) -> Result<Vec<Name>, NoSolution> {
    let mut ordered = Vec::with_capacity(edges.len());
    let mut done: BTreeSet<&Name> = BTreeSet::new();
    for start in edges.keys() {
        // An explicit stack: the depth is that of the dependency graph, which strangers write.
        let mut path: Vec<(&Name, std::collections::btree_set::Iter<'_, Name>)> = Vec::new();
        let mut on_path: BTreeSet<&Name> = BTreeSet::new();
        let enter = |name| {
            edges
                .get_key_value(name)
                .map(|(name, needs)| (name, needs.iter()))
        };
        if done.contains(start) {
            continue;
        }
        path.extend(enter(start));
        on_path.insert(start);
        while let Some((name, needs)) = path.last_mut() {
            let name = *name;
            match needs.next() {
                Some(need) if on_path.contains(need) => {
                    let cycle = path
                        .iter()
                        .map(|(name, _)| *name)
                        .skip_while(|name| *name != need);
                    return Err(NoSolution::Cycle {
                        names: cycle.cloned().collect(),
                    });
                }
                Some(need) if done.contains(need) => {}
                Some(need) => {
                    on_path.insert(need);
                    path.extend(enter(need));
                }
                None => {
                    on_path.remove(name);
                    done.insert(name);
                    ordered.push(name.clone());
                    path.pop();
                }
            }
        }
    }
    Ok(ordered)
}

/// Every name that `start` needs, directly or not; without `start` unless it needs itself.
pub(super) fn reachable(edges: &Edges, start: &Name) -> BTreeSet<Name> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&Name> = edges.get(start).into_iter().flatten().collect();
    while let Some(name) = open.pop() {
        if found.insert(name.clone()) {
            open.extend(edges.get(name).into_iter().flatten());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(list: &[(&str, &[&str])]) -> Edges {
        let name = |text: &str| text.parse::<Name>().unwrap();
        list.iter()
            .map(|(from, to)| (name(from), to.iter().map(|to| name(to)).collect()))
            .collect()
    }

    #[test]
    fn needs_come_first() {
        let edges = edges(&[("a", &["c", "d"]), ("b", &[]), ("c", &["b"]), ("d", &["b"])]);
        let order: Vec<String> = order(&edges)
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(order, ["b", "c", "d", "a"]);
        let found = reachable(&edges, &"c".parse().unwrap());
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn a_cycle_is_named() {
        let edges = edges(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])]);
        let NoSolution::Cycle { names } = order(&edges).unwrap_err() else {
            panic!("a cycle")
        };
        assert_eq!(names, ["b", "c"].map(|name| name.parse().unwrap()));
    }
}
