//! Checks a solution against its request, package by package, without the solver's own code.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::{
    request::Request,
    solution::{Chosen, Solution},
};
use crate::{
    dependency::Requirement,
    name::Name,
    package::Package,
    repository::{Repository, RepositoryError},
    vars::PackageVars,
};

/// Something that is wrong with a solution.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Violation {
    /// A root is not there, or not within its bounds.
    #[error("root {0} is not satisfied")]
    Root(String),
    /// A name is there twice.
    #[error("{0} is there more than once")]
    Twice(Name),
    /// A package is not that of the repository or of its pin.
    #[error("{package} is not the one to be had")]
    Foreign {
        /// The package.
        package: Package,
        /// Why, where the repository knows.
        source: Option<RepositoryError>,
    },
    /// A package is not available on the platform.
    #[error("{0} is not available on this platform")]
    Unavailable(Package),
    /// A package is outside the bounds of the request.
    #[error("{0} is outside the bounds of the request")]
    Constraint(Package),
    /// A dependency formula does not hold.
    #[error("{package} needs {formula}")]
    Depends {
        /// The package.
        package: Package,
        /// What it needs.
        formula: String,
    },
    /// A conflict formula holds.
    #[error("{package} conflicts with {formula}")]
    Conflicts {
        /// The package.
        package: Package,
        /// What it conflicts with.
        formula: String,
    },
    /// Two packages are of one conflict class.
    #[error("{left} and {right} are both of conflict class {class}")]
    Class {
        /// The class.
        class: Name,
        /// One of the two.
        left: Package,
        /// The other.
        right: Package,
    },
    /// A dependency is missing, comes later, or is none.
    #[error("{package} lists {dep} as a dependency that must be built before it")]
    Order {
        /// The package.
        package: Package,
        /// The dependency.
        dep: Package,
    },
    /// A package that must be there before another is not listed.
    #[error("{package} does not list its dependency {dep}")]
    Unlisted {
        /// The package.
        package: Package,
        /// The dependency.
        dep: Package,
    },
    /// Nothing asks for a package.
    #[error("nothing asks for {0}")]
    Superfluous(Package),
}

/// Checks that everything a request and the opam files of a solution say is so.
pub fn verify(
    solution: &Solution,
    request: &Request,
    repository: &Repository,
) -> Result<(), Violation> {
    let mut chosen: BTreeMap<&Name, &Chosen> = BTreeMap::new();
    for one in solution.packages() {
        if chosen.insert(&one.package.name, one).is_some() {
            return Err(Violation::Twice(one.package.name.clone()));
        }
    }
    for root in &request.roots {
        let fits = |one: &&Chosen| root.versions.contains(&one.package.version);
        if !chosen.get(&root.name).is_some_and(fits) {
            return Err(Violation::Root(root.to_string()));
        }
    }
    let check = Check {
        chosen,
        request,
        repository,
    };
    let mut built = BTreeSet::new();
    for one in solution.packages() {
        check.identity(one)?;
        check.formulas(one)?;
        check.order(one, &built)?;
        built.insert(&one.package);
    }
    check.classes(solution)?;
    check.reasons(solution)
}

struct Check<'a> {
    chosen: BTreeMap<&'a Name, &'a Chosen>,
    request: &'a Request,
    repository: &'a Repository,
}

