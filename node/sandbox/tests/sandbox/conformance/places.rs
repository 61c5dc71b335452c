//! The implementations that run commands, each with a store, and a test of each for one fact.

use std::{path::PathBuf, sync::OnceLock};

use caravan_sandbox::{Exit, Launcher, OciRuntime, Sandbox, Spec, Status};

use crate::support::{Store, can_run, launcher, output, program};

/// One implementation with something to run.
pub(super) struct Place {
    pub(super) store: Store,
    pub(super) sandbox: &'static dyn Sandbox,
    pub(super) runtime: Option<&'static str>,
}

impl Place {
    /// The one that is meant, unless the host has none; then it says so loudly.
    pub(super) fn find(name: &'static str, test: &str) -> Option<Self> {
        if !can_run(test) {
            return None;
        }
        let (sandbox, runtime): (&'static dyn Sandbox, _) = match name {
            "own" => (launcher(), None),
            name => (runtime(name, test)?, Some(name)),
        };
        Some(Self {
            store: Store::new(),
            sandbox,
            runtime,
        })
    }

    pub(super) fn run(&self, spec: &Spec) -> (Exit, String) {
        let mut running = self.sandbox.start(spec).unwrap();
        let text = output(&mut running);
        (running.wait().unwrap(), text)
    }

    /// Runs a job that must end well and gives its output.
    pub(super) fn well(&self, spec: &Spec) -> String {
        let (exit, text) = self.run(spec);
        assert_eq!((exit.status, exit.limit), (Status::Code(0), None), "{text}");
        text
    }
}

/// A runtime of the host.
pub(super) fn find_runtime(name: &str, test: &str) -> Option<PathBuf> {
    if caravan_sandbox::probe().is_ok_and(|found| found.rootless) {
        println!("SKIPPED: {test}: an OCI runtime needs root");
        return None;
    }
    match OciRuntime::find(name) {
        Ok(path) => Some(path),
        Err(error) => {
            println!("SKIPPED: {test}: failed to {error}");
            None
        }
    }
}

fn runtime(name: &'static str, test: &str) -> Option<&'static OciRuntime> {
    static RUNTIME: OnceLock<OciRuntime> = OnceLock::new();
    static OTHER: OnceLock<OciRuntime> = OnceLock::new();
    let cell = if name == "runc" { &RUNTIME } else { &OTHER };
    let path = find_runtime(name, test)?;
    Some(cell.get_or_init(|| {
        let launcher = Launcher::spawn_program(program()).unwrap();
        OciRuntime::new(launcher, &path).unwrap()
    }))
}

/// For each fact, a test of the launcher, one of runc and one of crun.
macro_rules! each_place {
    ($($fact:ident),+ $(,)?) => {
        $crate::conformance::places::each_place!(@ own, "own", $($fact),+);
        $crate::conformance::places::each_place!(@ runc, "runc", $($fact),+);
        $crate::conformance::places::each_place!(@ crun, "crun", $($fact),+);
    };
    (@ $module:ident, $name:literal, $($fact:ident),+) => {
        mod $module {
            $(
                #[test]
                fn $fact() {
                    let test = concat!($name, " ", stringify!($fact));
                    if let Some(place) = $crate::conformance::places::Place::find($name, test) {
                        super::$fact(&place);
                    }
                }
            )+
        }
    };
}
pub(super) use each_place;
