//! Splits the text of an opam file into tokens. Text without escapes is borrowed, never copied.

use std::borrow::Cow;

use super::{
    error::Syntax,
    value::{EnvOp, Position},
};
use crate::relop::Relop;

/// A fault and its place; the path is added by the caller.
pub(super) type Fault = (Position, Syntax);

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Ident(&'a str),
    String(Cow<'a, str>),
    Int(i64),
    Bool(bool),
    Colon,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    LeftParen,
    RightParen,
    And,
    Or,
    Not,
    Question,
    Relop(Relop),
    EnvOp(EnvOp),
    End,
}

impl Token<'_> {
    /// What the token is, for error messages.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Ident(name) => format!("identifier {name:?}"),
            Self::String(_) => "a string".to_owned(),
            Self::Int(number) => format!("{number}"),
            Self::Bool(value) => format!("{value}"),
            Self::Colon => "':'".to_owned(),
            Self::LeftBrace => "'{'".to_owned(),
            Self::RightBrace => "'}'".to_owned(),
            Self::LeftBracket => "'['".to_owned(),
            Self::RightBracket => "']'".to_owned(),
            Self::LeftParen => "'('".to_owned(),
            Self::RightParen => "')'".to_owned(),
            Self::And => "'&'".to_owned(),
            Self::Or => "'|'".to_owned(),
            Self::Not => "'!'".to_owned(),
            Self::Question => "'?'".to_owned(),
            Self::Relop(relop) => format!("'{relop}'"),
            Self::EnvOp(op) => format!("'{}'", op.as_str()),
            Self::End => "the end of the file".to_owned(),
        }
    }
}

