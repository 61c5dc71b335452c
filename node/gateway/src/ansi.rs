//! Logs as HTML: colours and weights of SGR sequences become classes, carriage returns and
//! backspaces overwrite, everything else that a terminal would obey is dropped. The input is
//! hostile: the work is linear in it and the output is bounded.

use crate::{limits, text};

mod palette;
mod style;

pub(crate) use palette::stylesheet;
use style::Style;

/// How a log is turned into lines.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options<'a> {
    /// Put before `L12` in the name of a line.
    pub(crate) prefix: &'a str,
    /// Number of the first line.
    pub(crate) first_line: u64,
    /// Whether lines are numbered and can be linked to.
    pub(crate) numbered: bool,
}

/// What became of a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Rendered {
    /// The lines.
    pub(crate) html: String,
    /// Number that the line after these has.
    pub(crate) next_line: u64,
    /// Lines that look like the first words of an error, by number; only a few.
    pub(crate) errors: Vec<u64>,
    /// Whether the end is missing because the page would become too large.
    pub(crate) cut: bool,
}

const ERRORS_MAX: usize = 20;

/// Turns bytes of a log into HTML.
pub(crate) fn render(bytes: &[u8], options: &Options<'_>) -> Rendered {
    let text = String::from_utf8_lossy(bytes);
    let mut screen = Screen::default();
    let mut out = Rendered {
        next_line: options.first_line,
        ..Rendered::default()
    };
    for line in text.split_inclusive('\n') {
        if out.html.len() > limits::LOG_HTML_BYTES {
            out.cut = true;
            break;
        }
        screen.line(line.trim_end_matches(['\n', '\r']));
        close_line(&mut screen, options, &mut out);
    }
    out
}

fn close_line(screen: &mut Screen, options: &Options<'_>, out: &mut Rendered) {
    let number = out.next_line;
    out.next_line += 1;
    let is_error = looks_like_error(&screen.words);
    if is_error && out.errors.len() < ERRORS_MAX {
        out.errors.push(number);
    }
    if options.numbered {
        let class = if is_error { "l e" } else { "l" };
        let prefix = options.prefix;
        out.html.push_str(&format!(
            "<span class=\"{class}\" id=\"{prefix}L{number}\"><a href=\"#{prefix}L{number}\">{number}</a>"
        ));
    }
    screen.take(&mut out.html);
    out.html
        .push_str(if options.numbered { "</span>\n" } else { "\n" });
}

/// Whether a line begins the words of an error, as OCaml, dune, opam, alcotest and C compilers say
/// them.
fn looks_like_error(line: &str) -> bool {
    let line = line.trim_start_matches(['#', ' ', '\t', '-', '>']);
    [
        "Error:",
        "error:",
        "[ERROR]",
        "[FAIL]",
        "FAIL ",
        "Fatal error",
        "fatal:",
        "Fatal:",
    ]
    .iter()
    .any(|word| line.starts_with(word))
        || line.contains(": error:")
        || line.contains(": fatal error:")
}

/// A line of a terminal that is being written.
#[derive(Debug, Default)]
struct Screen {
    style: Style,
    cells: Vec<(char, Style)>,
    column: usize,
    /// Parts of the line that no carriage return reaches any more.
    done: String,
    open: Style,
    /// The beginning of the line without its styles.
    words: String,
}

const WORDS_CHARS_MAX: usize = 240;

impl Screen {
    fn line(&mut self, line: &str) {
        self.words.clear();
        let mut chars = line.chars();
        while let Some(c) = chars.next() {
            match c {
                '\x1b' => chars = self.escape(chars),
                '\r' => self.column = 0,
                '\x08' => self.column = self.column.saturating_sub(1),
                '\t' => self.tab(),
                c if c.is_control() => {}
                c if text::is_steering(c) => self.put(char::REPLACEMENT_CHARACTER),
                c => self.put(c),
            }
        }
        self.words = self
            .cells
            .iter()
            .map(|(c, _)| *c)
            .take(WORDS_CHARS_MAX)
            .collect();
    }

