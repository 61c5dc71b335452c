//! Turns a conflict of resolvo's into faults that name packages and bounds.

use std::collections::{BTreeMap, BTreeSet};

use resolvo::{
    Interner, Requirement as Clause, SolvableId, VersionSetId,
    conflict::{Conflict, ConflictCause, ConflictEdge, ConflictGraph, ConflictNode},
};

use super::{
    provider::{Candidate, Provider, Role, Set},
    request::Request,
    unsolved::{Demand, Fault, NoSolution, Obstacle},
};
use crate::{
    limits::{EXPLANATION_LINES_MAX, FAULTS_MAX},
    name::Name,
    package::Package,
    repository::Repository,
    version::Version,
};

/// Edits between a wrong name and one that is suggested instead.
const SIMILAR_EDITS_MAX: usize = 2;

/// Answers to one need that are listed.
const ANSWERS_SHOWN_MAX: usize = 5;

/// Why the solver failed.
pub(super) fn explain(
    solver: &resolvo::Solver<Provider<'_>>,
    conflict: &Conflict,
    repository: &Repository,
    request: &Request,
) -> NoSolution {
    let graph = conflict.graph(solver);
    let provider = solver.provider();
    let account = Account::new(provider, repository, request, groups(&graph));
    // What the best versions stumble over says more than what is wrong with old ones.
    let mut faults = [true, false]
        .into_iter()
        .flat_map(|best_only| {
            [
                account.dead_ends(best_only),
                account.clashes(&graph, best_only),
            ]
        })
        .find(|faults| !faults.is_empty())
        .unwrap_or_default();
    faults.truncate(FAULTS_MAX);
    let explanation = account.explanation();
    NoSolution::Unsatisfiable {
        roots: request.describe_roots(),
        faults,
        explanation,
    }
}

/// Who needs what; `None` is the request.
type Need = (Option<SolvableId>, Clause);

/// What may answer a need, as far as the conflict touches it.
#[derive(Debug, Clone, Default)]
struct Answers {
    usable: BTreeSet<SolvableId>,
    excluded: BTreeMap<SolvableId, resolvo::StringId>,
}

type Groups = BTreeMap<Need, Answers>;

fn groups(graph: &ConflictGraph) -> Groups {
    let mut excluded = BTreeMap::new();
    let mut groups = Groups::new();
    let edges = || {
        graph.graph.edge_indices().filter_map(|edge| {
            let (from, to) = graph.graph.edge_endpoints(edge)?;
            Some((&graph.graph[from], &graph.graph[to], &graph.graph[edge]))
        })
    };
    for (from, to, edge) in edges() {
        if let (
            ConflictNode::Solvable(id),
            ConflictNode::Excluded(reason),
            ConflictEdge::Conflict(ConflictCause::Excluded),
        ) = (from, to, edge)
        {
            excluded.insert(*id, *reason);
        }
    }
    for (from, to, edge) in edges() {
        let ConflictEdge::Requires(clause) = edge else {
            continue;
        };
        let by = match from {
            ConflictNode::Solvable(id) => Some(*id),
            _ => None,
        };
        let answers = groups.entry((by, *clause)).or_default();
        if let ConflictNode::Solvable(id) = to {
            match excluded.get(id) {
                Some(reason) => {
                    answers.excluded.insert(*id, *reason);
                }
                None => {
                    answers.usable.insert(*id);
                }
            }
        }
    }
    groups
}

struct Account<'a> {
    provider: &'a Provider<'a>,
    repository: &'a Repository,
    request: &'a Request,
    groups: Groups,
    /// Of each name, the version that the search likes best among those the conflict touches.
    best: BTreeSet<SolvableId>,
}

impl<'a> Account<'a> {
    fn new(
        provider: &'a Provider<'a>,
        repository: &'a Repository,
        request: &'a Request,
        groups: Groups,
    ) -> Self {
        let mut best: BTreeMap<&Role, SolvableId> = BTreeMap::new();
        for id in groups.keys().filter_map(|(by, _)| *by) {
            // Candidates are made in their order of preference.
            let first = best
                .entry(provider.role(provider.solvable_name(id)))
                .or_insert(id);
            *first = id.min(*first);
        }
        let best = best.into_values().collect();
        Self {
            provider,
            repository,
            request,
            groups,
            best,
        }
    }

