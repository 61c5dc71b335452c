//! Versions that fit together, in the order in which they can be built.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    graph::{self, Edges},
    request::Request,
    unsolved::NoSolution,
};
use crate::{
    dependency::{Dependencies, Requirement},
    name::Name,
    opam::OpamFile,
    package::Package,
    vars::{PackageVars, Phase},
};

/// A package of a solution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The package.
    pub package: Package,
    /// What must be there before it is built: its direct dependencies, and those optional ones that
    /// are in the solution and within their bounds. Dependencies that are only `post` are not here.
    pub deps: BTreeSet<Package>,
    /// Its opam file.
    pub opam: Arc<OpamFile>,
}

/// A set of packages, each name at one version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Solution {
    packages: Vec<Chosen>,
    places: BTreeMap<Name, usize>,
}

/// The chosen packages by name, before they are ordered.
struct Selection<'a> {
    packages: BTreeMap<Name, (Package, Arc<OpamFile>)>,
    request: &'a Request,
}

impl Solution {
    /// The packages, dependencies first.
    #[must_use]
    pub fn packages(&self) -> &[Chosen] {
        &self.packages
    }

    /// The chosen package of this name.
    #[must_use]
    pub fn get(&self, name: &Name) -> Option<&Chosen> {
        self.places.get(name).map(|place| &self.packages[*place])
    }

    /// Everything that a package needs before it is built, directly or not, dependencies first;
    /// empty for a package that is not in the solution.
    #[must_use]
    pub fn closure(&self, package: &Package) -> Vec<&Chosen> {
        let mut wanted = BTreeSet::new();
        let start = self.places.get(&package.name).copied();
        let mut open: Vec<usize> = start
            .filter(|place| self.packages[*place].package == *package)
            .into_iter()
            .collect();
        while let Some(place) = open.pop() {
            for dep in &self.packages[place].deps {
                if let Some(dep) = self.places.get(&dep.name)
                    && wanted.insert(*dep)
                {
                    open.push(*dep);
                }
            }
        }
        wanted
            .into_iter()
            .map(|place| &self.packages[place])
            .collect()
    }

    /// Orders what a solver chose, without packages that nothing asks for.
    pub(super) fn build(
        chosen: impl IntoIterator<Item = (Package, Arc<OpamFile>)>,
        request: &Request,
    ) -> Result<Self, NoSolution> {
        let by_name = |(package, opam): (Package, _)| (package.name.clone(), (package, opam));
        let packages = chosen.into_iter().map(by_name).collect();
        let mut selection = Selection { packages, request };
        selection.drop_unasked();
        let edges = selection.edges()?;
        let order = graph::order(&edges)?;
        let mut solution = Self::default();
        for name in order {
            let Some((package, opam)) = selection.packages.get(&name).cloned() else {
                continue;
            };
            let deps = edges[&name]
                .iter()
                .map(|name| selection.packages[name].0.clone())
                .collect();
            solution.places.insert(name, solution.packages.len());
            solution.packages.push(Chosen {
                package,
                deps,
                opam,
            });
        }
        Ok(solution)
    }
}

impl Selection<'_> {
    /// The chosen names that make a formula of a package hold.
    fn met(&self, package: &Package, formula: &Dependencies, phase: Phase) -> BTreeSet<Name> {
        let vars = PackageVars {
            env: &self.request.env,
            package,
            phase: Some(phase),
        };
        let is_met = |requirement: &&Requirement| {
            let chosen = self.packages.get(&requirement.name);
            chosen.is_some_and(|(chosen, _)| requirement.versions.contains(&chosen.version))
        };
        formula
            .resolve(&vars)
            .atoms()
            .into_iter()
            .filter(is_met)
            .map(|requirement| requirement.name.clone())
            .filter(|name| *name != package.name)
            .collect()
    }

    /// A search may end with packages that an abandoned choice had asked for.
    fn drop_unasked(&mut self) {
        let mut edges = Edges::new();
        for (name, (package, opam)) in &self.packages {
            let phase = self.request.phase(package);
            edges.insert(name.clone(), self.met(package, &opam.depends, phase));
        }
        let mut asked: BTreeSet<Name> = BTreeSet::new();
        for root in &self.request.roots {
            if asked.insert(root.name.clone()) {
                asked.extend(graph::reachable(&edges, &root.name));
            }
        }
        self.packages.retain(|name, _| asked.contains(name));
    }

    /// What must be built before what. An optional dependency that would close a cycle does not
    /// count: the package is then built without it.
    fn edges(&self) -> Result<Edges, NoSolution> {
        let mut edges = Edges::new();
        let mut optional = Vec::new();
        for (name, (package, opam)) in &self.packages {
            let phase = self.request.phase(package).before_build();
            edges.insert(name.clone(), self.met(package, &opam.depends, phase));
            let more = self.met(package, &opam.depopts, phase);
            optional.extend(more.into_iter().map(|need| (name.clone(), need)));
        }
        // Without optional ones first: a cycle among these is nobody's choice.
        graph::order(&edges)?;
        for (name, need) in optional {
            if !graph::reachable(&edges, &need).contains(&name) {
                edges.entry(name).or_default().insert(need);
            }
        }
        Ok(edges)
    }
}