/// Reads tokens from left to right.
pub(super) struct Lexer<'a> {
    text: &'a str,
    offset: usize,
    line: u32,
    line_start: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            offset: 0,
            line: 1,
            line_start: 0,
        }
    }

    fn position(&self) -> Position {
        let column = self.offset - self.line_start + 1;
        Position {
            line: self.line,
            column: u32::try_from(column).unwrap_or(u32::MAX),
        }
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.offset + ahead).copied()
    }

    fn newline(&mut self) {
        self.line += 1;
        self.line_start = self.offset;
    }

    /// The next token and where it starts.
    pub(super) fn next(&mut self) -> Result<(Position, Token<'a>), Fault> {
        self.skip_blanks()?;
        let at = self.position();
        let Some(byte) = self.byte(0) else {
            return Ok((at, Token::End));
        };
        let token = match byte {
            b'"' => self.string(at)?,
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'-' => self.word(at)?,
            _ => self.symbol(at, byte)?,
        };
        Ok((at, token))
    }

    fn skip_blanks(&mut self) -> Result<(), Fault> {
        while let Some(byte) = self.byte(0) {
            match byte {
                b' ' | b'\t' => self.offset += 1,
                b'\r' if self.byte(1) == Some(b'\n') => self.offset += 1,
                b'\n' => {
                    self.offset += 1;
                    self.newline();
                }
                b'#' => {
                    let rest = &self.text.as_bytes()[self.offset..];
                    self.offset += rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
                }
                b'(' if self.byte(1) == Some(b'*') => self.comment()?,
                _ => break,
            }
        }
        Ok(())
    }

    /// `(* .. *)`, which nests; counted, so that nesting costs no stack.
    fn comment(&mut self) -> Result<(), Fault> {
        let at = self.position();
        let mut depth = 0_usize;
        loop {
            match (self.byte(0), self.byte(1)) {
                (Some(b'('), Some(b'*')) => {
                    depth += 1;
                    self.offset += 2;
                }
                (Some(b'*'), Some(b')')) => {
                    depth -= 1;
                    self.offset += 2;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                (Some(byte), _) => {
                    self.offset += 1;
                    if byte == b'\n' {
                        self.newline();
                    }
                }
                (None, _) => return Err((at, Syntax::Unterminated("comment"))),
            }
        }
    }

    fn symbol(&mut self, at: Position, byte: u8) -> Result<Token<'a>, Fault> {
        let second = self.byte(1);
        let (token, length) = match (byte, second) {
            (b':', Some(b'=')) => (Token::EnvOp(EnvOp::PrependColon), 2),
            (b':', _) => (Token::Colon, 1),
            (b'+', Some(b'=')) => (Token::EnvOp(EnvOp::Prepend), 2),
            (b'=', Some(b'+')) if self.byte(2) == Some(b'=') => (Token::EnvOp(EnvOp::Replace), 3),
            (b'=', Some(b'+')) => (Token::EnvOp(EnvOp::Append), 2),
            (b'=', Some(b':')) => (Token::EnvOp(EnvOp::AppendColon), 2),
            (b'=', _) => (Token::Relop(Relop::Equal), 1),
            (b'!', Some(b'=')) => (Token::Relop(Relop::NotEqual), 2),
            (b'!', _) => (Token::Not, 1),
            (b'>', Some(b'=')) => (Token::Relop(Relop::AtLeast), 2),
            (b'>', _) => (Token::Relop(Relop::Above), 1),
            (b'<', Some(b'=')) => (Token::Relop(Relop::AtMost), 2),
            (b'<', _) => (Token::Relop(Relop::Below), 1),
            (b'?', _) => (Token::Question, 1),
            (b'&', _) => (Token::And, 1),
            (b'|', _) => (Token::Or, 1),
            (b'{', _) => (Token::LeftBrace, 1),
            (b'}', _) => (Token::RightBrace, 1),
            (b'[', _) => (Token::LeftBracket, 1),
            (b']', _) => (Token::RightBracket, 1),
            (b'(', _) => (Token::LeftParen, 1),
            (b')', _) => (Token::RightParen, 1),
            _ => {
                let found = self.text[self.offset..].chars().next().unwrap_or(' ');
                let found = format!("{found:?}");
                return Err((
                    at,
                    Syntax::Expected {
                        expected: "a token",
                        found,
                    },
                ));
            }
        };
        self.offset += length;
        Ok(token)
    }

    /// An identifier, a boolean or an integer: whichever takes the longest text.
    fn word(&mut self, at: Position) -> Result<Token<'a>, Fault> {
        let bytes = &self.text.as_bytes()[self.offset..];
        let mut end = simple_identifier(bytes);
        if end > 0 {
            while bytes.get(end) == Some(&b'+') {
                match simple_identifier(&bytes[end + 1..]) {
                    0 => break,
                    more => end += 1 + more,
                }
            }
            if bytes.get(end) == Some(&b':') {
                match simple_identifier(&bytes[end + 1..]) {
                    0 => {}
                    more if bytes[end + 1] == b'_' && more == 1 => {}
                    more => end += 1 + more,
                }
            }
        } else {
            end = bytes
                .iter()
                .position(|b| !is_identifier_byte(*b))
                .unwrap_or(bytes.len());
            let text = &self.text[self.offset..self.offset + end];
            self.offset += end;
            let number = text.replace('_', "").parse().map(Token::Int);
            return number.map_err(|_| (at, Syntax::Integer(text.to_owned())));
        }
        let text = &self.text[self.offset..self.offset + end];
        self.offset += end;
        Ok(match text {
            "true" => Token::Bool(true),
            "false" => Token::Bool(false),
            ident => Token::Ident(ident),
        })
    }

    /// A string in `"` or `"""`; the offset is at its first quote.
    fn string(&mut self, at: Position) -> Result<Token<'a>, Fault> {
        let triple = self.text.as_bytes()[self.offset..].starts_with(b"\"\"\"");
        let quotes = if triple { 3 } else { 1 };
        self.offset += quotes;
        let start = self.offset;
        let mut piece = start;
        let mut owned: Option<Vec<u8>> = None;
        loop {
            let rest = &self.text.as_bytes()[self.offset..];
            let Some(skip) = rest
                .iter()
                .position(|b| matches!(b, b'"' | b'\\' | b'\n' | b'\r'))
            else {
                return Err((at, Syntax::Unterminated("string")));
            };
            self.offset += skip;
            let rest = &rest[skip..];
            match rest[0] {
                b'"' if !triple || rest.starts_with(b"\"\"\"") => break,
                b'\n' => {
                    self.offset += 1;
                    self.newline();
                }
                b'\r' if rest.get(1) == Some(&b'\n') => {
                    // Both kinds of line end mean one newline.
                    self.keep(&mut owned, start, piece);
                    self.offset += 1;
                    piece = self.offset;
                }
                b'\\' => {
                    self.keep(&mut owned, start, piece);
                    let escaped = self.escape(at)?;
                    owned.get_or_insert_default().extend(escaped);
                    piece = self.offset;
                }
                _ => self.offset += 1,
            }
        }
        let end = self.offset;
        self.offset += quotes;
        match owned {
            None => Ok(Token::String(Cow::Borrowed(&self.text[start..end]))),
            Some(mut bytes) => {
                bytes.extend_from_slice(&self.text.as_bytes()[piece..end]);
                let text = String::from_utf8(bytes).map_err(|_| (at, Syntax::Encoding))?;
                Ok(Token::String(Cow::Owned(text)))
            }
        }
    }

    /// Copies the text since the last escape, for a string that cannot be borrowed.
    fn keep(&self, owned: &mut Option<Vec<u8>>, start: usize, piece: usize) {
        let bytes = owned.get_or_insert_default();
        debug_assert!(piece >= start, "pieces lie inside the string");
        bytes.extend_from_slice(&self.text.as_bytes()[piece..self.offset]);
    }

    /// The byte that an escape stands for, or none for an escaped line end with its indentation.
    fn escape(&mut self, at: Position) -> Result<Option<u8>, Fault> {
        self.offset += 1;
        let illegal = (at, Syntax::Escape);
        let byte = self.byte(0).ok_or((at, Syntax::Unterminated("string")))?;
        let (value, length) = match byte {
            b'\r' if self.byte(1) == Some(b'\n') => return self.escaped_line(2),
            b'\n' => return self.escaped_line(1),
            b'\\' | b'"' | b'\'' | b' ' => (byte, 1),
            b'n' => (b'\n', 1),
            b'r' => (b'\r', 1),
            b't' => (b'\t', 1),
            b'b' => (8, 1),
            b'0'..=b'9' => (self.escaped_number(0, 3, 10).ok_or(illegal)?, 3),
            b'x' => (self.escaped_number(1, 2, 16).ok_or(illegal)?, 3),
            _ => return Err(illegal),
        };
        self.offset += length;
        Ok(Some(value))
    }

    fn escaped_line(&mut self, length: usize) -> Result<Option<u8>, Fault> {
        self.offset += length;
        self.newline();
        while matches!(self.byte(0), Some(b' ' | b'\t')) {
            self.offset += 1;
        }
        Ok(None)
    }

    fn escaped_number(&self, from: usize, digits: usize, radix: u32) -> Option<u8> {
        let start = self.offset + from;
        let text = self.text.as_bytes().get(start..start + digits)?;
        let value = text.iter().try_fold(0_u32, |value, byte| {
            char::from(*byte)
                .to_digit(radix)
                .map(|digit| value * radix + digit)
        })?;
        u8::try_from(value).ok()
    }
}

fn is_identifier_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// Length of the identifier without `+` and `:` at the start of `bytes`: it has a letter, or is `_`.
fn simple_identifier(bytes: &[u8]) -> usize {
    let end = bytes
        .iter()
        .position(|b| !is_identifier_byte(*b))
        .unwrap_or(bytes.len());
    let word = &bytes[..end];
    if word == b"_" || word.iter().any(u8::is_ascii_alphabetic) {
        end
    } else {
        0
    }
}
