//! Shows a repository and a request to resolvo, which asks for names and dependencies as it goes.
//!
//! Besides packages there are two kinds of names that no user sees: a conflict class, whose
//! candidates are its possible holders, so that only one can be chosen; and a guard against several
//! packages being there together, whose candidates each keep one of them away.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    sync::Arc,
};

use resolvo::{
    Candidates, Condition, ConditionId, ConditionalRequirement, Dependencies, DependencyProvider,
    Interner, KnownDependencies, NameId, Requirement as Clause, SolvableId, SolverCache, StringId,
    VersionSetId, VersionSetUnionId,
    utils::{Pool, VersionSet},
};

use super::{clauses, request::Request};
use crate::{
    dependency::{Requirement, ResolvedDependencies},
    limits::{CONFLICT_CLASS_MEMBERS_MAX, SOLVE_ROUNDS_MAX},
    name::Name,
    opam::OpamFile,
    package::Package,
    repository::Repository,
    vars::PackageVars,
    version::{Version, Versions},
};

/// What one candidate of resolvo's is chosen for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Role {
    Package(Name),
    Class(Name),
    Guard(Vec<Requirement>),
}

/// A set of candidates of one role.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Set {
    Inside(Versions),
    Outside(Versions),
    Holder(usize),
    All,
}

/// A candidate.
#[derive(Debug, Clone)]
pub(super) enum Candidate {
    Version {
        package: Package,
        opam: Option<Arc<OpamFile>>,
    },
    Holder(usize),
    Without(Requirement),
}

impl VersionSet for Set {
    type V = Candidate;
}

/// The cancellation value of a search that has gone on for too long.
pub(super) struct Exhausted;

/// One solve's view of a repository.
pub(super) struct Provider<'a> {
    repository: &'a Repository,
    request: &'a Request,
    pool: Pool<Set, Role>,
    /// The holders of each conflict class, in the order they were met.
    classes: RefCell<BTreeMap<Name, Vec<Name>>>,
    rounds: Cell<u64>,
}

impl<'a> Provider<'a> {
    pub(super) fn new(repository: &'a Repository, request: &'a Request) -> Self {
        Self {
            repository,
            request,
            pool: Pool::new(),
            classes: RefCell::default(),
            rounds: Cell::new(0),
        }
    }

    pub(super) fn role(&self, name: NameId) -> &Role {
        self.pool.resolve_package_name(name)
    }

    pub(super) fn candidate(&self, id: SolvableId) -> &Candidate {
        &self.pool.resolve_solvable(id).record
    }

    pub(super) fn set(&self, id: VersionSetId) -> &Set {
        self.pool.resolve_version_set(id)
    }

    pub(super) fn text(&self, id: StringId) -> &str {
        self.pool.resolve_string(id)
    }

    /// What the request itself asks for.
    pub(super) fn roots(&self) -> Vec<ConditionalRequirement> {
        let inside = |name: &Name, versions: &Versions| {
            self.package_set(name, Set::Inside(versions.clone())).into()
        };
        self.request
            .roots
            .iter()
            .map(|root| inside(&root.name, &root.versions))
            .collect()
    }

    fn package_set(&self, name: &Name, set: Set) -> VersionSetId {
        let role = self.pool.intern_package_name(Role::Package(name.clone()));
        self.pool.intern_version_set(role, set)
    }

    /// Every version of a name with its opam file, or why it cannot be chosen, the best first.
    fn versions(&self, name: &Name) -> Vec<(Version, Result<Arc<OpamFile>, String>)> {
        let mut found = Vec::new();
        if let Some(pin) = self.request.pins.get(name) {
            found.push((pin.version.clone(), Ok(pin.opam.clone())));
        } else {
            for version in self.repository.versions(name) {
                let package = Package::new(name.clone(), version.clone());
                let opam = self
                    .repository
                    .get(&package)
                    .map_err(|error| error.to_string());
                found.push((version, opam));
            }
            if !self.request.lower_bounds {
                found.reverse();
            }
        }
        for (version, opam) in &mut found {
            if let Some(reason) = self.rejection(name, version, opam) {
                *opam = Err(reason);
            }
        }
        // A stable sort: inside both halves the order of versions stays.
        found.sort_by_key(|(_, opam)| opam.as_ref().is_ok_and(|opam| opam.is_avoided()));
        found
    }

    fn rejection(
        &self,
        name: &Name,
        version: &Version,
        opam: &Result<Arc<OpamFile>, String>,
    ) -> Option<String> {
        let opam = opam.as_ref().ok()?;
        if let Some(wanted) = self.request.constraints.get(name)
            && !wanted.contains(version)
        {
            return Some(format!("the request wants {wanted}"));
        }
        let package = Package::new(name.clone(), version.clone());
        if opam.is_available(&package, &self.request.env) {
            return None;
        }
        let filter = opam
            .available
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        Some(format!("not available on this platform: {filter}"))
    }