impl Check<'_> {
    fn has(&self, requirement: &Requirement) -> bool {
        let chosen = self.chosen.get(&requirement.name);
        chosen.is_some_and(|one| requirement.versions.contains(&one.package.version))
    }

    fn identity(&self, one: &Chosen) -> Result<(), Violation> {
        let package = &one.package;
        let foreign = |source| Violation::Foreign {
            package: package.clone(),
            source,
        };
        match self.request.pins.get(&package.name) {
            Some(pin) if pin.version == package.version && pin.opam == one.opam => {}
            Some(_) => return Err(foreign(None)),
            None => match self.repository.get(package) {
                Ok(opam) if opam == one.opam => {}
                Ok(_) => return Err(foreign(None)),
                Err(error) => return Err(foreign(Some(error))),
            },
        }
        if !one.opam.is_available(package, &self.request.env) {
            return Err(Violation::Unavailable(package.clone()));
        }
        match self.request.constraints.get(&package.name) {
            Some(wanted) if !wanted.contains(&package.version) => {
                Err(Violation::Constraint(package.clone()))
            }
            _ => Ok(()),
        }
    }

    fn formulas(&self, one: &Chosen) -> Result<(), Violation> {
        let package = &one.package;
        let phase = Some(self.request.phase(package));
        let vars = PackageVars {
            env: &self.request.env,
            package,
            phase,
        };
        let depends = one.opam.depends.resolve(&vars);
        if !depends.holds(&mut |requirement| self.has(requirement)) {
            let formula = depends.to_string();
            return Err(Violation::Depends {
                package: package.clone(),
                formula,
            });
        }
        let conflicts = one.opam.conflicts.resolve(&vars);
        let clashes =
            |requirement: &Requirement| requirement.name != package.name && self.has(requirement);
        if !conflicts.is_empty() && conflicts.holds(&mut |requirement| clashes(requirement)) {
            let formula = conflicts.to_string();
            return Err(Violation::Conflicts {
                package: package.clone(),
                formula,
            });
        }
        Ok(())
    }

    fn order(&self, one: &Chosen, built: &BTreeSet<&Package>) -> Result<(), Violation> {
        let package = &one.package;
        let phase = Some(self.request.phase(package).before_build());
        let vars = PackageVars {
            env: &self.request.env,
            package,
            phase,
        };
        let depends = one.opam.depends.resolve(&vars);
        let depopts = one.opam.depopts.resolve(&vars);
        let met = |atoms: Vec<&Requirement>| -> BTreeSet<Package> {
            atoms
                .into_iter()
                .filter(|atom| atom.name != package.name && self.has(atom))
                .map(|atom| self.chosen[&atom.name].package.clone())
                .collect()
        };
        let needed = met(depends.atoms());
        let allowed: BTreeSet<Package> = needed.union(&met(depopts.atoms())).cloned().collect();
        if let Some(dep) = needed.difference(&one.deps).next() {
            return Err(Violation::Unlisted {
                package: package.clone(),
                dep: dep.clone(),
            });
        }
        let wrong = |dep: &&Package| !built.contains(*dep) || !allowed.contains(*dep);
        match one.deps.iter().find(wrong) {
            Some(dep) => Err(Violation::Order {
                package: package.clone(),
                dep: dep.clone(),
            }),
            None => Ok(()),
        }
    }

    fn classes(&self, solution: &Solution) -> Result<(), Violation> {
        let mut holders: BTreeMap<&Name, &Package> = BTreeMap::new();
        for one in solution.packages() {
            for class in &one.opam.conflict_class {
                match holders.insert(class, &one.package) {
                    Some(left) if *left != one.package => {
                        return Err(Violation::Class {
                            class: class.clone(),
                            left: left.clone(),
                            right: one.package.clone(),
                        });
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Every package must be asked for by a root, through formulas that name it.
    fn reasons(&self, solution: &Solution) -> Result<(), Violation> {
        let mut open: Vec<&Name> = self.request.roots.iter().map(|root| &root.name).collect();
        let mut asked: BTreeSet<&Name> = BTreeSet::new();
        while let Some(name) = open.pop() {
            let Some(one) = self.chosen.get(name) else {
                continue;
            };
            if !asked.insert(&one.package.name) {
                continue;
            }
            let phase = Some(self.request.phase(&one.package));
            let vars = PackageVars {
                env: &self.request.env,
                package: &one.package,
                phase,
            };
            for atom in one.opam.depends.resolve(&vars).atoms() {
                if self.has(atom) {
                    open.extend(self.chosen.get_key_value(&atom.name).map(|(name, _)| *name));
                }
            }
        }
        let reasonless = |one: &&Chosen| !asked.contains(&one.package.name);
        match solution.packages().iter().find(reasonless) {
            Some(one) => Err(Violation::Superfluous(one.package.clone())),
            None => Ok(()),
        }
    }
}
