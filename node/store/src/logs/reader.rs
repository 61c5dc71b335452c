//! Reading a log at any offset, while it grows and after. Offsets are of plain bytes, always: a
//! reader does not see whether, or when, bytes are packed.

use std::{fs::File, ops::Range, os::unix::fs::FileExt, sync::Arc, time::Duration};

use caravan_protocol::ids::BlobId;

use super::{
    End, Growing,
    frames::{self, FormatError, Table},
};
use crate::{error::StoreError, limits::LOG_READ_BYTES_MAX};

/// Bytes that are looked at once in a search for lines.
const LINES_PIECE_BYTES: u64 = 256 * 1024;

/// Why a log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bytes are not a log.
    #[error(
        "read log {name}: it was written wrongly or is damaged, `caravan store check` says which"
    )]
    Broken {
        /// Its blob, or its name while it is live.
        name: String,
        /// What is wrong with it.
        source: FormatError,
    },
}

/// Reads one log from any offset, while it grows and after.
#[derive(Clone)]
pub struct LogReader(Kind);

#[derive(Clone)]
enum Kind {
    Live(Arc<Growing>),
    Done(Arc<Done>),
}

/// A log that ended before anybody asked for it.
struct Done {
    blob: BlobId,
    file: File,
    form: Form,
}

enum Form {
    /// Frames with a table.
    Frames(Table),
    /// So many bytes as they are.
    Plain(u64),
}

impl LogReader {
    pub(super) const fn live(growing: Arc<Growing>) -> Self {
        Self(Kind::Live(growing))
    }

    /// The log of at most `max` bytes that a blob holds. A blob without a table is its own bytes.
    pub(super) fn done(blob: BlobId, file: File, size: u64, max: u64) -> Result<Self, LogError> {
        let broken = |source| LogError::Broken {
            name: blob.to_string(),
            source,
        };
        let form = match Table::read(&file, size, max).map_err(broken)? {
            Some(table) => Form::Frames(table),
            None if size > max => {
                return Err(broken(FormatError::TooLarge { found: size, max }));
            }
            None => Form::Plain(size),
        };
        Ok(Self(Kind::Done(Arc::new(Done { blob, file, form }))))
    }

    /// Bytes written so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        match &self.0 {
            Kind::Live(growing) => growing.state().size(),
            Kind::Done(done) => match &done.form {
                Form::Frames(table) => table.plain(),
                Form::Plain(size) => *size,
            },
        }
    }

    /// How the log ended, if it has. Nothing is appended after that.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        match &self.0 {
            Kind::Live(growing) => growing.state().end,
            Kind::Done(done) => Some(End::Blob(done.blob)),
        }
    }

    /// At most `max` bytes from `offset` on, as many as are there; none at the end of what has
    /// been written.
    pub fn read_at(&self, offset: u64, max: usize) -> Result<Vec<u8>, LogError> {
        let max = max.min(LOG_READ_BYTES_MAX) as u64;
        let want = |size: u64| offset.min(size)..offset.saturating_add(max).min(size);
        let read = match &self.0 {
            Kind::Live(growing) => growing.read(want),
            Kind::Done(done) => done.read(&want(self.size())),
        };
        read.map_err(|source| LogError::Broken {
            name: match &self.0 {
                Kind::Live(growing) => growing.name.clone(),
                Kind::Done(done) => done.blob.to_string(),
            },
            source,
        })
    }

    /// Where the last `count` lines of what has been written begin. What follows the last line
    /// feed is a line too.
    pub fn lines_from_end(&self, count: u64) -> Result<u64, LogError> {
        let size = self.size();
        if count == 0 {
            return Ok(size);
        }
        let (mut end, mut left) = (size, count);
        while end > 0 {
            let start = end.saturating_sub(LINES_PIECE_BYTES);
            let piece = usize::try_from(end - start).unwrap_or(usize::MAX);
            let bytes = self.read_at(start, piece)?;
            for (at, byte) in bytes.iter().enumerate().rev() {
                let after = start + at as u64 + 1;
                // The feed at the very end ends the last line and begins none.
                if *byte == b'\n' && after < size {
                    left -= 1;
                    if left == 0 {
                        return Ok(after);
                    }
                }
            }
            end = start;
        }
        Ok(0)
    }

    /// Waits until there is something beyond `offset`, or the log has ended, or `timeout` is over.
    /// Says whether one of the first two is so.
    #[must_use]
    pub fn wait(&self, offset: u64, timeout: Duration) -> bool {
        match &self.0 {
            Kind::Live(growing) => growing.wait(offset, timeout),
            Kind::Done(_) => true,
        }
    }
}

impl Done {
    fn read(&self, range: &Range<u64>) -> Result<Vec<u8>, FormatError> {
        let mut bytes = Vec::new();
        match &self.form {
            Form::Frames(table) => {
                frames::gather(&self.file, &table.spans(range), range, &mut bytes)?;
            }
            Form::Plain(_) => {
                let want = usize::try_from(range.end - range.start).unwrap_or(LOG_READ_BYTES_MAX);
                bytes.resize(want, 0);
                self.file.read_exact_at(&mut bytes, range.start)?;
            }
        }
        Ok(bytes)
    }
}

impl std::fmt::Debug for LogReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogReader({} bytes)", self.size())
    }
}
