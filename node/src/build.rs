//! Doing one action on this node: a command in the sandbox over mounted layers, or a declared
//! fetch. Everything that the action names is in the store before it is called; what it makes is in
//! the store when it returns. It signs nothing and decides nothing about retries.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Instant,
};

use caravan_effects::fetch::Fetcher;
use caravan_egress::{Egress, Policy};
use caravan_protocol::{
    action::{Action, Copy, Fetch, Run, Source, Work},
    claim::{Claim, Verdict},
    identity::Signed,
    ids::{BlobId, TreeId},
};
use caravan_sandbox::{JobName, Killer, Sandbox};
use caravan_store::{Caches, Store};
pub(crate) use redact::Redactor;
pub(crate) use secrets::Secrets;
use step::Step;
use tokio_util::sync::CancellationToken;

use crate::task::Tasks;

mod copied;
mod fetched;
mod gate;
mod lent;
mod printed;
mod redact;
mod secrets;
mod step;
mod words;

/// How an attempt ended here.
#[derive(Debug, Clone)]
pub(crate) struct Built {
    /// How it ended.
    pub(crate) verdict: Verdict,
    /// What it made.
    pub(crate) output: Option<TreeId>,
    /// Its named outputs.
    pub(crate) outputs: BTreeMap<String, BlobId>,
    /// Its log.
    pub(crate) log: Option<BlobId>,
    /// Wall clock, milliseconds.
    pub(crate) wall_ms: u64,
    /// Processor time, milliseconds.
    pub(crate) cpu_ms: u64,
    /// The words of a failure.
    pub(crate) message: Option<String>,
    /// The claim made when it was built, if that was before.
    pub(crate) claim: Option<Signed<Claim>>,
}

impl Built {
    /// A failure of this machine, not of the action.
    pub(crate) fn infra(message: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Infra,
            output: None,
            outputs: BTreeMap::new(),
            log: None,
            wall_ms: 0,
            cpu_ms: 0,
            message: Some(message.into()),
            claim: None,
        }
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

/// Does actions.
#[derive(Clone)]
pub(crate) struct Builder {
    store: Store,
    caches: Caches,
    sandbox: Arc<dyn Sandbox>,
    fetcher: Fetcher,
    egress: Egress,
    tag: String,
    /// Thousandths of a core that a step gets; all of them if nothing is said.
    cpu_millis: Option<u64>,
    /// What goes on beside a step and after it.
    tasks: Tasks,
}

impl Builder {
    /// A builder. `tag` is part of the names of its jobs' cgroups.
    pub(crate) fn new(
        store: Store,
        sandbox: Arc<dyn Sandbox>,
        fetcher: Fetcher,
        tag: String,
    ) -> Self {
        Self {
            caches: Caches::new(store.clone()),
            store,
            sandbox,
            fetcher,
            // Nothing is listed until somebody says what is.
            egress: Egress::new(Policy::default(), caravan_egress::BYTES_DEFAULT, None),
            tag,
            cpu_millis: None,
            tasks: Tasks::new(),
        }
    }

    /// The same, whose steps get so much of a core, in thousandths.
    pub(crate) fn with_cpu(self, cpu_millis: Option<u64>) -> Self {
        Self { cpu_millis, ..self }
    }

    /// The same, whose work beside steps is waited for with these.
    pub(crate) fn with_tasks(self, tasks: Tasks) -> Self {
        Self { tasks, ..self }
    }

    /// The same with a way out for steps that ask for one.
    pub(crate) fn with_egress(self, egress: Egress) -> Self {
        Self { egress, ..self }
    }

    /// Processor time that the step of this name has used so far, where that is counted.
    pub(crate) fn cpu_ms(&self, name: &str) -> Option<u64> {
        caravan_sandbox::cpu_ms(&self.job(name).ok()?)
    }

    /// What the sandbox calls the step of this name.
    fn job(&self, name: &str) -> Result<JobName, caravan_sandbox::SpecError> {
        let short = name.get(..16).unwrap_or(name);
        format!("{}-{short}", self.tag).parse()
    }

    /// Does `action`, whose secrets are among these; its live log is found in the store under
    /// `name`. Once `cancel` fires, what runs is stopped and the answer is an infrastructure failure
    /// that says so.
    pub(crate) async fn build(
        &self,
        action: &Action,
        name: &str,
        secrets: &Secrets,
        cancel: &CancellationToken,
    ) -> Built {
        match &action.work {
            Work::Fetch(fetch) => {
                tokio::select! {
                    built = self.fetch(fetch, &action.sources) => built,
                    () = cancel.cancelled() => Built::infra("the attempt was cancelled"),
                }
            }
            Work::Copy(copy) => self.copy(copy, cancel).await,
            Work::Run(run) => self.run((action, run), name, secrets, cancel).await,
        }
    }

    async fn fetch(&self, fetch: &Fetch, sources: &[Vec<Source>]) -> Built {
        let started = Instant::now();
        match fetched::all(&self.store, &self.fetcher, fetch, sources).await {
            Ok(tree) => Built {
                verdict: Verdict::Pass,
                output: Some(tree),
                wall_ms: elapsed_ms(started),
                message: None,
                ..Built::infra("")
            },
            Err(error) => Built {
                wall_ms: elapsed_ms(started),
                ..Built::infra(error)
            },
        }
    }

    async fn copy(&self, copy: &Copy, cancel: &CancellationToken) -> Built {
        let started = Instant::now();
        let (store, copy, stop) = (self.store.clone(), copy.clone(), cancel.clone());
        let work = move || copied::layer(&store, &copy, &|| stop.is_cancelled());
        // Waited for even when it is cancelled: one slot, one work.
        let copied = tokio::task::spawn_blocking(work).await;
        let wall_ms = elapsed_ms(started);
        match copied {
            Ok(Ok(tree)) => Built {
                verdict: Verdict::Pass,
                output: Some(tree),
                wall_ms,
                message: None,
                ..Built::infra("")
            },
            Ok(Err(copied::CopyError::Store(error))) => Built::infra(chain(&error)),
            Ok(Err(copied::CopyError::Stopped)) => Built::infra("the attempt was cancelled"),
            Ok(Err(refused)) => Built {
                verdict: Verdict::Fail,
                wall_ms,
                ..Built::infra(chain(&refused))
            },
            Err(_) => Built::infra("the copy's thread died"),
        }
    }

    async fn run(
        &self,
        (action, run): (&Action, &Run),
        name: &str,
        secrets: &Secrets,
        cancel: &CancellationToken,
    ) -> Built {
        let killer: Arc<Mutex<Option<Killer>>> = Arc::default();
        let work = {
            let (builder, action, run) = (self.clone(), action.clone(), run.clone());
            let (name, killer, cancel) = (name.to_owned(), Arc::clone(&killer), cancel.clone());
            let secrets = secrets.clone();
            tokio::task::spawn_blocking(move || {
                let step = Step {
                    builder: &builder,
                    action: &action,
                    run: &run,
                    name: &name,
                    secrets: &secrets,
                };
                step.run(&killer, &cancel)
            })
        };
        let stop = async {
            cancel.cancelled().await;
            if let Ok(killer) = killer.lock()
                && let Some(killer) = killer.as_ref()
            {
                killer.kill();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            built = work => built.unwrap_or_else(|_| Built::infra("the step's thread died")),
            () = stop => Built::infra("the attempt was cancelled"),
        }
    }
}

fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
