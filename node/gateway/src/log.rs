//! Windows on logs: which bytes of a step's log a page shows, with the numbers of their lines.

use caravan_protocol::{ids::RunId, policy::WantId};

use crate::{
    ansi, limits,
    source::{LogChunk, Source},
};

/// The end of a log, or all of it, from the beginning of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Window {
    /// The bytes that are shown.
    pub(crate) bytes: Vec<u8>,
    /// Where they begin in the log.
    pub(crate) start: u64,
    /// Where the bytes after them begin.
    pub(crate) next: u64,
    /// Number of their first line.
    pub(crate) first_line: u64,
    /// All bytes of the log.
    pub(crate) total: u64,
    /// Whether more may come.
    pub(crate) live: bool,
}

/// Reads a log from `start` on, at most `max` bytes.
fn read(source: &dyn Source, run: RunId, want: WantId, start: u64, max: u64) -> Option<LogChunk> {
    let mut whole = source.log(run, want, start, 0)?;
    whole.next = start;
    let mut left = usize::try_from(max).unwrap_or(usize::MAX);
    while left > 0 {
        let ask = left.min(limits::LOG_CHUNK_BYTES);
        let mut piece = source.log(run, want, whole.next, ask)?;
        if piece.bytes.is_empty() || piece.next <= whole.next {
            break;
        }
        piece.bytes.truncate(ask);
        left -= piece.bytes.len();
        whole.next = piece.next;
        whole.bytes.append(&mut piece.bytes);
    }
    Some(whole)
}

/// Lines that end before `end`.
fn lines_before(source: &dyn Source, run: RunId, want: WantId, end: u64) -> Option<u64> {
    let (mut at, mut lines) = (0, 0);
    while at < end {
        let ask = usize::try_from(end - at)
            .unwrap_or(usize::MAX)
            .min(limits::LOG_CHUNK_BYTES);
        let piece = source.log(run, want, at, ask)?;
        if piece.bytes.is_empty() || piece.next <= at {
            break;
        }
        lines += newlines(&piece.bytes);
        at = piece.next;
    }
    Some(lines)
}

fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}

/// The last `max` bytes of a log, from the beginning of a line and at most as many lines as a page
/// shows. While more may come, a last line without its end is left for later.
pub(crate) fn tail(source: &dyn Source, run: RunId, want: WantId, max: u64) -> Option<Window> {
    let total = source.log(run, want, 0, 0)?.total;
    let mut start = total.saturating_sub(max);
    let chunk = read(source, run, want, start, max)?;
    let mut bytes = chunk.bytes;
    let mut first_line = 1 + lines_before(source, run, want, start)?;
    if chunk.live {
        hold_back_open_line(&mut bytes);
    }
    let end = start + bytes.len() as u64;
    let mut skip = 0;
    if start > 0
        && let Some(at) = bytes.iter().position(|byte| *byte == b'\n')
    {
        skip = at + 1;
    }
    skip = skip.max(lines_to_skip(&bytes));
    first_line += newlines(&bytes[..skip]);
    bytes.drain(..skip);
    start += skip as u64;
    Some(Window {
        bytes,
        start,
        next: end,
        first_line,
        total,
        live: chunk.live,
    })
}

/// What came after `offset`: whole lines only while the log is live.
pub(crate) fn after(
    source: &dyn Source,
    run: RunId,
    want: WantId,
    offset: u64,
    line: u64,
) -> Option<Window> {
    let chunk = read(source, run, want, offset, limits::LOG_CHUNK_BYTES as u64)?;
    let mut bytes = chunk.bytes;
    if chunk.live || chunk.next < chunk.total {
        hold_back_open_line(&mut bytes);
    }
    Some(Window {
        next: offset.saturating_add(bytes.len() as u64),
        bytes,
        start: offset,
        first_line: line,
        total: chunk.total,
        live: chunk.live || chunk.next < chunk.total,
    })
}

/// Longest line that is waited for; a longer one is shown in parts.
const OPEN_LINE_BYTES: usize = 64 * 1024;

fn hold_back_open_line(bytes: &mut Vec<u8>) {
    let end = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    if bytes.len() - end < OPEN_LINE_BYTES {
        bytes.truncate(end);
    }
}

/// Bytes of the lines that are too many for a page.
fn lines_to_skip(bytes: &[u8]) -> usize {
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    body.iter()
        .enumerate()
        .rev()
        .filter(|(_, byte)| **byte == b'\n')
        .nth(limits::LOG_PAGE_LINES - 1)
        .map_or(0, |(at, _)| at + 1)
}

/// A log as a page shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogPart {
    /// What is put before the names of its lines.
    pub(crate) prefix: String,
    /// The lines.
    pub(crate) html: crate::text::Html,
    /// Bytes of the log that are not shown because they come earlier.
    pub(crate) skipped: u64,
    /// Whether the end is missing because it would make the page too large.
    pub(crate) cut: bool,
    /// Where more will come from.
    pub(crate) next: u64,
    /// The number that its first line will have.
    pub(crate) next_line: u64,
    /// Bytes of the log.
    pub(crate) total: u64,
    /// Whether more may come.
    pub(crate) live: bool,
    /// Lines that look like errors.
    pub(crate) errors: Vec<u64>,
}

impl LogPart {
    /// Renders a window.
    pub(crate) fn new(window: &Window, prefix: &str) -> Self {
        let rendered = ansi::render(
            &window.bytes,
            &ansi::Options {
                prefix,
                first_line: window.first_line,
                numbered: true,
            },
        );
        Self {
            prefix: prefix.to_owned(),
            html: crate::text::Html(rendered.html),
            skipped: window.start,
            cut: rendered.cut,
            next: window.next,
            next_line: rendered.next_line,
            total: window.total,
            live: window.live,
            errors: rendered.errors,
        }
    }

    /// The size of the part that is not shown.
    pub(crate) fn skipped_text(&self) -> String {
        crate::text::bytes(self.skipped)
    }

    /// The size of the log.
    pub(crate) fn total_text(&self) -> String {
        crate::text::bytes(self.total)
    }
}

/// The lines of a failed log that say most: around the first one that looks like an error, else the
/// last ones.
pub(crate) fn excerpt(window: &Window, errors: &[u64]) -> String {
    let lines: Vec<&[u8]> = window
        .bytes
        .split_inclusive(|byte| *byte == b'\n')
        .collect();
    let first = errors
        .first()
        .and_then(|line| usize::try_from(line.saturating_sub(window.first_line)).ok())
        // The lines before an error say where it is: file, line and source.
        .map_or(
            lines.len().saturating_sub(limits::LOG_EXCERPT_LINES),
            |at| at.saturating_sub(LINES_BEFORE_ERROR),
        );
    let shown = lines.iter().skip(first).take(limits::LOG_EXCERPT_LINES);
    let bytes: Vec<u8> = shown
        .flat_map(|line| line.iter().take(EXCERPT_LINE_BYTES))
        .copied()
        .collect();
    ansi::render(&bytes, &ansi::Options::default()).html
}

const LINES_BEFORE_ERROR: usize = 5;
const EXCERPT_LINE_BYTES: usize = 2000;

#[cfg(test)]
mod tests;
