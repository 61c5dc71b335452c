//! Bounds of a graph. Reaching one is a failed term with a text that says so, never a panic.

/// Terms that one engine holds at once, hidden ones included.
pub const NODES_MAX: usize = 1 << 20;

/// How deep functions that make terms may nest: a `bind` inside of a `bind` is at depth two.
pub const DEPTH_MAX: u32 = 256;

/// Bytes of a label; longer ones are cut.
pub const LABEL_BYTES_MAX: usize = 200;

/// Bytes of a failure's message; longer ones are cut.
pub const MESSAGE_BYTES_MAX: usize = 4096;

/// Names of provided trees that are remembered. Past it all are forgotten, and a tree that is
/// wanted again is provided again, which is only a waste.
pub const PROVIDED_MAX: usize = 1 << 16;

/// Largest graph that is checked as a whole after each round in debug builds.
pub const CHECKED_NODES_MAX: usize = 4096;

/// The bounds of one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Terms at once.
    pub nodes: usize,
    /// Nesting of functions that make terms.
    pub depth: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            nodes: NODES_MAX,
            depth: DEPTH_MAX,
        }
    }
}

/// The longest start of `text` that has at most `bytes_max` bytes.
pub(crate) fn clip(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