    fn put(&mut self, c: char) {
        let cell = (c, self.style);
        if let Some(old) = self.cells.get_mut(self.column) {
            *old = cell;
        } else {
            self.cells.push(cell);
        }
        self.column += 1;
        if self.cells.len() >= limits::LINE_CELLS_MAX {
            self.settle();
        }
    }

    fn tab(&mut self) {
        self.put(' ');
        while !self.column.is_multiple_of(8) {
            self.put(' ');
        }
    }

    /// Writes the cells out and begins anew behind them.
    fn settle(&mut self) {
        for (c, style) in self.cells.drain(..) {
            if style != self.open {
                self.open.close(&mut self.done);
                style.open(&mut self.done);
                self.open = style;
            }
            text::push_escaped(&mut self.done, c);
        }
        self.column = 0;
    }

    fn take(&mut self, out: &mut String) {
        self.settle();
        self.open.close(&mut self.done);
        self.open = Style::default();
        out.push_str(&self.done);
        self.done.clear();
    }

    /// Reads what follows an escape character and says where it ends.
    fn escape<'t>(&mut self, chars: std::str::Chars<'t>) -> std::str::Chars<'t> {
        let mut rest = chars.clone();
        match rest.next() {
            Some('[') => self.control_sequence(rest),
            Some(']' | 'P' | 'X' | '^' | '_') => skip_string(rest),
            Some(c) if ('\x20'..='\x2f').contains(&c) => skip_intermediate(rest),
            Some(c) if ('\x30'..='\x7e').contains(&c) => rest,
            _ => chars,
        }
    }

    fn control_sequence<'t>(&mut self, mut rest: std::str::Chars<'t>) -> std::str::Chars<'t> {
        let text = rest.as_str();
        let end = text
            .char_indices()
            .take(limits::ESCAPE_CHARS_MAX)
            .find(|(_, c)| !('\x20'..='\x3f').contains(c));
        let Some((at, last)) = end else {
            return skip(rest, limits::ESCAPE_CHARS_MAX);
        };
        let parameters = &text[..at];
        match last {
            'm' => self.style.apply(parameters),
            'K' => self.erase(parameters),
            'G' => {
                self.column = parameters
                    .parse::<usize>()
                    .unwrap_or(1)
                    .saturating_sub(1)
                    .min(self.cells.len())
            }
            _ => {}
        }
        rest = text[at..].chars();
        if ('\x40'..='\x7e').contains(&last) {
            rest.next();
        }
        rest
    }

    fn erase(&mut self, parameters: &str) {
        match parameters {
            "" | "0" => self.cells.truncate(self.column),
            "1" => {
                let end = self.column.min(self.cells.len());
                self.cells[..end].fill((' ', Style::default()));
            }
            "2" => {
                self.cells.clear();
                self.column = 0;
            }
            _ => {}
        }
    }
}

fn skip(mut chars: std::str::Chars<'_>, count: usize) -> std::str::Chars<'_> {
    for _ in 0..count {
        if chars.next().is_none() {
            break;
        }
    }
    chars
}

/// Skips a string for the terminal (title, hyperlink, ...) up to its end: BEL or ESC `\`.
fn skip_string(chars: std::str::Chars<'_>) -> std::str::Chars<'_> {
    let mut rest = chars;
    for _ in 0..limits::ESCAPE_CHARS_MAX {
        match rest.next() {
            None | Some('\x07' | '\u{9c}') => break,
            Some('\x1b') => {
                let mut after = rest.clone();
                if after.next() == Some('\\') {
                    return after;
                }
            }
            Some(_) => {}
        }
    }
    rest
}

fn skip_intermediate(chars: std::str::Chars<'_>) -> std::str::Chars<'_> {
    let mut rest = chars;
    for _ in 0..limits::ESCAPE_CHARS_MAX {
        match rest.next() {
            Some(c) if ('\x20'..='\x2f').contains(&c) => {}
            _ => break,
        }
    }
    rest
}

#[cfg(test)]
mod tests;
