//! A step's way out: what its word about the network means on this node.
//!
//! The sandbox gives a step that has such a word a gate, and a session of `caravan-egress` serves it
//! until the step ends. What the session refuses is told in the step's own log, where whoever wonders
//! looks first; a step that has spent its bytes is killed.

use std::{
    fs::File,
    io::{self, PipeReader, PipeWriter, Read as _, Write as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use caravan_egress::{Bring, Note, Offered, Session, Source as Shelf, Tell};
use caravan_protocol::action::{Action, Declared, Network, Run, Source};
use caravan_sandbox::{Killer, Running};
use caravan_store::Store;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};
use tokio::{runtime::Handle, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Builder, chain, fetched};

/// A gate that is being served. Dropping it ends that.
pub(super) struct Gate {
    heard: Arc<Heard>,
    wake: PipeReader,
    stop: DropGuard,
    serving: JoinHandle<io::Result<u64>>,
    runtime: Handle,
}

/// What the session has said and the log has not.
struct Heard {
    notes: Mutex<Notes>,
    wake: PipeWriter,
    killer: Killer,
}

#[derive(Default)]
struct Notes {
    lines: Vec<String>,
    spent: Option<String>,
}

impl Heard {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, note: Note) {
        {
            let mut notes = self.notes();
            let (Note::Refused(line) | Note::Spent(line)) = &note;
            notes.lines.push(line.clone());
            if let Note::Spent(line) = note {
                notes.spent = Some(line);
                self.killer.kill();
            }
        }
        // A session says a hundred things at most, so there is always room for another byte.
        let _ = (&self.wake).write_all(b"!");
    }
}

impl Gate {
    /// Serves the gate of a step that has just started, if its network is one with a gate.
    pub(super) fn open(
        builder: &Builder,
        (action, run): (&Action, &Run),
        running: &mut Running,
    ) -> Result<Option<Self>, String> {
        if run.network == Network::None {
            return Ok(None);
        }
        let failed = |error: io::Error| format!("serve the step's gate: {error}");
        let gate = running
            .take_gate()
            .ok_or("the sandbox has no gate for the step's network")?;
        let runtime = Handle::try_current().map_err(|error| failed(io::Error::other(error)))?;
        let (wake, wakes) = io::pipe().map_err(failed)?;
        let heard = Arc::new(Heard {
            notes: Mutex::default(),
            wake: wakes,
            killer: running.killer(),
        });
        let hears = Arc::clone(&heard);
        let session = session(
            builder,
            (action, run),
            Arc::new(move |note| hears.hear(note)),
        );
        let stop = CancellationToken::new();
        // Ends with the step, which waits for it.
        let serving = runtime.spawn(session.serve(gate, stop.clone()));
        Ok(Some(Self {
            heard,
            wake,
            stop: stop.drop_guard(),
            serving,
            runtime,
        }))
    }

    /// Waits until there is something to read of `output`, and says meanwhile what the session says.
    pub(super) fn until(
        &self,
        output: &File,
        mut say: impl FnMut(&str) -> Result<(), String>,
    ) -> Result<(), String> {
        loop {
            let mut fds = [
                PollFd::new(output, PollFlags::IN),
                PollFd::new(&self.wake, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Err(Errno::INTR) => continue,
                Err(error) => return Err(format!("wait for the step's output: {error}")),
                Ok(_) => {}
            }
            let [has_output, has_notes] = [0, 1].map(|at: usize| !fds[at].revents().is_empty());
            if has_notes {
                // However many there are: all lines are taken.
                let _ = (&self.wake).read(&mut [0; 256]);
                let lines = std::mem::take(&mut self.heard.notes().lines);
                lines.iter().try_for_each(|line| say(line))?;
            }
            if has_output {
                return Ok(());
            }
        }
    }

    /// Ends it: cuts what is open. Gives the lines that nobody has said yet, and why the step was
    /// killed, if it was for its bytes.
    pub(super) fn close(self) -> (Vec<String>, Option<String>) {
        drop(self.stop);
        match self.runtime.block_on(self.serving) {
            Ok(Ok(bytes)) => tracing::debug!(bytes, "a step's gate is shut"),
            Ok(Err(error)) => tracing::warn!(%error, "a step's gate could not be served"),
            Err(error) => tracing::warn!(%error, "a step's gate was not served to its end"),
        }
        let notes = std::mem::take(&mut *self.heard.notes());
        (notes.lines, notes.spent)
    }
}

fn session(builder: &Builder, (action, run): (&Action, &Run), tell: Tell) -> Session {
    let Network::Fetch(files) = &run.network else {
        return builder.egress.host(tell);
    };
    let sources = |place: usize| action.sources.get(place).cloned().unwrap_or_default();
    let offered = files.iter().enumerate().map(|(place, file)| Offered {
        checksums: file.checksums.clone(),
        urls: sources(place)
            .into_iter()
            .filter_map(|source| match source {
                Source::Url(url) => Some(url),
                Source::Debian { .. } => None,
            })
            .collect(),
    });
    let offered = offered.collect();
    let shelf = Declarations {
        builder: builder.clone(),
        files: files.clone(),
        sources: (0..files.len()).map(sources).collect(),
    };
    builder.egress.fetch(offered, Arc::new(shelf), tell)
}

/// Declared files as the node fetches them: into its store, once.
struct Declarations {
    builder: Builder,
    files: Vec<Declared>,
    sources: Vec<Vec<Source>>,
}

impl Shelf for Declarations {
    fn bring(&self, place: usize) -> Bring<'_> {
        let (store, fetcher) = (&self.builder.store, &self.builder.fetcher);
        Box::pin(async move {
            let (file, sources) = (&self.files[place], &self.sources[place]);
            let (blob, _) = fetched::file(store, fetcher, file, sources).await?;
            let store: Store = store.clone();
            let open = move || store.open_blob(blob).map_err(|error| chain(&error));
            tokio::task::spawn_blocking(open)
                .await
                .map_err(|error| error.to_string())?
        })
    }
}
