//! Logs: written live, read from any offset while they grow, and blobs once they are whole. A live
//! log is found by a name; a finished one by its blob.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    os::unix::fs::FileExt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use caravan_protocol::ids::BlobId;

use crate::{
    commit::{self, NewObject, Source},
    error::{Doing, Result, StoreError},
    limits::{LOG_NAME_BYTES_MAX, LOG_READ_BYTES_MAX, LOGS_MAX},
    object::Key,
    store::Store,
    temp::{self, Temp},
};

/// The logs that are being written, by name.
#[derive(Default)]
pub(crate) struct Live(Mutex<BTreeMap<String, Arc<Growing>>>);

impl Live {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Growing>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A log's file and how far it has come.
struct Growing {
    file: File,
    state: Mutex<State>,
    grown: Condvar,
}

#[derive(Clone, Copy)]
struct State {
    size: u64,
    end: Option<End>,
}

/// How a log ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is whole and kept as this blob.
    Blob(BlobId),
    /// Its writer gave up; nothing is kept.
    Dropped,
}

impl Growing {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.grown.notify_all();
    }
}

/// Writes one live log. Dropped without [`LogWriter::finish`] the log is gone.
pub struct LogWriter {
    store: Store,
    name: String,
    growing: Arc<Growing>,
    file: File,
    hasher: blake3::Hasher,
    size: u64,
    max: u64,
    temp: Temp,
    end: End,
}

/// Reads one log from any offset, while it grows and after.
#[derive(Clone)]
pub struct LogReader {
    growing: Arc<Growing>,
}

impl Store {
    /// Begins a log of at most `max` bytes that readers find as `name` until it ends. No two live
    /// logs have one name.
    pub fn log_writer(&self, name: &str, max: u64) -> Result<LogWriter> {
        let unfit = |reason| StoreError::Unfit {
            what: "live log",
            reason,
        };
        if name.len() > LOG_NAME_BYTES_MAX {
            return Err(unfit("its name is too long"));
        }
        let (temp, file) = Temp::make(&self.inner)?;
        let growing = Arc::new(Growing {
            file: file.try_clone().doing(|| format!("open log {name}"))?,
            state: Mutex::new(State { size: 0, end: None }),
            grown: Condvar::new(),
        });
        let mut live = self.inner.logs.lock();
        if live.contains_key(name) {
            return Err(unfit("another of this name is being written"));
        }
        if live.len() >= LOGS_MAX {
            return Err(StoreError::TooMany {
                what: "live log".to_owned(),
                max: LOGS_MAX as u64,
            });
        }
        live.insert(name.to_owned(), Arc::clone(&growing));
        drop(live);
        Ok(LogWriter {
            store: self.clone(),
            name: name.to_owned(),
            growing,
            file,
            hasher: blake3::Hasher::new(),
            size: 0,
            max,
            temp,
            end: End::Dropped,
        })
    }

    /// The live log of this name.
    #[must_use]
    pub fn log(&self, name: &str) -> Option<LogReader> {
        let growing = self.inner.logs.lock().get(name).cloned()?;
        Some(LogReader { growing })
    }
}

impl LogWriter {
    /// Appends bytes; readers see them at once. Beyond the log's bound only what fits is kept and
    /// the error is [`StoreError::TooLarge`].
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let room = usize::try_from(self.max - self.size).unwrap_or(usize::MAX);
        let fits = &bytes[..bytes.len().min(room)];
        self.file
            .write_all(fits)
            .doing(|| format!("write log {}", self.name))?;
        self.hasher.update(fits);
        self.size += fits.len() as u64;
        let size = self.size;
        self.growing.set(|state| state.size = size);
        if fits.len() < bytes.len() {
            return Err(StoreError::TooLarge {
                what: format!("log {}", self.name),
                max: self.max,
            });
        }
        Ok(())
    }

    /// Bytes written so far.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// A reader of this log.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        LogReader {
            growing: Arc::clone(&self.growing),
        }
    }

    /// Ends the log and keeps it as a blob.
    pub fn finish(mut self) -> Result<BlobId> {
        let blob = BlobId::from_bytes(*self.hasher.finalize().as_bytes());
        if !self.store.has_blob(blob)? {
            temp::finish(&self.file)?;
            let new = NewObject {
                key: Key::plain(blob),
                size: self.size,
                source: Source::Work(self.temp.name().to_owned()),
            };
            commit::commit(&self.store.inner, &[new], None)?;
        }
        self.end = End::Blob(blob);
        Ok(blob)
    }
}

impl std::fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogWriter({}, {} bytes)", self.name, self.size)
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.store.inner.logs.lock().remove(&self.name);
        let end = self.end;
        self.growing.set(|state| state.end = Some(end));
    }
}

impl LogReader {
    /// Bytes written so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.growing.state().size
    }

    /// How the log ended, if it has. Nothing is appended after that.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.growing.state().end
    }

    /// At most `max` bytes from `offset` on, as many as are there; none at the end of what has
    /// been written.
    pub fn read_at(&self, offset: u64, max: usize) -> Result<Vec<u8>> {
        let there = self.size().saturating_sub(offset);
        let want = max
            .min(LOG_READ_BYTES_MAX)
            .min(usize::try_from(there).unwrap_or(usize::MAX));
        let mut bytes = vec![0; want];
        self.growing
            .file
            .read_exact_at(&mut bytes, offset)
            .doing(|| "read a live log".to_owned())?;
        Ok(bytes)
    }

    /// Waits until there is something beyond `offset`, or the log has ended, or `timeout` is over.
    /// Says whether one of the first two is so.
    #[must_use]
    pub fn wait(&self, offset: u64, timeout: Duration) -> bool {
        let idle = |state: &mut State| state.size <= offset && state.end.is_none();
        let (mut state, _) = self
            .growing
            .grown
            .wait_timeout_while(self.growing.state(), timeout, idle)
            .unwrap_or_else(PoisonError::into_inner);
        !idle(&mut state)
    }
}

impl std::fmt::Debug for LogReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogReader({} bytes)", self.size())
    }
}
