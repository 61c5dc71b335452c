//! Cuts the text of a spec into parentheses and atoms, as OCaml's sexplib does, byte by byte and
//! without recursion. Comments are dropped here, except `#;`, which needs to know its neighbour.

use super::error::{Error, Position, Problem, shorten};
use crate::limits::SPEC_ATOM_BYTES_MAX;

/// What a spec's text is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// `(`
    Open,
    /// `)`
    Close,
    /// A word or a quoted string, its escapes undone.
    Atom(String),
    /// `#;`: the next thing is a comment.
    Ignore,
}

/// Reads tokens from the front of a text.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    rest: &'a [u8],
    at: Position,
}

impl<'a> Lexer<'a> {
    /// At the start of `text`.
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self {
            rest: text,
            at: Position { line: 1, column: 1 },
        }
    }

    /// The next token and where it starts, or nothing at the end of the text.
    pub(super) fn next(&mut self) -> Result<Option<(Position, Token)>, Error> {
        loop {
            let at = self.at;
            let Some(byte) = self.peek() else {
                return Ok(None);
            };
            let token = match byte {
                b' ' | b'\t' | 0x0c | b'\n' => {
                    self.bump();
                    continue;
                }
                b'\r' => {
                    self.bump();
                    if self.peek() != Some(b'\n') {
                        return Err(Problem::BareReturn.at(at));
                    }
                    continue;
                }
                b';' => {
                    while !matches!(self.peek(), None | Some(b'\n' | b'\r')) {
                        self.bump();
                    }
                    continue;
                }
                b'#' if self.rest.get(1) == Some(&b'|') => {
                    self.block_comment(at)?;
                    continue;
                }
                b'#' if self.rest.get(1) == Some(&b';') => {
                    self.bump();
                    self.bump();
                    Token::Ignore
                }
                b'(' => {
                    self.bump();
                    Token::Open
                }
                b')' => {
                    self.bump();
                    Token::Close
                }
                b'"' => {
                    let mut atom = Vec::new();
                    self.quoted(at, Some(&mut atom))?;
                    Token::Atom(text(atom, at)?)
                }
                _ => Token::Atom(self.word(at)?),
            };
            return Ok(Some((at, token)));
        }
    }

    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn bump(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        if byte == b'\n' {
            self.at.line = self.at.line.saturating_add(1);
            self.at.column = 1;
        } else if byte & 0xc0 != 0x80 {
            // Columns are characters: the later bytes of one do not count.
            self.at.column = self.at.column.saturating_add(1);
        }
        Some(byte)
    }

    fn word(&mut self, start: Position) -> Result<String, Error> {
        let mut atom = Vec::new();
        while let Some(byte) = self.peek() {
            if matches!(
                byte,
                b' ' | b'\t' | 0x0c | b'\n' | b'\r' | b'(' | b')' | b'"' | b';'
            ) {
                break;
            }
            if matches!((atom.last(), byte), (Some(b'#'), b'|') | (Some(b'|'), b'#')) {
                return Err(Problem::CommentInAtom.at(start));
            }
            push(Some(&mut atom), byte, start)?;
            self.bump();
        }
        text(atom, start)
    }

    /// From the opening to the closing quote; what is between goes to `atom`, if it is wanted.
    fn quoted(&mut self, start: Position, mut atom: Option<&mut Vec<u8>>) -> Result<(), Error> {
        self.bump();
        loop {
            match self.bump() {
                None => {
                    return Err(Problem::Unclosed {
                        what: "the quoted string",
                    }
                    .at(start));
                }
                Some(b'"') => return Ok(()),
                Some(b'\\') => self.escape(start, atom.as_deref_mut())?,
                Some(byte) => push(atom.as_deref_mut(), byte, start)?,
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self, start: Position, mut atom: Option<&mut Vec<u8>>) -> Result<(), Error> {
        let at = self.at;
        let Some(byte) = self.bump() else {
            return Err(Problem::Unclosed {
                what: "the quoted string",
            }
            .at(start));
        };
        let value = match byte {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'b' => 0x08,
            b'\\' | b'"' | b'\'' => byte,
            b'0'..=b'9' => self.decimal(byte, at)?,
            b'x' => self.hexadecimal(at)?,
            b'\n' => {
                self.skip_blanks();
                return Ok(());
            }
            b'\r' => {
                if self.peek() == Some(b'\n') {
                    self.bump();
                    self.skip_blanks();
                    return Ok(());
                }
                byte
            }
            // Anything else means itself, backslash included: `\(` in a regular expression.
            _ => {
                push(atom.as_deref_mut(), b'\\', start)?;
                byte
            }
        };
        push(atom, value, start)
    }

    /// A backslash at the end of a line hides the line end and the next line's indentation.
    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.bump();
        }
    }

    fn decimal(&mut self, first: u8, at: Position) -> Result<u8, Error> {
        const EXPECTED: Problem = Problem::Escape {
            expected: "three decimal digits of at most 255",
        };
        let mut value = u32::from(first - b'0');
        for _ in 0..2 {
            match self.bump() {
                Some(byte @ b'0'..=b'9') => value = value * 10 + u32::from(byte - b'0'),
                _ => return Err(EXPECTED.at(at)),
            }
        }
        u8::try_from(value).map_err(|_| EXPECTED.at(at))
    }

    fn hexadecimal(&mut self, at: Position) -> Result<u8, Error> {
        let mut value = 0_u8;
        for _ in 0..2 {
            let digit = self.bump().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit.and_then(|digit| u8::try_from(digit).ok()) else {
                return Err(Problem::Escape {
                    expected: "`x` and two hexadecimal digits",
                }
                .at(at));
            };
            value = value << 4 | digit;
        }
        Ok(value)
    }

    /// From `#|` to its `|#`. Such comments nest, and quoted strings in them are strings.
    fn block_comment(&mut self, start: Position) -> Result<(), Error> {
        let mut depth = 0_usize;
        let mut last = 0_u8;
        loop {
            let at = self.at;
            if self.peek() == Some(b'"') {
                self.quoted(at, None)?;
                last = 0;
                continue;
            }
            let Some(byte) = self.bump() else {
                return Err(Problem::Unclosed {
                    what: "the `#|` comment",
                }
                .at(start));
            };
            match (last, byte) {
                (b'#', b'|') => depth += 1,
                (b'|', b'#') => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                _ => {
                    last = byte;
                    continue;
                }
            }
            last = 0;
        }
    }
}

fn push(atom: Option<&mut Vec<u8>>, byte: u8, start: Position) -> Result<(), Error> {
    let Some(atom) = atom else {
        return Ok(());
    };
    if atom.len() == SPEC_ATOM_BYTES_MAX {
        return Err(Problem::TooLong {
            what: "an atom that starts here",
            bytes: atom.len() + 1,
            max: SPEC_ATOM_BYTES_MAX,
        }
        .at(start));
    }
    atom.push(byte);
    Ok(())
}

/// Atoms become arguments, paths and names of a program that runs on Linux: text without NUL.
fn text(atom: Vec<u8>, start: Position) -> Result<String, Error> {
    if atom.contains(&0) {
        return Err(Problem::Nul.at(start));
    }
    String::from_utf8(atom).map_err(|error| {
        Problem::NotUtf8 {
            found: shorten(&error.as_bytes().escape_ascii().to_string()),
        }
        .at(start)
    })
}
