//! The sandbox that a node runs its jobs in, chosen by its configuration, and what the node promises
//! of it.
//!
//! Chosen, judged and tried once, at the start: a node that lacks a defence which its operator has
//! not accepted by name takes no jobs, which is to say that it does not start, unless it is to run
//! none. What it starts with is what it shows and what its claims say.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use caravan_protocol::{
    action::SANDBOX_PROFILE,
    platform::Platform,
    view::{PromiseView, SandboxView},
};
use caravan_sandbox::{
    Defences, Error, JobName, Lacking, Launcher, Missing, OciError, OciRuntime, Promises, Sandbox,
    emulation::{self, Emulation},
};

use crate::config::{Config, sandbox::Runtime};

/// Directory of the trial, in that of the node.
const TRIAL: &str = "trial";

/// Why a node cannot run jobs as it is configured to.
#[derive(Debug, thiserror::Error)]
pub enum PromiseError {
    /// The host lacks what no job can do without.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The host lacks what an operator has to accept.
    #[error("{}", words(.0))]
    Lacking(Vec<Lacking>),
    /// The OCI runtime is of no use.
    #[error(transparent)]
    Runtime(#[from] OciError),
    /// What a dead node left could not be removed.
    #[error(transparent)]
    Leftovers(#[from] Error),
}

/// All of it, and how to accept it.
fn words(lacking: &[Lacking]) -> String {
    let told: Vec<String> = lacking.iter().map(Lacking::to_string).collect();
    let names: Vec<String> = lacking
        .iter()
        .map(|lack| format!("\"{}\"", lack.defence))
        .collect();
    format!(
        "promise all that a node promises of its jobs: {}. To run jobs with less, write in its \
         config.toml: [sandbox] accept = [{}]",
        told.join(". And "),
        names.join(", ")
    )
}

/// A sandbox that was chosen and not yet tried.
pub(crate) struct Chosen {
    sandbox: Kind,
    promises: Result<Promises, Missing>,
    /// Whether the node is to run jobs at all.
    works: bool,
}

enum Kind {
    Own(Launcher),
    Oci(OciRuntime),
}

/// A sandbox for a node's jobs.
pub(crate) struct Ready {
    pub(crate) sandbox: Arc<dyn Sandbox>,
    pub(crate) view: SandboxView,
    /// Platforms whose programs an emulator runs in jobs.
    pub(crate) emulated: BTreeSet<Platform>,
    /// Emulators that are of no use to jobs, and why.
    pub(crate) unusable: Vec<String>,
}

/// Chooses what the configuration names, and judges what it is worth on this host.
pub(crate) fn choose(config: &Config, launcher: Launcher) -> Result<Chosen, PromiseError> {
    let works = config.slots > 0;
    let found = caravan_sandbox::probe();
    if works {
        found.clone()?;
    }
    let sandbox = match &config.runtime {
        Runtime::Own => Kind::Own(launcher),
        Runtime::Oci(name) => Kind::Oci(OciRuntime::new(launcher, &OciRuntime::find(name)?)?),
    };
    let version = match &sandbox {
        Kind::Own(_) => None,
        Kind::Oci(runtime) => Some(runtime.version()),
    };
    let promises = found.map(|abilities| Promises::of(&abilities, version));
    if let Ok(promises) = &promises {
        judge(promises, config.accept, works)?;
    }
    Ok(Chosen {
        sandbox,
        promises,
        works,
    })
}

/// Whether an operator's word covers all that is lacking.
fn judge(promises: &Promises, accept: Defences, works: bool) -> Result<(), PromiseError> {
    let open = promises.unaccepted(accept);
    if !open.is_empty() && works {
        return Err(PromiseError::Lacking(open));
    }
    Ok(())
}

impl Chosen {
    /// Takes over a tag and says how much a dead node of that tag left, then runs a job to see that
    /// everything is there. `data` is the node's directory, which nobody else uses.
    pub(crate) fn try_out(self, tag: &JobName, data: &Path) -> Result<Ready, PromiseError> {
        let leftovers = match &self.sandbox {
            Kind::Own(launcher) => launcher.clean(tag)?,
            Kind::Oci(runtime) => runtime.clean(tag)?,
        };
        if leftovers > 0 {
            tracing::info!(leftovers, "cleaned up after a node that was killed");
        }
        let sandbox: Arc<dyn Sandbox> = match self.sandbox {
            Kind::Own(launcher) => Arc::new(launcher),
            Kind::Oci(runtime) => Arc::new(runtime),
        };
        let mut promises = self.promises;
        if self.works {
            caravan_sandbox::trial(&*sandbox, &data.join(TRIAL))?;
        } else if promises.is_ok()
            && let Err(missing) = caravan_sandbox::trial(&*sandbox, &data.join(TRIAL))
        {
            promises = Err(missing);
        }
        tell(&promises, self.works);
        let found = match self.works {
            true => emulation::try_out(&*sandbox, &data.join(TRIAL)),
            false => Emulation::default(),
        };
        Ok(Ready {
            sandbox,
            view: view(&promises),
            emulated: emulated(&found),
            unusable: found.unusable.iter().map(ToString::to_string).collect(),
        })
    }
}

/// What programs of other processors make this host.
fn emulated(found: &Emulation) -> BTreeSet<Platform> {
    let here = Platform::here();
    let of = |arch: &str| Platform::new(here.os(), arch).ok();
    let found = found.usable.iter().filter_map(|found| of(found.arch));
    found.filter(|platform| *platform != here).collect()
}

/// Says at the start what is not promised.
fn tell(promises: &Result<Promises, Missing>, works: bool) {
    match promises {
        Ok(promises) => {
            for lack in &promises.lacking {
                tracing::warn!("jobs run with less, as the configuration accepts: {lack}");
            }
            tracing::debug!(
                runtime = promises.runtime,
                works,
                "this host can run sandboxes"
            );
        }
        Err(missing) => tracing::warn!("this node runs no jobs, and it could not: {missing}"),
    }
}

/// For readers and claims.
fn view(promises: &Result<Promises, Missing>) -> SandboxView {
    match promises {
        Ok(promises) => SandboxView {
            profile: format!("{SANDBOX_PROFILE} {}", promises.profile()),
            runtime: promises.runtime.clone(),
            kept: promises
                .kept
                .iter()
                .map(|kept| PromiseView {
                    name: kept.name.to_owned(),
                    by: kept.by.clone(),
                })
                .collect(),
            lacking: promises.lacking.iter().map(Lacking::to_string).collect(),
        },
        Err(missing) => SandboxView {
            profile: "none".to_owned(),
            runtime: "none".to_owned(),
            kept: Vec::new(),
            lacking: vec![missing.to_string()],
        },
    }
}

#[cfg(test)]
mod tests {
    use caravan_sandbox::{Abilities, Defence};

    use super::*;

    /// A host without control groups.
    fn poor() -> Promises {
        let abilities = Abilities {
            cgroups: "none",
            memory_limit: false,
            swap_limit: true,
            pids_limit: false,
            cpu_limit: false,
            cpu_count: false,
            landlock: 7,
            rootless: false,
        };
        Promises::of(&abilities, None)
    }

    #[test]
    fn a_node_with_less_than_was_accepted_does_not_run_jobs() {
        let refused = judge(&poor(), Defences::NONE, true).unwrap_err();
        let told = format!("failed to {refused}");
        for part in [
            "no memory-limit: ",
            "no process-count-limit: ",
            "no processor-limit: ",
            "accept = [\"memory-limit\", \"process-count-limit\", \"processor-limit\"]",
        ] {
            assert!(told.contains(part), "{told}");
        }
        let some = Defences::only(Defence::MemoryLimit).with(Defence::ProcessorLimit);
        let told = judge(&poor(), some, true).unwrap_err().to_string();
        assert!(
            told.contains("accept = [\"process-count-limit\"]"),
            "{told}"
        );
        let all = some.with(Defence::ProcessCountLimit);
        assert!(judge(&poor(), all, true).is_ok());
    }

    #[test]
    fn a_node_that_runs_no_jobs_needs_no_promises() {
        assert!(judge(&poor(), Defences::NONE, false).is_ok());
        let shown = view(&Err(Missing::Overlay));
        assert_eq!((shown.runtime.as_str(), shown.lacking.len()), ("none", 1));
    }

    #[test]
    fn what_is_lacking_is_in_the_profile_of_claims() {
        let shown = view(&Ok(poor()));
        let wanted = "own, without memory-limit, process-count-limit, processor-limit";
        assert_eq!(shown.profile, format!("{SANDBOX_PROFILE} {wanted}"));
        assert_eq!(shown.lacking.len(), 3);
        assert!(
            shown
                .kept
                .iter()
                .any(|kept| kept.name == "system-call-filter")
        );
    }
}
