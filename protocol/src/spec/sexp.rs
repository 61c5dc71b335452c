//! S-expressions with their places: what a spec's text says before anyone asks what it means.

use super::{
    error::{Error, Position, Problem, shorten},
    layout::Layout,
    lexer::{Lexer, Token},
    print,
};
use crate::limits::{SPEC_BYTES_MAX, SPEC_NODES_MAX, SPEC_PARENS_MAX};

/// An atom or a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sexp {
    /// Where it starts.
    pub(super) at: Position,
    /// What it is.
    pub(super) node: Node,
}

/// What an s-expression is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// A word.
    Atom(String),
    /// What stood between two parentheses.
    List(Vec<Sexp>),
}

impl Sexp {
    /// Reads the one s-expression of a text.
    pub(super) fn parse(text: &[u8]) -> Result<Self, Error> {
        if text.len() > SPEC_BYTES_MAX {
            return Err(Error::from(Problem::TooLong {
                what: "the text",
                bytes: text.len(),
                max: SPEC_BYTES_MAX,
            }));
        }
        let mut lexer = Lexer::new(text);
        let mut tree = Builder::default();
        while let Some((at, token)) = lexer.next()? {
            tree.take(at, token)?;
        }
        tree.finish()
    }

    /// The word that this is.
    pub(super) fn atom(&self, expected: &'static str) -> Result<&str, Error> {
        match &self.node {
            Node::Atom(atom) => Ok(atom),
            Node::List(_) => Err(self.unexpected(expected)),
        }
    }

    /// The members of the list that this is.
    pub(super) fn list(&self, expected: &'static str) -> Result<&[Sexp], Error> {
        match &self.node {
            Node::List(list) => Ok(list),
            Node::Atom(_) => Err(self.unexpected(expected)),
        }
    }

    /// The first word of the list that this is, and all behind it.
    pub(super) fn headed(&self) -> Option<(&str, &[Sexp])> {
        let Node::List(list) = &self.node else {
            return None;
        };
        let (head, rest) = list.split_first()?;
        match &head.node {
            Node::Atom(atom) => Some((atom, rest)),
            Node::List(_) => None,
        }
    }

    /// Says that something else was expected here.
    pub(super) fn unexpected(&self, expected: &'static str) -> Error {
        Problem::Unexpected {
            expected,
            found: self.quote(),
        }
        .at(self.at)
    }

    /// This on one line, cut where it is long.
    pub(super) fn quote(&self) -> String {
        let mut layout = Layout::new();
        print::one_line(&mut layout, &print::Tree::from(self));
        let lines = layout.finish();
        shorten(&lines.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

/// Builds the tree as tokens come, with the lists that are still open on a stack of its own.
#[derive(Debug, Default)]
struct Builder {
    open: Vec<(Position, Vec<Sexp>)>,
    /// How many lists were open at each `#;` that has not found its victim.
    ignoring: Vec<(Position, usize)>,
    root: Option<Sexp>,
    nodes: usize,
}

impl Builder {
    fn take(&mut self, at: Position, token: Token) -> Result<(), Error> {
        match token {
            Token::Open => {
                if self.open.len() == SPEC_PARENS_MAX {
                    return Err(Problem::TooMany {
                        what: "parentheses open at once",
                        count: SPEC_PARENS_MAX + 1,
                        max: SPEC_PARENS_MAX,
                    }
                    .at(at));
                }
                self.open.push((at, Vec::new()));
                Ok(())
            }
            Token::Close => {
                let Some((start, list)) = self.open.pop() else {
                    return Err(Problem::Unopened.at(at));
                };
                self.add(Sexp {
                    at: start,
                    node: Node::List(list),
                })
            }
            Token::Atom(atom) => self.add(Sexp {
                at,
                node: Node::Atom(atom),
            }),
            Token::Ignore => {
                self.ignoring.push((at, self.open.len()));
                Ok(())
            }
        }
    }

    fn add(&mut self, sexp: Sexp) -> Result<(), Error> {
        match self.ignoring.last() {
            Some(&(at, depth)) if depth > self.open.len() => {
                return Err(Problem::EmptyComment.at(at));
            }
            Some(&(_, depth)) if depth == self.open.len() => {
                self.ignoring.pop();
                return Ok(());
            }
            Some(_) => return Ok(()),
            None => {}
        }
        self.nodes += 1;
        if self.nodes > SPEC_NODES_MAX {
            return Err(Problem::TooMany {
                what: "atoms and lists",
                count: self.nodes,
                max: SPEC_NODES_MAX,
            }
            .at(sexp.at));
        }
        match self.open.last_mut() {
            Some((_, list)) => list.push(sexp),
            None if self.root.is_none() => self.root = Some(sexp),
            None => return Err(sexp.unexpected("the end after the closing parenthesis")),
        }
        Ok(())
    }

    fn finish(self) -> Result<Sexp, Error> {
        if let Some((at, _)) = self.open.last() {
            return Err(Problem::Unclosed {
                what: "the parenthesis",
            }
            .at(*at));
        }
        if let Some((at, _)) = self.ignoring.last() {
            return Err(Problem::EmptyComment.at(*at));
        }
        self.root.ok_or_else(|| {
            Error::from(Problem::Unexpected {
                expected: "a spec: ((from IMAGE) OP...)",
                found: "nothing".to_owned(),
            })
        })
    }
}
