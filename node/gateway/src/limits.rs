//! Every bound of the gateway in one place. Units are in the names.

use std::time::Duration;

/// Connections that are served at once; more wait in the kernel's queue.
pub(crate) const CONNECTIONS_MAX: usize = 256;
/// Longest life of one connection, whatever it does.
pub(crate) const CONNECTION_LIFE: Duration = Duration::from_secs(600);
/// Longest wait for the head of a request, idle time between two requests included.
pub(crate) const HEAD_READ: Duration = Duration::from_secs(20);
/// Longest time that an answer may take to begin.
pub(crate) const REQUEST: Duration = Duration::from_secs(10);
/// Longest wait for open connections once the gateway is told to stop.
pub(crate) const DRAIN: Duration = Duration::from_secs(2);
/// Largest head of a request, bytes.
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Longest path and query of a request, bytes.
pub(crate) const URI_BYTES_MAX: usize = 2048;
/// Pages that are put together at once.
pub(crate) const RENDERS_MAX: usize = 8;

/// Open streams of `/events`.
pub(crate) const STREAMS_MAX: usize = 64;
/// Longest life of one stream of `/events`; the browser opens it anew.
pub(crate) const STREAM_LIFE: Duration = Duration::from_secs(300);
/// Shortest time between two events of one stream.
pub(crate) const STREAM_PAUSE: Duration = Duration::from_millis(500);
/// Longest silence of a stream.
pub(crate) const STREAM_BEAT: Duration = Duration::from_secs(15);

/// Most bytes of all logs on one page.
pub(crate) const LOG_PAGE_BYTES: u64 = 2 * 1024 * 1024;
/// Most bytes of a log that is folded on a page which shows several.
pub(crate) const LOG_FOLDED_BYTES: u64 = 64 * 1024;
/// Most lines of one log on one page.
pub(crate) const LOG_PAGE_LINES: usize = 20_000;
/// Most bytes of HTML that one log becomes.
pub(crate) const LOG_HTML_BYTES: usize = 12 * 1024 * 1024;
/// Bytes that are asked of a log at once.
pub(crate) const LOG_CHUNK_BYTES: usize = 256 * 1024;
/// Lines of a failed log that are shown above everything else.
pub(crate) const LOG_EXCERPT_LINES: usize = 14;
/// Most cells of a line that a carriage return can go back over.
pub(crate) const LINE_CELLS_MAX: usize = 16 * 1024;
/// Longest escape sequence that is looked at; a longer one ends there.
pub(crate) const ESCAPE_CHARS_MAX: usize = 4096;

/// Longest text of a name or a message on a page, characters.
pub(crate) const TEXT_CHARS_MAX: usize = 400;
/// Longest recipe on a page, characters.
pub(crate) const RECIPE_CHARS_MAX: usize = 64 * 1024;
/// Longest readable slug, bytes; a longer name is named by its hash.
pub(crate) const SLUG_BYTES_MAX: usize = 400;
/// Most projects, branches, runs, members or steps that one table shows.
pub(crate) const ROWS_MAX: usize = 500;
/// Most runs of one branch on a project's page.
pub(crate) const BRANCH_RUNS_MAX: usize = 12;
/// Most runs in a project's chart.
pub(crate) const CHART_RUNS_MAX: usize = 48;
/// Most terms of a drawing.
pub(crate) const TERMS_MAX: usize = 500;
/// Most edges of a drawing that are looked at.
pub(crate) const EDGES_MAX: usize = 8_000;
/// Most bends of all edges of a drawing.
pub(crate) const BENDS_MAX: usize = 4_000;
/// Most series of one metric.
pub(crate) const SERIES_MAX: usize = 200;