    fn dependencies(&self, package: &Package, opam: &OpamFile) -> Dependencies {
        let vars = PackageVars {
            env: &self.request.env,
            package,
            phase: Some(self.request.phase(package)),
        };
        let mut known = KnownDependencies::default();
        let result = self
            .require(&mut known, &opam.depends.resolve(&vars))
            .and_then(|()| self.exclude(&mut known, package, &opam.conflicts.resolve(&vars)))
            .and_then(|()| self.hold_classes(&mut known, package, opam));
        match result {
            Ok(()) => Dependencies::Known(known),
            Err(reason) => Dependencies::Unknown(self.pool.intern_string(reason)),
        }
    }

    fn require(
        &self,
        known: &mut KnownDependencies,
        depends: &ResolvedDependencies,
    ) -> Result<(), String> {
        let groups = clauses::conjunctive(depends)
            .map_err(|_| "its dependency formula is too large".to_owned())?;
        for group in groups {
            let mut sets = group.iter().map(|one| self.inside(one));
            let Some(first) = sets.next() else { continue };
            let clause = if group.len() == 1 {
                Clause::Single(first)
            } else {
                Clause::Union(self.pool.intern_version_set_union(first, sets))
            };
            known.requirements.push(clause.into());
        }
        Ok(())
    }

    fn inside(&self, requirement: &Requirement) -> VersionSetId {
        self.package_set(&requirement.name, Set::Inside(requirement.versions.clone()))
    }

    /// A conflict with one package bounds it; a conflict with several at once needs a guard. A
    /// conflict with oneself says nothing.
    fn exclude(
        &self,
        known: &mut KnownDependencies,
        package: &Package,
        conflicts: &ResolvedDependencies,
    ) -> Result<(), String> {
        let groups = clauses::disjunctive(conflicts)
            .map_err(|_| "its conflict formula is too large".to_owned())?;
        for group in groups {
            if group.iter().any(|one| one.name == package.name) {
                continue;
            }
            if let [one] = group.as_slice() {
                let outside = Set::Outside(one.versions.clone());
                known.constrains.push(self.package_set(&one.name, outside));
                continue;
            }
            // Not a conditional requirement: the solver could not explain a failure then.
            let kept_away = group.into_iter().cloned().collect();
            let guard = self.pool.intern_package_name(Role::Guard(kept_away));
            known
                .requirements
                .push(self.pool.intern_version_set(guard, Set::All).into());
        }
        Ok(())
    }

    fn hold_classes(
        &self,
        known: &mut KnownDependencies,
        package: &Package,
        opam: &OpamFile,
    ) -> Result<(), String> {
        let mut classes = self.classes.borrow_mut();
        for class in &opam.conflict_class {
            let holders = classes.entry(class.clone()).or_default();
            let index = match holders.iter().position(|name| *name == package.name) {
                Some(index) => index,
                None if holders.len() < CONFLICT_CLASS_MEMBERS_MAX => {
                    holders.push(package.name.clone());
                    holders.len() - 1
                }
                None => return Err(format!("conflict class {class} has too many members")),
            };
            let role = self.pool.intern_package_name(Role::Class(class.clone()));
            let set = self.pool.intern_version_set(role, Set::Holder(index));
            known.requirements.push(set.into());
        }
        Ok(())
    }

    /// A candidate in words.
    pub(super) fn describe(&self, id: SolvableId) -> String {
        let solvable = self.pool.resolve_solvable(id);
        match (&solvable.record, self.role(solvable.name)) {
            (Candidate::Version { package, .. }, _) => package.to_string(),
            (Candidate::Holder(index), Role::Class(class)) => match self.holder(class, *index) {
                Some(name) => format!("{class} held by {name}"),
                None => format!("{class} held by nobody"),
            },
            (candidate, _) => candidate.to_string(),
        }
    }

    /// The name that holds a conflict class in this place.
    fn holder(&self, class: &Name, index: usize) -> Option<Name> {
        self.classes.borrow().get(class)?.get(index).cloned()
    }
}

