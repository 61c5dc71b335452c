//! What people see of a build, as OBuilder's users know it: headings, the steps' own output, and a
//! note for each layer.

use std::io::{IsTerminal, Write};

use caravan_protocol::ids::TreeId;

const HEADING: &str = "\x1b[94m";
const NOTE: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";
/// Digits of a layer's name in a note.
const ID_DIGITS: usize = 12;

/// Standard output, or nowhere.
pub(super) struct Printer {
    shown: bool,
    coloured: bool,
    /// Whether what was printed last ended its line.
    at_start: bool,
}

impl Printer {
    /// Prints nothing at all unless `shown`.
    pub(super) fn new(shown: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            shown,
            coloured: wanted && std::io::stdout().is_terminal(),
            at_start: true,
        }
    }

    /// An op begins.
    pub(super) fn heading(&mut self, text: &str) {
        self.line(HEADING, text);
    }

    /// A nested build has ended.
    pub(super) fn note(&mut self, text: &str) {
        self.line(NOTE, text);
    }

    /// A layer is there.
    pub(super) fn layer(&mut self, tree: TreeId, cached: bool) {
        let id = short(tree);
        self.note(&match cached {
            true => format!("---> using \"{id}\" from cache"),
            false => format!("---> saved as \"{id}\""),
        });
    }

    /// A step's own words, as they are.
    pub(super) fn output(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last() {
            self.write(bytes);
            self.at_start = *last == b'\n';
        }
    }

    fn line(&mut self, colour: &str, text: &str) {
        let begin = if self.at_start { "" } else { "\n" };
        let line = match self.coloured {
            true => format!("{begin}{colour}{text}{PLAIN}\n"),
            false => format!("{begin}{text}\n"),
        };
        self.write(line.as_bytes());
        self.at_start = true;
    }

    fn write(&self, bytes: &[u8]) {
        if self.shown {
            let mut out = std::io::stdout().lock();
            // A reader that went away is no reason to give the build up.
            let _ = out.write_all(bytes).and_then(|()| out.flush());
        }
    }
}

/// The first digits of a layer's name.
pub(super) fn short(tree: TreeId) -> String {
    tree.to_string().chars().take(ID_DIGITS).collect()
}
