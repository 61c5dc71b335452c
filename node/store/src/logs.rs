//! Logs: written live, read from any offset while they grow, and blobs once they are whole. A live
//! log is found by a name; a finished one by its blob.
//!
//! The writer owns the log. It packs a frame whenever one is full and keeps the open one in memory,
//! where readers find it. A log whose writer is dropped, or whose process is killed, was never
//! there: its file is in the work directory. The bytes are never looked into, so colours and other
//! escapes stay as they came.

use std::{
    collections::BTreeMap,
    fs::File,
    ops::Range,
    os::unix::fs::FileExt,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use caravan_protocol::ids::BlobId;

use self::frames::{FRAME_BYTES, FormatError, Packer, Table};
use crate::{
    blobs,
    commit::{self, NewObject, Source},
    error::{Doing, Result, StoreError},
    limits::{LOG_NAME_BYTES_MAX, LOGS_MAX},
    object::Key,
    store::Store,
    temp::{self, Temp},
};

pub(crate) mod door;
mod frames;
mod reader;

pub use self::{
    frames::FormatError as LogFormatError,
    reader::{LogError, LogReader},
};

/// Largest bound that a log can be given, bytes: its frames are far fewer than a reader takes.
const BOUND_MAX: u64 = 1 << 30;
/// Room for [`LogWriter::last_words`] beyond a log's bound, bytes.
pub const LAST_WORDS_BYTES_MAX: u64 = 1024;

/// Most bytes of the blob of a log that has at most `max` bytes: a little more than `max`, for bytes
/// that do not compress.
#[must_use]
pub const fn log_blob_bytes_max(max: u64) -> u64 {
    max + LAST_WORDS_BYTES_MAX + max / 1024 + 4096
}

/// The logs that are being written, by name.
#[derive(Default)]
pub(crate) struct Live(Mutex<BTreeMap<String, Arc<Growing>>>);

impl Live {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Growing>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A live log: the file of its packed frames, and how far it has come.
struct Growing {
    name: String,
    /// The file, once there is a frame for it.
    file: OnceLock<File>,
    state: Mutex<State>,
    grown: Condvar,
}

struct State {
    /// The frames that are in the file.
    table: Table,
    /// The bytes after them.
    open: Vec<u8>,
    end: Option<End>,
}

impl State {
    fn size(&self) -> u64 {
        self.table.plain() + self.open.len() as u64
    }
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

    /// Only for those who know of a frame, or have just needed the file.
    fn file(&self) -> &File {
        self.file.get().expect("frames are in the file")
    }

    /// The bytes of the range that `want` makes of the log's size. Frames are unpacked after the
    /// writer can go on; what is in the file stays as it is.
    fn read(&self, want: impl FnOnce(u64) -> Range<u64>) -> Result<Vec<u8>, FormatError> {
        let state = self.state();
        let range = want(state.size());
        let packed = state.table.plain();
        let open_from = usize::try_from(range.start.saturating_sub(packed)).unwrap_or(usize::MAX);
        let open_to = usize::try_from(range.end.saturating_sub(packed)).unwrap_or(usize::MAX);
        let open = state.open[open_from..open_to].to_vec();
        let range = range.start.min(packed)..range.end.min(packed);
        let spans = state.table.spans(&range);
        drop(state);
        if spans.is_empty() {
            return Ok(open);
        }
        let mut bytes = Vec::new();
        frames::gather(self.file(), &spans, &range, &mut bytes)?;
        bytes.extend_from_slice(&open);
        Ok(bytes)
    }

    fn wait(&self, offset: u64, timeout: Duration) -> bool {
        let idle = |state: &mut State| state.size() <= offset && state.end.is_none();
        let (mut state, _) = self
            .grown
            .wait_timeout_while(self.state(), timeout, idle)
            .unwrap_or_else(PoisonError::into_inner);
        !idle(&mut state)
    }
}

/// Writes one live log. Dropped without [`LogWriter::finish`] the log is gone.
pub struct LogWriter {
    store: Store,
    growing: Arc<Growing>,
    packer: Packer,
    hasher: blake3::Hasher,
    size: u64,
    max: u64,
    /// Whether what comes next begins a line.
    at_line: bool,
    temp: Option<Temp>,
    end: End,
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
        if max > BOUND_MAX {
            return Err(unfit("its bound is more than 1 GiB"));
        }
        let what = || format!("open log {name}");
        let packer = Packer::new().doing(what)?;
        let growing = Arc::new(Growing {
            name: name.to_owned(),
            file: OnceLock::new(),
            state: Mutex::new(State {
                table: Table::default(),
                open: Vec::new(),
                end: None,
            }),
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
            growing,
            packer,
            hasher: blake3::Hasher::new(),
            size: 0,
            max,
            at_line: true,
            temp: None,
            end: End::Dropped,
        })
    }

    /// The live log of this name.
    #[must_use]
    pub fn log(&self, name: &str) -> Option<LogReader> {
        let growing = self.inner.logs.lock().get(name).cloned()?;
        Some(LogReader::live(growing))
    }

    /// The finished log that a blob holds. It may come from another node, so nothing in it is
    /// believed; one of more than `max` bytes, with a little more for its last words, is refused. A
    /// blob that does not end like a log is shown as the bytes that it is.
    pub fn open_log(&self, blob: BlobId, max: u64) -> Result<LogReader, LogError> {
        let (file, _, size) = blobs::find(&self.inner, blob)?.ok_or(StoreError::NoBlob { blob })?;
        LogReader::done(blob, file, size, max.saturating_add(LAST_WORDS_BYTES_MAX))
    }
}

impl LogWriter {
    /// Appends bytes; readers see them at once. Beyond the log's bound only what fits is kept and
    /// the error is [`StoreError::TooLarge`].
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let room = usize::try_from(self.room()).unwrap_or(usize::MAX);
        let fits = &bytes[..bytes.len().min(room)];
        self.put(fits)?;
        if fits.len() < bytes.len() {
            return Err(StoreError::TooLarge {
                what: format!("log {}", self.growing.name),
                max: self.max,
            });
        }
        Ok(())
    }

    /// Ends the log with a line of its own that says why it ends, for which there is room even in a
    /// full log. Nothing else fits after it.
    pub fn last_words(&mut self, words: &str) -> Result<()> {
        let most = usize::try_from(LAST_WORDS_BYTES_MAX).unwrap_or(usize::MAX) - 2;
        let mut line = words.as_bytes()[..words.len().min(most)].to_vec();
        if !self.at_line {
            line.insert(0, b'\n');
        }
        line.push(b'\n');
        self.put(&line)?;
        self.max = self.size;
        Ok(())
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let mut state = self.growing.state();
            if state.open.len() >= FRAME_BYTES {
                drop(state);
                self.seal()?;
                continue;
            }
            let (now, later) = bytes.split_at(bytes.len().min(FRAME_BYTES - state.open.len()));
            state.open.extend_from_slice(now);
            drop(state);
            self.growing.grown.notify_all();
            self.size += now.len() as u64;
            self.at_line = now.ends_with(b"\n");
            bytes = later;
        }
        Ok(())
    }

    /// The file of the log, made when there is something for it: most logs of short steps are known.
    fn need_file(&mut self) -> Result<&Temp> {
        if let Some(ref temp) = self.temp {
            return Ok(temp);
        }
        let (temp, file) = Temp::make(&self.store.inner)?;
        // Nobody else sets it.
        let _ = self.growing.file.set(file);
        Ok(self.temp.insert(temp))
    }

    /// Packs the open frame. Where the disk refuses, it stays open.
    fn seal(&mut self) -> Result<()> {
        let growing = Arc::clone(&self.growing);
        let what = || format!("write log {}", growing.name);
        let state = growing.state();
        let (plain, at) = (state.open.clone(), state.table.packed());
        drop(state);
        if plain.is_empty() {
            return Ok(());
        }
        let packed = self.packer.pack(&plain).doing(what)?;
        self.need_file()?;
        growing.file().write_all_at(&packed, at).doing(what)?;
        self.hasher.update(&packed);
        growing.set(|state| {
            state.table.push(packed.len() as u64, plain.len() as u64);
            state.open.clear();
        });
        Ok(())
    }

    /// Bytes written so far.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that still fit.
    #[must_use]
    pub const fn room(&self) -> u64 {
        self.max.saturating_sub(self.size)
    }

    /// A reader of this log.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        LogReader::live(Arc::clone(&self.growing))
    }

    /// Ends the log and keeps it as a blob.
    pub fn finish(mut self) -> Result<BlobId> {
        self.seal()?;
        let state = self.growing.state();
        let (table, at) = (state.table.encode(), state.table.packed());
        drop(state);
        self.hasher.update(&table);
        let blob = BlobId::from_bytes(*self.hasher.finalize().as_bytes());
        let inner = Arc::clone(&self.store.inner);
        let _flight = inner.guards.flight();
        if blobs::find(&inner, blob)?.is_none() {
            let temp = self.need_file()?;
            let name = temp.name().to_owned();
            let growing = &self.growing;
            let what = || format!("write log {}", growing.name);
            growing.file().write_all_at(&table, at).doing(what)?;
            crate::crash::point();
            temp::finish(growing.file())?;
            let new = NewObject {
                key: Key::plain(blob),
                size: at + table.len() as u64,
                source: Source::Work(name),
            };
            commit::commit(&inner, &[new], None)?;
        }
        self.end = End::Blob(blob);
        Ok(blob)
    }
}

impl std::fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogWriter({}, {} bytes)", self.growing.name, self.size)
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.store.inner.logs.lock().remove(&self.growing.name);
        let end = self.end;
        self.growing.set(|state| state.end = Some(end));
    }
}