impl Set {
    fn contains(&self, candidate: &Candidate) -> bool {
        match (self, candidate) {
            (Self::Inside(versions), Candidate::Version { package, .. }) => {
                versions.contains(&package.version)
            }
            (Self::Outside(versions), Candidate::Version { package, .. }) => {
                !versions.contains(&package.version)
            }
            (Self::Holder(wanted), Candidate::Holder(index)) => wanted == index,
            (Self::All, _) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inside(versions) if versions.is_empty() => Ok(()),
            Self::Inside(versions) => write!(f, "{{{versions}}}"),
            Self::Outside(versions) if versions.is_empty() => f.write_str("(must be absent)"),
            Self::Outside(versions) => write!(f, "{{not ({versions})}}"),
            Self::Holder(_) | Self::All => Ok(()),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Package(name) => write!(f, "{name}"),
            Self::Class(class) => write!(f, "conflict class {class}"),
            Self::Guard(group) => {
                let texts: Vec<String> = group.iter().map(ToString::to_string).collect();
                write!(f, "that not all are there of {}", texts.join(" and "))
            }
        }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { package, .. } => write!(f, "{}", package.version),
            Self::Holder(index) => write!(f, "{index}"),
            Self::Without(requirement) => write!(f, "without {requirement}"),
        }
    }
}

impl Interner for Provider<'_> {
    type NameId = NameId;
    type SolvableId = SolvableId;

    fn display_solvable(&self, id: SolvableId) -> impl fmt::Display + '_ {
        self.describe(id)
    }

    fn display_name(&self, name: NameId) -> impl fmt::Display + '_ {
        self.role(name)
    }

    fn display_version_set(&self, id: VersionSetId) -> impl fmt::Display + '_ {
        self.set(id)
    }

    fn display_string(&self, id: StringId) -> impl fmt::Display + '_ {
        self.text(id)
    }

    fn version_set_name(&self, id: VersionSetId) -> NameId {
        self.pool.resolve_version_set_package_name(id)
    }

    fn solvable_name(&self, id: SolvableId) -> NameId {
        self.pool.resolve_solvable(id).name
    }

    fn version_sets_in_union(&self, id: VersionSetUnionId) -> impl Iterator<Item = VersionSetId> {
        self.pool.resolve_version_set_union(id)
    }

    fn resolve_condition(&self, id: ConditionId) -> Condition {
        self.pool.resolve_condition(id).clone()
    }
}

impl DependencyProvider for Provider<'_> {
    async fn filter_candidates(
        &self,
        candidates: &[SolvableId],
        version_set: VersionSetId,
        inverse: bool,
    ) -> Vec<SolvableId> {
        let set = self.set(version_set);
        let fits = |id: &&SolvableId| set.contains(self.candidate(**id)) != inverse;
        candidates.iter().filter(fits).copied().collect()
    }

    async fn get_candidates(&self, name: NameId) -> Option<Candidates> {
        let mut result = Candidates::default();
        match self.role(name).clone() {
            Role::Guard(group) => {
                let kept_away = group
                    .into_iter()
                    .map(|one| self.pool.intern_solvable(name, Candidate::Without(one)));
                result.candidates = kept_away.collect();
            }
            Role::Class(_) => {
                let holders = (0..CONFLICT_CLASS_MEMBERS_MAX)
                    .map(|index| self.pool.intern_solvable(name, Candidate::Holder(index)));
                result.candidates = holders.collect();
            }
            Role::Package(package_name) => {
                for (version, opam) in self.versions(&package_name) {
                    let package = Package::new(package_name.clone(), version);
                    let (opam, reason) = match opam {
                        Ok(opam) => (Some(opam), None),
                        Err(reason) => (None, Some(reason)),
                    };
                    let id = self
                        .pool
                        .intern_solvable(name, Candidate::Version { package, opam });
                    result.candidates.push(id);
                    if let Some(reason) = reason {
                        result.excluded.push((id, self.pool.intern_string(reason)));
                    }
                }
            }
        }
        Some(result)
    }

    async fn sort_candidates(&self, _cache: &SolverCache<Self>, solvables: &mut [SolvableId]) {
        // Candidates of a name are made in their order of preference.
        solvables.sort_unstable();
    }

    async fn get_dependencies(&self, id: SolvableId) -> Dependencies {
        match self.candidate(id) {
            Candidate::Version {
                package,
                opam: Some(opam),
            } => self.dependencies(package, opam),
            Candidate::Without(one) => {
                let outside = self.package_set(&one.name, Set::Outside(one.versions.clone()));
                Dependencies::Known(KnownDependencies {
                    constrains: vec![outside],
                    ..KnownDependencies::default()
                })
            }
            _ => Dependencies::Known(KnownDependencies::default()),
        }
    }

    fn should_cancel_with_value(&self) -> Option<Box<dyn Any>> {
        self.rounds.set(self.rounds.get() + 1);
        (self.rounds.get() > SOLVE_ROUNDS_MAX).then(|| Box::new(Exhausted) as Box<dyn Any>)
    }
}
