//! Recursive descent over the tokens. The depth is counted, so hostile nesting is an error and never
//! a stack overflow; chains of operators are one flat value.

use super::{
    error::Syntax,
    lexer::{Fault, Lexer, Token},
    value::{Field, Item, Kind, Position, Section, Value},
};
use crate::limits::{FILE_BYTES_MAX, NESTING_MAX};

/// Reads the items of a whole file.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Item>, Fault> {
    let mut parser = Parser::new(checked_text(bytes)?)?;
    let items = parser.items(false)?;
    parser.expect_end("a field or section")?;
    Ok(items)
}

/// Reads one value, as it could stand after `field:`; used for what a user writes on a command line.
pub fn parse_value(text: &str) -> Result<Value, (Position, Syntax)> {
    let mut parser = Parser::new(checked_text(text.as_bytes())?)?;
    let value = parser.value()?;
    parser.expect_end("the end of the value")?;
    Ok(value)
}

fn checked_text(bytes: &[u8]) -> Result<&str, Fault> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err((Position { line: 1, column: 1 }, Syntax::Large(bytes.len())));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let good = &bytes[..error.valid_up_to()];
        let line = good.iter().filter(|b| **b == b'\n').count();
        let column = good.iter().rev().take_while(|b| **b != b'\n').count();
        let number = |count: usize| u32::try_from(count + 1).unwrap_or(u32::MAX);
        (
            Position {
                line: number(line),
                column: number(column),
            },
            Syntax::Encoding,
        )
    })
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    at: Position,
    token: Token<'a>,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Self, Fault> {
        let mut lexer = Lexer::new(text);
        let (at, token) = lexer.next()?;
        Ok(Self {
            lexer,
            at,
            token,
            depth: 0,
        })
    }

    /// Takes the current token and reads the next.
    fn take(&mut self) -> Result<(Position, Token<'a>), Fault> {
        let (at, token) = self.lexer.next()?;
        Ok((
            std::mem::replace(&mut self.at, at),
            std::mem::replace(&mut self.token, token),
        ))
    }

    fn unexpected<T>(&self, expected: &'static str) -> Result<T, Fault> {
        Err((
            self.at,
            Syntax::Expected {
                expected,
                found: self.token.describe(),
            },
        ))
    }

    fn expect_end(&self, expected: &'static str) -> Result<(), Fault> {
        if self.token == Token::End {
            Ok(())
        } else {
            self.unexpected(expected)
        }
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        if self.depth >= NESTING_MAX {
            return Err((self.at, Syntax::Deep));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    /// Items up to the end of the file, or up to and with the brace that closes a section.
    fn items(&mut self, in_section: bool) -> Result<Vec<Item>, Fault> {
        let mut items = Vec::new();
        loop {
            let (at, name) = match &self.token {
                Token::Ident(name) => (self.at, Box::from(*name)),
                Token::RightBrace if in_section => {
                    self.take()?;
                    return Ok(items);
                }
                Token::End if !in_section => return Ok(items),
                _ if in_section => return self.unexpected("a field, a section or '}'"),
                _ => return self.unexpected("a field or section"),
            };
            self.take()?;
            items.push(self.item(at, name)?);
        }
    }

    /// What follows the name of a field or the kind of a section.
    fn item(&mut self, at: Position, name: Box<str>) -> Result<Item, Fault> {
        if self.token == Token::Colon {
            self.take()?;
            let value = self.value()?;
            return Ok(Item::Field(Field { at, name, value }));
        }
        let section_name = match &mut self.token {
            Token::String(text) => {
                let text = std::mem::take(text).into_owned().into_boxed_str();
                self.take()?;
                Some(text)
            }
            _ => None,
        };
        if self.token != Token::LeftBrace {
            return self.unexpected("':' or '{'");
        }
        self.take()?;
        let items = self.deeper(|parser| parser.items(true))?;
        Ok(Item::Section(Section {
            at,
            kind: name,
            name: section_name,
            items,
        }))
    }

    /// A value; `&` binds closer than `|`.
    fn value(&mut self) -> Result<Value, Fault> {
        self.chain(&Token::Or, Kind::Any, |parser| {
            parser.chain(&Token::And, Kind::All, Self::operand)
        })
    }

    fn chain(
        &mut self,
        operator: &Token<'static>,
        join: fn(Vec<Value>) -> Kind,
        part: fn(&mut Self) -> Result<Value, Fault>,
    ) -> Result<Value, Fault> {
        let first = part(self)?;
        if self.token != *operator {
            return Ok(first);
        }
        let at = first.at;
        let mut parts = vec![first];
        while self.token == *operator {
            self.take()?;
            parts.push(part(self)?);
        }
        Ok(Value {
            at,
            kind: join(parts),
        })
    }

    /// A prefixed operand, or a simple value with any number of `{ .. }` behind it.
    fn operand(&mut self) -> Result<Value, Fault> {
        let at = self.at;
        let prefix: fn(Box<Value>) -> Kind = match self.token {
            Token::Not => Kind::Not,
            Token::Question => Kind::Defined,
            _ => return self.postfixed(),
        };
        self.take()?;
        let inner = self.deeper(Self::operand)?;
        Ok(Value {
            at,
            kind: prefix(Box::new(inner)),
        })
    }

    fn postfixed(&mut self) -> Result<Value, Fault> {
        let at = self.at;
        let mut value = self.simple()?;
        let mut braces = 0;
        while self.token == Token::LeftBrace {
            braces += 1;
            if self.depth + braces > NESTING_MAX {
                return Err((self.at, Syntax::Deep));
            }
            self.take()?;
            let options = self.values(&Token::RightBrace, "a value or '}'")?;
            value = Value {
                at,
                kind: Kind::Option(Box::new(value), options),
            };
        }
        Ok(value)
    }

    fn simple(&mut self) -> Result<Value, Fault> {
        let at = self.at;
        match self.token {
            Token::LeftParen => {
                self.take()?;
                let values = self.values(&Token::RightParen, "a value or ')'")?;
                Ok(Value {
                    at,
                    kind: Kind::Group(values),
                })
            }
            Token::LeftBracket => {
                self.take()?;
                let values = self.values(&Token::RightBracket, "a value or ']'")?;
                Ok(Value {
                    at,
                    kind: Kind::List(values),
                })
            }
            Token::Relop(relop) => {
                self.take()?;
                let right = self.atom("a string or identifier to compare with")?;
                Ok(Value {
                    at,
                    kind: Kind::Prefix(relop, Box::new(right)),
                })
            }
            _ => self.comparison(at),
        }
    }

    fn comparison(&mut self, at: Position) -> Result<Value, Fault> {
        let left = self.atom("a value")?;
        let kind = match self.token {
            Token::Relop(relop) => {
                self.take()?;
                let right = self.atom("a string or identifier to compare with")?;
                Kind::Compare(relop, Box::new((left, right)))
            }
            Token::EnvOp(op) => {
                self.take()?;
                Kind::Update(op, Box::new((left, self.atom("a value for the variable")?)))
            }
            _ => return Ok(left),
        };
        Ok(Value { at, kind })
    }

    fn atom(&mut self, expected: &'static str) -> Result<Value, Fault> {
        let kind = match &mut self.token {
            Token::Bool(value) => Kind::Bool(*value),
            Token::Int(value) => Kind::Int(*value),
            Token::Ident(name) => Kind::Ident((*name).into()),
            Token::String(text) => Kind::String(std::mem::take(text).into_owned().into_boxed_str()),
            _ => return self.unexpected(expected),
        };
        let (at, _) = self.take()?;
        Ok(Value { at, kind })
    }

    /// Values up to and with the closing token.
    fn values(
        &mut self,
        close: &Token<'static>,
        expected: &'static str,
    ) -> Result<Vec<Value>, Fault> {
        self.deeper(|parser| {
            let mut values = Vec::new();
            while parser.token != *close {
                if !parser.token.starts_value() {
                    return parser.unexpected(expected);
                }
                values.push(parser.value()?);
            }
            parser.take()?;
            Ok(values)
        })
    }
}

impl Token<'_> {
    fn starts_value(&self) -> bool {
        !matches!(
            self,
            Self::End
                | Self::Colon
                | Self::RightBrace
                | Self::RightBracket
                | Self::RightParen
                | Self::LeftBrace
                | Self::And
                | Self::Or
                | Self::EnvOp(_)
        )
    }
}