    fn is_best(&self, by: Option<SolvableId>) -> bool {
        by.is_none_or(|id| self.best.contains(&id))
    }

    fn package(&self, id: SolvableId) -> Option<Package> {
        match self.provider.candidate(id) {
            Candidate::Version { package, .. } => Some(package.clone()),
            Candidate::Holder(_) | Candidate::Without(_) => None,
        }
    }

    fn demand(&self, (by, clause): &Need) -> Demand {
        Demand {
            by: by.and_then(|id| self.package(id)),
            wanted: clause.display(self.provider).to_string(),
        }
    }

    fn sets(&self, clause: Clause) -> Vec<VersionSetId> {
        match clause {
            Clause::Single(set) => vec![set],
            Clause::Union(union) => self.provider.version_sets_in_union(union).collect(),
        }
    }

    /// Every need that the conflict is made of, and what could answer it. Not resolvo's own text:
    /// that grows with the number of paths through the conflict.
    fn explanation(&self) -> String {
        let line = |(need, answers): (&Need, &Answers)| {
            let usable: Vec<String> = answers
                .usable
                .iter()
                .take(ANSWERS_SHOWN_MAX)
                .map(|id| self.provider.describe(*id))
                .collect();
            let more = if answers.usable.len() > usable.len() {
                ", .."
            } else {
                ""
            };
            let answer = if usable.is_empty() {
                "nothing usable".into()
            } else {
                usable.join(", ")
            };
            let by = need.0.map(|id| self.provider.describe(id));
            let by = by.unwrap_or_else(|| "the request".to_owned());
            format!(
                "{by} needs {}: {answer}{more}",
                need.1.display(self.provider)
            )
        };
        self.groups
            .iter()
            .take(EXPLANATION_LINES_MAX)
            .map(line)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// The one name that a clause is about, if it is about one.
    fn only_role(&self, clause: Clause) -> Option<&Role> {
        let mut roles = self
            .sets(clause)
            .into_iter()
            .map(|set| self.provider.version_set_name(set));
        let first = roles.next()?;
        roles
            .all(|other| other == first)
            .then(|| self.provider.role(first))
    }

    /// Needs that nothing usable answers. Of the versions of one package that all need the same,
    /// only the newest is named.
    fn dead_ends(&self, best_only: bool) -> Vec<Fault> {
        let mut faults: BTreeMap<(Option<Name>, String), (Option<Version>, Fault)> =
            BTreeMap::new();
        for (need, answers) in &self.groups {
            if !answers.usable.is_empty() || (best_only && !self.is_best(need.0)) {
                continue;
            }
            let Some(obstacle) = self.obstacle(need.1, answers) else {
                continue;
            };
            let demand = self.demand(need);
            let (name, version) = match &demand.by {
                Some(package) => (Some(package.name.clone()), Some(package.version.clone())),
                None => (None, None),
            };
            let key = (name, demand.wanted.clone());
            if faults.get(&key).is_none_or(|(other, _)| *other < version) {
                faults.insert(key, (version, Fault { demand, obstacle }));
            }
        }
        faults.into_values().map(|(_, fault)| fault).collect()
    }

    fn obstacle(&self, clause: Clause, answers: &Answers) -> Option<Obstacle> {
        let rejected: BTreeMap<Package, resolvo::StringId> = answers
            .excluded
            .iter()
            .filter_map(|(id, reason)| Some((self.package(*id)?, *reason)))
            .collect();
        if let Some((package, reason)) = rejected.last_key_value() {
            return Some(Obstacle::Rejected {
                package: package.clone(),
                reason: self.provider.text(*reason).to_owned(),
                others: rejected.len() - 1,
            });
        }
        // Of several alternatives, the first is the one that was preferred.
        let set = *self.sets(clause).first()?;
        let Role::Package(name) = self.provider.role(self.provider.version_set_name(set)) else {
            return None;
        };
        let known = match self.request.pins.get(name) {
            Some(pin) => vec![pin.version.clone()],
            None => self.repository.versions(name),
        };
        Some(match (known.first(), known.last()) {
            (Some(oldest), Some(newest)) => Obstacle::NoVersion {
                name: name.clone(),
                known: (oldest.clone(), newest.clone()),
            },
            _ => Obstacle::UnknownName {
                name: name.clone(),
                similar: self.similar(name),
            },
        })
    }

    /// Pairs of needs for one name that no version answers together, and conflicts.
    fn clashes(&self, graph: &ConflictGraph, best_only: bool) -> Vec<Fault> {
        let mut faults = self.exclusions(graph);
        let needs: Vec<(&Need, &BTreeSet<SolvableId>, &Role)> = self
            .groups
            .iter()
            .filter(|(need, _)| !best_only || self.is_best(need.0))
            .filter_map(|(need, answers)| Some((need, &answers.usable, self.only_role(need.1)?)))
            .collect();
        let mut said: BTreeSet<(String, String)> = BTreeSet::new();
        for (index, (left, left_answers, left_role)) in needs.iter().enumerate() {
            for (right, right_answers, right_role) in &needs[index + 1..] {
                if left_role != right_role || !left_answers.is_disjoint(right_answers) {
                    continue;
                }
                let (demand, opposed) = (self.demand(left), self.demand(right));
                if said.insert((demand.wanted.clone(), opposed.wanted.clone())) {
                    faults.push(Fault {
                        demand,
                        obstacle: Obstacle::Opposed { demand: opposed },
                    });
                }
                if faults.len() >= FAULTS_MAX {
                    return faults;
                }
            }
        }
        faults
    }

    /// Chosen packages whose `conflicts` forbid each other.
    fn exclusions(&self, graph: &ConflictGraph) -> Vec<Fault> {
        let mut faults: BTreeMap<(Name, Name), Fault> = BTreeMap::new();
        for edge in graph.graph.edge_indices() {
            let ConflictEdge::Conflict(ConflictCause::Constrains(set)) = graph.graph[edge] else {
                continue;
            };
            let Some((from, to)) = graph.graph.edge_endpoints(edge) else {
                continue;
            };
            let (ConflictNode::Solvable(from), ConflictNode::Solvable(to)) =
                (&graph.graph[from], &graph.graph[to])
            else {
                continue;
            };
            let (Some(by), Some(other)) = (self.package(*from), self.package(*to)) else {
                continue;
            };
            let Set::Outside(versions) = self.provider.set(set) else {
                continue;
            };
            let bounds = if versions.is_empty() {
                String::new()
            } else {
                format!(" {{{versions}}}")
            };
            let wanted = format!("the absence of {}{bounds}", other.name);
            let needed_by = self
                .groups
                .iter()
                .find(|(_, answers)| answers.usable.contains(to));
            let Some((need, _)) = needed_by else { continue };
            let opposed = Obstacle::Opposed {
                demand: self.demand(need),
            };
            faults
                .entry((by.name.clone(), other.name))
                .or_insert(Fault {
                    demand: Demand {
                        by: Some(by),
                        wanted,
                    },
                    obstacle: opposed,
                });
        }
        faults.into_values().collect()
    }

    /// The known name that is closest to a wrong one, if it is close.
    fn similar(&self, name: &Name) -> Option<Name> {
        self.repository
            .names()
            .into_iter()
            .map(|known| (edits(name.as_str(), known.as_str()), known))
            .filter(|(edits, _)| *edits <= SIMILAR_EDITS_MAX)
            .min()
            .map(|(_, known)| known)
    }
}

/// Insertions, removals and replacements between two texts.
fn edits(left: &str, right: &str) -> usize {
    if left.len().abs_diff(right.len()) > SIMILAR_EDITS_MAX {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.bytes().enumerate() {
            let replaced = diagonal + usize::from(l != r);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        assert_eq!(edits("alcotest", "alcotest"), 0);
        assert_eq!(edits("alcotst", "alcotest"), 1);
        assert_eq!(edits("lwt", "lwtt"), 1);
        assert_eq!(edits("fmt", "fnt"), 1);
        assert_eq!(edits("a", "abcdef"), usize::MAX);
    }
}
